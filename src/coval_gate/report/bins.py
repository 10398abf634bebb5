"""Ranges of equal width that people like to read, and how many values are in each. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)  # widths, times a power of ten
MOST_BINS: Final = 12
ROUNDING: Final = 1e-9
SMALLEST: Final = 1e-300  # width of a range; numbers closer to each other cannot be divided


class Bins(NamedTuple):
    """Ranges from left to right. The lower end belongs to each, and to the last one what is above it.

    `first`: how many widths the first one begins from the origin; `number`: how many they are.
    """

    origin: float
    width: float
    first: int
    number: int

    @property
    def ends(self) -> list[float]:
        """The ends of the ranges, of which there is one more than ranges."""
        return [self.origin + (self.first + place) * self.width for place in range(self.number + 1)]

    def place(self, value: float) -> int:
        """Return in which range a value is."""
        place = math.floor((value - self.origin - self.first * self.width) / self.width + ROUNDING)
        return min(self.number - 1, max(0, place))

    def counts(self, values: Iterable[float], place: Callable[[float], int] | None = None) -> list[int]:
        """Return how many values are in each range."""
        found = [0] * self.number
        for value in values:
            found[(place or self.place)(value)] += 1
        return found


def bins(low: float, high: float, values: int, *, finer: int = 1, closed: bool = False) -> Bins:
    """Return ranges with round ends that hold all numbers from `low` to `high`.

    There are about as many as Sturges proposes for that many values, "The Choice of a Class Interval" (Journal of the
    American Statistical Association 21, 1926), or `finer` times as many. With `closed`, none begins at `high`.
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
    found = bins(low - origin, high - origin, values)
    first, end = min(-1, found.first), max(1, found.first + found.number)
    return found._replace(origin=origin, first=first, number=end - first)


def _width(rough: float) -> float | None:
    """Return the least round width that is no less; None where that is too small."""
    if rough < SMALLEST:
        return None
    power = 10.0 ** math.floor(math.log10(rough))
    return next((step * power for step in STEPS if step * power >= rough * (1 - ROUNDING)), rough)
