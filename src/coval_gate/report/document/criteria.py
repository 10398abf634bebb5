"""A criterion as all reports show it: numbers, words, and its comparison."""

import math
from collections.abc import Callable
from typing import Any, Final, Literal

from coval_gate.base.text import percent
from coval_gate.gate.checks import REFERENCE_NAMES, Check, bound_text
from coval_gate.gate.findings import Findings
from coval_gate.gate.measure import Trend, Unit
from coval_gate.gate.statistics import POWER
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.thresholds import Operator
from coval_gate.report import MOST_CRITERIA, MOST_IDS
from coval_gate.report.document.base import ITSELF, Model, Text, VerdictWord, variant_key
from coval_gate.report.wording.checks import (
    actual_text,
    check_reason,
    claim_text,
    informs_text,
    margin_text,
    moved_text,
    note_text,
)

CHANCE: Final = percent(POWER)  # of runs that show a noticeable change
COMPARISON_TEXTS: Final = (
    "earlier_text",
    "range_text",
    "difference_text",
    "trend_text",
    "claimed_text",
    "noticeable_text",
)
NOTICEABLE: Final = f"Noticeable: the smallest change for the worse that {CHANCE} of such runs would show."


class LeftOutFacts(Model):
    """What a comparison leaves out."""

    new: int
    """Test cases that the reference does not have."""
    gone: int
    """Test cases that only the reference has."""
    changed: int
    """Test cases whose contents have changed."""
    valueless: int
    """Test cases that lack a value on one side."""
    runs: int
    """Runs of the baseline with another persona, without the metric, or with another version of it."""


class CriterionFacts(Model):
    """One requirement on the agent or a mutation, and what was measured: numbers, then words, then the comparison.

    The numbers are null where nothing was measured. The fields of the comparison, from `baseline_value` on, are null or
    empty where the criterion does not, or could not, compare.
    """

    kind: Text
    """threshold, max_failed_simulations, target_met and so on; more words may follow."""
    criterion: Text
    """A threshold as the user wrote it; otherwise a statement that is true where the criterion is met."""
    verdict: VerdictWord
    """skipped: it only informs, because it is advisory, or because no measured value can make it fail."""
    met: bool
    """Whether it is met, even if it only informs."""
    actual: float | None
    """The measured value, in `unit`."""
    operator: Operator | None
    bound: float | None
    """In `unit`. The requirement is `actual operator bound`."""
    unit: Unit | None
    """share: from 0 to 1; simulations: how many; metric: the metric's own unit."""
    margin: float | None
    """How far `actual` is from `bound`, in `unit`: positive on the required side, negative on the other."""
    runs: int
    """How many runs of the leg decided it."""
    run_id: Text
    """Where each of several runs must meet it alone: the run that misses it or comes closest; otherwise empty."""
    first_actual: float | None
    """Where several runs decided, and the first one alone did not meet it: its value, in `unit`."""
    count: int | None
    """How many of the simulations that it is about have a value; of `worst`, those of the lowest test case."""
    missing: int | None
    """How many simulations should have a value, but have none."""
    lower: float | None
    """With a confidence: the agent's value is at least this, in `unit`; null where nothing is claimed."""
    upper: float | None
    """With a confidence: the agent's value is at most this."""
    confidence: float | None
    """The confidence of each bound by itself, which does not share the error; null where decided as counted."""
    problem: Text
    """Why nothing could be measured, such as no_such_metric; otherwise empty. More words may follow."""
    actual_text: Text
    """What was measured or, in a few words, why nothing was."""
    first_text: Text
    """Where several runs decided, and the first one alone did not meet it: what that one measured."""
    required_text: Text
    """What a value must be, such as ">= 90%"; empty where nothing was measured."""
    claim_text: Text
    """With a confidence: the claim about the agent, such as "at least 91.2%"."""
    margin_text: Text
    """By how much the criterion is missed; empty where it is met."""
    informs_text: Text
    """That it only informs, and whether it is met; empty where it decides."""
    note_text: Text
    """What stands beside the measured value: that it only informs, the claim, the margin, and `moved_text`."""
    moved_text: Text
    """That one value alone moves an average: without it, the verdict would differ; otherwise empty."""
    reason: Text
    """A sentence, if the verdict is not passed."""
    user_defined: bool
    """Whether the user defined it; otherwise every run must meet it."""
    is_about_variant: bool
    """Whether it is about one of several variants."""
    variant: Text
    metric_id: Text
    simulation_ids: list[Text]
    """The first 100 simulations that miss the criterion, if the verdict is not passed."""
    compared_with: Literal["", "baseline", "agent", "base"]
    """baseline: earlier runs; agent: the agent itself in the same run; base: the run of the agent that base_agent_id
    names; empty: a number. With such a reference, `actual`, `count` and `missing` are over the test cases that both
    sides have, and `bound` is computed from it."""
    advisory: bool
    """Whether it only informs, and can never fail."""
    baseline_value: float | None
    """The reference's value, in `unit`."""
    baseline_lowest: float | None
    """The lowest value of its runs, each over the compared test cases; null if it is a single run."""
    baseline_highest: float | None
    """The highest one."""
    actual_pooled: float | None
    """`actual` weighs each test case the same, however many simulations it has. This value weighs each simulation the
    same; null where it does not differ."""
    baseline_count: int | None
    """How many simulations of the reference have a value."""
    baseline_missing: int | None
    """How many simulations of the reference have no value. A rate counts them as misses on both sides."""
    baseline_pooled: float | None
    """As `actual_pooled`, for `baseline_value`."""
    change: float | None
    """`actual` minus `baseline_value`."""
    change_lower: float | None
    """With a confidence: the change is at least this; null where nothing is claimed."""
    change_upper: float | None
    """With a confidence: the change is at most this. Each bound has the whole `change_confidence` by itself."""
    change_confidence: float | None
    """A share; null where the change was decided as counted."""
    trend: Trend | None
    """What the change amounts to, as far as that is evident given the number of thresholds; null without a confidence:
    a change as counted may be chance."""
    noticeable_change: float | None
    """The smallest change for the worse, in `unit`, that 80% of such runs would show, beyond the margin and given the
    number of thresholds; null where it is unknown."""
    earlier_text: Text
    """What was measured in the reference."""
    range_text: Text
    """How the runs of the reference vary, such as "7 runs: 93.1% to 97%"; empty if it is a single run."""
    difference_text: Text
    """The change, such as "-4pp"; without a confidence, of a rate over equally many simulations, "1 of 50 fewer"."""
    trend_text: Text
    """What the change amounts to, and whether it exceeds the margin; empty without a confidence."""
    claimed_text: Text
    """What is claimed of the change, such as "at least 3pp lower"; empty without a confidence."""
    noticeable_text: Text
    """`noticeable_change` in words, such as "a drop of 9pp"."""
    shared_test_cases: int | None
    """How many test cases both sides have."""
    left_out: LeftOutFacts | None
    newly_failing: list[Text]
    """The ids of test cases whose simulations mostly passed in the reference, and mostly fail now."""
    newly_failing_cases: list[Text]
    """The same test cases in words."""
    newly_passing: list[Text]
    """The ids of test cases whose simulations mostly failed in the reference, and mostly pass now."""
    newly_passing_cases: list[Text]
    """The same test cases in words."""

    @property
    def is_missed(self) -> bool:
        return self.verdict not in ("passed", "skipped")

    @property
    def title(self) -> str:
        """The criterion, with the mutation in brackets if it is about one."""
        return f"{self.criterion} [{self.mutation}]" if self.mutation else self.criterion

    @property
    def flipped(self) -> dict[str, list[str]]:
        flips = {"fails now": self.newly_failing_cases, "passes now": self.newly_passing_cases}
        return {word: cases for word, cases in flips.items() if cases}

    @property
    def shown_text(self) -> str:
        """What the comparison shows: "worse: at least 23pp lower"; without a confidence, by how much it is missed."""
        shown = ": ".join(filter(None, (self.trend_text, self.claimed_text))) or self.margin_text
        return "; ".join(filter(None, (shown, self.moved_text)))

    @property
    def would_show_text(self) -> str:
        """Which change would show, as a sentence; empty where it is unknown."""
        return f"{self.noticeable_text} would show in {CHANCE} of such runs" if self.noticeable_text else ""

    @property
    def mutation(self) -> str:
        """The mutation that it is about; empty for the agent itself."""
        return "" if self.variant == ITSELF else self.variant


def criteria_of(findings: Findings, case_name: Callable[[str], str]) -> list[CriterionFacts]:
    return [criterion_of(check, case_name) for check in findings.checks.by_gravity[:MOST_CRITERIA]]


def criterion_of(check: Check, case_name: Callable[[str], str] = str) -> CriterionFacts:
    measure, requirement = check.measure, check.requirement
    bound = requirement.bound if requirement else None
    if requirement and check.comparison:  # computed from a reference: without rounding errors
        bound = float(f"{requirement.bound:.12g}")
    interval = measure.interval if measure else None
    blamed = () if check.passed and not check.informs else check.simulations
    flips = check.comparison
    failing, passing = (flips.newly_failing, flips.newly_passing) if flips else ((), ())
    return CriterionFacts(
        kind=check.criterion.kind,
        criterion=check.criterion.text,
        verdict=(Verdict.SKIPPED if check.informs else check.verdict).value,
        met=check.passed,
        actual=_exact(check, measure.value) if measure else None,
        operator=requirement.operator if requirement else None,
        bound=bound,
        unit=measure.unit if measure else None,
        margin=None if check.margin is None else float(f"{check.margin:.12g}"),  # 0.10935, not 0.10935000000000006
        runs=check.runs,
        run_id=check.run_id,
        first_actual=_exact(check, check.first.value) if check.first else None,
        count=measure.count if measure else None,
        missing=measure.missing if measure else None,
        lower=_finite(interval.lower) if interval else None,
        upper=_finite(interval.upper) if interval else None,
        confidence=interval.confidence if interval else None,
        problem=check.problem.kind if check.problem else "",
        actual_text=actual_text(check),
        first_text=f"the first run alone {check.criterion.measured(check, check.first)}" if check.first else "",
        required_text=f"{requirement.operator} {bound_text(check)}" if requirement and measure else "",
        claim_text=claim_text(check),
        margin_text=margin_text(check),
        informs_text=informs_text(check),
        note_text=note_text(check),
        moved_text=moved_text(check),
        reason=check_reason(check),
        user_defined=check.criterion.user_defined,
        is_about_variant=check.several,
        variant=variant_key(check.variant),
        metric_id=check.metric,
        simulation_ids=list(blamed[:MOST_IDS]),
        **_comparison(check),
        newly_failing=[*failing],
        newly_failing_cases=[*map(case_name, failing)],
        newly_passing=[*passing],
        newly_passing_cases=[*map(case_name, passing)],
    )


def _comparison(check: Check) -> dict[str, Any]:
    compared, measure = check.comparison, check.measure
    change = compared.change if compared else None
    return {
        "compared_with": REFERENCE_NAMES[check.reference],
        "advisory": not check.decides,
        "baseline_value": _exact(check, compared.value) if compared else None,
        "actual_pooled": _exact(check, measure.pooled) if measure else None,
        "baseline_count": compared.count if compared else None,
        "baseline_missing": compared.missing if compared else None,
        "baseline_pooled": _exact(check, compared.pooled) if compared else None,
        "change": float(f"{measure.value - compared.value:.12g}") if compared and measure else None,
        "change_lower": _finite(change.lower) if change else None,
        "change_upper": _finite(change.upper) if change else None,
        "change_confidence": change.confidence if change else None,
        "trend": compared.trend if compared else None,
        "noticeable_change": compared.noticeable if compared else None,
        "shared_test_cases": compared.cases if compared else None,
        "left_out": LeftOutFacts(**compared.left_out._asdict()) if compared else None,
        "baseline_lowest": _exact(check, compared.range.lowest) if compared and compared.range else None,
        "baseline_highest": _exact(check, compared.range.highest) if compared and compared.range else None,
        **_comparison_texts(check),
    }


def _comparison_texts(check: Check) -> dict[str, str]:
    if check.comparison is None:
        return dict.fromkeys(COMPARISON_TEXTS, "")
    from coval_gate.features.comparisons.document import comparison_texts

    return dict(zip(COMPARISON_TEXTS, comparison_texts(check, check.comparison), strict=True))


def _exact(check: Check, value: float | None) -> float | None:
    """Return a figure without rounding errors: 0.433, not 0.43300000000000005. A share stays an exact quotient."""
    return float(f"{value:.15g}") if value is not None and check.scale.unit == "metric" else value


def _finite(bound: float) -> float | None:
    return bound if math.isfinite(bound) else None
