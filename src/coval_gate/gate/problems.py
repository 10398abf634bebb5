"""What prevents a measurement or a comparison: each problem a row of words, some with a function to fill it. Pure.

A problem of every threshold names none, so that reports show it once.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from coval_gate.base.text import VALUE_SHOWN, in_words, quoted, value_text
from coval_gate.coval.model import Value
from coval_gate.gate.checks import Problem
from coval_gate.gate.values import Vocabulary
from coval_gate.gate.variants import Sample

SAMPLES: Final = 8  # values that a problem or a doubt shows
POSSIBLE_SHOWN: Final = 8  # that a metric can have
METRICS_SHOWN: Final = 8  # metrics of a run that lacks the one that was named, in a sentence
FEW_NAMES: Final = 3  # the same, in a few words
NO_BASELINE_KIND: Final = "no_baseline"  # of the problem that comparisons have without a reference

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
    kind="error_reported", short="it reports {words}", sentence="The run completed, but Coval reports an error: {words}"
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
ACCEPTED_RUN: Final = Problem(
    kind="accepted", short="accepted", sentence="{criterion.text} is not compared: a person accepted this run"
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
