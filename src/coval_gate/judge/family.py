"""Judge many thresholds at once, so a step does not fail because one of them changed by chance. Pure."""

from __future__ import annotations

from dataclasses import replace
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from coval_gate.judge.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from coval_gate.judge.checks import Check
    from coval_gate.judge.measure import Trend
    from coval_gate.judge.paired import Pairs


class Compared(NamedTuple):
    """A check, and the `pairs` whose change it claims; None if it claims nothing."""

    check: Check
    pairs: Pairs | None = None

    @property
    def guards(self) -> bool:
        """Whether a regression that it shows fails the step; advisory thresholds never do."""
        return self.check.decides and self.pairs is not None and not self.pairs.asks_for_improvement


def ruled(compared: Sequence[Compared], error: float) -> Iterator[Check]:
    """Yield the checks, which report and fail only changes that are significant among so many thresholds.

    Thresholds that guard against regressions are a family: an unchanged agent fails one of them, or is called worse by
    one, in at most the share `error` of steps. Other thresholds must not dilute the family, so they are judged among
    all thresholds.
    """
    guards = Family.of([member.pairs for member in compared if member.pairs and member.guards], error)
    everything = Family.of([member.pairs for member in compared if member.pairs], error)
    for member in compared:
        family = guards if member.guards else everything
        yield _with_trend(member.check, member.pairs, family, error) if member.pairs else member.check


class Family(NamedTuple):
    """A family of thresholds: how many they are, and the significant changes by the id of their pairs."""

    members: int
    trends: dict[int, Trend]

    @classmethod
    def of(cls, members: Sequence[Pairs], error: float) -> Family:
        """Return the family of these thresholds; its claims are wrong in at most the share `error` of steps."""
        worse = significant([pairs.is_worse for pairs in members], error)
        better = significant([pairs.is_better for pairs in members], error)
        trends: dict[int, Trend] = {id(pairs): "worse" for pairs in compress(members, worse)}
        trends |= {id(pairs): "improved" for pairs in compress(members, better)}
        return cls(len(members), trends)


def _with_trend(check: Check, pairs: Pairs, family: Family, error: float) -> Check:
    """Return a check with the trend of its change; a change that is not significant does not fail it."""
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
        noticeable=pairs.noticeable(measure.comparison.change, family.members),
    )
    return replace(check, verdict=verdict, measure=replace(measure, comparison=comparison))


def significant(changes: Sequence[Callable[[float], bool]], error: float) -> list[bool]:
    """Return which changes are significant; all these claims together are wrong in at most the share `error` of steps.

    Each function returns whether its change is significant at a level, a share; a change that is significant at one
    level must be so at every looser one. Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (Scandinavian
    Journal of Statistics 6, 1979): each of m changes is tested at error / m. Significant ones are removed, and the rest
    is tested again at the level for the remaining number, until none is significant.
    """
    left = set(range(len(changes)))
    while left:
        removed = {index for index in left if changes[index](error / len(left))}
        if not removed:
            break
        left -= removed
    return [index not in left for index in range(len(changes))]
