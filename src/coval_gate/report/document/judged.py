"""What a step and each of its legs have in common: a verdict, why, and a few figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from coval_gate.base.text import shortened_at_word
from coval_gate.gate.claims import flips_title
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.measure import Totals, sum_of
from coval_gate.report import wording
from coval_gate.report.document.base import Model, Outcome, Text, outcome
from coval_gate.report.document.criteria import missed_text
from coval_gate.report.limits import MOST_CRITERIA
from coval_gate.report.model import LegReport
from coval_gate.report.wording.checks import counts_text


class Judged(Model):
    """What a step and each of its legs have in common: a verdict, why, and a few figures."""

    verdict: Outcome | None
    """Null with mode launch, which asks for none."""
    passes: bool
    """Whether the step may succeed: the verdict is passed or skipped, there is none, or the inputs tolerate it."""
    heading: Text
    """The verdict with a mark, such as "❌ Failed"; without a verdict, what the step did."""
    status: Text
    """As in the output `status`."""
    reason: Text
    """The gravest reason, and how many others there are."""
    others_text: Text
    """The end of `reason`: how many others there are; empty without any."""
    reasons: list[Text]
    """The reasons, the gravest first; if there are too many, only the first."""
    reasons_left_out: int
    """How many more there are."""
    advice: Text
    is_doubtful: bool
    """Whether a criterion that was judged looks like a mistake."""
    link: Text
    total_simulations: int | None
    """Also those that Coval does not list."""
    completed_simulations: int | None
    unpassed_simulations: int | None
    """How many did not complete or, where targets count, missed one; null if nothing was judged."""
    pass_rate: float | None = Field(ge=0, le=1)
    """The share of the others."""
    missed_text: Text
    """How many criteria that decide are missed, such as "1 of 3 missed"."""
    flips_text: Text
    """How many test cases flipped since the baseline; empty without any."""
    causes_text: Text
    """How many test cases have each cause, over all simulations; empty where no cause is known."""
    failing_causes_text: Text
    """The same over the simulations that explain a failure."""

    @property
    def is_tolerated(self) -> bool:
        """Whether it passes although its verdict is neither passed nor skipped."""
        return self.passes and self.verdict not in (None, "passed", "skipped")

    def headline(self, limit: int) -> str:
        """Return heading and reason on one line of at most `limit` characters."""
        beginning = f"{self.heading}{' (passes)' if self.is_tolerated else ''}: "
        return f"{beginning}{self.short_reason(limit - len(beginning))}"

    def short_reason(self, limit: int) -> str:
        """Return the reason in at most `limit` characters; how many others there are stays."""
        others = self.others_text
        return shortened_at_word(self.reason.removesuffix(others), limit - len(others)) + others


def judged_facts(judgement: Judgement) -> dict[str, Any]:
    """Return what a judgement says, in fields of Judged."""
    reasons, doubts = wording.reasons(judgement), wording.doubt_lines(judgement)
    return {
        "verdict": outcome(judgement.verdict),
        "passes": judgement.lets_pass,
        "heading": wording.heading(judgement),
        "status": judgement.status,
        "reason": wording.reason(judgement, reasons),
        "others_text": wording.others_text(judgement, len(reasons) - 1),
        "reasons": list(reasons[:MOST_CRITERIA]),
        "reasons_left_out": max(0, len(reasons) - MOST_CRITERIA),
        "advice": wording.advice(judgement, doubts),
        "is_doubtful": bool(doubts),
        "link": wording.link(judgement),
    }


def figures_of(legs: Sequence[LegReport], *, named: bool = False) -> dict[str, Any]:
    """Return the figures of a step or a leg, in fields of Judged. `named`: what is missed is a criterion."""
    totals = sum_of([totals for leg in legs if (totals := totals_of(leg))])
    judged = totals if any(leg.judgement.totals for leg in legs) else None
    failing, passing = (sum(getattr(leg.findings, name) for leg in legs) for name in ("failing", "passing"))
    rows = [(row, leg) for leg in legs for row in leg.findings.simulations]
    return {
        "total_simulations": totals.total if totals else None,
        "completed_simulations": totals.completed if totals else None,
        "unpassed_simulations": len(judged.unpassed) + judged.unlisted if judged else None,
        "pass_rate": judged.pass_rate if judged else None,
        "missed_text": missed_text([check for leg in legs for check in leg.findings.checks.checks], named=named),
        "flips_text": flips_title(failing, passing) if failing or passing else "",
        "causes_text": counts_text(rows),
        "failing_causes_text": counts_text((row, leg) for row, leg in rows if row.explains_failure),
    }


def totals_of(leg: LegReport) -> Totals | None:
    """Return the totals; of a leg that was not judged, those of its last poll, with none passed."""
    if leg.judgement.totals or not (leg.run and leg.run.progress):
        return leg.judgement.totals
    polled = leg.run.progress.in_simulations(leg.planned)
    return Totals(total=polled.total, completed=polled.completed, unlisted=polled.total)
