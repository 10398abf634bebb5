"""The whole HTML report as data: the verdict with its reasons, the legs with their criteria, all simulations. Pure."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import one_line
from coval_gate.judge.claims import (
    difference_text,
    earlier_text,
    flips_title,
    notes_title,
    reference_text,
    shown_text,
    trend_text,
)
from coval_gate.judge.clauses import NAMES, bound_text, in_figures, stability_word
from coval_gate.judge.findings import comparison_of
from coval_gate.judge.verdict import Verdict
from coval_gate.report.html.cards import cards
from coval_gate.report.html.plots import scale
from coval_gate.report.html.table import table, web_address
from coval_gate.report.limits import MOST_FLIPS, MOST_TABLE_CRITERIA
from coval_gate.report.metrics import variant_key
from coval_gate.report.provenance import (
    all_provenance,
    all_subjects,
    base_name,
    links,
    named_in_heading,
    of_leg,
    other_inputs,
    places,
)
from coval_gate.report.tables import FEW_FLIPS, missed_count
from coval_gate.report.wording import judgements
from coval_gate.report.wording.checks import actual_text, check_text, first_text, note_text, shown_verdict
from coval_gate.report.wording.standing import standing_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.judge.checks import Check
    from coval_gate.judge.findings import Flips
    from coval_gate.report.html.cards import CardView
    from coval_gate.report.html.plots import Scale
    from coval_gate.report.html.table import TableView
    from coval_gate.report.model import LegReport, Report
    from coval_gate.report.provenance import Place

LONG: Final = 500  # characters of a sentence
NAME: Final = 200  # characters of a name
MOST_REASONS: Final = 20
WORDS: Final = {Verdict.SKIPPED: "informs"}  # of a criterion; others have the verdict's own word


class CriterionView(NamedTuple):
    """A criterion as a row of a table. `trend` and later fields are empty unless it compares."""

    verdict: str
    word: str
    text: str
    variant: str
    actual: str
    required: str
    note: str
    scale: Scale | None
    trend: str
    reference: str
    earlier: str
    difference: str


class FlipView(NamedTuple):
    criterion: str
    failing: tuple[str, ...]
    passing: tuple[str, ...]
    more: int


class UnstableView(NamedTuple):
    """A test case that failed in any of several runs."""

    name: str
    variant: str
    word: str
    failed: str


class Link(NamedTuple):
    """`url` is empty where there is no safe one."""

    text: str
    url: str


class LegView(NamedTuple):
    """`notes` is the title of the last column."""

    name: str
    verdict: str
    word: str
    reason: str
    figures: str
    runs: tuple[Link, ...]
    standing: str
    criteria: tuple[CriterionView, ...]
    more_criteria: int
    compares: bool
    scales: bool
    notes: str
    references: tuple[str, ...]
    flips: tuple[FlipView, ...]
    flips_title: str
    few_flips: bool
    unstable: tuple[UnstableView, ...]
    unstable_text: str
    cards: tuple[CardView, ...]
    trend: bool

    @property
    def has_body(self) -> bool:
        """Whether the run has more to show than the verdict and its reason."""
        return bool(self.criteria or self.standing)


class AdviceView(NamedTuple):
    kind: str
    text: str


class PageView(NamedTuple):
    """`names`: of what was evaluated, for the browser's tab; `missed`: how many criteria are."""

    title: str
    names: str
    missed: str
    places: tuple[Place, ...]
    subtitle: str
    verdict: str
    word: str
    reason: str
    reasons: tuple[str, ...]
    advice: tuple[AdviceView, ...]
    links: tuple[Link, ...]
    legs: tuple[LegView, ...]
    table: TableView
    facts: tuple[tuple[str, str], ...]
    inputs: tuple[tuple[str, str], ...]


def page(report: Report) -> PageView:
    judgement, context = report.judgement, report.context
    shown = [check for leg in report.legs for check in leg.findings.checks.first(MOST_TABLE_CRITERIA)]
    _, more_reasons = judgements.untold_reasons(judgement, shown)
    _, _, word = judgements.heading(judgement).partition(" ")
    named = named_in_heading(report)
    title = context.matrix.after("Coval evaluation")
    tested = all_subjects(report)
    subtitle = (
        f"Tested: {tested}" if tested else "",
        context.repository,
        context.workflow,
        context.job,
        report.began[:10],
    )
    return PageView(
        title=one_line(" · ".join([title, *(f"{word} {called.text}" for word, called in named.items())]), NAME),
        names=one_line(" · ".join(called.text for called in named.values()) or title, NAME),
        missed=missed_count([check for leg in report.legs for check in leg.findings.checks.checks], named=True),
        places=tuple(
            place._replace(text=one_line(place.text, NAME), url=web_address(place.url)) for place in places(report)
        ),
        subtitle=" · ".join(one_line(text, NAME) for text in subtitle if text),
        verdict=judgement.verdict.value if judgement.verdict else "none",
        word=word,
        reason=judgements.reason(judgement),
        reasons=tuple(one_line(reason, LONG) for reason in more_reasons[:MOST_REASONS]),
        advice=tuple(_advice(judgements.advice(judgement))),
        links=tuple(_links(report)),
        legs=tuple(_leg(leg) for leg in report.gravest_first),
        table=table(report),
        facts=tuple(
            (one_line(of_leg(leg, name), LONG), one_line(value, LONG)) for leg, name, value in all_provenance(report)
        ),
        inputs=tuple(
            (name, "\n".join(one_line(line, LONG) for line in value.split("\n")[:MOST_REASONS]))
            for name, value in other_inputs(report).items()
        ),
    )


def _advice(text: str) -> Iterator[AdviceView]:
    for kind, part in judgements.advice_parts(text):
        if part.strip():
            yield AdviceView(kind=kind, text=part if kind == "code" else one_line(part, LONG))


def _links(report: Report) -> Iterator[Link]:
    for text, url in links(report, with_runs=len(report.legs) == 1).items():  # the table of several runs has theirs
        if web_address(url):
            yield Link(text=one_line(text, NAME), url=url)


def _leg(leg: LegReport) -> LegView:
    judgement, totals, repetition = leg.judgement, leg.totals, leg.judgement.repetition
    findings = leg.findings
    checks = findings.checks.first(MOST_TABLE_CRITERIA)
    criteria = tuple(_criterion(check) for check in checks)
    cases = repetition.cases if repetition else ()
    figures = f"{totals.completed:,} of {totals.total:,} completed" if totals else ""
    drawn = cards(leg)
    return LegView(
        name=one_line(leg.name, NAME),
        verdict=judgement.verdict.value if judgement.verdict else "none",
        word=judgements.heading(judgement).partition(" ")[2],
        reason=judgements.reason(judgement),
        figures=figures,
        runs=tuple(Link(text=one_line(run.run_id, NAME), url=web_address(run.run_url)) for run in leg.runs),
        standing=one_line(standing_text(leg.standing), LONG) if leg.standing else "",
        criteria=criteria,
        more_criteria=len(judgement.checks) - len(criteria),
        compares=any(criterion.trend for criterion in criteria),
        scales=any(criterion.scale for criterion in criteria),
        notes=notes_title(checks) if any(criterion.note for criterion in criteria) else "",
        references=tuple(
            reference_text(group, why=True, source=partial(base_name, leg)) for group in findings.compared
        ),
        flips=tuple(_flips(leg, flip) for flip in findings.flips[:MOST_TABLE_CRITERIA]),
        flips_title=flips_title(findings.failing, findings.passing),
        few_flips=findings.failing + findings.passing <= FEW_FLIPS,
        unstable=tuple(
            UnstableView(
                name=one_line(leg.case_name(case.test_case_id), NAME),
                variant=one_line(variant_key(case.variant), NAME) if len(leg.variants) > 1 else "",
                word=stability_word(case),
                failed=f"{case.failed:,} of {case.total:,}",
            )
            for case in cases[:MOST_TABLE_CRITERIA]
        ),
        unstable_text=in_figures(cases) if cases else "",
        cards=drawn,
        trend=any(card.trend for card in drawn),
    )


def _criterion(check: Check) -> CriterionView:
    verdict = shown_verdict(check)
    compares = comparison_of(check)
    return CriterionView(
        verdict=verdict.value,
        word=WORDS.get(verdict, verdict.value),
        text=one_line(check.criterion.text, LONG),
        variant=one_line(check.variant, NAME),
        actual=one_line(f"{actual_text(check)}{first_text(check)}", LONG),
        required=_required(check),
        note=one_line(shown_text(check) if compares else note_text(check), LONG),
        scale=_scale(check),
        trend=trend_text(check),
        reference=NAMES[check.reference] if compares else "",
        earlier=earlier_text(check),
        difference=difference_text(check),
    )


def _required(check: Check) -> str:
    """Return what a value must be: "<= 1.5", ">= 90%"."""
    requirement = check.requirement
    if requirement is None or check.measure is None:
        return ""
    return f"{requirement.operator} {bound_text(check)}"


def _scale(check: Check) -> Scale | None:
    """Return the value beside its bound; None if either is missing."""
    measure, requirement = check.measure, check.requirement
    if measure is None or requirement is None or not check.metric:
        return None
    interval, compared = measure.interval, measure.comparison
    return scale(
        measure.value,
        requirement.bound,
        requirement.operator,
        interval=(interval.lower, interval.upper) if interval else None,
        reference=compared.value if compared else None,
        whole=(0.0, 1.0) if measure.unit == "share" else None,
        text=f"{actual_text(check)}, required {_required(check)}",
    )


def _flips(leg: LegReport, flips: Flips) -> FlipView:
    failing, passing = (
        tuple(one_line(leg.case_name(case), NAME) for case in cases[:MOST_FLIPS])
        for cases in (flips.failing, flips.passing)
    )
    more = len(flips.failing) + len(flips.passing) - len(failing) - len(passing)
    return FlipView(criterion=one_line(check_text(flips.check), NAME), failing=failing, passing=passing, more=more)
