"""The shapes of the HTML report's charts: bars, lines and marks in the units of an SVG. Pure."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from coval_gate.base.text import amount, number, percent, plural, with_unit
from coval_gate.report.charts import EXACT, bins
from coval_gate.report.document.criteria import CriterionFacts
from coval_gate.report.document.metrics import BoundFacts, Distribution

PLOT_WIDTH: Final = 320  # of every chart
HEIGHT: Final = 72  # of a histogram's bars, and of a chart over time
EDGE: Final = 6  # between a chart's side and its first point
SHARES: Final = 2  # the same for a histogram's shares
VALUES: Final = 5  # ranges of a histogram between the numbers below it, at most
SHARES_ROOM: Final = 34  # for the shares beside a histogram


class PlottedBar(NamedTuple):
    x: float
    width: float
    y: float = 0
    height: float = 0
    text: str = ""


class PlottedMark(NamedTuple):
    """`place`: along its axis. `kind`: threshold or target; empty for a number beside the axis."""

    place: float
    text: str
    kind: str = ""


class Histogram(NamedTuple):
    """A distribution: bars, the outline of earlier numbers, bounds, and two axes: of values, and of shares."""

    bars: tuple[PlottedBar, ...]
    outline: str
    marks: tuple[PlottedMark, ...]
    values: tuple[PlottedMark, ...]
    shares: tuple[PlottedMark, ...]
    text: str


class PlottedScale(NamedTuple):
    """A measured value beside its bound, with its confidence bounds as a bar; `allowed` is the side that passes."""

    value: float
    bound: float
    allowed: PlottedBar | None
    claimed: PlottedBar | None
    reference: float | None
    text: str


class Axis(NamedTuple):
    low: float
    high: float
    left: float = 0
    width: float = PLOT_WIDTH

    def place(self, value: float) -> float:
        """Return the place of a value; the nearer end where it is beyond the scale."""
        span = self.high / 2 - self.low / 2 or 1.0  # halves, because the difference may be infinite
        share = (value / 2 - self.low / 2) / span
        return round(self.left + self.width * min(1.0, max(0.0, share)), 1)


def histogram(sample: Distribution, bounds: Sequence[BoundFacts] = (), unit: str = "") -> Histogram | None:
    """Return shares in ranges of equal width; None without numbers."""
    ends, counts = sample.ends, sample.counts
    if not ends:
        return None
    axis = Axis(ends[0], ends[-1], SHARES_ROOM, PLOT_WIDTH - SHARES_ROOM)
    shares, earlier = ([count / max(1, sum(bins)) for count in bins] for bins in (counts, sample.earlier))
    ticks = round_numbers([0.0, max([*shares, *earlier])], SHARES)
    highest = ticks[-1]
    every = math.ceil((len(ends) - 1) / VALUES)
    bars = []
    for low, high, share, count in zip(ends, ends[1:], shares, counts, strict=False):
        left, right, height = axis.place(low), axis.place(high), max(1.5, round(share / highest * HEIGHT, 1))
        words = f"{number(low, EXACT)} to {with_unit(number(high, EXACT), unit)}: {plural(count, 'simulation')}"
        bar = PlottedBar(left + 0.5, round(max(1.0, right - left - 1), 1), from_top(height), height, words)
        bars += [bar] if share else []
    return Histogram(
        bars=tuple(bars),
        outline=_outline(axis, ends, [share / highest for share in earlier]) if earlier else "",
        marks=tuple(PlottedMark(axis.place(bound.value), bound.text, bound.of) for bound in bounds),
        values=tuple(PlottedMark(axis.place(value), number(value, EXACT)) for value in ends[::every]),
        shares=tuple(PlottedMark(from_top(share / highest * HEIGHT), percent(share)) for share in ticks),
        text=f"{plural(sum(counts), 'value')} from {number(sample.least)} to {amount(sample.greatest, unit)}",
    )


def scale_of(criterion: CriterionFacts) -> PlottedScale | None:
    """Return the value beside its bound, on a scale that fits; None if either is missing."""
    value, bound, reference = criterion.actual, criterion.bound, criterion.baseline_value
    if value is None or bound is None or not criterion.metric_id:
        return None
    lower = -math.inf if criterion.lower is None else criterion.lower
    upper = math.inf if criterion.upper is None else criterion.upper
    shown = [value, bound, *([] if reference is None else [reference])]
    shown += [end for end in (lower, upper) if math.isfinite(end)]
    low, high = min(shown), max(shown)
    room = (high / 4 - low / 4) or abs(high) / 4 or 1.0
    low, high = (0.0, 1.0) if criterion.unit == "share" else (low - room, high + room)
    axis = Axis(low, high, EDGE, PLOT_WIDTH / 2 - 2 * EDGE)
    allowed = {"<": (low, bound), "<=": (low, bound), ">": (bound, high), ">=": (bound, high)}.get(
        criterion.operator or ""
    )
    return PlottedScale(
        value=axis.place(value),
        bound=axis.place(bound),
        allowed=_band(axis, *allowed) if allowed else None,
        claimed=None if criterion.confidence is None else _band(axis, lower, upper),
        reference=None if reference is None else axis.place(reference),
        text=f"{criterion.actual_text}, required {criterion.required_text}",
    )


def round_numbers(values: Sequence[float], count: int) -> list[float]:
    """Return round numbers for an axis that includes all values; only the ends where they are too far apart."""
    low, high = min(values), max(values)
    if not math.isfinite(high - low):
        return [low, high]
    return bins(low, high, count, closed=True).ends


def _band(axis: Axis, low: float, high: float) -> PlottedBar:
    left, right = axis.place(low), axis.place(high)
    return PlottedBar(x=left, width=round(max(0.0, right - left), 1))


def _outline(axis: Axis, bounds: Sequence[float], shares: Sequence[float]) -> str:
    parts = [f"M{axis.place(bounds[0]):g},{HEIGHT}"]
    for low, high, share in zip(bounds, bounds[1:], shares, strict=False):
        top = from_top(share * HEIGHT)
        parts.append(f"L{axis.place(low):g},{top:g} {axis.place(high):g},{top:g}")
    return "".join([*parts, f"L{axis.place(bounds[-1]):g},{HEIGHT}"])


def from_top(height: float) -> float:
    return round(HEIGHT - height, 1)
