"""Judge several runs of the same selection together. Pure and total.

If the first run fails, more runs follow, and all their conversations count as iterations. All runs decide every
criterion again; `over_runs` has the rules. The step fails only if the first run fails and all runs together fail, so
repeating a run never makes a good agent fail more often. Repeating only failed test cases would hide most regressions:
an agent that fails in one of five conversations fails twice in one of 25.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.judge import variants
from coval_gate.judge.checks import Check
from coval_gate.judge.criteria import NoErrorReported, NotFlaky, SameCases
from coval_gate.judge.gate import judge
from coval_gate.judge.judgement import Repetition, SingleRun, with_checks
from coval_gate.judge.over_runs import decide, failing_simulations, stability_of
from coval_gate.judge.problems import Flaky, OtherCases
from coval_gate.judge.verdict import Verdict
from coval_gate.model.run import Completed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.judge.criteria import Criteria
    from coval_gate.judge.judgement import Judgement
    from coval_gate.model.results import RunResult, Simulation

USABLE: Final = (Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE)


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
    broken = any(isinstance(check.criterion, NoErrorReported) and not check.passed for check in judgement.checks)
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


def judge_together(runs: Sequence[SingleRun], criteria: Criteria, *, flaky_fails: bool) -> Together:
    """Judge a failed run together with its repetitions, the last of which may be unusable.

    `flaky_fails`: a step whose first run failed fails, whatever its repetitions show.
    """
    counted = tuple(run for run in runs if run is runs[0] or is_usable(run.judgement))
    unusable = runs[-1] if len(counted) < len(runs) else None
    judgements = [run.judgement for run in counted]
    pool = pooled(list(map(_result, judgements)))
    if len(counted) == 1:
        repetition = Repetition(runs=counted, together=Verdict.FAILED, unusable=unusable)
        return Together(pool.result, judgements[0]._replace(repetition=repetition))
    together = judge(pool.result, criteria, baseline=judgements[0].baseline)
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
    if repetition.is_flaky and flaky_fails:
        flaky = Check(criterion=NotFlaky(), verdict=Verdict.FAILED, problem=Flaky(runs=len(counted)))
        judgement = with_checks(together, (*checks, flaky))
    return Together(pool.result, judgement._replace(repetition=repetition))


def pooled(results: Sequence[RunResult]) -> Pool:
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
    return Pool(variants.pooled(results)._replace(expected=len(kept), simulations=kept), replaced)


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
