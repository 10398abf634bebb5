"""Pairs of a run and its baseline over the same test cases, and many thresholds at once. Pure.

Holm's procedure keeps a step from failing because one of many thresholds flips by chance.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from coval_gate.coval.model import Metric
from coval_gate.features.comparisons.changes import Change, MeanChange, PercentileChange, RateChange, ValuePair
from coval_gate.features.comparisons.permutation import HitPair
from coval_gate.features.confidence.bounds import hits_of
from coval_gate.gate.aggregates import Aggregation, Average, Percentile, Share, aggregation_of
from coval_gate.gate.checks import Check
from coval_gate.gate.measure import Interval, RunRange, Trend
from coval_gate.gate.variants import Variant
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.thresholds import TOLERANCE, Threshold

if TYPE_CHECKING:
    from coval_gate.features.spending.sequential import Look


class Tested(NamedTuple):
    """Whether a change `is_shown`, and the `error` at which Holm's procedure decided it."""

    is_shown: bool
    error: float


class Pairs:
    """A `threshold` with a reference; `now` and `then` have the same test cases. Both sides' values are as counted.

    With a `look`, each error, and each confidence, is the one of all looks together.
    """

    def __init__(
        self, threshold: Threshold, now: Variant, then: Variant, metric: Metric | None, look: "Look | None" = None
    ) -> None:
        self._aggregation = aggregation = aggregation_of(threshold, metric)
        self.threshold, self.metric, self.now, self.then = threshold, metric, now, then
        self.value, self.reference = aggregation.value(now), aggregation.value(then)
        self.earlier, self._look = self.reference.value, None if threshold.waits_for_last else look
        is_early = look is not None and threshold.waits_for_last and not look.is_last
        self._change = Change() if is_early else change_of(aggregation, now, then)

    def range_of_runs(self) -> RunRange | None:
        """Return how the runs of the reference vary; None if it is a single one."""
        runs = self.then.single_runs()
        values = [
            self._aggregation.value(run).value for run in runs if not self.metric or run.sample(self.metric).count
        ]
        return RunRange(len(values), min(values), max(values)) if len(values) > 1 else None

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
        at_look = 1.0 - self._at_look(1.0 - confidence)
        excess = self._change.excess(at_look, self.threshold.bound.factor, self.threshold.bound.number)
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
        return self._shows(error, rises=self.threshold.wants_less)

    def is_better(self, error: float) -> bool:
        return self._shows(error, rises=not self.threshold.wants_less)

    def _shows(self, error: float, *, rises: bool) -> bool:
        """What weighs conversations or values differently may see a fall where the value rose as counted."""
        counted = self._counted if rises else -self._counted
        return counted > TOLERANCE * abs(self.earlier) and self._change.shows(self._at_look(error), rises=rises)

    @property
    def _counted(self) -> float:
        return self.value.value - self.earlier

    def change(self, confidence: float, worse: Tested, better: Tested, *, passed: bool) -> Interval:
        """Return what is shown of the change: each bound at the level that decided whether it moved that way.

        What decides may be sharper, so they end at 0, at the change as counted or, where the threshold is passed, at
        its bound, rather than contradict it.
        """
        rise, fall = (worse, better) if self.threshold.wants_less else (better, worse)
        lower = self._change.least(1.0 - self._at_look(rise.error))
        upper = self._change.most(1.0 - self._at_look(fall.error))
        lower = max(lower, 0.0) if rise.is_shown else min(lower, 0.0)
        upper = min(upper, 0.0) if fall.is_shown else max(upper, 0.0)
        lower, upper = min(lower, self._counted), max(upper, self._counted)
        if passed:
            most = self.threshold.bound.change(self.earlier)
            lower, upper = (lower, min(upper, most)) if self.threshold.wants_less else (max(lower, most), upper)
        return Interval(lower, upper, confidence, len(self.now.cases))

    def _at_look(self, error: float) -> float:
        """Return the part of an error that this look may spend; outside of slices, all of it."""
        return self._look.error(error) if self._look else error

    def noticeable(self, confidence: float) -> float | None:
        if self._look or not math.isfinite(self._change.excess(confidence).lower):
            return None
        margin = 0.0 if self.asks_for_improvement else abs(self.threshold.bound.change(self.earlier))
        values, rises = (self.value.value, self.earlier), self.threshold.wants_less
        return self._change.noticeable(values, confidence, margin, rises=rises)

    def flips(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        is_one_sided = self.threshold.wants_less or self.threshold.wants_more
        return self._change.flips(wants_less=self.threshold.wants_less) if is_one_sided else ((), ())


def change_of(aggregation: Aggregation, now: Variant, then: Variant) -> Change:
    """Return the change between variants with the same test cases; nothing is claimed of other aggregates."""
    match aggregation:
        case Share():
            return _rate_change(aggregation, now, then)
        case Average():
            return MeanChange(_value_pairs(aggregation, now, then))
        case Percentile():
            return PercentileChange(_value_pairs(aggregation, now, then), aggregation.n)
    return Change()


def _rate_change(aggregation: Share, now: Variant, then: Variant) -> RateChange:
    hits, earlier, pairs = aggregation.hits(now), aggregation.hits(then), []
    for case, ids in now.by_case.items():
        runs = {run: hits_of([one.id for one in own], earlier) for run, own in then.by_run[case].items()}
        judged = [hits_of([one.id for one in own], hits) for own in now.by_run[case].values()]
        pairs.append(HitPair(hits_of(ids, hits), hits_of(then.by_case[case], earlier), case, runs, judged))
    return RateChange(pairs)


def _value_pairs(aggregation: Aggregation, now: Variant, then: Variant) -> list[ValuePair]:
    earlier = then.numbers(aggregation.metric)
    return [ValuePair(numbers, earlier[case]) for case, numbers in now.numbers(aggregation.metric).items()]


class Compared(NamedTuple):
    check: Check
    pairs: Pairs | None = None

    @property
    def claimed(self) -> Pairs | None:
        """The pairs whose change it claims; None if it is decided as counted."""
        takes = self.pairs is not None and self.pairs.threshold.takes_confidence
        return self.pairs if takes and self.check.criterion.confidence is not None else None

    @property
    def guards(self) -> bool:
        return self.check.decides and self.claimed is not None and not self.claimed.asks_for_improvement


def ruled(compared: Sequence[Compared], error: float, *, parts: int = 1) -> Iterator[Check]:
    """Yield the checks, which report and fail only changes that are significant among so many thresholds.

    They have one of so many equal `parts` of the error (Bonferroni), so each leg decides by itself. Guards against
    regressions are a family: an unchanged agent fails one of them, or is called worse by one, in at most that part of
    steps. Other thresholds must not dilute the family, so they are judged among all.
    """
    everything = [member.claimed for member in compared if member.claimed]
    guards = [member.claimed for member in compared if member.claimed and member.guards]
    tested = _tested(everything, error / parts) | _tested(guards, error / parts)
    for member in compared:
        pairs = member.claimed
        yield _with_trend(member.check, pairs, *tested[id(pairs)], error) if pairs else member.check


def _tested(family: Sequence[Pairs], error: float) -> dict[int, tuple[Tested, Tested, float]]:
    """Return whether each is worse, and better, by the id of the pairs, and the error at the strictest level."""
    worse = holm([pairs.is_worse for pairs in family], error)
    better = holm([pairs.is_better for pairs in family], error)
    tests = zip(family, worse, better, strict=True)
    return {id(pairs): (one, other, error / len(family)) for pairs, one, other in tests}


def _with_trend(check: Check, pairs: Pairs, worse: Tested, better: Tested, least: float, error: float) -> Check:
    """`least`: the error at the strictest of Holm's levels."""
    measure, verdict = check.measure, check.verdict
    if measure is None or measure.comparison is None:
        return check
    if pairs.asks_for_improvement:  # its bounds decide it, so they are shown as they are
        worse, better = worse._replace(error=error), Tested(better.is_shown or verdict is Verdict.PASSED, error)
    elif verdict is Verdict.FAILED and not worse.is_shown:
        verdict = Verdict.INCONCLUSIVE
    if verdict is Verdict.INCONCLUSIVE:  # what is shown may decide what the bounds, which may be blunter, leave open
        holds = pairs.threshold.against(pairs.earlier).holds(pairs.value.value)
        if pairs.asks_for_improvement:  # what got worse is not the improvement that was required
            verdict = Verdict.FAILED if worse.is_shown and not holds else verdict
        elif better.is_shown and holds:  # what got better is no regression
            verdict, check = Verdict.PASSED, replace(check, simulations=())
    trend: Trend = "inconclusive" if verdict is Verdict.INCONCLUSIVE else "unchanged"
    comparison = replace(
        measure.comparison,
        trend="worse" if worse.is_shown else "improved" if better.is_shown else trend,
        change=pairs.change(1.0 - error, worse, better, passed=verdict is Verdict.PASSED),
        noticeable=pairs.noticeable(1.0 - least),
    )
    return replace(check, verdict=verdict, measure=replace(measure, comparison=comparison))


def holm(changes: Sequence[Callable[[float], bool]], error: float) -> list[Tested]:
    """Return which changes are shown; all these claims together are wrong in at most the share `error` of steps.

    Each function tests its change at a level; a change shown at one level must be so at every looser one. Holm, "A
    Simple Sequentially Rejective Multiple Test Procedure" (Scandinavian Journal of Statistics 6, 1979): each of the m
    changes left is tested at error / m, and those that are shown are removed, until none is.
    """
    found: dict[int, Tested] = {}
    while left := [index for index in range(len(changes)) if index not in found]:
        level = error / len(left)
        shown = [index for index in left if changes[index](level)]
        found |= {index: Tested(bool(shown), level) for index in shown or left}
    return [found[index] for index in range(len(changes))]
