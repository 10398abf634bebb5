"""The values of one metric on the simulations of one variant, and their statistics, each computed once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from coval_gate.judge import statistics
from coval_gate.judge.comparison import Kinds, equals, is_named
from coval_gate.judge.problems import CannotOccur, NoNumbers, NoSuchValue
from coval_gate.judge.vocabulary import TEXT_SHOWN, Vocabulary
from coval_gate.text import most_similar, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coval_gate.model.results import Metric, Value

SAMPLES: Final = 8  # values that a problem or a doubt shows


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The values of `metric` by simulation id; a failed simulation has none, even if Coval lists one.

    `total`: how many simulations the variant has. `numbers` are in ascending order, in the metric's unit. Statistics
    need at least one number, so check `numbers` first.
    """

    metric: Metric
    values: Mapping[str, Value]
    total: int

    @property
    def count(self) -> int:
        """How many simulations have a value."""
        return len(self.values)

    @property
    def missing(self) -> int:
        """How many simulations have none."""
        return self.total - len(self.values)

    @cached_property
    def numbers(self) -> tuple[float, ...]:
        return tuple(sorted(value for value in self.values.values() if isinstance(value, float)))

    @cached_property
    def texts(self) -> tuple[tuple[str, int], ...]:
        """How often each text occurs, also within sets: the most frequent first."""
        values = Counter(value for value in self.values.values() if not isinstance(value, float))
        texts: Counter[str] = Counter()
        for text_or_set, count in values.items():
            for text in text_or_set if isinstance(text_or_set, frozenset) else (text_or_set,):
                texts[one_line(text, TEXT_SHOWN)] += count
        # Sets have no order; ties are sorted, so equal runs have equal reports.
        return tuple(sorted(texts.items(), key=lambda item: (-item[1], item[0])))

    @cached_property
    def others(self) -> frozenset[str | frozenset[str]]:
        """The distinct values that are not numbers."""
        return frozenset(value for value in self.values.values() if not isinstance(value, float))

    @cached_property
    def kinds(self) -> Kinds:
        return Kinds.of(self.values.values())

    @cached_property
    def mean(self) -> float:
        return statistics.mean(self.numbers)

    @cached_property
    def stdev(self) -> float:
        return statistics.stdev(self.numbers)

    @property
    def median(self) -> float:
        return self.percentile(50)

    @property
    def min(self) -> float:
        return self.numbers[0]

    @property
    def max(self) -> float:
        return self.numbers[-1]

    def percentile(self, n: float) -> float:
        """Return the `n`-th percentile of the numbers, 0 to 100."""
        return statistics.percentile(self.numbers, n)

    def having(self, wanted: tuple[str, ...]) -> frozenset[str]:
        """Return the ids of the simulations whose value is one of `wanted`."""
        # Thousands of values have few distinct ones.
        hits = {value for value in set(self.values.values()) if any(equals(value, text) for text in wanted)}
        return frozenset(simulation for simulation, value in self.values.items() if value in hits)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The texts of the metric, including the run's other variants."""
        return Vocabulary.of(self.metric)

    def obstacle(self, wanted: Iterable[str]) -> CannotOccur | NoSuchValue | None:
        """Return the problem if the metric cannot have a `wanted` text, or can have none of `wanted`."""
        wanted = tuple(wanted)
        if impossible := self.kinds.impossible(wanted):
            distinct = [*dict.fromkeys(self.numbers), *sorted(self.others, key=_alphabetical)]
            samples = tuple(distinct[:SAMPLES])
            return CannotOccur(metric=self.metric.name, wanted=impossible, samples=samples, different=len(distinct))
        if unknown := self.vocabulary.impossible(wanted):
            return self._no_such_value(unknown)
        return None

    def target_obstacle(self, wanted: Iterable[str]) -> CannotOccur | NoSuchValue | None:
        """Return the problem if the metric can have none of the values that its target names."""
        problem = self.obstacle(wanted := tuple(wanted))
        if isinstance(problem, NoSuchValue):
            possible = [text for text in wanted if text not in problem.wanted and is_named(text)]
            return None if possible else problem
        return problem

    def _no_such_value(self, unknown: tuple[str, ...]) -> NoSuchValue:
        vocabulary, (first, *_) = self.vocabulary, unknown
        return NoSuchValue(
            metric=self.metric.name,
            wanted=unknown,
            seen=vocabulary.seen[:SAMPLES],
            different=len(vocabulary.seen),
            allowed=vocabulary.allowed,
            similar=vocabulary.close_to(first) or most_similar(first, vocabulary.allowed or vocabulary.seen),
        )

    def not_numbers(self) -> NoNumbers | None:
        """Return the problem if some values are not numbers."""
        if not self.others:
            return None
        samples = tuple(sorted(self.others, key=_alphabetical)[:SAMPLES])
        return NoNumbers(metric=self.metric.name, samples=samples)


def _alphabetical(value: str | frozenset[str]) -> list[str]:
    return sorted(value) if isinstance(value, frozenset) else [value]
