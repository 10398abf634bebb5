"""The log and the step outputs: what a line of foreign text may do, which simulations are annotated, and figures."""

import json
import re
from functools import cache
from pathlib import Path

import pytest

from coval_gate.coval.model import Metric, RunResult
from coval_gate.gate.judgement import interrupted
from coval_gate.report.model import Report
from coval_sandbox.runner import read_log
from hostile import HARMLESS, NAMED, report_of
from readers import unprintable_characters
from rendering import Step, outputs, summary
from reports import large_report, simulation, with_leg


@cache
def harmless() -> Report:
    return report_of(HARMLESS)


def test_result_is_shown_without_judgement() -> None:
    """The step may be interrupted after it collected the results, and before it judged them."""
    report = with_leg(harmless(), judgement=interrupted())
    assert "#### Metrics" in summary(report)
    assert outputs(report)["metrics"] == outputs(harmless())["metrics"]
    assert outputs(report)["pass_rate"] == ""


@pytest.mark.parametrize(
    "name",
    [f"command {how}" for how in ("after line break", "after separators", "in old syntax", "of Azure")] + ["terminal"],
)
def test_log_outside_github_has_no_commands(name: str, tmp_path: Path) -> None:
    report = report_of(NAMED[name])._replace(inputs=None)
    log = Step(tmp_path, {"GITHUB_ACTIONS": "", "GITHUB_OUTPUT": ""}).publish(report, NAMED[name]).log
    assert log.count("\n⚠️ Error: First ") == 1
    assert read_log(log) == []
    assert not re.search(r"^::|##[\[a-zA-Z]", log, re.MULTILINE)
    assert unprintable_characters(log) == set()


@pytest.mark.parametrize("name", ["command", "command after separators"])
def test_foreign_lines_that_resemble_commands_are_quoted_with_unique_tokens(name: str, tmp_path: Path) -> None:
    report = report_of(NAMED[name])
    assert report.inputs
    step = Step(tmp_path).publish(report._replace(inputs=report.inputs._replace(annotations=False)))
    tokens = [command.data for command in read_log(step.log) if command.name == "stop-commands"]
    assert len(tokens) == len(set(tokens)) == 4
    assert all(re.fullmatch(r"[0-9a-f]{32}", token) for token in tokens)
    quoted = "\n".join(part for _, part in re.findall(r"::stop-commands::(\w+)\n(.*?)::\1::\n", step.log, re.DOTALL))
    for part in ("First ", "✗ ", "(1 of 3) (ill)", "passes now: "):  # an error, a criterion, a simulation, a flip
        assert part in quoted


@pytest.mark.parametrize("before", [0, 9, 12])
def test_worst_simulations_are_annotated_as_far_as_earlier_warnings_leave_room(before: int, tmp_path: Path) -> None:
    step = Step(tmp_path).publish(large_report(60), *["careful"] * before)
    assert len(step.commands("warning")) == min(10, max(9, before))
    assert "stop-commands" not in step.log, "the runner shows such lines, so a harmless log has none"
    (error,) = (command for command in read_log(step.log) if command.name == "error")
    if before == 0:
        note = "The worst 9 of 60 simulations to look at are annotated; the others are in the log and the summary."
        assert error.data.splitlines()[-1] == note


def test_metrics_of_one_name_stay_distinct_and_each_has_its_variants() -> None:
    members = (simulation("s1"), simulation("s2", status="FAILED"), simulation("s3", mutation="Faster model"))
    metrics = (
        Metric(id="m1", name="Latency", values={"s1": 1.0, "s2": 9.0, "s3": 0.5}),
        Metric(id="m3", name="Latency", values={"s1": frozenset({"a", "b"})}),
    )
    report = with_leg(harmless(), result=RunResult(run_id="r1", simulations=members, metrics=metrics))
    one = {"count": 1, "missing": 0, "stdev": 0.0, **dict.fromkeys(("mean", "min", "median", "p95", "max"), 0.5)}
    numbers = one | {"missing": 1} | dict.fromkeys(("mean", "min", "median", "p95", "max"), 1.0)
    texts = {
        "agent": {"count": 1, "missing": 1, "values": {"a": 1, "b": 1}},
        "Faster model": {"count": 0, "missing": 1},
    }
    assert json.loads(outputs(report)["metrics"]) == {
        "Latency": {"id": "m1", "variants": {"agent": numbers, "Faster model": one}},
        "Latency (m3)": {"id": "m3", "variants": texts},
    }
