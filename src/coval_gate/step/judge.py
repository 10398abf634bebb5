"""Judges a run: finds what it is compared with, judges it, and explains the judgement."""

from __future__ import annotations

from functools import partial

from coval_gate.base.schedule import Procedure, beside
from coval_gate.coval.client import Session
from coval_gate.coval.model import Run, RunResult, TrendRun
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.findings import Findings, findings_of
from coval_gate.gate.judge import judge_outcome
from coval_gate.gate.judgement import Judgement, gravest
from coval_gate.gate.measure import Baseline
from coval_gate.gate.verdict import Aborted, Completed, Outcome, TimedOut
from coval_gate.history.baseline import baseline_of
from coval_gate.history.comparable import Subject
from coval_gate.inputs.inputs import ids_of
from coval_gate.report.document.references import listed
from coval_gate.report.formats.log import check_lines
from coval_gate.step.details import fetch_details, fetch_trend, with_units
from coval_gate.step.leg import Leg, Trial
from coval_gate.step.report import report_of
from coval_gate.step.settle import owe_mark
from coval_gate.step.step import LegRun


def find_baseline(session: LegRun, outcome: Outcome) -> Procedure[Baseline | None]:
    """Find the earlier runs that the first run of a leg is compared with. Raises CovalError."""
    inputs, trial = session.inputs, session.leg.first
    if inputs.accept or trial.run is None or not isinstance(outcome, Completed):
        return None
    subject = Subject(
        run=trial.run,
        result=outcome.result,
        request=trial.request,
        context=session.step.context,
        thresholds=inputs.thresholds,
    )
    return (yield from baseline_of(session, subject, over_since=trial.polls.over_since))


def judge_trial(
    session: LegRun,
    trial: Trial,
    outcome: Outcome,
    criteria: Criteria,
    baseline: Baseline | None,
    base: Baseline | None,
) -> Procedure[Judgement]:
    """Judge a run alone. `base`: the run beside it. If it can be no baseline, the step owes it a mark."""
    leg = session.leg
    counted = _in_simulations(leg, outcome)
    judgement = yield from beside(partial(judge_outcome, counted, criteria, baseline, base, trial.attached))
    if trial is leg.first:
        judgement = judgement._replace(timeout_passes=_timeout_passes(leg, outcome, judgement))
    trial.judgement = judgement
    owe_mark(session.step, trial, judgement)
    return judgement


def _timeout_passes(leg: Leg, outcome: Outcome, judgement: Judgement) -> bool:
    """A time-out passes only if something shows how many simulations failed, and nothing ever showed too many.

    It cannot pass if a base is missing, or a job has to answer the simulations.
    """
    trial, allowance = leg.first, leg.inputs.max_failed_simulations
    if leg.inputs.on_timeout != "pass" or trial.attached is False:
        return False
    if leg.base and not any(isinstance(outcome, Completed) for outcome in leg.base.outcomes):
        return False
    shown = [
        (sum(one.ended and not one.completed for one in variant.simulations), variant.total)
        for variant in judgement.variants
    ]
    if trial.polls.most_failed:
        polled = trial.polls.most_failed.in_simulations(leg.planned)
        # Progress does not tell variants apart: all failures may be of one.
        shown.append((polled.failed or 0, polled.total // (1 + len(set(leg.inputs.mutation_ids)))))
        if polled.failed and polled.failed >= polled.total:
            return False  # none can have completed
    if any(failed > allowance.of(total) for failed, total in shown):
        return False
    if trial.run is not None and (trial.run.error or not trial.run.is_clean):
        return False
    if isinstance(outcome, Completed):
        if outcome.result.reported_error:
            return False
        if all(check.criterion.of_values for check in judgement.missed):
            return True  # the list of simulations is whole
    return trial.run is not None and trial.run.shows_failures


def _in_simulations(leg: Leg, outcome: Outcome) -> Outcome:
    """Return the outcome with counts of simulations, which its reason shows."""
    if not isinstance(outcome, TimedOut | Aborted) or outcome.run.progress is None:
        return outcome
    counted = outcome.run.progress.in_simulations(leg.planned)
    outcome = outcome._replace(run=outcome.run._replace(progress=counted))
    return outcome._replace(failed=counted.failed or 0) if isinstance(outcome, Aborted) else outcome


def explain(session: LegRun, judgement: Judgement) -> Procedure[Judgement]:
    """Write outputs, log checks, fetch details. Return the judgement with units. Raises RunnerError."""
    step, leg = session.step, session.leg
    outcomes = [leg.outcome for leg in step.legs if leg.outcome]
    # A step that is killed earlier must not pass, nor one that has yet to accept its run.
    if len(outcomes) == len(step.legs) and not step.inputs.accept:
        step.publisher.write_verdict(report_of(step, gravest(outcomes)))
    if leg.result:
        leg.result, judgement = yield from with_units(session, leg.result, judgement)
    leg.judgement = judgement
    leg.findings = yield from log_checks(session, judgement, leg.result)
    run = leg.first.run
    if leg.result and run:
        if session.inputs.html_path and not judgement.repetition:
            leg.trend = yield from _trend(session, run, leg.result)
        leg.details = yield from fetch_details(
            session,
            leg.result,
            [row.simulation.id for row in leg.findings.to_look_at],
            test_set_id=run.test_set_id or ids_of(leg.inputs)["test_set_id"],
        )
    return judgement


def log_checks(session: Session, judgement: Judgement, result: RunResult | None = None) -> Procedure[Findings]:
    findings = yield from beside(partial(findings_of, judgement, result))
    session.log(*check_lines(*listed(findings)))
    return findings


def _trend(session: Session, run: Run, result: RunResult) -> Procedure[tuple[TrendRun, ...]]:
    baseline = session.inputs.baseline
    tag = baseline.name if baseline and baseline.kind == "tag" else ""
    return fetch_trend(session, run, metrics={metric.id for metric in result.metrics}, tag=tag)
