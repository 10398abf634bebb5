"""Judges several runs of the same selection together. Pure and total.

If the first run fails, more runs follow, and all their conversations count as iterations. All runs decide every
criterion again. The step fails only if the first run fails and all runs together fail, so repeating a run never makes a
good agent fail more often. Repeating only failed test cases would hide most regressions: an agent that fails in one of
five conversations fails twice in one of 25.

A criterion says itself which of three rules is its own (`OverRuns` in `criteria`):

- together: a statistic is decided by all conversations as one sample;
- population: so is how many simulations completed, where those that did not are replaced. A limit that every run keeps
  alone is kept, and one that no run keeps alone is not;
- each: what is decided as counted must hold in every run. A rule that was broken once was broken.

A conversation fails if it misses a criterion that any of the runs failed. So every run is held to the same standard: a
test case that fails each time is consistent, even if one of the runs passed as a whole.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from coval_gate.base.records import NamedTuple
from coval_gate.judge.checks import Check
from coval_gate.judge.criteria import SameCases
from coval_gate.judge.gate import judge
from coval_gate.judge.judgement import CaseStability, Repetition, SingleRun, with_checks
from coval_gate.judge.measure import margin
from coval_gate.judge.problems import OtherCases
from coval_gate.judge.variants import pooled
from coval_gate.judge.verdict import GRAVITY, Verdict
from coval_gate.model.run import Completed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence, Set

    from coval_gate.config.thresholds import Operator
    from coval_gate.judge.criteria import Criteria, Criterion, OverRuns
    from coval_gate.judge.judgement import Judgement
    from coval_gate.judge.variants import Variant
    from coval_gate.model.baseline import Baseline
    from coval_gate.model.results import RunResult, Simulation

WANTS_HITS: Final[Mapping[Operator, bool]] = {">": True, ">=": True, "<": False, "<=": False}  # of a rate, or misses
ROUNDING: Final = 1e-9
USABLE: Final = (Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE)


def failing_simulations(judgements: Sequence[Judgement], together: Sequence[Check]) -> frozenset[str]:
    """Return the ids of the simulations that miss a criterion that any of these runs, or all of them together, failed.

    `together`: the checks of all runs together.
    """
    failed = {
        (check.criterion, check.variant): check
        for check in (*(check for judgement in judgements for check in judgement.checks), *together)
        if check.decides and check.verdict is Verdict.FAILED
    }
    variants = [variant for judgement in judgements for variant in judgement.variants]
    return frozenset(
        simulation
        for variant in variants
        for check in failed.values()
        if check.variant == variant.name
        for simulation in check.criterion.missing_it(variant, variant.find_sample(check.metric), check.measure)
    )


def stability_of(judgements: Sequence[Judgement], failing: frozenset[str]) -> tuple[CaseStability, ...]:
    """Return how often each test case failed, on each variant: consistent failures first.

    Simulations with an unknown test case are left out.
    """
    total: Counter[tuple[str, str]] = Counter()
    failed: Counter[tuple[str, str]] = Counter()
    for variant in (variant for judgement in judgements for variant in judgement.variants):
        for simulation in variant.simulations:
            place = (simulation.test_case_id, variant.name)
            total[place] += 1
            failed[place] += simulation.id in failing
    cases = (
        CaseStability(test_case_id=case, variant=variant, failed=failed[case, variant], total=count)
        for (case, variant), count in total.items()
        if case and failed[case, variant]
    )
    return tuple(sorted(cases, key=lambda case: -case.failed / case.total))


class Place(NamedTuple):
    """A criterion and the variant that it is applied to: checks of several runs with the same place correspond."""

    criterion: Criterion
    variant: str


class OwnCheck(NamedTuple):
    """The check of one run; None if the run has nothing to check, and so breaks nothing."""

    run_id: str
    check: Check | None


class Seen(NamedTuple):
    """The checks of one criterion: of each run `alone`, in their order, and of all runs `together`."""

    alone: tuple[OwnCheck, ...]
    together: Check | None


def decide(runs: Sequence[SingleRun], together: Judgement, replaced: Set[str]) -> tuple[Check, ...]:
    """Return the checks of several runs, each of which counts. `together`: the judgement of their pooled results.

    `replaced`: the ids of simulations that the pooled results leave out.
    """
    alone = [(run.run_id, _by_place(_with_replaced(run.judgement, replaced))) for run in runs]
    pool = _by_place(together.checks)
    places = dict.fromkeys(place for checks in (*(own for _, own in alone), pool) for place in checks)
    decided = (
        RULES[place.criterion.over_runs](
            Seen(tuple(OwnCheck(run_id, checks.get(place)) for run_id, checks in alone), pool.get(place))
        )
        for place in places
    )
    return tuple(check for check in decided if check)


def unchangeable(judgement: Judgement, *, left: int = 1) -> tuple[Check, ...]:
    """Return the failed checks of a judgement that `left` further runs cannot change."""
    metrics = judgement.cause.result.metrics if isinstance(judgement.cause, Completed) else ()
    summaries = {metric.id for metric in metrics if metric.summary is not None}  # they cannot be pooled
    return tuple(
        check
        for check in judgement.missed
        if check.verdict is Verdict.FAILED
        and not _is_silent(check)
        and (
            check.criterion.over_runs == "each" or check.metric in summaries or _is_out_of_reach(check, judgement, left)
        )
    )


def _is_out_of_reach(check: Check, judgement: Judgement, left: int) -> bool:
    """Return whether a check fails even if every conversation of the `left` repetitions meets it.

    Each repetition has as many conversations as the first run, and replaces all that did not complete so far.
    """
    first = judgement.repetition.runs[0].judgement if judgement.repetition else judgement
    measure, requirement = check.measure, check.requirement
    if measure is None or requirement is None:
        return False
    if measure.unit != "share" or measure.interval or check.reference or requirement.operator not in WANTS_HITS:
        return False
    alone, variant = _variant(first, check.variant), _variant(judgement, check.variant)
    if alone is None or variant is None:
        return False
    wants_hits = WANTS_HITS[requirement.operator]
    missed = (1.0 - measure.value if wants_hits else measure.value) * variant.total
    unmet = max(0.0, missed - variant.failed) / (variant.total - variant.failed + left * alone.total)
    best = 1.0 - unmet if wants_hits else unmet
    return margin(best, requirement) < -ROUNDING


def _variant(judgement: Judgement, name: str) -> Variant | None:
    """Return a variant; None if the runs so far list no simulation of it."""
    return next((variant for variant in judgement.variants if variant.name == name), None)


def _together(seen: Seen) -> Check | None:
    """Return the check of all runs together; if they cannot be pooled, every run must meet the criterion."""
    if seen.together is None or seen.together.verdict is Verdict.ERROR:
        return _each(seen)
    first = seen.alone[0].check
    missed = first.measure if first and not first.passed else None
    return replace(seen.together, runs=len(seen.alone), first=missed)


def _population(seen: Seen) -> Check | None:
    """Return the check of all runs together, unless all of them agree alone."""
    alone = {check.verdict if check else Verdict.PASSED for _, check in seen.alone}
    together = seen.together.verdict if seen.together else None
    agree = len(alone) == 1 and alone <= {Verdict.PASSED, Verdict.FAILED}
    return _each(seen) if agree and together not in alone else _together(seen)


def _each(seen: Seen) -> Check | None:
    """Return the check of the run that breaks the criterion or, if none does, of the one that comes closest to it."""
    counted = [
        replace(check, runs=len(seen.alone), run_id=run_id)
        for place, (run_id, check) in enumerate(seen.alone)
        if check and not (_is_silent(check) and any(not _is_silent(later) for _, later in seen.alone[place + 1 :]))
    ]
    return min(
        counted,
        key=lambda check: (GRAVITY.index(check.verdict), check.margin or 0.0),
        default=None,  # a later run has what only a silent one lacked
    )


RULES: Final[Mapping[OverRuns, Callable[[Seen], Check | None]]] = {
    "together": _together,
    "population": _population,
    "each": _each,
}


def _by_place(checks: Sequence[Check]) -> dict[Place, Check]:
    return {Place(check.criterion, check.variant): check for check in checks}


def _is_silent(check: Check | None) -> bool:
    """Return whether a check failed only because no simulation completed, so nothing was measured.

    The agent is to blame for that, but a later run with results provides the measure.
    """
    if check is None or check.verdict is not Verdict.FAILED:
        return False
    return check.measure is None and not check.criterion.of_run


def _with_replaced(judgement: Judgement, replaced: Set[str]) -> tuple[Check, ...]:
    """Return the checks of a run, counting simulations that a later run replaces as completed."""
    own = sum(simulation.id in replaced for variant in judgement.variants for simulation in variant.simulations)
    return tuple(_completed_more(check, own) for check in judgement.checks)


def _completed_more(check: Check, more: int) -> Check:
    if not check.criterion.counts_completed or check.measure is None:
        return check
    measure = replace(check.measure, value=check.measure.value + more)
    requirement = check.criterion.requirement(measure)
    verdict = Verdict.FAILED if requirement and margin(measure.value, requirement) < 0.0 else Verdict.PASSED
    return replace(check, verdict=verdict, measure=measure)


class Pool(NamedTuple):
    """The results of several runs as one. `replaced`: the ids of the simulations that are left out."""

    result: RunResult
    replaced: frozenset[str] = frozenset()


class Together(NamedTuple):
    """The judgement of a step with several runs, and the results that its reports show."""

    result: RunResult
    judgement: Judgement


def has_failed(judgement: Judgement) -> bool:
    """Return whether a run failed because of its data, so more data may change the verdict."""
    return judgement.verdict is Verdict.FAILED and isinstance(judgement.cause, Completed)


def is_usable(judgement: Judgement) -> bool:
    """Return whether a repetition counts: it completed, its data are complete, and Coval reports no error for it."""
    broken = any(check.criterion.of_run and not check.passed for check in judgement.checks)
    return isinstance(judgement.cause, Completed) and judgement.verdict in USABLE and not broken


def repeats(run: Judgement, first: Judgement) -> Judgement:
    """Return the judgement of a repetition; it is an error if its test cases differ from the first run's.

    Coval may not report the test case of some conversations; each of these may belong to a test case that seems to be
    missing. But a repetition with fewer conversations than the first run lacks some.
    """
    now, then = _cases(run), _cases(first)
    new = 0 if then[""] else len(now.keys() - then.keys() - {""})
    gone = max(0, len(then.keys() - now.keys() - {""}) - now[""])
    if (now[""] or then[""]) and now.total() < then.total():
        gone = max(gone, 1)
    if not (new or gone):
        return run
    problem = OtherCases(new=new, gone=gone)
    return with_checks(run, (Check(criterion=SameCases(), verdict=Verdict.ERROR, problem=problem), *run.checks))


def _cases(run: Judgement) -> Counter[str]:
    """Return how many conversations each test case has; "" is an unknown test case."""
    return Counter(simulation.test_case_id for variant in run.variants for simulation in variant.simulations)


def judge_together(runs: Sequence[SingleRun], criteria: Criteria) -> Together:
    """Judge a failed run together with its repetitions, the last of which may be unusable."""
    counted = tuple(run for run in runs if run is runs[0] or is_usable(run.judgement))
    unusable = runs[-1] if len(counted) < len(runs) else None
    judgements = [run.judgement for run in counted]
    pool = pool_of(list(map(_result, judgements)))
    if len(counted) == 1:
        repetition = Repetition(runs=counted, together=Verdict.FAILED, unusable=unusable)
        return Together(pool.result, judgements[0]._replace(repetition=repetition))
    together = judge(pool.result, criteria, baseline=judgements[0].baseline, base=_base_of(judgements))
    checks = decide(counted, together, pool.replaced)
    judgement = with_checks(together, checks)
    failing = failing_simulations(judgements, checks)
    repetition = Repetition(
        runs=counted,
        together=judgement.verdict or Verdict.FAILED,
        unusable=unusable,
        cases=stability_of(judgements, failing),
        failing=failing,
        replaced=pool.replaced,
    )
    return Together(pool.result, judgement._replace(repetition=repetition))


def _base_of(judgements: Sequence[Judgement]) -> Baseline | None:
    """Return the runs of the base agent beside all of these runs, the newest first."""
    bases = [judgement.base for judgement in judgements if judgement.base]
    return bases[0]._replace(runs=tuple(run for base in reversed(bases) for run in base.runs)) if bases else None


def pool_of(results: Sequence[RunResult]) -> Pool:
    """Return the results of several runs as one; their simulations count as iterations of the same test cases.

    A simulation without a result is left out if one of the same test case and variant completed in a later run.
    """
    if len(results) == 1:
        return Pool(results[0])
    simulations = tuple(
        simulation._replace(run_id=result.run_id) for result in results for simulation in result.simulations
    )
    replaced = _replaced(simulations)
    kept = tuple(simulation for simulation in simulations if simulation.id not in replaced)
    return Pool(pooled(results)._replace(expected=len(kept), simulations=kept), replaced)


def _replaced(simulations: Sequence[Simulation]) -> frozenset[str]:
    """Return the ids of the simulations that did not complete, and that a later run's replace, one for one.

    Those of the last run stay: otherwise, runs that all fail could pass together.
    """
    order = {
        run_id: place for place, run_id in enumerate(dict.fromkeys(simulation.run_id for simulation in simulations))
    }
    completed: dict[tuple[str, str], list[int]] = defaultdict(list)  # places of runs, the earliest first
    for simulation in simulations:
        if simulation.completed:
            completed[simulation.test_case_id, simulation.mutation].append(order[simulation.run_id])
    replaced = set()
    for simulation in simulations:
        runs = completed[simulation.test_case_id, simulation.mutation]
        later = next((place for place in runs if place > order[simulation.run_id]), None)
        if simulation.test_case_id and not simulation.completed and later is not None:
            runs.remove(later)
            replaced.add(simulation.id)
    return frozenset(replaced)


def _result(judgement: Judgement) -> RunResult:
    """Return the results of a run that completed."""
    if not isinstance(judgement.cause, Completed):
        raise TypeError("only a run that completed has results")
    return judgement.cause.result
