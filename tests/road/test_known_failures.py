"""Known failures in whole steps: shown everywhere, deciding nothing, refused before the launch, and never silent."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from coval_gate.base.text import day_at
from road.legs import launch_count
from road.nights import DAY, Nights, RunStep
from support import StepResult, VirtualClock

BAD = "caseflaky0010000000005"  # not resolved, in each run of the scenario
GOOD = "caseflaky0010000000001"
RESOLVED = {"thresholds": "Resolved: rate(YES) == 100%", "test_set_id": "flaky001"}
REPORTS = {
    "json_path": "reports/coval.json",
    "junit_path": "junit.xml",
    "html_path": "report.html",
    "digest_path": "digest.md",
}
REASON = "ticket <4711>"


@pytest.fixture
def run_with(tmp_path: Path, run_step: RunStep, clock: VirtualClock) -> RunStep:
    """Run a step with a file: entries of a test case, and `more`. The first word of an entry may be its metric."""

    def run(*faults: str, known: list[dict[str, Any]], more: dict[str, Any] | None = None, **given: Any) -> Any:
        (tmp_path / "workspace").mkdir(exist_ok=True)
        entries = [
            {"reason": REASON, "until": str(day_at(clock.time() + entry.get("days", 30) * DAY)), "test_case": BAD}
            | {name: text for name, text in entry.items() if name != "days"}
            for entry in known
        ]
        contents = {"known_failures": entries, **(more or {})}
        (tmp_path / "workspace" / "gate.json").write_text(json.dumps(contents), encoding="utf-8")
        return run_step(*faults, **{"config_path": "gate.json"} | RESOLVED | given)

    return run


def leg_of(result: StepResult) -> dict[str, Any]:
    (leg,) = json.loads(result.json)["legs"]
    return dict(leg)


def messages(result: StepResult, level: str) -> list[str]:
    return [command.data for command in result.annotations(level) if "known_failures" in command.data]


@pytest.mark.parametrize(("entry", "total"), [({}, 9), ({"metric": "Resolved"}, 10)])
def test_a_known_failure_is_shown_everywhere_and_decides_nothing(
    run_with: RunStep, tmp_path: Path, clock: VirtualClock, entry: dict[str, Any], total: int
) -> None:
    assert run_with(known=[])[0].outputs["verdict"] == "failed"
    result, _ = run_with(known=[entry], comment="always", **REPORTS)
    outputs, until = result.outputs, str(day_at(clock.time() + 30 * DAY))
    assert (outputs["verdict"], outputs["known_failures"], outputs["total_simulations"]) == ("passed", "1", str(total))
    assert outputs["reason"].endswith("met. 1 known failure left out.")
    leg = leg_of(result)
    (fact,) = leg["known_failures"]
    expected = (BAD, entry.get("metric", ""), REASON, until, 1, False)
    assert (
        *(fact[name] for name in ("test_case_id", "metric", "reason", "until", "simulations", "passes")),
    ) == expected
    (row,) = [row for row in leg["simulations"] if row["known"]]
    assert (row["test_case_id"], row["verdict"], row["known"]) == (BAD, "skipped", REASON)
    assert row["values"], "it is shown with its values"
    assert "100% (9 of 9), 1 known" in result.log
    assert "#### 1 known failure left out" in result.summary
    assert f"| ⚪ | {fact['name']} | {entry.get('metric', 'all')} | ticket &lt;4711&gt; | {until} |" in result.summary
    workspace = tmp_path / "workspace"
    html = (workspace / "report.html").read_text(encoding="utf-8")
    assert ("⚪ 1 known failure left out" in html, "ticket &lt;4711&gt;" in html, until in html) == (True,) * 3
    cases = ET.parse(workspace / "junit.xml").getroot().iter("testcase")
    assert [skip.get("message") for case in cases for skip in case.iter("skipped")] == [f"known: {REASON}"]
    assert f"`{REASON}`" in (workspace / "digest.md").read_text(encoding="utf-8")


def test_a_test_case_with_two_entries_counts_once(run_with: RunStep, tmp_path: Path) -> None:
    thresholds = {"thresholds": "Resolved: rate(YES) == 100%\nLatency: max < 1000"}
    result, _ = run_with(known=[{"metric": "Resolved"}, {"metric": "Latency"}], **thresholds, **REPORTS)
    assert (result.outputs["verdict"], result.outputs["known_failures"]) == ("passed", "1")
    assert len(leg_of(result)["known_failures"]) == 2
    assert "#### 1 known failure left out" in result.summary
    assert "⚪ 1 known failure left out" in (tmp_path / "workspace" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("days", "level", "says"),
    [
        (-1, "warning", "the entry of {} expired on "),
        (0, "notice", "the entry of {} ends today."),
        (7, "notice", "the entry of {} ends in 7 days, on "),
        (8, "", ""),
    ],
)
def test_an_entry_ends(run_with: RunStep, days: int, level: str, says: str) -> None:
    result, _ = run_with(known=[{"days": days}])
    assert result.outputs["verdict"] == ("failed" if days < 0 else "passed")
    found = {name: texts for name in ("warning", "notice") if (texts := messages(result, name))}
    assert list(found) == [level] * bool(level)
    assert all(says.format(BAD) in text for texts in found.values() for text in texts)


def test_coval_determines_which_day_it_is(
    run_with: RunStep, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner's clock that is ten days late would excuse too long."""
    right = clock.time
    monkeypatch.setattr(clock, "time", lambda: right() - 10 * DAY)
    from coval_sandbox.world import World

    result, _ = run_with(known=[{"days": 5}], world=World(right))
    assert result.outputs["verdict"] == "failed"
    assert len(messages(result, "warning")) == 1


MANY = [{"test_case": f"caseflaky001{number:010}"} for number in (1, 2)]


@pytest.mark.parametrize(
    ("known", "more", "problem"),
    [
        ([{"test_case": "casegone"}], {}, "casegone is no test case of test set flaky001."),
        (MANY, {}, "names 2 of 10 test cases; at most a tenth, 1, may be known failures."),
        ([*MANY[:1], {"test_case": "caseflaky0010000000002", "days": -1}], {}, ""),  # which expired
        ([{}], {"test_case_ids": f"{GOOD}, {BAD}"}, ""),
        ([{}], {"test_case_ids": GOOD}, ""),  # it was not drawn
    ],
)
def test_what_the_test_set_contradicts_is_an_error_before_the_launch(
    run_with: RunStep, known: list[dict[str, Any]], more: dict[str, str], problem: str
) -> None:
    for mode in ("run", "plan", "launch"):
        thresholds = {"thresholds": ""} if mode == "launch" else {}
        result, server = run_with(known=known, mode=mode, bare=True, **more, **thresholds)
        assert (result.outputs["verdict"] == "error") == bool(problem), result.log
        assert problem in result.outputs["reason"]
        assert launch_count(server) == (0 if problem or mode == "plan" else 1)
        if mode == "plan" and not problem:
            assert "Known failures, which decide nothing:" in result.log


@pytest.mark.parametrize(
    ("known", "given", "problem"),
    [
        ([{}], {}, ""),
        ([{"test_case": "casegone"}], {}, "names casegone, which the test set does not have"),
        ([{"test_case": "casegone"}], {"sub_sample_size": "5"}, ""),
        (MANY, {}, "names 2 of 10 test cases"),
        ([{"metric": "Tone"}], {"use_metric_targets": "true"}, "which no threshold and no target reads"),
    ],
)
def test_what_the_key_may_not_read_shows_after_the_run(
    run_with: RunStep, known: list[dict[str, Any]], given: dict[str, str], problem: str
) -> None:
    result, server = run_with("GET /test-cases -> 403", known=known, bare=True, **given)
    assert launch_count(server) == 1
    assert "Only its run can show whether test set flaky001 has the known_failures." in result.log
    assert (result.outputs["verdict"] == "error") == bool(problem)
    assert problem in result.outputs["reason"]


def test_a_step_that_waits_judges_alike(run_with: RunStep) -> None:
    launched, server = run_with(known=[{}], mode="launch", thresholds="")
    result, _ = run_with(known=[{}], mode="wait", run_id=launched.outputs["run_ids"], world=server.world)
    assert (result.outputs["verdict"], result.outputs["known_failures"]) == ("passed", "1")
    ids = {"agent_id": "", "persona_id": "", "test_set_id": ""}
    result, _ = run_with(known=[{}], mode="wait", run_id=launched.outputs["run_ids"], world=server.world, **ids)
    assert (result.outputs["verdict"], result.outputs["known_failures"]) == ("passed", "1")


@pytest.mark.parametrize("given", [{}, {"test_set_id": ""}], ids=["named", "of-the-run"])
@pytest.mark.parametrize(
    ("drawn", "known", "problem"),
    [
        ({"sub_sample_size": "5"}, 1, ""),
        ({"sub_sample_size": "5"}, 2, "names 2 of 5 test cases; at most a tenth, 1, may be known failures"),
        ({"test_case_ids": ", ".join(f"caselarge001{n:010}" for n in range(1, 6))}, 4, "names 4 of 5 test cases"),
    ],
)
def test_a_tenth_is_a_tenth_of_the_run(
    run_with: RunStep, drawn: dict[str, str], known: int, problem: str, given: dict[str, str]
) -> None:
    large = {"test_set_id": "large001", "thresholds": "Latency: avg < 100"}
    launched, server = run_with(known=[], mode="launch", **large | {"thresholds": ""}, **drawn)
    cases = sorted({one.test_case_id for one in server.world.runs[0].plan.simulations})
    assert len(cases) == 5
    entries = [{"test_case": case} for case in cases[:known]]
    ids = large | ({"agent_id": "", "persona_id": ""} | given if given else {})
    result, _ = run_with(
        known=entries, mode="wait", run_id=launched.outputs["run_id"], world=server.world, bare=True, **ids
    )
    assert (result.outputs["verdict"], problem in result.outputs["reason"]) == ("error" if problem else "passed", True)


def test_a_sub_sample_that_draws_too_many_is_no_pass(run_with: RunStep) -> None:
    """Of a hundred test cases, ten may be known failures; of the five that Coval draws, one."""
    drawn = {"test_set_id": "large001", "thresholds": "", "sub_sample_size": "5", "sub_sample_seed": "7"}
    _, server = run_with(known=[], mode="launch", **drawn)
    cases = sorted({one.test_case_id for one in server.world.runs[0].plan.simulations})
    entries = [{"test_case": case} for case in cases[:3]]
    result, again = run_with(known=entries, bare=True, **drawn | {"thresholds": "Latency: avg < 100"})
    assert sorted({one.test_case_id for one in again.world.runs[0].plan.simulations}) == cases
    assert result.outputs["verdict"] == "error"
    assert "names 3 of 5 test cases" in result.outputs["reason"]


def test_a_test_case_that_the_test_set_of_a_given_run_lacks_is_an_error(run_with: RunStep) -> None:
    launched, server = run_with(known=[], mode="launch", thresholds="")
    given = {"run_id": launched.outputs["run_id"], "agent_id": "", "persona_id": "", "test_set_id": ""}
    entries = [{"test_case": "casegone"}]
    result, _ = run_with(known=entries, mode="wait", world=server.world, bare=True, **given)
    assert result.outputs["verdict"] == "error"
    assert "known_failures: casegone is no test case of test set flaky001." in result.outputs["reason"]
    unread, _ = run_with("GET /test-cases -> 403", known=entries, mode="wait", world=server.world, bare=True, **given)
    assert "Only its run can show whether test set flaky001 has the known_failures." in unread.log


def test_legs_are_excused_by_name(run_with: RunStep) -> None:
    legs = {"a": {"test_set_id": "flaky001"}, "b": {"test_set_id": "flaky001", "iteration_count": 2}}
    reports = {"thresholds": "Resolved: rate(YES) >= 50%", "json_path": "reports/coval.json"}
    result, _ = run_with(known=[{"leg": "A"}], more={"legs": legs}, test_set_id="", **reports)
    known = {leg["name"]: len(leg["known_failures"]) for leg in json.loads(result.json)["legs"]}
    assert (known, result.outputs["known_failures"]) == ({"a": 1, "b": 0}, "1")
    assert result.outputs["reason"] == "All 2 legs passed. 1 known failure left out."


def test_what_legs_lack_that_are_not_selected_is_no_error(run_with: RunStep) -> None:
    legs = {"a": {"test_set_id": "flaky001"}, "b": {"test_set_id": "passing1"}}
    given: dict[str, Any] = {"known": [{}, {"leg": "a", "test_case": GOOD}], "more": {"legs": legs}, "only_legs": "b"}
    result, _ = run_with(**given, test_set_id="")
    assert (result.outputs["verdict"], result.outputs["known_failures"]) == ("passed", "0")
    plan, _ = run_with(**given, test_set_id="", mode="plan")
    assert "Known failures, which decide nothing:" in plan.log
    assert GOOD not in f"{result.log}{plan.log}", "an entry of another leg"


def test_slices_do_not_call_them(run_with: RunStep) -> None:
    """The cap counts without them, and they are named all the same."""
    case = "caselarge0010000000003"
    given = {"test_set_id": "large001", "spend": "until clear", "confidence": "95%", "max_simulations": "20"}
    result, server = run_with(known=[{"test_case": case}], thresholds="Resolved: rate(YES) >= 60%", bare=True, **given)
    called = [id_ for run in server.world.runs for id_ in run.body["options"]["test_case_ids"]]
    assert called
    assert case not in called
    assert result.outputs["known_failures"] == "1"
    assert result.outputs["reason"].endswith("1 known failure left out.")


def test_nights_with_known_failures_are_a_baseline(run_with: RunStep, clock: VirtualClock) -> None:
    """They are left out of both sides; once the test case passes in both, a notice reports it, and nothing is red."""
    past = Nights(run_with, clock)
    compared: dict[str, Any] = {"baseline": "branch:main", "thresholds": "Resolved: rate(YES) >= baseline - 50pp"}
    past.night("flaky", known=[{}], **compared)
    result = past.night("flaky", known=[{}], **compared)
    assert result.outputs["baseline_run_id"]
    assert (result.outputs["verdict"], messages(result, "notice")) == ("passed", [])
    assert "9 shared test cases" in result.log
    past.night("passing", known=[{}], **compared)
    result = past.night("passing", known=[{}], **compared)
    assert result.outputs["verdict"] == "passed"
    (notice,) = messages(result, "notice")
    assert f"{BAD} passed in 1 conversation of this run, and in the baseline." in notice
    plan = past.night("passing", known=[{"metric": "Resolved"}], mode="plan", **compared)
    assert "Known failures, which decide nothing:" in plan.log
    assert "of the last 3 nights, none would have been red." in plan.log
