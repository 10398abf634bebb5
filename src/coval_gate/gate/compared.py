"""What a run is compared with, and how that reads: the runs, what is left out, why there is none. Frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import age, day_text, in_words, one_line, plural
from coval_gate.coval.model import Run, RunResult
from coval_gate.gate.measure import Comparison, LeftOut
from coval_gate.inputs.fields import BaselineSource, SourceKind

Unchecked = Literal["test_cases", "persona", "metrics"]
NotFoundKind = Literal[
    "none",
    "too_old",
    "failed",
    "not_completed",
    "not_over",
    "gone",
    "pull_request",
    "itself",
    "unreadable",
    "unusable",
]
RUNS_SHOWN: Final = 3
# What to do where a baseline is in the way. docs/baselines.md says how a workflow gets the input.
ACCEPT: Final = "run the workflow by hand with accept: true"
START_OVER: Final = f"{ACCEPT} to start over"
UNCHECKED: Final[dict[Unchecked, str]] = {
    "test_cases": "the contents of test cases",
    "persona": "the persona",
    "metrics": "the metrics",
}
SAME: Final = "no earlier run of this agent, persona and test set"
NO_BASELINE: Final[Mapping[tuple[SourceKind | Literal[""], NotFoundKind], str]] = {  # "": whatever the source
    ("", "none"): f"{SAME} is {{source}}",
    ("tag", "none"): f"{SAME} has the tag {{name}}; a run of a branch that lacks no data takes it",
    ("branch", "none"): f"{SAME} is from branch {{name}}; the next run of that branch will be the baseline",
    ("", "too_old"): (
        "the newest run of {source}, {run_id}, is {age} old, more than baseline_max_age allows; "
        f"raise it, or {START_OVER}"
    ),
    ("", "failed"): (
        "every run that matches {source} failed a comparison or lacks data, most recently {run_id}; "
        f"fix the agent, or {START_OVER}"
    ),
    ("", "not_over"): (
        "run {run_id} had not ended when max_wait_time was over (status {status}); "
        "raise max_wait_time, or name another run"
    ),
    ("", "not_completed"): "run {run_id} did not complete (status {status}); name another run",
    ("", "gone"): "Coval has no run {run_id}; name another run",
    ("", "itself"): "run {run_id} is this very run; name an earlier one",
    ("", "pull_request"): (
        "only runs of pull requests match {source}, and those never become the baseline; to use one, name it by its id"
    ),
    ("", "unreadable"): "no run of {source} can be used. {text}",
    ("run", "unreadable"): "run {name} cannot be used. {text}",
}
NO_BASE: Final[Mapping[NotFoundKind, str]] = {
    "not_over": "{run} had not ended when the time was over (status {status}); raise {text}",
    "not_completed": "{run} did not complete (status {status})",
    "unusable": "{run} cannot be used. {text}",
}


class BaselineRun(NamedTuple):
    """An earlier run that completed, and how it differs from the judged run.

    `changed_cases`: ids of test cases whose contents have changed since. `changed_metrics`: ids of metrics that another
    version of the judge evaluated. `changed_persona`: it or its version. `changed_options`: launch inputs that
    differ and may matter, such as config_overrides. `unchecked`: what Coval does not report. `failed`: the gate failed
    it, so it is a baseline only if an input names it.
    """

    run: Run
    result: RunResult
    changed_cases: frozenset[str] = frozenset()
    changed_metrics: frozenset[str] = frozenset()
    changed_persona: bool = False
    changed_options: tuple[str, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()
    failed: bool = False


class NotFoundReason(NamedTuple):
    """Why there is no baseline.

    too_old: `run_id` fits, but it is `age` seconds old. failed: the gate failed all that fit; the newest is `run_id`.
    not_over: the named run had not ended in the step's time. pull_request: only runs of pull requests fit. itself: the
    input names the judged run. unreadable: Coval did not answer, as `text` says. unusable: the base's run completed,
    but lacks data.
    """

    kind: NotFoundKind
    run_id: str = ""
    age: float = 0.0
    status: str = ""
    text: str = ""


class Baseline(NamedTuple):
    """The newest of the `runs` is first.

    `fewer_than_asked`: by how many the source falls short. `acceptable`: the id of the judged run, if a person may
    accept it in place of these runs.
    """

    source: BaselineSource
    runs: tuple[BaselineRun, ...] = ()
    missing: NotFoundReason | None = None
    fewer_than_asked: int = 0
    acceptable: str = ""


def baseline_text(baseline: Baseline, comparisons: Sequence[Comparison], run_text: Callable[[Run], str]) -> str:
    """Return which runs a baseline has, and how they differ; `run_text` marks up the id of each."""
    if not baseline.runs:
        return "none"
    parts = [_runs_text(baseline, run_text)]
    if comparisons:
        parts.append(shared_text(comparisons, "base" if baseline.source.kind == "base_agent" else "baseline"))
    options = sorted({option for run in baseline.runs for option in run.changed_options})
    if options:
        parts.append(f"launched with other {one_line(in_words(options))}")
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


def no_baseline_text(source: BaselineSource | None, reason: NotFoundReason) -> str:
    """Return why there is no baseline, and what to do about it, without a full stop."""
    if source is None:
        return "there are no earlier runs"
    text = reason.text.rstrip(".")
    if source.kind == "base_agent":
        template = NO_BASE.get(reason.kind, "{text}" if text else "its run is unknown")
    else:
        template = NO_BASELINE.get((source.kind, reason.kind)) or NO_BASELINE["", reason.kind]
    run = f"its run {reason.run_id}".rstrip()
    facts = {"run": run, "run_id": reason.run_id, "age": age(reason.age), "status": reason.status, "text": text}
    return template.format(source=source, name=source.name, **facts)


def _runs_text(baseline: Baseline, run_text: Callable[[Run], str]) -> str:
    first = baseline.runs[:RUNS_SHOWN]
    shown = [dated_text(run.run, run_text) + (", which the gate failed" if run.failed else "") for run in first]
    more = len(baseline.runs) - len(shown)
    runs = in_words([*shown, *([f"{more:,} more"] if more else [])])
    fewer = f", {baseline.fewer_than_asked:,} fewer than asked for" if baseline.fewer_than_asked else ""
    return f"{'run' if len(baseline.runs) == 1 else 'runs'} {runs}{fewer}"


def dated_text(run: Run, run_text: Callable[[Run], str] = lambda run: one_line(run.run_id)) -> str:
    """Return a run with the day of its launch: unlike an age, it stays true however late a report is read."""
    day = day_text(run.create_time)
    return run_text(run) + (f" of {day}" if day else "")
