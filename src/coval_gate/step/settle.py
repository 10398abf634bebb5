"""Gives judged runs their standing: accepts them, lets them fill a tag, or marks them as no baseline."""

from contextlib import suppress
from typing import Final

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, RunnerError, Unavailable
from coval_gate.base.schedule import Procedure, together
from coval_gate.base.text import one_line
from coval_gate.base.times import ACCEPTING, MARKING
from coval_gate.ci.host import Context
from coval_gate.coval.client import Session
from coval_gate.coval.model import COMPLETED
from coval_gate.gate.judgement import Judgement, errored, gravest
from coval_gate.gate.verdict import Completed, Verdict
from coval_gate.history.standing import accept, mark, not_accepted_text, not_marked_text, standing_text, take_tag
from coval_gate.history.tags import ACCEPTED_TAG, FAILED_TAG, pull_request_of
from coval_gate.inputs.inputs import InvalidInput
from coval_gate.step.leg import Duty, Leg, Trial
from coval_gate.step.step import Step

HOW_TO_ACCEPT: Final = """Let the workflow have that input, and pass it on:
    on:
      workflow_dispatch:
        inputs:
          accept:
            type: boolean
    ...
        accept: ${{ inputs.accept }}"""


def owe_mark(step: Step, trial: Trial, judgement: Judgement) -> None:
    """Note that a run must be marked as no baseline. If the step is killed, the post step marks it."""
    context, run = step.context, trial.run
    is_judged_again = context.is_local and step.inputs.mode == "wait"  # on a laptop
    is_whole = run is not None and run.status == COMPLETED and bool(trial.run_id) and not trial.is_slice
    on_branch = run is not None and context.pull_request is None and pull_request_of(run) is None
    if judgement.is_barred and is_whole and on_branch and not is_judged_again:
        with suppress(RunnerError):
            trial.owe(Duty.MARK)
    else:
        trial.settle(Duty.MARK)


def settle_standing(step: Step, judgement: Judgement) -> Procedure[Judgement]:
    """Return the step's judgement, or the error of a run that could not be accepted. Raises Interrupted."""
    judged = [(leg, leg.judgement) for leg in step.legs if leg.judgement]
    for leg, own in judged:
        is_over = step.judgement_of(leg, judgement).verdict is not Verdict.TIMED_OUT
        if not is_over and _goes_on_unjudged(step, leg):
            _session_of(step, leg).warn(
                f"Run {leg.first.run_id} continues in Coval, but this step does not judge it. Once it completes, a "
                "baseline given by branch may use it, even if the agent got worse.\n"
                "Set cancel_on_timeout: true, or raise max_wait_time."
            )
        for trial in leg.trials:
            owe_mark(step, trial, own)
    owing = [(leg, trial) for leg, _ in judged for trial in leg.trials if Duty.MARK in trial.duties]
    yield from _mark(step, owing)
    works = [_settle(step, leg, own) for leg, own in judged]
    judgements = [judgement]
    for (leg, _), result in zip(judged, (yield from together(works, step.clock)), strict=True):
        if isinstance(result, CovalError):
            leg.error = errored(result)
            judgements.append(leg.error)
    return gravest(judgements)


def _settle(step: Step, leg: Leg, judgement: Judgement) -> Procedure[None]:
    """Accept the leg's first run, or let it fill the tag of the baseline. Raises CovalError if it is not accepted."""
    source, trial = leg.inputs.baseline, leg.first
    session, context = _session_of(step, leg, ACCEPTING if leg.inputs.accept else MARKING), step.context
    is_branch_run = not (context.is_local or context.for_pull_request or context.pull_request is not None)
    if leg.slices or source is None or not (leg.inputs.accept or (source.kind == "tag" and is_branch_run)):
        return
    has_all = isinstance(judgement.cause, Completed) and not judgement.is_barred
    if leg.inputs.accept and has_all:
        accepted = [other.first.run_id for other in step.legs if other.trials]
        leg.standing = yield from accept(session, trial.run_id, source, step.context, accepted, sent=trial.sent_tags)
    elif leg.inputs.accept and trial.run_id:
        if judgement.passes_gate:
            raise CovalError(titles.NOT_ACCEPTED, not_accepted_text(trial.run_id))
        session.warn(not_accepted_text(trial.run_id))
    elif has_all:
        try:
            leg.standing = yield from take_tag(session, trial.run_id, source, sent=trial.sent_tags)
        except CovalError as error:
            what = f"Run {one_line(trial.run_id)} could not take the tag {source.name}: {error.what}"
            session.warn("\n".join(filter(None, (what, _advice(error)))))
    if leg.standing:
        session.log(f"Run {leg.standing.run_id}: {standing_text(leg.standing)}")


def _session_of(step: Step, leg: Leg, most: float = MARKING) -> Session:
    """`most`: seconds that changes of tags may take."""
    session = step.session().of(leg)
    now = session.clock.now()
    return session.until(min(now + most, max(now, session.deadline)))


def _goes_on_unjudged(step: Step, leg: Leg) -> bool:
    """Return whether the leg's first run goes on without the step, and later runs may be compared with it."""
    inputs, run = leg.inputs, leg.first.run
    by_branch = inputs.baseline is not None and inputs.baseline.kind == "branch"  # no tag is taken without a verdict
    if leg.slices or inputs.cancel_on_timeout or run is None or run.is_over or not by_branch:
        return False
    return step.context.pull_request is None and pull_request_of(run) is None


def _advice(error: CovalError) -> str:
    """Return a warning's advice: none about an outage, which the step's error may be about, too."""
    return "" if isinstance(error, Unavailable) else error.advice


def _mark(step: Step, owing: list[tuple[Leg, Trial]]) -> Procedure[None]:
    """Warn once of failures. The post step retries transient ones."""
    marks = (mark(_session_of(step, leg), trial.run_id, FAILED_TAG, sent=trial.sent_tags) for leg, trial in owing)
    results = yield from together(marks, step.clock)
    problems: dict[str, CovalError] = {}
    for (leg, trial), result in zip(owing, results, strict=True):
        if isinstance(result, CovalError):
            problems[trial.run_id] = result
        if not isinstance(result, Unavailable):
            trial.settle(Duty.MARK)
        if result is True:
            _session_of(step, leg).log(f"Marked run {trial.run_id}: no later run is compared with it.")
    if problems:
        first = next(iter(problems.values()))
        step.warn(not_marked_text(list(problems), first.what, _advice(first)))


def acceptance_problems(context: Context) -> list[InvalidInput]:
    """Return why this step cannot accept a run. Nothing has been launched yet."""
    if context.started_by_person and not context.for_pull_request:  # a manual job of a pull request is its author's
        return []
    starts_workflow = context.start_by_hand is None
    if context.is_local:
        why = "only the runs of a CI system are compared with later ones."
    elif context.for_pull_request and (context.started_by_person or not starts_workflow):
        why = "only a run of a branch can be accepted."
    elif context.start_by_hand == "":
        why = (
            "only a person accepts a run, and this CI system does not tell whether one started the job.\n"
            f"In Coval, add {ACCEPTED_TAG} and the baseline's tag to the run instead, and remove {FAILED_TAG} from it."
        )
    else:
        what = "the workflow by hand (workflow_dispatch)" if starts_workflow else "the job by hand"
        started = f", but {context.event} started it" if context.event else ""
        why = f"a person accepts a run by starting {what}{started}.\n{context.start_by_hand or HOW_TO_ACCEPT}"
    return [InvalidInput("accept", f"must be false here: {why}")]
