"""Numbers that bound something, rounded so that they claim no more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from coval_gate.text import number, percent

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.judge.measure import Comparison, Measure, Unit

DIGITS: Final = 4  # of a bound


def measured(found: Measure | Comparison, unit: Unit) -> str:
    """Return a value with its total: "40% (4 of 10)", "4 of 10", "1.25".

    One in which each test case weighs the same is told beside that of all simulations, where these differ.
    """
    if unit == "simulations":
        return f"{found.value:,.0f} of {found.total:,}"
    by_case = "" if found.pooled is None else " by test case"
    if unit == "share":
        return f"{percent(found.value)}{by_case} ({found.hits:,} of {found.total:,})"
    return number(found.value) + (f"{by_case} ({number(found.pooled)} over all)" if found.pooled is not None else "")


def rounded(bound: float, unit: Unit, outwards: Callable[[float], int]) -> str:
    """Return a bound as people read it; `outwards` rounds it away from the measured value, with floor or ceil."""
    if unit == "share":
        return percent(outwards(bound * 1000) / 1000)
    if not bound:
        return number(bound)
    decimals = DIGITS - 1 - math.floor(math.log10(abs(bound)))
    if decimals < 0:
        return number(outwards(bound / 10**-decimals) * 10**-decimals)
    return number(outwards(bound * 10**decimals) / 10**decimals)
