"""The distribution of a metric's values over ranges with round ends. Pure."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from coval_gate.base.text import number
from coval_gate.inputs.thresholds import Operator

STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)  # widths, times a power of ten
MOST_BINS: Final = 12
EXACT: Final = 9  # digits of the ends of ranges
EDGE_TOLERANCE: Final = 1e-9
NARROWEST: Final = 1e-300  # width of a range; closer numbers cannot be divided
Side = Literal["within", "beyond", "both"]

LARGEST_DRAWN, CLOSEST_DRAWN = 1e12, 1e-3  # a value, and the distance between the smallest and the largest
STRETCH: Final = 1.0  # of the values' range; how far it may grow on each side to include a bound
LEAST_VALUES: Final = 10  # with fewer, the table shows as much
LEAST_BARS: Final = 3  # with values; with fewer, the table shows as much, too


class Bins(NamedTuple):
    """Ranges that begin `first` widths from the origin. Each includes its lower end; the last also all above."""

    origin: float
    width: float
    first: int
    number: int

    @property
    def ends(self) -> list[float]:
        return [self.origin + (self.first + place) * self.width for place in range(self.number + 1)]

    def place(self, value: float) -> int:
        place = math.floor((value - self.origin - self.first * self.width) / self.width + EDGE_TOLERANCE)
        return min(self.number - 1, max(0, place))

    def counts(self, values: Iterable[float], place: Callable[[float], int] | None = None) -> list[int]:
        """`place` never falls as values rise, so few of thousands need one."""
        ordered, key = sorted(values), place or self.place
        before = [bisect_left(ordered, place_of, key=key) for place_of in range(self.number + 1)]
        return [end - begin for begin, end in pairwise(before)]


def bins(low: float, high: float, values: int, *, finer: int = 1, closed: bool = False) -> Bins:
    """Return ranges with round ends that contain all numbers from `low` to `high`.

    Their number is about what Sturges proposes for that many `values`, "The Choice of a Class Interval" (Journal of the
    American Statistical Association 21, 1926), times `finer`. With `closed`, none begins at `high`.
    """
    rough = (high - low) / (finer * min(MOST_BINS, math.ceil(math.log2(max(2, values))) + 1))
    if rough < NARROWEST:
        half = 0.5 if low < high else abs(low) / 10 or 0.5
        return Bins(origin=low - half, width=2 * half, first=0, number=1)
    power = 10.0 ** math.floor(math.log10(rough))
    width = next((step * power for step in STEPS if step * power >= rough * (1 - EDGE_TOLERANCE)), rough)
    first = math.floor(low / width + EDGE_TOLERANCE)
    end = math.ceil(high / width - EDGE_TOLERANCE) if closed else math.floor(high / width + EDGE_TOLERANCE) + 1
    return Bins(origin=0.0, width=width, first=first, number=max(1, end - first))


class DrawnBound(NamedTuple):
    """A bound that divides the values; `operator`: on which side of it a value must be."""

    value: float
    operator: Operator

    @property
    def upper(self) -> bool:
        return self.operator in ("<", "<=")

    def meets(self, value: float) -> bool:
        if value == self.value:
            return self.operator in ("<=", ">=")
        return (value < self.value) is self.upper

    def side(self, values: Sequence[float]) -> Side:
        met = {self.meets(value) for value in (min(values), max(values))}
        return "both" if len(met) > 1 else "beyond" if False in met else "within"


class Bars(NamedTuple):
    """Ranges of values: percent of the values in each, now and earlier, and whether it is beyond the bound."""

    labels: list[str]
    shares: list[float]
    beyond: list[bool]
    earlier: list[float]


def spread(samples: Sequence[Sequence[float]], bound: DrawnBound | None = None) -> Bars | None:
    """Return ranges of equal width with round ends or, if the bound divides the first sample, whole widths from it.

    A value equal to the bound counts on its own side. None where a table shows as much.
    """
    if min(map(len, samples)) < LEAST_VALUES:
        return None
    low, high, most = min(map(min, samples)), max(map(max, samples)), max(map(len, samples))
    if max(-low, high) >= LARGEST_DRAWN or high - low <= CLOSEST_DRAWN * max(1.0, -low, high):
        return None
    side = bound.side(samples[0]) if bound else "within"
    middle = bound if side == "both" else None
    origin = middle.value if middle else 0.0
    ranges = bins(low - origin, high - origin, most)
    if middle:
        first, end = min(-1, ranges.first), max(1, ranges.first + ranges.number)
        ranges = ranges._replace(origin=origin, first=first, number=end - first)

    def place(value: float) -> int:
        if middle is None:
            return ranges.place(value)
        if middle.meets(value) is middle.upper:
            return min(ranges.place(value), -ranges.first - 1)
        return max(ranges.place(value), -ranges.first)

    counts = [ranges.counts(values, place) for values in samples]
    if sum(map(any, zip(*counts, strict=True))) < LEAST_BARS:
        return None
    ends = ranges.ends
    if low >= 0.0:
        ends[0] = max(0.0, ends[0])  # a range with negative numbers would look like an error
    digits = 1 - math.floor(math.log10(ranges.width))  # a bound may have many more, which would not fit
    shown = [number(round(end, digits), EXACT) for end in ends]
    places = range(ranges.first, ranges.first + ranges.number)
    shares = [[round(100 * count / sum(sample_counts), 1) for count in sample_counts] for sample_counts in counts]
    return Bars(
        labels=[f"{lower} – {upper}" for lower, upper in pairwise(shown)],
        shares=shares[0],
        beyond=[(place >= 0) is middle.upper if middle else side == "beyond" for place in places],
        earlier=shares[1] if len(samples) > 1 else [],
    )


def binned(now: Sequence[float], earlier: Sequence[float], bounds: Sequence[float]) -> Bins:
    """Return ranges that contain all numbers, of which there is at least one now, and those bounds that are near."""
    values = [*now, *earlier]
    low, high = min(values), max(values)
    room = (high - low) * STRETCH or abs(high) or 1.0
    near = [bound for bound in bounds if low - room <= bound <= high + room]
    return bins(min([low, *near]), max([high, *near]), max(len(now), len(earlier)), finer=2, closed=True)
