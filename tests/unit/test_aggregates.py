"""Each aggregate is one class: what it is of a run, and which simulations are to blame."""

from __future__ import annotations

from typing import Final

import pytest

from coval_gate.config.aggregates import KINDS
from coval_gate.config.fields import Allowance
from coval_gate.config.thresholds import parse_thresholds
from coval_gate.judge.aggregates import CLASSES
from coval_gate.judge.criteria import Criteria, ThresholdHolds
from coval_gate.judge.gate import judge
from coval_gate.model.results import Metric, RunResult, Simulation, Target

# s0 did not complete, s1 misses the target, s2 has no value, s3 and s4 pass.
SIMULATIONS: Final = tuple(
    Simulation(id=f"s{n}", status="COMPLETED" if n else "FAILED", test_case_id=f"t{n}") for n in range(5)
)
LATENCY: Final = Metric(
    id="latency", name="Latency", values={"s1": 3.0, "s3": 1.0, "s4": 2.0}, target=Target(operator="lt", upper=2.5)
)
RESULT: Final = RunResult(run_id="r", expected=5, simulations=SIMULATIONS, metrics=(LATENCY,))


def test_every_aggregate_of_the_grammar_has_a_class_and_no_class_is_left_over() -> None:
    assert [*CLASSES] == [kind.name for kind in KINDS]


@pytest.mark.parametrize(
    ("threshold", "value", "to_blame"),
    [
        ("Latency: avg < 1.5", 2.0, "s1 s4"),
        ("Latency: med < 1.5", 2.0, "s1 s4"),
        ("Latency: p(100) < 2.5", 3.0, "s1"),
        ("Latency: min > 1", 1.0, "s3"),
        ("Latency: max < 2.5", 3.0, "s1"),
        ("Latency: rate(1, 2) >= 60%", 0.4, "s0 s1 s2"),
        ("Latency: rate(3) < 20%", 0.6, "s0 s1 s2"),
        ("Latency: rate(3) <= 50%", 0.6, "s0 s2"),
        ("Latency: count(3) == 0", 1.0, "s1"),
        ("Latency: count(3) == 2", 1.0, "s0 s2 s3 s4"),
        ("Latency: missing == 0", 2.0, "s0 s2"),
        ("pass_rate >= 90%", 0.4, "s0 s1 s2"),
        ("completed_rate >= 90%", 0.8, "s0"),
        ("failed == 0", 1.0, "s0"),
        ("total >= 6", 5.0, ""),
    ],
)
def test_those_to_blame_for_an_aggregate_are_those_that_miss_it(threshold: str, value: float, to_blame: str) -> None:
    judgement = judge(RESULT, Criteria(max_failed=Allowance(5), thresholds=parse_thresholds(threshold)))
    (check,) = (each for each in judgement.checks if isinstance(each.criterion, ThresholdHolds))
    assert check.measure is not None
    assert check.measure.value == pytest.approx(value)
    assert check.simulations == tuple(to_blame.split())
