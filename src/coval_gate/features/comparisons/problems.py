"""What prevents a comparison, or says why there is nothing to compare with. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Literal

from coval_gate.base.text import age, day_text, in_words, one_line, plural
from coval_gate.coval.model import Run
from coval_gate.gate.checks import REFERENCE_NAMES, Problem
from coval_gate.gate.measure import LeftOut, NotFoundKind, NotFoundReason
from coval_gate.gate.problems import NO_BASELINE_KIND
from coval_gate.inputs.fields import BaselineSource, SourceKind
from coval_gate.inputs.thresholds import Reference

# What to do where a baseline is in the way. docs/baselines.md shows how a workflow gets the input.
ACCEPT: Final = "run the workflow by hand with accept: true"
START_OVER: Final = f"{ACCEPT} to start over"
SAME: Final = "no earlier run of this agent, persona and test set"
WHY_NO_BASELINE: Final[Mapping[tuple[SourceKind | Literal[""], NotFoundKind], str]] = {  # "": whatever the source
    ("", "none"): f"{SAME} is {{source}}",
    ("tag", "none"): f"{SAME} has the tag {{name}}; a run of a branch that lacks no data takes it",
    ("branch", "none"): f"{SAME} is from branch {{name}}; the next run of that branch will be the baseline",
    ("", "too_old"): (
        "the newest run of {source}, {run_id}, is {age} old, more than baseline_max_age allows; "
        f"raise it, or {START_OVER}"
    ),
    ("", "failed"): (
        "every run that matches {source} failed a comparison or lacks data, most recently {run_id}; "
        f"when the agent is as it should be, {START_OVER}"
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
WHY_NO_BASE: Final[Mapping[NotFoundKind, str]] = {
    "not_over": "{run} had not ended when the time was over (status {status}); raise {text}",
    "not_completed": "{run} did not complete (status {status})",
    "unusable": "{run} cannot be used. {text}",
}
NO_MUTATIONS: Final = Problem(
    kind="no_mutations",
    short="the run has no mutations",
    sentence="{criterion.text} compares mutations with the agent itself, but the run has no mutations",
)
INCOMPARABLE: Final = "{criterion.text} cannot be compared{about}: {why}"
UNUSABLE_BASELINE: Final = Problem(
    kind="unusable_baseline", short="the other side's values cannot be compared", sentence=INCOMPARABLE
)
PERSONA_CHANGED: Final = Problem(
    kind="persona_changed",
    short="another persona",
    sentence="Nothing can be compared with the baseline, run {since}: it used another persona, or another version of "
    f"it; {START_OVER}",
)
JUDGE_CHANGED: Final = Problem(
    kind="judge_changed",
    short="another version of the metric",
    sentence="Nothing can be compared with the baseline, run {since}{about}: it used another version of {metric}; "
    f"{START_OVER}",
)
UNEQUAL_COUNTS: Final = Problem(
    kind="unequal_counts",
    short="{now} simulations, not {earlier}",
    sentence="{criterion.text} cannot be compared{about}: it counts simulations, of which this run has {now} and the "
    "{reference} {earlier}; use a rate, or launch both with the same iteration_count",
    is_error=False,
)
NO_BASELINE: Final = Problem(kind=NO_BASELINE_KIND, short="no baseline", sentence="There is no baseline: {why}")
NOT_IN_BASELINE: Final = Problem(
    kind="not_in_baseline", short="the other side does not have the {what}", sentence=INCOMPARABLE
)
TOO_FEW_SHARED: Final = Problem(kind="too_few_shared", short="{shared}", sentence=INCOMPARABLE)


def no_baseline(source: BaselineSource | None, why: NotFoundReason) -> Problem:
    """There is no run to compare with; `source` is None if the step did not look for one."""
    text = no_baseline_text(source, why)
    if source and source.kind == "base_agent":
        because = "Nothing can be compared with the base, because {why}"
        return replace(NO_BASELINE, short="no base", sentence=because).of(why=text)
    # A named run that can never be a baseline is the user's mistake.
    is_mistake = source is not None and source.kind == "run" and why.kind != "unreadable"
    return replace(NO_BASELINE, is_error=is_mistake or None).of(why=text)


def no_baseline_text(source: BaselineSource | None, reason: NotFoundReason) -> str:
    """Return why there is no baseline, and what to do about it, without a full stop."""
    if source is None:
        return "there are no earlier runs"
    text = reason.text.rstrip(".")
    if source.kind == "base_agent":
        template = WHY_NO_BASE.get(reason.kind, "{text}" if text else "its run is unknown")
    else:
        template = WHY_NO_BASELINE.get((source.kind, reason.kind)) or WHY_NO_BASELINE["", reason.kind]
    run = f"its run {reason.run_id}".rstrip()
    facts = {"run": run, "run_id": reason.run_id, "age": age(reason.age), "status": reason.status, "text": text}
    return template.format(source=source, name=source.name, **facts)


def not_in_baseline(what: Literal["metric", "mutation"], name: str, reference: Reference) -> Problem:
    if what == "mutation":
        why = f"the {REFERENCE_NAMES[reference]} has no simulations of {name or 'the agent itself'}"
    elif reference == "base_agent":
        why = f"the base's run does not have the metric {name}"
    else:
        why = f"no baseline run has the metric {name}; {START_OVER}"
    return NOT_IN_BASELINE.of(what=what, why=why)


def too_few_shared(shared: int, left_out: LeftOut, reference: Reference, since: Run | None = None) -> Problem:
    """Only `shared` test cases can be compared, fewer than two. `since`: the newest run of an earlier baseline."""
    left, cases = left_out_text(left_out, REFERENCE_NAMES[reference]), plural(shared, "shared test case")
    problem = replace(TOO_FEW_SHARED, is_error=None if left_out.new or left_out.valueless else False)
    if not shared and since and left_out.changed:
        nothing = "Nothing can be compared with the baseline, run {since}{about}: no test case is still the same"
        problem = replace(problem, sentence=f"{nothing} (left out: {{left}}); {START_OVER}")
        return problem.of(shared=cases, left=left, since=dated_text(since))
    why = f"{cases}, but a comparison needs at least two{f'; left out: {left}' if left else ''}"
    return problem.of(shared=cases, why=why)


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


def dated_text(run: Run, run_text: Callable[[Run], str] = lambda run: one_line(run.run_id)) -> str:
    """Return a run with the day of its launch: unlike an age, it stays true however late a report is read."""
    day = day_text(run.create_time)
    return run_text(run) + (f" of {day}" if day else "")
