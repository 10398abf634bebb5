"""A baseline in English: which runs it is, what a comparison leaves out, and why there is none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from coval_gate.judge.measure import LeftOut
from coval_gate.text import age, in_words, one_line, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coval_gate.judge.measure import Comparison
    from coval_gate.model.baseline import Baseline, BaselineRun, NotFoundReason, Unchecked
    from coval_gate.model.baseline_source import BaselineSource
    from coval_gate.model.run import Run

RUNS_SHOWN: Final = 3
# What to do where a baseline is in the way. The README says how a workflow gets the input.
START_ANEW: Final = "to start anew, run the workflow by hand with accept: true"
FIX_OR_ACCEPT: Final = (
    "Fix the agent, or accept the change: run the workflow by hand with accept: true. Later runs are then compared "
    "with that run."
)
DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
UNCHECKED: Final[dict[Unchecked, str]] = {
    "test_cases": "the contents of test cases",
    "persona": "the persona",
    "metrics": "the metrics",
}


def baseline_text(
    baseline: Baseline,
    comparisons: Sequence[Comparison],
    *,
    why: bool,
    foreign: Callable[[object], str] = one_line,
    run_text: Callable[[Run], str] = lambda run: one_line(run.run_id),
) -> str:
    """Return what a baseline is: its runs, how many test cases are shared, and what is left out or not known.

    `foreign` makes text from outside safe where the text goes, and `run_text` shows a run. `why`: also say why there
    is no baseline.
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
    unchecked = [text for each, text in UNCHECKED.items() if any(each in run.unchecked for run in baseline.runs)]
    if unchecked:
        parts.append(f"not known: whether {in_words(unchecked, 'or')} changed since")
    return "; ".join(parts)


def shared_text(comparisons: Sequence[Comparison], reference: str = "baseline") -> str:
    """Return over how many test cases the comparisons are, and which ones they leave out.

    Where the comparisons differ, as metrics may lack values, it is a range, and the most that is left out.
    """
    least, most = (kind(comparison.cases for comparison in comparisons) for kind in (min, max))
    cases = plural(most, "shared test case")
    uneven = "" if all(comparison.even for comparison in comparisons) else ", each of which weighs the same"
    parts = [f"{cases if least == most else f'{least:,} to {cases}'}{uneven}"]
    if left := left_out_text(
        LeftOut(*map(max, zip(*(comparison.left_out for comparison in comparisons), strict=True))), reference
    ):
        alike = len({comparison.left_out for comparison in comparisons}) == 1
        parts.append(f"left out{'' if alike else ' at most'}: {left}")
    return "; ".join(parts)


def left_out_text(left_out: LeftOut, reference: str) -> str:
    """Return what a comparison with the `reference` leaves out, and why; empty where that is nothing."""
    told = [
        (left_out.new, f"that the {reference} does not have"),
        (left_out.gone, f"that only the {reference} has"),
        (left_out.changed, "whose contents changed"),
        (left_out.valueless, "without a value in one of the two"),
    ]
    parts = [f"{count:,} {why}" for count, why in told if count]
    if left_out.runs:
        parts.append(f"{plural(left_out.runs, 'run')} of the baseline with another persona, metric or judge")
    return in_words(parts)


def no_baseline_text(source: BaselineSource | None, reason: NotFoundReason) -> str:  # noqa: C901 - a case for each kind
    """Return why there is no baseline, and what to do about it, without a full stop."""
    match reason.kind:
        case "too_old":
            return (
                f"the newest run of {source}, {reason.run_id}, is {age(reason.age)} old, which is more than "
                f"baseline_max_age; raise it, or, {START_ANEW}"
            )
        case "failed":
            return (
                f"the gate failed every run that fits {source}, {reason.run_id} last, and no failed run becomes the "
                f"baseline; fix the agent, or, {START_ANEW}"
            )
        case "not_over":
            return (
                f"run {reason.run_id} was not over when max_wait_time was, its status is {reason.status}; raise "
                "max_wait_time, or name another run"
            )
        case "not_completed":
            return f"run {reason.run_id} did not complete, its status is {reason.status}; name another one"
        case "gone":
            return f"Coval does not have the run {reason.run_id}; name another one"
        case "itself":
            return f"run {reason.run_id} is this run itself; name an earlier one"
        case "pull_request":
            return (
                f"only runs of pull requests fit {source}, and they never become the baseline; to use one, name it by "
                "its id"
            )
        case "unreadable":
            named = f"run {source.name} cannot" if source and source.kind == "run" else f"no run of {source} can"
            return f"{named} be used: {reason.text.rstrip('.')}"
    if source is None:
        return "there are no earlier runs"
    same = "of this agent, persona and test set"
    if source.kind == "tag":
        gives = "promote gives it to a run whose check passes"
        return f"no earlier run {same} has the tag {source.name}; {gives}, or, {START_ANEW}"
    if source.kind == "branch":
        return f"no earlier run {same} is from the branch {source.name}; its next run will be the baseline"
    return f"no earlier run {same} is {source}"


def _runs_text(baseline: Baseline, run_text: Callable[[Run], str]) -> str:
    shown = [_run_text(run, run_text) for run in baseline.runs[:RUNS_SHOWN]]
    more = len(baseline.runs) - len(shown)
    runs = in_words([*shown, *([f"{more:,} more"] if more else [])])
    fewer = f", {baseline.fewer_than_asked:,} fewer than asked for" if baseline.fewer_than_asked else ""
    return f"{'run' if len(baseline.runs) == 1 else 'runs'} {runs}{fewer}"


def _run_text(found: BaselineRun, run_text: Callable[[Run], str]) -> str:
    """Return a run with the day of its launch, which stays true however late a report is read."""
    failed = ", which the gate failed" if found.failed else ""
    return dated_text(found.run, run_text) + failed


def dated_text(run: Run, run_text: Callable[[Run], str] = lambda run: one_line(run.run_id)) -> str:
    """Return a run with the day of its launch."""
    day = DATE.match(run.create_time)
    return run_text(run) + (f" of {day[0]}" if day else "")
