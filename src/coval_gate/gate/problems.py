"""The problems that prevent a measurement: each a row of words or, where the words depend on the facts, a class. Pure.

A problem of every threshold names none, so that reports say it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from coval_gate.base.text import in_words, quoted
from coval_gate.base.units import value_text
from coval_gate.coval.model import Value
from coval_gate.gate.checks import Check, Problem, runs_text, whom
from coval_gate.gate.clauses import NAMES, VALUE_SHOWN
from coval_gate.gate.variants import Sample
from coval_gate.gate.verdict import Verdict

SAMPLES: Final = 8  # values that a problem or a doubt shows
VALUES_SHOWN: Final = 8  # that a metric can have
NAMES_SHOWN: Final = 8  # metrics of a run that lacks the one that was named, in a sentence
FEW_NAMES: Final = 3  # the same, in a few words


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle(Problem):
    """A problem with fixed words. Braces in them name the facts to fill in.

    `beside`: the same about the values of a reference. Facts of the check are its `criterion`, what it is `about` (the
    variant and the run), and its `reference`.
    """

    kind: str
    short: str
    sentence: str
    beside: str = ""
    may_come: bool = False
    facts: tuple[tuple[str, str], ...] = ()

    def of(self, **facts: str) -> Obstacle:
        return replace(self, facts=tuple(facts.items()))

    def text(self) -> str:
        return self.short.format(**dict(self.facts))

    def reason(self, check: Check) -> str:
        reference = NAMES[check.reference]
        return self.sentence.format(
            criterion=check.criterion, about=about(check), reference=reference, **dict(self.facts)
        )

    def in_reference(self, reference: str, metric: str) -> str:
        return self.beside.format(reference=reference, metric=metric)


def about(check: Check) -> str:
    """Return the variant and the run that a problem is about, with a space before; empty where there is only one."""
    return whom(check) + (runs_text(check) if check.run_id and check.verdict is Verdict.FAILED else "")


# The agent or a simulation has the metric, which has a target.
NOT_LISTED: Final = Obstacle(
    kind="not_listed",
    short="Coval does not list it",
    sentence="Coval announced the metric {metric} for the run, but does not list it; to run without it, set "
    "metric_ids to the other metrics",
    may_come=True,
)
NOT_SETTLED: Final = Obstacle(
    kind="not_settled",
    short="its lists were still changing at the deadline",
    sentence="Coval does not say how many simulations and metrics the run has, and its lists were still changing at "
    "the deadline",
    may_come=True,
)
SEVERAL_METRICS: Final = Obstacle(
    kind="several_metrics",
    short="{count} metrics of this name",
    sentence="The run has {count} metrics named {metric}; use the id of one: {ids}",
)
NO_TARGETS: Final = Obstacle(
    kind="no_targets",
    short="no metric has a target",
    sentence="No metric of the run has a target in Coval, so use_metric_targets and pass_rate have nothing to check",
)
UNUSABLE_TARGET: Final = Obstacle(
    kind="unusable_target", short="its target {trouble}", sentence="The target of {metric} {trouble}"
)
VARIANTS_MISSING: Final = Obstacle(
    kind="variants_missing",
    short="of {listed}",
    sentence="The run was launched with {launched}, but Coval lists simulations of {listed}",
)
ERROR_REPORTED: Final = Obstacle(
    kind="error_reported",
    short="it reports {words}",
    sentence="The run completed, but Coval reports an error: {words}",
)
OTHER_CASES: Final = Obstacle(
    kind="other_cases",
    short="{new} new, {gone} missing",
    sentence="{whose} test cases differ from {those} ({new} new, {gone} missing)",
)
NOT_ANSWERED: Final = Obstacle(
    kind="not_answered",
    short="no tag of coval-gate attach",
    sentence="Nothing shows that a job answered every simulation: the agent is of type SDK_WEBSOCKET, and the run "
    "lacks the tag that coval-gate attach adds at its end",
)
NO_VALUES: Final = Obstacle(
    kind="no_values",
    short="no simulation has a value",
    sentence="{metric} has no values{about}",
    beside="the {reference} has no values of {metric}",
    may_come=True,
)
ONE_VALUE: Final = Obstacle(  # so there is no spread
    kind="one_value",
    short="only one simulation has a value",
    sentence="{metric} has only one value{about}, so {criterion.what} is unknown",
    beside="the {reference} has only one value of {metric}",
)
NO_NUMBERS: Final = Obstacle(
    kind="no_numbers",
    short="some values are not numbers: {samples}",
    sentence="{metric} has values that are not numbers ({samples}), so {criterion.what} is unknown{about}",
    beside="the {reference} has values of {metric} that are not numbers",
)
ONLY_SUMMARY: Final = Obstacle(
    kind="only_summary",
    short="Coval reports no individual values",
    sentence="Coval reports no individual values of {metric}, so {criterion.what} is unknown{about}",
    beside="Coval reports no individual values of {metric} for the {reference}",
)
UNIDENTIFIED: Final = replace(
    ONLY_SUMMARY,
    sentence="Coval reports neither the id nor individual values of {metric}, so its target cannot be judged",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSuchMetric(Problem):
    """`names`: of the run's metrics, the most similar first. `similar`: the one that the user may mean, or empty."""

    metric: str
    names: tuple[str, ...]
    similar: str = ""

    def text(self) -> str:
        if self.similar:
            return f"did you mean {self.similar}?"
        return f"it has only {in_words(self.names, most=FEW_NAMES)}" if self.names else "it has no metrics at all"

    def reason(self, check: Check) -> str:
        metric = quoted(self.metric)
        if not self.names:
            return f"The run has no metric {metric}; it has no metrics at all"
        meant = f"did you mean {self.similar}? It has" if self.similar else "it has"
        return f"The run has no metric {metric}; {meant} {in_words(self.names, most=NAMES_SHOWN)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CannotOccur(Problem):
    """The metric's values are of another kind than `wanted`; `samples` are some of its `different` values."""

    metric: str
    wanted: tuple[str, ...]
    samples: tuple[Value, ...]
    different: int

    def text(self) -> str:
        return f"its values are {self._kind}: {self._shown}"

    def reason(self, check: Check) -> str:
        cannot = f"{self.metric} cannot be {_either(self.wanted)}{about(check)}"
        why = f"Its values are {self._kind} ({self._shown})"
        return f"{cannot}. {why}, so {check.criterion.what} cannot be judged"

    @property
    def _kind(self) -> str:
        return "numbers" if isinstance(self.samples[0], float) else "text"

    @property
    def _shown(self) -> str:
        """Samples of the values; numbers without commas, as users must write them."""
        shown = [f"{sample:.10g}" if isinstance(sample, float) else value_text(sample) for sample in self.samples]
        more = self.different - len(shown)
        return ", ".join(shown) + (f" and {more:,} more" if more else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSuchValue(Problem):
    """The metric never has the `wanted` values, which are probably misspelt.

    `seen`: some of the `different` texts. `allowed`: all texts that it can have; empty if others are possible.
    `similar`: the text that the user may mean, or empty.
    """

    metric: str
    wanted: tuple[str, ...]
    seen: tuple[str, ...]
    different: int
    allowed: tuple[str, ...] = ()
    similar: str = ""

    def text(self) -> str:
        if self.similar:
            return f"did you mean {value_text(self.similar)}?"
        return f"its values are {self._values}"

    def reason(self, check: Check) -> str:
        verb = "cannot be" if self.allowed else "is never"
        meant = f" (did you mean {value_text(self.similar)}?)" if self.similar else ""
        never = f"{self.metric} {verb} {_either(self.wanted)}{meant}"
        return f"{never}. {self._known}, so {check.criterion.what} cannot be judged"

    @property
    def _known(self) -> str:
        """Which values the metric can have, and which the run has, as the beginning of a sentence."""
        if not self.allowed:
            return f"This run has {self._values}"
        seen = f" (this run has {seen_text(self.seen, self.different)})" if self.seen else ""
        return f"Its values are {self._values}{seen}"

    @property
    def _values(self) -> str:
        if self.allowed:
            return in_words([value_text(value) for value in self.allowed], "or", VALUES_SHOWN)
        return seen_text(self.seen, self.different)


def seen_text(seen: Sequence[str], different: int) -> str:
    more = f" and {different - len(seen):,} more" if different > len(seen) else ""
    return ", ".join(value_text(value) for value in seen) + more


def _either(values: Sequence[str]) -> str:
    return " or ".join(quoted(value, VALUE_SHOWN) for value in values)


def not_numbers(sample: Sample) -> Problem | None:
    if not sample.others:
        return None
    samples = {value_text(other) for other in sorted(sample.others, key=_alphabetical)[:SAMPLES]}
    return NO_NUMBERS.of(metric=sample.metric.name, samples=", ".join(sorted(samples)))


def unlike(sample: Sample, wanted: Sequence[str]) -> CannotOccur | NoSuchValue | None:
    """Return the problem if the metric cannot have a `wanted` text, or can have none of `wanted`."""
    name, vocabulary = sample.metric.name, sample.vocabulary
    if impossible := sample.kinds.impossible(wanted):
        distinct = [*dict.fromkeys(sample.numbers), *sorted(sample.others, key=_alphabetical)]
        samples = tuple(distinct[:SAMPLES])
        return CannotOccur(metric=name, wanted=impossible, samples=samples, different=len(distinct))
    if unknown := vocabulary.impossible(wanted):
        return NoSuchValue(
            metric=name,
            wanted=unknown,
            seen=vocabulary.seen[:SAMPLES],
            different=len(vocabulary.seen),
            allowed=vocabulary.allowed,
            similar=vocabulary.meant_by(unknown[0]),
        )
    return None


def _alphabetical(value: str | frozenset[str]) -> list[str]:
    return sorted(value) if isinstance(value, frozenset) else [value]
