"""What was measured, and what it is required to be: numbers with their units."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from coval_gate.config.thresholds import Operator

Unit = Literal["share", "simulations", "metric"]
Trend = Literal["improved", "unchanged", "worse", "inconclusive"]


class Requirement(NamedTuple):
    """What a measured value must be: `bound` has the unit of the value."""

    operator: Operator
    bound: float


class Weighed(NamedTuple):
    """A value in which each test case weighs the same.

    `pooled`: what it is over all simulations alike, where that differs because test cases have more or fewer of them.
    """

    value: float
    pooled: float | None = None


class Interval(NamedTuple):
    """What is claimed of the agent: at least `lower` and at most `upper`, each with the `confidence` by itself.

    Both have the unit of the value; an infinite one claims nothing. `cases`: how many test cases the claims rest on; 0
    if Coval does not tell which test case a value belongs to.
    """

    lower: float
    upper: float
    confidence: float
    cases: int


class Counted:
    """A value over simulations, of which `count` say something and `missing` ones do not."""

    __slots__ = ()
    value: float
    pooled: float | None
    count: int
    missing: int

    @property
    def total(self) -> int:
        """How many simulations there are, also those that say nothing."""
        return self.count + self.missing

    @property
    def hits(self) -> int:
        """How many of `total` simulations a share stands for."""
        return round((self.value if self.pooled is None else self.pooled) * self.total)


class LeftOut(NamedTuple):
    """What a comparison leaves out: numbers of test cases, and of runs of the baseline.

    `new` cases are not in the baseline, `gone` ones only there. `changed` ones have other contents since. `valueless`
    ones are in both, but have no value in one of them. `runs` of the baseline used another version of the metric, or
    another persona.
    """

    new: int = 0
    gone: int = 0
    changed: int = 0
    valueless: int = 0
    runs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(Counted):
    """What a value is compared with, over the `cases` that both sides have.

    `value` is that of the reference, in the unit of the measure, and `pooled` as of a measure. `count` of its
    simulations say something, `missing` ones do not. `change` has the bounds of the measure's value minus this one;
    None where nothing was asked to be claimed. `trend` is what the change amounts to. `noticeable`: the smallest change
    for the worse that is noticed in 80 % of such steps, in the unit; None where it is not known. `by_chance`: 0 or,
    where the change alone would be evident, how many thresholds of the step are compared. `even`: whether both values
    would be the same over all simulations alike. `newly_failing` and `newly_passing` are test cases.
    """

    value: float
    count: int
    cases: int
    missing: int = 0
    pooled: float | None = None
    even: bool = True
    left_out: LeftOut = field(default_factory=LeftOut)
    trend: Trend = "inconclusive"
    change: Interval | None = None
    noticeable: float | None = None
    by_chance: int = 0
    newly_failing: tuple[str, ...] = ()
    newly_passing: tuple[str, ...] = ()


class Night(NamedTuple):
    """A run after the reference: its value over the shared test cases, and the sum of the shortfalls with it.

    `created` is as Coval reports it.
    """

    run_id: str
    created: str
    value: float
    sum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftPath:
    """How runs developed beside a reference, whose mean is `reference`, over `cases` that they share.

    `reference_ids` are its runs. `nights` are the runs after it, the oldest first and the judged one last; `since` is
    the place of the one with which the sum began to rise. Above the `level`, the sum is an alarm. `left_out`: how many
    runs do not count.
    """

    reference: float
    reference_ids: tuple[str, ...]
    nights: tuple[Night, ...]
    level: float
    since: int
    cases: int
    left_out: int = 0

    @property
    def sum(self) -> float:
        """The sum with the judged run."""
        return self.nights[-1].sum

    @property
    def alarms(self) -> bool:
        """Whether the sum is above the level."""
        return self.sum > self.level

    @property
    def risen(self) -> tuple[Night, ...]:
        """The runs since the sum began to rise."""
        return self.nights[self.since :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure(Counted):
    """One measured value.

    `unit`: a share is between 0 and 1, simulations are a number of them, metric is the metric's own unit. `count`
    simulations were looked at and say something; `missing` ones should, and do not. `assumed` of these count as hits of
    a share, which must hold whatever the missing values were. `interval` is there if the criterion asks for confidence.
    `comparison` is there if it refers to a baseline: then `value` and `pooled` are those of `Weighed`. `path` is there
    if it is about drift: then `value` is the mean since the sum began to rise.
    """

    value: float
    unit: Unit
    count: int
    missing: int = 0
    assumed: int = 0
    pooled: float | None = None
    interval: Interval | None = None
    comparison: Comparison | None = None
    path: DriftPath | None = None


def margin(value: float, requirement: Requirement) -> float:
    """Return how far `value` is from the bound: above 0 on the side that is required, below 0 on the other.

    At the bound, it is 0 for every operator.
    """
    difference = value - requirement.bound
    match requirement.operator:
        case "<" | "<=":
            return -difference
        case ">" | ">=":
            return difference
        case "!=":
            return abs(difference)
    return -abs(difference)
