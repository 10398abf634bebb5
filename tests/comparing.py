"""Runs with one metric, their baselines, and what the gate makes of them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from coval_gate.config.fields import Allowance
from coval_gate.config.thresholds import parse_thresholds
from coval_gate.judge.criteria import Criteria
from coval_gate.judge.gate import judge
from coval_gate.model.baseline import Baseline, BaselineRun, BaselineSource
from coval_gate.model.results import BASE, Metric, RunResult, Simulation, Target, Value
from coval_gate.model.run import Run

if TYPE_CHECKING:
    from coval_gate.judge.checks import Check
    from coval_gate.judge.judgement import Judgement
    from coval_gate.judge.measure import Comparison

MAIN = BaselineSource(kind="branch", name="main")
RATE = "Resolved: rate(YES) >= baseline - 5pp"
Cases = Mapping[str, Sequence[Value | None]]  # the values of each test case; None where one is missing


def run_of(
    run_id: str,
    cases: Cases,
    *,
    mutation: str = BASE,
    target: Target | None = None,
    name: str = "Resolved",
    metric_id: str = "m",
) -> RunResult:
    """Return a run with one metric."""
    simulations, values = [], {}
    for case, found in cases.items():
        for place, value in enumerate(found):
            each = f"{run_id}.{mutation}.{case}.{place}"
            simulations.append(Simulation(id=each, status="COMPLETED", test_case_id=case, mutation=mutation))
            if value is not None:
                values[each] = value
    metric = Metric(id=metric_id, name=name, values=values, target=target)
    return RunResult(run_id=run_id, expected=len(simulations), simulations=tuple(simulations), metrics=(metric,))


def both(one: RunResult, other: RunResult) -> RunResult:
    """Return one run with the simulations of two, which have the same metric."""
    metric = replace(one.metrics[0], values={**one.metrics[0].values, **other.metrics[0].values})
    simulations = (*one.simulations, *other.simulations)
    return replace(one, simulations=simulations, expected=len(simulations), metrics=(metric,))


def baseline_of(*runs: RunResult | BaselineRun, source: BaselineSource = MAIN) -> Baseline:
    found = [
        each
        if isinstance(each, BaselineRun)
        else BaselineRun(run=Run(run_id=each.run_id, status="COMPLETED"), result=each)
        for each in runs
    ]
    return Baseline(source=source, runs=tuple(found))


def judged(
    now: RunResult,
    baseline: Baseline | None,
    thresholds: str,
    *,
    confidence: float | None = 0.95,
    on_inconclusive: str = "",
) -> Judgement:
    criteria = Criteria(
        max_failed=Allowance(100, percent=True),
        thresholds=parse_thresholds(thresholds),
        confidence=confidence,
        on_inconclusive=on_inconclusive,
    )
    return judge(now, criteria, baseline=baseline)


def checks_of(judgement: Judgement) -> list[Check]:
    return [each for each in judgement.checks if each.criterion.kind == "threshold"]


def only(judgement: Judgement) -> Check:
    (check,) = checks_of(judgement)
    return check


def comparison(judgement: Judgement) -> Comparison:
    measure = only(judgement).measure
    assert measure
    assert measure.comparison
    return measure.comparison


def yes(hits: int, count: int, iterations: int = 1) -> dict[str, list[Value | None]]:
    """Return that many cases, of which the first `hits` are YES in every conversation."""
    return {f"case{n:03}": ["YES" if n < hits else "NO"] * iterations for n in range(count)}


def numbers(seed: int, count: int, *, slower: float = 1.0) -> dict[str, list[Value | None]]:
    rng = random.Random(seed)
    return {f"case{n:03}": [round(slower * rng.lognormvariate(0, 0.5), 3)] for n in range(count)}
