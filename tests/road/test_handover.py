"""The thresholds of a suite's legs travel in the metadata of the runs to a later step, which has no file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import pytest

from coval_gate.ci.host import THRESHOLDS
from coval_gate.runs.handover import LONGEST, MOST
from coval_sandbox.catalogue import AGENT_ID, PREVIEW_ID, SLOW_PREVIEW_ID
from coval_sandbox.quirks import Quirks
from road.test_promotion import ENV, PUSH
from road.test_repetition import FLAKY
from road.test_suite import BESIDE, NAMES, PATH, STEP, SUITE, criteria_of, legs_of
from support import IDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coval_sandbox.server import Server
    from support import StepResult

    RunStep = Callable[..., tuple[StepResult, Server]]

OTHERS = {name: IDS[name] for name in ("persona_id", "test_set_id")}
WAIT = STEP | {"mode": "wait", "agent_id": "", "suite_path": "", "json_path": "reports/coval.json"}
LATENCY = "Latency: avg < 9"
FORBIDDEN = {"fail_on_metric_id": "Resolved", "fail_on_metric_value": "NO"}
TWINS = """\
legs:
  lenient:
    thresholds: "Resolved: rate(YES) >= 10%"
  strict:
    thresholds: |
      Resolved: rate(YES) >= 10%
      total >= 11
  none of its own:
    iteration_count: 2
"""


@pytest.fixture
def launch(tmp_path: Path, run_step: RunStep) -> RunStep:
    """Launch a suite, and remove its file."""

    def run(suite: str = SUITE, **given: Any) -> Any:
        file = tmp_path / "workspace" / PATH
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(suite, encoding="utf-8")
        launched = run_step(**STEP | {"mode": "launch", "thresholds": ""} | given)
        file.unlink()
        return launched

    return run


def metadata_of(server: Server) -> list[dict[str, Any]]:
    """Return the metadata that Coval shows of each run, which the caller may change."""
    return [run.request.metadata.customer for run in server.world.runs]


def test_later_step_judges_each_leg_by_its_own_thresholds(launch: RunStep, run_step: RunStep) -> None:
    launched, server = launch()
    judged, _ = run_step(world=server.world, **WAIT, run_id=launched.outputs["run_ids"])
    assert criteria_of(judged) == {
        NAMES[0]: [LATENCY, "Resolved: rate(YES) >= 95%"],
        NAMES[1]: [LATENCY],
        NAMES[2]: [LATENCY, "Compliance: count(NO) == 0"],
    }
    assert [leg["verdict"] for leg in legs_of(judged).values()] == ["passed", "passed", "failed"]
    assert judged.outputs["reason"].startswith("refunds: count(NO) of Compliance is ")
    assert "must meet 1 threshold that it was launched with." in judged.log


def test_threshold_of_one_leg_fails_that_leg_only(launch: RunStep, run_step: RunStep) -> None:
    launched, server = launch(TWINS, **OTHERS)
    ids = json.loads(launched.outputs["run_ids"])
    judged, _ = run_step(world=server.world, **WAIT, run_id=launched.outputs["run_ids"])
    assert {name: leg["verdict"] for name, leg in legs_of(judged).items()} == {
        "lenient": "passed",
        "strict": "failed",
        "none of its own": "passed",
    }
    for id_, verdict in zip(ids, ["passed", "failed", "passed"], strict=True):
        alone, _ = run_step(world=server.world, **WAIT, run_id=id_)
        assert alone.outputs["verdict"] == verdict


def test_equal_thresholds_count_once(launch: RunStep, run_step: RunStep) -> None:
    launched, server = launch(TWINS, **OTHERS)
    own = "total >= 11  # the same\n? total >= 11"
    judged, _ = run_step(world=server.world, **WAIT | {"thresholds": own}, run_id=launched.outputs["run_ids"])
    criteria = {leg["name"]: leg["criteria"] for leg in json.loads(judged.json)["legs"]}
    totals = [criterion["criterion"] for criterion in criteria["strict"] if criterion["criterion"] == "total >= 11"]
    assert len(totals) == 2, "one of them is advisory"


def test_base_of_a_leg_is_compared_by_its_thresholds(launch: RunStep, run_step: RunStep) -> None:
    launched, server = launch(BESIDE, **OTHERS | {"agent_id": ""})
    by_agent = {
        run.request.agent_id: bool(run.body["metadata"]["customer"].get(THRESHOLDS)) for run in server.world.runs
    }
    assert by_agent == {PREVIEW_ID: True, SLOW_PREVIEW_ID: True, AGENT_ID: False}
    judged, _ = run_step(world=server.world, **WAIT | {"thresholds": ""}, run_id=launched.outputs["run_ids"])
    assert [leg["verdict"] for leg in legs_of(judged).values()][:2] == ["passed", "failed"]
    alone, _ = run_step(world=server.world, **WAIT | {"thresholds": ""}, run_id=launched.outputs["run_id"])
    assert alone.outputs["verdict"] == "error", "there is no base to compare with"


def test_file_wins_in_the_later_step(tmp_path: Path, launch: RunStep, run_step: RunStep) -> None:
    launched, server = launch()
    (tmp_path / "workspace" / PATH).write_text(SUITE.replace("count(NO) == 0", "count(NO) <= 10"), encoding="utf-8")
    judged, _ = run_step(world=server.world, **WAIT | {"suite_path": PATH}, run_id=launched.outputs["run_ids"])
    assert criteria_of(judged)["refunds"] == [LATENCY, "Compliance: count(NO) <= 10"]
    assert judged.outputs["verdict"] == "passed"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({THRESHOLDS: "2.00000000"}, "the thresholds in the metadata of run {} are damaged."),
        ({THRESHOLDS: 7}, "the thresholds in the metadata of run {} are damaged."),
        ({THRESHOLDS: "999.00000000"}, "the thresholds in the metadata of run {} are damaged."),
        ({f"{THRESHOLDS}_1": "Compliance: count(NO) <= 10"}, "the thresholds in the metadata of run {} are damaged."),
        ({f"{THRESHOLDS}_1": None}, "the thresholds in the metadata of run {} are damaged."),
        ({THRESHOLDS: None}, "run {} was launched with this suite, whose thresholds it must meet."),
    ],
)  # fmt: skip
def test_damaged_thresholds_are_an_error_of_their_leg(
    changes: dict[str, Any], reason: str, launch: RunStep, run_step: RunStep
) -> None:
    launched, server = launch()
    run_id = json.loads(launched.outputs["run_ids"])[2]
    metadata = next(run for run in server.world.runs if run.run_id == run_id).request.metadata.customer
    metadata |= changes
    for name in [name for name, value in changes.items() if value is None]:
        del metadata[name]
    judged, _ = run_step(world=server.world, **WAIT, run_id=launched.outputs["run_ids"])
    assert [leg["verdict"] for leg in legs_of(judged).values()] == ["passed", "passed", "error"]
    assert legs_of(judged)["refunds"]["reason"] == f'suite_path must be "{PATH}": {reason.format(run_id)}'


def test_one_damaged_response_is_no_error(launch: RunStep, run_step: RunStep) -> None:
    launched, server = launch()
    run_id = json.loads(launched.outputs["run_ids"])[0]
    damaged = json.dumps({"run": {"run_id": run_id, "status": "PENDING", "metadata": {THRESHOLDS: "1.x"}}})
    judged, _ = run_step(f"GET /runs/{{id}} #1 -> json {damaged}", world=server.world, **WAIT, run_id=run_id)
    assert judged.outputs["verdict"] == "passed"
    assert criteria_of(judged)[""] == [LATENCY, "Resolved: rate(YES) >= 95%"]


@pytest.mark.parametrize(
    ("shown", "verdict", "reason"),
    [
        ("metadata", "failed", "count(NO) of Compliance is "),
        ("tags", "error", "suite_path is required: run {} was launched with a suite, whose thresholds it must"),
        ("neither", "passed", ""),  # nothing shows that there are more thresholds
    ],
)  # fmt: skip
def test_run_that_shows_its_suite_only_is_an_error(
    shown: Literal["metadata", "tags", "neither"], verdict: str, reason: str, launch: RunStep, run_step: RunStep
) -> None:
    launched, server = launch(quirks=Quirks(run_identity=shown))
    run_id = json.loads(launched.outputs["run_ids"])[2]
    judged, _ = run_step(world=server.world, **WAIT, run_id=run_id)
    assert judged.outputs["verdict"] == verdict
    assert judged.outputs["reason"].startswith(reason.format(run_id))


@pytest.mark.parametrize(
    "own", [f"Resolved: rate(YES) >= {'9' * LONGEST}e-300", "\n".join(f"total >= {n}" for n in range(MOST + 1))]
)
def test_thresholds_that_do_not_fit_are_told_at_the_launch(own: str, launch: RunStep, run_step: RunStep) -> None:
    lines = "".join(f"      {line}\n" for line in own.splitlines())
    launched, server = launch(f"legs:\n  large:\n    thresholds: |\n{lines}", **OTHERS)
    (warning,) = launched.annotations("warning")
    assert warning.data.startswith('The thresholds of "large" do not fit into a run\'s metadata')
    assert not any(name.startswith(THRESHOLDS) for name in metadata_of(server)[0])
    judged, _ = run_step(world=server.world, **WAIT, run_id=launched.outputs["run_id"])
    assert judged.outputs["reason"].startswith(f'suite_path must be "{PATH}"')


def test_leg_with_further_inputs_of_the_gate_needs_the_file(launch: RunStep, run_step: RunStep) -> None:
    """A step that knows the thresholds only would judge by its own max_failed_simulations and baseline."""
    for further in ("max_failed_simulations: 5%", "baseline: branch:release"):
        launched, server = launch(SUITE + f"    {further}\n")
        judged, _ = run_step(world=server.world, **WAIT, run_id=launched.outputs["run_ids"])
        assert legs_of(judged)["refunds"]["verdict"] == "error"
        assert legs_of(judged)["refunds"]["reason"].startswith(f'suite_path must be "{PATH}"')


def test_thresholds_against_a_baseline_use_that_of_the_later_step(launch: RunStep, run_step: RunStep) -> None:
    suite = "legs:\n  guarded:\n    thresholds: 'Latency: avg <= baseline * 2'\n"
    launched, server = launch(suite, **OTHERS, baseline="branch:main")
    run_id = launched.outputs["run_id"]
    without, _ = run_step(world=server.world, **WAIT, run_id=run_id)
    place = f"thresholds in the metadata of run {run_id}, line 1"
    assert without.outputs["reason"] == (
        f"baseline is required for Latency: avg <= baseline * 2 ({place}), such as branch:main."
    )
    other, _ = run_step(world=server.world, mode="launch")
    earlier = f"run:{other.outputs['run_id']}"
    judged, _ = run_step(world=server.world, **WAIT, run_id=run_id, baseline=earlier)
    assert (judged.outputs["verdict"], judged.annotations("warning")) == ("passed", [])
    assert judged.outputs["baseline_run_id"] == other.outputs["run_id"]


def test_input_that_no_threshold_uses_is_told_once_the_runs_are_known(launch: RunStep, run_step: RunStep) -> None:
    launched, server = launch()
    judged, _ = run_step(world=server.world, **WAIT, run_id=launched.outputs["run_ids"], baseline="branch:main")
    warnings = [warning.data for warning in judged.annotations("warning") if "has no effect" in warning.data]
    assert [warning.split(":")[0] for warning in warnings] == ["baseline has no effect"]


def test_thresholds_of_a_leg_cannot_soften_the_step(launch: RunStep, run_step: RunStep) -> None:
    suite = "legs:\n  soft:\n    thresholds: |\n      {}\n"
    softer: list[tuple[str, dict[str, str], str]] = [
        ("Resolved: missing <= 100", {"thresholds": "Resolved: rate(YES) >= 0%"}, "Resolved: rate(YES) >= 0%"),
        ("? Resolved: missing <= 100", FORBIDDEN, "fail_on_metric_id"),
        ("Resolved: missing <= 100", {"use_metric_targets": "true"}, "use_metric_targets"),
        ("pass_rate >= 1%", {"use_metric_targets": "true"}, "use_metric_targets"),
    ]  # fmt: skip
    for line, own, what in softer:
        launched, server = launch(suite.format(line), **OTHERS)
        judged, _ = run_step(world=server.world, **WAIT | {"thresholds": ""} | own, run_id=launched.outputs["run_id"])
        assert judged.outputs["verdict"] == "error"
        assert judged.outputs["reason"].endswith(f" would soften {what} of this step.")


def test_later_attempt_takes_over_a_run_with_other_thresholds(launch: RunStep) -> None:
    """Thresholds are no part of what identifies a run, which would be launched again."""
    launched, server = launch()
    changed = SUITE.replace("rate(YES) >= 95%", "rate(YES) >= 99%")
    again, _ = launch(changed, world=server.world, env={"GITHUB_RUN_ATTEMPT": "2"})
    assert again.outputs["run_ids"] == launched.outputs["run_ids"]
    (warning,) = [warning.data for warning in again.annotations("warning") if "other thresholds" in warning.data]
    assert warning == (
        f'[{NAMES[0]}] Run {launched.outputs["run_id"]} was launched with other thresholds than "{PATH}" has for it '
        "now. To judge it by those of the file, set suite_path in the later step."
    )


@pytest.mark.parametrize(("share", "verdict", "tags"), [("95%", "failed", False), ("5%", "passed", True)])
def test_promotion_heeds_the_thresholds_of_the_leg(
    share: str, verdict: str, tags: bool, launch: RunStep, run_step: RunStep
) -> None:
    """Without a threshold, a run is never promoted."""
    main = {"event": PUSH, "env": ENV}
    launched, server = launch(
        f"legs:\n  one:\n    thresholds: 'Resolved: rate(YES) >= {share}'\n",
        **OTHERS | {"test_set_id": "failing1"},
        **main,
    )
    own = WAIT | {"thresholds": "", "promote": "stable"}
    judged, _ = run_step(world=server.world, **own, **main, run_id=launched.outputs["run_id"])
    assert (judged.outputs["verdict"], "stable" in server.world.runs[0].tags) == (verdict, tags), judged.log


def test_repetitions_are_judged_by_the_thresholds_of_the_first_run(launch: RunStep, run_step: RunStep) -> None:
    ran, server = run_step(**FLAKY)
    assert (len(server.world.runs), ran.outputs["verdict"]) == (2, "passed")
    _, other = launch(f"legs:\n  one:\n    thresholds: '{FLAKY['thresholds']}'\n", **OTHERS)
    brought = {name: value for name, value in metadata_of(other)[0].items() if name.startswith(THRESHOLDS)}
    metadata_of(server)[0].update(brought)
    judged, _ = run_step(world=server.world, **WAIT | {"thresholds": ""}, run_id=ran.outputs["run_ids"])
    assert (judged.outputs["verdict"], judged.outputs["reason"]) == ("passed", ran.outputs["reason"])
    first, _ = run_step(world=server.world, **WAIT | {"thresholds": ""}, run_id=ran.outputs["run_id"])
    assert first.outputs["verdict"] == "failed"


def test_launch_without_thresholds_is_as_ever(launch: RunStep) -> None:
    _, server = launch("legs:\n  plain: {iteration_count: 2}\n", **OTHERS)
    (metadata,) = metadata_of(server)
    assert not [name for name in metadata if name.startswith(("coval_gate_suite", THRESHOLDS))]
    assert "coval-gate/suite" not in server.world.runs[0].tags
