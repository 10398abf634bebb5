"""Drift in English: how runs developed beside their reference, and why there is nothing to compare with yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from coval_gate.judge.problems import ReferenceDiffers, ReferenceGrows, ReferenceUnreadable
from coval_gate.model.drift import REFERENCE_RUNS
from coval_gate.report.wording.baselines import DATE, START_ANEW, dated_text
from coval_gate.text import number, one_line, percent, plural

if TYPE_CHECKING:
    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.checks import Check
    from coval_gate.judge.measure import DriftPath, Measure, Night, Unit
    from coval_gate.judge.problems import DriftProblem


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


def drift_problem_text(found: DriftProblem) -> str:
    """Return in a few words why nothing is compared with the reference."""
    match found:
        case ReferenceGrows(known=known):
            return f"the reference has {known} of {REFERENCE_RUNS} runs"
        case ReferenceUnreadable():
            return "the reference is not known"
        case ReferenceDiffers(what="persona"):
            return "another persona"
        case ReferenceDiffers(what="metric"):
            return "another version of the metric"
        case ReferenceDiffers(what="cases"):
            return "too few test cases are the same"
        case ReferenceDiffers():
            return "the reference cannot be compared with"
    assert_never(found)


def drift_problem_reason(found: DriftProblem, about: str) -> str:
    """Return the same as a sentence without a full stop."""
    match found:
        case ReferenceGrows(tag=tag, known=known, begun=True):
            return (
                f"The reference of drift, tag:{tag}, has {known} of {REFERENCE_RUNS} runs, so nothing is compared yet"
            )
        case ReferenceGrows(tag=tag):
            first = "the first run whose check is green gets it"
            return f"No run has the tag {tag} yet, so drift is compared with nothing; {first}"
        case ReferenceUnreadable(text=text):
            return f"Drift is not known: Coval did not tell which runs the reference has: {text.rstrip('.')}"
        case ReferenceDiffers(since=since):
            why = _difference_text(found)
            return f"Drift is not known{about} since the reference, run {dated_text(since)}: {why}; {START_ANEW}"
    assert_never(found)


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
