"""Many thresholds at once: how to keep a step from failing because one of them flips by chance. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from coval_gate.judge.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from coval_gate.judge.checks import Check
    from coval_gate.judge.measure import Trend
    from coval_gate.judge.paired import Pairs


class Compared(NamedTuple):
    """A check, and the `pairs` whose change it claims something of; None where it claims nothing."""

    check: Check
    pairs: Pairs | None = None

    @property
    def guards(self) -> bool:
        """Whether it can fail the step because of a regression; advisory thresholds cannot."""
        return self.check.decides and self.pairs is not None and not self.pairs.asks_for_improvement


def ruled(compared: Sequence[Compared], error: float) -> Iterator[Check]:
    """Yield the checks, whose words and failures are about changes that are evident among so many.

    Thresholds that guard against regressions are a family: an unchanged agent fails one of them, or has one that is
    called worse, in at most the share `error` of steps. Others must not dilute it, so that they are told among all.
    """
    guards = Family.of([comparison.pairs for comparison in compared if comparison.pairs and comparison.guards], error)
    everything = Family.of([comparison.pairs for comparison in compared if comparison.pairs], error)
    for comparison in compared:
        yield (
            _told(comparison.check, comparison.pairs, guards if comparison.guards else everything, error)
            if comparison.pairs
            else comparison.check
        )


class Family(NamedTuple):
    """So many thresholds, and what the changes of some evidently are, by the id of their pairs."""

    members: int
    trends: dict[int, Trend]

    @classmethod
    def of(cls, members: Sequence[Pairs], error: float) -> Family:
        worse = significant([pairs.is_worse for pairs in members], error)
        better = significant([pairs.is_better for pairs in members], error)
        trends: dict[int, Trend] = {id(pairs): "worse" for pairs, real in zip(members, worse, strict=True) if real}
        trends |= {id(pairs): "improved" for pairs, real in zip(members, better, strict=True) if real}
        return cls(len(members), trends)


def _told(check: Check, pairs: Pairs, family: Family, error: float) -> Check:
    """Return a check with what its change amounts to; it does not fail by one that is not evident."""
    measure, evident, verdict = check.measure, family.trends.get(id(pairs)), check.verdict
    if measure is None or measure.comparison is None or measure.comparison.change is None:
        return check
    if verdict is Verdict.FAILED and evident != "worse" and not pairs.asks_for_improvement:
        verdict = Verdict.INCONCLUSIVE
    alone = pairs.is_worse(error) or pairs.is_better(error)
    comparison = replace(
        measure.comparison,
        trend=evident or ("inconclusive" if verdict is Verdict.INCONCLUSIVE else "unchanged"),
        by_chance=family.members if alone and not evident else 0,
        noticeable=pairs.noticeable(measure.comparison.change, family.members),
    )
    return replace(check, verdict=verdict, measure=replace(measure, comparison=comparison))


def significant(changes: Sequence[Callable[[float], bool]], error: float) -> list[bool]:
    """Tell which changes are real, so that all such claims together are wrong in at most the share `error` of steps.

    Each change tells whether it is significant at the level that it is given, a share; it must not be so at a stricter
    level and not at a looser one. Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (Scandinavian Journal
    of Statistics 6, 1979): each of m changes is tested at error / m. Those that are significant leave, and the rest is
    tested again, at the level for so many as are left, until none leaves.
    """
    left = set(range(len(changes)))
    while left:
        real = {index for index in left if changes[index](error / len(left))}
        if not real:
            break
        left -= real
    return [index not in left for index in range(len(changes))]
