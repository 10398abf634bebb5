"""Baselines and drift in English: which runs there are, what a comparison leaves out, and why there is none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, assert_never

from coval_gate.base.text import age, in_words, number, one_line, percent, plural
from coval_gate.judge.measure import LeftOut
from coval_gate.judge.problems import ReferenceDiffers, ReferenceGrows, ReferenceUnreadable
from coval_gate.model.baseline import REFERENCE_RUNS
from coval_gate.report.wording.clauses import required_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.checks import Check
    from coval_gate.judge.measure import Comparison, DriftPath, Measure, Unit
    from coval_gate.model.baseline import Baseline, BaselineRun, BaselineSource, NotFoundReason, Unchecked
    from coval_gate.model.run import Run

P = TypeVar("P")

# Of a baseline, and of the reference of drift.
OTHER_PERSONA: Final = "it used another persona, or another version of it"
OTHER_PERSONA_TEXT: Final = "another persona"
OTHER_METRIC_TEXT: Final = "another version of the metric"
RUNS_SHOWN: Final = 3
# What to do where a baseline is in the way. The README says how a workflow gets the input.
START_OVER: Final = "run the workflow manually with accept: true to start over"
FIX_OR_ACCEPT: Final = (
    "Fix the agent, or accept the change: run the workflow manually with accept: true. Later runs are then compared "
    "with that run."
)
DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
UNCHECKED: Final[dict[Unchecked, str]] = {
    "test_cases": "the contents of test cases",
    "persona": "the persona",
    "metrics": "the metrics",
}
TOO_FEW_CASES: Final = "too few test cases are the same"


class ProblemWords(Generic[P]):
    """How one kind of problem reads."""

    def text(self, problem: P) -> str:
        """Return in a few words what to show in place of a value."""
        raise NotImplementedError

    def reason(self, check: Check, problem: P, about: str) -> str:
        """Return why a check has no measure, without a full stop.

        `about` names the variant and the run, with a space before; empty where there is only one.
        """
        raise NotImplementedError


def no_simulations_text(variant: str) -> str:
    """Return that a reference lacks a variant, as a verb with its object."""
    return f"has no simulations of {variant or 'the agent itself'}"


def baseline_text(
    baseline: Baseline,
    comparisons: Sequence[Comparison],
    *,
    why: bool,
    foreign: Callable[[object], str] = one_line,
    run_text: Callable[[Run], str] = lambda run: one_line(run.run_id),
) -> str:
    """Return a baseline's runs, how many test cases are shared, and what is left out or unknown.

    `foreign` escapes text from outside for the target format, `run_text` shows a run, and `why` adds why there is no
    baseline.
    """
    if not baseline.runs:
        reason = no_baseline_text(baseline.source, baseline.missing) if why and baseline.missing else ""
        return f"none; {foreign(reason)}" if reason else "none"
    parts = [_runs_text(baseline, run_text)]
    if comparisons:
        parts.append(shared_text(comparisons))
    options = sorted({option for run in baseline.runs for option in run.changed_options})
    if options:
        parts.append(f"launched with other {foreign(in_words(options))}")
    unchecked = [text for what, text in UNCHECKED.items() if any(what in run.unchecked for run in baseline.runs)]
    if unchecked:
        parts.append(f"unknown: whether {in_words(unchecked, 'or')} changed since")
    return "; ".join(parts)


def shared_text(comparisons: Sequence[Comparison], reference: str = "baseline") -> str:
    """Return how many test cases the comparisons share, and how many they leave out.

    Comparisons differ where metrics lack values: then return the range, and the most that any of them leaves out.
    """
    least, most = (kind(comparison.cases for comparison in comparisons) for kind in (min, max))
    cases = plural(most, "shared test case")
    uneven = "" if all(comparison.even for comparison in comparisons) else ", equally weighted"
    parts = [f"{cases if least == most else f'{least:,} to {cases}'}{uneven}"]
    if left := left_out_text(
        LeftOut(*map(max, zip(*(comparison.left_out for comparison in comparisons), strict=True))), reference
    ):
        alike = len({comparison.left_out for comparison in comparisons}) == 1
        parts.append(f"left out{'' if alike else ' at most'}: {left}")
    return "; ".join(parts)


def left_out_text(left_out: LeftOut, reference: str) -> str:
    """Return what a comparison with the `reference` leaves out, and why; empty where it leaves out nothing."""
    counts = [
        (left_out.new, f"not in the {reference}"),
        (left_out.gone, f"only in the {reference}"),
        (left_out.changed, "with changed contents"),
        (left_out.valueless, "without a value on one side"),
    ]
    parts = [f"{count:,} {why}" for count, why in counts if count]
    if left_out.runs:
        parts.append(f"{plural(left_out.runs, 'baseline run')} with another persona, metric or judge")
    return in_words(parts)


def no_baseline_text(source: BaselineSource | None, reason: NotFoundReason) -> str:  # noqa: C901 - a case for each kind
    """Return why there is no baseline, and what to do about it, without a full stop."""
    match reason.kind:
        case "too_old":
            return (
                f"the newest run of {source}, {reason.run_id}, is {age(reason.age)} old, more than baseline_max_age "
                f"allows; raise it, or {START_OVER}"
            )
        case "failed":
            return (
                f"the gate failed every run that matches {source}, most recently {reason.run_id}, and a failed run "
                f"never becomes the baseline; fix the agent, or {START_OVER}"
            )
        case "not_over":
            return (
                f"run {reason.run_id} had not ended when max_wait_time was over (status {reason.status}); raise "
                "max_wait_time, or name another run"
            )
        case "not_completed":
            return f"run {reason.run_id} did not complete (status {reason.status}); name another run"
        case "gone":
            return f"Coval has no run {reason.run_id}; name another run"
        case "itself":
            return f"run {reason.run_id} is this very run; name an earlier one"
        case "pull_request":
            return (
                f"only runs of pull requests match {source}, and those never become the baseline; to use one, name it "
                "by its id"
            )
        case "unreadable":
            unusable = f"run {source.name} cannot" if source and source.kind == "run" else f"no run of {source} can"
            return f"{unusable} be used: {reason.text.rstrip('.')}"
    if source is None:
        return "there are no earlier runs"
    same = "of this agent, persona and test set"
    if source.kind == "tag":
        use = "use promote to tag a run whose check passes"
        return f"no earlier run {same} has the tag {source.name}; {use}, or {START_OVER}"
    if source.kind == "branch":
        return f"no earlier run {same} is from branch {source.name}; the next run of that branch will be the baseline"
    return f"no earlier run {same} is {source}"


def _runs_text(baseline: Baseline, run_text: Callable[[Run], str]) -> str:
    shown = [_run_text(run, run_text) for run in baseline.runs[:RUNS_SHOWN]]
    more = len(baseline.runs) - len(shown)
    runs = in_words([*shown, *([f"{more:,} more"] if more else [])])
    fewer = f", {baseline.fewer_than_asked:,} fewer than asked for" if baseline.fewer_than_asked else ""
    return f"{'run' if len(baseline.runs) == 1 else 'runs'} {runs}{fewer}"


def _run_text(baseline_run: BaselineRun, run_text: Callable[[Run], str]) -> str:
    failed = ", which the gate failed" if baseline_run.failed else ""
    return dated_text(baseline_run.run, run_text) + failed


def dated_text(run: Run, run_text: Callable[[Run], str] = lambda run: one_line(run.run_id)) -> str:
    """Return a run with the day of its launch: unlike an age, it stays true however late a report is read."""
    day = day_text(run.create_time)
    return run_text(run) + (f" of {day}" if day else "")


def day_text(time: str) -> str:
    """Return the day of a time that Coval reports; empty if it reports none."""
    day = DAY.match(time)
    return day[0] if day else ""


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


class OfReferenceGrows(ProblemWords[ReferenceGrows]):
    def text(self, problem: ReferenceGrows) -> str:
        return f"the reference has {problem.known} of {REFERENCE_RUNS} runs"

    def reason(self, check: Check, problem: ReferenceGrows, about: str) -> str:
        del check, about
        tag, known = problem.tag, problem.known
        if problem.begun:
            return f"The drift reference tag:{tag} has {known} of {REFERENCE_RUNS} runs, so nothing is compared yet"
        first = "the first run whose check is green gets it"
        return f"No run has the tag {tag} yet, so drift has no reference; {first}"


class OfReferenceUnreadable(ProblemWords[ReferenceUnreadable]):
    def text(self, problem: ReferenceUnreadable) -> str:
        del problem
        return "the reference is unknown"

    def reason(self, check: Check, problem: ReferenceUnreadable, about: str) -> str:
        del check, about
        return f"Drift cannot be judged: Coval did not return the runs of the reference: {problem.text.rstrip('.')}"


class OfReferenceDiffers(ProblemWords[ReferenceDiffers]):
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


DRIFT_WORDS: Final[Mapping[type[Any], ProblemWords[Any]]] = {
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
