"""A criterion, the problem that prevents its measurement, and a check: the criterion on a variant of a run. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from coval_gate.base.text import exact_text, with_unit
from coval_gate.coval.model import BASE, Metric
from coval_gate.gate.measure import Comparison, Measure, Requirement, Scale, distinguished, margin, measured_text, side
from coval_gate.gate.variants import Sample, Variant
from coval_gate.gate.verdict import GRAVITY, Verdict
from coval_gate.inputs.thresholds import Bound, Reference, Threshold

if TYPE_CHECKING:
    from coval_gate.features.spending.sequential import Look

REFERENCE_NAMES: Final[dict[Reference, str]] = {"": "", "baseline": "baseline", "base": "agent", "base_agent": "base"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What prevents a measurement, in words. Braces name `facts`, or the check's `criterion`, `about` and `reference`.

    `short`: in place of a value. `sentence`: why a check has no measure, without a full stop. `beside`: the same about
    the values of the reference. `may_come`: more time may help. `is_error`: whether it makes a comparison an error;
    None: only one with a run that the step launched for it.
    """

    kind: str
    short: str
    sentence: str
    beside: str = "the {reference}'s values of {metric} are of another kind"
    may_come: bool = False
    is_error: bool | None = None
    facts: tuple[tuple[str, str], ...] = ()

    def of(self, **facts: str) -> "Problem":
        return replace(self, facts=tuple(facts.items()))

    def text(self) -> str:
        return self.short.format(**dict(self.facts))

    def reason(self, check: "Check") -> str:
        about = whom(check) + (runs_text(check) if check.run_id and check.verdict is Verdict.FAILED else "")
        reference = REFERENCE_NAMES[check.reference]
        return self.sentence.format(criterion=check.criterion, about=about, reference=reference, **dict(self.facts))


class Criterion:
    """`by_values`: values of the run decide it. `is_target`: the metric's own target, of each simulation alone.
    `about_each`: each simulation alone meets it or not.

    `about_run`: it is about the run, whatever the simulations show, and a run that misses it is no repetition.
    `counted`: how a number of simulations reads. `informs`: why it cannot fail. `doubt_passes`: the step passes if it
    is neither met nor missed. `confidence`: with which it is decided; None: as counted. `look`: set in slices.
    `accepted`: it would compare with a baseline if a person had not accepted the run. `advisory`: it is only shown, and
    never fails.
    """

    __slots__ = ()
    kind: str
    by_values: bool = False
    is_target: bool = False
    about_run: bool = False
    user_defined: bool = False
    sentence: str = ""
    counted: str = "{}"
    informs: str = ""
    threshold: Threshold | None = None
    doubt_passes: bool = False
    confidence: float | None = None
    look: "Look | None" = None
    accepted: bool = False

    @property
    def advisory(self) -> bool:
        return False

    @property
    def about_each(self) -> bool:
        return False

    def requirement(self, measure: Measure) -> Requirement | None:
        return None

    def can_fail(self, measure: Measure) -> bool:
        """Return whether another measured value could miss the criterion; otherwise it only informs."""
        return True

    def missing_it(self, variant: Variant, sample: Sample | None, measure: Measure | None) -> Iterable[str]:
        """Return the ids that miss it by themselves. `measure`: of this variant, or another that must meet the same."""
        return ()

    def closest_bound(self, number: float, measure: Measure | None) -> float | None:
        """Return the bound that a number that misses it would have to reach; None if distances mean nothing here."""
        return None

    @property
    def text(self) -> str:
        return self.sentence

    def measured(self, check: "Check", measure: Measure) -> str:
        return self.counted.format(measured_text(measure, Scale(measure.unit, check.metric_unit)))

    def missed(self, check: "Check", measure: Measure) -> str:
        """Return why the measured value misses the criterion, without a full stop."""
        return f"{self.text}: {self.actual(check, measure)}"

    @property
    def what(self) -> str:
        return "it"

    def actual(self, check: "Check", measure: Measure) -> str:
        known = f", {check.known:,} known" if check.known else ""
        return f"{self.measured(check, measure)}{runs_text(check)}{known}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One criterion on the agent or a mutation, with either a measure or a problem.

    `several`: the run has other variants. `metric`: its id. `simulations`: ids of those that miss it. `runs`: how many
    decided it. `run_id`: of the run that breaks it or comes closest, if each must meet it alone. `first`: the measure
    of the first of several runs, if it did not meet the criterion. `after`: how many test cases decided it, in slices.
    `moved_by`: the one value without which the verdict on an average would differ. `known`: how many simulations known
    failures leave out of it. `case_names`: what Coval calls the test cases that its measures name, by id.
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
    after: int = 0
    moved_by: float | None = None
    known: int = 0
    metric_unit: str = field(default="", compare=False)
    case_names: Mapping[str, str] = field(default_factory=dict, compare=False)

    def on(self, variant: Variant, metric: Metric | None = None) -> "Check":
        about = metric.id if metric else ""
        return replace(self, variant=variant.name, several=not variant.alone, metric=about, known=variant.known)

    @property
    def passed(self) -> bool:
        return self.verdict is Verdict.PASSED

    @property
    def rank(self) -> tuple[int, bool, float]:
        """Sort the gravest first and, of those alike, the one that is missed by most.

        Doubt that fails the step comes before doubt that passes. A miss counts as a share: of the bound or, of
        simulations, of all of them.
        """
        passes = self.verdict is Verdict.INCONCLUSIVE and self.criterion.doubt_passes
        measure, margin = self.measure, self.margin
        if self.passed or measure is None or margin is None:
            return GRAVITY.index(self.verdict), passes, 0.0
        bound = self.requirement.bound if self.requirement else 0.0
        whole = {"share": 1.0, "simulations": measure.total}.get(measure.unit, abs(bound) or abs(measure.value))
        return GRAVITY.index(self.verdict), passes, margin / (whole or 1.0)

    @property
    def decides(self) -> bool:
        return not self.criterion.advisory

    @property
    def informs(self) -> bool:
        """Whether it is advisory, or would have passed with any value, even unmeasured."""
        if not self.decides or (self.passed and self.problem is not None):
            return True
        return self.passed and self.measure is not None and not self.criterion.can_fail(self.measure)

    @property
    def threshold(self) -> Threshold | None:
        return self.criterion.threshold

    @property
    def forbids(self) -> bool:
        """Whether it names values that no simulation may have."""
        threshold = self.threshold
        if threshold is None or threshold.aggregate.name != "count" or not self.decides:
            return False
        return threshold.operator in ("==", "<=") and threshold.bound == Bound(0.0)

    @property
    def comparison(self) -> Comparison | None:
        return self.measure.comparison if self.measure else None

    @property
    def reference(self) -> Reference:
        return self.threshold.bound.reference if self.threshold else ""

    @property
    def scale(self) -> Scale:
        return Scale(self.measure.unit if self.measure else "metric", self.metric_unit)

    @property
    def requirement(self) -> Requirement | None:
        return self.criterion.requirement(self.measure) if self.measure else None

    @property
    def holds_as_counted(self) -> bool:
        """Whether there is a value and it meets the bound, whatever it shows of the agent."""
        if self.measure is None or self.requirement is None:
            return False
        if self.threshold is None:
            return margin(self.measure.value, self.requirement) >= 0
        return self.threshold._replace(bound=Bound(self.requirement.bound)).holds(self.measure.value)

    @property
    def margin(self) -> float | None:
        if self.measure is None or (requirement := self.requirement) is None:
            return None
        return margin(self.measure.value, requirement) if side(self.measure.value, requirement.bound) else 0.0

    def keeps_side(self, value: float, near: float) -> bool:
        """Return whether two values are on the same side of the bound, if there is one."""
        requirement = self.requirement
        return requirement is None or side(value, requirement.bound) == side(near, requirement.bound)


def bound_text(check: Check) -> str:
    """Return the bound of a measured value with its unit, to the last digit if the user wrote it; empty without one."""
    if check.measure is None or check.requirement is None:
        return ""
    bound, scale = check.requirement.bound, check.scale
    if check.threshold is None or check.reference:
        return distinguished(check.measure.value, bound, scale)[1]
    if scale.unit == "share":
        return f"{bound * 100:.10g}%"
    return with_unit(exact_text(bound), scale.name) if scale.unit == "metric" else exact_text(bound)


def runs_text(check: Check) -> str:
    """Return which of several runs decided a criterion, with a space before; empty where there is only one run."""
    if check.runs == 1:
        return ""
    if not check.run_id:
        return f" over {check.runs} runs"
    return f" in the worst of {check.runs} runs" if check.passed else f" in run {check.run_id}"


def whom(check: Check) -> str:
    """Return which variant a sentence is about, with a space before; empty where there is only one."""
    if not check.several:
        return ""
    return f" for the mutation {check.variant}" if check.variant != BASE else " for the agent itself"


def after_text(check: Check) -> str:
    """Return after how many test cases slices settled it; empty if that took all of them."""
    look = check.criterion.look
    return f", after {check.after:,} of {look.cap:,} test cases" if look and 0 < check.after < look.cap else ""
