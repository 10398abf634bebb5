"""The rows of simulations: what each of them misses, and in which order they come."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from coval_gate.coval.model import Metric, RunResult, Simulation, Target, Value
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.model import LegReport, Report
from rendering import FACES, composed, rows_of

AT_MOST_2, YES = Target(operator="lte", upper=2.0), Target(operator="in", values=("YES",))
VALUES = st.none() | st.floats(-9, 9) | st.sampled_from(["YES", "NO", frozenset({"YES"})])
THRESHOLDS = [
    "pass_rate >= 50%",
    "failed <= 1",
    "Latency: max < 1",
    "Resolved: rate(YES) >= 80%",
    "Resolved: missing < 1",
]


def report_on(
    latency: Sequence[Value | None], resolved: Sequence[Value | None], *, failed: int = 0, **criteria: Any
) -> Report:
    """Return the report on a simulation for each pair of values; the last `failed` did not complete."""
    ids = [f"s{place}" for place in range(len(latency))]
    simulations = tuple(
        Simulation(
            id=simulation_id, status="FAILED" if place >= len(ids) - failed else "COMPLETED", test_case_id=simulation_id
        )
        for place, simulation_id in enumerate(ids)
    )
    metrics = tuple(
        Metric(
            id=name, name=name, target=target, values={i: v for i, v in zip(ids, values, strict=True) if v is not None}
        )
        for name, values, target in (("Latency", latency, AT_MOST_2), ("Resolved", resolved, YES))
    )
    result = RunResult(run_id="r1", expected=len(ids), simulations=simulations, metrics=metrics)
    judgement = judge(result, Criteria(**{"max_failed": Allowance(0)} | criteria))
    return Report(judgement=judgement, legs=(LegReport(judgement=judgement, run_id="r1", result=result),))


def missed(report: Report) -> dict[str, list[str]]:
    """Return what each simulation to look at misses, in the order of the rows."""
    (leg,) = composed(report).legs
    rows = (row for row in leg.simulations if row.is_to_look_at)
    return {row.id: [" – ".join(filter(None, (miss.text, miss.here))) for miss in row.misses] for row in rows}


def test_missing_value_misses_target() -> None:
    """It does not fail the simulation: the step knows nothing about it."""
    report = report_on([1.0, 1.0], ["YES", None], use_metric_targets=True)
    assert report.judgement.verdict == "error"
    assert missed(report) == {"s1": ["Resolved meets its target: YES – here no value"]}
    assert rows_of(report)[0].verdict is Verdict.SKIPPED


def test_tolerated_missing_value_is_named() -> None:
    report = report_on([1.0, 3.0, 1.0], ["YES", None, "YES"], use_metric_targets=True, max_failed=Allowance(1))
    assert missed(report) == {
        "s1": ["Latency meets its target: at most 2 – here 3", "Resolved meets its target: YES – here no value"]
    }


def test_criterion_on_pass_rate_is_named_only_without_targets() -> None:
    thresholds = parse_thresholds("pass_rate == 100%")
    report = report_on([3.0, 1.0, 1.0], ["YES", "YES", "YES"], failed=1, thresholds=thresholds)
    assert missed(report) == {
        "s2": ["pass_rate == 100%"],
        "s0": ["Latency meets its target: at most 2 – here 3"],
    }


def test_worst_simulation_comes_first() -> None:
    latency, resolved = [2.2, 1.0, 4.0, 9.0, 1.0, 1.0], ["YES", "NO", "NO", "YES", "YES", "YES"]
    report = report_on(latency, resolved, failed=1, use_metric_targets=True)
    # did not complete; 3.5 times the bound; twice the bound and a wrong text; a wrong text; 10% above
    assert [*missed(report)] == ["s5", "s3", "s2", "s1", "s0"]


@given(
    st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6),
    st.integers(0, 2),
    st.integers(0, 2),
    st.lists(st.sampled_from(THRESHOLDS), max_size=3),
    st.booleans(),
)
def test_each_simulation_to_look_at_says_why(
    values: list[tuple[Value | None, Value | None]], failed: int, allowed: int, lines: list[str], targets: bool
) -> None:
    thresholds = parse_thresholds("\n".join(lines))
    needs_targets = targets or "pass_rate >= 50%" in lines
    report = report_on(
        [latency for latency, _ in values],
        [resolved for _, resolved in values],
        failed=failed,
        thresholds=thresholds,
        use_metric_targets=targets,
        max_failed=Allowance(allowed),
    )
    for row in rows_of(report):
        if row.verdict is not Verdict.PASSED and needs_targets:
            assert row.misses or not row.simulation.completed
        if row.misses and row.simulation.completed:
            assert row.verdict is not Verdict.PASSED
    if report.judgement.lets_pass:
        assert not any(row.verdict in (Verdict.FAILED, Verdict.ERROR) for row in rows_of(report))
    for render in FACES.values():
        assert render(composed(report))
