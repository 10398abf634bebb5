"""Known failures decide nothing, on either side of a comparison; entries have an end, few cases and a use."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from baselines import answered, baseline_of, run_of
from coval_gate.coval.model import BASE, RunResult, Summary, Target
from coval_gate.features.known_failures.entries import KnownFailure
from coval_gate.features.legs.judge import compare_legs
from coval_gate.features.repetition.judge import judge_together
from coval_gate.features.spending.judge import judge_slices
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.findings import FailureCause, findings_of
from coval_gate.gate.judge import judge
from coval_gate.gate.judgement import Judgement, SingleRun
from coval_gate.gate.measure import Baseline
from coval_gate.gate.verdict import Completed, Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.wording import reason

UNTIL = date(2027, 1, 31)
CASES = [f"case{n:02}" for n in range(20)]
BAD = CASES[-1]
WHOLE = KnownFailure(BAD, "ticket 4711", UNTIL)
OF_METRIC = WHOLE._replace(metric="resolved")
TARGET = Target("in", values=("YES",))


def judged(
    now: RunResult, thresholds: str, *known: KnownFailure, baseline: Baseline | None = None, **how: Any
) -> Judgement:
    criteria = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds(thresholds), known=known)
    return judge(now, replace(criteria, **how), baseline=baseline)


def shown(judgement: Judgement) -> list[str]:
    """Return what each threshold measured."""
    measured = [(check, check.measure) for check in judgement.checks if check.threshold]
    return [check.criterion.actual(check, measure) if measure else "" for check, measure in measured]


@pytest.mark.parametrize(
    ("thresholds", "whole", "of_metric"),
    [
        ("Resolved: rate(YES) == 100%", "100% (19 of 19), 1 known", "100% (19 of 19), 1 known"),
        ("Resolved: rate(NO) < 10%", "0% (0 of 19), 1 known", "0% (0 of 19), 1 known"),
        ("Resolved: count(NO) == 0", "0 of 19, 1 known", "0 of 19, 1 known"),
        ("Resolved: missing == 0", "0 of 19, 1 known", "0 of 19, 1 known"),
        ("Resolved: rate(YES) >= baseline", "100% (19 of 19), 1 known", "100% (19 of 19), 1 known"),
        ("Latency: max < 2", "1, 1 known", "2"),
        ("pass_rate == 100%", "100% (19 of 19), 1 known", "100% (20 of 20)"),
        ("completed_rate == 100%", "100% (19 of 19), 1 known", "100% (20 of 20)"),
        ("failed == 0", "0 of 19, 1 known", "0 of 20"),
        ("total >= 1", "19, 1 known", "20"),
    ],
)
def test_every_criterion_counts_without_them(thresholds: str, whole: str, of_metric: str) -> None:
    now = answered("now", "Y" * 19 + "N", CASES, target=TARGET)
    old = baseline_of(answered("old", "Y" * 19 + "N", CASES, target=TARGET))
    assert shown(judged(now, thresholds, WHOLE, baseline=old)) == [whole]
    assert shown(judged(now, thresholds, OF_METRIC, baseline=old)) == [of_metric]


def test_worst_test_case_is_one_of_the_others() -> None:
    twice = [*CASES, *CASES]
    now, line = answered("now", ("Y" * 18 + "NN") + "Y" * 19 + "N", twice), "Resolved: worst(YES) >= 50%"
    assert shown(judged(now, line)) == [f"0% (0 of 2: {BAD})"]
    assert shown(judged(now, line, OF_METRIC)) == ["50% (1 of 2), 2 known"]


def test_values_that_are_missing_are_no_gaps() -> None:
    now = answered("now", "Y" * 20, CASES)
    resolved = now.metrics[0]._replace(values=dict.fromkeys([*now.metrics[0].values][:-1], "YES"))
    now = now._replace(metrics=(resolved, *now.metrics[1:]))
    assert judged(now, "Resolved: rate(YES) >= 90%").verdict is Verdict.ERROR
    for entry in (WHOLE, OF_METRIC):
        judgement = judged(now, "Resolved: rate(YES) >= 90%", entry)
        assert (judgement.verdict, shown(judgement)) == (Verdict.PASSED, ["100% (19 of 19), 1 known"])


@pytest.mark.parametrize(("entry", "verdict"), [(WHOLE, Verdict.PASSED), (OF_METRIC, Verdict.FAILED)])
def test_a_conversation_that_failed_counts_unless_it_is_known_as_a_whole(entry: KnownFailure, verdict: Verdict) -> None:
    judgement = judged(answered("now", "Y" * 19 + "X", CASES), "Resolved: rate(YES) >= 90%", entry)
    assert judgement.verdict is verdict


def test_targets_are_met_without_them() -> None:
    now = answered("now", "Y" * 19 + "N", CASES, target=TARGET)
    assert judged(now, "", use_metric_targets=True).verdict is Verdict.FAILED
    for entry in (WHOLE, OF_METRIC):
        judgement = judged(now, "", entry, use_metric_targets=True, known_checks=("metric",))
        assert (judgement.verdict, judgement.totals and judgement.totals.pass_rate) == (Verdict.PASSED, 1.0)


def test_both_sides_of_a_comparison_leave_them_out() -> None:
    """The baseline would be lower with its known failure: the change is over the test cases that count."""
    now, old = answered("now", "Y" * 18 + "NN", CASES), answered("old", "Y" * 19 + "N", CASES)
    for entry in (WHOLE, OF_METRIC):
        judgement = judged(now, "Resolved: rate(YES) >= baseline", entry, baseline=baseline_of(old), confidence=0.95)
        (check,) = [check for check in judgement.checks if check.threshold]
        compared = check.comparison
        assert compared
        assert (compared.value, compared.total, compared.cases) == (1.0, 19, 19)
        assert (compared.left_out.new, compared.left_out.gone, compared.newly_failing) == (0, 0, (CASES[-2],))


def test_slices_repetitions_and_all_legs_leave_them_out() -> None:
    thresholds, metric = "Resolved: rate(YES) >= baseline", "m1"
    old = baseline_of(answered("old", "Y" * 19 + "N", CASES))
    runs = []
    for name in ("first", "second"):
        judgement = judged(answered(name, "Y" * 18 + "NN", CASES), thresholds, WHOLE, baseline=old, confidence=0.95)
        runs.append(SingleRun(name, judgement))
    criteria = Criteria(
        max_failed=Allowance(0), thresholds=parse_thresholds(thresholds), known=(WHOLE,), confidence=0.95
    )
    assert shown(judge_together(runs, criteria)) == ["94.7% (36 of 38) over 2 runs, 2 known"]
    assert shown(judge_slices(runs[:1], criteria, (20, 40))) == ["94.7% (18 of 19), 1 known"]
    together = compare_legs([(run.judgement, criteria) for run in runs])
    assert together is not None
    assert shown(together) == ["94.7% (36 of 38) over 2 runs, 2 known"]
    assert metric in {check.metric for check in together.checks}


def test_mutations_leave_them_out_each() -> None:
    now = run_of("now", {case: ["YES", "YES"] for case in CASES[:-1]} | {BAD: ["NO", "NO"]})
    quiet = run_of("quiet", {case: ["YES"] for case in CASES[:-1]} | {BAD: ["NO"]}, mutation="quiet")
    metric = now.metrics[0]._replace(values={**now.metrics[0].values, **quiet.metrics[0].values})
    simulations = (*now.simulations, *quiet.simulations)
    both = now._replace(simulations=simulations, expected=60, metrics=(metric,))
    judgement = judged(both, "Resolved: rate(YES) == 100%\nResolved: rate(YES) >= base", OF_METRIC)
    assert (judgement.verdict, [variant.name for variant in judgement.variants]) == (Verdict.PASSED, [BASE, "quiet"])
    assert shown(judgement)[:2] == ["100% (38 of 38), 2 known", "100% (19 of 19), 1 known"]


def test_a_summary_hides_nothing() -> None:
    """Coval's own mean has the known values, too, so it is no value of the others."""
    now = answered("now", "Y" * 20, CASES, summary=Summary(mean=1.0, min=1.0, max=1.0))
    assert judged(now, "Latency: avg < 2").verdict is Verdict.PASSED
    assert judged(now, "Latency: avg < 2", WHOLE).verdict is Verdict.ERROR


def test_a_run_of_known_failures_only_is_no_pass() -> None:
    judgement = judged(answered("now", "Y", [BAD]), "Resolved: rate(YES) >= 90%", WHOLE)
    assert judgement.verdict is Verdict.ERROR
    assert reason(judgement).startswith("Every test case of the run is a known failure, so nothing was evaluated")


def test_a_simulation_is_shown_and_no_cause_of_anything() -> None:
    judgement = judged(answered("now", "Y" * 18 + "NN", CASES), "Resolved: rate(YES) >= 99%", WHOLE)
    assert reason(judgement).endswith("must be >= 99%. 1 known failure left out.")
    assert isinstance(judgement.cause, Completed)
    findings = findings_of(judgement, judgement.cause.result)
    rows = {row.simulation.test_case_id: row for row in findings.simulations}
    assert (rows[BAD].verdict, rows[BAD].known, rows[BAD].is_to_look_at) == (Verdict.SKIPPED, "ticket 4711", False)
    assert [row.simulation.test_case_id for row in findings.to_look_at] == [CASES[-2]]
    assert len(rows) == 20
    # With a metric, it may still miss something else.
    judgement = judged(
        answered("now", "Y" * 19 + "N", CASES), "Resolved: rate(YES) >= 99%\nLatency: max < 2", OF_METRIC
    )
    assert isinstance(judgement.cause, Completed)
    (row,) = findings_of(judgement, judgement.cause.result).to_look_at
    assert (row.verdict, row.known, len(row.misses)) == (Verdict.FAILED, "ticket 4711", 1)
    assert row.cause is not FailureCause.NEW


@pytest.mark.parametrize(
    ("entry", "thresholds", "now", "old", "passes"),
    [
        (WHOLE, "Resolved: rate(YES) >= baseline", "Y", "Y", True),
        (WHOLE, "Resolved: rate(YES) >= baseline", "N", "Y", False),
        (WHOLE, "Resolved: rate(YES) >= baseline", "Y", "N", False),
        (WHOLE, "Resolved: rate(YES) >= baseline", "X", "Y", False),
        (WHOLE, "Resolved: rate(YES) >= baseline", "Y", "", False),
        (OF_METRIC, "Resolved: rate(YES) >= baseline", "Y", "Y", True),
        (OF_METRIC, "Resolved: rate(YES) >= baseline", "N", "Y", False),
        (OF_METRIC._replace(metric="Latency"), "Latency: avg <= baseline", "Y", "Y", False),  # which blames none
    ],
)
def test_an_entry_can_go_when_its_case_passes_now_and_before(
    entry: KnownFailure, thresholds: str, now: str, old: str, passes: bool
) -> None:
    baseline = baseline_of(answered("old", "Y" * 19 + old, CASES)) if old else None
    judgement = judged(answered("now", "Y" * 19 + now, CASES), thresholds, entry, baseline=baseline)
    (case,) = judgement.known
    assert (case.simulations, case.passes) == (("now.19",), passes)


@pytest.mark.parametrize("runs", [1, 3])
def test_an_entry_can_go_when_its_case_passes_in_all_runs_that_are_compared_with(runs: int) -> None:
    baseline = baseline_of(*(answered(f"old{nth}", "Y" * 20, CASES) for nth in range(runs)))
    thresholds = "Resolved: rate(YES) == 100%\nResolved: rate(YES) >= baseline - 5pp"
    (case,) = judged(answered("now", "Y" * 20, CASES), thresholds, WHOLE, baseline=baseline).known
    assert case.passes


@pytest.mark.parametrize(
    ("known", "checks", "problem"),
    [
        ([WHOLE, WHOLE._replace(test_case=CASES[0])], (), ""),
        ([WHOLE, *(WHOLE._replace(test_case=case) for case in CASES[:2])], (), "names 3 of 20 test cases"),
        ([WHOLE._replace(test_case="other")], ("case",), "names other, which the test set does not have"),
        ([WHOLE._replace(test_case="other")], (), ""),  # it was not drawn
        ([OF_METRIC._replace(metric="Tone")], ("metric",), 'names the metric "Tone", which no threshold'),
        ([OF_METRIC._replace(metric="Latency")], ("metric",), 'names the metric "Latency", which no threshold'),
        ([OF_METRIC._replace(metric="m1")], ("metric",), ""),
    ],
)
def test_what_only_the_run_shows(known: list[KnownFailure], checks: tuple[Any, ...], problem: str) -> None:
    now = answered("now", "Y" * 20, CASES)
    judgement = judged(now, "Resolved: rate(YES) >= 90%", *known, known_checks=checks)
    assert judgement.verdict is (Verdict.ERROR if problem else Verdict.PASSED)
    assert problem in reason(judgement)
    # Another leg may have what this one lacks, if the entry names none.
    if checks:
        assert judged(now, "Resolved: rate(YES) >= 90%", *known, known_checks=checks, legs=2).verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("other", "is_twice"),
    [
        (OF_METRIC._replace(metric="M1"), False),  # an id has one case
        (OF_METRIC._replace(metric="m1"), True),
        (OF_METRIC._replace(metric="RESOLVED"), True),
        (WHOLE, True),
        (OF_METRIC._replace(metric="Latency"), False),
        (OF_METRIC._replace(metric="m1", test_case=CASES[0]), False),
    ],
)
def test_the_run_shows_that_entries_name_one_metric(other: KnownFailure, is_twice: bool) -> None:
    """One by its id and one by its name, or of a leg and of one of its combinations."""
    now, twice = answered("now", "Y" * 20, CASES), ("twice",)
    for entries in ((OF_METRIC, other), (other, OF_METRIC)):
        numbered = [entry._replace(line=line) for line, entry in enumerate(entries, start=7)]
        judgement = judged(now, "Resolved: rate(YES) >= 90%", *numbered, known_checks=twice)
        assert judgement.verdict is (Verdict.ERROR if is_twice else Verdict.PASSED)
        assert (f"excuses {BAD} in line 8, and in line 7, too; keep one" in reason(judgement)) is is_twice


def test_a_test_case_that_is_excused_for_two_metrics_is_one() -> None:
    judgement = judged(answered("now", "Y" * 20, CASES), "total >= 1", OF_METRIC, OF_METRIC._replace(metric="Latency"))
    assert (len(judgement.known), judgement.excused) == (2, frozenset({BAD}))
    assert reason(judgement).endswith("1 known failure left out.")
