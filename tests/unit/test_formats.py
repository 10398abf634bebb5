"""The log and the outputs, the digest, and JUnit: what foreign text may do, what each contains and means to others.

Every report of the table is valid and read alike: unit/test_reports.py.
"""

import io
import json
import re
import shlex
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from ruamel.yaml import YAML

from browsing import rich_report
from coval_gate.base.errors import GateError, RunnerError
from coval_gate.ci.github import GitHubHost
from coval_gate.coval.model import Metric, RunResult, Turn
from coval_gate.features.files.digest import LIMIT, prompt_of
from coval_gate.gate.judgement import INTERRUPTED_STEP, errored
from coval_gate.inputs.checks import check_inputs
from coval_gate.inputs.inputs import MOST_TEST_CASES, effective, parse_inputs
from coval_gate.inputs.parsing import matrix_of
from coval_gate.report.document.model import Report
from coval_gate.report.formats.log import case_ids
from coval_sandbox.runner import read_log
from hostile import HARMLESS, NAMED, report_of
from readers import unprintable_characters
from rendering import Step, composed, digest, findings_in, junit, outputs, rows_of, summary
from reports import example_reports, large_report, simulation, with_leg
from support import KEY, host_of, inputs_of


@cache
def harmless() -> Report:
    return report_of(HARMLESS)


def test_result_is_shown_without_judgement() -> None:
    """The step may be interrupted after it collected the results, and before it judged them."""
    report = with_leg(harmless(), judgement=INTERRUPTED_STEP)
    assert "#### Metrics" in summary(report)
    assert outputs(report)["metrics"] == outputs(harmless())["metrics"]
    assert outputs(report)["pass_rate"] == ""


@pytest.mark.parametrize(
    "name",
    [f"command {how}" for how in ("after line break", "after separators", "in old syntax", "of Azure")] + ["terminal"],
)
def test_log_outside_github_has_no_commands(name: str, tmp_path: Path) -> None:
    report = report_of(NAMED[name])._replace(inputs=inputs_of())
    log = Step(tmp_path, {"GITHUB_ACTIONS": "", "GITHUB_OUTPUT": ""}).publish(report, NAMED[name]).log
    assert log.count("\nError: First ") == 1
    assert log.splitlines()[-1].startswith("⚠️ Error: ")
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


def test_file_that_cannot_be_written_is_reported_once(tmp_path: Path) -> None:
    """The step tries to write it when it starts, and again at its end."""
    environ = {"GITHUB_OUTPUT": str(tmp_path)}
    with pytest.raises(RunnerError) as caught:
        host_of(GitHubHost, environ=environ).set_outputs({"passed": "false"})
    for error, warnings in ((caught.value, []), (GateError("Title", "What happened."), [caught.value.what])):
        step = Step(tmp_path, environ).publish(Report(errored(error), inputs_of()))
        assert error.what in next(command.data for command in read_log(step.log) if command.name == "error")
        assert [command.data for command in read_log(step.log) if command.name == "warning"] == warnings


@pytest.mark.parametrize("before", [0, 9, 12])
def test_worst_simulations_are_annotated_as_far_as_earlier_warnings_leave_room(before: int, tmp_path: Path) -> None:
    step = Step(tmp_path).publish(large_report(60), *["careful"] * before)
    assert len(step.commands("warning")) == min(10, max(9, before))
    assert "stop-commands" not in step.log, "the runner shows such lines, so a harmless log has none"
    (error,) = (command for command in read_log(step.log) if command.name == "error")
    if before == 0:
        note = "The worst 9 of 60 test cases to look at are annotated; the others are in the log and the summary."
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


def test_digests_match_golden_files(golden: Callable[[str, str], None]) -> None:
    names = {
        "did-not-complete": "failed, simulation did not complete",
        "iteration": "failed, iteration",
    }
    for file, name in names.items():
        golden(f"digest/{file}.md", digest(example_reports()[name]))
    golden("digest/everything.md", digest(rich_report()))
    (leg,) = composed(rich_report()).legs
    golden("digest/prompt.md", prompt_of(composed(rich_report()), leg, leg.simulations[0]))


def test_large_digest_is_cut_by_whole_cases() -> None:
    report = large_report(210, lines=12, variants=21)
    page = digest(report)
    assert len(page.encode()) <= LIMIT
    total = len([row for row in findings_in(report.legs[0]).simulations if row.fails])
    cases = [int(match.replace(",", "")) for match in re.findall(r"^#{3,4} Case ([\d,]+):", page, re.MULTILINE)]
    assert cases == [*range(1, len(cases) + 1)]
    assert len(cases) >= 3
    assert f"Showing {len(cases):,} of {total:,}." in page
    assert page.count("```") % 2 == 0
    assert page.rstrip().endswith("```")
    assert len(case_ids(composed(report).legs[0].simulations)) <= MOST_TEST_CASES


def report_with(**inputs: str) -> Report:
    given = {"agent_id": "agent1", "persona_id": "p1", "test_set_id": "set1", "api_key": KEY} | inputs
    return example_reports()["failed, two criteria"]._replace(inputs=inputs_of(**given))


@pytest.mark.parametrize("given", [{}, {"sub_sample_size": "3", "sub_sample_seed": "7"}])
def test_inputs_of_repetition_are_valid_with_all_others(given: dict[str, str]) -> None:
    """What a part of the test set cannot meet, and what would make it a baseline, is unset."""
    (block,) = re.findall(r"```yaml\n(.*?)```", digest(report_with(**given)), re.DOTALL)
    again = {str(name): str(value) for name, value in YAML(typ="safe").load(block).items()}
    inputs = report_with(**given | again).inputs
    assert inputs
    check_inputs(inputs, [], {}, "")
    assert inputs.test_case_ids == ("case-s4",)
    assert inputs.sub_sample_size in (None, 0)


@pytest.mark.parametrize(
    "given",
    [
        {"thresholds": 'Latency: max < 1.5\n"It\'s `x` $HOME": rate(YES) >= 90%'},
        {"thresholds": "? Resolved: rate(YES) >= 1%"},
    ],
)
def test_command_repeats_with_the_same_inputs(given: dict[str, str]) -> None:
    report = report_with(**given, iteration_count="3", use_metric_targets="true")
    (block,) = re.findall(r"```+sh\n(.*?)```", digest(report), re.DOTALL)
    words = shlex.split(block)
    assert (words[:4], words[-1]) == (["docker", "run", "--rm", "--env"], "coval-gate")
    inputs, problems = parse_inputs(dict(word.split("=", 1) for word in words if word.startswith("INPUT_")))
    assert not problems
    assert report.inputs
    expected = report.inputs._replace(api_key=None, test_case_ids=("case-s4",), persona_id=("p1",))
    names = [declaration.name for declaration in effective() if declaration.name != "github_token"]
    assert [(name, getattr(inputs, name)) for name in names] == [(name, getattr(expected, name)) for name in names]
    assert KEY not in digest(report)


def test_command_is_left_out_where_it_would_lack_a_secret() -> None:
    assert "docker run" in digest(report_with())
    assert "docker run" not in digest(report_with(config_overrides='{"token": "x"}'))


def test_ids_that_no_input_accepts_are_not_offered() -> None:
    members = tuple(
        simulation(f"s{number}", test_case_id=case, status="FAILED")
        for number, case in enumerate(["a b", "", "x" * 65, "ok"])
    )
    report = with_leg(example_reports()["failed, error reported"], result=RunResult(run_id="run1", simulations=members))
    assert case_ids(composed(report).legs[0].simulations) == ("ok",)


GATE = "Coval.criteria of the gate"


def root_of(report: Report) -> ET.Element:
    return ET.fromstring(junit(report))


def cases_of(report: Report) -> list[ET.Element]:
    return [*root_of(report).iter("testcase")]


def test_mutations_named_like_our_suites_stay_distinct() -> None:
    """Two suites must not have the same name."""
    root = root_of(mutated_report("gate", "agent", "Calm"))
    assert [(suite.attrib["name"], suite.attrib["tests"]) for suite in root] == [
        ("Coval.simulations of agent", "1"),
        ("Coval.simulations of Calm", "1"),
        ("Coval.simulations of agent (mutation)", "1"),
        ("Coval.simulations of gate", "1"),
        (GATE, "4"),
    ]


def mutated_report(*mutations: str) -> Report:
    """Return a report on a simulation of the agent and one of each mutation."""
    members = tuple(simulation(f"s{place}", mutation=name) for place, name in enumerate(("", *mutations)))
    return with_leg(example_reports()["passed"], result=RunResult(run_id="r1", simulations=members))


@pytest.mark.parametrize("seconds", [0.0, 1e-7, 62.50049, 432000.0])
def test_suite_without_known_times_has_the_time_of_the_step_as_plain_decimal(seconds: float) -> None:
    root = root_of(example_reports()["passed"]._replace(seconds=seconds))
    assert {float(element.attrib["time"]) for element in (root, *root)} == {round(seconds, 3)}
    assert not [case for case in root.iter("testcase") if "time" in case.attrib]


def conversed(report: Report, transcripts: dict[str, tuple[Turn, ...]]) -> ET.Element:
    """Return the report with these conversations."""
    return root_of(with_leg(report, details=report.legs[0].details._replace(transcripts=transcripts)))


def spoken(start: float | None = None, end: float | None = None) -> Turn:
    return Turn(role="agent", text="Hello", start=start, end=end)


def test_case_has_the_time_of_its_conversation_where_it_is_known() -> None:
    """Times add up without the errors of binary fractions."""
    talks = {"s4": (spoken(0.0, 2.5), spoken(3.0, 4.25)), "s1": (spoken(), spoken()), "s2": (spoken(0.0),)}
    root = conversed(example_reports()["failed"], talks)
    cases = [case for case in root[0] if case.tag == "testcase"]
    ids = [re.findall(r"simulation (\S+)", case.findtext("system-out") or "")[0] for case in cases]
    times = dict(zip(ids, (case.get("time") for case in cases), strict=True))
    assert times == {"s4": "4.25", "s1": None, "s2": None, "s3": None}
    assert root[0].attrib["time"] == "4.25"
    assert [case.get("time") for case in root[-1].iter("testcase")] == [None] * 3
    tenths = conversed(example_reports()["failed"], {f"s{place}": (spoken(end=place / 10),) for place in (1, 2)})
    assert tenths[0].attrib["time"] == "0.3"


def test_whole_lasts_no_less_than_any_suite() -> None:
    """Conversations run side by side, so all of them together may be longer than the step."""
    report = example_reports()["passed"]._replace(seconds=2.5)
    root = conversed(report, {row.simulation.id: (spoken(0.0, 40.25),) for row in rows_of(report)})
    first, gate = root
    assert first.attrib["time"] == root.attrib["time"] == str(40.25 * len(rows_of(report)))
    assert gate.attrib["time"] == "2.5"


def test_result_comes_before_the_output() -> None:
    """A reader that replaces its case at the result loses an output that it has read before."""
    parser: Any = import_module("xunitparser")
    suite, _ = parser.parse(io.StringIO(junit(example_reports()["failed"])))
    (failed,) = (case for case in suite if case.failed and "simulations" in case.classname)
    assert failed.stdout.startswith("simulation s4")


def test_no_class_name_looks_like_a_file_and_each_has_one_dot() -> None:
    """Tools look for a file that is named like what stands behind the last dot, or like all of it as a path.

    Jenkins shows what stands before the last dot as the package.
    """
    report = example_reports()["passed"]
    in_matrix = report._replace(context=report.context._replace(matrix=matrix_of({"python": "3.13", "region": "eu"})))
    named = mutated_report("agent", "gate", "GPT-4.1 mini", "README.md", "src/agent.py", "*", "Calmer")
    cases = [case for one in (*example_reports().values(), named, in_matrix) for case in cases_of(one)]
    groups = {case.attrib["classname"] for case in cases}
    assert "Coval.simulations of GPT-4·1 mini" in groups
    assert [group for group in groups if not re.fullmatch(r"Coval\.(simulations|criteria) of [^.]+", group)] == []
    assert not [case for case in cases if "file" in case.attrib]
