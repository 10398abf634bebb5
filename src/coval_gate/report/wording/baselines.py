"""Baselines in English: which runs there are, what a comparison leaves out, why there is none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final, Generic, TypeVar

from coval_gate.base.text import age, in_words, one_line, plural
from coval_gate.judge.measure import LeftOut

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coval_gate.judge.checks import Check
    from coval_gate.judge.judgement import Judgement
    from coval_gate.judge.measure import Comparison
    from coval_gate.model.baseline import Baseline, BaselineRun, BaselineSource, NotFoundReason, Standing, Unchecked
    from coval_gate.model.run import Run

    Mark = Callable[[str], str]

P = TypeVar("P")

OTHER_PERSONA: Final = "it used another persona, or another version of it"
OTHER_PERSONA_TEXT: Final = "another persona"
OTHER_METRIC_TEXT: Final = "another version of the metric"
RUNS_SHOWN: Final = 3
# What to do where a baseline is in the way. docs/baselines.md says how a workflow gets the input.
ACCEPT: Final = "run the workflow by hand with accept: true"
START_OVER: Final = f"{ACCEPT} to start over"
DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
UNCHECKED: Final[dict[Unchecked, str]] = {
    "test_cases": "the contents of test cases",
    "persona": "the persona",
    "metrics": "the metrics",
}
MOST_NAMED: Final = 3  # runs


class ProblemWords(Generic[P]):
    """How one kind of problem reads. `short`: its few words, where they are always the same."""

    short: ClassVar[str]

    def text(self, problem: P) -> str:
        """Return in a few words what to show in place of a value."""
        return self.short

    def reason(self, check: Check, problem: P, about: str) -> str:
        """Return why a check has no measure, without a full stop.

        `about` names the variant and the run, with a space before; empty where there is only one.
        """
        raise NotImplementedError


def no_simulations_text(variant: str) -> str:
    """Return a clause without its subject."""
    return f"has no simulations of {variant or 'the agent itself'}"


def baseline_text(
    baseline: Baseline,
    comparisons: Sequence[Comparison],
    *,
    why: bool,
    foreign: Callable[[object], str] = one_line,
    run_text: Callable[[Run], str] = lambda run: one_line(run.run_id),
) -> str:
    """`foreign` escapes text from outside for the target format; `why` adds why there is no baseline."""
    if not baseline.runs:
        reason = no_baseline_text(baseline.source, baseline.missing) if why and baseline.missing else ""
        return f"none; {foreign(reason)}" if reason else "none"
    parts = [_runs_text(baseline, run_text)]
    if comparisons:
        parts.append(shared_text(comparisons, "base" if baseline.source.kind == "base_agent" else "baseline"))
    options = sorted({option for run in baseline.runs for option in run.changed_options})
    if options:
        parts.append(f"launched with other {foreign(in_words(options))}")
    unchecked = [text for what, text in UNCHECKED.items() if any(what in run.unchecked for run in baseline.runs)]
    if unchecked:
        parts.append(f"unknown: whether {in_words(unchecked, 'or')} changed since")
    return "; ".join(parts)


def shared_text(comparisons: Sequence[Comparison], reference: str = "baseline") -> str:
    """Where comparisons differ, as metrics lack values, return the range, and the most that any of them leaves out."""
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
    """Return what is left out, and why; empty if nothing is."""
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


def _no_base_text(reason: NotFoundReason) -> str:
    run = f"its run {reason.run_id}" if reason.run_id else "its run"
    match reason.kind:
        case "not_over":
            return f"{run} had not ended when the time was over (status {reason.status}); raise {reason.text}"
        case "not_completed":
            return f"{run} did not complete (status {reason.status})"
        case "unusable":
            return f"{run} cannot be used. {reason.text.rstrip('.')}"
    return reason.text.rstrip(".") or "its run is unknown"


def no_baseline_text(source: BaselineSource | None, reason: NotFoundReason) -> str:  # noqa: C901 - a case for each kind
    """Return why there is no baseline, and what to do about it, without a full stop."""
    if source and source.kind == "base_agent":
        return _no_base_text(reason)
    match reason.kind:
        case "too_old":
            return (
                f"the newest run of {source}, {reason.run_id}, is {age(reason.age)} old, more than baseline_max_age "
                f"allows; raise it, or {START_OVER}"
            )
        case "failed":
            return (
                f"every run that matches {source} failed a comparison or lacks data, most recently {reason.run_id}; "
                f"fix the agent, or {START_OVER}"
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
            return f"{unusable} be used. {reason.text.rstrip('.')}"
    if source is None:
        return "there are no earlier runs"
    same = "of this agent, persona and test set"
    if source.kind == "tag":
        return f"no earlier run {same} has the tag {source.name}; a run of a branch that lacks no data takes it"
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
    day = DAY.match(time)
    return day[0] if day else ""


def standing_text(standing: Standing, *, code: Mark = str) -> str:
    if standing.accepted:
        tag = f" Runs that were not accepted with it lost the tag {code(standing.tag)}." if standing.tag else ""
        return f"Accepted: later runs are compared with this one.{tag}"
    return f"It has the tag {code(standing.tag)} now, as {standing.runs:,} of {plural(standing.wanted, 'run')}."


def not_accepted_text(run_id: str) -> str:
    return f"Run {one_line(run_id)} was not accepted: it did not complete, or lacks data. Accept another run."


def not_taken_text(run_id: str, tag: str, why: str, advice: str) -> str:
    return "\n".join(filter(None, (f"Run {one_line(run_id)} could not take the tag {tag}: {why}", advice)))


def fix_or_accept(judgement: Judgement) -> str:
    own = judgement.baseline.acceptable if judgement.baseline else ""
    if not own:
        return f"Fix the agent. If the change is wanted, {ACCEPT} on its branch."
    base = judgement.base.runs if judgement.base else ()
    run_ids = judgement.of_legs.run_ids if judgement.of_legs else (own, *(other.run.run_id for other in base))
    return (
        "Fix the agent, or accept the change: start the workflow by hand with mode: wait, "
        f"run_id: {', '.join(map(one_line, run_ids))} and accept: true. "
        f"Later runs are then compared with {'these' if judgement.of_legs else 'this one'}."
    )


def not_marked_text(run_ids: Sequence[str], why: str, advice: str) -> str:
    text = f"Later runs may be compared with {_runs(run_ids)}, which could not be marked as failed: {why}"
    return "\n".join(filter(None, (text, advice)))


def unjudged_text(run_id: str) -> str:
    return (
        f"Run {run_id} continues in Coval, but this step does not judge it. Once it completes, a baseline given by "
        "branch may use it, even if the agent got worse.\nSet cancel_on_timeout: true, or raise max_wait_time."
    )


def _runs(run_ids: Sequence[str]) -> str:
    return f"run{'s' if len(run_ids) > 1 else ''} {in_words(run_ids, most=MOST_NAMED)}"
