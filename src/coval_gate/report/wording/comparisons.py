"""A comparison with a baseline in English: the change, what is claimed of it, and why there is none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, assert_never

from coval_gate.judge.criteria import ThresholdHolds
from coval_gate.judge.foresight import cases_to_compare
from coval_gate.judge.problems import (
    CasesUnknown,
    JudgeChanged,
    NoBaseline,
    NoMutations,
    NotInBaseline,
    PersonaChanged,
    TooFewShared,
    UnequalCounts,
    UnusableBaseline,
)
from coval_gate.judge.verdict import Verdict
from coval_gate.report.wording.amounts import rounded
from coval_gate.text import age, in_words, number, percent, plural

if TYPE_CHECKING:
    from coval_gate.judge.checks import Check
    from coval_gate.judge.measure import Comparison, LeftOut, Measure, Trend, Unit
    from coval_gate.model.baseline import BaselineSource, NotFoundReason

ComparisonProblem = (
    NoMutations
    | NoBaseline
    | NotInBaseline
    | UnusableBaseline
    | PersonaChanged
    | JudgeChanged
    | CasesUnknown
    | TooFewShared
    | UnequalCounts
)

TREND_MARKS: Final[dict[Trend, str]] = {"improved": "▲", "unchanged": "=", "worse": "▼", "inconclusive": "?"}


def reference_text(check: Check) -> str:
    """Return what a threshold refers to: "the baseline", or "the agent" for `base`; empty for a number."""
    if not isinstance(check.criterion, ThresholdHolds):
        return ""
    return {"baseline": "the baseline", "base": "the agent", "": ""}[check.criterion.threshold.bound.reference]


def earlier_text(check: Check) -> str:
    """Return the reference's value with its total, such as "95.3% (143 of 150)"; empty without a comparison."""
    measure = check.measure
    if measure is None or measure.comparison is None:
        return ""
    compared = measure.comparison
    match measure.unit:
        case "share":
            hits = round(compared.value * compared.count)
            return f"{percent(compared.value)} ({hits:,} of {compared.count:,})"
        case "simulations":
            return f"{compared.value:,.0f} of {compared.count:,}"
    return number(compared.value)


def difference_text(measure: Measure) -> str:
    """Return how far the value is from the reference's: "15.3 percentage points lower"; "the same"."""
    if measure.comparison is None:
        return ""
    return _moved(measure.value - measure.comparison.value, measure.unit)


def change_text(check: Check) -> str:
    """Return what is claimed of a change, such as "lower by at least 3.1 percentage points".

    Without a confidence, nothing is claimed, and the text is empty.
    """
    compared = check.measure.comparison if check.measure else None
    if check.measure is None or compared is None or compared.change is None:
        return ""
    unit, lower, upper = check.measure.unit, compared.change.lower, compared.change.upper
    if lower == upper == 0.0:
        return "the same"
    if upper <= 0.0:  # 0 where a percentile of few different values moved by less than the values are apart
        return f"lower by at least {_amount(-upper, unit, math.floor)}" if upper else "lower"
    if lower >= 0.0:
        return f"higher by at least {_amount(lower, unit, math.floor)}" if lower else "higher"
    least = f"{_amount(-lower, unit, math.ceil)} lower" if math.isfinite(lower) else ""
    most = f"{_amount(upper, unit, math.ceil)} higher" if math.isfinite(upper) else ""
    if least and most:
        return f"between {least} and {rounded(upper, unit, math.ceil).removesuffix('%')} higher"
    return f"at most {least or most}" if least or most else "nothing is certain"


def noticeable_text(check: Check) -> str:
    """Return the smallest change for the worse that such a run shows in 80 % of cases; empty where it is not known."""
    compared = check.measure.comparison if check.measure else None
    if check.measure is None or compared is None or compared.noticeable is None:
        return ""
    return _amount(compared.noticeable, check.measure.unit, math.ceil)


def compared_text(compared: Comparison) -> str:
    """Return over how many test cases a comparison is, and which ones it leaves out."""
    left = left_out_text(compared.left_out)
    return f"over {plural(compared.cases, 'shared test case')}{f'; left out: {left}' if left else ''}"


def left_out_text(left_out: LeftOut) -> str:
    """Return what a comparison leaves out, and why; empty where that is nothing."""
    told = [
        (left_out.new, "that the baseline does not have"),
        (left_out.gone, "that only the baseline has"),
        (left_out.changed, "whose contents changed"),
        (left_out.valueless, "without a value in one of the two"),
    ]
    parts = [f"{count:,} {why}" for count, why in told if count]
    if left_out.runs:
        parts.append(f"{plural(left_out.runs, 'run')} of the baseline with another persona, metric or judge")
    return in_words(parts, most=len(parts))


def doubt_about(check: Check) -> str:
    """Return why a comparison is inconclusive, after a colon or a semicolon."""
    measure = check.measure
    compared = measure.comparison if measure else None
    if measure is None or compared is None or compared.change is None:
        return ""
    confidence = f"with {percent(compared.change.confidence)} confidence"
    if compared.by_chance:
        many = f"of {compared.by_chance:,} thresholds, one may well change as much in an agent that has not changed"
        return f": it is {change_text(check)} ({confidence}), but {many}"
    ends = math.isfinite(compared.change.lower) + math.isfinite(compared.change.upper)
    enough = _enough_text(check, compared)
    if not ends:
        return f": {plural(compared.cases, 'shared test case')} are too few to show anything{enough and f'; {enough}'}"
    told = f": it is {change_text(check)} ({'each end ' if ends > 1 else ''}{confidence})"
    return f"{told}; so few test cases can never show it, {enough}" if enough else told


def _enough_text(check: Check, compared: Comparison) -> str:
    """Return how many test cases can show the greatest change at all; empty if these can."""
    if not isinstance(check.criterion, ThresholdHolds):
        return ""
    iterations = max(1, compared.count // compared.cases)
    needed = cases_to_compare(check.criterion, iterations=iterations)
    return f"{needed:,} can" if needed and needed > compared.cases else ""


def comparison_problem_text(found: ComparisonProblem) -> str:
    """Return in a few words why there is no comparison."""
    match found:
        case NoMutations():
            return "the run has no mutations"
        case NoBaseline():
            return "no baseline"
        case NotInBaseline(what=what):
            return f"the baseline does not have the {what}"
        case UnusableBaseline():
            return "the baseline's values cannot be compared with"
        case PersonaChanged():
            return "another persona"
        case JudgeChanged():
            return "another version of the metric"
        case CasesUnknown():
            return "the test cases are not known"
        case TooFewShared(shared=shared):
            return f"{plural(shared, 'shared test case')}"
        case UnequalCounts(now=now, earlier=earlier):
            return f"{now:,} simulations now, {earlier:,} in the baseline"
    assert_never(found)


def comparison_problem_reason(check: Check, found: ComparisonProblem, about: str) -> str:  # noqa: C901 - one for each
    """Return why there is no comparison, and what to do about it, without a full stop."""
    text = check.criterion.threshold.text if isinstance(check.criterion, ThresholdHolds) else ""
    beginning = f"{text} has nothing to compare with{about}"
    match found:
        case NoMutations():
            return f"{beginning}: the run has no mutations; base is the agent itself, beside its mutations"
        case NoBaseline(source=source, reason=reason):
            return f"{beginning}: {_no_baseline(source, reason)}"
        case NotInBaseline(what="mutation", name=name):
            return f"{beginning}: the baseline has no simulations of {name or 'the agent itself'}"
        case NotInBaseline(name=name):
            return f"{beginning}: the baseline was not judged by {name}; launch a new baseline with that metric"
        case UnusableBaseline(problem=problem):
            return f"{beginning}: the baseline's values of {problem.metric} are of another kind, or there are none"
        case PersonaChanged():
            return f"{beginning}: another persona, or another version of it, talked to the baseline; launch a new one"
        case JudgeChanged(metric=metric):
            return f"{beginning}: another version of {metric} judged the baseline; launch a new one"
        case CasesUnknown():
            return f"{beginning}: Coval does not say which test case each simulation belongs to"
        case TooFewShared(shared=shared, left_out=left_out):
            left = left_out_text(left_out)
            why = f"; left out are {left}" if left else ""
            return f"{beginning}: only {plural(shared, 'test case')} can be compared, and it takes two{why}"
        case UnequalCounts(now=now, earlier=earlier):
            return (
                f"{beginning}: it counts, but there are {plural(now, 'simulation')} now and {earlier:,} in the "
                "baseline; compare a rate, or run as many iterations"
            )
    assert_never(found)


def _no_baseline(source: BaselineSource | None, reason: NotFoundReason) -> str:
    match reason.kind:
        case "too_old":
            return f"the newest run of {source}, {reason.run_id}, is {age(reason.age)} old; raise baseline_max_age"
        case "not_completed":
            return f"run {reason.run_id} did not complete; it is {reason.status}"
        case "gone":
            return f"Coval does not have the run {reason.run_id}"
        case "itself":
            return f"run {reason.run_id} is the run itself"
        case "pull_request":
            return f"only runs of pull requests fit {source}, and they are no baseline; name one by its id"
        case "unreadable":
            return f"Coval does not say which run is {source}: {reason.text.rstrip('.')}"
    if source is None:
        return "there is no baseline"
    how = "a run gets the tag through promote" if source.kind == "tag" else "the next run on that branch is one"
    return f"no earlier run of the same agent, persona and test set is {source}; {how}"


def _moved(difference: float, unit: Unit) -> str:
    text = _amount(abs(difference), unit, round)
    if not float(text.split(" ")[0].replace(",", "").replace("%", "") or 0):
        return "the same"
    return f"{text} {'higher' if difference > 0 else 'lower'}"


def _amount(value: float, unit: Unit, outwards: object) -> str:
    """Return a change as people read it, in percentage points for a share."""
    shown = rounded(max(0.0, value), unit, outwards)  # type: ignore[arg-type]
    match unit:
        case "share":
            points = shown.removesuffix("%")
            return f"{points} percentage point{'' if points == '1' else 's'}"
        case "simulations":
            return plural(round(value), "simulation")
    return shown


def is_doubtful(check: Check) -> bool:
    """Tell whether a check compares, and does not know."""
    return check.verdict is Verdict.INCONCLUSIVE and bool(check.measure and check.measure.comparison)
