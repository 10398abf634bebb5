"""Measured values and bounds as people read them; bounds are rounded outwards, so that they claim no more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from coval_gate.text import number, percent

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.judge.measure import Comparison, Interval, Measure, Unit

DIGITS: Final = 4  # of a bound


def measured(measure: Measure | Comparison, unit: Unit) -> str:
    """Return a value with its total: "40% (4 of 10)", "4 of 10", "1.25".

    Where weighing each test case the same makes a difference, the value over all simulations stands beside it.
    """
    if unit == "simulations":
        return f"{measure.value:,.0f} of {measure.total:,}"
    by_case = "" if measure.pooled is None else " by test case"
    if unit == "share":
        return f"{percent(measure.value)}{by_case} ({measure.hits:,} of {measure.total:,})"
    return number(measure.value) + (
        f"{by_case} ({number(measure.pooled)} over all)" if measure.pooled is not None else ""
    )


def confidence_text(interval: Interval, *, both: bool) -> str:
    """Return the confidence of a bound or, with `both`, of each of two bounds."""
    return f"{'each bound with ' if both else ''}{percent(interval.confidence)} confidence"


def rounded(bound: float, unit: Unit, outwards: Callable[[float], int]) -> str:
    """Return a bound as people read it; `outwards` (floor or ceil) rounds it away from the measured value."""
    if unit == "share":
        return percent(outwards(bound * 1000) / 1000)
    if not bound:
        return number(bound)
    decimals = DIGITS - 1 - math.floor(math.log10(abs(bound)))
    if decimals < 0:
        return number(outwards(bound / 10**-decimals) * 10**-decimals)
    return number(outwards(bound * 10**decimals) / 10**decimals)
