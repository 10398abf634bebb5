"""Judges a run: follows it to its end, finds what it is compared with, and explains the judgement."""

from __future__ import annotations

from functools import partial

from coval_gate.base.schedule import Procedure, beside
from coval_gate.base.times import DETAILS, TREND, UNITS
from coval_gate.coval.model import Run, RunResult, TrendRun
from coval_gate.gate.compared import Baseline
from coval_gate.gate.findings import findings_of
from coval_gate.gate.judge import judge_outcome
from coval_gate.gate.judgement import (
    Judgement,
    gravest,
    judgement_with_units,
    result_with_units,
)
from coval_gate.gate.verdict import Aborted, Completed, Outcome, TimedOut
from coval_gate.history.baseline import baseline_of
from coval_gate.history.comparable import Subject
from coval_gate.inputs.inputs import ids_of
from coval_gate.report.compose.criteria import listed
from coval_gate.report.formats.log import check_lines
from coval_gate.step.base import base_beside
from coval_gate.step.details import fetch_details, fetch_trend, fetch_units
from coval_gate.step.follow import criteria_of, find_attached
from coval_gate.step.leg import Leg, Trial
from coval_gate.step.report import report_of
from coval_gate.step.settle import owe_mark
from coval_gate.step.step import LegRun


def judge_first(session: LegRun, outcome: Outcome) -> Procedure[Judgement]:
    """Judge the first run of a leg, and explain the judgement. Raises CovalError, RunnerError."""
    leg = session.leg
    trial = leg.first
    yield from find_attached(session, trial)
    judgement = yield from _judged(session, trial, outcome, (yield from _baseline(session, outcome)))
    judgement = judgement._replace(timeout_passes=_timeout_passes(leg, outcome, judgement))
    leg.judgement = trial.judgement = judgement
    owe_mark(session.step, trial, judgement)
    if isinstance(outcome, Completed):
        leg.result = outcome.result
        if session.inputs.max_simulations:  # a given run, and its base's, count as well before another one is launched
            for counted in filter(None, (leg, leg.base)):
                counted.planned = counted.planned or len(outcome.result.simulations)
        trial.judgement = judgement = yield from explain(session, judgement)
    return judgement


def judge_repetition(session: LegRun, trial: Trial, outcome: Outcome) -> Procedure[Judgement]:
    """Judge a repetition alone. It is compared with the baseline of the first run. Raises CovalError, RunnerError."""
    first = session.leg.first.judgement
    yield from find_attached(session, trial)
    baseline = first.baseline if first and not session.inputs.accept else None
    trial.judgement = yield from _judged(session, trial, outcome, baseline)
    owe_mark(session.step, trial, trial.judgement)
    if isinstance(outcome, Completed):
        trial.judgement = judgement_with_units(trial.judgement, session.client.shown.units)
        session.log(*check_lines(*listed((yield from beside(partial(findings_of, trial.judgement))))))
    return trial.judgement


def _judged(session: LegRun, trial: Trial, outcome: Outcome, baseline: Baseline | None) -> Procedure[Judgement]:
    base = (yield from base_beside(session, trial.repetition)) if isinstance(outcome, Completed) else None
    counted = _in_simulations(session.leg, outcome)
    return (yield from beside(partial(judge_outcome, counted, criteria_of(session), baseline, base, trial.attached)))


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
    if trial.most_failed:
        polled = trial.most_failed.in_simulations(leg.planned)
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


def _baseline(session: LegRun, outcome: Outcome) -> Procedure[Baseline | None]:
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
    return (yield from baseline_of(session, subject, over_since=trial.over_since))


def explain(session: LegRun, judgement: Judgement) -> Procedure[Judgement]:
    """Write outputs, log checks, fetch details. Return the judgement with units. Raises RunnerError."""
    step, leg = session.step, session.leg
    outcomes = [leg.outcome for leg in step.legs if leg.outcome]
    # A step that is killed earlier must not pass, nor one that has yet to accept its run.
    if len(outcomes) == len(step.legs) and not step.inputs.accept:
        step.publisher.write_verdict(report_of(step, gravest(outcomes)))
    leg.judgement = judgement = yield from _with_units(session, judgement)
    leg.findings = yield from beside(partial(findings_of, judgement, leg.result))
    session.log(*check_lines(*listed(leg.findings)))
    run = leg.first.run
    if leg.result and run:
        if not judgement.repetition:
            leg.trend = yield from _trend(session, run, leg.result)
        leg.details = yield from fetch_details(
            session.until(session.times.informing(session.clock.now(), DETAILS)),
            leg.result,
            [row.simulation.id for row in leg.findings.to_look_at],
            test_set_id=run.test_set_id or ids_of(leg.inputs)["test_set_id"],
        )
    return judgement


def _with_units(session: LegRun, judgement: Judgement) -> Procedure[Judgement]:
    """Units are added to the result, too, as far as Coval shows them soon."""
    leg = session.leg
    if leg.result is None:
        return judgement
    soon = session.until(session.times.informing(session.clock.now(), UNITS))
    first = {check.metric for check in judgement.checks}
    units = yield from fetch_units(soon, leg.result.metrics, first)
    if units:
        leg.result = result_with_units(leg.result, units)
        judgement = yield from beside(partial(judgement_with_units, judgement, units))
    return judgement


def _trend(session: LegRun, run: Run, result: RunResult) -> Procedure[tuple[TrendRun, ...]]:
    """Fetch only what a report shows."""
    inputs = session.leg.inputs
    if not inputs.html_path:
        return ()
    tag = inputs.baseline.name if inputs.baseline and inputs.baseline.kind == "tag" else ""
    return (
        yield from fetch_trend(
            session.until(session.times.informing(session.clock.now(), TREND)),
            run,
            metrics={metric.id for metric in result.metrics},
            tag=tag,
        )
    )
