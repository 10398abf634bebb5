"""Every face of a step, made of hostile texts and read back: it has the parts that it has with a harmless text."""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import pkgutil
import re
import subprocess
import sys
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coval_gate.ci.detect import detect_host
from coval_gate.config.inputs import Problem, declared, parse_inputs
from coval_gate.config.thresholds import ThresholdSyntaxError, parse_thresholds
from coval_gate.errors import GateError, InputError
from coval_gate.judge.criteria import ThresholdHolds
from coval_gate.judge.measure import Measure
from coval_gate.judge.problems import NoValues
from coval_gate.judge.variants import variants_of
from coval_gate.judge.verdict import UNFINISHED, Check, Judgement, Totals, Verdict, conclude, errored, interrupted
from coval_gate.model.outcomes import Completed
from coval_gate.model.results import LARGEST, Details, Metric, RunResult, Simulation
from coval_gate.publish.publisher import Publisher
from coval_gate.report import formats
from coval_gate.report.charts import histogram
from coval_gate.report.formats import FORMATS
from coval_gate.report.formats.comment import marker
from coval_gate.report.formats.log import check_lines, simulation_lines
from coval_gate.report.formats.outputs import OUTPUTS
from coval_gate.report.markdown import code, escape
from coval_gate.report.metrics import aggregates
from coval_gate.report.model import LegReport, Report
from coval_gate.report.simulations import simulation_rows
from coval_gate.report.wording.judgements import reason
from coval_gate.runs.progress import progress_line
from coval_gate.text import one_line
from coval_sandbox.runner import LocalRunner, read_log
from hostile import GUIDE, HARMLESS, HOSTILE, NAMED, RUN_URL, WORKFLOW_RUN, report_of, with_leg
from support import VirtualClock, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.ci.context import Context

# What GitHub takes, by its documentation and by what its runner does.
SUMMARY_LIMIT = 1024 * 1024  # bytes
COMMENT_LIMIT = 65_536  # characters, as all that follow
METRICS_LIMIT = 64 * 1024  # our own: all outputs of a job have a megabyte
ANNOTATION_LIMIT = 4096
DESCRIPTION_LIMIT = 140

MARK = re.compile(r"<!-- coval-gate [0-9a-f]{24} -->")
summary, comment, junit, document, outputs, commit_status = (
    next(each.render for each in FORMATS if each.name == name)
    for name in ("summary", "comment", "junit", "json", "outputs", "status")
)
ADDRESSES = re.compile(rf"({re.escape(RUN_URL)}(/results/[\w-]+)?|{re.escape(WORKFLOW_RUN)}|{re.escape(GUIDE)})")
# What GitHub acts on in text that is rendered already: mentions, issues, addresses, emoji codes.
ACTED_ON = re.compile(r"@\w|#\d|\bGH-\d|\bwww\.|\w://|:[a-z0-9_+-]+:", re.IGNORECASE)
ODD = re.compile(r"[^\n\t -~]")  # what may be unprintable
ANY = st.text(st.characters())  # with lone surrogates
ACTIVE = st.text("\\`*_[]()<>|~$#@:/!&%;='\"-+.1 \t\n\r\x00\u2028\u200bax")
FOREIGN = ANY | ACTIVE | st.sampled_from([text for text in HOSTILE if len(text) < 10_000])


class Page:
    """A rendered page: its tags in order, what it links to, its comments, and the text outside of code and links.

    cmark writes no bare < or > but those of tags, so that whatever else is one came from outside.
    """

    def __init__(self, markdown: str) -> None:
        options = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_FOOTNOTES
        text = cmarkgfm.github_flavored_markdown_to_html(markdown.encode("utf-8", "replace").decode(), options)
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.comments: list[str] = []
        self.text = ""
        hidden = 0
        for part in re.split(r"(<!--.*?-->|<[^>]*>)", text, flags=re.DOTALL):
            if part.startswith("<!--"):
                self.comments.append(part)
            elif tag := re.fullmatch(r"<(/?\w+)(.*)>", part, re.DOTALL):
                self.tags.append(tag[1] + re.sub(r'"[^"]*"', "", tag[2]))
                self.addresses += map(html.unescape, re.findall(r'(?:href|src)="?([^"]*)', tag[2]))
                hidden += {"code": 1, "a": 1, "/code": -1, "/a": -1}.get(tag[1], 0)
            elif not hidden:
                self.text += html.unescape(part)


@dataclass
class Step:
    """A step that published a report: what its runner is left with."""

    directory: Path
    environ: dict[str, str] = field(default_factory=dict)

    def publish(self, report: Report, *warnings: str) -> Step:
        """Log and publish as the road does, with a few warnings before."""
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
            with host.quotation():
                for line in check_lines(leg.judgement):
                    host.log(line)
        host.fold(f"Simulations to look at: {reason(report.judgement)}", simulation_lines(report))
        self.written = publisher.publish(report)
        self.log = stream.getvalue()
        return self

    def commands(self, name: str = "") -> list[tuple[str, list[str]]]:
        return [(each.name, sorted(each.properties)) for each in read_log(self.log) if name in ("", each.name)]

    def file(self, name: str) -> str:
        return (self.local.workspace / "reports" / name).read_text(encoding="utf-8")


@cache
def harmless() -> Report:
    return report_of(HARMLESS)


def shape(value: Any, *, foreign: bool = False) -> Any:
    """What JSON is made of, without its texts and numbers; with `foreign`, its keys are no part of it either."""
    if isinstance(value, dict):
        keyed_by_others = {"variants", "values", "explanations"} if not foreign else set()
        return [("?" if foreign else key, shape(each, foreign=key in keyed_by_others)) for key, each in value.items()]
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value).__name__


def tags_of(xml: str) -> list[str]:
    """Every tag and its attributes' names in order, comments and instructions as well."""
    found: list[str] = []

    class Target:
        def start(self, tag: str, attributes: dict[str, str]) -> None:
            found.append(" ".join([tag, *attributes]))

        def end(self, tag: str) -> None:
            found.append(f"/{tag}")

        def comment(self, data: str) -> None:
            found.append(f"comment {data}")

        def pi(self, target: str, data: str | None = None) -> None:
            found.append(f"instruction {target} {data}")

    ET.XMLParser(target=Target()).feed(xml)
    return found


@dataclass(frozen=True)
class Usual:
    """What the faces of a harmless report are made of."""

    summary: Page
    comment: Page
    junit: list[str]
    document: Any
    commands: list[tuple[str, list[str]]]
    outputs: dict[str, str]
    state: dict[str, str]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Usual:
    step = Step(tmp_path_factory.mktemp("usual")).publish(harmless(), HARMLESS)
    return Usual(
        summary=Page(summary(harmless())),
        comment=Page(comment(harmless())),
        junit=tags_of(step.file("junit.xml")),
        document=shape(json.loads(step.file("coval.json"))),
        commands=step.commands(),
        outputs=step.local.outputs,
        state=step.local.state,
    )


def same_page(page: Page, usual: Page, text: str) -> None:
    """The usual tags, but for what is left out where there is nothing to show; nothing leads elsewhere."""
    if one_line(text):
        assert page.tags == usual.tags
    else:
        assert set(page.tags) <= set(usual.tags)
    assert len(page.comments) == len(usual.comments)
    assert all(ADDRESSES.fullmatch(each) for each in page.addresses)
    assert not ACTED_ON.search(page.text)


def same_files(xml: str, whole: str, usual: Usual, text: str) -> None:
    """The usual elements of a JUnit report and of a document, but for what is left out where there is nothing."""
    tags, found = tags_of(xml), shape(json.loads(whole))
    if one_line(text):
        assert tags == usual.junit
        assert found == usual.document
    else:
        assert set(tags) <= {*usual.junit, "failure type", "error type"}
        assert [*dict(found)] == [*dict(usual.document)]


def same_step(step: Step, usual: Usual, text: str) -> None:
    """The usual commands, outputs and files."""
    assert step.commands() == usual.commands
    found, free = step.local.outputs, {"reason", "metrics"}
    assert list(found) == list(OUTPUTS)
    assert {each: found[each] for each in found if each not in free} == {
        each: usual.outputs[each] for each in found if each not in free
    }
    assert len(json.loads(found["metrics"])) <= len(json.loads(usual.outputs["metrics"]))
    assert step.local.state == usual.state
    same_page(Page(step.local.summary), usual.summary, text)
    assert odd_characters(step.local.summary) == set()
    same_files(step.file("junit.xml"), step.file("coval.json"), usual, text)


def same_comment(body: str, usual: Usual, text: str) -> None:
    """The usual tags, and no comment in HTML but the marker that it begins with."""
    page = Page(body)
    same_page(page, usual.comment, text)
    (mark,) = page.comments
    assert MARK.fullmatch(mark)
    assert body.startswith(f"{mark}\n")
    assert odd_characters(body) == set()
    assert len(body) <= COMMENT_LIMIT


def safe_log(log: str) -> None:
    """Nothing in it rests on stop-commands: other CI systems do not know it, and it does not cover everything."""
    tokens = [each.data for each in read_log(log) if each.name == "stop-commands"]
    ours = {f"::stop-commands::{token}" for token in tokens} | {f"::{token}::" for token in tokens}
    rest = "\n".join(line for line in log.split("\n") if line not in ours)
    assert read_log(rest) == [each for each in read_log(log) if each.name != "stop-commands"]
    assert not re.search(r"##[\[a-zA-Z]", "\n".join(line for line in rest.split("\n") if not line.startswith("::")))
    texts = [text for each in read_log(log) for text in (each.data, *each.properties.values())]
    notes = [each.data for each in read_log(log) if each.name in ("notice", "warning", "error")]
    assert all(len(text) <= ANNOTATION_LIMIT for text in notes)
    assert odd_characters(log) == odd_characters("".join(texts)) == set()
    log.encode()  # not every stream replaces what is no UTF-8


def odd_characters(text: str) -> set[str]:
    return {char for char in set(ODD.findall(text)) if not char.isprintable()} - {"\u200b"}


@pytest.mark.parametrize("name", NAMED)
def test_every_face_has_its_usual_parts(name: str, usual: Usual, tmp_path: Path) -> None:
    text = NAMED[name]
    report = report_of(text)
    step = Step(tmp_path).publish(report, text)
    same_step(step, usual, text)
    safe_log(step.log)
    same_comment(comment(report), usual, text)


@pytest.mark.parametrize("name", NAMED)
def test_what_a_run_is_judged_by_leaves_every_face_as_it_is(name: str) -> None:
    """Without an error in the end; and without anything but an error."""

    def judged(text: str) -> Report:
        report = report_of(text)
        return replace(report, judgement=report.legs[0].judgement)

    def alone(text: str) -> Report:
        return replace(report_of(text), legs=())

    for report in (judged, alone):
        found, usual, text = report(NAMED[name]), report(HARMLESS), NAMED[name]
        same_page(Page(summary(found)), Page(summary(usual)), text)
        same_page(Page(comment(found)), Page(comment(usual)), text)
        tags = tags_of(junit(found))
        assert tags == tags_of(junit(usual)) or not one_line(text)


def test_every_format_is_a_module_and_a_row() -> None:
    """And every input that asks for one exists."""
    modules = {each.name for each in pkgutil.iter_modules(formats.__path__)}
    assert modules == {each.name for each in FORMATS}
    assert {each.surface for each in FORMATS} == set(formats.Surface)
    assert {each.input for each in FORMATS if each.input} <= {each.name for each in declared()}
    for each in FORMATS:
        assert each.render(harmless())


def test_several_legs_are_told_apart() -> None:
    """Each keeps its own criteria, simulations and names; the step's judgement stands above them."""
    report = harmless()
    legs = tuple(replace(report.legs[0], name=name) for name in ("one", "two"))
    twice = replace(report, legs=legs)
    assert [leg["name"] for leg in json.loads(document(twice))["legs"]] == ["one", "two"]
    cases = [(each.get("classname"), each.get("name")) for each in ET.fromstring(junit(twice)).iter("testcase")]
    assert len(cases) == 2 * len([*ET.fromstring(junit(report)).iter("testcase")])
    gate = [name for group, name in cases if group == "coval.gate"]
    assert {str(name).partition(": ")[0] for name in gate} == {"one", "two"}
    assert "#### one" in summary(twice)
    assert simulation_rows(twice) == 2 * simulation_rows(report)


def test_a_result_that_was_not_judged_is_shown_all_the_same() -> None:
    """The step may be interrupted between collecting and judging."""
    report = with_leg(harmless(), judgement=interrupted())
    assert "#### Metrics" in summary(report)
    assert outputs(report)["metrics"] == outputs(harmless())["metrics"]
    assert outputs(report)["pass_rate"] == ""


@pytest.mark.parametrize("name", NAMED)
def test_what_coval_sends_is_read_such_that_faces_have_their_usual_parts(name: str, usual: Usual) -> None:
    report = report_of(NAMED[name], parsed=True)
    same_page(Page(summary(report)), usual.summary, NAMED[name])
    same_files(junit(report), document(report), usual, NAMED[name])


@pytest.mark.parametrize(
    "name", [each for each, text in NAMED.items() if "::" in text or "##" in text or set("\x1b\r\x85") & set(text)]
)
def test_elsewhere_a_log_has_no_command_at_all(name: str, tmp_path: Path) -> None:
    report = replace(report_of(NAMED[name]), inputs=None)
    log = Step(tmp_path, {"GITHUB_ACTIONS": "", "GITHUB_OUTPUT": ""}).publish(report, NAMED[name]).log
    assert log.count("Error: Coval Gate:") == 1
    assert read_log(log) == []
    assert not re.search(r"^::|##[\[a-zA-Z]", log, re.MULTILINE)
    assert odd_characters(log) == set()


def test_foreign_lines_are_quoted_each_time_with_another_token(tmp_path: Path) -> None:
    step = Step(tmp_path).publish(harmless())
    tokens = [each.data for each in read_log(step.log) if each.name == "stop-commands"]
    assert len(tokens) == len(set(tokens)) == 3
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in tokens)
    quoted = "\n".join(
        re.findall(r"::stop-commands::(\w+)\n(.*?)::\1::\n", step.log, re.DOTALL)[place][1] for place in range(3)
    )
    assert "First plain" in quoted  # a line of the API's
    assert "✗ plain" in quoted  # a criterion
    assert "plain (1 of 3) (ill)" in quoted  # a simulation


@pytest.mark.parametrize("name", ["table cells", "image in HTML", "emphasis", "mentions", "link", "list"])
def test_without_mutations_it_is_the_same(name: str) -> None:
    def alone(text: str) -> Report:
        report = report_of(text)
        result = report.legs[0].result
        assert result
        agents = tuple(each for each in result.simulations if not each.mutation)
        return with_leg(report, result=replace(result, simulations=agents))

    page, usual = Page(summary(alone(NAMED[name]))), Page(summary(alone(HARMLESS)))
    same_page(page, usual, NAMED[name])


@pytest.mark.parametrize(
    "address",
    ["https://a.example/x)<img src=x>", "javascript:alert(1)", "https://a.example/ '\"", "https://a.example/[x]|"],
)
def test_an_address_that_would_break_out_leads_nowhere(address: str) -> None:
    report = with_leg(harmless(), run_url=address)
    for page in (Page(summary(report)), Page(comment(report))):
        assert all(ADDRESSES.fullmatch(each) for each in page.addresses)
        assert "img" not in page.tags


def test_an_id_is_one_part_of_an_address() -> None:
    report = harmless()
    simulations = (Simulation(id="a)/../?b#<c>|%", status="FAILED"),)
    page = Page(summary(with_leg(report, result=RunResult(run_id="r1", simulations=simulations))))
    assert f"{RUN_URL}/results/a%29%2F..%2F%3Fb%23%3Cc%3E%7C%25" in page.addresses


def test_a_status_is_one_short_line() -> None:
    for text in HOSTILE:
        for verdict in (*Verdict, None):
            judgement = replace(errored(GateError(text, text)), verdict=verdict)
            status = commit_status(Report(judgement=judgement, legs=(LegReport(judgement=judgement, run_url=RUN_URL),)))
            assert status.state in ("pending", "success", "failure", "error")
            assert 0 < len(status.description) <= DESCRIPTION_LIMIT
            assert status.description.isprintable()
            assert status.target_url == RUN_URL


@given(FOREIGN, st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
def test_any_text_leaves_every_face_as_it_is(usual: Usual, tmp_path: Path, text: str, parsed: bool) -> None:
    report = report_of(text, parsed=parsed)
    same_comment(comment(report), usual, text)
    step = Step(tmp_path).publish(report, text)
    same_step(step, usual, text)
    safe_log(step.log)


@given(FOREIGN)
@example("---")
@example("===")
@example("-")
@example("+")
@example("1.")
@example("2)")
@example("- ---")
@example("    code")
def test_a_text_that_comes_first_on_its_line_is_text(text: str) -> None:
    shown = escape(text)
    assert Page(shown).tags == ["p", "/p"] * bool(shown)
    assert Page(f"Before.\n{shown or 'x'}\nBehind.").tags == ["p", "/p"]
    assert Page(f"- {shown}").tags == ["ul", "li", "/li", "/ul"]


@given(st.text("`", min_size=1, max_size=250), ACTIVE)
@example("`" * 80, "<img src=x> **b**")
@example("`" * 199, "*x*")
def test_a_code_span_is_one_whatever_backticks_it_holds(backticks: str, text: str) -> None:
    for each in (backticks + text, text + backticks, f"x{backticks}{text}{backticks}"):
        assert Page(f"| | |\n|---|---|\n| a | {code(each)} |\n").tags.count("code") == 1
        assert not {"img", "strong", "em", "a"} & set(Page(f"Commit {code(each)} of mine").tags)


def test_the_hostile_texts_do_something_where_they_are_not_escaped() -> None:
    """Without this, all of the above could hold because the texts are harmless."""
    usual = Page(HARMLESS)
    active = [name for name, text in NAMED.items() if Page(text).tags != usual.tags or ACTED_ON.search(text)]
    assert len(active) >= 35
    assert len([name for name, text in NAMED.items() if read_log(text)]) >= 9
    broken = 0
    for text in HOSTILE:
        try:
            assert tags_of(f"<x>{text.encode('utf-8', 'replace').decode()}</x>") == ["start x", "end x"]
        except (ET.ParseError, AssertionError):
            broken += 1
    assert broken >= 12


def mark_of(context: Context, **inputs: str) -> str:
    """The marker of a step's comment."""
    given, _ = parse_inputs({f"INPUT_{name.upper()}": value for name, value in inputs.items()})
    return marker(Report(judgement=UNFINISHED, context=context, inputs=given))


def test_a_marker_is_a_comment_of_fixed_form_whatever_the_names() -> None:
    marks = {mark_of(report_of(text).context) for text in HOSTILE}
    assert all(re.fullmatch(r"<!-- coval-gate [0-9a-f]{24} -->", each) for each in marks)
    assert len(marks) == len(set(HOSTILE))


def test_a_marker_tells_steps_apart_and_attempts_not() -> None:
    context = harmless().context
    here = mark_of(context, agent_id="a1")
    assert mark_of(replace(context, run_attempt="2", sha="f" * 40, actor="other"), agent_id="a1") == here
    others = [
        mark_of(replace(context, workflow="other"), agent_id="a1"),
        mark_of(replace(context, job="other"), agent_id="a1"),
        mark_of(replace(context, step="other"), agent_id="a1"),
        mark_of(context, agent_id="a2"),
        mark_of(context, agent_id="a1", mutation_id="m1"),
    ]
    assert len({here, *others}) == 6


# How much there may be

MANY = 30_000
PARROT = "🦜"  # four bytes


def many(count: int = MANY) -> Report:
    """A run of `count` simulations with long names in emoji; a third of them missed, each with an explanation."""
    ids = [f"simulation{number:016}" for number in range(count)]
    ill = tuple(ids[: count // 3])
    label = PARROT * 90
    check = Check(
        criterion=ThresholdHolds(threshold=parse_thresholds("Latency: max < 1")[0]),
        verdict=Verdict.FAILED,
        measure=Measure(value=2.0, unit="metric", count=count),
        metric="m1",
        simulations=ill,
    )
    result = RunResult(
        run_id="run1",
        simulations=tuple(Simulation(id=each, status="COMPLETED", test_case_id=f"c{each}") for each in ids),
        metrics=(Metric(id="m1", name=label, values=dict.fromkeys(ids, 2.0)),),
    )
    judgement = conclude(Completed(result=result), (check,), Totals(total=count, completed=count, unpassed=ill))
    leg = LegReport(
        judgement=judgement,
        run_id="run1",
        run_url=RUN_URL,
        result=result,
        details=Details(
            labels={f"c{each}": f"{label} {each[-5:]}" for each in ids}, texts={each: {"m1": label} for each in ids}
        ),
    )
    return Report(
        judgement=judgement,
        legs=(leg,),
        inputs=parse_inputs({"INPUT_DASHBOARD_URL": "https://app.coval.dev/acme"})[0],
    )


def whole_tables(markdown: str) -> list[int]:
    """The number of rows of each table; each row has as many cells as its table's head, and each fold is closed."""
    page = Page(markdown)
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


def shown_of(markdown: str) -> list[tuple[int, int]]:
    found = re.findall(r"^Showing ([\d,]+) of ([\d,]+)\.$", markdown, re.MULTILINE)
    return [(int(shown.replace(",", "")), int(total.replace(",", ""))) for shown, total in found]


def test_very_many_simulations_fit_in_whole_rows() -> None:
    report = many()
    text = summary(report)
    assert SUMMARY_LIMIT - 3000 < len(text.encode()) <= SUMMARY_LIMIT
    rows = whole_tables(text)
    shown = shown_of(text)
    assert [total for _, total in shown[:2]] == [MANY // 3, MANY - MANY // 3]
    assert rows[2:][: len(shown)] == [count for count, _ in shown]
    assert shown[0][0] > 500
    text = comment(report)
    assert COMMENT_LIMIT - 1000 < len(text) <= COMMENT_LIMIT
    rows = whole_tables(text)
    assert shown_of(text) == [(rows[-1], MANY // 3)]
    assert rows[-1] > 50


def test_a_summary_of_few_simulations_leaves_nothing_out() -> None:
    assert shown_of(summary(harmless())) == []
    assert shown_of(comment(harmless())) == []


def test_very_many_simulations_make_nine_warnings_and_one_error(tmp_path: Path) -> None:
    step = Step(tmp_path).publish(many(3000))
    warnings = [command for command in read_log(step.log) if command.name == "warning"]
    assert len(warnings) == 9
    assert len(step.commands("error")) == 1
    assert warnings[-1].data.endswith("… and 991 simulations more: see the summary.")
    assert all(len(command.data) <= ANNOTATION_LIMIT for command in read_log(step.log))


@pytest.mark.parametrize("before", [1, 8, 9, 12])
def test_warnings_given_before_leave_less_room(before: int, tmp_path: Path) -> None:
    step = Step(tmp_path).publish(many(60), *["careful"] * before)
    assert len(step.commands("warning")) == max(9, before)
    assert len(step.commands("error")) == 1


def test_very_many_metrics_fit_into_an_output() -> None:
    simulations = (Simulation(id="s1", status="COMPLETED"),)
    metrics = tuple(
        Metric(id=f"m{number}", name=f"{number} {PARROT * 90}", values={"s1": PARROT * 300}) for number in range(500)
    )
    found = aggregates(metrics, variants_of(RunResult(run_id="r1", simulations=simulations, metrics=metrics)))
    assert METRICS_LIMIT - 4000 < len(found.encode()) <= METRICS_LIMIT
    shown = {text for entry in json.loads(found).values() for text in entry["variants"]["agent"]["values"]}
    assert {len(text) for text in shown} == {100}
    assert [entry["id"] for entry in json.loads(found).values()] == [
        f"m{number}" for number in range(len(json.loads(found)))
    ]


def test_lists_of_ids_in_outputs_stay_short() -> None:
    found = outputs(many(9000))
    assert len(json.loads(found["failed_simulations"])) == 2000
    assert sum(len(each) for each in found.values()) < 300_000


def test_very_much_advice_fits_as_well() -> None:
    """Somebody's thresholds may be wrong in every line."""
    with pytest.raises(ThresholdSyntaxError) as caught:
        parse_thresholds("\n".join(f"nonsense {number} {PARROT * 100} ```" for number in range(2000)))
    error = InputError([Problem("thresholds", f"has wrong lines.\n{caught.value}"), Problem("tags", "are too many.")])
    report = Report(judgement=errored(error))
    body, whole = comment(report), summary(report)
    assert len(body) <= COMMENT_LIMIT
    assert len(whole.encode()) <= SUMMARY_LIMIT
    for text in (body, whole):
        assert Page(f"{text}\n\n*last*").tags[-4:] == ["p", "em", "/em", "/p"]  # nothing is left open


NOTHING = RunResult(run_id="r1", simulations=())


def test_very_many_reasons_and_criteria_fit_as_well() -> None:
    text = "&" * 600  # the most that one character becomes
    threshold = replace(parse_thresholds("Latency: max < 1")[0], text=text)
    criterion = ThresholdHolds(threshold=threshold)
    checks = tuple(
        Check(
            criterion=criterion,
            verdict=Verdict.FAILED,
            problem=NoValues(metric=f"{number} {text}"),
            variant=text,
            several=True,
        )
        for number in range(3000)
    )
    judgement = Judgement(verdict=Verdict.FAILED, status="", cause=Completed(result=NOTHING), checks=checks)
    report = Report(judgement=judgement, legs=(LegReport(judgement=judgement),))
    assert len(comment(report)) <= COMMENT_LIMIT
    assert len(summary(report).encode()) <= SUMMARY_LIMIT
    assert [total for _, total in shown_of(comment(report))] == [2999, 3000]


@given(st.lists(st.floats(-LARGEST, LARGEST), min_size=10, max_size=30))
@example([0.0] * 5 + [5e-324] * 5 + [1e-323] * 3)
@example([LARGEST, -LARGEST] * 8)
def test_a_chart_is_well_formed_for_any_numbers(values: list[float]) -> None:
    chart = histogram(values)
    if chart:
        bars = re.search(r"^    bar \[(.*)\]$", chart, re.MULTILINE)
        axis = re.search(r"^    x-axis \[(.*)\]$", chart, re.MULTILINE)
        assert bars
        assert axis
        assert 99 < sum(map(float, bars[1].split(", "))) < 101
        assert axis[1].count('"') == 2 * len(bars[1].split(", "))
        assert len(chart) < 2000


# The same report, the same bytes


def faces(text: str) -> Iterator[str]:
    report = report_of(text)
    yield from (summary(report), comment(report), junit(report), document(report), json.dumps(outputs(report)))
    checks = "\n".join(line for leg in report.legs for line in check_lines(leg.judgement))
    yield from (checks, "\n".join(simulation_lines(report)), str(commit_status(report)))


def digest() -> str:
    whole = "\n".join(face for text in (HARMLESS, "a | b", "agent", PARROT) for face in faces(text))
    return hashlib.sha256(whole.encode()).hexdigest()


def test_the_same_report_has_the_same_bytes_in_every_process() -> None:
    """Sets have another order in each."""
    program = "import sys; sys.path[:0] = sys.argv[1:]; import test_faces; print(test_faces.digest())"
    here, seed = Path(__file__).parent, "1" if os.environ.get("PYTHONHASHSEED") == "2" else "2"
    told = subprocess.run(
        [sys.executable, "-c", program, str(here), str(here.parent)],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == digest()
