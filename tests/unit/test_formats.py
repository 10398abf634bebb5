"""The log and the step outputs: what a line of foreign text may do, which simulations are annotated, and figures."""

import json
import re
from functools import cache
from pathlib import Path

import pytest

from coval_gate.base.errors import GateError, RunnerError
from coval_gate.ci.github import GitHubHost
from coval_gate.coval.model import COMPLETED, Metric, RunResult, Simulation
from coval_gate.gate.judgement import Judgement, errored, interrupted
from coval_gate.gate.measure import Totals
from coval_gate.gate.verdict import Completed, Verdict
from coval_gate.report.model import LegReport, Report
from coval_sandbox.runner import read_log
from hostile import HARMLESS, NAMED, report_of
from readers import unprintable_characters
from rendering import (
    Step,
    aggregates,
    closing,
    outputs,
    summary,
)
from reports import large_report, with_leg
from support import host_of

METRICS_LIMIT = 64 * 1024  # our own; the limit for all outputs of a job is 1 MiB


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
    "name", [label for label, text in NAMED.items() if "::" in text or "##" in text or set("\x1b\r\x85") & set(text)]
)
def test_log_outside_github_has_no_commands(name: str, tmp_path: Path) -> None:
    report = report_of(NAMED[name])._replace(inputs=None)
    log = Step(tmp_path, {"GITHUB_ACTIONS": "", "GITHUB_OUTPUT": ""}).publish(report, NAMED[name]).log
    assert log.count("\n⚠️ Error: First ") == 1
    assert read_log(log) == []
    assert not re.search(r"^::|##[\[a-zA-Z]", log, re.MULTILINE)
    assert unprintable_characters(log) == set()


def test_harmless_log_stops_no_commands(tmp_path: Path) -> None:
    """The runner shows the lines that stop and resume commands."""
    log = Step(tmp_path).publish(harmless()).log
    assert "stop-commands" not in log


@pytest.mark.parametrize("name", [name for name, text in NAMED.items() if read_log(text)])
def test_foreign_lines_that_resemble_commands_are_quoted_with_unique_tokens(name: str, tmp_path: Path) -> None:
    text = NAMED[name]
    report = report_of(text)
    assert report.inputs
    step = Step(tmp_path).publish(report._replace(inputs=report.inputs._replace(annotations=False)))
    tokens = [command.data for command in read_log(step.log) if command.name == "stop-commands"]
    assert len(tokens) == len(set(tokens)) == 4
    assert all(re.fullmatch(r"[0-9a-f]{32}", token) for token in tokens)
    quoted = "\n".join(
        re.findall(r"::stop-commands::(\w+)\n(.*?)::\1::\n", step.log, re.DOTALL)[place][1] for place in range(4)
    )
    assert "First " in quoted  # a line of text from the API
    assert "✗ " in quoted  # a criterion
    assert "(1 of 3) (ill)" in quoted  # a simulation
    assert "passes now: " in quoted  # test cases that flipped


PARROT = "🦜"  # four bytes


def test_annotations_of_1000_simulations_are_nine_warnings_and_one_error(tmp_path: Path) -> None:
    step = Step(tmp_path).publish(large_report(1_000))
    assert len(step.commands("warning")) == 9
    (error,) = (command for command in read_log(step.log) if command.name == "error")
    note = "The worst 9 of 1,000 simulations to look at are annotated; the others are in the log and the summary."
    assert error.data.splitlines()[-1] == note


def test_log_names_simulation_and_its_status_once() -> None:
    """One that did not complete, without an error from Coval, and without the name or the id of a test case."""
    report = large_report(3)
    (leg,) = report.legs
    assert leg.result
    *others, failed = leg.result.simulations
    bare = Simulation(id=failed.id, status="CANCELLED")
    leg = leg._replace(result=leg.result._replace(simulations=(*others, bare)))
    shown = closing(report._replace(legs=(leg,)))
    assert shown.simulation_lines()[1].startswith(f"{bare.id} https://")
    assert shown.simulation_lines()[2] == "    Did not complete: CANCELLED"
    annotation, *_ = shown.annotations(9)
    assert annotation.message.split("\n")[1] == "Did not complete: CANCELLED"
    assert annotation.message.count(bare.id) == 2  # alone, and in the address


@pytest.mark.parametrize("before", [1, 8, 9, 12])
def test_earlier_warnings_count_towards_annotation_limit(before: int, tmp_path: Path) -> None:
    step = Step(tmp_path).publish(large_report(60), *["careful"] * before)
    assert len(step.commands("warning")) == min(10, max(9, before))
    assert len(step.commands("error")) == 1


def test_file_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    """The step tries to write it when it starts, and again at its end."""
    environ = {"GITHUB_OUTPUT": str(tmp_path)}
    host = host_of(GitHubHost, environ=environ)
    with pytest.raises(RunnerError) as caught:
        host.set_outputs({"passed": "false"})
    for error, warnings in ((caught.value, []), (GateError("Title", "What happened."), [caught.value.what])):
        step = Step(tmp_path, environ).publish(Report(judgement=errored(error)))
        assert error.what in next(command.data for command in read_log(step.log) if command.name == "error")
        assert [command.data for command in read_log(step.log) if command.name == "warning"] == warnings


def test_output_metrics_fits_limit_with_500_metrics() -> None:
    simulations = (Simulation(id="s1", status="COMPLETED"),)
    metrics = tuple(
        Metric(id=f"m{number}", name=f"{number} {PARROT * 90}", values={"s1": PARROT * 300}) for number in range(500)
    )
    rendered = aggregates(RunResult(run_id="r1", simulations=simulations, metrics=metrics))
    assert METRICS_LIMIT - 4000 < len(rendered.encode()) <= METRICS_LIMIT
    shown = {text for entry in json.loads(rendered).values() for text in entry["variants"]["agent"]["values"]}
    assert {len(text) for text in shown} == {100}
    assert [entry["id"] for entry in json.loads(rendered).values()] == [
        f"m{number}" for number in range(len(json.loads(rendered)))
    ]


def test_lists_of_ids_in_outputs_are_limited() -> None:
    result = RunResult(
        run_id="r1", simulations=tuple(Simulation(id=f"s{n:017}", status="FAILED") for n in range(2_100))
    )
    totals = Totals(total=2_100, completed=0, unpassed=tuple(member.id for member in result.simulations))
    judgement = Judgement(Verdict.PASSED, COMPLETED, Completed(result=result), totals=totals)
    rendered = outputs(Report(judgement=judgement, legs=(LegReport(judgement=judgement, result=result),)))
    assert len(json.loads(rendered["failed_simulations"])) == 2000
    assert sum(len(rendering) for rendering in rendered.values()) < 300_000


SIMULATIONS = (
    Simulation(id="s1", status="COMPLETED"),
    Simulation(id="s2", status="COMPLETED"),
    Simulation(id="s3", status="FAILED"),
    Simulation(id="s4", status="COMPLETED", mutation="Faster model"),
)


def test_aggregates_have_statistics_per_variant() -> None:
    result = RunResult(
        run_id="r1",
        simulations=SIMULATIONS,
        metrics=(
            Metric(id="m1", name="Latency", values={"s1": 1.0, "s2": 2.0, "s3": 9.0, "s4": 0.5}),
            Metric(id="m2", name="Resolved", values={"s1": "YES", "s2": "YES"}),
            Metric(id="m3", name="Topics", values={"s1": frozenset({"a", "b"}), "s2": frozenset({"a"})}),
        ),
    )
    assert json.loads(aggregates(result)) == {
        "Latency": {
            "id": "m1",
            "variants": {
                "agent": {
                    "count": 2, "missing": 1, "mean": 1.5, "stdev": 0.707107, "min": 1.0, "median": 1.5, "p95": 1.95,
                    "max": 2.0,
                },
                "Faster model": {
                    "count": 1, "missing": 0, "mean": 0.5, "stdev": 0.0, "min": 0.5, "median": 0.5, "p95": 0.5,
                    "max": 0.5,
                },
            },
        },
        "Resolved": {
            "id": "m2",
            "variants": {
                "agent": {"count": 2, "missing": 1, "values": {"YES": 2}},
                "Faster model": {"count": 0, "missing": 1},
            },
        },
        "Topics": {
            "id": "m3",
            "variants": {
                "agent": {"count": 2, "missing": 1, "values": {"a": 2, "b": 1}},
                "Faster model": {"count": 0, "missing": 1},
            },
        },
    }  # fmt: skip


def test_metrics_with_same_name_get_distinct_names() -> None:
    metrics = tuple(Metric(id=metric_id, name="Latency", values={"s1": 1.0}) for metric_id in ("m1", "m2"))
    result = RunResult(run_id="r1", simulations=SIMULATIONS, metrics=metrics)
    assert list(json.loads(aggregates(result))) == ["Latency", "Latency (m2)"]
