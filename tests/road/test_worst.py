"""A threshold on the worst test case: one of ten is never resolved, which the average hides."""

import json
from xml.etree import ElementTree as ET

import pytest

from coval_sandbox import catalogue
from road.legs import legs_of
from road.nights import RunStep
from support import IDS

LOST = {"test_set_id": "lostCase", "iteration_count": "3"}
WORST = "Resolved: worst(YES) > 0%"
REASON = "worst(YES) of Resolved is 0% (0 of 3: Angry caller), must be > 0%"
NEEDS = f"{WORST} needs several conversations of each test case"
SAME = "write rate(YES) == 100%, which is the same with one."
FILES = {
    "json_path": "reports/coval.json",
    "junit_path": "reports/junit.xml",
    "digest_path": "reports/digest.md",
    "html_path": "reports/coval.html",
}


@pytest.mark.parametrize("confidence", ["", "95%"])
def test_lost_test_case_is_red_and_named_in_every_report(run_step: RunStep, confidence: str) -> None:
    hidden, _ = run_step(**LOST, thresholds="Resolved: rate(YES) >= 90%")
    assert hidden.outputs["verdict"] == "passed"
    result, server = run_step(**LOST, **FILES, confidence=confidence, thresholds=WORST)
    assert (result.outputs["verdict"], result.outputs["reason"]) == ("failed", f"{REASON}.")
    (error,) = result.annotations("error")
    reports = {name: (result.workspace / path).read_text(encoding="utf-8") for name, path in FILES.items()}
    shown = "0% (0 of 3: Angry caller)"
    for where in (error.data, result.log, result.summary, *reports.values()):
        assert shown in where
    (leg,) = json.loads(reports["json_path"])["legs"]
    (criterion,) = [one for one in leg["criteria"] if one["kind"] == "threshold"]
    facts = ("actual", "bound", "unit", "count", "missing", "confidence", "actual_text", "reason")
    assert [criterion[fact] for fact in facts] == [0.0, 0.0, "share", 3, 0, None, shown, f"{REASON}."]
    (run,) = server.world.runs
    lost = {
        one.simulation_id for one in run.plan.simulations if one.test_case_id == run.plan.simulations[3].test_case_id
    }
    assert set(criterion["simulation_ids"]) == lost
    to_look_at = [one for one in leg["simulations"] if one["verdict"] == "failed"]
    assert ({one["id"] for one in to_look_at}, {one["name"] for one in to_look_at}) == (lost, {"Angry caller"})
    failures = [
        case for case in ET.fromstring(reports["junit_path"]).iter("testcase") if case.find("failure") is not None
    ]
    assert len(failures) == 1 + len(lost)


def test_both_runs_of_a_leg_count_together(run_step: RunStep) -> None:
    result, server = run_step(**LOST, repeat_on_failure="1", thresholds=WORST)
    assert len(server.world.runs) == 2
    assert result.outputs["reason"] == (
        "worst(YES) of Resolved is 0% (0 of 6: Angry caller) over 2 runs, must be > 0%."
    )


def test_name_that_coval_does_not_show_is_an_id(run_step: RunStep) -> None:
    result, _ = run_step("GET /test-cases* * -> 403", **LOST, thresholds=WORST)
    assert "0% (0 of 3: case" in result.outputs["reason"]


def test_every_leg_is_judged_by_its_own_test_cases(run_step: RunStep) -> None:
    result, _ = run_step(test_set_id="lostCase, passing1", iteration_count="2", thresholds=WORST)
    verdicts = {name: leg["verdict"] for name, leg in legs_of(result).items()}
    assert verdicts == {"lostCase": "failed", "passing1": "passed"}


def test_step_that_launches_one_conversation_of_each_launches_nothing(run_step: RunStep) -> None:
    for given in ({}, {"spend": "until clear", "confidence": "95%"}, {"mode": "plan"}):
        result, server = run_step(test_set_id="lostCase", thresholds=WORST, **given)
        assert not server.requests_seen or {request.method for request in server.requests_seen} == {"GET"}
        assert NEEDS in result.outputs["reason"]
        assert result.outputs["reason"].endswith(SAME)


@pytest.mark.parametrize(("count", "launches"), [(None, False), (1, False), (2, True)])
def test_template_may_set_the_number_of_conversations(
    run_step: RunStep, monkeypatch: pytest.MonkeyPatch, count: int | None, launches: bool
) -> None:
    ids = {f"{name}s": [IDS[name]] for name in IDS}
    own = {"id": "template00000000000001", "display_name": "Own", **ids, "iteration_count": count}
    monkeypatch.setattr(catalogue, "RUN_TEMPLATES", (own,))
    result, server = run_step(run_template_id=own["id"], thresholds=WORST, **dict.fromkeys(IDS, ""))
    assert bool(server.world.runs) is launches
    assert (NEEDS in result.outputs["reason"]) is not launches


def test_given_run_with_one_conversation_of_each_is_an_error(run_step: RunStep) -> None:
    launched, server = run_step(mode="launch", test_set_id="lostCase")
    result, _ = run_step(
        world=server.world, mode="wait", **dict.fromkeys(IDS, ""), run_id=launched.outputs["run_id"], thresholds=WORST
    )
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"].startswith(f"{NEEDS}, of which the run has one; launch it with an iteration_count")
    assert result.outputs["reason"].endswith(SAME)


def test_plan_shows_how_often_an_unchanged_agent_is_red(run_step: RunStep) -> None:
    result, _ = run_step(**LOST, mode="plan", thresholds=WORST)
    assert (
        f"With 10 test cases and 3 conversations of each, {WORST} is red in 1% of runs if every test case succeeds in "
        "90% of its conversations, and in 0.1% if in 95%."
    ) in result.log
