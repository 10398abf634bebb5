"""Cleans up after a trial: cancels a run that is not over or leaves it, and cancels any second run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coval_gate.errors import GateError, InternalError, RunnerError
from coval_gate.judge.judgement import with_end_of_repetition
from coval_gate.judge.verdict import Verdict
from coval_gate.model.outcomes import Cancellation
from coval_gate.runs.guard import cancel_trial, end_other_launches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coval_gate.judge.judgement import Judgement
    from coval_gate.runs.session import Session
    from coval_gate.runs.trial import Trial
    from coval_gate.waiting import Procedure


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleanup:
    """What decides about a run that is guarded. `late`: max_wait_time has passed.

    The session's deadline is when to give up.
    """

    session: Session
    trial: Trial
    late: bool

    def clean_up(self, verdict: Verdict | None) -> Procedure[None]:
        """Cancel the run or leave it, as the verdict and the inputs say, and end any second run.

        The post step tries again if this fails.
        """
        trial = self.trial
        is_left = trial.is_active and self._is_left(verdict)
        if trial.is_active and not is_left:
            trial.ended = yield from self._cancel()
        if trial.launched_again:
            yield from self._end_other_launches(keep_newest=is_left)
        if is_left:  # not before: a signal until now may ask to cancel the run
            trial.ended = Cancellation(outcome="left" if trial.run_id else "maybe_left", run_id=trial.run_id)
            trial.release()

    def _cancel(self) -> Procedure[Cancellation]:
        trial = self.trial
        try:
            ended = yield from cancel_trial(self.session, trial)
        except Exception as error:  # noqa: BLE001 - the step must reach its verdict all the same
            with suppress(RunnerError):
                trial.arm(cancel=True)
            what = (error if isinstance(error, GateError) else InternalError(error)).what
            return Cancellation(outcome="failed", run_id=trial.run_id, reason=what.rstrip("."))
        trial.release()
        return ended

    def _end_other_launches(self, *, keep_newest: bool) -> Procedure[None]:
        try:
            yield from end_other_launches(self.session, self.trial, keep_newest=keep_newest)
        except Exception as error:  # noqa: BLE001 - as above
            self.session.log(f"Could not check for a second run, so the post step checks again: {error}")
            return
        if (
            self.session.inputs.mode != "launch"
        ):  # that step ends too soon, so its post step checks again at the end of the job
            self.trial.expect_no_other()

    def _is_left(self, verdict: Verdict | None) -> bool:
        trial, inputs = self.trial, self.session.inputs
        if trial.is_cancelling:
            return False  # a signal came while the run was being cancelled, and how far that got is not known
        if trial.repetition and verdict is not Verdict.CANCELLED:
            return False  # the step has decided without it, and no later step can use it
        match verdict:
            case Verdict.CANCELLED:
                return not inputs.cancel_on_interrupt
            case Verdict.TIMED_OUT:
                return not inputs.cancel_on_timeout
            case Verdict.ERROR:
                # A later step cannot wait for a run whose id is not known.
                gave_up = self.late and trial.run_id
                return not (inputs.cancel_on_timeout if gave_up else inputs.cancel_on_interrupt)
        return True


def with_cancellations(judgement: Judgement, trials: Iterable[Trial]) -> Judgement:
    """Return the judgement of a leg, or of the whole step, with what became of the leg's runs."""
    for trial in trials:
        if trial.ended and _is_judged_apart(trial, judgement):
            judgement = with_end_of_repetition(judgement, trial.ended)
        elif trial.ended:
            judgement = trial.judgement = judgement._replace(cancellation=trial.ended)
    return judgement


def _is_judged_apart(trial: Trial, judgement: Judgement) -> bool:
    """Return whether a trial is a repetition that was judged alone, in a step that was not cancelled."""
    return bool(trial.repetition and trial.judgement) and judgement.verdict is not Verdict.CANCELLED
