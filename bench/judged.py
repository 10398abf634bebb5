"""Simulated runs as the gate gets them, to measure the code that ships."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from coval_gate.coval.model import COMPLETED, Metric, Run, RunResult, Simulation, Value
from coval_gate.gate.changes import HitPair, ValuePair
from coval_gate.gate.checks import Check
from coval_gate.gate.criteria import Criteria, ThresholdHolds
from coval_gate.gate.judge import judge
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.measure import Baseline, BaselineRun, Trend
from coval_gate.gate.statistics import Hits, Values
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import Allowance, BaselineSource
from coval_gate.inputs.thresholds import parse_thresholds

Pairs = Sequence[HitPair] | Sequence[ValuePair]


SOURCE: Final = BaselineSource(kind="branch", name="main")


def decide(thresholds: str, metrics: Mapping[str, Pairs], confidence: float | None) -> Judgement:
    """Judge the later run of pairs against the earlier one. `metrics`: by name, all over the same cases."""
    now, baseline = runs(metrics)
    return judge(now, criteria(thresholds, confidence), baseline=baseline)


def runs(metrics: Mapping[str, Pairs]) -> tuple[RunResult, Baseline]:
    """Return the later run of pairs, and the earlier one as its baseline."""
    now, earlier = (
        run(side, {name: [getattr(pair, side) for pair in pairs] for name, pairs in metrics.items()})
        for side in ("now", "base")
    )
    return now, baseline_of([earlier])


def baseline_of(earlier: Sequence[RunResult]) -> Baseline:
    """Return runs as a baseline."""
    runs = (BaselineRun(run=Run(run_id=result.run_id, status=COMPLETED), result=result) for result in earlier)
    return Baseline(source=SOURCE, runs=tuple(runs))


def run(run_id: str, metrics: Mapping[str, Sequence[Hits] | Sequence[Values]]) -> RunResult:
    """Return a run in which the conversations of each case, in order, have these values of the `metrics`."""
    drawn = {name: [_values(case) for case in cases] for name, cases in metrics.items()}
    simulations = _simulations(run_id, tuple(map(len, next(iter(drawn.values())))))
    measured = tuple(
        Metric(
            id=name,
            name=name,
            values={
                simulation.id: value
                for simulation, value in zip(simulations, (value for case in cases for value in case), strict=True)
            },
        )
        for name, cases in drawn.items()
    )
    return RunResult(run_id=run_id, expected=len(simulations), simulations=simulations, metrics=measured)


def is_red(judgement: Judgement) -> bool:
    """Return whether a step fails because of its agent, under any policy for inconclusive verdicts."""
    return judgement.verdict is Verdict.FAILED


def without_family(judgement: Judgement) -> bool:
    """Return whether a step would fail if each threshold were the only one."""
    return any(
        check.verdict is Verdict.FAILED or (_by_chance(check) and not holds_as_counted(check))
        for check in checks(judgement)
    )


def is_called(judgement: Judgement, trend: Trend) -> bool:
    """Return whether a step reports this trend for any threshold."""
    compared = (check.measure.comparison for check in checks(judgement) if check.measure)
    return any(comparison.trend == trend for comparison in compared if comparison)


def as_counted(judgement: Judgement) -> bool:
    """Return whether a step would fail without confidence."""
    return not all(holds_as_counted(check) for check in checks(judgement))


def holds_as_counted(check: Check) -> bool:
    """Return whether the values meet a threshold as counted."""
    criterion, measure = check.criterion, check.measure
    if measure is None or measure.comparison is None or not isinstance(criterion, ThresholdHolds):
        raise ValueError(f"nothing was compared: {check.problem}")
    return criterion.threshold.against(measure.comparison.value).holds(measure.value)


def checks(judgement: Judgement) -> list[Check]:
    """Return the checks of thresholds."""
    return [check for check in judgement.checks if isinstance(check.criterion, ThresholdHolds)]


@lru_cache
def criteria(thresholds: str, confidence: float | None) -> Criteria:
    """Return the criteria of a step that has thresholds only."""
    return Criteria(max_failed=Allowance(0), thresholds=parse_thresholds(thresholds), confidence=confidence)


def _by_chance(check: Check) -> bool:
    return bool(check.measure and check.measure.comparison and check.measure.comparison.by_chance)


def _values(case: Hits | Values) -> Sequence[Value]:
    if isinstance(case, Hits):
        return ["YES"] * case.hits + ["NO"] * (case.size - case.hits)
    return case


@lru_cache
def _simulations(run_id: str, sizes: tuple[int, ...]) -> tuple[Simulation, ...]:
    return tuple(
        Simulation(id=f"{run_id}.{case}.{number}", status=COMPLETED, test_case_id=f"case{case:04}")
        for case, size in enumerate(sizes)
        for number in range(size)
    )
