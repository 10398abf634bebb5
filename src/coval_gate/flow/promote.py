"""Gives the runs of a step their standing among later ones: a failed run a mark, a good one the tags of baselines.

A failed run is marked as soon as the verdict is known: no other step must take it for a baseline. A run is promoted
last, after all reports are written: a step that turns red on the way moves no baseline.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from coval_gate.base.clock import Interrupted
from coval_gate.base.errors import CovalError, RunnerError, Unavailable
from coval_gate.base.schedule import together
from coval_gate.base.times import MARKING
from coval_gate.judge.promotion import acceptance_refusal, has_failed_check, refusal
from coval_gate.judge.verdict import Verdict
from coval_gate.model.baseline import Promotion
from coval_gate.model.statuses import COMPLETED
from coval_gate.report.markdown import code, escape
from coval_gate.report.wording.baselines import (
    interrupted_text,
    log_text,
    not_marked_text,
    report_text,
    unjudged_text,
    warning_text,
)
from coval_gate.runs.launch import is_compared
from coval_gate.runs.promote import promote
from coval_gate.runs.retag import mark
from coval_gate.runs.tags import ACCEPTED, FAILED, pull_request_of

if TYPE_CHECKING:
    from coval_gate.base.schedule import Procedure
    from coval_gate.flow.progress import Progress
    from coval_gate.judge.judgement import Judgement
    from coval_gate.report.model import Report
    from coval_gate.runs.legs import Leg, Session, Trial


def owe_mark(progress: Progress, trial: Trial) -> None:
    """Note that a failed run must be marked. If the step is killed, the post step marks it."""
    if trial.judgement and has_failed_check(trial.judgement) and _may_be_baseline(progress, trial):
        trial.owe_mark(owed=True)


def mark_failed_runs(progress: Progress, judgement: Judgement) -> Procedure[None]:
    """Mark the runs of legs that failed, and plan the promotion of the others. Raises Interrupted.

    `judgement` is the step's, which may have ended in an error after it judged the runs.
    """
    judged = [(leg, leg.judgement) for leg in progress.legs if leg.judgement]
    for leg, own in judged:
        if progress.judgement_of(leg, judgement).verdict is Verdict.TIMED_OUT and _goes_on_unjudged(progress, leg):
            _session_of(progress, leg).warn(unjudged_text(leg.first.run_id))
        for trial in leg.trials:
            trial.owe_mark(owed=has_failed_check(own) and _may_be_baseline(progress, trial))
    owing = [(leg, trial) for leg, _ in judged for trial in leg.trials if trial.owes_mark]
    if owing:
        yield from _mark(progress, owing)
    for leg, own in judged:
        leg.promotion = _planned(leg, own) if judgement.lets_pass or judgement is own else None


def promote_runs(progress: Progress, report: Report) -> Procedure[None]:
    """Promote the first run of each leg as planned, unless the step turned red.

    An interrupt takes nothing away from a step that has come this far, but nothing more begins after it.
    """
    if progress.is_hurried and not report.judgement.lets_pass:
        return
    for leg in progress.legs:
        try:
            if leg.promotion:
                yield from _promote(progress, leg, leg.promotion, report)
        except Interrupted:
            progress.publisher.is_interrupted = True
            _session_of(progress, leg).warn(interrupted_text(leg.first.run_id))


def _promote(progress: Progress, leg: Leg, planned: Promotion, report: Report) -> Procedure[None]:
    """Promote the run of one leg as planned. Raises Interrupted."""
    if planned.obstacle == "pending" and not report.judgement.lets_pass:  # a report could not be written
        planned = planned.with_obstacle("not_passed")
    elif planned.obstacle == "pending" and progress.is_hurried:
        planned = planned.with_obstacle("interrupted")
    if planned.obstacle != "pending":
        _report(_session_of(progress, leg), planned)
        return
    session = _session_of(progress, leg)
    if leg.inputs.accept and not (yield from _accept(session, leg)):
        return
    if leg.inputs.promote:
        promotion = yield from promote(session, leg.first, leg.inputs.promote)
        promotion = promotion.redacted(session.host.redact)
        _report(session, promotion)
        _summarize(session, promotion)


def _session_of(progress: Progress, leg: Leg) -> Session:
    return progress.session_of(leg, progress.session())


def _may_be_baseline(progress: Progress, trial: Trial) -> bool:
    """Return whether a search for a baseline may find the trial's run, and the step may say that it must not.

    A search finds no runs of pull requests. A person who judges a run again changes nothing for others.
    """
    if progress.context.is_local and progress.inputs.mode == "wait":
        return False
    if trial.run is None or trial.run.status != COMPLETED or not trial.run_id:
        return False
    return progress.context.pull_request is None and pull_request_of(trial.run) is None


def _goes_on_unjudged(progress: Progress, leg: Leg) -> bool:
    """Return whether the leg's first run goes on without the step, and later runs may be compared with it."""
    inputs, run = leg.inputs, leg.first.run
    if inputs.cancel_on_timeout or run is None or run.is_over or not is_compared(inputs):
        return False
    return progress.context.pull_request is None and pull_request_of(run) is None


def _mark(progress: Progress, owing: list[tuple[Leg, Trial]]) -> Procedure[None]:
    """Mark the runs as failed, and warn once of failures. The post step retries transient ones."""
    session = progress.session()
    marking = _marking(session)
    marks = (mark(marking, trial.run_id, FAILED, sent=trial.sent_tags) for _, trial in owing)
    results = yield from together(marks, session.clock)
    problems: dict[str, CovalError] = {}
    for (leg, trial), result in zip(owing, results, strict=True):
        if isinstance(result, CovalError):
            problems[trial.run_id] = result
        elif isinstance(result, Exception):
            raise result
        trial.owe_mark(owed=isinstance(result, Unavailable))
        if result is True:
            progress.session_of(leg, session).log(f"Marked run {trial.run_id} as failed: it will not be a baseline.")
    if problems:
        first = next(iter(problems.values()))
        session.warn(not_marked_text(list(problems), first.what, first.advice))


def _marking(session: Session) -> Session:
    """Return the session for marks, which take at most MARKING."""
    now = session.clock.now()
    return session._replace(deadline=min(now + MARKING, max(now, session.deadline)))


def _planned(leg: Leg, judgement: Judgement) -> Promotion | None:
    """Return the planned promotion; None if there is none, or the verdict alone says why."""
    accept, tag = leg.inputs.accept, leg.inputs.promote
    if not (tag or accept):
        return None
    refused = acceptance_refusal(judgement) if accept else refusal(judgement)
    if refused == "not_passed" and not accept:
        return None
    obstacle = "pending" if refused == "unconfirmed" else refused or "pending"  # an earlier run may confirm this one
    return Promotion(run_id=leg.first.run_id, tag=tag, obstacle=obstacle, accepted=accept)


def _accept(session: Session, leg: Leg) -> Procedure[bool]:
    """Mark the run as accepted, where comparisons begin, and return whether it has the mark now."""
    trial = leg.first
    accepted = Promotion(run_id=trial.run_id, tag="", accepted=True)
    marking = mark(_marking(session), trial.run_id, ACCEPTED, sent=trial.sent_tags)
    try:
        if trial.run and (number := pull_request_of(trial.run)) is not None:
            outcome = accepted.with_obstacle("pull_request", other=number)
        elif (yield from marking):
            outcome = accepted
        else:
            outcome = accepted.with_obstacle("unknown_origin")
    except CovalError as error:
        outcome = accepted.with_obstacle("failed", text=error.what, advice=error.advice)
    outcome = outcome.redacted(session.host.redact)
    _report(session, outcome)
    _summarize(session, outcome)
    return outcome.promoted


def _report(session: Session, promotion: Promotion) -> None:
    warning = warning_text(promotion)
    if promotion.promoted or not warning:
        session.log(log_text(promotion))
    if warning:
        session.warn(warning)


def _summarize(session: Session, promotion: Promotion) -> None:
    """Add the result of a promotion to the summary, which was written before."""
    if session.inputs.summary:
        text = report_text(promotion, code=code, escape=escape)
        with suppress(RunnerError):
            session.host.add_summary(f"\n{text}\n")
