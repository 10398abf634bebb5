"""Ends legs: cancels or leaves the runs that go on after the verdict."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from coval_gate.base.errors import CovalError, GateError, InternalError, RunnerError
from coval_gate.base.schedule import all_or_first_error, together
from coval_gate.gate.judgement import Judgement, with_end_of_repetition
from coval_gate.gate.verdict import Cancellation, Verdict
from coval_gate.step.cancel import cancel_trial, end_other_launches, find_launched
from coval_gate.step.leg import Duty, Leg, Phase, Trial
from coval_gate.step.publish import Published
from coval_gate.step.report import report_of
from coval_gate.step.step import LegRun, Step

LEAVING_VERDICTS: Final = (Verdict.TIMED_OUT, Verdict.ERROR)  # verdicts of legs whose runs may be left to a later step


async def clean_up(step: Step, judgement: Judgement) -> Judgement:
    """Cancel or leave the unfinished runs, and return the judgement with what became of them."""
    hurried, inputs = step.is_hurried, step.inputs
    for trial in step.trials:
        if trial.is_over:
            trial.release()
    concerned = [
        (leg, trial)
        for leg in step.all_legs
        for trial in leg.trials
        if trial.is_active or Duty.CANCEL_OTHERS in trial.duties
    ]
    left = {trial.leg for trial in step.leftovers.values() if trial.is_active}
    others = [leg for leg in step.all_legs if leg.name in left]
    if (concerned or others) and hurried:  # the step may be killed while it cancels the runs
        with suppress(RunnerError):
            step.publisher.write_verdict(Published(report_of(step, judgement)))
    if concerned or others:
        session = step.session()
        session = session.until(session.times.cancelling(step.clock.now()))
        cleanups = [_clean_up(session.of(leg), trial, _verdict_of(step, leg, judgement)) for leg, trial in concerned]
        cleanups += [_end_leftovers(session.of(leg), _verdict_of(step, leg, judgement)) for leg in others]
        all_or_first_error(await together(cleanups, session.clock))
        for leg, trial in concerned:  # the verdict is about the tested runs that are known
            if leg.is_base and trial.ended and trial.ended.outcome == "failed":
                what = f"Run {trial.run_id}" if trial.run_id else "A run of the base"
                why = f"could not be cancelled: {trial.ended.reason}. The post step tries again."
                session.of(leg).warn(f"{what} {why}")
    for trial in step.trials if inputs.mode == "wait" and hurried else ():
        if trial.phase is Phase.PLANNED:  # given, and not seen yet
            trial.ended = _left(trial)
            step.host.log(f"Run {trial.run_id} continues: the step had not seen yet that it is one of its own.")
    judgement = _with_cancellations(step, judgement)
    launched = any(trial.run_id or (trial.ended and trial.ended.outcome != "not_launched") for trial in step.trials)
    if hurried and inputs.mode != "cancel" and not launched:
        earlier = [trial.ended or _left(trial) for trial in step.leftovers.values() if trial.ended or trial.is_active]
        cancellation = next(iter(earlier), Cancellation(outcome="not_launched"))
        judgement = judgement._replace(cancellation=judgement.cancellation or cancellation)
    return judgement


def _verdict_of(step: Step, leg: Leg, judgement: Judgement) -> Verdict | None:
    if leg.is_base and not step.is_hurried and step.ended_leg(judgement) and judgement.verdict is not None:
        return verdict_of_base(step, leg)
    return step.judgement_of(leg, judgement).verdict


async def end_runs(session: LegRun, verdict: Verdict | None) -> None:
    """Cancel the unfinished runs of a leg that has come to its verdict, while others go on.

    A run that is to be left stays guarded: a signal may still ask to cancel it.
    """
    session = session.until(session.times.cancelling(session.clock.now()))
    for trial in session.leg.trials:
        if trial.is_over:
            trial.release()
        await _look_for_left(session, trial, verdict)
        if (trial.is_active or Duty.CANCEL_OTHERS in trial.duties) and not leaves(session, trial, verdict):
            await _clean_up(session, trial, verdict)
    await _end_leftovers(session, verdict)


def verdict_of_base(step: Step, base: Leg) -> Verdict:
    """Return the verdict by which a base's run is left or cancelled: that of a leg whose own run goes on with it."""
    tested = [leg for leg in step.legs if leg.base is base and leg.trials and not leg.first.is_over]
    verdicts = [leg.outcome.verdict for leg in tested if leg.outcome]
    return next((verdict for verdict in verdicts if verdict in LEAVING_VERDICTS), Verdict.PASSED)


def _with_cancellations(step: Step, judgement: Judgement) -> Judgement:
    """Return the step's judgement, and give each leg its own, with what became of their runs."""
    ended_leg, concluded = step.ended_leg(judgement), judgement
    if len(step.legs) > 1 and not ended_leg:
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
        if ended_leg:
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


async def _clean_up(session: LegRun, trial: Trial, verdict: Verdict | None) -> None:
    """Cancel the run or leave it, and end any second run. The post step tries again if this fails."""
    await _look_for_left(session, trial, verdict)
    is_left = trial.is_active and leaves(session, trial, verdict)
    if trial.is_active and not is_left:
        try:
            trial.ended = await cancel_trial(session, trial)
            trial.release()
        except Exception as error:  # noqa: BLE001 - the step must reach its verdict all the same
            with suppress(RunnerError):
                trial.guard(cancel=True)
            what = (error if isinstance(error, GateError) else InternalError(error)).what
            trial.ended = Cancellation(outcome="failed", run_id=trial.run_id, reason=what.rstrip("."))
    if Duty.CANCEL_OTHERS in trial.duties:
        try:
            await end_other_launches(session, trial, keep_newest=is_left)
        except Exception as error:  # noqa: BLE001 - the step must reach its verdict all the same
            session.log(f"Could not check for a second run, so the post step checks again: {error}")
        else:
            if session.inputs.mode != "launch":  # which ends too soon: its post step checks again after the job
                trial.settle(Duty.CANCEL_OTHERS)
    if is_left:  # not before: a signal until now may ask to cancel the run
        trial.ended = _left(trial)
        trial.release()


async def _end_leftovers(session: LegRun, verdict: Verdict | None) -> None:
    if session.step.leftovers:
        from coval_gate.features.reruns.step import end_leftovers

        await end_leftovers(session, verdict)


def _left(trial: Trial) -> Cancellation:
    return Cancellation(outcome="left" if trial.run_id else "maybe_left", run_id=trial.run_id)


async def _look_for_left(session: LegRun, trial: Trial, verdict: Verdict | None) -> None:
    """Find the run if it is to be left: the later step needs its id. A run that is not found is not left."""
    is_left = verdict is Verdict.TIMED_OUT and not session.inputs.cancel_on_timeout
    if not (is_left and trial.is_active) or trial.run_id:
        return
    with suppress(CovalError):
        run = await find_launched(session, trial)
        if run is None:
            trial.release()
        else:
            trial.identify(run.run_id, at=session.clock.now())


def leaves(session: LegRun, trial: Trial, verdict: Verdict | None) -> bool:
    """Return whether the inputs ask to leave the run of a leg with this verdict alone."""
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
