"""The check run's title and summary fit GitHub's limits, and its conclusion says what may be merged."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from coval_gate.base.errors import GateError
from coval_gate.ci.github_pages import conclusion_of
from coval_gate.ci.host import PageText
from coval_gate.gate.judgement import LAUNCH, errored
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.inputs import parse_inputs
from coval_gate.report.formats.pages import CHECK_LIMIT, TITLE_LIMIT
from coval_gate.report.model import LegReport, Report
from coval_sandbox.github_checks import CONCLUSIONS, LONGEST_TEXT, LONGEST_TITLE
from hostile import NAMED, RUN_URL, example_reports, report_of
from rendering import page_of
from selection import shares, some_of
from unit.test_formats import RenderedPage, large_report
from unit.test_sizes import COMPARED_SHAPES, SHAPES, compared_report, report

SATISFYING = {"success", "neutral", "skipped"}  # with these conclusions, GitHub lets a branch be merged
EXPECTED = {
    Verdict.PASSED: "success",
    Verdict.FAILED: "failure",
    Verdict.INCONCLUSIVE: "failure",
    Verdict.ERROR: "failure",
    Verdict.TIMED_OUT: "timed_out",
    Verdict.CANCELLED: "cancelled",
    None: "",
}


def render(report: Report) -> PageText:
    return page_of(report, "check_run")


def brief(report: Report) -> PageText:
    return page_of(report, "check_run", brief=True)


def named(report: Report, **given: str) -> Report:
    """Return a report with these inputs."""
    inputs, problems = parse_inputs({f"INPUT_{name.upper()}": value for name, value in given.items()})
    assert not problems
    return report._replace(inputs=inputs)


def ended_with(verdict: Verdict, text: str = "why") -> Report:
    judgement = errored(GateError(text, text))._replace(verdict=verdict)
    return Report(judgement=judgement, legs=(LegReport(judgement=judgement, run_url=RUN_URL),))


def test_limits_are_those_of_github() -> None:
    assert (CHECK_LIMIT, TITLE_LIMIT) == (LONGEST_TEXT, LONGEST_TITLE)


@pytest.mark.parametrize("verdict", EXPECTED)
def test_conclusion_satisfies_a_branch_only_if_the_step_passes(verdict: Verdict | None) -> None:
    ended = ended_with(verdict) if verdict else Report(judgement=LAUNCH)
    conclusion = conclusion_of(render(ended))
    assert conclusion == EXPECTED[verdict]
    assert conclusion in {"", *CONCLUSIONS}
    assert (conclusion in SATISFYING) == (ended.judgement.lets_pass and verdict not in (None, Verdict.SKIPPED))


def test_doubt_that_passes_is_neutral() -> None:
    ended = ended_with(Verdict.INCONCLUSIVE)
    tolerated = ended._replace(judgement=ended.judgement._replace(inconclusive_passes=True))
    assert tolerated.judgement.lets_pass
    assert conclusion_of(render(tolerated)) == "neutral"
    assert render(tolerated).title.startswith("❔ Inconclusive (passes): ")


def test_short_check_runs_match_golden_file(golden: Callable[[str, str], None]) -> None:
    """The post step sets such a one, and so does the launch."""
    texts = []
    for name, example in example_reports().items():
        if example.judgement.verdict is Verdict.SKIPPED:  # has no check run
            continue
        page_text = brief(example)
        texts.append(
            f"# {name}\n{conclusion_of(page_text) or 'in progress'}\n{page_text.title}\n    {page_text.summary}\n"
        )
    golden("check_runs.txt", "\n".join(texts))


LARGE: dict[str, Callable[[], Report]] = {
    "20,000 simulations": partial(large_report, 20_000),
    **{shape: partial(report, shape) for shape in SHAPES},
    **{shape: partial(compared_report, shape) for shape in COMPARED_SHAPES},
}


@pytest.mark.parametrize("shape", some_of(LARGE, "101 variants", "compared, one metric"))
def test_large_report_fits_and_uses_the_room(shape: str) -> None:
    page_text = render(named(LARGE[shape]()))
    assert CHECK_LIMIT * 0.9 < len(page_text.summary.encode()) <= CHECK_LIMIT
    assert len(page_text.title) <= TITLE_LIMIT
    assert RenderedPage(f"{page_text.summary}\n\n*last*").tags[-4:] == ["p", "em", "/em", "/p"]  # all blocks are closed


@pytest.mark.parametrize("entries", shares(NAMED.items(), one_of=9))
def test_hostile_text_stays_text_and_fits(entries: list[tuple[str, str]], subtests: pytest.Subtests) -> None:
    for name, text in entries:
        with subtests.test(name):
            for shown in (report_of(text), *(ended_with(verdict, text) for verdict in Verdict)):
                for page_text in (render(named(shown)), brief(shown)):
                    assert_safe(page_text)


def assert_safe(page_text: PageText) -> None:
    assert 0 < len(page_text.title) <= TITLE_LIMIT
    assert page_text.title.isprintable()
    assert len(page_text.summary.encode("utf-8", "replace")) <= CHECK_LIMIT
    assert not {"script", "img", "input"} & {tag.strip("/ ") for tag in RenderedPage(page_text.summary).tags}
