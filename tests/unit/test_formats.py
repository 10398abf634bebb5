"""Each format of a report with hostile texts is read back: its parts are those of a report with a harmless text."""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import pkgutil
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from browsing import legs_report, rich_report
from coval_gate.base.errors import GateError, InputError, RunnerError
from coval_gate.base.schedule import run
from coval_gate.base.text import one_line
from coval_gate.base.times import Times
from coval_gate.base.titles import DOCS
from coval_gate.ci import bitbucket, detect_host
from coval_gate.ci.github import GitHubHost
from coval_gate.ci.github_pages import state_of
from coval_gate.ci.host import Context
from coval_gate.coval.model import Details, Metric, RunResult, Simulation
from coval_gate.gate.checks import Check
from coval_gate.gate.judgement import UNFINISHED, Judgement, OfLegs, conclude, errored, interrupted
from coval_gate.gate.kinds import ThresholdHolds
from coval_gate.gate.measure import Measure, Totals
from coval_gate.gate.problems import NO_VALUES
from coval_gate.gate.verdict import Completed, Verdict
from coval_gate.inputs.inputs import Problem, declared, parse_inputs
from coval_gate.inputs.thresholds import ThresholdSyntaxError, parse_thresholds
from coval_gate.report import formats
from coval_gate.report.formats import ALWAYS, FILES
from coval_gate.report.formats.outputs import CRITERION_FIELDS, LEG_FIELDS, OUTPUTS
from coval_gate.report.formats.pages import PAGES
from coval_gate.report.markdown import code, escape
from coval_gate.report.model import LegReport, Report
from coval_gate.report.wording import reason
from coval_gate.step.publish import Publisher
from coval_gate.step.watch import progress_line
from coval_sandbox.runner import LocalRunner, read_log
from hostile import EARLIER_URL, GUIDE, HARMLESS, HOSTILE, NAMED, RUN_URL, WORKFLOW_RUN, report_of, with_leg
from rendering import (
    FACES,
    aggregates,
    check_lines,
    closing,
    comment,
    commit_status,
    composed,
    document,
    findings_in,
    junit,
    marker,
    outputs,
    rows_of,
    summary,
)
from selection import fewer, shares
from support import VirtualClock, runtime

# GitHub's limits, from its documentation and its runner.
SUMMARY_LIMIT = 1024 * 1024  # bytes
COMMENT_LIMIT = 65_536  # characters, like the limits below
METRICS_LIMIT = 64 * 1024  # our own; the limit for all outputs of a job is 1 MiB
ANNOTATION_LIMIT = 4096
DESCRIPTION_LIMIT = 140

MARKER = re.compile(r"<!-- coval-gate [0-9a-f]{24} -->")
EXPECTED_URLS = re.compile(
    rf"({re.escape(RUN_URL)}(/results/[\w-]+)?|{re.escape(EARLIER_URL)}|{re.escape(WORKFLOW_RUN)}|{re.escape(GUIDE)}|"
    rf"{re.escape(RUN_URL.rsplit('/runs/')[0])}/reports/new\?run_ids=[\w%,.~-]+|"
    rf"{re.escape(DOCS)}/troubleshooting\.md#[a-z-]+)"
)
# Text that GitHub acts on after rendering: mentions, issues, URLs, emoji codes.
ACTIVE_MARKUP = re.compile(r"@\w|#\d|\bGH-\d|\bwww\.|\w://|:[a-z0-9_+-]+:", re.IGNORECASE)
NOT_PLAIN_ASCII = re.compile(r"[^\n\t -~]")  # only these may be unprintable
ANY = st.text(st.characters())  # with lone surrogates
ACTIVE = st.text("\\`*_[]()<>|~$#@:/!&%;='\"-+.1 \t\n\r\x00\u2028\u200bax")
FOREIGN = ANY | ACTIVE | st.sampled_from([text for text in HOSTILE if len(text) < 10_000])


class RenderedPage:
    """A rendered page: its tags in order, its URLs, its comments, and the text outside code and links.

    cmark writes < and > only for tags and escapes all others, so any other tag came from a hostile text.
    """

    def __init__(self, markdown: str) -> None:
        options = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_FOOTNOTES
        text = cmarkgfm.github_flavored_markdown_to_html(markdown.encode("utf-8", "replace").decode(), options)
        self.tags: list[str] = []
        self.urls: list[str] = []
        self.comments: list[str] = []
        self.text = ""
        hidden = 0
        for part in re.split(r"(<!--.*?-->|<[^>]*>)", text, flags=re.DOTALL):
            if part.startswith("<!--"):
                self.comments.append(part)
            elif tag := re.fullmatch(r"<(/?\w+)(.*)>", part, re.DOTALL):
                self.tags.append(tag[1] + re.sub(r'"[^"]*"', "", tag[2]))
                self.urls += map(html.unescape, re.findall(r'(?:href|src)="?([^"]*)', tag[2]))
                hidden += {"code": 1, "a": 1, "/code": -1, "/a": -1}.get(tag[1], 0)
            elif not hidden:
                self.text += html.unescape(part)


@dataclass
class Step:
    """A step that publishes a report; its log and runner files remain."""

    directory: Path
    environ: dict[str, str] = field(default_factory=dict)

    def publish(self, report: Report, *warnings: str) -> Step:
        """Log and publish the report as the main step does, after the given warnings."""
        self.local, stream = LocalRunner(self.directory), io.StringIO()
        environ = self.local.environ({}) | self.environ
        given = runtime(VirtualClock(), environ=environ, stdout=stream)
        host = detect_host(given)
        publisher = Publisher(host, given)
        if report.inputs:
            assert publisher.prepare(report.inputs) == []
        for warning in warnings:
            host.annotate("warning", "Coval Gate", warning)
        for leg in report.legs:
            if leg.run:
                host.log(progress_line(leg.run, 60.0))
            host.quote(reason(report.judgement))
            host.quote(*check_lines(findings_in(leg)))
        self.written = run(publisher.publish(report, Times.of_step(0.0, 3600.0)), given.clock)
        self.log = stream.getvalue()
        return self

    def commands(self, name: str = "") -> list[tuple[str, list[str]]]:
        """Return the names of commands, and of their properties. Only some texts make the step stop commands."""
        commands = (line for line in read_log(self.log) if line.name != "stop-commands")
        return [(command.name, sorted(command.properties)) for command in commands if name in ("", command.name)]

    def file(self, name: str) -> str:
        return (self.local.workspace / "reports" / name).read_text(encoding="utf-8")


@cache
def harmless() -> Report:
    return report_of(HARMLESS)


def shape_of(value: Any, *, foreign: bool = False) -> Any:
    """Return the structure of JSON, without texts and numbers; with `foreign`, without its own keys, too."""
    if isinstance(value, dict):
        keyed_by_others = {"variants", "values", "explanations"} if not foreign else set()
        return [
            ("?" if foreign else key, shape_of(part, foreign=key in keyed_by_others))
            for key, part in value.items()
            if key != "telling"  # depends on what the explanations say
        ]
    if isinstance(value, list):
        return [shape_of(item) for item in value]
    return type(value).__name__


def xml_tags(xml: str) -> list[str]:
    """Return all tags with the names of their attributes in order, and all comments and instructions."""
    tags: list[str] = []

    class Target:
        def start(self, tag: str, attributes: dict[str, str]) -> None:
            tags.append(" ".join([tag, *attributes]))

        def end(self, tag: str) -> None:
            tags.append(f"/{tag}")

        def comment(self, data: str) -> None:
            tags.append(f"comment {data}")

        def pi(self, target: str, data: str | None = None) -> None:
            tags.append(f"instruction {target} {data}")

    ET.XMLParser(target=Target()).feed(xml)
    return tags


@dataclass(frozen=True)
class ReferenceParts:
    """The parts of each format of a harmless report."""

    summary: RenderedPage
    comment: RenderedPage
    junit: list[str]
    document: Any
    commands: list[tuple[str, list[str]]]
    outputs: dict[str, str]
    state: dict[str, str]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> ReferenceParts:
    step = Step(tmp_path_factory.mktemp("reference")).publish(harmless(), HARMLESS)
    return ReferenceParts(
        summary=RenderedPage(summary(harmless())),
        comment=RenderedPage(comment(harmless())),
        junit=xml_tags(step.file("junit.xml")),
        document=shape_of(json.loads(step.file("coval.json"))),
        commands=step.commands(),
        outputs=step.local.outputs,
        state=step.local.state,
    )


def assert_same_page(page: RenderedPage, reference: RenderedPage, text: str) -> None:
    """Assert that a page has the reference's tags, or fewer if the text is empty, and only expected URLs."""
    if one_line(text):
        assert page.tags == reference.tags
    else:
        assert set(page.tags) <= set(reference.tags)
    assert len(page.comments) == len(reference.comments)
    assert all(EXPECTED_URLS.fullmatch(url) for url in page.urls)
    assert not ACTIVE_MARKUP.search(page.text)


def assert_same_files(xml: str, whole: str, reference: ReferenceParts, text: str) -> None:
    """Assert that the JUnit and JSON reports have the reference's elements, or fewer if the text is empty."""
    tags, shape = xml_tags(xml), shape_of(json.loads(whole))
    if one_line(text):
        assert tags == reference.junit
        assert shape == reference.document
    else:
        assert set(tags) <= {*reference.junit, "failure type", "error type"}
        assert [*dict(shape)] == [*dict(reference.document)]


def assert_same_step(step: Step, reference: ReferenceParts, text: str) -> None:
    """Assert that a step has the reference's commands, outputs and files."""
    assert step.commands() == reference.commands
    outputs_now, free = step.local.outputs, {"reason", "metrics", "failed_criteria", "legs"}
    assert list(outputs_now) == list(OUTPUTS)
    assert {output: outputs_now[output] for output in outputs_now if output not in free} == {
        output: reference.outputs[output] for output in outputs_now if output not in free
    }
    assert len(json.loads(outputs_now["metrics"])) <= len(json.loads(reference.outputs["metrics"]))
    failed, reference_failed = (json.loads(outputs["failed_criteria"]) for outputs in (outputs_now, reference.outputs))
    assert len(failed) <= len(reference_failed)
    assert {tuple(criterion) for criterion in [*failed, *reference_failed]} == {(*CRITERION_FIELDS, "leg")}
    legs, reference_legs = (json.loads(outputs["legs"]) for outputs in (outputs_now, reference.outputs))
    assert [tuple(leg) for leg in legs] == [tuple(leg) for leg in reference_legs] == [tuple(LEG_FIELDS)] * len(legs)
    assert step.local.state == reference.state
    assert_same_page(RenderedPage(step.local.summary), reference.summary, text)
    assert unprintable_characters(step.local.summary) == set()
    assert_same_files(step.file("junit.xml"), step.file("coval.json"), reference, text)


def assert_same_comment(body: str, reference: ReferenceParts, text: str) -> None:
    """Assert that a comment has the reference's tags, and one HTML comment: the marker at its start."""
    page = RenderedPage(body)
    assert_same_page(page, reference.comment, text)
    (comment_marker,) = page.comments
    assert MARKER.fullmatch(comment_marker)
    assert body.startswith(f"{comment_marker}\n")
    assert unprintable_characters(body) == set()
    assert len(body) <= COMMENT_LIMIT


def assert_safe_log(log: str) -> None:
    """Assert that a log is safe without stop-commands, which other CI systems do not know and which has gaps."""
    tokens = [command.data for command in read_log(log) if command.name == "stop-commands"]
    ours = {f"::stop-commands::{token}" for token in tokens} | {f"::{token}::" for token in tokens}
    rest = "\n".join(line for line in log.split("\n") if line not in ours)
    assert read_log(rest) == [command for command in read_log(log) if command.name != "stop-commands"]
    assert not re.search(r"##[\[a-zA-Z]", "\n".join(line for line in rest.split("\n") if not line.startswith("::")))
    texts = [text for command in read_log(log) for text in (command.data, *command.properties.values())]
    notes = [command.data for command in read_log(log) if command.name in ("notice", "warning", "error")]
    assert all(len(text) <= ANNOTATION_LIMIT for text in notes)
    assert unprintable_characters(log) == unprintable_characters("".join(texts)) == set()
    log.encode()  # some streams do not replace lone surrogates


def unprintable_characters(text: str) -> set[str]:
    return {char for char in set(NOT_PLAIN_ASCII.findall(text)) if not char.isprintable()} - {"\u200b"}


@pytest.mark.parametrize("entries", shares(NAMED.items(), one_of=9))
def test_hostile_text_does_not_change_parts_of_any_format(
    entries: list[tuple[str, str]], reference: ReferenceParts, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    for place, (name, text) in enumerate(entries):
        with subtests.test(name):
            report, directory = report_of(text), tmp_path / str(place)
            directory.mkdir()
            step = Step(directory).publish(report, text)
            assert_same_step(step, reference, text)
            assert_safe_log(step.log)
            assert_same_comment(comment(report), reference, text)
            parsed = report_of(text, parsed=True)
            assert_same_page(RenderedPage(summary(parsed)), reference.summary, text)
            assert_same_files(junit(parsed), document(parsed), reference, text)


def test_every_format_module_is_registered() -> None:
    """The input that enables a format exists, but for the page that its host always shows."""
    modules = {module.name for module in pkgutil.iter_modules(formats.__path__)}
    assert modules == {*ALWAYS, *(file.name for file in FILES)}
    inputs = {declaration.name for declaration in declared()} | {bitbucket.INPUT}
    assert {*PAGES, *(file.input for file in FILES)} <= inputs
    for render in FACES.values():
        assert render(composed(harmless()))


def test_legs_are_distinct_in_every_format() -> None:
    """Each leg has its own criteria, simulations and names; the judgement of the step comes first."""
    report = harmless()
    legs = tuple(report.legs[0]._replace(name=name) for name in ("one", "two"))
    twice = report._replace(judgement=report.judgement._replace(of_legs=OfLegs(2, "one")), legs=legs)
    assert [leg["name"] for leg in json.loads(document(twice))["legs"]] == ["one", "two"]
    cases = [(case.get("classname"), case.get("name")) for case in ET.fromstring(junit(twice)).iter("testcase")]
    assert len(cases) == 2 * len([*ET.fromstring(junit(report)).iter("testcase")])
    assert {str(group).partition(": ")[0] for group, _ in cases} == {"Coval.one", "Coval.two"}
    assert "#### one" in summary(twice)
    assert len(rows_of(twice)) == 2 * len(rows_of(report))


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


@pytest.mark.parametrize("entries", shares(NAMED.items(), one_of=9))
def test_unusual_id_of_earlier_run_is_text_without_link(
    entries: list[tuple[str, str]], subtests: pytest.Subtests
) -> None:
    for name, text in entries:
        if not re.fullmatch(r"[\w-]*", text):
            with subtests.test(name):
                assert_no_link_to_earlier_run(text)


def assert_no_link_to_earlier_run(run_id: str) -> None:
    report = harmless()
    (leg,) = report.legs
    assert leg.judgement.baseline
    runs = tuple(earlier._replace(run=earlier.run._replace(run_id=run_id)) for earlier in leg.judgement.baseline.runs)
    judgement = leg.judgement._replace(baseline=leg.judgement.baseline._replace(runs=runs))
    changed = with_leg(report, judgement=judgement)
    for page in (RenderedPage(summary(changed)), RenderedPage(comment(changed))):
        assert all(EXPECTED_URLS.fullmatch(url) for url in page.urls)
        assert EARLIER_URL not in page.urls
        assert not ACTIVE_MARKUP.search(page.text)
        assert not {"img", "strong img", "em"} & set(page.tags)
    assert len(comment(changed)) <= COMMENT_LIMIT
    assert json.loads(document(changed))["legs"][0]["baseline"]["runs"][0]["url"] == ""


def test_id_is_percent_encoded_in_url() -> None:
    report = harmless()
    simulations = (Simulation(id="a)/../?b#<c>|%", status="FAILED"),)
    page = RenderedPage(summary(with_leg(report, result=RunResult(run_id="r1", simulations=simulations))))
    assert f"{RUN_URL}/results/a%29%2F..%2F%3Fb%23%3Cc%3E%7C%25" in page.urls


def test_commit_status_description_is_one_short_line() -> None:
    for text in HOSTILE:
        for verdict in Verdict:
            judgement = errored(GateError(text, text))._replace(verdict=verdict)
            status = commit_status(Report(judgement=judgement, legs=(LegReport(judgement=judgement, run_url=RUN_URL),)))
            assert state_of(status) in ("pending", "success", "failure", "error")
            assert 0 < len(status.title) <= DESCRIPTION_LIMIT
            assert status.title.isprintable()
            assert status.link == RUN_URL


@given(FOREIGN, st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=fewer(3))
def test_any_text_does_not_change_parts_of_any_format(
    reference: ReferenceParts, tmp_path: Path, text: str, parsed: bool
) -> None:
    report = report_of(text, parsed=parsed)
    assert_same_comment(comment(report), reference, text)
    step = Step(tmp_path).publish(report, text)
    assert_same_step(step, reference, text)
    assert_safe_log(step.log)


@given(FOREIGN)
@example("---")
@example("===")
@example("-")
@example("+")
@example("1.")
@example("2)")
@example("- ---")
@example("    code")
def test_escaped_text_at_start_of_line_is_plain_text(text: str) -> None:
    shown = escape(text)
    assert RenderedPage(shown).tags == ["p", "/p"] * bool(shown)
    assert RenderedPage(f"Before.\n{shown or 'x'}\nBehind.").tags == ["p", "/p"]
    assert RenderedPage(f"- {shown}").tags == ["ul", "li", "/li", "/ul"]


@given(st.text("`", min_size=1, max_size=250), ACTIVE)
@example("`" * 80, "<img src=x> **b**")
@example("`" * 199, "*x*")
def test_code_span_with_backticks_is_one_code_span(backticks: str, text: str) -> None:
    for variation in (backticks + text, text + backticks, f"x{backticks}{text}{backticks}"):
        assert RenderedPage(f"| | |\n|---|---|\n| a | {code(variation)} |\n").tags.count("code") == 1
        assert not {"img", "strong", "em", "a"} & set(RenderedPage(f"Commit {code(variation)} of mine").tags)


def test_unescaped_hostile_texts_are_active() -> None:
    """Prove that the tests above do not pass just because the texts are harmless."""
    reference = RenderedPage(HARMLESS)
    active = [
        name for name, text in NAMED.items() if RenderedPage(text).tags != reference.tags or ACTIVE_MARKUP.search(text)
    ]
    assert len(active) >= 35
    assert len([name for name, text in NAMED.items() if read_log(text)]) >= 9
    broken = 0
    for text in HOSTILE:
        try:
            assert xml_tags(f"<x>{text.encode('utf-8', 'replace').decode()}</x>") == ["start x", "end x"]
        except (ET.ParseError, AssertionError):
            broken += 1
    assert broken >= 12


def marker_of(context: Context, **inputs: str) -> str:
    """Return the marker of a step's comment."""
    given, _ = parse_inputs({f"INPUT_{name.upper()}": value for name, value in inputs.items()})
    return marker(Report(judgement=UNFINISHED, context=context, inputs=given))


def test_comment_marker_depends_on_step_and_not_on_attempt() -> None:
    context = harmless().context
    here = marker_of(context, agent_id="a1")
    assert marker_of(context._replace(run_attempt="2", sha="f" * 40, actor="other"), agent_id="a1") == here
    others = [
        marker_of(context._replace(workflow="other"), agent_id="a1"),
        marker_of(context._replace(job="other"), agent_id="a1"),
        marker_of(context._replace(step="other"), agent_id="a1"),
        marker_of(context, agent_id="a2"),
        marker_of(context, agent_id="a1", mutation_id="m1"),
    ]
    assert len({here, *others}) == 6


# Size limits

LARGE_COUNT = 30_000
PARROT = "🦜"  # four bytes


def large_report(count: int = LARGE_COUNT) -> Report:
    """Return a report on `count` simulations with long names; a third of them failed, with explanations."""
    ids = [f"simulation{number:016}" for number in range(count)]
    failed = tuple(ids[: count // 3])
    label = PARROT * 90
    check = Check(
        criterion=ThresholdHolds(threshold=parse_thresholds("Latency: max < 1")[0]),
        verdict=Verdict.FAILED,
        measure=Measure(value=2.0, unit="metric", count=count),
        metric="m1",
        simulations=failed,
    )
    result = RunResult(
        run_id="run1",
        simulations=tuple(
            Simulation(id=simulation_id, status="COMPLETED", test_case_id=f"c{simulation_id}") for simulation_id in ids
        ),
        metrics=(Metric(id="m1", name=label, values=dict.fromkeys(ids, 2.0)),),
    )
    judgement = conclude(Completed(result=result), (check,), Totals(total=count, completed=count, unpassed=failed))
    leg = LegReport(
        judgement=judgement,
        run_id="run1",
        run_url=RUN_URL,
        dashboard_url="https://app.coval.dev/acme",
        result=result,
        details=Details(
            labels={f"c{simulation_id}": f"{label} {simulation_id[-5:]}" for simulation_id in ids},
            texts={simulation_id: {"m1": label} for simulation_id in ids},
        ),
    )
    return Report(
        judgement=judgement,
        legs=(leg,),
        inputs=parse_inputs({"INPUT_DASHBOARD_URL": "https://app.coval.dev/acme"})[0],
    )


def test_links_name_their_legs_and_lead_to_the_html_report() -> None:
    report = legs_report()
    home = "https://github.com/acme/voice-agent/actions/runs/7"
    inputs = parse_inputs({"INPUT_HTML_PATH": "report.html"})[0]
    context = report.context._replace(run_url=f"{home}/attempts/2", artifacts_url=f"{home}#artifacts")

    def links(shown: Report) -> dict[str, str]:
        return {link.text: link.url for link in composed(shown).links}

    shown = links(report._replace(inputs=inputs, context=context))
    assert shown["HTML report (if the workflow uploads it)"] == f"{home}#artifacts"
    assert "Open Booking line (run3)" in shown
    assert not any(url.endswith("#artifacts") for url in links(report._replace(context=context)).values())


def test_comment_of_a_template_is_the_same_before_the_launch_and_after_it() -> None:
    inputs = parse_inputs({"INPUT_RUN_TEMPLATE_ID": "template1"})[0]
    judged = rich_report()._replace(inputs=inputs)
    assert judged.legs[0].run is not None
    assert marker(judged) == marker(judged._replace(legs=()))
    assert marker(judged) != marker(judged._replace(inputs=inputs._replace(run_template_id="template2")))


def table_row_counts(markdown: str) -> list[int]:
    """Return the number of rows of each table; assert that all rows are complete, and all details closed."""
    page = RenderedPage(markdown)
    assert page.tags.count("details") == page.tags.count("/details") == page.tags.count("summary")
    tables = re.findall(r"((?:^\|.*\n)+)", markdown, re.MULTILINE)
    assert page.tags.count("table") == len(tables)
    counts = []
    for table in tables:
        lines = table.splitlines()
        bars = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
        assert set(bars) == {bars[0]}
        assert all(line.endswith(" |") for line in lines if not line.startswith("|---"))
        counts.append(len(lines) - 2)
    return counts


UNFOLDED = 10  # rows of a table that is folded where it is longer


def shown_counts(markdown: str) -> list[tuple[int, int]]:
    notes = re.findall(r"^Showing ([\d,]+) of ([\d,]+)\.$", markdown, re.MULTILINE)
    return [(int(shown.replace(",", "")), int(total.replace(",", ""))) for shown, total in notes]


@pytest.mark.long
def test_markdown_with_30000_simulations_fits_in_complete_rows() -> None:
    report = large_report()
    text = summary(report)
    assert SUMMARY_LIMIT - 3000 < len(text.encode()) <= SUMMARY_LIMIT
    rows = table_row_counts(text)
    shown = shown_counts(text)
    assert [total for _, total in shown[:2]] == [LARGE_COUNT // 3 - UNFOLDED, LARGE_COUNT - LARGE_COUNT // 3]
    assert [rows[2], rows[-2]] == [count for count, _ in shown]  # to look at, and passed
    assert shown[0][0] > 500
    text = comment(report)
    assert COMMENT_LIMIT - 1000 < len(text) <= COMMENT_LIMIT
    rows = table_row_counts(text)
    assert shown_counts(text) == [(rows[-1], LARGE_COUNT // 3 - UNFOLDED)]
    assert rows[-1] > 50


def test_annotations_of_3000_simulations_are_nine_warnings_and_one_error(tmp_path: Path) -> None:
    step = Step(tmp_path).publish(large_report(3000))
    warnings = [command for command in read_log(step.log) if command.name == "warning"]
    assert len(warnings) == 9
    (error,) = (command for command in read_log(step.log) if command.name == "error")
    note = "The worst 9 of 1,000 simulations to look at are annotated; the others are in the log and the summary."
    assert error.data.splitlines()[-1] == note
    assert all(len(command.data) <= ANNOTATION_LIMIT for command in read_log(step.log))


def test_log_names_simulation_and_its_status_once() -> None:
    """One that did not complete, without an error from Coval, and without the name or the id of a test case."""
    report = large_report(3)
    (leg,) = report.legs
    assert leg.result
    failed, *others = leg.result.simulations
    bare = Simulation(id=failed.id, status="CANCELLED")
    leg = leg._replace(result=leg.result._replace(simulations=(bare, *others)))
    shown = closing(report._replace(legs=(leg,)))
    assert shown.simulation_lines()[1].startswith(f"{bare.id} https://")
    assert shown.simulation_lines()[2] == "    did not complete: CANCELLED"
    (annotation,) = shown.annotations(9)
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
    host = GitHubHost(environ, io.StringIO(), random.Random(0))
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
    rendered = outputs(large_report(9000))
    assert len(json.loads(rendered["failed_simulations"])) == 2000
    assert sum(len(rendering) for rendering in rendered.values()) < 300_000


def test_long_advice_fits_into_markdown() -> None:
    """Every line of the thresholds may be invalid."""
    with pytest.raises(ThresholdSyntaxError) as caught:
        parse_thresholds("\n".join(f"nonsense {number} {PARROT * 100} ```" for number in range(2000)))
    error = InputError([Problem("thresholds", f"has wrong lines.\n{caught.value}"), Problem("tags", "are too many.")])
    report = Report(judgement=errored(error))
    body, whole = comment(report), summary(report)
    assert len(body) <= COMMENT_LIMIT
    assert len(whole.encode()) <= SUMMARY_LIMIT
    for text in (body, whole):
        assert RenderedPage(f"{text}\n\n*last*").tags[-4:] == ["p", "em", "/em", "/p"]  # all blocks are closed


EMPTY_RESULT = RunResult(run_id="r1", simulations=())


def test_3000_reasons_and_criteria_fit_into_markdown() -> None:
    text = "&" * 600  # the character with the longest escaped form
    threshold = parse_thresholds("Latency: max < 1")[0]._replace(text=text)
    criterion = ThresholdHolds(threshold=threshold)
    checks = tuple(
        Check(
            criterion=criterion,
            verdict=Verdict.FAILED,
            problem=NO_VALUES.of(metric=f"{number} {text}"),
            variant=text,
            several=True,
        )
        for number in range(3000)
    )
    judgement = Judgement(verdict=Verdict.FAILED, status="", cause=Completed(result=EMPTY_RESULT), checks=checks)
    report = Report(judgement=judgement, legs=(LegReport(judgement=judgement),))
    assert len(comment(report)) <= COMMENT_LIMIT
    assert len(summary(report).encode()) <= SUMMARY_LIMIT
    assert [total for _, total in shown_counts(comment(report))] == [2999, 3000 - UNFOLDED]


# Reproducible output


def render_all(text: str) -> Iterator[str]:
    report = report_of(text)
    yield from (summary(report), comment(report), junit(report), document(report), json.dumps(outputs(report)))
    checks = "\n".join(line for leg in report.legs for line in check_lines(findings_in(leg)))
    yield from (checks, "\n".join(closing(report).simulation_lines()), str(commit_status(report)))


def digest() -> str:
    whole = "\n".join(rendering for text in (HARMLESS, "a | b", "agent", PARROT) for rendering in render_all(text))
    return hashlib.sha256(whole.encode()).hexdigest()


def test_same_report_renders_same_bytes_in_every_process() -> None:
    """The order of sets differs between processes."""
    program = "import sys; sys.path[:0] = sys.argv[1:]; import test_formats; print(test_formats.digest())"
    here, seed = Path(__file__).parent, "1" if os.environ.get("PYTHONHASHSEED") == "2" else "2"
    other = subprocess.run(
        [sys.executable, "-c", program, str(here), str(here.parent)],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == digest()
