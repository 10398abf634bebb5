"""What prevents a measurement or a comparison: each problem a row of words, some with a function to fill it. Pure.

A problem of every threshold names none, so that reports show it once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

from coval_gate.base.text import VALUE_SHOWN, age, day_text, in_words, one_line, plural, quoted, value_text
from coval_gate.coval.model import Run, Value
from coval_gate.gate.checks import REFERENCE_NAMES, Problem
from coval_gate.gate.measure import LeftOut, NotFoundKind, NotFoundReason
from coval_gate.gate.values import Vocabulary
from coval_gate.gate.variants import Sample
from coval_gate.inputs.fields import BaselineSource, SourceKind
from coval_gate.inputs.thresholds import Reference

SAMPLES: Final = 8  # values that a problem or a doubt shows
POSSIBLE_SHOWN: Final = 8  # that a metric can have
METRICS_SHOWN: Final = 8  # metrics of a run that lacks the one that was named, in a sentence
FEW_NAMES: Final = 3  # the same, in a few words
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

# The agent or a simulation has the metric, which has a target.
NOT_LISTED: Final = Problem(
    kind="not_listed",
    short="Coval does not list it",
    sentence="Coval announced the metric {metric} for the run, but does not list it; to run without it, set "
    "metric_ids to the other metrics",
    may_come=True,
)
NOT_SETTLED: Final = Problem(
    kind="not_settled",
    short="its lists were still changing at the deadline",
    sentence="Coval does not report how many simulations and metrics the run has, and its lists were still changing at "
    "the deadline",
    may_come=True,
)
SEVERAL_METRICS: Final = Problem(
    kind="several_metrics",
    short="{count} metrics of this name",
    sentence="The run has {count} metrics named {metric}; use the id of one: {ids}",
)
NO_TARGETS: Final = Problem(
    kind="no_targets",
    short="no metric has a target",
    sentence="No metric of the run has a target in Coval, so use_metric_targets and pass_rate have nothing to check",
)
UNUSABLE_TARGET: Final = Problem(
    kind="unusable_target", short="its target {trouble}", sentence="The target of {metric} {trouble}"
)
VARIANTS_MISSING: Final = Problem(
    kind="variants_missing",
    short="of {listed}",
    sentence="The run was launched with {launched}, but Coval lists simulations of {listed}",
)
ERROR_REPORTED: Final = Problem(
    kind="error_reported",
    short="it reports {words}",
    sentence="The run completed, but Coval reports an error: {words}",
)
OTHER_CASES: Final = Problem(
    kind="other_cases",
    short="{new} new, {gone} missing",
    sentence="{whose} test cases differ from {those} ({new} new, {gone} missing)",
)
NOT_ANSWERED: Final = Problem(
    kind="not_answered",
    short="no tag of coval-gate attach",
    sentence="Nothing shows that a job answered every simulation: the agent is of type SDK_WEBSOCKET, and the run "
    "lacks the tag that coval-gate attach adds at its end",
)
NO_VALUES: Final = Problem(
    kind="no_values",
    short="no simulation has a value",
    sentence="{metric} has no values{about}",
    beside="the {reference} has no values of {metric}",
    may_come=True,
)
ONE_VALUE: Final = Problem(  # so there is no spread
    kind="one_value",
    short="only one simulation has a value",
    sentence="{metric} has only one value{about}, so {criterion.what} is unknown",
    beside="the {reference} has only one value of {metric}",
)
NO_NUMBERS: Final = Problem(
    kind="no_numbers",
    short="some values are not numbers: {samples}",
    sentence="{metric} has values that are not numbers ({samples}), so {criterion.what} is unknown{about}",
    beside="the {reference} has values of {metric} that are not numbers",
)
ONLY_SUMMARY: Final = Problem(
    kind="only_summary",
    short="Coval reports no individual values",
    sentence="Coval reports no individual values of {metric}, so {criterion.what} is unknown{about}",
    beside="Coval reports no individual values of {metric} for the {reference}",
)
UNIDENTIFIED: Final = replace(
    ONLY_SUMMARY,
    sentence="Coval reports neither the id nor individual values of {metric}, so its target cannot be judged",
)
NO_SUCH_METRIC: Final = Problem(
    kind="no_such_metric", short="{short}", sentence="The run has no metric {metric}; {instead}"
)
CANNOT_OCCUR: Final = Problem(
    kind="cannot_occur",
    short="its values are {values}: {samples}",
    sentence="{metric} cannot be {wanted}{about}. Its values are {values} ({samples}), so {criterion.what} cannot be "
    "judged",
)
NO_SUCH_VALUE: Final = Problem(
    kind="no_such_value", short="{short}", sentence="{never}. {known}, so {criterion.what} cannot be judged"
)
NO_MUTATIONS: Final = Problem(
    kind="no_mutations",
    short="the run has no mutations",
    sentence="{criterion.text} compares mutations with the agent itself, but the run has no mutations",
)
ACCEPTED_RUN: Final = Problem(
    kind="accepted", short="accepted", sentence="{criterion.text} is not compared: a person accepted this run"
)
INCOMPARABLE: Final = "{criterion.text} cannot be compared{about}: {why}"
UNUSABLE_BASELINE: Final = Problem(
    kind="unusable_baseline",
    short="the other side's values cannot be compared",
    sentence=INCOMPARABLE,
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
CASES_UNKNOWN: Final = Problem(
    kind="cases_unknown",
    short="the test cases are unknown",
    sentence="Coval does not show which test case each simulation belongs to, so nothing can be judged by test case",
)
ONE_EACH: Final = Problem(
    kind="one_each",
    short="one conversation of each test case",
    sentence="{criterion.text} needs several conversations of each test case, of which the run has one{about}; launch "
    "it with an iteration_count of at least 2, or write {instead}, which is the same with one",
)
UNEQUAL_COUNTS: Final = Problem(
    kind="unequal_counts",
    short="{now} simulations, not {earlier}",
    sentence="{criterion.text} cannot be compared{about}: it counts simulations, of which this run has {now} and the "
    "{reference} {earlier}; use a rate, or launch both with the same iteration_count",
    is_error=False,
)
NO_BASELINE: Final = Problem(kind="no_baseline", short="no baseline", sentence="There is no baseline: {why}")
NOT_IN_BASELINE: Final = Problem(
    kind="not_in_baseline", short="the other side does not have the {what}", sentence=INCOMPARABLE
)
TOO_FEW_SHARED: Final = Problem(kind="too_few_shared", short="{shared}", sentence=INCOMPARABLE)


def no_such_metric(metric: str, names: Sequence[str], similar: str) -> Problem:
    """`names`: of the run's metrics, the most similar first. `similar`: the one that the user may mean, or empty."""
    meant = f"did you mean {similar}?" if similar else ""
    short = instead = "it has no metrics at all"
    if names:
        short = meant or f"it has only {in_words(names, most=FEW_NAMES)}"
        instead = f"{f'{meant} It' if meant else 'it'} has {in_words(names, most=METRICS_SHOWN)}"
    return NO_SUCH_METRIC.of(metric=quoted(metric), short=short, instead=instead)


def cannot_occur(metric: str, wanted: Sequence[str], distinct: Sequence[Value]) -> Problem:
    # Numbers without commas, as users must write them.
    shown = [f"{value:.10g}" if isinstance(value, float) else value_text(value) for value in distinct[:SAMPLES]]
    more = f" and {len(distinct) - SAMPLES:,} more" if len(distinct) > SAMPLES else ""
    values = "numbers" if isinstance(distinct[0], float) else "text"
    return CANNOT_OCCUR.of(metric=metric, wanted=either(wanted), values=values, samples=", ".join(shown) + more)


def no_such_value(metric: str, wanted: Sequence[str], vocabulary: Vocabulary) -> Problem:
    """The metric never has the `wanted` values, which are probably misspelt."""
    similar, allowed = vocabulary.meant_by(wanted[0]), vocabulary.allowed
    meant = f"did you mean {value_text(similar)}?" if similar else ""
    values = seen = seen_text(vocabulary.seen)
    known = f"This run has {seen}"
    if allowed:
        values = in_words([value_text(value) for value in allowed], "or", POSSIBLE_SHOWN)
        known = f"Its values are {values}{f' (this run has {seen})' if seen else ''}"
    never = f"{metric} {'cannot be' if allowed else 'is never'} {either(wanted)}{f' ({meant})' if meant else ''}"
    return NO_SUCH_VALUE.of(short=meant or f"its values are {values}", never=never, known=known)


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


def seen_text(seen: Sequence[str]) -> str:
    more = f" and {len(seen) - SAMPLES:,} more" if len(seen) > SAMPLES else ""
    return ", ".join(value_text(value) for value in seen[:SAMPLES]) + more


def either(values: Sequence[str]) -> str:
    return " or ".join(quoted(value, VALUE_SHOWN) for value in values)


def not_numbers(sample: Sample) -> Problem | None:
    if not sample.others:
        return None
    samples = {value_text(other) for other in sorted(sample.others, key=_alphabetical)[:SAMPLES]}
    return NO_NUMBERS.of(metric=sample.metric.name, samples=", ".join(sorted(samples)))


def unlike(sample: Sample, wanted: Sequence[str]) -> Problem | None:
    name, vocabulary = sample.metric.name, sample.vocabulary
    if impossible := sample.impossible(wanted):
        distinct = [*dict.fromkeys(sample.numbers), *sorted(sample.others, key=_alphabetical)]
        return cannot_occur(name, impossible, distinct)
    unknown = vocabulary.impossible(wanted)
    return no_such_value(name, unknown, vocabulary) if unknown else None


def _alphabetical(value: str | frozenset[str]) -> list[str]:
    return sorted(value) if isinstance(value, frozenset) else [value]
