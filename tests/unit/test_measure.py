"""A margin is the signed distance of a measured value from its bound."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coval_gate.coval.model import LARGEST, Target
from coval_gate.gate.checks import Check
from coval_gate.gate.criteria import TargetMet, ThresholdHolds
from coval_gate.gate.measure import Measure, Requirement, Scale, margin, measured_text
from coval_gate.gate.population import FewFailed
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import OPERATORS, Operator, parse_thresholds
from coval_gate.report.wording.checks import actual_text, check_reason, margin_text

NUMBERS = st.floats(-LARGEST, LARGEST)


@pytest.mark.parametrize(
    ("value", "operator", "bound", "expected"),
    [
        (2.7, "<", 1.5, -1.2),
        (1.0, "<=", 1.5, 0.5),
        (0.4, ">=", 0.9, -0.5),
        (5.0, ">", 3.0, 2.0),
        (3.0, "==", 0.0, -3.0),
        (0.0, "==", 0.0, 0.0),
        (3.0, "!=", 0.0, 3.0),
        (1.5, "<", 1.5, 0.0),
    ],
)
def test_margin_is_distance_from_bound(value: float, operator: Operator, bound: float, expected: float) -> None:
    assert margin(value, Requirement(operator, bound)) == pytest.approx(expected)


@given(st.sampled_from(OPERATORS), NUMBERS, NUMBERS)
@example("<", 0.1 + 0.2, 0.3)
@example("!=", 0.1 + 0.2, 0.3)
def test_sign_of_margin_matches_verdict(operator: Operator, value: float, bound: float) -> None:
    check = threshold_check(f"M: avg {operator} {bound!r}", Measure(value=value, unit="metric", count=1))
    assert check.margin is not None
    assert math.isfinite(check.margin)
    assert check.margin >= 0 if check.passed else check.margin <= 0
    assert actual_text(check)
    assert check.passed or check_reason(check).isprintable()


def threshold_check(line: str, measure: Measure) -> Check:
    (threshold,) = parse_thresholds(line)
    verdict = Verdict.PASSED if threshold.holds(measure.value) else Verdict.FAILED
    return Check(criterion=ThresholdHolds(threshold=threshold), verdict=verdict, measure=measure)


@pytest.mark.parametrize(
    ("line", "measure", "reason", "margin"),
    [
        (
            "Latency: p(95) < 1.5",
            Measure(value=2.7, unit="metric", count=10),
            "p(95) of Latency is 2.7, must be < 1.5.",
            "1.2 too high",
        ),
        (
            "Resolved: rate(YES) >= 90%",
            Measure(value=0.4, unit="share", count=8, missing=2),
            "rate(YES) of Resolved is 40% (4 of 10), must be >= 90%.",
            "50pp too low",
        ),
        (
            "Resolved: rate(NO) < 7%",
            Measure(value=0.3, unit="share", count=8, missing=2, assumed=2),
            "rate(NO) of Resolved is 30% (3 of 10), 2 of them without a value, must be < 7%.",
            "23pp too high",
        ),
        (
            "Compliance: count(NO) == 0",
            Measure(value=1, unit="simulations", count=1),
            "count(NO) of Compliance is 1 of 1, must be == 0.",
            "1 too many",
        ),
        (
            "Latency: missing <= 1",
            Measure(value=2, unit="simulations", count=8, missing=2),
            "The number of missing values of Latency is 2 of 10, must be <= 1.",
            "1 too many",
        ),
        (
            "Latency: avg <= 1.5",
            Measure(value=1.50001, unit="metric", count=3),
            "avg of Latency is 1.50001, must be <= 1.5.",
            "1e-05 too high",
        ),
        (
            "Latency: avg < 1500",
            Measure(value=1500, unit="metric", count=3),
            "avg of Latency is 1,500, must be < 1,500.",
            "",
        ),
        ("pass_rate >= 99.999%", Measure(value=0.99, unit="share", count=100), None, "0.999pp too low"),
    ],
)
def test_reason_and_margin_of_missed_threshold(line: str, measure: Measure, reason: str | None, margin: str) -> None:
    check = threshold_check(line, measure)
    assert margin_text(check) == margin
    assert reason in (None, check_reason(check))


def test_bound_of_percentage_allowance_depends_on_total() -> None:
    measure = Measure(value=3, unit="simulations", count=40)
    check = Check(criterion=FewFailed(allowance=Allowance(5, percent=True)), verdict=Verdict.FAILED, measure=measure)
    assert (check.requirement, check.margin) == (("<=", 2), -1)


def test_target_has_no_bound_when_pass_rate_decides() -> None:
    measure = Measure(value=3, unit="simulations", count=4)
    target = Target(operator="lt", upper=2.0)
    check = Check(
        criterion=TargetMet(metric="M", target=target, decides=False), verdict=Verdict.PASSED, measure=measure
    )
    assert (check.requirement, check.margin, margin_text(check)) == (None, None, "")
    assert not check.criterion.user_defined


@given(st.integers(0, 10_000), st.integers(1, 10_000), st.integers(0, 50))
def test_share_as_text_has_hits_and_total(hits: int, count: int, missing: int) -> None:
    total = count + missing
    hits = min(hits, total)
    measure = Measure(value=hits / total, unit="share", count=count, missing=missing)
    assert (measure.hits, measure.total) == (hits, total)
    assert measured_text(measure, Scale(measure.unit)).endswith(f"({hits:,} of {total:,})")
