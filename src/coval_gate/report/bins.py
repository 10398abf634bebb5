"""Ranges of equal width with round ends, and how many values are in each. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)  # widths, times a power of ten
MOST_BINS: Final = 12
ROUNDING: Final = 1e-9
SMALLEST: Final = 1e-300  # width of a range; closer numbers cannot be divided


class Bins(NamedTuple):
    """`number` ranges from left to right, of which the first begins `first` widths from the origin.

    Each range includes its lower end; the last one also includes everything above.
    """

    origin: float
    width: float
    first: int
    number: int

    @property
    def ends(self) -> list[float]:
        """The `number` + 1 ends of the ranges."""
        return [self.origin + (self.first + place) * self.width for place in range(self.number + 1)]

    def place(self, value: float) -> int:
        """Return the index of a value's range."""
        place = math.floor((value - self.origin - self.first * self.width) / self.width + ROUNDING)
        return min(self.number - 1, max(0, place))

    def counts(self, values: Iterable[float], place: Callable[[float], int] | None = None) -> list[int]:
        """Return how many values are in each range."""
        counts = [0] * self.number
        for value in values:
            counts[(place or self.place)(value)] += 1
        return counts


def bins(low: float, high: float, values: int, *, finer: int = 1, closed: bool = False) -> Bins:
    """Return ranges with round ends that hold all numbers from `low` to `high`.

    Their number is about what Sturges proposes for that many `values`, "The Choice of a Class Interval" (Journal of the
    American Statistical Association 21, 1926), times `finer`. With `closed`, none begins at `high`.
    """
    width = _width((high - low) / (finer * min(MOST_BINS, math.ceil(math.log2(max(2, values))) + 1)))
    if width is None:
        half = 0.5 if low < high else abs(low) / 10 or 0.5
        return Bins(origin=low - half, width=2 * half, first=0, number=1)
    first = math.floor(low / width + ROUNDING)
    end = math.ceil(high / width - ROUNDING) if closed else math.floor(high / width + ROUNDING) + 1
    return Bins(origin=0.0, width=width, first=first, number=max(1, end - first))


def bins_from(origin: float, low: float, high: float, values: int) -> Bins:
    """Return ranges on both sides of the origin that hold all numbers from `low` to `high`."""
    ranges = bins(low - origin, high - origin, values)
    first, end = min(-1, ranges.first), max(1, ranges.first + ranges.number)
    return ranges._replace(origin=origin, first=first, number=end - first)


def _width(rough: float) -> float | None:
    """Return the smallest round width of at least `rough`; None where that is too small."""
    if rough < SMALLEST:
        return None
    power = 10.0 ** math.floor(math.log10(rough))
    return next((step * power for step in STEPS if step * power >= rough * (1 - ROUNDING)), rough)
