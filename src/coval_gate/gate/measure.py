"""Measured values, their requirements, and the earlier runs beside them: numbers with their units. Pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from coval_gate.base.text import DIGITS, PERCENT, amount, decimals_of, decimals_of_percent, percent, symbol
from coval_gate.coval.model import Run, RunResult
from coval_gate.inputs.fields import BaselineSource
from coval_gate.inputs.thresholds import TOLERANCE, Operator

MOST_MORE: Final = 8  # digits beyond the usual ones
MOST_DECIMALS: Final = 300  # of a number as it is rounded; a power of ten with more is infinite
Rounding = Callable[[float], int]
Unit = Literal["share", "simulations", "metric"]
Trend = Literal["improved", "unchanged", "worse", "inconclusive"]
Unchecked = Literal["test_cases", "persona", "metrics"]
NotFoundKind = Literal[
    "none", "too_old", "failed", "not_completed", "not_over", "gone", "pull_request", "itself", "unreadable", "unusable"
]


class Scale(NamedTuple):
    """What numbers count. `name`: of a metric's own unit, in Coval's words; empty if unknown."""

    unit: Unit
    name: str = ""

    @property
    def is_percent(self) -> bool:
        return self.unit == "share" or (self.unit == "metric" and symbol(self.name) == PERCENT)


class Requirement(NamedTuple):
    """What a measured value must be; `bound` is in the unit of the value."""

    operator: Operator
    bound: float


class Weighed(NamedTuple):
    """Each test case weighs the same in `value`, each simulation in `pooled`; None if that is no different."""

    value: float
    pooled: float | None = None

    @classmethod
    def of(cls, value: float, pooled: float) -> "Weighed":
        return cls(pooled) if math.isclose(value, pooled, abs_tol=1e-12) else cls(value, pooled)


class Interval(NamedTuple):
    """At least `lower`, at most `upper`, each with the `confidence`, in the value's unit; infinite ones claim nothing.

    `cases`: how many test cases the claims rest on; 0 if it is unknown which test case a value belongs to.
    """

    lower: float
    upper: float
    confidence: float
    cases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A value over simulations: `count` of them have data, `missing` ones do not. `pooled`: as in `Weighed`."""

    value: float
    count: int
    missing: int = 0
    pooled: float | None = None

    @property
    def total(self) -> int:
        return self.count + self.missing

    @property
    def hits(self) -> int:
        """How many of `total` simulations a share stands for."""
        return round((self.value if self.pooled is None else self.pooled) * self.total)


class LeftOut(NamedTuple):
    """Test cases (`valueless`: on one side), and `runs` with another persona or version of the metric."""

    new: int = 0
    gone: int = 0
    changed: int = 0
    valueless: int = 0
    runs: int = 0


class RunRange(NamedTuple):
    """The values of several runs of a baseline, each over the compared test cases; runs that lack one are left out."""

    runs: int
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(Counted):
    """The reference's side of a comparison, in the unit of the measure, over the `cases` that both sides have.

    `change`: bounds on the measure's value minus this one, which are valid jointly with those of the step's other
    thresholds; None without a confidence, and then there is no `trend`, either. `noticeable`: the smallest change for
    the worse that 80 % of such steps detect; None if unknown. `even`: whether both values are the same if all
    simulations weigh the same. `newly_failing` and `newly_passing`: ids of test cases.
    """

    cases: int
    even: bool = True
    left_out: LeftOut = field(default_factory=LeftOut)
    trend: Trend | None = None
    change: Interval | None = None
    noticeable: float | None = None
    newly_failing: tuple[str, ...] = ()
    newly_passing: tuple[str, ...] = ()
    range: RunRange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure(Counted):
    """`unit`: a share is between 0 and 1; metric is the metric's own unit.

    `missing` simulations should have data, but do not; `assumed` of them count as hits of a share, which must be met
    for all possible values. If `comparison` is set, `value` and `pooled` are as in `Weighed`. `low_cases`: ids of the
    test cases whose own share misses the bound, the worst first.
    """

    unit: Unit
    assumed: int = 0
    low_cases: tuple[str, ...] = ()
    interval: Interval | None = None
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """`unpassed`: ids of the listed ones that did not pass. `unlisted`: how many of all Coval does not list."""

    total: int
    completed: int
    unpassed: tuple[str, ...] = ()
    unlisted: int = 0

    @property
    def pass_rate(self) -> float:
        """The share of all simulations that completed and met every known target."""
        passed = max(0, self.total - self.unlisted - len(self.unpassed))
        return passed / self.total if self.total else 0.0


class BaselineRun(NamedTuple):
    """An earlier run that completed, and how it differs from the judged run.

    `changed_cases`: ids of test cases with other contents now. `changed_metrics`: ids of metrics that another version
    of the judge evaluated. `changed_options`: launch inputs that differ and may matter. `unchecked`: what Coval does
    not report. `failed`: the gate failed it, so it is a baseline only if an input names it.
    """

    run: Run
    result: RunResult
    changed_cases: frozenset[str] = frozenset()
    changed_metrics: frozenset[str] = frozenset()
    changed_persona: bool = False
    changed_options: tuple[str, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()
    failed: bool = False


class NotFoundReason(NamedTuple):
    """Why there is no baseline.

    too_old: `run_id` fits, but it is `age` seconds old. failed: the gate failed all that fit; the newest is `run_id`.
    not_over: the named run had not ended in the step's time. pull_request: only runs of pull requests fit. itself: the
    input names the judged run. unreadable: Coval did not answer, as `text` says. unusable: the base's run completed,
    but lacks data.
    """

    kind: NotFoundKind
    run_id: str = ""
    age: float = 0.0
    status: str = ""
    text: str = ""


class Baseline(NamedTuple):
    """The newest of the `runs` is first. `acceptable`: the id of the judged run, if a person may accept it instead."""

    source: BaselineSource
    runs: tuple[BaselineRun, ...] = ()
    missing: NotFoundReason | None = None
    fewer_than_asked: int = 0
    acceptable: str = ""


def margin(value: float, requirement: Requirement) -> float:
    """Return how far `value` is from the bound: above 0 on the required side, below 0 on the other, 0 at the bound."""
    difference = value - requirement.bound
    match requirement.operator:
        case "<" | "<=":
            return -difference
        case ">" | ">=":
            return difference
        case "!=":
            return abs(difference)
    return -abs(difference)


def measured_text(measure: Measure | Comparison, scale: Scale, value: str = "", cases: str = "") -> str:
    """Return a value with its total: "40% (4 of 10)", "4 of 10", "1.25 s". `value`: its own text, if not the usual one.
    `cases`: the test cases that a share is about.

    If equal weights of test cases make a difference, the value over all simulations stands beside it.
    """
    if scale.unit == "simulations":
        return f"{measure.value:,.0f} of {measure.total:,}"
    value = value or on_scale(measure.value, scale)
    by_case = "" if measure.pooled is None else " by test case"
    if scale.unit == "share":
        return f"{value}{by_case} ({measure.hits:,} of {measure.total:,}{cases and f': {cases}'})"
    over_all = "" if measure.pooled is None else amount(measure.pooled, scale.name)
    return f"{value}{by_case} ({over_all} over all)" if over_all else value


def tolerated_text(measure: Measure, hits: int) -> str:
    """Return hits among the values there are: a share that counts tolerated missing ones misleads."""
    return f"{hits:,} of {measure.count:,}, {measure.missing:,} without a value"


def on_scale(value: float, scale: Scale, more: int = 0) -> str:
    """`more`: how many digits more than usual."""
    if scale.unit == "share":
        return percent(value, 1 + more)
    return amount(value, scale.name if scale.unit == "metric" else "", DIGITS + more)


def rounded(value: float, scale: Scale, more: int = 0, to: Rounding | None = None, beside: float = 0.0) -> float:
    """Return the number that `on_scale` shows. `to`: floor or ceil, with no more decimals than a number `beside` it."""
    factor = 100.0 if scale.unit == "share" else 1.0
    shown, decimals = value * factor, 1 + more
    if not scale.is_percent:
        decimals = decimals_of(max(abs(value), beside), DIGITS + more)
    elif to is None:
        decimals = decimals_of_percent(shown / 100.0, decimals)
    if to is None or not math.isfinite(power := 10.0 ** min(decimals, MOST_DECIMALS)):
        return round(shown, decimals) / factor
    whole = round(shown * power)  # up to a rounding error, which is not rounded outwards
    return (whole if math.isclose(shown * power, whole, rel_tol=TOLERANCE) else to(shown * power)) / power / factor


def shown(
    value: float, scale: Scale, fits: Callable[[float], bool], to: Rounding | None = None, beside: float = 0.0
) -> str:
    """Return a number with as many digits as make it fit what stands beside it. `to`, `beside`: as in `rounded`."""
    tried = ((rounded(value, scale, more, to, beside), more) for more in range(MOST_MORE))
    near, more = next((pair for pair in tried if fits(pair[0])), (value, MOST_MORE))
    return on_scale(near, scale, more)


def side(value: float, bound: float) -> int:
    """Return 1 above the bound, -1 below it, and 0 at it, up to a rounding error."""
    return 0 if abs(value - bound) <= TOLERANCE * abs(bound) else 1 if value > bound else -1


def distinguished(value: float, bound: float, scale: Scale) -> tuple[str, str]:
    """Return a value and its bound, with as many digits as show that they differ: a miss must not read like a hit."""
    wanted = side(value, bound)
    digits = (more for more in range(MOST_MORE) if side(*(rounded(x, scale, more) for x in (value, bound))) == wanted)
    more = next(digits, 0)
    return on_scale(value, scale, more), on_scale(bound, scale, more)


def size_text(
    value: float,
    scale: Scale,
    to: Rounding | None = None,
    beside: float = 0.0,
    fits: Callable[[float], bool] = lambda _: True,
) -> str:
    """Return the size of a change, as `shown`; pp, as users write percentage points, for percentages."""
    text = shown(value, scale, fits, to, beside)
    return f"{text.removesuffix(PERCENT)}pp" if scale.is_percent else text
