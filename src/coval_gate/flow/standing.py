"""Gives the judged runs of a step their standing among later ones, as soon as the verdict is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, Unavailable
from coval_gate.base.schedule import together
from coval_gate.base.times import ACCEPTING, MARKING
from coval_gate.coval.model import COMPLETED
from coval_gate.gate.judgement import errored, gravest
from coval_gate.gate.outcome import Completed
from coval_gate.gate.verdict import Verdict
from coval_gate.report.wording.standing import (
    not_accepted_text,
    not_marked_text,
    not_taken_text,
    standing_text,
    unjudged_text,
)
from coval_gate.runs.retag import mark
from coval_gate.runs.standing import accept, take_tag
from coval_gate.runs.tags import FAILED, pull_request_of

if TYPE_CHECKING:
    from coval_gate.base.schedule import Procedure
    from coval_gate.flow.progress import Progress
    from coval_gate.gate.judgement import Judgement
    from coval_gate.runs.legs import Leg, Session, Trial


def owe_mark(progress: Progress, trial: Trial) -> None:
    """Note that a run must be marked as no baseline. If the step is killed, the post step marks it."""
    if trial.judgement:
        trial.owe_mark(owed=trial.judgement.is_barred and _may_be_baseline(progress, trial))


def settle_standing(progress: Progress, judgement: Judgement) -> Procedure[Judgement]:
    """Return the step's judgement, or the error of a run that could not be accepted. Raises Interrupted."""
    judged = [(leg, leg.judgement) for leg in progress.legs if leg.judgement]
    for leg, own in judged:
        is_over = progress.judgement_of(leg, judgement).verdict is not Verdict.TIMED_OUT
        if not is_over and _goes_on_unjudged(progress, leg):
            _session_of(progress, leg).warn(unjudged_text(leg.first.run_id))
        for trial in leg.trials:
            trial.owe_mark(owed=own.is_barred and _may_be_baseline(progress, trial))
    owing = [(leg, trial) for leg, _ in judged for trial in leg.trials if trial.owes_mark]
    if owing:
        yield from _mark(progress, owing)
    works = [_settle(progress, leg, own) for leg, own in judged]
    problems: list[Judgement] = []
    for (leg, _), result in zip(judged, (yield from together(works, progress.clock)), strict=True):
        if isinstance(result, CovalError):
            leg.error = errored(result)
            problems.append(leg.error)
    return gravest([judgement, *problems]) if problems else judgement


def _settle(progress: Progress, leg: Leg, judgement: Judgement) -> Procedure[None]:
    """Accept the leg's first run, or let it fill the tag of the baseline. Raises CovalError if it is not accepted."""
    source, trial = leg.inputs.baseline, leg.first
    session = _session_of(progress, leg, ACCEPTING if leg.inputs.accept else MARKING)
    if source is None or not (leg.inputs.accept or (source.kind == "tag" and _is_of_branch(progress))):
        return
    has_all = isinstance(judgement.cause, Completed) and not judgement.is_barred
    if leg.inputs.accept and has_all:
        accepted = [other.first.run_id for other in progress.legs if other.trials]
        leg.standing = yield from accept(session, trial, source, progress.context, accepted)
    elif leg.inputs.accept and trial.run_id:
        if judgement.lets_pass:
            raise CovalError(titles.NOT_ACCEPTED, not_accepted_text(trial.run_id))
        session.warn(not_accepted_text(trial.run_id))
    elif has_all:
        try:
            leg.standing = yield from take_tag(session, trial, source)
        except CovalError as error:
            session.warn(not_taken_text(trial.run_id, source.name, error.what, error.advice))
    if leg.standing:
        session.log(f"Run {leg.standing.run_id}: {standing_text(leg.standing)}")


def _session_of(progress: Progress, leg: Leg, most: float = MARKING) -> Session:
    """`most`: seconds that changes of tags may take."""
    session = progress.session_of(leg, progress.session())
    now = session.clock.now()
    return session._replace(deadline=min(now + most, max(now, session.deadline)))


def _is_of_branch(progress: Progress) -> bool:
    """Return whether the step is a CI system's, and of no pull request."""
    context = progress.context
    return not (context.is_local or context.of_pull_request or context.pull_request is not None)


def _may_be_baseline(progress: Progress, trial: Trial) -> bool:
    """A search finds no run of a pull request. Judging a run again on a laptop changes nothing for others."""
    if progress.context.is_local and progress.inputs.mode == "wait":
        return False
    if trial.run is None or trial.run.status != COMPLETED or not trial.run_id:
        return False
    return progress.context.pull_request is None and pull_request_of(trial.run) is None


def _goes_on_unjudged(progress: Progress, leg: Leg) -> bool:
    """Return whether the leg's first run goes on without the step, and later runs may be compared with it."""
    inputs, run = leg.inputs, leg.first.run
    by_branch = inputs.baseline is not None and inputs.baseline.kind == "branch"  # no tag is taken without a verdict
    if inputs.cancel_on_timeout or run is None or run.is_over or not by_branch:
        return False
    return progress.context.pull_request is None and pull_request_of(run) is None


def _mark(progress: Progress, owing: list[tuple[Leg, Trial]]) -> Procedure[None]:
    """Warn once of failures. The post step retries transient ones."""
    marks = (mark(_session_of(progress, leg), trial.run_id, FAILED, sent=trial.sent_tags) for leg, trial in owing)
    results = yield from together(marks, progress.clock)
    problems: dict[str, CovalError] = {}
    for (leg, trial), result in zip(owing, results, strict=True):
        if isinstance(result, CovalError):
            problems[trial.run_id] = result
        trial.owe_mark(owed=isinstance(result, Unavailable))
        if result is True:
            _session_of(progress, leg).log(f"Marked run {trial.run_id}: no later run is compared with it.")
    if problems:
        first = next(iter(problems.values()))
        progress.warn(not_marked_text(list(problems), first.what, first.advice))
