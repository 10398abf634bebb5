"""The log and the step outputs: what a line of foreign text may do, which simulations are annotated, and figures."""

import json
import re
from functools import cache
from pathlib import Path

import pytest

from coval_gate.base.errors import GateError, RunnerError
from coval_gate.ci.github import GitHubHost
from coval_gate.coval.model import Metric, RunResult, Simulation
from coval_gate.gate.judgement import errored, interrupted
from coval_gate.report.model import Report
from coval_sandbox.runner import read_log
from hostile import HARMLESS, NAMED, report_of
from readers import unprintable_characters
from rendering import Step, aggregates, outputs, summary
from reports import large_report, with_leg
from support import host_of


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


def test_file_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    """The step tries to write it when it starts, and again at its end."""
    environ = {"GITHUB_OUTPUT": str(tmp_path)}
    with pytest.raises(RunnerError) as caught:
        host_of(GitHubHost, environ=environ).set_outputs({"passed": "false"})
    for error, warnings in ((caught.value, []), (GateError("Title", "What happened."), [caught.value.what])):
        step = Step(tmp_path, environ).publish(Report(judgement=errored(error)))
        assert error.what in next(command.data for command in read_log(step.log) if command.name == "error")
        assert [command.data for command in read_log(step.log) if command.name == "warning"] == warnings


def test_aggregates_have_statistics_per_variant_and_distinct_names() -> None:
    result = RunResult(
        run_id="r1",
        simulations=(
            Simulation(id="s1", status="COMPLETED"),
            Simulation(id="s2", status="COMPLETED"),
            Simulation(id="s3", status="FAILED"),
            Simulation(id="s4", status="COMPLETED", mutation="Faster model"),
        ),
        metrics=(
            Metric(id="m1", name="Latency", values={"s1": 1.0, "s2": 2.0, "s3": 9.0, "s4": 0.5}),
            Metric(id="m2", name="Resolved", values={"s1": "YES", "s2": "YES"}),
            Metric(id="m3", name="Latency", values={"s1": frozenset({"a", "b"}), "s2": frozenset({"a"})}),
        ),
    )
    numbers = {"count": 2, "missing": 1, "mean": 1.5, "stdev": 0.707107, "min": 1.0, "median": 1.5, "p95": 1.95}
    one = {"count": 1, "missing": 0, "stdev": 0.0, **dict.fromkeys(("mean", "min", "median", "p95", "max"), 0.5)}
    none = {"count": 0, "missing": 1}
    assert json.loads(aggregates(result)) == {
        "Latency": {"id": "m1", "variants": {"agent": numbers | {"max": 2.0}, "Faster model": one}},
        "Resolved": {
            "id": "m2",
            "variants": {"agent": {"count": 2, "missing": 1, "values": {"YES": 2}}, "Faster model": none},
        },
        "Latency (m3)": {
            "id": "m3",
            "variants": {"agent": {"count": 2, "missing": 1, "values": {"a": 2, "b": 1}}, "Faster model": none},
        },
    }
