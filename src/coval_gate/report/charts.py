"""How a metric's values are spread out, as a chart in Mermaid, which GitHub draws in the reader's theme.

Nothing but numbers goes into it: no text from outside can become a part of the drawing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from coval_gate.text import number

if TYPE_CHECKING:
    from collections.abc import Sequence

# One blue that both themes show well: the bars' own colour is next to invisible on white.
INIT: Final = (
    '%%{init: {"xyChart": {"width": 640, "height": 240}, '
    '"themeVariables": {"xyChart": {"plotColorPalette": "#3b82d0"}}}}%%'
)
LARGEST, SMALLEST = 1e12, 1e-3  # of a value, and of the distance between the least and the most
LEAST_VALUES: Final = 10  # with fewer, the table says it all
LEAST_BARS: Final = 3  # that hold values; below that, so does the table
MOST_BARS: Final = 12
STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)  # widths of a bar that people like to read, times a power of ten


def histogram(values: Sequence[float]) -> str:
    """Return a fenced bar chart of the share of values in each range; empty where a table says as much.

    Source of the notation: Mermaid's documentation of xychart.
    """
    low, high = min(values, default=0.0), max(values, default=0.0)
    # Labels of four decimals and the width of a bar both need numbers of a usual size.
    if len(values) < LEAST_VALUES or max(-low, high) >= LARGEST or high - low <= SMALLEST * max(1.0, -low, high):
        return ""
    bars = _bars(values)
    if sum(count > 0 for _, count in bars) < LEAST_BARS:
        return ""
    labels = ", ".join(f'"{label}"' for label, _ in bars)
    shares = [round(100 * count / len(values), 1) for _, count in bars]
    return "\n".join(
        [
            "```mermaid",
            INIT,
            "xychart-beta",
            f"    x-axis [{labels}]",
            f'    y-axis "% of simulations" 0 --> {10 * math.ceil(max(shares) / 10)}',
            f"    bar [{', '.join(f'{share:g}' for share in shares)}]",
            "```",
        ]
    )


def _bars(values: Sequence[float]) -> list[tuple[str, int]]:
    """Return ranges of equal width with round bounds, and how many values each holds; the lower bound belongs to it.

    About as many as Sturges proposes, "The Choice of a Class Interval" (Journal of the American Statistical
    Association 21, 1926).
    """
    low, high = min(values), max(values)
    rough = (high - low) / min(MOST_BARS, math.ceil(math.log2(len(values))) + 1)
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(step * power for step in STEPS if step * power >= rough * (1 - 1e-9))
    first = math.floor(low / width + 1e-9)
    counts = [0] * (math.floor(high / width + 1e-9) - first + 1)
    for value in values:
        counts[math.floor(value / width + 1e-9) - first] += 1
    bounds = [number((first + place) * width) for place in range(len(counts) + 1)]
    return [(f"{lower} – {upper}", count) for lower, upper, count in zip(bounds, bounds[1:], counts, strict=False)]
