"""Every report in every format: others accept and read it, it agrees with the document, and it is never forged."""

import json
import pkgutil
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coval_gate.base.secret import Redactor
from coval_gate.base.text import one_line
from coval_gate.base.titles import DOCS
from coval_gate.features import files
from coval_gate.features.files import RENDERERS
from coval_gate.features.files.digest import LIMIT as DIGEST_LIMIT
from coval_gate.features.pages import texts as pages
from coval_gate.features.pages.github import commit_state_of, conclusion_of
from coval_gate.features.pages.texts import MOST_ANNOTATIONS, PAGES
from coval_gate.features.systems import bitbucket
from coval_gate.features.systems.bitbucket import annotation_body, report_body
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.inputs import declared
from coval_gate.report.document import Document
from coval_gate.report.document.base import SCHEMA_VERSION
from coval_gate.report.formats.outputs import CRITERION_FIELDS, FILES, LEG_FIELDS, OUTPUTS
from coval_gate.report.wording import reason, reasons
from coval_sandbox.github_checks import CONCLUSIONS, LONGEST_TEXT, LONGEST_TITLE
from coval_sandbox.runner import read_log
from fake_bitbucket import ANNOTATION, REPORT, problem_with
from hostile import EARLIER_URL, HARMLESS, NAMED, report_of, report_with
from leaks import has_secret
from readers import (
    ACTIVE_MARKUP,
    JUNIT_READERS,
    HtmlPage,
    MarkdownPage,
    by_standard_library,
    shape_of,
    texts_of,
    unprintable_characters,
    xml_tags,
)
from rendering import FACES, Step, Written, log_texts, rows_of
from reports import DASHBOARD, GUIDE, RUN_URL, WORKFLOW_RUN, large_report, table, with_leg
from validation import junit_schema, report_validator

# GitHub's limits, from its documentation and its runner.
SUMMARY_LIMIT: Final = 1024 * 1024  # bytes
COMMENT_LIMIT: Final = 65_536  # characters, like the limits below
DESCRIPTION_LIMIT: Final = 140
ANNOTATION_LIMIT: Final = 4096
MOST_OUTPUTS: Final = 300_000  # our own; the limit for all outputs of a job is 1 MiB

SATISFYING: Final = {"success", "neutral", "skipped"}  # with these conclusions, GitHub allows a merge
COMMENT_MARKER: Final = re.compile(r"<!-- coval-gate [0-9a-f]{24} -->\n")
EXPECTED_URLS: Final = re.compile(
    rf"({re.escape(RUN_URL)}(/results/[\w-]+)?|{re.escape(EARLIER_URL)}|{re.escape(WORKFLOW_RUN)}|{re.escape(GUIDE)}|"
    rf"{re.escape(DASHBOARD)}/reports/new\?run_ids=[\w%,.~-]+|{re.escape(DOCS)}/[a-z-]+\.md(?:#[a-z-]+)?)"
)
ANY = st.text(st.characters())  # with lone surrogates
ACTIVE = st.text("\\`*_[]()<>|~$#@:/!&%;='\"-+.1 \t\n\r\x00\u2028\u200bax")
FOREIGN = ANY | ACTIVE | st.sampled_from([text for text in NAMED.values() if len(text) < 10_000])


def fewer(share: int) -> int:
    """Return a share of the usual number of examples, for a property that takes long."""
    return settings().max_examples // share


def test_every_report_in_every_format(subtests: pytest.Subtests) -> None:
    large = {"large": large_report(200), "large, compared": large_report(60, lines=9, compared=True)}
    assert {report.judgement.verdict for report in table().values()} == {None, *Verdict}
    for name, report in (table() | large).items():
        written = Written(report)
        for check in CHECKS:
            with subtests.test(f"{name}: {check.__name__}"):
                check(written)


def fits(written: Written) -> None:
    """Assert that GitHub and Bitbucket accept what is written, and that it is whole."""
    faces, document = written.faces, written.document
    assert len(faces["summary"].encode("utf-8", "replace")) <= SUMMARY_LIMIT
    assert len(faces["comment"].summary) <= COMMENT_LIMIT
    assert COMMENT_MARKER.match(faces["comment"].summary)
    assert sum(map(len, faces["outputs"].values())) < MOST_OUTPUTS
    assert all(len(page.encode("utf-8", "replace")) <= DIGEST_LIMIT for page in written.digests)
    assert all(len(one.message) <= ANNOTATION_LIMIT for one in faces["log"].annotations(10))
    for page in (faces["check_run"], pages.render(document, "check_run", brief=True)):
        assert 0 < len(page.summary.encode("utf-8", "replace")) <= LONGEST_TEXT
        assert 0 < len(page.title) <= LONGEST_TITLE
        assert page.title.isprintable()
    assert 0 < len(faces["commit_status"].title) <= DESCRIPTION_LIMIT
    assert faces["commit_status"].title.isprintable()
    for page in (faces["code_insights"], pages.render(document, "code_insights", brief=True)):
        body, annotations = report_body(page), [annotation_body(one, "id") for one in page.annotations]
        assert problem_with(body, REPORT, {"PASSED", "FAILED", "PENDING"}) == ""
        assert {problem_with(one, ANNOTATION, {"FAILED"}) for one in annotations} <= {""}
        assert len(body["data"]) <= 10
        assert len(annotations) <= MOST_ANNOTATIONS
        texts = [text for one in (body, *annotations) for text in one.values() if isinstance(text, str)]
        assert unprintable_characters("".join(texts)) == set()


def is_whole(written: Written) -> None:
    """Assert that pages are cut by whole rows and blocks, and that the HTML closes what it opens."""
    for markdown in written.markdown.values():
        tags = MarkdownPage(f"{markdown}\n\n*last*").tags
        assert tags[-4:] == ["p", "em", "/em", "/p"]  # all blocks are closed
        assert tags.count("details") == tags.count("/details") == tags.count("summary")
        rows = re.findall(r"^\|.*$", markdown, re.MULTILINE)
        assert tags.count("tr") + tags.count("table") == len(rows)  # each row is whole
    page = HtmlPage(written.faces["html"])
    assert page.open == []
    assert written.document.reason in "".join(page.texts["p"])


def is_read_alike(written: Written) -> None:
    """Assert that files are valid, that readers of JUnit agree, and that its names are unique."""
    xml, whole = written.faces["junit"], written.faces["json"]
    junit_schema().validate(xml)
    parsed = json.loads(whole, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    report_validator().validate(parsed)
    root, cases = ET.fromstring(xml), by_standard_library(xml)
    assert_read_alike(xml)
    assert len({case[:2] for case in cases}) == len(cases)
    names = [entry.attrib["name"] for entry in root.iter("property")]
    assert len(names) == len(set(names))  # some readers put the properties of all suites together
    for whole_or_suite in (root, *root):
        kinds = Counter(kind for _, _, kind in by_standard_library(ET.tostring(whole_or_suite, encoding="unicode")))
        counted = [kinds.total(), kinds["failure"], kinds["error"], kinds["skipped"]]
        attributes = ["tests", "failures", "errors", "skipped"]
        assert all(
            int(whole_or_suite.attrib.get(name, count)) == count
            for name, count in zip(attributes, counted, strict=True)
        )
    for suite in root:  # a reader shows both names where they differ
        assert {case.attrib["classname"] for case in suite.iter("testcase")} == {suite.attrib["name"]}


def assert_read_alike(xml: str) -> None:
    for read in JUNIT_READERS:
        assert Counter(read(xml)) == Counter(by_standard_library(xml)), read.__name__


def shows_every_failure(written: Written) -> None:
    """Assert that each format names the simulations it shows, the worst first, and each that fails."""
    faces, legs = written.faces, written.document.legs
    rows = [row for leg in legs for row in leg.simulations]
    assert [row.id for row in rows] == [row.simulation.id for row in rows_of(written.report)]
    to_look_at = [row for row in rows if row.verdict != "passed"]
    failing = [row.id for row in rows if row.fails]
    assert json.loads(faces["outputs"]["failed_simulations"] or "[]") == written.document.failed_simulation_ids[:2_000]
    junit = by_standard_library(faces["junit"])
    assert [kind for group, _, kind in junit if "simulations of" in group].count("passed") == len(rows) - len(
        to_look_at
    )
    if len(rows) >= 60:  # more than all formats have room for
        return
    if len(legs) == 1 and len(failing) <= 20:
        assert faces["digest"].count("# Case ") == len(failing)
    shown = {face: [row.id for row in rows] for face in ("summary", "check_run", "json", "html", "junit")}
    shown |= {"comment": [row.id for row in to_look_at], "log": failing, "code_insights": failing}
    texts = faces | written.markdown | {"log": "\n".join(faces["log"].simulation_lines())}
    for face, wanted in shown.items():
        found = list(dict.fromkeys(re.findall(r"/results/([\w.%-]+)", str(texts[face]))))
        assert {*found} == {*wanted}, face
        if len(legs) == 1 and face not in ("html", "junit"):  # which group them by leg, case or variant
            assert found == wanted, face


def agrees_with_the_document(written: Written) -> None:
    """Assert that the document is the judgement, the outputs are the document, and its JSON has all that is shown."""
    judgement, outputs, parsed = written.report.judgement, written.faces["outputs"], json.loads(written.faces["json"])
    assert parsed["schema_version"] == SCHEMA_VERSION
    assert parsed["verdict"] == (str(judgement.verdict) if judgement.verdict else None)
    assert (parsed["status"], parsed["reason"]) == (judgement.status, reason(judgement))
    assert parsed["reasons"][:1_000] == list(reasons(judgement))[:1_000]
    for leg, given_leg in zip(parsed["legs"], written.report.legs, strict=True):
        assert len(leg["criteria"]) + leg["criteria_left_out"] == len(given_leg.judgement.checks)
        for criterion in leg["criteria"]:
            margin, verdict = criterion["margin"], criterion["verdict"]
            assert (criterion["actual"] is None) is (criterion["problem"] != "")
            assert margin is None or margin >= 0 or verdict != "passed"
            assert margin is None or margin <= 0 or verdict in ("passed", "inconclusive", "skipped")
            assert (criterion["reason"] == "") is (verdict == "passed")
            if criterion["change"] is not None:
                assert criterion["change"] == pytest.approx(criterion["actual"] - criterion["baseline_value"])
                assert abs(criterion["margin"]) == pytest.approx(abs(criterion["actual"] - criterion["bound"]))
    assert outputs["passed"] == str(parsed["passed"]).lower()
    assert (outputs["verdict"], outputs["status"]) == (parsed["verdict"] or "", parsed["status"])
    assert outputs["reason"] == parsed["reason"]
    if len(parsed["legs"]) == 1:
        (leg,) = parsed["legs"]
        assert (outputs["run_id"], outputs["run_url"]) == (leg["run"]["id"], leg["run"]["url"])
        assert outputs["pass_rate"] == "" or float(outputs["pass_rate"]) == pytest.approx(leg["pass_rate"])
    again = Document.model_validate_json(written.faces["json"])
    for name, face in written.faces.items():
        if name in ("html", "digest") and any(row.turns for leg in written.document.legs for row in leg.simulations):
            continue  # which show conversations, without which the file is written
        shown = FACES[name](again)
        if name == "log":
            shown, face = log_texts(shown), log_texts(face)
        assert shown == face, name


def is_as_green_as_the_step(written: Written) -> None:
    """Assert that nothing allows a merge that the step does not pass."""
    judgement, faces = written.report.judgement, written.faces
    passes = judgement.passes_gate and judgement.verdict is not None
    assert (faces["outputs"]["passed"] == "true") == (judgement.verdict is Verdict.PASSED)
    assert (report_body(faces["code_insights"])["result"] == "PASSED") == passes
    assert (report_body(faces["code_insights"])["result"] == "PENDING") == (judgement.verdict is None)
    conclusion = conclusion_of(faces["check_run"])
    assert conclusion in {"", *CONCLUSIONS}
    if judgement.verdict is not Verdict.SKIPPED:  # has no check run
        assert (conclusion in SATISFYING) == (commit_state_of(faces["commit_status"]) == "success") == passes
    kinds = {kind for _, _, kind in by_standard_library(faces["junit"])}
    assert bool(kinds & {"failure", "error"}) == (judgement.verdict is not None and not judgement.passes_gate)
    assert "failure" in kinds or judgement.verdict is not Verdict.FAILED
    assert "error" in kinds or judgement.verdict not in (Verdict.ERROR, Verdict.TIMED_OUT, Verdict.CANCELLED)


CHECKS: Final = (
    *(fits, is_whole, is_read_alike, shows_every_failure, agrees_with_the_document, is_as_green_as_the_step),
)


class Parts(NamedTuple):
    """What of a report does not depend on foreign texts."""

    written: Written
    markdown: dict[str, MarkdownPage]
    junit: str
    document: Any
    html: HtmlPage
    digests: list[set[str]]
    step: Step


def parts_of(text: str, directory: Path, *, in_legs: bool) -> Parts:
    """Publish a report with a foreign text; its large files are only rendered by the step."""
    written = Written(report_with(text, in_legs=in_legs), without=("junit", "json", "html"))
    directory.mkdir()
    step = Step(directory).publish(written.report, text)
    return Parts(
        written=written,
        markdown={name: MarkdownPage(written.markdown[name]) for name in ("summary", "comment")},
        junit=step.file("junit.xml"),
        document=shape_of(json.loads(step.file("coval.json"))),
        html=HtmlPage(step.file("coval.html")),
        digests=[{*MarkdownPage(page).lines} for page in (step.file("coval.md"), *written.digests[1:])],
        step=step,
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Parts]:
    """The parts of a report with a harmless text."""

    @cache
    def parts(in_legs: bool) -> Parts:
        return parts_of(HARMLESS, tmp_path_factory.mktemp("reference") / "step", in_legs=in_legs)

    return parts


def without_breaks(tags: Iterable[str]) -> list[str]:
    """Leave out line breaks: an explanation has one, but not if it repeats the value."""
    return [tag for tag in tags if tag != "br"]


def assert_not_forged(text: str, found: Parts, reference: Parts) -> None:
    """Assert that a report with a foreign text has the reference's parts, or fewer if the text is empty."""
    is_empty = not one_line(text)
    fits(found.written)
    assert_read_alike(found.junit)
    for name, page in found.markdown.items():
        if is_empty or (name == "comment" and len(text) > 1_000):  # which has less room
            assert {*page.tags} <= {*reference.markdown[name].tags}
        else:
            assert without_breaks(page.tags) == without_breaks(reference.markdown[name].tags)
        assert len(page.comments) == len(reference.markdown[name].comments)
        assert [url for url in page.urls if not EXPECTED_URLS.fullmatch(url)] == []
        assert not ACTIVE_MARKUP.search(page.text)
        assert unprintable_characters(found.written.markdown[name]) == set()
    for name in ("coval.json", "junit.xml", "coval.md"):
        assert unprintable_characters(found.step.file(name)) == set()
    assert unprintable_characters("".join(texts_of(json.loads(found.step.file("coval.json"))))) <= {"\n"}
    tags, expected = xml_tags(found.junit), xml_tags(reference.junit)
    if is_empty:
        assert {*tags} <= {*expected, "failure type", "error type"}
        assert [*dict(found.document)] == [*dict(reference.document)]
    else:
        assert (tags, found.document) == (expected, reference.document)
    assert_same_html(found.html, reference.html, text)
    for lines, wanted in zip(found.digests, reference.digests, strict=True):
        # An empty text has no code span, and where a page is full, cases are left out.
        strange = [line for line in lines - wanted if not re.fullmatch(r"<p>Showing \d+ of \d+.</p>", line)]
        assert is_empty or not strange
    assert_same_step(found.step, reference.step, is_empty=is_empty)
    assert_safe_log(found.step.log)


def assert_same_html(page: HtmlPage, reference: HtmlPage, text: str) -> None:
    """Assert that a page has no other elements and addresses; what an element has depends on what is known."""
    assert page.parts <= reference.parts
    assert not [name for _, name in page.parts if name.startswith("on") or name == "style"]
    assert [tag for tag, _ in page.tags if tag in ("script", "style")] == ["style", "script"]
    assert all(re.match(r"https?://|#|data:image/svg", address) for address in page.addresses)
    runs = {f"{DASHBOARD}/runs/{text}"} if re.fullmatch(r"[\w-]{1,64}", text, re.ASCII) else set()
    assert {one for one in page.addresses if one.startswith("http")} - runs <= {*reference.addresses}
    assert page.open == []
    assert len(page.attributes["id"]) == len({*page.attributes["id"]})


def assert_same_step(step: Step, reference: Step, *, is_empty: bool) -> None:
    """Assert that a step has the reference's commands, outputs and state."""
    if not is_empty:  # without ids, each simulation is a test case of its own
        assert step.commands() == reference.commands()
    ours, others, free = step.local.outputs, reference.local.outputs, ("reason", "metrics", "failed_criteria", "legs")
    assert list(ours) == list(OUTPUTS)
    assert [ours[name] for name in ours if name not in free] == [others[name] for name in ours if name not in free]
    parsed, wanted = ({name: json.loads(outputs[name]) for name in free[1:]} for outputs in (ours, others))
    assert len(parsed["metrics"]) <= len(wanted["metrics"])
    assert len(parsed["failed_criteria"]) <= len(wanted["failed_criteria"])
    assert {tuple(criterion) for criterion in parsed["failed_criteria"]} <= {(*CRITERION_FIELDS, "leg")}
    assert [tuple(leg) for leg in parsed["legs"]] == [tuple(LEG_FIELDS)] * len(wanted["legs"])
    assert step.local.state == reference.local.state


def assert_safe_log(text: str) -> None:
    """Assert that a log is safe without stop-commands, which other CI systems do not know and which has gaps."""
    commands = [command for command in read_log(text) if command.name != "stop-commands"]
    tokens = [command.data for command in read_log(text) if command.name == "stop-commands"]
    ours = {f"::stop-commands::{token}" for token in tokens} | {f"::{token}::" for token in tokens}
    rest = [line for line in text.split("\n") if line not in ours]
    assert read_log("\n".join(rest)) == commands
    assert not [line for line in rest if not line.startswith("::") and re.search(r"##[\[a-zA-Z]", line)]
    texts = [text for command in read_log(text) for text in (command.data, *command.properties.values())]
    assert all(len(one.data) <= ANNOTATION_LIMIT for one in commands if one.name in ("notice", "warning", "error"))
    assert unprintable_characters(text) == unprintable_characters("".join(texts)) == set()
    text.encode()  # some streams do not replace lone surrogates


SOME = [*NAMED.items()][::8]
OTHERS = [entry for entry in NAMED.items() if entry not in SOME]


@pytest.mark.parametrize(
    "entries", [pytest.param(SOME, id="some"), pytest.param(OTHERS, id="others", marks=pytest.mark.long)]
)
def test_hostile_text_forges_nothing(
    entries: list[tuple[str, str]], reference: Callable[[bool], Parts], tmp_path: Path, subtests: pytest.Subtests
) -> None:
    for place, (name, text) in enumerate(entries):
        in_legs = place % 2 == 1
        with subtests.test(name):
            assert_not_forged(text, parts_of(text, tmp_path / str(place), in_legs=in_legs), reference(in_legs))


@given(FOREIGN, st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=fewer(3))
def test_any_text_forges_nothing(
    reference: Callable[[bool], Parts], tmp_path_factory: pytest.TempPathFactory, text: str, in_legs: bool
) -> None:
    directory = tmp_path_factory.mktemp("any") / "step"
    assert_not_forged(text, parts_of(text, directory, in_legs=in_legs), reference(in_legs))


def test_unescaped_hostile_texts_are_active() -> None:
    """Prove that the tests above do not pass just because the texts are harmless."""
    tags = MarkdownPage(HARMLESS).tags
    active = [name for name, text in NAMED.items() if MarkdownPage(text).tags != tags or ACTIVE_MARKUP.search(text)]
    assert len(active) >= 35
    assert len([name for name, text in NAMED.items() if read_log(text)]) >= 9
    broken = 0
    for text in NAMED.values():
        try:
            assert xml_tags(f"<x>{text.encode('utf-8', 'replace').decode()}</x>") == ["start x", "end x"]
        except (ET.ParseError, AssertionError):
            broken += 1
    assert broken >= 12


@pytest.mark.parametrize("name", ["link", "HTML image", "URL with closing delimiters"])
def test_unusual_id_of_earlier_run_is_text_without_link(name: str) -> None:
    report = report_of(HARMLESS)
    (leg,) = report.legs
    assert leg.judgement.baseline
    runs = tuple(one._replace(run=one.run._replace(run_id=NAMED[name])) for one in leg.judgement.baseline.runs)
    judgement = leg.judgement._replace(baseline=leg.judgement.baseline._replace(runs=runs))
    written = Written(with_leg(report, judgement=judgement))
    for page in map(MarkdownPage, written.markdown.values()):
        assert all(EXPECTED_URLS.fullmatch(url) for url in page.urls)
        assert EARLIER_URL not in page.urls
        assert not ACTIVE_MARKUP.search(page.text)
        assert not {"img", "strong img", "em"} & {*page.tags}
    (document_leg,) = written.document.legs
    assert document_leg.baseline
    assert document_leg.baseline.runs[0].url == ""


def test_every_format_module_is_registered() -> None:
    """Each has an input that enables it, except the page that Bitbucket always shows."""
    modules = {module.name for module in pkgutil.iter_modules(files.__path__)}
    assert modules == RENDERERS.keys() - {"json"} | {"workspace"}
    assert RENDERERS.keys() == {file.name for file in FILES}
    inputs = {declaration.name for declaration in declared()} | {bitbucket.REPORT_INPUT}
    assert {*PAGES, *(file.input for file in FILES)} <= inputs


KEY: Final = "coval_sk_test_sandbox"


@pytest.mark.untraced
def test_key_is_found_in_every_format() -> None:
    for text in Written(report_of(f"before {KEY} after")).texts.values():
        assert has_secret(text, KEY)
        redacted = Redactor(KEY).redact(text)
        assert not has_secret(redacted, KEY)
        assert not has_secret(re.sub(r"<[^>]*>", "", redacted), KEY)  # as a browser shows it
