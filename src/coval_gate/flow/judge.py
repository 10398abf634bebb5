"""Decides what a run shows: follows it to its end, judges it, and explains the judgement.

Its imports take longer than the rest of the start, so they come after the launch.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from coval_gate.flow.follow import follow_trial
from coval_gate.flow.promote import owe_mark
from coval_gate.judge.criteria import Criteria
from coval_gate.judge.findings import findings_of
from coval_gate.judge.gate import judge_outcome
from coval_gate.judge.judgement import gravest
from coval_gate.model.outcomes import Completed
from coval_gate.report.formats.log import check_lines
from coval_gate.report.wording.repetition import all_runs_text
from coval_gate.runs.baseline import baseline_of
from coval_gate.runs.details import fetch_details
from coval_gate.runs.drift import drift_of
from coval_gate.runs.trend import fetch_trend
from coval_gate.times import DETAILS, TREND
from coval_gate.waiting import beside

if TYPE_CHECKING:
    from coval_gate.flow.progress import Progress
    from coval_gate.judge.judgement import Judgement
    from coval_gate.judge.repetition import Together
    from coval_gate.model.baseline import Baseline
    from coval_gate.model.outcomes import Outcome
    from coval_gate.model.results import RunResult
    from coval_gate.model.run import Run
    from coval_gate.model.trend import TrendRun
    from coval_gate.runs.leg import Leg
    from coval_gate.runs.session import Session
    from coval_gate.runs.trial import Trial
    from coval_gate.waiting import Procedure


def judge_first(session: Session, progress: Progress, leg: Leg) -> Procedure[Judgement]:
    """Judge the first run of a leg, and explain the judgement. Raises CovalError, RunnerError."""
    trial, criteria = leg.first, Criteria.from_inputs(leg.inputs)
    outcome = yield from follow_trial(session, progress, trial, criteria)
    baseline = yield from _baseline(session, progress, leg, outcome)
    leg.drift = yield from drift_of(session, trial, outcome, progress.context)
    judgement = yield from beside(partial(judge_outcome, outcome, criteria, baseline, leg.drift))
    leg.judgement = trial.judgement = judgement
    owe_mark(progress, trial)
    if isinstance(outcome, Completed):
        leg.result = outcome.result
        yield from _explain(session, progress, leg, judgement)
    return judgement


def judge_repetition(session: Session, progress: Progress, leg: Leg, trial: Trial) -> Procedure[Judgement]:
    """Judge a repetition alone. It is compared with the baseline of the first run. Raises CovalError, RunnerError."""
    criteria, first = Criteria.from_inputs(leg.inputs), leg.first.judgement
    outcome = yield from follow_trial(session, progress, trial, criteria)
    baseline = first.baseline if first and not leg.inputs.accept else None
    trial.judgement = yield from beside(partial(judge_outcome, outcome, criteria, baseline, None))
    owe_mark(progress, trial)
    if isinstance(outcome, Completed):
        session.log(*check_lines((yield from beside(partial(findings_of, trial.judgement)))))
    return trial.judgement


def take_together(session: Session, progress: Progress, leg: Leg, together: Together) -> Procedure[None]:
    """Record what the trials of a leg show together. Raises RunnerError."""
    leg.result, leg.judgement = together
    leg.findings = None  # a run alone has other findings
    repetition = leg.judgement.repetition
    if repetition and not repetition.unusable:
        session.log(f"{all_runs_text(len(repetition.runs)).capitalize()} together:")
        yield from _explain(session, progress, leg, leg.judgement)


def _baseline(session: Session, progress: Progress, leg: Leg, outcome: Outcome) -> Procedure[Baseline | None]:
    """Find the runs that thresholds compare with."""
    if leg.inputs.accept:
        return None
    return (yield from baseline_of(session, leg.first, outcome, progress.context))


def _explain(session: Session, progress: Progress, leg: Leg, judgement: Judgement) -> Procedure[None]:
    """Write the outputs, log every check, and fetch details about the simulations to look at.

    Raises RunnerError.
    """
    outcomes = [leg.outcome for leg in progress.legs if leg.outcome]
    if len(outcomes) == len(progress.legs):  # a step that is killed earlier must not pass
        progress.publisher.write_verdict(progress.report(gravest(outcomes)))
    leg.findings = yield from beside(partial(findings_of, judgement, leg.result))
    session.log(*check_lines(leg.findings))
    run = leg.first.run
    if leg.result and run:
        if not judgement.repetition:
            leg.trend = yield from _trend(session, leg, run, leg.result)
        leg.details = yield from fetch_details(
            session._replace(deadline=session.times.informing(session.clock.now(), DETAILS)),
            leg.result,
            [row.simulation.id for row in leg.findings.to_look_at],
            test_set_id=run.test_set_id or leg.inputs.test_set_id,
        )


def _trend(session: Session, leg: Leg, run: Run, result: RunResult) -> Procedure[tuple[TrendRun, ...]]:
    """Fetch the last runs before the leg's, if a report shows them."""
    inputs = leg.inputs
    if not inputs.html_path:
        return ()
    tag = inputs.baseline.name if inputs.baseline and inputs.baseline.kind == "tag" else ""
    return (
        yield from fetch_trend(
            session._replace(deadline=session.times.informing(session.clock.now(), TREND)),
            run,
            metrics={metric.id for metric in result.metrics},
            promotions=tuple(filter(None, (inputs.promote, tag))),
        )
    )
