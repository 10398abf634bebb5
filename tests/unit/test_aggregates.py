"""Each aggregate is one class, with its value for a run and the simulations to blame."""

import statistics
from typing import Final

import pytest

from baselines import Cases, baseline_of, comparison, judged, only, run_of
from coval_gate.coval.model import Metric, RunResult, Simulation, Target
from coval_gate.gate.aggregates import CLASSES
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.gate.measure import Comparison, Measure
from coval_gate.gate.problems import ONE_VALUE, UNUSABLE_BASELINE
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.aggregates import KINDS
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.wording.checks import check_reason
from valued import judge_values

# s0 did not complete, s1 misses the target, s2 has no value, s3 and s4 pass.
SIMULATIONS: Final = tuple(
    Simulation(id=f"s{n}", status="COMPLETED" if n else "FAILED", test_case_id=f"t{n}") for n in range(5)
)
LATENCY: Final = Metric(
    id="latency", name="Latency", values={"s1": 3.0, "s3": 1.0, "s4": 2.0}, target=Target(operator="lt", upper=2.5)
)
RESULT: Final = RunResult(run_id="r", expected=5, simulations=SIMULATIONS, metrics=(LATENCY,))


def test_every_aggregate_of_the_grammar_is_a_figure_or_has_a_class_and_no_class_is_left_over() -> None:
    assert [*CLASSES] == [kind.name for kind in KINDS if not kind.figure]


@pytest.mark.parametrize(
    ("threshold", "value", "to_blame"),
    [
        ("Latency: avg < 1.5", 2.0, ""),
        ("Latency: med < 1.5", 2.0, "s1 s4"),
        ("Latency: p(100) < 2.5", 3.0, "s1"),
        ("Latency: min > 1", 1.0, "s3"),
        ("Latency: max < 2.5", 3.0, "s1"),
        ("Latency: stdev < 0.5", 1.0, ""),
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
    check = only(judgement)
    assert check.measure is not None
    assert check.measure.value == pytest.approx(value)
    assert check.simulations == tuple(to_blame.split())


def test_one_value_has_no_spread_and_never_passes() -> None:
    judgement = judge_values([3.0], "M: stdev < 1")
    check = only(judgement)
    assert (judgement.verdict, check.problem) == (Verdict.ERROR, ONE_VALUE.of(metric="M"))
    assert check_reason(check) == "M has only one value, so stdev is unknown."
    assert judge_values([3.0, 3.0], "M: stdev < 1").verdict is Verdict.PASSED


def test_one_value_of_a_baseline_has_no_spread() -> None:
    cases: Cases = {"a": [1.0], "b": [2.0]}
    baseline = baseline_of(run_of("then", {"a": [1.0], "b": [None]}))
    check = only(judged(run_of("now", cases), baseline, "Resolved: stdev <= baseline", confidence=None))
    assert (check.verdict, check.problem) == (
        Verdict.INCONCLUSIVE,
        UNUSABLE_BASELINE.of(why="the baseline has only one value of Resolved"),
    )
    assert "the baseline has only one value of Resolved" in check_reason(check)


def test_test_cases_weigh_the_same_in_a_spread_that_is_compared() -> None:
    once: Cases = {"a": [1.0], "b": [2.0], "c": [6.0]}
    often: Cases = {"a": [1.0], "b": [2.0, 2.0], "c": [6.0] * 5}
    now, then = spreads(often, once)
    assert then.value == pytest.approx(statistics.stdev([1, 2, 6]))
    # With weights w, the unbiased variance divides by V1 - V2 / V1, the sums of w and of w squared.
    squares = sum((value - 3) ** 2 for value in (1, 2, 6))
    assert now.value == pytest.approx((squares / (3 - (1 + 1 / 2 + 1 / 5) / 3)) ** 0.5)
    assert now.pooled == pytest.approx(statistics.stdev([1, 2, 2, 6, 6, 6, 6, 6]))


def test_test_cases_of_one_size_have_the_usual_spread() -> None:
    cases: Cases = {"a": [1.0, 2.0], "b": [4.0, 8.0]}
    now, then = spreads(cases, cases)
    assert now.pooled is None
    assert now.value == then.value == pytest.approx(statistics.stdev([1, 2, 4, 8]))


def spreads(now: Cases, then: Cases) -> tuple[Measure, Comparison]:
    """Return the standard deviations of a run and its baseline."""
    baseline = baseline_of(run_of("then", then))
    judgement = judged(run_of("now", now), baseline, "Resolved: stdev <= baseline", confidence=None)
    measure = only(judgement).measure
    assert measure is not None
    return measure, comparison(judgement)
