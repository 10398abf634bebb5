"""Ends legs: cancels or leaves runs that go on after the verdict, and gives judged ones their standing."""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError, InternalError, RunnerError, Unavailable
from coval_gate.base.schedule import MOST_AT_ONCE, Procedure, all_or_first_error, together
from coval_gate.base.text import in_words, one_line
from coval_gate.base.times import ACCEPTING, MARKING
from coval_gate.coval.client import Session
from coval_gate.coval.model import COMPLETED
from coval_gate.gate.judgement import Judgement, errored, gravest, with_end_of_repetition
from coval_gate.gate.verdict import Cancellation, Completed, Verdict
from coval_gate.history.standing import (
    accept,
    not_accepted_text,
    not_marked_text,
    standing_text,
    take_tag,
)
from coval_gate.history.tags import FAILED, mark, pull_request_of
from coval_gate.report.wording import run_cancellation_text
from coval_gate.step.cancel import cancel_run, cancel_trial, end_other_launches, find_launched
from coval_gate.step.leftovers import end_leftovers, may_have_leftovers
from coval_gate.step.leg import Duty, Leg, Trial
from coval_gate.step.report import report_of
from coval_gate.step.step import LegRun, Step

UNKNOWN_TIME: Final = 15.0  # s for which Coval must not know a run that a person names before it has none
MOST_NAMED: Final = 5  # unknown runs in a message
LEFT: Final = (Verdict.TIMED_OUT, Verdict.ERROR)  # verdicts of legs whose runs may be left to a later step


def cancel_named(session: LegRun, run_ids: Sequence[str]) -> Procedure[list[Cancellation]]:
    """Cancel all runs, then raise the first error: a GateError if Coval lacks a run, because its id must be wrong."""
    for run_id in run_ids:
        session.step.begin_trial(session.leg).run_id = run_id
    session.step.record_id(run_ids[0])
    ended = yield from _cancel_all(session, run_ids)
    if unknown := [cancellation.run_id for cancellation in ended if cancellation.outcome == "gone"]:
        others = ", so nothing was cancelled" if unknown == [*run_ids] else "; none of the others goes on"
        raise GateError(
            titles.RUN_NOT_FOUND,
            f"Coval has no run {in_words(unknown, 'or', MOST_NAMED)}{others}.",
            advice="Check run_id: it must be the id of a run in the organization and workspace of the API key.",
        )
    return ended


def _cancel_all(session: Session, run_ids: Sequence[str]) -> Procedure[list[Cancellation]]:
    """Cancel runs side by side, each in its share of the time left. The log says at once what became of each."""
    left = len(run_ids)

    def cancel_one(run_id: str) -> Procedure[Cancellation]:
        nonlocal left
        rounds, left = math.ceil(left / MOST_AT_ONCE), left - 1
        now = session.clock.now()
        until = now + max(0.0, session.deadline - now) / rounds
        try:
            unknown_until = min(now + UNKNOWN_TIME, until)
            ended = yield from cancel_run(session.until(until), run_id, fresh_until=unknown_until)
        except CovalError as error:
            session.log(f"Run {run_id}: {error.what}")
            raise
        session.log(run_cancellation_text(ended))
        return ended

    return all_or_first_error((yield from together(map(cancel_one, run_ids), session.clock, at_once=MOST_AT_ONCE)))


def clean_up(step: Step, judgement: Judgement) -> Procedure[Judgement]:
    """Cancel or leave the unfinished runs, and return the judgement with what became of them."""
    hurried, inputs = step.is_hurried, step.inputs
    for trial in step.trials:
        if trial.is_over:
            trial.release()
    concerned = [
        (leg, trial)
        for leg in (*step.all_legs, step.unplaced)
        for trial in leg.trials
        if trial.is_active or Duty.CANCEL_OTHERS in trial.duties
    ]
    # A job that may not cancel its runs leaves the runs of earlier attempts alone, too.
    ends_others = inputs.cancel_on_interrupt or not hurried
    others = [leg for leg in step.all_legs if ends_others and may_have_leftovers(step, leg)]
    if concerned and hurried:  # the step may be killed while it cancels the runs
        with suppress(RunnerError):
            step.publisher.write_verdict(report_of(step, judgement))
    if concerned or others:
        session = step.session()
        session = session.until(session.times.cancelling(step.clock.now()))
        cleanups = [_clean_up(session.of(leg), trial, _verdict_of(step, leg, judgement)) for leg, trial in concerned]
        cleanups += [end_leftovers(session.of(leg)) for leg in others]
        all_or_first_error((yield from together(cleanups, session.clock)))
        for leg, trial in concerned:  # the verdict is about the tested runs that are known
            is_untold = leg.is_base or leg is step.unplaced
            if is_untold and trial.ended and trial.ended.outcome == "failed":
                what = f"Run {trial.run_id}" if trial.run_id else "A run of the base"
                why = f"could not be cancelled: {trial.ended.reason}. The post step tries again."
                session.of(leg).warn(f"{what} {why}")
            elif leg is step.unplaced and trial.ended and trial.ended.outcome != "left":
                session.log(run_cancellation_text(trial.ended))
    judgement = _with_cancellations(step, judgement)
    launched = any(trial.run_id or (trial.ended and trial.ended.outcome != "not_launched") for trial in step.trials)
    if hurried and inputs.mode != "cancel" and not launched:
        judgement = judgement._replace(cancellation=judgement.cancellation or Cancellation(outcome="not_launched"))
    return judgement


def _verdict_of(step: Step, leg: Leg, judgement: Judgement) -> Verdict | None:
    if leg.is_base and not step.is_hurried and step.is_of_leg(judgement) and judgement.verdict is not None:
        return _verdict_of_base(step, leg)
    return step.judgement_of(leg, judgement).verdict


def clean_up_leg(session: LegRun) -> Procedure[None]:
    """Cancel the unfinished runs of a leg that has come to its verdict, while others go on."""
    if session.leg.outcome:
        yield from _end_runs(session, session.leg.outcome.verdict)


def clean_up_base(session: LegRun) -> Procedure[None]:
    """Cancel the unfinished runs of a base that nothing needs any more, unless a later step may judge what is left."""
    yield from _end_runs(session, _verdict_of_base(session.step, session.leg))


def _end_runs(session: LegRun, verdict: Verdict | None) -> Procedure[None]:
    """A run that is to be left stays guarded: a signal may still ask to cancel it."""
    session = session.until(session.times.cancelling(session.clock.now()))
    for trial in session.leg.trials:
        if trial.is_over:
            trial.release()
        yield from _look_for_left(session, trial, verdict)
        if (trial.is_active or Duty.CANCEL_OTHERS in trial.duties) and not _leaves(session, trial, verdict):
            yield from _clean_up(session, trial, verdict)


def _verdict_of_base(step: Step, base: Leg) -> Verdict:
    """Return the verdict by which a base's run is left or cancelled: that of a leg whose own run goes on with it."""
    tested = [leg for leg in step.legs if leg.base is base and leg.trials and not leg.first.is_over]
    verdicts = [leg.outcome.verdict for leg in tested if leg.outcome]
    return next((verdict for verdict in verdicts if verdict in LEFT), Verdict.PASSED)


def _with_cancellations(step: Step, judgement: Judgement) -> Judgement:
    """Return the step's judgement, and give each leg its own, with what became of their runs."""
    is_of_leg, concluded = step.is_of_leg(judgement), judgement
    if len(step.legs) > 1 and not is_of_leg:
        for leg in step.legs:  # one that was done keeps its verdict, and the others get the step's
            done = leg.outcome if leg.is_done else None
            if done is None:
                leg.error, done = None, judgement._replace()  # the step's own judgement is no leg's
            leg.conclude(_with_ends(done, leg.trials))
        return judgement
    for leg, own in [(leg, step.judgement_of(leg, judgement)) for leg in step.legs]:
        ended = _with_ends(concluded if own is judgement else own, leg.trials)
        if own is judgement:
            concluded = ended
        if is_of_leg:
            leg.conclude(ended)
    return concluded


def _with_ends(judgement: Judgement, trials: Iterable[Trial]) -> Judgement:
    """Return the judgement of a leg, or of the whole step, with what became of the leg's runs."""
    for trial in trials:
        # A repetition was judged alone, unless the step was cancelled.
        is_apart = trial.repeats and trial.judgement and judgement.verdict is not Verdict.CANCELLED
        if trial.ended and is_apart:
            judgement = with_end_of_repetition(judgement, trial.ended)
        elif trial.ended:
            judgement = trial.judgement = judgement._replace(cancellation=trial.ended)
    return judgement


def _clean_up(session: LegRun, trial: Trial, verdict: Verdict | None) -> Procedure[None]:
    """Cancel the run or leave it, and end any second run. The post step tries again if this fails."""
    yield from _look_for_left(session, trial, verdict)
    is_left = trial.is_active and _leaves(session, trial, verdict)
    if trial.is_active and not is_left:
        trial.ended = yield from _cancelled(session, trial)
    if Duty.CANCEL_OTHERS in trial.duties:
        try:
            yield from end_other_launches(session, trial, keep_newest=is_left)
        except Exception as error:  # noqa: BLE001 - the step must reach its verdict all the same
            session.log(f"Could not check for a second run, so the post step checks again: {error}")
        else:
            if session.inputs.mode != "launch":  # which ends too soon: its post step checks again after the job
                trial.settle(Duty.CANCEL_OTHERS)
    if is_left:  # not before: a signal until now may ask to cancel the run
        trial.ended = Cancellation(outcome="left" if trial.run_id else "maybe_left", run_id=trial.run_id)
        trial.release()


def _look_for_left(session: LegRun, trial: Trial, verdict: Verdict | None) -> Procedure[None]:
    """Find the run if it is to be left: the later step needs its id. A run that is not found is not left."""
    is_left = verdict is Verdict.TIMED_OUT and not session.inputs.cancel_on_timeout
    if not (is_left and trial.is_active) or trial.run_id:
        return
    with suppress(CovalError):
        run = yield from find_launched(session, trial)
        if run is None:
            trial.release()
        else:
            trial.identify(run.run_id, at=session.clock.now())


def _cancelled(session: LegRun, trial: Trial) -> Procedure[Cancellation]:
    try:
        ended = yield from cancel_trial(session, trial)
    except Exception as error:  # noqa: BLE001 - the step must reach its verdict all the same
        with suppress(RunnerError):
            trial.guard(cancel=True)
        what = (error if isinstance(error, GateError) else InternalError(error)).what
        return Cancellation(outcome="failed", run_id=trial.run_id, reason=what.rstrip("."))
    trial.release()
    return ended


def _leaves(session: LegRun, trial: Trial, verdict: Verdict | None) -> bool:
    """Return whether the inputs say to leave the run of a leg with this verdict alone."""
    inputs = session.inputs
    if inputs.run_id.newest and trial.is_given:
        return True  # another launched it, and may need it
    if trial.is_given_up:
        return False  # its simulations fail, or a signal came while it was being cancelled: how far is not known
    if trial.repeats and verdict is not Verdict.CANCELLED:
        return False  # the step has its verdict without it
    if session.leg.is_base and verdict in (Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE):
        return False  # as above
    match verdict:
        case Verdict.CANCELLED:
            return not inputs.cancel_on_interrupt
        # A later step cannot wait for a run whose id is not known.
        case Verdict.TIMED_OUT:
            return not (inputs.cancel_on_timeout or (not trial.run_id and inputs.cancel_on_interrupt))
        case Verdict.ERROR:
            gave_up = trial.run_id and session.clock.now() >= session.step.deadline
            return not (inputs.cancel_on_timeout if gave_up else inputs.cancel_on_interrupt)
    return True


def owe_mark(step: Step, trial: Trial, judgement: Judgement) -> None:
    """Note that a run must be marked as no baseline. If the step is killed, the post step marks it."""
    if judgement.is_barred and _may_be_baseline(step, trial):
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
    if owing:
        yield from _mark(step, owing)
    works = [_settle(step, leg, own) for leg, own in judged]
    problems: list[Judgement] = []
    for (leg, _), result in zip(judged, (yield from together(works, step.clock)), strict=True):
        if isinstance(result, CovalError):
            leg.error = errored(result)
            problems.append(leg.error)
    return gravest([judgement, *problems]) if problems else judgement


def _settle(step: Step, leg: Leg, judgement: Judgement) -> Procedure[None]:
    """Accept the leg's first run, or let it fill the tag of the baseline. Raises CovalError if it is not accepted."""
    source, trial = leg.inputs.baseline, leg.first
    session, context = _session_of(step, leg, ACCEPTING if leg.inputs.accept else MARKING), step.context
    is_of_branch = not (context.is_local or context.of_pull_request or context.pull_request is not None)
    if leg.slices or source is None or not (leg.inputs.accept or (source.kind == "tag" and is_of_branch)):
        return
    has_all = isinstance(judgement.cause, Completed) and not judgement.is_barred
    if leg.inputs.accept and has_all:
        accepted = [other.first.run_id for other in step.legs if other.trials]
        leg.standing = yield from accept(session, trial.run_id, source, step.context, accepted, sent=trial.sent_tags)
    elif leg.inputs.accept and trial.run_id:
        if judgement.lets_pass:
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


def _may_be_baseline(step: Step, trial: Trial) -> bool:
    """Return whether a run completed and may be a baseline: not of a pull request, and not judged again on a laptop."""
    if step.context.is_local and step.inputs.mode == "wait":
        return False
    if trial.is_slice or trial.run is None or trial.run.status != COMPLETED or not trial.run_id:
        return False
    return step.context.pull_request is None and pull_request_of(trial.run) is None


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
    marks = (mark(_session_of(step, leg), trial.run_id, FAILED, sent=trial.sent_tags) for leg, trial in owing)
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
