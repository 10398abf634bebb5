"""Drift in English: how runs moved away from their reference, and why there is nothing to compare yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

from coval_gate.judge.problems import ReferenceDiffers, ReferenceGrows, ReferenceUnreadable
from coval_gate.model.drift import REFERENCE_RUNS
from coval_gate.report.wording.baselines import START_OVER, dated_text, day_text
from coval_gate.report.wording.clauses import required_text
from coval_gate.report.wording.problem_words import (
    OTHER_METRIC_TEXT,
    OTHER_PERSONA,
    OTHER_PERSONA_TEXT,
    Words,
    no_simulations_text,
)
from coval_gate.text import number, one_line, percent, plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.checks import Check
    from coval_gate.judge.measure import DriftPath, Measure, Unit


TOO_FEW_CASES: Final = "too few test cases are the same"


def path_text(measure: Measure, path: DriftPath) -> str:
    """Return what the runs since the reference show: "81% since 2026-03-02 (6 runs), reference 93%; sum 4.1 of 2.9"."""
    value, reference = value_text(measure.value, measure.unit), value_text(path.reference, measure.unit)
    rises = path.sum > 0.0
    when = f"{_since_text(path)} ({plural(len(path.risen), 'run')})" if rises else "now"
    return f"{value} {when}, reference {reference}; {sum_text(path)}"


def sum_text(path: DriftPath) -> str:
    """Return the sum of the shortfalls, and the alarm level."""
    return f"sum {path.sum:.2f}, alarm above {path.level:.2f}"


def path_title(path: DriftPath) -> str:
    """Return the title of a chart of the sums."""
    count = plural(len(path.nights), "run")
    return f"sum of shortfalls over the {count} since the reference (grey: alarm level {path.level:.2f})"


def value_text(value: float, unit: Unit) -> str:
    """Return a value or a bound as people read it."""
    return percent(value) if unit == "share" else number(value)


def drift_miss_reason(check: Check, threshold: Threshold, subject: str, about: str) -> str:
    """Return why a threshold drifts, without a full stop."""
    measure = check.measure
    if measure is None or (path := measure.path) is None:
        return f"{threshold.text} drifts"
    differs = check.requirement and check.requirement.bound != path.reference
    bound = value_text(check.requirement.bound, measure.unit) if check.requirement and differs else ""
    return (
        f"{subject} drifts{about}: {value_text(measure.value, measure.unit)} on average in the "
        f"{plural(len(path.risen), 'run')} {_since_text(path)} (reference: "
        f"{value_text(path.reference, measure.unit)}), must be {required_text(threshold, bound)}; {sum_text(path)}"
    )


class OfReferenceGrows(Words[ReferenceGrows]):
    def text(self, problem: ReferenceGrows) -> str:
        return f"the reference has {problem.known} of {REFERENCE_RUNS} runs"

    def reason(self, check: Check, problem: ReferenceGrows, about: str) -> str:
        del check, about
        tag, known = problem.tag, problem.known
        if problem.begun:
            return f"The drift reference tag:{tag} has {known} of {REFERENCE_RUNS} runs, so nothing is compared yet"
        first = "the first run whose check is green gets it"
        return f"No run has the tag {tag} yet, so drift has no reference; {first}"


class OfReferenceUnreadable(Words[ReferenceUnreadable]):
    def text(self, problem: ReferenceUnreadable) -> str:
        del problem
        return "the reference is unknown"

    def reason(self, check: Check, problem: ReferenceUnreadable, about: str) -> str:
        del check, about
        return f"Drift cannot be judged: Coval did not return the runs of the reference: {problem.text.rstrip('.')}"


class OfReferenceDiffers(Words[ReferenceDiffers]):
    def text(self, problem: ReferenceDiffers) -> str:
        match problem.what:
            case "persona":
                return OTHER_PERSONA_TEXT
            case "metric":
                return OTHER_METRIC_TEXT
            case "cases":
                return TOO_FEW_CASES
        return "the reference cannot be compared"

    def reason(self, check: Check, problem: ReferenceDiffers, about: str) -> str:
        del check
        reference = f"the reference, run {dated_text(problem.since)}"
        return f"Drift cannot be judged{about} against {reference}: {_difference_text(problem)}; {START_OVER}"


DRIFT_WORDS: Final[Mapping[type[Any], Words[Any]]] = {
    ReferenceGrows: OfReferenceGrows(),
    ReferenceUnreadable: OfReferenceUnreadable(),
    ReferenceDiffers: OfReferenceDiffers(),
}


def _difference_text(problem: ReferenceDiffers) -> str:
    match problem.what:
        case "persona":
            return OTHER_PERSONA
        case "metric":
            return f"it used another version of {problem.name}, or none"
        case "mutation":
            return f"it {no_simulations_text(problem.name)}"
        case "cases":
            return TOO_FEW_CASES
        case "values":
            return f"it has no comparable values of {problem.name or 'it'}"
    assert_never(problem.what)


def _since_text(path: DriftPath) -> str:
    first = path.risen[0]
    if len(path.risen) == 1:
        return "in this run"
    return f"since {day_text(first.created) or f'run {one_line(first.run_id)}'}"
