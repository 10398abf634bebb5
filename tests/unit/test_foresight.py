"""Thresholds that no outcome of a run of its size could decide are known before the launch."""

import pytest

from baselines import baseline_of, judged, only, run_of
from coval_gate.coval.model import Value
from coval_gate.gate.claims import cases_to_compare
from coval_gate.gate.criteria import Criteria, undecidable_texts
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds


def criteria_of(thresholds: str, *, iterations: int | None = None, mutations: int = 0) -> Criteria:
    return Criteria(
        max_failed=Allowance(0),
        thresholds=parse_thresholds(thresholds),
        confidence=0.95,
        iterations=iterations,
        mutations=mutations,
    )


def needed(threshold: str, iterations: int = 1, family: int = 1) -> int | None:
    (parsed,) = parse_thresholds(threshold)
    return cases_to_compare(parsed, criteria_of(threshold).confidence, iterations=iterations, family=family)


def disaster(cases: int, aggregate: str, side: str, iterations: int) -> dict[str, list[Value | None]]:
    """Return the best values there are before, and the worst ones now."""
    if aggregate.startswith("rate"):
        return {f"case{case:03}": ["YES" if side == "old" else "NO"] * iterations for case in range(cases)}
    low = 0 if (side == "old") is not (aggregate == "p(10)") else 10_000
    return {
        f"case{case:03}": [float(low + place * cases + case) for place in range(iterations)] for case in range(cases)
    }


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize(
    ("aggregate", "operator"),
    [
        ("rate(YES)", ">= baseline"),
        ("rate(YES)", ">= baseline - 50pp"),
        ("rate(NO)", "<= baseline + 10pp"),
        ("med", "<= baseline"),
        ("p(90)", "<= baseline * 1.1"),
        ("p(95)", "<= baseline"),
        ("p(10)", ">= baseline"),
    ],
)
def test_what_can_never_fail_does_not_fail_in_the_greatest_disaster(
    aggregate: str, operator: str, iterations: int
) -> None:
    """The judge agrees, on both sides of the number."""
    threshold = f"Resolved: {aggregate} {operator}"
    least = needed(threshold, iterations)
    assert least

    verdicts = []
    for cases in (least - 1, least):
        now, old = (run_of(side, disaster(cases, aggregate, side, iterations)) for side in ("now", "old"))
        verdicts.append(only(judged(now, baseline_of(old), threshold)).verdict)

    assert verdicts == [Verdict.INCONCLUSIVE, Verdict.FAILED]


def test_an_average_can_be_decided_by_any_number() -> None:
    assert needed("Latency: avg <= baseline") == 2
    assert needed("Latency: max <= baseline") == 2


def test_many_thresholds_need_more_test_cases() -> None:
    assert (needed("Latency: p(95) <= baseline"), needed("Latency: p(95) <= baseline", family=10)) == (31, 71)
    alone = list(undecidable_texts(criteria_of("Latency: p(95) <= baseline"), 40))
    beside = list(undecidable_texts(criteria_of("Latency: p(95) <= baseline\nLatency: avg <= baseline"), 40))
    varied = list(undecidable_texts(criteria_of("Latency: p(95) <= baseline", mutations=3), 40))
    advisory = list(undecidable_texts(criteria_of("Latency: p(95) <= baseline\n? Latency: avg <= baseline"), 40))
    assert ([len(undecided) for undecided in (alone, beside, varied, advisory)]) == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("threshold", "cases", "can_never", "enough"),
    [
        ("Latency: p(95) <= baseline", 10, "fail with 95% confidence, however bad the agent is", "; with 31, it can"),
        ("R: rate(YES) >= baseline - 5pp", 2, "fail with 95% confidence, however bad the agent is", "; with 3, it can"),
        (
            "R: rate(YES) >= baseline + 60pp",
            5,
            "pass with 95% confidence, however good the agent is",
            "; with 10, it can",
        ),
        ("Latency: p(99.99) <= baseline", 500, "fail with 95% confidence, however bad the agent is", ""),
    ],
)
def test_threshold_that_cannot_be_decided_is_reported(threshold: str, cases: int, can_never: str, enough: str) -> None:
    told = f"thresholds, line 1: with {cases} test cases, {threshold} can never {can_never}{enough}."
    assert list(undecidable_texts(criteria_of(threshold), cases)) == [told]
