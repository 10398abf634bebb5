"""How far simulations miss criteria, in numbers that compare from one metric to another. Pure and total."""

from __future__ import annotations

from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Final

from coval_gate.judge import targets
from coval_gate.judge.comparison import comparable
from coval_gate.judge.criteria import TargetMet, ThresholdHolds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from coval_gate.config.thresholds import Threshold
    from coval_gate.judge.checks import Check
    from coval_gate.model.results import Value

WHOLE: Final = 1.0  # the distance of a wrong text, and of a value that is missing


def severity(*, completed: bool, distance: float, misses: int) -> tuple[bool, float, int]:
    """Return the key of a simulation by which the worst sorts first.

    Those that did not complete come first. Among the others, those come first that are furthest from what they must be:
    `distance` is the sum over the criteria that they miss. Then the number of these criteria decides.
    """
    return completed, -distance, -misses


def misses(check: Check, values: Mapping[str, Value]) -> Iterator[tuple[str, float]]:
    """Yield the ids of the simulations that a check blames, and how far each misses the criterion.

    The distance of a number from its bound is relative to the bound: 0.2 is 20% off. If the bound is 0, it is relative
    to the largest of the `values`, which are those of the check's metric by simulation id. A wrong text and a missing
    value count as 1, which is as far off as twice an upper bound.
    """
    criterion = check.criterion
    bound_of: Callable[[float], float | None]
    if isinstance(criterion, TargetMet):
        bound_of = partial(targets.closest_bound, criterion.target)
    elif isinstance(criterion, ThresholdHolds) and _compares_numbers(criterion.threshold):
        bound_of = partial(_same, _bound(check, criterion.threshold))
    else:
        yield from zip(check.simulations, repeat(WHOLE))
        return
    largest = max((abs(value) for value in values.values() if isinstance(value, float)), default=0.0) or WHOLE
    for each in check.simulations:
        value = values.get(each)
        number = comparable(value) if isinstance(value, str) else value
        bound = bound_of(number) if isinstance(number, float) else None
        if bound is None or not isinstance(number, float):
            yield each, WHOLE
        else:
            yield each, abs(number - bound) / (abs(bound) or largest)


def _compares_numbers(threshold: Threshold) -> bool:
    """Return whether a number that misses the threshold has a distance from its bound."""
    return threshold.aggregate.kind.is_on_scale and threshold.operator != "!="


def _bound(check: Check, threshold: Threshold) -> float:
    compared = check.measure.comparison if check.measure else None
    return threshold.bound.of(compared.value if compared else 0.0)


def _same(bound: float, number: float) -> float:
    del number
    return bound
