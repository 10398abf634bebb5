"""A criterion applied to a variant of a run, how far simulations miss it, and totals of simulations. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from coval_gate.judge.criteria import NoDrift, ThresholdHolds
from coval_gate.judge.measure import Scale, margin
from coval_gate.judge.values import comparable
from coval_gate.judge.verdict import Verdict
from coval_gate.model.results import BASE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from coval_gate.judge.criteria import Criterion
    from coval_gate.judge.measure import Measure, Requirement
    from coval_gate.judge.problems import Problem
    from coval_gate.judge.variants import Variant
    from coval_gate.model.results import Metric, Value

WHOLE: Final = 1.0  # the distance of a wrong text, and of a missing value


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One criterion, applied to the agent or to one of its mutations: it has either a measure or a problem.

    `several`: the run has other variants, so this one must be named. `metric`: the metric's id. `simulations`: the ids
    of the simulations to blame if the verdict is not passed; for a target that only informs, of those that miss it.
    `runs`: how many runs of the step decided it. `run_id` is set if each of them must meet it alone: the run that
    breaks it or comes closest. `first`: the measure of the first of several runs, if it did not meet the criterion.
    `metric_unit`: the unit of the metric, as in `Metric`, which only reports need.
    """

    criterion: Criterion
    verdict: Verdict
    measure: Measure | None = None
    problem: Problem | None = None
    variant: str = BASE
    several: bool = False
    metric: str = ""
    simulations: tuple[str, ...] = ()
    runs: int = 1
    run_id: str = ""
    first: Measure | None = None
    metric_unit: str = field(default="", compare=False)

    @property
    def passed(self) -> bool:
        return self.verdict is Verdict.PASSED

    @property
    def decides(self) -> bool:
        """Whether the verdict depends on it; an advisory threshold is only shown."""
        return not self.criterion.advisory

    @property
    def informs(self) -> bool:
        """Whether it only informs: it is advisory, or it would have passed with any value.

        A check that passed before anything could be measured has a problem that says so.
        """
        if not self.decides or (self.passed and self.problem is not None):
            return True
        return self.passed and self.measure is not None and not self.criterion.can_fail(self.measure)

    @property
    def doubt_passes(self) -> bool:
        """Whether the step passes although this check is inconclusive."""
        return isinstance(self.criterion, ThresholdHolds | NoDrift) and self.criterion.doubt_passes

    @property
    def user_defined(self) -> bool:
        """Whether the user defined it; otherwise every run must meet it."""
        return self.criterion.user_defined

    @property
    def accepted(self) -> bool:
        """Whether it would compare with a baseline if a person had not accepted the run."""
        return isinstance(self.criterion, ThresholdHolds) and self.criterion.accepted

    @property
    def reference(self) -> str:
        """What its threshold refers to: baseline or base; empty for a number, or if it has no threshold."""
        if isinstance(self.criterion, ThresholdHolds | NoDrift):
            return self.criterion.threshold.bound.reference
        return ""

    @property
    def scale(self) -> Scale:
        """What its measure, its bound and its comparison count."""
        return Scale(self.measure.unit if self.measure else "metric", self.metric_unit)

    @property
    def requirement(self) -> Requirement | None:
        """What the measured value must be; None if nothing was measured, or if any value will do."""
        return self.criterion.requirement(self.measure) if self.measure else None

    @property
    def margin(self) -> float | None:
        """How far the measured value is from the bound: 0 or more if it is met, 0 or less if it is missed."""
        if self.measure is None or (requirement := self.requirement) is None:
            return None
        distance = margin(self.measure.value, requirement)
        # A value that differs from the bound by a rounding error counts as equal to it.
        if self.passed:
            return max(0.0, distance)
        return min(0.0, distance) if self.verdict is Verdict.FAILED else distance


def check_on(
    variant: Variant,
    criterion: Criterion,
    verdict: Verdict,
    *,
    metric: Metric | None = None,
    measure: Measure | None = None,
    problem: Problem | None = None,
    simulations: tuple[str, ...] = (),
) -> Check:
    """Return the check of a criterion on one variant; `metric` is the one that the criterion is about, if any."""
    return Check(
        criterion=criterion,
        verdict=verdict,
        measure=measure,
        problem=problem,
        variant=variant.name,
        several=not variant.alone,
        metric=metric.id if metric else "",
        simulations=simulations,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How many simulations there are, and how many completed.

    `unpassed`: the ids of the listed ones that did not pass. `unlisted`: how many of all Coval does not list.
    """

    total: int
    completed: int
    unpassed: tuple[str, ...] = ()
    unlisted: int = 0

    @property
    def pass_rate(self) -> float:
        """The share of all simulations that completed and met every known target."""
        passed = max(0, self.total - self.unlisted - len(self.unpassed))
        return passed / self.total if self.total else 0.0


def together(totals: Sequence[Totals]) -> Totals | None:
    """Return the totals of several legs together; None where there are none."""
    if not totals:
        return None
    return Totals(
        total=sum(one.total for one in totals),
        completed=sum(one.completed for one in totals),
        unpassed=tuple(id_ for one in totals for id_ in one.unpassed),
        unlisted=sum(one.unlisted for one in totals),
    )


def severity(*, completed: bool, distance: float, misses: int) -> tuple[bool, float, int]:
    """Return a key that sorts the worst simulation first.

    Simulations that did not complete come first, then those with the largest `distance`, which is the sum over the
    criteria that a simulation misses. Then the number of these criteria decides.
    """
    return completed, -distance, -misses


def misses(check: Check, values: Mapping[str, Value]) -> Iterator[tuple[str, float]]:
    """Yield the ids of the simulations that a check blames, and how far each misses the criterion.

    The distance of a number from its bound is relative to the bound: 0.2 is 20 % off. If the bound is 0, it is relative
    to the largest of the `values` of the check's metric, which are by simulation id. A wrong text and a missing value
    count as 1, as far off as twice an upper bound.
    """
    largest = largest_of(values)
    for simulation in check.simulations:
        value = values.get(simulation)
        number = comparable(value) if isinstance(value, str) else value
        bound = check.criterion.closest_bound(number, check.measure) if isinstance(number, float) else None
        if bound is None or not isinstance(number, float):
            yield simulation, WHOLE
        else:
            yield simulation, abs(number - bound) / (abs(bound) or largest)


def largest_of(values: Mapping[str, Value]) -> float:
    """Return the magnitude of the largest number; 1 without any."""
    return max((abs(value) for value in values.values() if isinstance(value, float)), default=0.0) or WHOLE
