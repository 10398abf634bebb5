"""Drift in English: how runs developed beside their reference, and why there is nothing to compare with yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

from coval_gate.judge.problems import ReferenceDiffers, ReferenceGrows, ReferenceUnreadable
from coval_gate.model.drift import REFERENCE_RUNS
from coval_gate.report.wording.baselines import DATE, START_ANEW, dated_text
from coval_gate.report.wording.problem_words import Words
from coval_gate.text import number, one_line, percent, plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.checks import Check
    from coval_gate.judge.measure import DriftPath, Measure, Night, Unit


def path_text(measure: Measure, path: DriftPath) -> str:
    """Return what the runs since the reference show: "81% since 2026-03-02 (6 runs), reference 93%; sum 4.1 of 2.9"."""
    value, reference = value_text(measure.value, measure.unit), value_text(path.reference, measure.unit)
    rises = path.sum > 0.0
    when = f"{_since_text(path)} ({plural(len(path.risen), 'run')})" if rises else "now"
    return f"{value} {when}, reference {reference}; {sum_text(path)}"


def sum_text(path: DriftPath) -> str:
    """Return the sum of the shortfalls, and the level of an alarm."""
    return f"sum {path.sum:.2f}, alarm above {path.level:.2f}"


def path_title(path: DriftPath) -> str:
    """Return what a chart of the sums shows."""
    count = plural(len(path.nights), "run")
    return f"sum of the shortfalls over the {count} since the reference; grey: the level of an alarm, {path.level:.2f}"


def value_text(value: float, unit: Unit) -> str:
    """Return a mean as people read it."""
    return percent(value) if unit == "share" else number(value)


def day_of(night: Night) -> str:
    """Return the day on which a run was launched; empty where Coval does not tell it, and for the judged run."""
    day = DATE.match(night.created)
    return day[0] if day else ""


def drift_miss_reason(check: Check, threshold: Threshold, subject: str, about: str) -> str:
    """Return why a threshold drifts, without a full stop."""
    measure = check.measure
    if measure is None or (path := measure.path) is None:
        return f"{threshold.text} drifts"
    written = threshold.text.rpartition(threshold.operator)[2].strip()
    required = f"{threshold.operator} {written}"
    if check.requirement and check.requirement.bound != path.reference:
        required += f" ({value_text(check.requirement.bound, measure.unit)})"
    return (
        f"{subject} drifts{about}: {value_text(measure.value, measure.unit)} on average in the "
        f"{plural(len(path.risen), 'run')} {_since_text(path)}, where the reference has "
        f"{value_text(path.reference, measure.unit)}, must be {required}; {sum_text(path)}"
    )


class OfReferenceGrows(Words[ReferenceGrows]):
    def text(self, found: ReferenceGrows) -> str:
        return f"the reference has {found.known} of {REFERENCE_RUNS} runs"

    def reason(self, check: Check, found: ReferenceGrows, about: str) -> str:
        del check, about
        tag, known = found.tag, found.known
        if found.begun:
            return (
                f"The reference of drift, tag:{tag}, has {known} of {REFERENCE_RUNS} runs, so nothing is compared yet"
            )
        first = "the first run whose check is green gets it"
        return f"No run has the tag {tag} yet, so drift is compared with nothing; {first}"


class OfReferenceUnreadable(Words[ReferenceUnreadable]):
    def text(self, found: ReferenceUnreadable) -> str:
        del found
        return "the reference is not known"

    def reason(self, check: Check, found: ReferenceUnreadable, about: str) -> str:
        del check, about
        return f"Drift is not known: Coval did not tell which runs the reference has: {found.text.rstrip('.')}"


class OfReferenceDiffers(Words[ReferenceDiffers]):
    def text(self, found: ReferenceDiffers) -> str:
        match found.what:
            case "persona":
                return "another persona"
            case "metric":
                return "another version of the metric"
            case "cases":
                return "too few test cases are the same"
        return "the reference cannot be compared with"

    def reason(self, check: Check, found: ReferenceDiffers, about: str) -> str:
        del check
        since = f"since the reference, run {dated_text(found.since)}"
        return f"Drift is not known{about} {since}: {_difference_text(found)}; {START_ANEW}"


DRIFT_WORDS: Final[Mapping[type[Any], Words[Any]]] = {
    ReferenceGrows: OfReferenceGrows(),
    ReferenceUnreadable: OfReferenceUnreadable(),
    ReferenceDiffers: OfReferenceDiffers(),
}


def _difference_text(found: ReferenceDiffers) -> str:
    match found.what:
        case "persona":
            return "another persona called then, or another version of it"
        case "metric":
            return f"another version of {found.name} judged it, or none did"
        case "mutation":
            return f"it has no simulations of {found.name or 'the agent itself'}"
        case "cases":
            return "too few test cases are the same"
        case "values":
            return f"it has no values of {found.name or 'it'} that can be compared"
    assert_never(found.what)


def _since_text(path: DriftPath) -> str:
    first = path.risen[0]
    if len(path.risen) == 1:
        return "in this run"
    return f"since {day_of(first) or f'run {one_line(first.run_id)}'}"
