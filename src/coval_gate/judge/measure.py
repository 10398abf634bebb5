"""What was measured, and what it is required to be: numbers with their units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from coval_gate.config.thresholds import Operator

Unit = Literal["share", "simulations", "metric"]


class Requirement(NamedTuple):
    """What a measured value must be: `bound` has the unit of the value."""

    operator: Operator
    bound: float


class Interval(NamedTuple):
    """What is claimed of the agent: at least `lower` and at most `upper`, each with the `confidence` by itself.

    Both have the unit of the value; an infinite one claims nothing. `cases`: how many test cases the claims rest on; 0
    if Coval does not tell which test case a value belongs to.
    """

    lower: float
    upper: float
    confidence: float
    cases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One measured value. A baseline to compare it with goes here, once there is one.

    `unit`: a share is between 0 and 1, simulations are a number of them, metric is the metric's own unit. `count`
    simulations were looked at and say something; `missing` ones should, and do not. `assumed` of these count as hits of
    a share, which must hold whatever the missing values were. `interval` is there if the criterion asks for confidence.
    """

    value: float
    unit: Unit
    count: int
    missing: int = 0
    assumed: int = 0
    interval: Interval | None = None

    @property
    def total(self) -> int:
        """How many simulations there are, also those that say nothing."""
        return self.count + self.missing

    @property
    def hits(self) -> int:
        """How many of `total` simulations a share stands for."""
        return round(self.value * self.total)


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
