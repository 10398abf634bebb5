"""Judges a leg that is paid for in slices of its test cases, until the answer is clear. Pure and total."""

from collections.abc import Sequence

from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.gate.judgement import Judgement, SingleRun, Slices
from coval_gate.gate.variants import pooled
from coval_gate.gate.verdict import Completed


def judge_slices(runs: Sequence[SingleRun], criteria: Criteria, cases: tuple[int, ...]) -> Judgement:
    """Judge the slices so far together. `runs`: of the first slices, all completed; `cases`: as in `Slices`."""
    results = [run.judgement.cause.result for run in runs if isinstance(run.judgement.cause, Completed)]
    simulations = tuple(
        simulation._replace(run_id=result.run_id) for result in results for simulation in result.simulations
    )
    judgement = judge(pooled(results)._replace(simulations=simulations), criteria)
    is_clear = len(runs) == len(cases)
    return judgement._replace(slices=Slices(runs=tuple(runs), cases=cases, is_clear=is_clear))
