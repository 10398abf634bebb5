"""Builders of runs that are compared with a baseline, and reports of such comparisons."""

import random
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from coval_gate.base.errors import GateError
from coval_gate.ci.github import WEB
from coval_gate.ci.host import Context, Head
from coval_gate.coval.model import BASE, Details, Metric, Run, RunResult, Simulation, Summary, Target, Value
from coval_gate.features.legs.judge import compare_legs
from coval_gate.gate.checks import Check
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.gate.judgement import (
    UNFINISHED_RUN,
    Judgement,
    LegsSummary,
    errored,
    judgement_with_words,
)
from coval_gate.gate.measure import Baseline, BaselineRun, Comparison, Measure, NotFoundReason
from coval_gate.gate.verdict import Together, Verdict
from coval_gate.inputs.fields import Allowance, BaselineSource
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.document.base import SingleRunFacts
from coval_gate.report.document.model import LegReport, Report
from support import inputs_of

Cases = Mapping[str, Sequence[Value | None]]  # the values of each test case; None where one is missing
MAIN = BaselineSource(kind="branch", name="main")
RATE = "Resolved: rate(YES) >= baseline - 5pp"
NO_BASELINE = Baseline(source=MAIN, missing=NotFoundReason(kind="none"))
DASHBOARD = "https://app.coval.dev/acme"


def run_of(
    run_id: str,
    cases: Cases,
    *,
    mutation: str = BASE,
    target: Target | None = None,
    name: str = "Resolved",
    metric_id: str = "m",
) -> RunResult:
    """Return a run with one metric."""
    simulations, values = [], {}
    for case, found in cases.items():
        for place, value in enumerate(found):
            simulation_id = f"{run_id}.{mutation}.{case}.{place}"
            simulations.append(Simulation(id=simulation_id, status="COMPLETED", test_case_id=case, mutation=mutation))
            if value is not None:
                values[simulation_id] = value
    metric = Metric(id=metric_id, name=name, values=values, target=target)
    return RunResult(run_id=run_id, expected=len(simulations), simulations=tuple(simulations), metrics=(metric,))


def answered(
    run_id: str,
    answers: str,
    cases: Sequence[str],
    *,
    target: Target | None = None,
    summary: Summary | None = None,
) -> RunResult:
    """Return a run with a letter for each conversation, of these test cases.

    Y and N are answers, and X is a simulation that did not complete. Latency is 1 for Y and 2 for N.
    """
    simulations = tuple(
        Simulation(id=f"{run_id}.{n}", status="FAILED" if answer == "X" else "COMPLETED", test_case_id=case)
        for n, (answer, case) in enumerate(zip(answers, cases, strict=True))
    )
    given = {one.id: answer for one, answer in zip(simulations, answers, strict=True) if answer != "X"}
    resolved = {id_: {"Y": "YES", "N": "NO"}[answer] for id_, answer in given.items()}
    latency = {id_: {"Y": 1.0, "N": 2.0}[answer] for id_, answer in given.items()}
    metrics = (
        Metric(id="m1", name="Resolved", values=resolved, target=target),
        Metric(id="m2", name="Latency", values={} if summary else latency, summary=summary),
    )
    return RunResult(run_id=run_id, expected=len(simulations), simulations=simulations, metrics=metrics)


def both(one: RunResult, other: RunResult) -> RunResult:
    """Return one run with the simulations of two, which have the same metric."""
    metric = one.metrics[0]._replace(values={**one.metrics[0].values, **other.metrics[0].values})
    simulations = (*one.simulations, *other.simulations)
    return one._replace(simulations=simulations, expected=len(simulations), metrics=(metric,))


def also(one: RunResult, other: RunResult) -> RunResult:
    """Return one run with the metrics of two, which have the same simulations."""
    return one._replace(metrics=(*one.metrics, *other.metrics))


def baseline_of(*runs: RunResult | BaselineRun, source: BaselineSource = MAIN) -> Baseline:
    """Return a baseline of runs that completed."""
    found = [
        run if isinstance(run, BaselineRun) else BaselineRun(run=Run(run_id=run.run_id, status="COMPLETED"), result=run)
        for run in runs
    ]
    return Baseline(source=source, runs=tuple(found))


def judged(
    now: RunResult,
    baseline: Baseline | None,
    thresholds: str,
    *,
    confidence: float | None = 0.95,
    on_inconclusive: str = "",
    legs: int = 1,
    base: Baseline | None = None,
) -> Judgement:
    """Judge a run, any of whose simulations may fail, in a step with so many legs, beside the run of a `base` agent."""
    parsed = parse_thresholds(thresholds)
    if base:
        parsed = tuple(line._replace(bound=line.bound._replace(reference="base_agent")) for line in parsed)
    criteria = Criteria(
        max_failed=Allowance(100, percent=True),
        thresholds=parsed,
        confidence=confidence,
        on_inconclusive=on_inconclusive,
        legs=legs,
    )
    return judge(now, criteria, baseline=baseline, base=base)


def compared(now: Cases, before: Cases, thresholds: str, **how: Any) -> Judgement:
    """Judge a run with some values against a baseline with others."""
    return judged(run_of("now", now), baseline_of(run_of("old", before)), thresholds, **how)


def yes(hits: int, count: int, iterations: int = 1) -> dict[str, list[Value | None]]:
    """Return that many cases, of which the first `hits` are YES in every conversation."""
    return {f"case{n:03}": ["YES" if n < hits else "NO"] * iterations for n in range(count)}


def numbers(seed: int, count: int, *, slower: float = 1.0) -> dict[str, list[Value | None]]:
    """Return that many cases with a number each; `slower` is what they are multiplied by."""
    rng = random.Random(seed)
    return {f"case{n:03}": [round(slower * rng.lognormvariate(0, 0.5), 3)] for n in range(count)}


def ran(
    run_id: str, verdict: Verdict | None, *, status: str = "COMPLETED", url: str = ""
) -> tuple[SingleRunFacts, ...]:
    """Return the only run of a leg."""
    url = url or f"{DASHBOARD}/runs/{run_id}"
    return (SingleRunFacts(id=run_id, url=url, status=status, verdict=verdict, kept_from=None),)


def report_on(
    now: RunResult,
    baseline: Baseline | None,
    thresholds: str,
    *,
    labels: Mapping[str, str] | None = None,
    confidence: float | None = 0.95,
    on_inconclusive: str = "",
    base: Baseline | None = None,
    legs: int = 1,
) -> Report:
    """Return the report of a step with one run, and with another one of a `base` agent."""
    baseline = baseline and baseline._replace(acceptable=now.run_id)
    how: dict[str, Any] = {"confidence": confidence, "on_inconclusive": on_inconclusive, "legs": legs}
    judgement = judged(now, baseline, thresholds, base=base, **how)
    base_report = None
    if base:
        ids = {"agent_id": base.source.name}
        base_report = LegReport(judgement=UNFINISHED_RUN, name="base", ids=ids, runs=ran(base.runs[0].run.run_id, None))
    leg = LegReport(
        judgement=judgement,
        runs=ran(now.run_id, judgement.verdict),
        dashboard_url=DASHBOARD,
        run=Run(run_id=now.run_id, status="COMPLETED"),
        result=now,
        details=Details(labels=labels or {}),
        base=base_report,
    )
    return step_report(leg)


def step_report(leg: LegReport, run_url: str = "") -> Report:
    """Return the report of a step with one leg."""
    return Report(
        judgement=leg.judgement,
        legs=(leg,),
        context=Context(repository="acme/voice-agent", workflow="Voice gate", job="evaluate", run_url=run_url),
        inputs=inputs_of(dashboard_url=DASHBOARD, agent_id="agent00000000000000001"),
        began="2026-01-03T00:00:00Z",
        seconds=62.5,
    )


def for_pull_request(report: Report) -> Report:
    """Return the report as a pull request shows it: of a commit, with the agent's name and the latency's unit."""
    units = {"l": "seconds"}

    def in_seconds(metric: Metric) -> Metric:
        return metric._replace(unit=units.get(metric.id, metric.unit))

    context = report.context._replace(
        server_url="https://github.com",
        sha="5d1c1b0a8f0e4c2f9a7b6c5d4e3f2a1b0c9d8e7f",
        pull_request=42,
        for_pull_request=True,
        head=Head("acme", "better-greeting"),
        web=WEB,
    )
    legs = tuple(
        leg._replace(
            judgement=judgement_with_words(leg.judgement, units, {}),
            result=leg.result and leg.result._replace(metrics=tuple(map(in_seconds, leg.result.metrics))),
            names={"agent_id": "Front desk"},
        )
        for leg in report.legs
    )
    judgement = legs[0].judgement if len(legs) == 1 else report.judgement
    return report._replace(judgement=judgement, legs=legs, context=context)


def earlier(run_id: str, day: int, result: RunResult, **differences: object) -> BaselineRun:
    """Return a run of the baseline that was launched on a day of January."""
    run = Run(run_id=run_id, status="COMPLETED", create_time=f"2026-01-{day:02}T04:00:00Z")
    return BaselineRun(run=run, result=result._replace(run_id=run_id), **differences)  # type: ignore[arg-type]


CALLERS = ("Books an appointment", "Angry caller", "Wants a human", "Speaks Spanish", "Background noise")
LABELS = {f"case{n:03}": f"{caller} {n + 1}" for n, caller in enumerate(CALLERS * 4)}


def latency(run_id: str, seed: int, slower: float = 1.0) -> RunResult:
    """Return a run of twenty cases that measures a latency."""
    return run_of(run_id, numbers(seed, 20, slower=slower), name="Latency", metric_id="l")


def pair(run_id: str, hits: int, seed: int, slower: float = 1.0) -> RunResult:
    """Return a run of twenty cases with two metrics."""
    return also(run_of(run_id, yes(hits, 20)), latency(run_id, seed, slower))


DEPLOYED = BaselineSource(kind="base_agent", name="agent00000000000000000")
BESIDE = "Resolved: rate(YES) >= base - 15pp\nLatency: avg <= base * 1.1"
TWO = f"{RATE}\nLatency: avg <= baseline * 1.1"


@cache
def comparison_reports() -> dict[str, Report]:
    """Return a report for each way in which a comparison can end."""
    fine = baseline_of(earlier("old1", 2, pair("old1", 19, 1)))
    slow = baseline_of(earlier("old1", 2, pair("old1", 9, 1, slower=3)))
    fifty = baseline_of(earlier("old1", 2, run_of("old1", yes(44, 50))))
    three = Baseline(
        source=MAIN._replace(last=5),
        runs=(
            earlier("old3", 2, run_of("old3", yes(18, 22)), changed_cases=frozenset({"case000"})),
            earlier("old2", 1, run_of("old2", yes(19, 22)), changed_options=("config_overrides",)),
            earlier("old1", 1, run_of("old1", yes(19, 22)), changed_persona=True, unchecked=("metrics",)),
        ),
        fewer_than_asked=2,
    )
    agent = run_of("now", yes(19, 20))
    ten = "\n".join([RATE.replace(" - 5pp", "")] + ["Resolved: rate(NO, YES) >= baseline - 90%"] * 9)
    return {
        "better": report_on(pair("now", 20, 1), slow, TWO, labels=LABELS),
        "unchanged": report_on(pair("now", 19, 1), fine, TWO, labels=LABELS, confidence=None),
        "worse": report_on(pair("now", 8, 2, slower=3), fine, f"{TWO}\nLatency: p(50) < 2", labels=LABELS),
        "worse, as counted": report_on(pair("now", 16, 1), fine, TWO, labels=LABELS, confidence=None),
        "in doubt": report_on(pair("now", 18, 2), fine, TWO, labels=LABELS),
        "in doubt, red": report_on(pair("now", 18, 2), fine, TWO, labels=LABELS, on_inconclusive="fail"),
        "by chance": report_on(run_of("now", yes(40, 50)), fifty, ten, confidence=0.9),
        "several runs": report_on(run_of("now", yes(15, 21)), three, RATE, labels=LABELS),
        "no baseline": report_on(pair("now", 19, 1), NO_BASELINE, TWO, labels=LABELS),
        "no baseline, red": report_on(pair("now", 19, 1), NO_BASELINE, f"{TWO}\nLatency: max < 2", confidence=None),
        "advisory": report_on(pair("now", 16, 2), fine, f"? {RATE}\n? Latency: avg < 0.9\n? Tone: avg > 4\ntotal >= 9"),
        "beside another agent": report_on(
            pair("now", 18, 2, slower=1.4),
            None,
            BESIDE,
            labels=LABELS,
            base=baseline_of(pair("deployed", 18, 1), source=DEPLOYED),
        ),
        "mutations": report_on(
            both(agent, run_of("now", yes(8, 20), mutation="Faster")),
            None,
            "Resolved: rate(YES) >= base - 5pp",
            labels=LABELS,
        ),
    }


def checks_of(judgement: Judgement) -> list[Check]:
    return [check for check in judgement.checks if check.criterion.kind == "threshold"]


def only(judgement: Judgement) -> Check:
    (check,) = checks_of(judgement)
    return check


def measured(check: Check) -> Measure:
    assert check.measure
    return check.measure


def comparison_of(check: Check) -> Comparison:
    assert measured(check).comparison
    return measured(check).comparison  # type: ignore[return-value]


def comparison(judgement: Judgement) -> Comparison:
    return comparison_of(only(judgement))


def problem_of(judgement: Judgement) -> str:
    """Return the kind of what kept the only threshold from being decided."""
    problem = only(judgement).problem
    return problem.kind if problem else ""


def together_report(now: int = 16) -> Report:
    """Return the report of a step with four legs. Three fall from 19 to so many of 20 cases, and one has no run."""
    personas = ("calm", "angry", "hurried")
    reports = [
        report_on(own(name, now, "now"), baseline_of(earlier(f"{name} old", 2, own(name, 19, "old"))), RATE, legs=4)
        for name in personas
    ]
    legs = tuple(
        report.legs[0]._replace(name=name, runs=ran(f"run-{name}", report.judgement.verdict))
        for name, report in zip(personas, reports, strict=True)
    )
    refused = errored(GateError("Not launched", "Coval refused the launch.", advice="Check the persona."))
    return reports[0]._replace(
        judgement=refused._replace(legs_summary=LegsSummary(4, "unknown", tuple(leg.run_id for leg in legs), others=0)),
        legs=(*legs, LegReport(judgement=refused, name="unknown")),
        together=beside(legs, 4),
    )


def decided_together() -> Report:
    """Return the same without the leg that has no run, so that all together decide."""
    report = together_report()
    legs, together = report.legs[:3], beside(report.legs[:3], 3)
    summary = LegsSummary(3, together.name, tuple(leg.run_id for leg in legs), acceptable=True)
    return report._replace(judgement=together.judgement._replace(legs_summary=summary), legs=legs, together=together)


def own(leg: str, hits: int, run_id: str) -> RunResult:
    """Return a run of twenty test cases that only this leg has."""
    return run_of(f"{leg}-{run_id}", {f"{leg}-{case}": values for case, values in yes(hits, 20).items()})


def beside(legs: Sequence[LegReport], total: int) -> LegReport:
    """Return the comparison of these legs, and of others without a judgement, together."""
    criteria = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds(RATE), confidence=0.95, legs=total)
    others: list[Judgement | None] = [None] * (total - len(legs))
    judgement = compare_legs([(judgement, criteria) for judgement in (*(leg.judgement for leg in legs), *others)])
    assert judgement
    assert isinstance(judgement.cause, Together)
    return LegReport(judgement=judgement, name=judgement.cause.name)
