"""Measure how far simulations miss criteria, in numbers that compare across metrics. Pure and total."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.judge.comparison import comparable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from coval_gate.judge.checks import Check
    from coval_gate.model.results import Value

WHOLE: Final = 1.0  # the distance of a wrong text, and of a missing value


def severity(*, completed: bool, distance: float, misses: int) -> tuple[bool, float, int]:
    """Return a key that sorts the worst simulation first.

    Simulations that did not complete come first, then those with the largest `distance`, which is the sum over the
    criteria that a simulation misses. Then the number of these criteria decides.
    """
    return completed, -distance, -misses


def misses(check: Check, values: Mapping[str, Value]) -> Iterator[tuple[str, float]]:
    """Yield the ids of the simulations that a check blames, and how far each misses the criterion.

    The distance of a number from its bound is relative to the bound: 0.2 is 20 % off. If the bound is 0, it is relative
    to the largest of the `values` of the check's metric, which are by simulation id. A wrong text and a missing value
    count as 1, as far off as twice an upper bound.
    """
    largest = max((abs(value) for value in values.values() if isinstance(value, float)), default=0.0) or WHOLE
    for simulation in check.simulations:
        value = values.get(simulation)
        number = comparable(value) if isinstance(value, str) else value
        bound = check.criterion.closest_bound(number, check.measure) if isinstance(number, float) else None
        if bound is None or not isinstance(number, float):
            yield simulation, WHOLE
        else:
            yield simulation, abs(number - bound) / (abs(bound) or largest)
