"""`suite_path` names a file with the legs of a step: launched as it says, each judged by thresholds of its own."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from coval_gate.config.suite import LARGEST
from coval_sandbox.catalogue import AGENT_ID, IMPATIENT_PERSONA_ID, PERSONA_ID, PREVIEW_ID, SLOW_PREVIEW_ID
from support import IDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coval_sandbox.server import Server
    from support import StepResult, VirtualClock

    RunStep = Callable[..., tuple[StepResult, Server]]

PATH = "evals/suite.yml"
SUITE = f"""\
defaults:
  persona_id: {PERSONA_ID}
legs:
  booking, calm caller:
    test_set_id: passing1
    thresholds: |
      Resolved: rate(YES) >= 95%
  booking, hurried caller:
    persona_id: {IMPATIENT_PERSONA_ID}
    test_set_id: passing1
    iteration_count: 2
  refunds:
    test_set_id: failing1
    thresholds: |
      Compliance: count(NO) == 0
"""
NAMES = ["booking, calm caller", "booking, hurried caller", "refunds"]
STEP = {"suite_path": PATH, "persona_id": "", "test_set_id": "", "thresholds": "Latency: avg < 9"}
BESIDE = f"""\
defaults:
  base_agent_id: {AGENT_ID}
  thresholds: |
    Latency: avg <= base * 1.3
legs:
  as good:
    agent_id: {PREVIEW_ID}
  slower:
    agent_id: {SLOW_PREVIEW_ID}
    thresholds: |
      Latency: avg <= base * 0.5
  twice:
    agent_id: {PREVIEW_ID}
    iteration_count: 2
"""


@pytest.fixture
def run_suite(tmp_path: Path, run_step: RunStep) -> RunStep:
    """Run a step with a file in the workspace: `suite`, at `path`. None: there is no file."""

    def run(*faults: str, suite: str | bytes | None = SUITE, path: str = PATH, **given: Any) -> Any:
        file = tmp_path / "workspace" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if suite is not None:
            file.write_bytes(suite if isinstance(suite, bytes) else suite.encode())
        return run_step(*faults, **STEP | {"suite_path": path} | given)

    return run


def legs_of(result: StepResult) -> dict[str, dict[str, Any]]:
    """Return the entries of the output `legs` by their names."""
    return {leg["name"]: leg for leg in json.loads(result.outputs["legs"])}


def criteria_of(result: StepResult) -> dict[str, list[str]]:
    """Return the thresholds that each leg was judged by, from the JSON report."""
    return {
        leg["name"]: [criterion["criterion"] for criterion in leg["criteria"] if ":" in criterion["criterion"]]
        for leg in json.loads(result.json)["legs"]
    }


WAIT = {"mode": "wait", "agent_id": "", "json_path": "reports/coval.json"}


def test_legs_run_as_named_and_thresholds_add_up(run_suite: RunStep) -> None:
    result, server = run_suite(json_path="reports/coval.json", junit_path="reports/junit.xml")
    launched = [run.body for run in server.world.runs]
    ran = {
        body["metadata"]["customer"]["coval_gate_leg"]: (body["persona_id"], body["test_set_id"]) for body in launched
    }
    assert ran == {
        NAMES[0]: (PERSONA_ID, "passing1"),
        NAMES[1]: (IMPATIENT_PERSONA_ID, "passing1"),
        NAMES[2]: (PERSONA_ID, "failing1"),
    }
    assert {body["agent_id"] for body in launched} == {IDS["agent_id"]}
    legs = legs_of(result)
    assert [(leg["name"], leg["verdict"], leg["simulations"]) for leg in legs.values()] == [
        (NAMES[0], "passed", 10),
        (NAMES[1], "passed", 20),
        (NAMES[2], "failed", 10),
    ]
    assert criteria_of(result) == {
        NAMES[0]: ["Latency: avg < 9", "Resolved: rate(YES) >= 95%"],
        NAMES[1]: ["Latency: avg < 9"],
        NAMES[2]: ["Latency: avg < 9", "Compliance: count(NO) == 0"],
    }
    assert result.outputs["reason"].startswith("refunds: count(NO) of Compliance is ")
    assert f"| ✅ Passed | {NAMES[0]} |" in result.summary
    suites = [suite.get("name", "") for suite in ET.fromstring(result.junit).iter("testsuite")]
    assert all(any(name in suite for suite in suites) for name in NAMES)


def test_suite_of_one_leg_has_its_name(run_suite: RunStep) -> None:
    result, server = run_suite(suite="legs:\n  only one: {test_set_id: passing1}", persona_id=IDS["persona_id"])
    assert list(legs_of(result)) == ["only one"]
    assert server.world.runs[0].body["metadata"]["customer"]["coval_gate_leg"] == "only one"
    assert result.outputs["verdict"] == "passed"


def test_json_file_is_a_suite_too(run_suite: RunStep) -> None:
    text = json.dumps({"legs": {"a": {"test_set_id": "passing1"}, "b": {"test_set_id": "passing2"}}}, indent="\t")
    result, _ = run_suite(suite=text, path="suite.json", persona_id=IDS["persona_id"])
    assert (list(legs_of(result)), result.outputs["verdict"]) == (["a", "b"], "passed")


@pytest.mark.parametrize(
    ("suite", "reason"),
    [
        ("legs:\n  a:\n    persona_idd: x", "suite_path, line 3: legs.a.persona_idd is not an input of a leg; did you"),
        ("legs:\n  a: {test_set_id: x}", "persona_id is required in mode run, but it is empty."),
        ("legs: {}", "suite_path, line 1: legs is empty"),
        (b"\xff", "suite_path, line 1: the file is not in UTF-8"),
        (b" " * (LARGEST + 1), "suite_path must be a file of at most 256 KB; got a larger one."),
        (None, 'suite_path must be an existing file in the workspace; got "evals/suite.yml".'),
    ],
)  # fmt: skip
def test_mistake_is_an_error_before_anything_is_sent(
    suite: str | bytes | None, reason: str, run_suite: RunStep
) -> None:
    result, server = run_suite(suite=suite)
    assert (result.outputs["verdict"], server.requests_seen) == ("error", [])
    assert result.outputs["reason"].startswith(reason), result.outputs["reason"]


def test_file_outside_of_the_workspace_is_refused(tmp_path: Path, run_step: RunStep) -> None:
    (tmp_path / "outside.yml").write_text(SUITE, encoding="utf-8")
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "link.yml").symlink_to(tmp_path / "outside.yml")
    for path in ("../outside.yml", str(tmp_path / "outside.yml"), "link.yml", "."):
        result, server = run_step(**STEP | {"suite_path": path})
        assert (result.outputs["verdict"], server.requests_seen) == ("error", [])
        assert result.outputs["reason"].startswith("suite_path must ")


def test_report_does_not_overwrite_the_suite(tmp_path: Path, run_suite: RunStep) -> None:
    result, _ = run_suite(junit_path=PATH)
    assert result.outputs["reason"] == "junit_path is the same as suite_path, which the report would overwrite."
    assert (tmp_path / "workspace" / PATH).read_text(encoding="utf-8") == SUITE


def test_mistakes_of_file_and_step_are_told_together(run_suite: RunStep) -> None:
    result, _ = run_suite(suite="legs:\n  a: {tag: x}\n  b: {sub_sample_seed: 3}", concurrency="none", persona_id="p")
    assert result.outputs["reason"].startswith("concurrency must be a whole number")
    assert "- suite_path, line 2: legs.a.tag is not an input of a leg" in result.log
    assert "- suite_path, line 3: legs.b: sub_sample_seed requires a sub_sample_size above 0." in result.log


def test_all_legs_count_for_the_limit(run_suite: RunStep) -> None:
    result, server = run_suite(max_simulations="39")
    assert (result.outputs["verdict"], server.world.runs) == ("error", ())
    assert "would launch 40 in 3 runs" in result.outputs["reason"]
    some = SUITE + "    sub_sample_size: 4\n"
    result, _ = run_suite(suite=some, max_simulations="34", on_inconclusive="pass")
    assert result.outputs["planned_simulations"] == "34"


def test_misspelt_metric_names_the_line_of_the_file(run_suite: RunStep) -> None:
    result, server = run_suite(suite=SUITE.replace("Compliance", "Complience"))
    assert [run.body["test_set_id"] for run in server.world.runs] == ["passing1", "passing1"]
    assert result.outputs["reason"].startswith('refunds: suite_path names the metric "Complience" in line 15, which')


def test_base_agent_of_a_leg(run_suite: RunStep) -> None:
    result, server = run_suite(suite=BESIDE, agent_id="", **{name: IDS[name] for name in ("persona_id", "test_set_id")})
    launched = Counter((run.request.agent_id, run.request.options.iteration_count) for run in server.world.runs)
    assert launched == {
        (PREVIEW_ID, 1): 1,
        (SLOW_PREVIEW_ID, 1): 1,
        (AGENT_ID, 1): 1,
        (PREVIEW_ID, 2): 1,
        (AGENT_ID, 2): 1,
    }
    good, slower, twice = legs_of(result).values()
    assert good["base_run_id"] == slower["base_run_id"] != twice["base_run_id"]
    assert (good["verdict"], slower["verdict"]) == ("passed", "failed")


def test_later_step_judges_by_the_same_file(run_suite: RunStep) -> None:
    launch, server = run_suite(mode="launch", thresholds="")
    assert launch.outputs["verdict"] == ""
    judged, _ = run_suite(world=server.world, **WAIT, run_id=launch.outputs["run_ids"])
    assert {name: leg["verdict"] for name, leg in legs_of(judged).items()} == {
        NAMES[0]: "passed",
        NAMES[1]: "passed",
        NAMES[2]: "failed",
    }
    assert criteria_of(judged)[NAMES[0]] == ["Latency: avg < 9", "Resolved: rate(YES) >= 95%"]
    assert criteria_of(judged)[NAMES[1]] == ["Latency: avg < 9"]
    one, _ = run_suite(world=server.world, **WAIT, run_id=json.loads(launch.outputs["run_ids"])[2])
    assert criteria_of(one) == {NAMES[2]: ["Latency: avg < 9", "Compliance: count(NO) == 0"]}


def test_later_step_finds_the_base_of_each_leg(run_suite: RunStep) -> None:
    ids = {name: IDS[name] for name in ("persona_id", "test_set_id")}
    launch, server = run_suite(suite=BESIDE, mode="launch", **ids | {"agent_id": "", "thresholds": ""})
    launched = {name: leg["base_run_id"] for name, leg in legs_of(launch).items()}
    assert len(set(launched.values())) == 2
    judged, _ = run_suite(suite=BESIDE, world=server.world, **WAIT, run_id=launch.outputs["run_ids"])
    assert {name: leg["base_run_id"] for name, leg in legs_of(judged).items()} == launched
    assert [leg["verdict"] for leg in legs_of(judged).values()][:2] == ["passed", "failed"]


def test_run_that_the_file_does_not_have_is_an_error(run_suite: RunStep) -> None:
    launch, server = run_suite(mode="launch", thresholds="")
    other = SUITE.replace("refunds", "invoices")
    judged, _ = run_suite(suite=other, world=server.world, **WAIT, run_id=launch.outputs["run_ids"])
    legs = legs_of(judged)
    assert [legs[name]["verdict"] for name in NAMES] == ["passed", "passed", "error"]
    assert legs["refunds"]["reason"].startswith('suite_path has no leg "refunds", with which run ')
    _, plain = run_suite(
        suite=None, suite_path="", mode="launch", thresholds="", **{n: IDS[n] for n in ("persona_id", "test_set_id")}
    )
    judged, _ = run_suite(world=plain.world, **WAIT, run_id=plain.world.runs[0].run_id)
    assert judged.outputs["verdict"] == "error"
    assert "Coval does not show which leg run" in judged.outputs["reason"]


def test_run_of_another_persona_than_its_leg_is_an_error(run_suite: RunStep) -> None:
    launch, server = run_suite(mode="launch", thresholds="")
    changed = SUITE.replace(IMPATIENT_PERSONA_ID, "persona000000000000099")
    judged, _ = run_suite(suite=changed, world=server.world, **WAIT, run_id=launch.outputs["run_ids"])
    assert [leg["verdict"] for leg in legs_of(judged).values()] == ["passed", "error", "failed"]
    assert 'persona_id is "persona000000000000099", but run ' in legs_of(judged)[NAMES[1]]["reason"]


def test_gate_of_the_file_cannot_be_forgotten(run_suite: RunStep) -> None:
    """The later step could be green without it: only thresholds travel with the run."""
    launch, server = run_suite(suite=SUITE + "    use_metric_targets: true\n", mode="launch", thresholds="")
    ids = json.loads(launch.outputs["run_ids"])
    judged, _ = run_suite(world=server.world, suite_path="", **WAIT, run_id=ids[2])
    assert judged.outputs["verdict"] == "error"
    assert judged.outputs["reason"].startswith(
        f'suite_path must be "{PATH}": run {ids[2]} was launched with this suite'
    )
    without, _ = run_suite(world=server.world, suite_path="", **WAIT, run_id=ids[1])
    assert without.outputs["verdict"] == "passed", "its leg has no thresholds in the file"


def test_gate_input_of_the_step_has_no_effect_in_mode_launch(run_suite: RunStep) -> None:
    result, server = run_suite(mode="launch")
    assert result.outputs["reason"].startswith("thresholds has no effect in mode launch")
    assert server.requests_seen == []


def test_later_attempt_takes_over_the_run_of_its_leg(run_suite: RunStep) -> None:
    """Two legs that run the same, and are judged by other thresholds, do not take over each other's run."""
    twins = "legs:\n  a: {thresholds: total >= 1}\n  b: {thresholds: total >= 2}"
    ids = {name: IDS[name] for name in ("persona_id", "test_set_id")}
    first, server = run_suite("POST /runs #2 -> 403", suite=twins, mode="launch", **ids | {"thresholds": ""})
    again, _ = run_suite(
        world=server.world, suite=twins, env={"GITHUB_RUN_ATTEMPT": "2"}, mode="launch", **ids | {"thresholds": ""}
    )
    before, after = legs_of(first), legs_of(again)
    assert len(server.world.runs) == 2
    assert {name for name in before if before[name]["run_id"] == after[name]["run_id"]} == {
        name for name in before if before[name]["run_id"]
    }


def test_signal_ends_all_legs(run_suite: RunStep, clock: VirtualClock) -> None:
    clock.at(20, clock.interrupt)
    result, server = run_suite(suite=SUITE.replace("passing1", "slow0001"))
    assert result.outputs["verdict"] == "cancelled"
    assert not server.world.unfinished


def test_repeating_test_cases_names_the_leg(tmp_path: Path, run_suite: RunStep) -> None:
    run_suite(digest_path="digest.md")
    digest = (tmp_path / "workspace" / "digest.md").read_text(encoding="utf-8")
    assert f"Set this in the leg `refunds` of `{PATH}`, and leave its other inputs as they are:" in digest
    (command,) = [part for part in digest.split("```") if "docker run" in part]
    assert "Compliance: count(NO) == 0" in command
    assert "SUITE_PATH" not in command


def test_file_without_effect_is_not_read(run_step: RunStep) -> None:
    result, _ = run_step(mode="cancel", run_id="r1", suite_path="nowhere.yml", max_wait_time="30", bare=True)
    assert any("suite_path has no effect in mode cancel" in command.data for command in result.annotations("warning"))
