"""How a metric's values are spread out, as a chart in Mermaid, which GitHub draws in the reader's theme.

Nothing but numbers goes into it: no text from outside can become a part of the drawing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from coval_gate.text import number

if TYPE_CHECKING:
    from collections.abc import Sequence

# Both themes show these well: the bars' own colour is next to invisible on white.
BLUE, ORANGE = "#3b82d0", "#d9822b"
LARGEST, SMALLEST = 1e12, 1e-3  # of a value, and of the distance between the least and the most
LEAST_VALUES: Final = 10  # with fewer, the table says it all
LEAST_BARS: Final = 3  # that hold values; below that, so does the table
MOST_BARS: Final = 12
STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)  # widths of a bar that people like to read, times a power of ten


def histogram(values: Sequence[float]) -> str:
    """Return a fenced bar chart of the share of values in each range; empty where a table says as much.

    Source of the notation: Mermaid's documentation of xychart.
    """
    bars = _bars(values) if _can_draw(values) else []
    if sum(count > 0 for _, (count,) in bars) < LEAST_BARS:
        return ""
    shares = [round(100 * count / len(values), 1) for _, (count,) in bars]
    return _chart([label for label, _ in bars], [("bar", shares)], [BLUE])


def compared_histogram(now: Sequence[float], earlier: Sequence[float]) -> str:
    """Return a fenced chart of two histograms over the same ranges: bars for `now`, a line for `earlier`.

    Empty where a table says as much.
    """
    drawable = _can_draw([*now, *earlier]) and min(len(now), len(earlier)) >= LEAST_VALUES
    bars = _bars(now, earlier) if drawable else []
    if sum(any(counts) for _, counts in bars) < LEAST_BARS:
        return ""
    shares = [
        [round(100 * counts[place] / len(values), 1) for _, counts in bars]
        for place, values in enumerate((now, earlier))
    ]
    return _chart([label for label, _ in bars], [("bar", shares[0]), ("line", shares[1])], [BLUE, ORANGE])


def _can_draw(values: Sequence[float]) -> bool:
    """Tell whether there are enough values, of a size that labels of four decimals and the width of a bar can show."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    usual = max(-low, high) < LARGEST and high - low > SMALLEST * max(1.0, -low, high)
    return usual and len(values) >= LEAST_VALUES


def _chart(labels: Sequence[str], plots: Sequence[tuple[str, Sequence[float]]], colours: Sequence[str]) -> str:
    highest = max(max(shares) for _, shares in plots)
    palette = ", ".join(colours)
    return "\n".join(
        [
            "```mermaid",
            '%%{init: {"xyChart": {"width": 640, "height": 240}, '
            f'"themeVariables": {{"xyChart": {{"plotColorPalette": "{palette}"}}}}}}}}%%',
            "xychart-beta",
            f"    x-axis [{', '.join(f'{chr(34)}{label}{chr(34)}' for label in labels)}]",
            f'    y-axis "% of simulations" 0 --> {10 * math.ceil(highest / 10)}',
            *(f"    {kind} [{', '.join(f'{share:g}' for share in shares)}]" for kind, shares in plots),
            "```",
        ]
    )


def _bars(*samples: Sequence[float]) -> list[tuple[str, list[int]]]:
    """Return ranges of equal width with round bounds, and how many values of each sample they hold.

    The lower bound belongs to a range. There are about as many as Sturges proposes for the largest sample, "The Choice
    of a Class Interval" (Journal of the American Statistical Association 21, 1926).
    """
    low, high = min(map(min, samples)), max(map(max, samples))
    rough = (high - low) / min(MOST_BARS, math.ceil(math.log2(max(map(len, samples)))) + 1)
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(step * power for step in STEPS if step * power >= rough * (1 - 1e-9))
    first = math.floor(low / width + 1e-9)
    counts = [[0] * len(samples) for _ in range(math.floor(high / width + 1e-9) - first + 1)]
    for place, values in enumerate(samples):
        for value in values:
            counts[math.floor(value / width + 1e-9) - first][place] += 1
    bounds = [number((first + place) * width) for place in range(len(counts) + 1)]
    return [(f"{lower} – {upper}", count) for lower, upper, count in zip(bounds, bounds[1:], counts, strict=False)]
