"""The chart of drift: what raises an alarm and what does not, which runs count, and what people read of it."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest

from baselines import Cases, numbers, run_of, yes
from coval_gate.config.fields import Allowance
from coval_gate.config.thresholds import parse_thresholds
from coval_gate.judge.chart import CAP, LEVELS, LONGEST_STEP, SpreadRule, Within, chart_of, level_for
from coval_gate.judge.criteria import Criteria
from coval_gate.judge.findings import findings_of
from coval_gate.judge.gate import judge
from coval_gate.judge.verdict import Verdict
from coval_gate.model.baseline import REFERENCE_RUNS, BaselineRun, Drift
from coval_gate.model.run import Run
from coval_gate.report.formats.log import check_lines
from coval_gate.report.wording.checks import check_reason

if TYPE_CHECKING:
    from coval_gate.judge.checks import Check
    from coval_gate.model.results import RunResult

LATENCY = "Latency: avg <= baseline * 1.1"
PLAIN = SpreadRule(factor=3.0)


def night(number: int, cases: Cases, *, name: str = "Latency", **differences: Any) -> BaselineRun:
    """Return the run of a night, which has the number of its day."""
    run_id = f"night{number}"
    run = Run(run_id=run_id, status="COMPLETED", create_time=f"2026-01-{number:02}T04:00:00Z")
    return BaselineRun(run=run, result=run_of(run_id, cases, name=name), **differences)


def past(slower: list[float], *, cases: int = 30) -> Drift:
    """Return a drift with a steady reference, and later nights that are so many times as slow."""
    reference = tuple(night(number, numbers(number, cases)) for number in range(1, 8))
    later = tuple(night(8 + place, numbers(90 + place, cases, slower=factor)) for place, factor in enumerate(slower))
    return Drift(tag="golden", reference_runs=REFERENCE_RUNS, holder="night1", reference=reference, later=later)


def checks(now: RunResult, drift: Drift | None, thresholds: str = LATENCY) -> list[Check]:
    """Judge a run, and return its checks on drift."""
    criteria = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds(thresholds))
    return [check for check in judge(now, criteria, drift=drift).checks if check.criterion.kind == "drift"]


def latency(slower: float = 1.0, cases: int = 30) -> RunResult:
    return run_of("now", numbers(7, cases, slower=slower), name="Latency")


def test_steady_agent_passes() -> None:
    (check,) = checks(latency(), past([1.0] * 5))
    assert check.verdict is Verdict.PASSED
    assert not check.informs


def test_lasting_change_fails_with_its_first_night() -> None:
    (check,) = checks(latency(1.3), past([1.0, 1.0, 1.3, 1.3, 1.3, 1.3]))
    assert check.verdict is Verdict.FAILED
    assert "since 2026-01-1" in check_reason(check)
    assert check.measure
    assert check.measure.path
    assert [drifted.run_id for drifted in check.measure.path.nights][-2:] == ["night13", "now"]


def test_drift_alone_is_red_against_the_baseline() -> None:
    criteria = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds(LATENCY))
    for slower, red in ((1.0, False), (1.3, True)):
        judgement = judge(latency(slower), criteria, drift=past([slower] * 5))
        assert [check.criterion.kind for check in judgement.missed if check.measure] == ["drift"] * red
        assert judgement.is_red_against_baseline is red


def test_one_bad_day_is_no_alarm() -> None:
    (check,) = checks(latency(5.0), past([1.0, 1.0]))
    assert check.verdict is Verdict.PASSED
    assert check.measure
    assert check.measure.path
    assert 0.0 < check.measure.path.sum <= check.measure.path.level


def test_alarm_within_the_margin_passes() -> None:
    slow = past([1.3] * 5)
    assert checks(latency(1.3), slow)[0].verdict is Verdict.FAILED
    (check,) = checks(latency(1.3), slow, "Latency: avg <= baseline * 2")
    assert check.verdict is Verdict.PASSED
    assert check.measure
    assert check.measure.path
    assert check.measure.path.alarms


def test_threshold_that_asks_for_an_improvement_watches_for_the_opposite() -> None:
    assert checks(latency(), past([1.0] * 5), "Latency: avg <= baseline * 0.5")[0].verdict is Verdict.PASSED
    assert checks(latency(1.3), past([1.3] * 5), "Latency: avg <= baseline * 0.5")[0].verdict is Verdict.FAILED


def test_mended_agent_is_soon_green() -> None:
    drift = past([2.0] * 20 + [1.0] * 9)
    assert checks(latency(), drift)[0].verdict is Verdict.PASSED


def test_reference_that_grows_informs_only() -> None:
    for runs, begun in ((0, False), (3, True)):
        drift = Drift(tag="golden", reference_runs=runs, holder="night1" if begun else "")
        (check,) = checks(latency(), drift)
        assert (check.verdict, check.informs) == (Verdict.PASSED, True)
        assert "golden" in check_reason(check)


def test_unreadable_reference_is_inconclusive() -> None:
    (check,) = checks(latency(), Drift(tag="golden", unreadable="GET /runs answered 503."))
    assert check.verdict is Verdict.INCONCLUSIVE
    assert check.doubt_passes
    assert "GET /runs answered 503" in check_reason(check)


@pytest.mark.parametrize(
    ("differences", "reason"),
    [
        ({"changed_persona": True}, "another persona"),
        ({"changed_metrics": frozenset({"m"})}, "another version of Latency"),
        ({"changed_cases": frozenset(f"case{n:03}" for n in range(30))}, "too few test cases are the same"),
    ],
    ids=["persona", "metric", "cases"],
)
def test_reference_that_differs_is_inconclusive(differences: dict[str, Any], reason: str) -> None:
    reference = tuple(night(number, numbers(number, 30), **differences) for number in range(1, 8))
    (check,) = checks(latency(), past([1.0])._replace(reference=reference))
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "against the reference, run night1 of 2026-01-01" in check_reason(check)
    assert reason in check_reason(check)
    assert "accept: true" in check_reason(check)


def test_later_run_that_differs_does_not_count() -> None:
    slow = past([3.0] * 6)
    later = tuple(night(8 + place, numbers(90, 30, slower=3.0), changed_persona=True) for place in range(6))
    drift = Drift(tag="golden", reference_runs=7, holder="night1", reference=slow.reference, later=later)
    (check,) = checks(latency(), drift)
    assert check.measure
    assert check.measure.path
    assert (len(check.measure.path.nights), check.measure.path.left_out) == (1, 6)


def test_test_set_that_grew_is_no_drift() -> None:
    """New cases, however slow they are, say nothing about the cases of the reference."""
    slow = {f"new{n}": [9.0] for n in range(30)}
    reference = past([]).reference
    later = tuple(night(8 + place, {**numbers(90 + place, 30), **slow}) for place in range(6))
    now = run_of("now", {**numbers(7, 30), **slow}, name="Latency")
    (check,) = checks(now, Drift(tag="golden", reference_runs=7, holder="night1", reference=reference, later=later))
    assert check.verdict is Verdict.PASSED
    assert check.measure
    assert check.measure.path
    assert check.measure.path.cases == 30


def test_missing_values_count_as_misses_of_a_rate_in_every_run() -> None:
    rates = "Resolved: rate(YES) >= baseline"
    some: Cases = {f"case{n:03}": ["YES" if n % 5 else None] for n in range(30)}
    runs = tuple(night(number, some, name="Resolved") for number in range(1, 14))
    drift = Drift(tag="golden", reference_runs=7, holder="night1", reference=runs[:7], later=runs[7:])
    (check,) = checks(run_of("now", some), drift, rates)
    assert check.measure
    assert check.verdict is Verdict.PASSED
    assert check.measure.value == pytest.approx(0.8)
    assert checks(run_of("now", yes(10, 30)), drift, rates)[0].measure != check.measure


def test_thresholds_that_show_no_drift_have_no_check() -> None:
    both = f"{LATENCY}\nLatency: max <= baseline\nLatency: avg < 9"
    assert len(checks(latency(), past([1.0]), both)) == 1
    assert checks(latency(), None, both) == []


@pytest.mark.parametrize("aggregate", ["med", "p(90)"])
def test_percentiles_drift_too(aggregate: str) -> None:
    assert checks(latency(1.6), past([1.6] * 6), f"Latency: {aggregate} <= baseline")[0].verdict is Verdict.FAILED
    assert checks(latency(), past([1.0] * 6), f"Latency: {aggregate} <= baseline * 1.1")[0].verdict is Verdict.PASSED


def test_line_of_the_log() -> None:
    criteria = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds(LATENCY))
    lines = [*check_lines(findings_of(judge(latency(1.3), criteria, drift=past([1.0, 1.3, 1.3, 1.3]))))]
    (found,) = [line.strip() for line in lines if "no drift" in line]
    assert found.startswith("✗ no drift: Latency: avg <= baseline * 1.1  1.")
    assert ", alarm above 2.82" in found


# The chart itself


def test_level_rises_with_the_number_of_charts() -> None:
    levels = [level_for(number) for number in range(200)]
    assert levels == sorted(levels)
    assert [level_for(number) for number, _ in LEVELS] == pytest.approx([level for _, level in LEVELS])


def test_no_single_run_reaches_the_level() -> None:
    chart = chart_of([1.0] * 7, [1e9], falls=False, spread=PLAIN, level=level_for(1))
    assert chart.sums[-1] < chart.level
    assert chart.sums[-1] == LONGEST_STEP - 0.5


def test_sum_never_exceeds_its_cap() -> None:
    chart = chart_of([1.0, 1.1] * 4, [9.0] * 60, falls=False, spread=PLAIN, level=3.0)
    assert max(chart.sums) == CAP * 3.0
    assert chart.since == 0


def test_rounding_is_no_drift() -> None:
    values = [0.1 + 0.2, 0.3] * 4
    assert chart_of([0.3] * 7, values, falls=False, spread=PLAIN, level=3.0).sums == (0.0,) * 8


def test_one_odd_run_does_not_blind_the_chart() -> None:
    rng = random.Random(1)
    reference = [rng.gauss(1.0, 0.05) for _ in range(7)]
    later = [rng.gauss(1.0, 0.05) for _ in range(5)] + [90.0] + [rng.gauss(1.2, 0.05) for _ in range(12)]
    chart = chart_of(reference, later, falls=False, spread=PLAIN, level=level_for(1))
    assert chart.sums[-1] > chart.level


@pytest.mark.parametrize("scale", [1e-90, 1.0, 1e90])
def test_size_of_the_values_does_not_matter(scale: float) -> None:
    rng = random.Random(2)
    drawn = [rng.gauss(1.0, 0.1) for _ in range(30)]

    def sums(factor: float) -> tuple[float, ...]:
        values = [factor * value for value in drawn]
        return chart_of(values[:7], values[7:], falls=True, spread=PLAIN, level=3.0).sums

    assert sums(scale) == pytest.approx(sums(1.0))
    assert all(map(math.isfinite, sums(scale)))


def test_cases_explain_the_spread_only_where_it_is_not_far_larger() -> None:
    within = Within(variance=0.01, weight=9.0, factor=2.0)
    spread = SpreadRule(factor=3.0, within=within)
    assert spread.variance(0.06, 6) == pytest.approx(0.02)
    assert spread.variance(0.6, 6) == pytest.approx(0.3)


def test_values_that_go_missing_are_seen_as_in_a_comparison() -> None:
    """Calls begin to fail. A threshold that wants few NO counts a missing value as one, as it does for a baseline."""
    fine: Cases = {f"case{n:03}": ["YES"] for n in range(40)}
    failing: Cases = {case: [None] if place < 12 else values for place, (case, values) in enumerate(fine.items())}
    reference = tuple(night(number, fine, name="Resolved") for number in range(1, 8))
    later = tuple(night(8 + number, failing, name="Resolved") for number in range(5))
    drift = Drift(tag="golden", reference_runs=REFERENCE_RUNS, holder="night1", reference=reference, later=later)

    (check,) = checks(run_of("now", failing), drift, "Resolved: rate(NO) <= baseline + 5pp")

    assert check.verdict is Verdict.FAILED
    assert check.measure
    assert check.measure.value == pytest.approx(0.3)


@pytest.mark.parametrize("aggregate", ["med", "p(75)", "avg"])
def test_cases_weigh_the_same_with_any_number_of_conversations(aggregate: str) -> None:
    """The slow cases have five conversations each since the reference was made; nothing has become slower."""
    once: Cases = {f"case{n:03}": [1.0 + n / 1000 if n < 26 else 3.0 + n / 1000] for n in range(40)}
    often = {case: [*values] * (1 if place < 26 else 5) for place, (case, values) in enumerate(once.items())}
    reference = tuple(night(number, once) for number in range(1, 8))
    later = tuple(night(8 + number, often) for number in range(6))
    drift = Drift(tag="golden", reference_runs=REFERENCE_RUNS, holder="night1", reference=reference, later=later)

    (check,) = checks(run_of("now", often, name="Latency"), drift, f"Latency: {aggregate} <= baseline + 0.1")

    assert check.verdict is Verdict.PASSED
    assert check.measure
    assert check.measure.path
    assert check.measure.value == pytest.approx(check.measure.path.reference, abs=0.1)
