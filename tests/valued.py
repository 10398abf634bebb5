"""Runs with given values of one metric M, and their judgement."""

from collections.abc import Sequence
from typing import Any

from coval_gate.coval.model import Metric, Run, RunResult, Simulation, Target, Value
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.measure import Baseline, BaselineRun
from coval_gate.inputs.fields import Allowance, BaselineSource
from coval_gate.inputs.thresholds import parse_thresholds

BINARY = ("YES", "NO", "UNKNOWN")
WORDS = ("YES", "NO", "YES")
CATEGORIES = ("billing", "refund", "refund")
TOPICS = (frozenset({"billing", "refund"}), frozenset[str]())


def run_with(
    values: Sequence[Value],
    *,
    defined: tuple[str, ...] = (),
    target: Target | None = None,
    mutations: Sequence[str] = ("",),
    run_id: str = "r1",
) -> RunResult:
    """Return a run with these values; `mutations` are dealt to the simulations in turn."""
    simulations = tuple(
        Simulation(id=f"{run_id}s{n}", status="COMPLETED", test_case_id=f"t{n}", mutation=mutations[n % len(mutations)])
        for n, _ in enumerate(values)
    )
    by_id = {simulation.id: value for simulation, value in zip(simulations, values, strict=True)}
    metric = Metric(id="m", name="M", values=by_id, defined=defined, target=target)
    return RunResult(run_id=run_id, expected=len(values), simulations=simulations, metrics=(metric,))


def judge_values(
    values: Sequence[Value], threshold: str = "", *, baseline: Sequence[Value] = (), **given: Any
) -> Judgement:
    criteria = Criteria(
        max_failed=Allowance(0),
        thresholds=parse_thresholds(threshold),
        use_metric_targets="target" in given,
    )
    source = BaselineSource(kind="branch", name="main")
    earlier = BaselineRun(run=Run(run_id="r0", status="COMPLETED"), result=run_with(baseline, run_id="r0"))
    return judge(
        run_with(values, **given), criteria, baseline=Baseline(source=source, runs=(earlier,)) if baseline else None
    )
