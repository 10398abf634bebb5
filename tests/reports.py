"""The reports that every format is tested on: one for each way in which a step, a run or a comparison can end."""

from functools import cache
from typing import Any, Final

from baselines import (
    baseline_of,
    comparison_reports,
    decided_together,
    ran,
    report_on,
    run_of,
    step_report,
    together_report,
)
from browsing import legs_report, rich_report
from coval_gate.base.errors import GateError
from coval_gate.coval.model import (
    COMPLETED,
    LARGEST_VALUE,
    SMALLEST_VALUE,
    Details,
    Metric,
    Run,
    RunResult,
    Simulation,
    Target,
)
from coval_gate.coval.results import read_run
from coval_gate.gate.checks import Check
from coval_gate.gate.criteria import Criteria, ThresholdHolds
from coval_gate.gate.judge import judge, judge_outcome
from coval_gate.gate.judgement import (
    INTERRUPTED_STEP,
    LAUNCHED_RUN,
    UNFINISHED_RUN,
    CaseStability,
    Judgement,
    LegsSummary,
    Repetition,
    SingleRun,
    errored,
    with_checks,
)
from coval_gate.gate.measure import Measure, Totals
from coval_gate.gate.verdict import (
    SKIPPED_STEP,
    Cancellation,
    Completed,
    Limit,
    NotCompleted,
    Skipped,
    TimedOut,
    Verdict,
)
from coval_gate.inputs.fields import Allowance, BaselineSource
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.document.base import SingleRunFacts
from coval_gate.report.document.model import LegReport, Report
from support import inputs_of

RUN_ID: Final = "run00000000000000000001"
DASHBOARD: Final = "https://app.coval.dev/acme"  # with an organization, so that simulations are linked
RUN_URL: Final = f"{DASHBOARD}/runs/{RUN_ID}"
WORKFLOW_RUN: Final = "https://github.com/acme/voice-agent/actions/runs/1"
GUIDE: Final = "https://docs.coval.dev"
LONG_METRIC: Final = "Seconds until the answer, "
ALIKE: Final = ("unchanged", "worse, as counted", "in doubt, red", "by chance", "no baseline, red")  # to others
EXTREME: Final = (
    [LARGEST_VALUE] * 4,
    [LARGEST_VALUE, -LARGEST_VALUE, LARGEST_VALUE / 2, -LARGEST_VALUE / 3],
    [SMALLEST_VALUE, 0.0, -SMALLEST_VALUE, 0.0],
    [SMALLEST_VALUE, 2 * SMALLEST_VALUE, 3 * SMALLEST_VALUE, 4 * SMALLEST_VALUE],
    [LARGEST_VALUE, SMALLEST_VALUE, 0.0, 1.0],
)
LIMIT: Final = Limit("max_wait_time", 3600)


def repeated(report: Report) -> Report:
    """Return the report of a run that was repeated twice, the second time without a verdict."""
    (leg,) = report.legs
    simulations = leg.result.simulations if leg.result else ()
    alone = leg.judgement._replace(verdict=Verdict.FAILED)
    cases = dict.fromkeys((member.test_case_id, member.mutation) for member in simulations)
    unusable = SingleRun(run_id="run3", judgement=report.judgement)
    repetition = Repetition(
        runs=(SingleRun(run_id=RUN_ID, judgement=alone), SingleRun(run_id="run2", judgement=alone)),
        unusable=unusable,
        cases=tuple(
            CaseStability(test_case_id=case, variant=variant, failed=1 + number % 2, total=2)
            for number, (case, variant) in enumerate(cases)
        ),
        failing=frozenset(member.id for member in simulations),
    )
    judgement = leg.judgement._replace(verdict=Verdict.FAILED, repetition=repetition)
    runs = tuple(
        SingleRunFacts(id=run.run_id, url=RUN_URL, status="COMPLETED", verdict=Verdict.FAILED, kept_from=None)
        for run in (*repetition.runs, unusable)
    )
    return report._replace(judgement=judgement, legs=(leg._replace(judgement=judgement, runs=runs),))


def with_leg(report: Report, **changes: Any) -> Report:
    """Return the report with changes to its only leg; its result has the statistics."""
    (leg,) = report.legs
    if "result" in changes:
        changes = {"judgement": leg.judgement._replace(variants=())} | changes
    return report._replace(legs=(leg._replace(**changes),))


def simulation(name: str, **fields: Any) -> Simulation:
    """Return a completed simulation, with changes in `fields`."""
    return Simulation(id=name, **{"status": "COMPLETED", "test_case_id": f"case-{name}"} | fields)


def in_two_legs(report: Report, *names: str) -> Report:
    """Return the report of a step whose legs have these names, and differ in nothing else."""
    (leg,) = report.legs
    judgement = report.judgement._replace(legs_summary=LegsSummary(len(names), names[0]))
    return report._replace(judgement=judgement, legs=tuple(leg._replace(name=name) for name in names))


@cache
def example_reports() -> dict[str, Report]:
    """Return a report for each verdict and each reason for it, mostly on four simulations."""
    good = (simulation("s1"), simulation("s2"), simulation("s3"), simulation("s4"))
    one_failed = (*good[:3], simulation("s4", status="FAILED", error="The line was busy."))
    mutated = (
        *good,
        *(simulation(f"m{member.id}", test_case_id=member.test_case_id, mutation="Calmer") for member in good),
    )
    judged = {
        "passed": _judged(good, "Latency: avg < 2\nResolved: rate(YES) >= 75%"),
        "passed, no criteria": _judged(good),
        "failed": _judged(good, "Latency: max < 1.5\nResolved: rate(YES) >= 75%"),
        "failed, two criteria": _judged(good, "Latency: max < 1.5\nResolved: count(NO) == 0"),
        "failed, target": _judged(good, use_metric_targets=True),
        "failed, simulation did not complete": _judged(one_failed),
        "failed, error reported": _judged(good, reported_error="GENERIC_FAILURE"),
        "passed, tolerated failed simulation": _judged(one_failed, "completed_rate >= 50%", max_failed=Allowance(1)),
        "passed, tolerated missed target": _judged(good, "pass_rate >= 75%"),
        "failed, mutation": _judged(mutated, "Latency: max < 3"),
        "failed, iteration": _judged(
            tuple(member._replace(test_case_id="case") for member in good), "Latency: max < 1.5"
        ),
        "error, no such metric": _judged(good, "Latncy: avg < 2"),
        "error and failed": _judged(good, "Empty: avg < 2\nLatency: max < 1.5"),
        "error, unfinished simulation": _judged((*good[:3], simulation("s4", status="IN PROGRESS"))),
        "error, no simulations listed": _judged((), expected=4),
    }
    others = {
        "run failed": _not_completed("FAILED", error="No such number."),
        "run error": _not_completed("ERROR"),
        "timed out": judge_outcome(TimedOut(_ended("IN PROGRESS"), LIMIT), Criteria(max_failed=Allowance(0)))._replace(
            cancellation=Cancellation(outcome="left")
        ),
        "interrupted": INTERRUPTED_STEP,
        "skipped": Judgement(Verdict.SKIPPED, SKIPPED_STEP, Skipped("fork")),
        "launched": LAUNCHED_RUN,
        "step error": errored(GateError("Title", "What happened.", advice="- Do this.\n- Do that.", link=GUIDE)),
    }
    doubted = Check(
        criterion=ThresholdHolds(threshold=parse_thresholds("Latency: avg < 2")[0]),
        verdict=Verdict.INCONCLUSIVE,
        measure=Measure(value=2.0, unit="metric", count=4),
        metric="m1",
    )
    result = judged["passed"].legs[0].result
    assert result
    completed = Judgement(Verdict.PASSED, COMPLETED, Completed(result=result), totals=Totals(total=4, completed=4))
    inconclusive = with_checks(completed, (doubted,))
    return {
        **judged,
        **{name: _reported(judgement) for name, judgement in others.items()},
        "timed out, missing values": _judged(good, "Empty: avg < 2", late=LIMIT),
        "inconclusive": _reported(inconclusive, result),
        "no legs": Report(judgement=UNFINISHED_RUN, inputs=inputs_of()),
    }


def _not_completed(status: str, **fields: Any) -> Judgement:
    return judge_outcome(NotCompleted(run=_ended(status, **fields)), Criteria(max_failed=Allowance(0)))


def _reported(judgement: Judgement, result: RunResult | None = None) -> Report:
    leg = LegReport(
        judgement=judgement,
        runs=ran(RUN_ID, judgement.verdict),
        dashboard_url=DASHBOARD,
        run=_ended("COMPLETED"),
        result=result,
        details=Details(
            labels={"case-s1": "A caller asks for the way", "case-s4": "A caller who hangs up"},
            texts={"s4": {"m1": "The agent was slow."}},
        ),
    )
    return step_report(leg, WORKFLOW_RUN)


def _judged(
    simulations: tuple[Simulation, ...],
    thresholds: str = "",
    *,
    reported_error: str = "",
    expected: int = 0,
    max_failed: Allowance = Allowance(0),  # noqa: B008 - it is frozen
    late: Limit | None = None,
    **criteria: Any,
) -> Report:
    """Return a report on these simulations: every fourth is slow (2.5 s) and not resolved (NO)."""
    slow = {member.id: member.id.endswith("4") for member in simulations if member.completed}
    latency = {simulation_id: 2.5 if is_slow else 1.0 for simulation_id, is_slow in slow.items()}
    latency |= {simulation_id: value + 1 for simulation_id, value in latency.items() if simulation_id.startswith("m")}
    all_criteria = Criteria(max_failed=max_failed, thresholds=parse_thresholds(thresholds), **criteria)
    # The step fetches targets only if a criterion needs them.
    target = Target(operator="lt", upper=2.0) if all_criteria.needs_targets else None
    metrics = (
        Metric(id="m1", name="Latency", values=latency, target=target),
        Metric(
            id="m2",
            name="Resolved",
            values={simulation_id: "NO" if is_slow else "YES" for simulation_id, is_slow in slow.items()},
        ),
        Metric(id="m3", name="Topics", values={simulation_id: frozenset({"way", "time"}) for simulation_id in slow}),
        Metric(id="m4", name="Empty"),
    )
    result = RunResult(
        run_id=RUN_ID, reported_error=reported_error, expected=expected, simulations=simulations, metrics=metrics
    )
    return _reported(judge(result, all_criteria, late=late), result)


def _ended(status: str, **fields: Any) -> Run:
    return read_run({"run_id": RUN_ID, "status": status, "persona_id": "p1"} | fields)


@cache
def table() -> dict[str, Report]:
    """Return every report that is small."""
    lines = "Resolved: avg < 1\nResolved: p(95) < 1\nResolved: stdev < 1\nResolved: avg <= baseline * 1.1"
    extreme = {
        f"extreme numbers {place}": report_on(
            run_of("now", {f"case{n}": [value] for n, value in enumerate(now)}),
            baseline_of(run_of("then", {f"case{n}": [value] for n, value in enumerate(EXTREME[place - 3])})),
            lines,
            confidence=0.95 if place % 2 else None,
        )
        for place, now in enumerate(EXTREME)
    }
    return {
        **example_reports(),
        **{name: report for name, report in comparison_reports().items() if name not in ALIKE},
        **extreme,
        "rich": rich_report(),
        "repeated": repeated(example_reports()["failed, two criteria"]),
        "two legs": in_two_legs(example_reports()["failed, mutation"], "v1.2", "v1·2"),
        "three legs": legs_report(),
        "together": decided_together(),
        "together, with an error": together_report(),
    }


def large_report(
    simulations: int,
    *,
    metrics: int = 1,
    variants: int = 1,
    lines: int = 1,
    compared: bool = False,
) -> Report:
    """Return the report on simulations that miss every threshold; these are spread over the metrics.

    The worst are explained. With `compared`, each is a threshold against a baseline in which all of them met it.
    """
    members = tuple(
        Simulation(
            id=f"siml{number:018}",
            status="COMPLETED",
            test_case_id=f"case{number:018}",
            mutation=f"Mutation {number % variants}" if number % variants else "",
        )
        for number in range(simulations)
    )
    then = RunResult(run_id=f"runs{0:018}", simulations=members, metrics=_measured(members, metrics, "YES"))
    now = then._replace(run_id=f"runs{1:018}", metrics=_measured(members, metrics, "NO" if compared else None))
    condition = "rate(YES) >= baseline - 0.{:03}" if compared else "max < 1.{:03}"
    thresholds = parse_thresholds(
        "\n".join(f'"{LONG_METRIC}{number % metrics}": {condition.format(number)}' for number in range(lines))
    )
    baseline = baseline_of(then, source=BaselineSource(kind="branch", name="main", last=1)) if compared else None
    judgement = judge(now, Criteria(max_failed=Allowance(0), thresholds=thresholds), baseline=baseline)
    whys = {metric.id: "The agent was slow. " * 15 for metric in now.metrics}
    texts = {member.id: whys for member in members[-20:]}
    labels = {member.test_case_id: f"{'🦜' * 80} {member.id}" for member in members}
    leg = LegReport(
        judgement=judgement,
        runs=ran(now.run_id, judgement.verdict, status="", url=RUN_URL),
        dashboard_url=DASHBOARD,
        result=now,
        details=Details(labels=labels, texts=texts),
    )
    return Report(judgement=judgement, legs=(leg,), inputs=inputs_of(dashboard_url=DASHBOARD))


def _measured(members: tuple[Simulation, ...], metrics: int, text: str | None) -> tuple[Metric, ...]:
    """Return metrics whose values are all this text, or numbers."""
    return tuple(
        Metric(
            id=f"metr{number:018}",
            name=f"{LONG_METRIC}{number}",
            values={member.id: text or 2.0 + place / 7 for place, member in enumerate(members)},
        )
        for number in range(metrics)
    )
