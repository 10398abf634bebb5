"""What a judgement shows: which simulations miss what, the worst first, and which test cases flipped. Pure and total.

Findings are computed once. All formats, and the requests for details, read them, so they agree.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.coval.model import RunResult, Simulation, Value
from coval_gate.gate.checks import REFERENCE_NAMES, Check
from coval_gate.gate.judgement import CaseStability, Judgement
from coval_gate.gate.measure import Baseline, Comparison
from coval_gate.gate.problems import NO_BASELINE_KIND
from coval_gate.gate.statistics import HALF, Hits
from coval_gate.gate.values import comparable
from coval_gate.gate.variants import Sample, Variant, variants_of
from coval_gate.gate.verdict import GRAVITY, Verdict
from coval_gate.inputs.thresholds import Reference

if TYPE_CHECKING:
    from coval_gate.features.comparisons.causes import Earlier

MISSES_LISTED: Final = 10  # missed criteria of a simulation that are listed; more are counted


class FailureCause(StrEnum):
    """Why a simulation did not do well; where several fit, the first one here."""

    FLAKY = "flaky"  # most other conversations of its test case and variant pass, also those of repetitions
    NEW = "new"  # that its test case broke is more likely than that it fails now and then


class Before(NamedTuple):
    """A test case in the reference: its `record` by a criterion, the `mean` of its numbers, and if a failure is new."""

    record: Hits
    mean: float | None = None
    is_new: bool = False


class Miss(NamedTuple):
    """`value`: of the criterion's metric, if any."""

    check: Check
    value: Value | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationFinding:
    """The result of one simulation.

    `verdict`: `error` if it did not complete, and that counts; `failed` if it is to blame; `skipped` if the gate
    tolerates what it misses; `passed` otherwise. `misses`: the first of the criteria that it misses; `more_misses`: how
    many others. `iteration` counts from 1 to `of`. `stability`: how often its test case failed in several runs;
    `failed_alone`: whether this simulation did. `before`: how often its test case met, in the reference, what it
    misses. `rank`: whether it completed, how far it misses all criteria together, and how many these are. `known`: why
    it decides nothing, or a metric of it does not; its verdict is `skipped` unless it misses something else.
    """

    simulation: Simulation
    verdict: Verdict
    misses: tuple[Miss, ...] = ()
    more_misses: int = 0
    iteration: int = 1
    of: int = 1
    stability: CaseStability | None = None
    failed_alone: bool = False
    cause: FailureCause | None = None
    before: Hits | None = None
    rank: tuple[bool, float, int] = (True, 0.0, 0)
    known: str = ""

    @property
    def failed_before(self) -> bool:
        """Whether its test case mostly failed in the reference, too."""
        return self.cause is None and self.before is not None and self.before.share <= HALF

    @property
    def order(self) -> tuple[int, tuple[int, bool], tuple[bool, float, int]]:
        """Sort failing ones first, then those in doubt, tolerated, passed; of each, new first and flaky last."""
        tolerated = 2 if self.is_to_look_at else 3
        group = {Verdict.INCONCLUSIVE: 1, Verdict.SKIPPED: tolerated, Verdict.PASSED: 4}.get(self.verdict, 0)
        cause = (FailureCause.NEW, None, FailureCause.FLAKY).index(self.cause)
        return group, (cause, self.failed_before), self.rank

    @property
    def is_to_look_at(self) -> bool:
        """Whether it did not do well, even if that is tolerated, unless it is known."""
        is_known = self.known and self.verdict is Verdict.SKIPPED and not self.misses
        return self.verdict is not Verdict.PASSED and not is_known

    @property
    def fails(self) -> bool:
        return self.verdict in (Verdict.FAILED, Verdict.ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckGroup:
    """`by_gravity`: those that only inform at the end. `reference`: what all compare with, if anything."""

    checks: tuple[Check, ...]
    by_gravity: tuple[Check, ...]
    missed: tuple[Check, ...]
    reference: Reference = ""
    baseline: Baseline | None = None
    comparisons: tuple[Comparison, ...] = ()

    @property
    def rank(self) -> tuple[int, bool, float]:
        return self.missed[0].rank if self.missed else (len(GRAVITY), False, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """`simulations`: failing, in doubt, tolerated, passed; of each, by cause, and the worst first.

    `groups`: checks by what they compare with, those with missed ones first. `failing` and `passing`: how many test
    cases flipped so in any check. `reference`: what causes compare with; empty without one.
    """

    simulations: tuple[SimulationFinding, ...]
    checks: CheckGroup
    groups: tuple[CheckGroup, ...]
    failing: int
    passing: int
    reference: Reference = ""

    @property
    def to_look_at(self) -> list[SimulationFinding]:
        return [simulation for simulation in self.simulations if simulation.is_to_look_at]


def findings_of(judgement: Judgement, result: RunResult | None = None) -> Findings:
    """Return what a judgement shows; without a result, only what its checks show."""
    checks = _grouped(judgement.checks)
    runs: Mapping[Reference, Baseline | None] = {"baseline": judgement.baseline, "base_agent": judgement.base}
    groups = [
        _grouped([check for check in judgement.checks if check.reference == reference], reference, runs.get(reference))
        for reference in REFERENCE_NAMES
    ]
    variants = (judgement.variants or variants_of(result)) if result else ()
    earlier = _earlier(judgement, result, variants) if result else None
    simulations = _simulations(judgement, result, variants, earlier) if result else ()
    return Findings(
        simulations=tuple(sorted(simulations, key=lambda row: row.order)),
        checks=checks,
        groups=tuple(sorted((group for group in groups if group.checks), key=lambda group: group.rank)),
        failing=len({case for comparison in checks.comparisons for case in comparison.newly_failing}),
        passing=len({case for comparison in checks.comparisons for case in comparison.newly_passing}),
        reference=earlier.kind if earlier else "",
    )


def _earlier(judgement: Judgement, result: RunResult, variants: Sequence[Variant]) -> "Earlier | None":
    if not (judgement.baseline or judgement.base or any(check.reference for check in judgement.checks)):
        return None
    from coval_gate.features.comparisons.causes import Earlier

    return Earlier(judgement, result, variants)


def lacks_baseline(check: Check) -> bool:
    return check.problem is not None and check.problem.kind == NO_BASELINE_KIND


def _grouped(checks: Sequence[Check], reference: Reference = "", baseline: Baseline | None = None) -> CheckGroup:
    by_gravity = tuple(sorted(checks, key=lambda check: (check.informs, check.rank)))
    return CheckGroup(
        checks=tuple(checks),
        by_gravity=by_gravity,
        missed=tuple(check for check in by_gravity if check.decides and not check.passed),
        reference=reference,
        baseline=baseline,
        comparisons=tuple(check.comparison for check in checks if check.comparison),
    )


@dataclass(slots=True)
class _Blame:
    """What a simulation misses: the first criteria, their `count`, and the sum of the distances.

    `verdict`: None if no criterion decides. `before`: by the criterion that its test case met most often.
    """

    misses: list[Miss] = field(default_factory=list)
    count: int = 0
    distance: float = 0.0
    verdict: Verdict | None = None
    before: Before | None = None


_NO_BLAME: Final = _Blame()


def _simulations(
    judgement: Judgement, result: RunResult, variants: Sequence[Variant], earlier: "Earlier | None"
) -> Iterator[SimulationFinding]:
    blame = _blame(judgement.checks, result, variants, earlier)
    repetition = judgement.repetition
    stability = {(case.variant, case.test_case_id): case for case in repetition.cases} if repetition else {}
    failing = {id_ for check in judgement.missed for id_ in check.simulations}
    unpassed = set(judgement.totals.unpassed if judgement.totals else ())
    known = {id_: case.failure.reason for case in judgement.known for id_ in case.simulations}
    left_out = {simulation.id for simulation in result.left_out}
    every = (*result.simulations, *result.left_out)

    def verdict_on(simulation: Simulation) -> Verdict:
        if simulation.id in left_out:
            return Verdict.SKIPPED
        if not simulation.completed:
            return Verdict.ERROR if simulation.id in failing else Verdict.SKIPPED
        tolerated = Verdict.SKIPPED if simulation.id in unpassed or simulation.id in known else Verdict.PASSED
        return blame.get(simulation.id, _NO_BLAME).verdict or tolerated

    verdicts = {simulation.id: verdict_on(simulation) for simulation in every}
    passing = Counter(one.conversation for one in every if verdicts[one.id] is Verdict.PASSED)
    iterations = Counter(simulation.conversation for simulation in every)
    seen: Counter[tuple[str, str]] = Counter()
    for simulation in every:
        key, blamed, verdict = simulation.conversation, blame.get(simulation.id, _NO_BLAME), verdicts[simulation.id]
        seen[key] += 1
        iteration, of, alike = (seen[key], iterations[key], passing[key]) if simulation.test_case_id else (1, 1, 0)
        did_well = verdict is Verdict.PASSED or (simulation.id in known and not blamed.count)
        before = None if did_well else blamed.before
        cause = FailureCause.NEW if before and before.is_new else None
        yield SimulationFinding(
            simulation=simulation,
            verdict=verdict,
            misses=tuple(blamed.misses),
            more_misses=blamed.count - len(blamed.misses),
            iteration=iteration,
            of=of,
            stability=stability.get(key),
            failed_alone=repetition is not None and simulation.id in repetition.failing,
            cause=FailureCause.FLAKY if not did_well and alike > HALF * (of - 1) else cause,
            before=before.record if before else None,
            rank=(simulation.completed, -blamed.distance, -blamed.count),
            known=known.get(simulation.id, ""),
        )


def _blame(
    checks: Sequence[Check], result: RunResult, variants: Sequence[Variant], earlier: "Earlier | None"
) -> dict[str, _Blame]:
    """Include targets that only inform. Missed targets explain a missed `pass_rate`, which is then not listed."""
    named = {variant.name: variant for variant in variants}
    cases = {simulation.id: simulation.test_case_id for simulation in result.simulations}
    missed = [
        _with_missing_values(check, named.get(check.variant))
        for check in checks
        if check.criterion.is_target or (check.criterion.user_defined and check.decides and not check.passed)
    ]
    off_target = {simulation for check in missed if check.criterion.is_target for simulation in check.simulations}
    blame: dict[str, _Blame] = defaultdict(_Blame)
    for check in missed:
        variant = named.get(check.variant)
        sample = variant.find_sample(check.metric) if variant else None
        values = sample.values if sample else {}
        before = earlier.by_case(check, variant) if earlier and variant else {}
        explained = off_target if check.threshold and check.threshold.aggregate.kind.uses_targets else frozenset()
        decides = not check.passed and check.problem is None
        for simulation_id in check.simulations:
            blamed, value = blame[simulation_id], values.get(simulation_id)
            if decides and (value is not None or not check.criterion.is_target):
                blamed.verdict = Verdict.FAILED if blamed.verdict is Verdict.FAILED else check.verdict
            if simulation_id in explained:
                continue
            then = before.get(cases.get(simulation_id, ""))
            if then and (blamed.before is None or then.record.share > blamed.before.record.share):
                blamed.before = then
            blamed.count += 1
            blamed.distance += miss_distance(check, sample, value, then)
            if blamed.count <= MISSES_LISTED:
                blamed.misses.append(Miss(check, value))
    return blame


def miss_distance(check: Check, sample: Sample | None, value: Value | None, before: Before | None) -> float:
    """Return how far a value misses a criterion or, if the past of its test case is known, how much worse it became.

    It is relative to the bound, or to the largest number if that is 0. A wrong text and a missing value count as 1 or,
    if the past is known, as the share of earlier conversations that met the criterion.
    """
    number = comparable(value) if isinstance(value, str) else value
    bound = check.criterion.closest_bound(number, check.measure) if isinstance(number, float) else None
    if sample is None or bound is None or not isinstance(number, float) or (before and before.mean is None):
        return before.record.share if before else 1.0
    reached = bound if before is None or before.mean is None else before.mean
    return (number - reached if number > bound else reached - number) / (abs(bound) or sample.magnitude)


def _with_missing_values(check: Check, variant: Variant | None) -> Check:
    if variant is None or not check.criterion.is_target:
        return check
    sample = variant.find_sample(check.metric)
    values = sample.values if sample and not check.problem else {}
    completed = variant.about(check.metric).completed
    lacking = tuple(simulation.id for simulation in completed if simulation.id not in values)
    return replace(check, simulations=check.simulations + lacking) if lacking else check
