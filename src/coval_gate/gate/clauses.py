"""Clauses that sentences about criteria share: numbers with their units, rounded amounts, targets, repetitions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Final

from coval_gate.base.text import DIGITS, number, one_line, percent, quoted
from coval_gate.base.units import with_unit
from coval_gate.coval.model import Target
from coval_gate.gate.measure import Comparison, Interval, Measure, Scale, Unit
from coval_gate.gate.targets import MEMBERSHIPS, RANGES, bounds, effective_operator
from coval_gate.inputs.thresholds import Reference, Threshold

MOST_MORE: Final = 8  # digits beyond the usual ones
NAMES: Final[Mapping[Reference, str]] = {"": "", "baseline": "baseline", "base": "agent", "base_agent": "base"}
TARGET_VALUES: Final = 5  # values that a target names
TARGET_VALUE_SHOWN: Final = 60  # characters of one
PHRASES: Final = {
    "eq": "exactly {}",
    "neq": "not {}",
    "gt": "more than {}",
    "gte": "at least {}",
    "lt": "less than {}",
    "lte": "at most {}",
    "bt": "between {} and {}",
    "nbt": "less than {} or more than {}",
}


def measured(measure: Measure | Comparison, scale: Scale) -> str:
    """Return a value with its total: "40% (4 of 10)", "4 of 10", "1.25 s".

    If equal weights of test cases make a difference, the value over all simulations stands beside it.
    """
    if scale.unit == "simulations":
        return f"{measure.value:,.0f} of {measure.total:,}"
    by_case = "" if measure.pooled is None else " by test case"
    if scale.unit == "share":
        return f"{percent(measure.value)}{by_case} ({measure.hits:,} of {measure.total:,})"
    value = with_unit(number(measure.value), scale.name)
    over_all = "" if measure.pooled is None else with_unit(number(measure.pooled), scale.name)
    return f"{value}{by_case} ({over_all} over all)" if over_all else value


def on_scale(value: float, scale: Scale, more: int = 0) -> str:
    """`more`: how many digits more than usual."""
    if scale.unit == "share":
        return percent(value, 1 + more)
    shown = number(value, DIGITS + more)
    return with_unit(shown, scale.name) if scale.unit == "metric" else shown


def told_apart(value: float, bound: float, scale: Scale) -> tuple[str, str]:
    """Return a value and its bound, with as many digits as show that they differ: a miss must not read like a hit."""
    usual = (on_scale(value, scale), on_scale(bound, scale))
    longer = ((on_scale(value, scale, more), on_scale(bound, scale, more)) for more in range(1, MOST_MORE))
    return next((pair for pair in chain((usual,), longer) if pair[0] != pair[1]), usual)


def confidence_text(interval: Interval, *, both: bool) -> str:
    """Return the confidence of a bound or, with `both`, of each of two bounds."""
    return f"{'each bound with ' if both else ''}{percent(interval.confidence)} confidence"


def rounded_with_unit(bound: float, scale: Scale, outwards: Callable[[float], int]) -> str:
    shown = rounded(bound, scale.unit, outwards)
    return with_unit(shown, scale.name) if scale.unit == "metric" else shown


def rounded(bound: float, unit: Unit, outwards: Callable[[float], int]) -> str:
    """Return a bound as people read it; `outwards` (floor or ceil) rounds it away from the measured value."""
    if unit == "share":
        return percent(outwards(bound * 1000) / 1000)
    if not bound:
        return number(bound)
    decimals = DIGITS - 1 - math.floor(math.log10(abs(bound)))
    if abs(bound) < 1e9:  # then the whole part is written in full
        decimals = max(0, decimals)
    if decimals < 0:
        return number(outwards(bound / 10**-decimals) * 10**-decimals)
    return number(outwards(bound * 10**decimals) / 10**decimals)


def all_runs_text(runs: int) -> str:
    return "both runs" if runs == 2 else f"all {runs} runs"


def again_text(why: str, number: int, most: int) -> str:
    return f"The run failed: {why.rstrip('.')}. Repeating it, {number} of at most {most}."


def in_vain_text(why: str) -> str:
    return f"The run failed, and is not repeated, because a repetition cannot change this: {why}"


def threshold_text(threshold: Threshold) -> str:
    """Return a threshold as the user wrote it, marked where a rate's percentage is relative, not points."""
    return f"{threshold.text} (relative)" if threshold.is_relative_rate else threshold.text


def target_text(target: Target) -> str:
    """Return what meets a sound target: "at most 1.5", "one of YES, MAYBE"."""
    operator = effective_operator(target)
    if operator in MEMBERSHIPS:
        values = list(dict.fromkeys(one_line(value, TARGET_VALUE_SHOWN) for value in target.values))
        return _membership_text(operator, values)
    if operator in RANGES:
        return PHRASES[operator].format(*map(exact_text, bounds(target)))
    return PHRASES[operator].format(exact_text(target.upper or 0.0))


def exact_text(bound: float) -> str:
    """Return a bound to its last digit: 1,500 and 0.00015, but 1e+20."""
    return f"{bound + 0.0:,.0f}" if abs(bound) < 1e15 and bound == round(bound) else repr(bound)


def _membership_text(operator: str, values: list[str]) -> str:
    named = [quoted(value, TARGET_VALUE_SHOWN) if "," in value or not value else value for value in values]
    if len(named) == 1:
        return named[0] if operator == "in" else f"not {named[0]}"
    more = f" and {len(named) - TARGET_VALUES} more" if len(named) > TARGET_VALUES else ""
    return f"{'one' if operator == 'in' else 'none'} of {', '.join(named[:TARGET_VALUES])}{more}"
