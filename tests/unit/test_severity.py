"""How far a simulation misses a criterion."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.coval.model import LARGEST, Metric, Target, Value
from coval_gate.gate.checks import Check, Criterion, misses
from coval_gate.gate.criteria import TargetMet, ThresholdHolds
from coval_gate.gate.values import meets
from coval_gate.gate.variants import Sample
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.thresholds import parse_thresholds

NUMBERS = st.floats(-LARGEST, LARGEST)


def threshold(line: str) -> ThresholdHolds:
    (found,) = parse_thresholds(line)
    return ThresholdHolds(threshold=found)


def target(operator: str, upper: float | None = None, lower: float | None = None, *values: str) -> TargetMet:
    return TargetMet(metric="M", target=Target(operator=operator, upper=upper, lower=lower, values=values))


def distance(criterion: Criterion, value: Value | None, *others: Value) -> float:
    """Return how far a simulation with this value misses a criterion; `others` are the values of other simulations."""
    check = Check(criterion=criterion, verdict=Verdict.FAILED, metric="m", simulations=("s",))
    values = {f"other {place}": other for place, other in enumerate(others)}
    values = values if value is None else values | {"s": value}
    ((simulation, found),) = misses(check, Sample(metric=Metric(id="m", name="M"), values=values, total=len(values)))
    assert simulation == "s"
    return found


@pytest.mark.parametrize(
    ("criterion", "value", "expected"),
    [
        (threshold("M: max < 2"), 3.0, 0.5),
        (threshold("M: max < 2"), 2.0, 0.0),
        (threshold("M: avg >= 4"), 3.0, 0.25),
        (threshold("M: p(95) <= -2"), -1.0, 0.5),
        (threshold("M: med == 2"), 1.0, 0.5),
        (threshold("M: min != 2"), 2.0, 1.0),
        (threshold("M: rate(YES) >= 90%"), "NO", 1.0),
        (threshold("M: count(NO) == 0"), None, 1.0),
        (threshold("M: missing == 0"), None, 1.0),
        (target("lte", 2.0), 3.0, 0.5),
        (target("gt", 4.0), "3", 0.25),
        (target("gt", 4.0), "low", 1.0),
        (target("bt", 4.0, 2.0), 1.0, 0.5),
        (target("bt", 4.0, 2.0), 5.0, 0.25),
        (target("nbt", 4.0, 2.0), 2.5, 0.25),
        (target("eq", 4.0), 3.0, 0.25),
        (target("neq", 4.0), 4.0, 1.0),
        (target("in", None, None, "YES"), "NO", 1.0),
        (target("in", None, None, "1"), 0.0, 1.0),
        (target("nin", None, None, "x"), frozenset("x"), 1.0),
        (threshold("M: count(no) == 0"), "NO", 1.0),
    ],
)
def test_distance_is_relative_to_bound(criterion: Criterion, value: Value | None, expected: float) -> None:
    assert distance(criterion, value) == pytest.approx(expected)


def test_distance_from_zero_is_relative_to_largest_value() -> None:
    assert distance(threshold("M: max <= 0"), 2.0, -8.0, 4.0) == 0.25
    assert distance(threshold("M: max < 0"), 0.0) == 0.0


@given(NUMBERS, NUMBERS, NUMBERS)
def test_number_further_from_bound_is_never_nearer(bound: float, one: float, other: float) -> None:
    near, far = sorted((one, other), key=lambda value: abs(value - bound))
    criterion = target("lte", bound)
    assert distance(criterion, near, far) <= distance(criterion, far, near)


@given(st.sampled_from(["lt", "lte", "gt", "gte", "eq", "neq", "bt", "nbt"]), NUMBERS, NUMBERS, NUMBERS)
def test_distance_of_number_that_misses_is_not_negative(
    operator: str, upper: float, lower: float, value: float
) -> None:
    criterion = target(operator, upper, lower)
    if not meets(criterion.target, value):
        assert distance(criterion, value) >= 0
