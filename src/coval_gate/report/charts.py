"""How a metric's values are spread out: ranges that people like to read, and a chart of them in Mermaid. Pure.

GitHub draws it in the reader's theme. Nothing but numbers goes into it: no text from outside can become a part of the
drawing. Mermaid draws no line at a bound, so the ranges meet there, and those beyond it have another colour.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from coval_gate.judge.checks import Check
    from coval_gate.judge.measure import Requirement

STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)  # widths, times a power of ten
MOST_BINS: Final = 12
EXACT: Final = 9  # digits of the ends of ranges
ROUNDING: Final = 1e-9
SMALLEST: Final = 1e-300  # width of a range; closer numbers cannot be divided
Side = Literal["within", "beyond", "both"]

# Visible in both themes; the default colour of bars is nearly invisible on white.
BLUE, ORANGE, GREY = "#3b82d0", "#d9822b", "#8b949e"
LARGEST, CLOSEST = 1e12, 1e-3  # a value, and the distance between the smallest and the largest
LEAST_VALUES: Final = 10  # with fewer, the table says it all
LEAST_BARS: Final = 3  # with values; with fewer, the table says it all, too
WIDTH: Final = 640  # pixels
SMALLEST_TEXT, LARGEST_TEXT = 9, 14  # pixels; the labels of all ranges must fit side by side
TEXT_WIDTH: Final = 0.6  # of a character with its share of the gap between labels, in heights
# Mermaid draws bars from half a label below the axis's 0, so even a bar of 0 would be seen. Ranges without values have
# a number below that instead.
NO_BAR: Final = -0.06  # of the axis


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
        """Return the index of a value's range."""
        place = math.floor((value - self.origin - self.first * self.width) / self.width + ROUNDING)
        return min(self.number - 1, max(0, place))

    def counts(self, values: Iterable[float], place: Callable[[float], int] | None = None) -> list[int]:
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


class DrawnBound(NamedTuple):
    """A bound on the values: `upper` if they must not be above it; `exclusive` if they must not equal it, either."""

    value: float
    upper: bool
    exclusive: bool

    def meets(self, value: float) -> bool:
        if value == self.value:
            return not self.exclusive
        return (value < self.value) is self.upper

    def is_below(self, value: float) -> bool:
        """Return whether a value is below the bound, or equal to it and on the same side as those below."""
        return self.meets(value) is self.upper

    def side(self, values: Sequence[float]) -> Side:
        met = {self.meets(value) for value in values}
        return "both" if len(met) > 1 else "beyond" if False in met else "within"


class BinBar(NamedTuple):
    """A range of values: how many of each sample it contains, and whether it is beyond the bound."""

    label: str
    counts: list[int]
    beyond: bool


def threshold_on_scale(check: Check) -> Requirement | None:
    """Return the requirement of a threshold whose bound is on the scale of the metric's values; None for any other."""
    return check.requirement if check.threshold and check.threshold.aggregate.kind.is_on_scale else None


def histogram(values: Sequence[float], bound: DrawnBound | None = None, unit: str = "") -> str:
    """Return a fenced bar chart of the share of values in each range; empty where a table says as much.

    `unit`: the title of the axis, a word of ours. Notation: Mermaid's documentation of xychart.
    """
    return _chart([values], bound, unit) if _can_draw(values) else ""


def compared_histogram(
    now: Sequence[float], earlier: Sequence[float], bound: DrawnBound | None = None, unit: str = ""
) -> str:
    """Return bars for `now` and a line for `earlier` over the same ranges; empty where a table says as much."""
    drawable = _can_draw([*now, *earlier]) and min(len(now), len(earlier)) >= LEAST_VALUES
    return _chart([now, earlier], bound, unit) if drawable else ""


def _can_draw(values: Sequence[float]) -> bool:
    """Return whether there are enough values, and of a size that labels with four decimals and bars can show."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    usual = max(-low, high) < LARGEST and high - low > CLOSEST * max(1.0, -low, high)
    return usual and len(values) >= LEAST_VALUES


def _chart(samples: Sequence[Sequence[float]], bound: DrawnBound | None, unit: str) -> str:
    """Return bars of the first sample, in two colours if the bound divides it, and a line of the second."""
    bars = _bars(samples, bound)
    if sum(any(bar.counts) for bar in bars) < LEAST_BARS:
        return ""
    now, *earlier = (
        [round(100 * bar.counts[place] / len(values), 1) for bar in bars] for place, values in enumerate(samples)
    )
    parts = [(BLUE, False), (ORANGE, True)]
    plots = [
        (colour, "bar", [share if bar.beyond is beyond else 0.0 for bar, share in zip(bars, now, strict=True)])
        for colour, beyond in parts
    ]
    plots = [plot for plot in plots if any(plot[2])] + [(GREY, "line", shares) for shares in earlier]
    top = 10 * math.ceil(max(max(shares) for _, _, shares in plots) / 10)
    nothing = {"bar": NO_BAR * top, "line": 0.0}
    drawn = [(colour, kind, [share or nothing[kind] for share in shares]) for colour, kind, shares in plots]
    labels = [f'"{bar.label}"' for bar in bars]
    width = sum(len(bar.label) for bar in bars)
    size = max(SMALLEST_TEXT, min(LARGEST_TEXT, math.floor(WIDTH / (TEXT_WIDTH * width))))
    colours = ", ".join(colour for colour, _, _ in drawn)
    axis = f'"{unit}" ' if unit else ""
    return "\n".join(
        [
            "```mermaid",
            f'%%{{init: {{"xyChart": {{"width": {WIDTH}, "height": 240, "xAxis": {{"labelFontSize": {size}}}}}, '
            f'"themeVariables": {{"xyChart": {{"plotColorPalette": "{colours}"}}}}}}}}%%',
            "xychart-beta",
            f"    x-axis {axis}[{', '.join(labels)}]",
            f'    y-axis "% of simulations" 0 --> {top}',
            *(f"    {kind} [{', '.join(f'{round(value, 2):g}' for value in values)}]" for _, kind, values in drawn),
            "```",
        ]
    )


def _bars(samples: Sequence[Sequence[float]], bound: DrawnBound | None) -> list[BinBar]:
    """Return ranges of equal width with round ends or, if the bound divides the first sample, whole widths from it.

    A value equal to the bound counts on its own side.
    """
    low, high, most = min(map(min, samples)), max(map(max, samples)), max(map(len, samples))
    side = bound.side(samples[0]) if bound else "within"
    middle = bound if side == "both" else None
    ranges = bins_from(middle.value, low, high, most) if middle else bins(low, high, most)

    def place(value: float) -> int:
        if middle is None:
            return ranges.place(value)
        if middle.is_below(value):
            return min(ranges.place(value), -ranges.first - 1)
        return max(ranges.place(value), -ranges.first)

    counts = zip(*(ranges.counts(values, place) for values in samples), strict=True)
    ends = ranges.ends
    if low >= 0.0:
        ends[0] = max(0.0, ends[0])  # a range with negative numbers would look like an error
    digits = 1 - math.floor(math.log10(ranges.width))  # a bound may have many more, which would not fit
    return [
        BinBar(
            label=f"{number(round(lower, digits), EXACT)} – {number(round(upper, digits), EXACT)}",
            counts=list(bar_counts),
            beyond=(ranges.first + nth >= 0) is middle.upper if middle else side == "beyond",
        )
        for nth, (lower, upper, bar_counts) in enumerate(zip(ends, ends[1:], counts, strict=False))
    ]
