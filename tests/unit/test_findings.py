"""Findings are made once, and every format shows the same simulations in the same order."""

from baselines import RATE, baseline_of, earlier, run_of, yes
from baselines import report_on as report_on_baseline
from coval_gate.gate.findings import findings_of
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.document import document_of
from coval_gate.report.model import Report
from reports import DASHBOARD
from unit.test_simulations import report_on

FAILING, TOLERATED, PASSED = ["s3", "s2", "s1", "s0"], ["s5"], ["s4"]


def report() -> Report:
    """Return the report of a run in which simulations fail, are tolerated, and pass; each has a page."""
    base = report_on(
        [2.2, 1.0, 4.0, 9.0, 1.0, 1.0],
        ["YES", "NO", "NO", "YES", "YES", "YES"],
        failed=1,
        use_metric_targets=True,
        max_failed=Allowance(5),
        thresholds=parse_thresholds("Latency: max < 3"),
    )
    (leg,) = base.legs
    return base._replace(legs=(leg._replace(run_url=f"{DASHBOARD}/runs/r1", dashboard_url=DASHBOARD),))


def test_simulations_of_each_kind_come_in_turn() -> None:
    findings = findings_of(report().judgement, report().legs[0].result)
    verdicts = [(simulation.simulation.id, simulation.verdict) for simulation in findings.simulations]
    kinds = [(FAILING, Verdict.FAILED), (TOLERATED, Verdict.SKIPPED), (PASSED, Verdict.PASSED)]
    assert verdicts == [(simulation_id, verdict) for ids, verdict in kinds for simulation_id in ids]
    assert [finding.simulation.id for finding in findings.to_look_at] == FAILING + TOLERATED


def test_flips_of_first_checks_are_those_of_the_gravest() -> None:
    baseline = baseline_of(earlier("old1", 2, run_of("old1", yes(19, 20))))
    (leg,) = document_of(report_on_baseline(run_of("now", yes(9, 20)), baseline, f"? {RATE}\n{RATE}")).legs
    flipped = [criterion for criterion in leg.criteria if criterion.newly_failing]
    assert [criterion.advisory for criterion in flipped] == [False, True]
    assert (leg.flips, leg.flipped_criteria) == (10, 2), "each test case counts once"
