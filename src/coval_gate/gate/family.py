"""Pairs of a run and its baseline over the same test cases, and many thresholds at once. Pure.

Holm's procedure keeps a step from failing because one of many thresholds flips by chance.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import compress
from typing import NamedTuple

from coval_gate.coval.model import Metric
from coval_gate.gate.aggregates import aggregation_of
from coval_gate.gate.checks import Check
from coval_gate.gate.measure import Interval, Trend
from coval_gate.gate.variants import Variant
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.thresholds import TOLERANCE, Threshold


class Pairs:
    """A `threshold` with a reference; `now` and `then` have the same test cases. Both sides' values are as counted."""

    def __init__(self, threshold: Threshold, now: Variant, then: Variant, metric: Metric | None) -> None:
        aggregation = aggregation_of(threshold, metric)
        self.threshold, self.metric, self.now, self.then = threshold, metric, now, then
        self.value, self.reference = aggregation.value(now), aggregation.value(then)
        self.earlier, self._change = self.reference.value, aggregation.change(now, then)

    @property
    def asks_for_improvement(self) -> bool:
        """Whether the reference's own value misses the bound, as a negative one misses `<= baseline * 1.1`."""
        excess = self.earlier - self.threshold.bound.of(self.earlier)
        missed_by = excess if self.threshold.wants_less else -excess
        return missed_by > TOLERANCE * abs(self.earlier)

    def verdict(self, holds: bool, confidence: float) -> Verdict:
        """A conclusive verdict never contradicts whether the value as counted `holds`.

        A regression fails if the change itself is shown, and is beyond the margin as counted: showing that it is beyond
        the margin would take far larger runs. A required improvement fails only if the bounds rule it out.
        """
        excess = self._change.excess(confidence, self.threshold.bound.factor, self.threshold.bound.number)
        best, worst = excess if self.threshold.wants_less else reversed(excess)
        if holds and self._meets(worst):
            return Verdict.PASSED
        shown = not self._meets(best) if self.asks_for_improvement else self.is_worse(1.0 - confidence)
        return Verdict.FAILED if shown and not holds else Verdict.INCONCLUSIVE

    def _meets(self, excess: float) -> bool:
        """Return whether a value that is so far above the bound meets it."""
        # A share of values does not round as the bound does.
        equal = TOLERANCE * abs(self.threshold.bound.of(self.earlier)) if self._change.has_unit else 0.0
        strict = self.threshold.operator in ("<", ">")
        missed_by = excess if self.threshold.wants_less else -excess
        return missed_by < -equal if strict else missed_by <= equal

    def is_worse(self, error: float) -> bool:
        return self._change.shows(error, rises=self.threshold.wants_less)

    def is_better(self, error: float) -> bool:
        return self._change.shows(error, rises=not self.threshold.wants_less)

    def change(self, confidence: float) -> Interval:
        return Interval(*self._change.shift(confidence), confidence, len(self.now.cases))

    def noticeable(self, change: Interval, family: int) -> float | None:
        if not (math.isfinite(change.lower) or math.isfinite(change.upper)):
            return None
        margin = abs(self.threshold.bound.of(self.earlier) - self.earlier)
        return self._change.noticeable(
            (self.value.value, self.earlier),
            change,
            strictest(change.confidence, family),
            0.0 if self.asks_for_improvement else margin,
            rises=self.threshold.wants_less,
        )

    def flips(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the cases that passed before and fail now (missing values fail), and the reverse; none for numbers."""
        is_one_sided = self.threshold.wants_less or self.threshold.wants_more
        return self._change.flips(wants_less=self.threshold.wants_less) if is_one_sided else ((), ())


class Compared(NamedTuple):
    """A check, and the `pairs` whose change it claims; None if it claims nothing."""

    check: Check
    pairs: Pairs | None = None

    @property
    def guards(self) -> bool:
        return self.check.decides and self.pairs is not None and not self.pairs.asks_for_improvement


def ruled(compared: Sequence[Compared], error: float, *, legs: int = 1) -> Iterator[Check]:
    """Yield the checks, which report and fail only changes that are significant among so many thresholds.

    Each of the `legs` that the step was to have gets an equal part of the error (Bonferroni), so each decides by
    itself, and one that could not be launched makes it no easier for the others. Guards against regressions are a
    family: an unchanged agent fails one of them, or is called worse by one, in at most the share `error` of steps.
    Other thresholds must not dilute the family, so they are judged among all.
    """
    guards = Family.of([member.pairs for member in compared if member.pairs and member.guards], error, legs)
    everything = Family.of([member.pairs for member in compared if member.pairs], error, legs)
    for member in compared:
        family = guards if member.guards else everything
        yield _with_trend(member.check, member.pairs, family, error) if member.pairs else member.check


class Family(NamedTuple):
    """A family of thresholds: how many they are in all legs, and the significant changes by the id of their pairs.

    `parts`: of the error, each member has at least one of them.
    """

    members: int
    parts: int
    trends: dict[int, Trend]

    @classmethod
    def of(cls, members: Sequence[Pairs], error: float, legs: int) -> "Family":
        """Return the family of these thresholds; all legs' claims are wrong in at most the share `error` of steps."""
        worse = significant([pairs.is_worse for pairs in members], error / parts(legs))
        better = significant([pairs.is_better for pairs in members], error / parts(legs))
        trends: dict[int, Trend] = {id(pairs): "worse" for pairs in compress(members, worse)}
        trends |= {id(pairs): "improved" for pairs in compress(members, better)}
        return cls(len(members) * legs, len(members) * parts(legs), trends)


def _with_trend(check: Check, pairs: Pairs, family: Family, error: float) -> Check:
    measure, trend, verdict = check.measure, family.trends.get(id(pairs)), check.verdict
    if measure is None or measure.comparison is None or measure.comparison.change is None:
        return check
    if verdict is Verdict.FAILED and trend != "worse" and not pairs.asks_for_improvement:
        verdict = Verdict.INCONCLUSIVE
    alone = pairs.is_worse(error) or pairs.is_better(error)
    comparison = replace(
        measure.comparison,
        trend=trend or ("inconclusive" if verdict is Verdict.INCONCLUSIVE else "unchanged"),
        by_chance=family.members if alone and not trend else 0,
        noticeable=pairs.noticeable(measure.comparison.change, family.parts),
    )
    return replace(check, verdict=verdict, measure=replace(measure, comparison=comparison))


def parts(legs: int) -> int:
    """Return into how many parts the error goes, one for each leg; of several, half of it is for all legs together."""
    return 2 * legs if legs > 1 else 1


def significant(changes: Sequence[Callable[[float], bool]], error: float) -> list[bool]:
    """Return which changes are significant; all these claims together are wrong in at most the share `error` of steps.

    Each function tests its change at a level; a change significant at one level must be so at every looser one. Holm,
    "A Simple Sequentially Rejective Multiple Test Procedure" (Scandinavian Journal of Statistics 6, 1979): each of the
    m changes left is tested at error / m, and significant ones are removed, until none is.
    """
    left = set(range(len(changes)))
    while left:
        removed = {index for index in left if changes[index](error / len(left))}
        if not removed:
            break
        left -= removed
    return [index not in left for index in range(len(changes))]


def strictest(confidence: float, members: int) -> float:
    """Return the confidence that one of so many members must reach at the strictest of Holm's levels, as a share."""
    return 1.0 - (1.0 - confidence) / members
