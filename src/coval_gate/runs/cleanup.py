"""Cleans up after a leg: cancels a run that is not over or leaves it, and cancels any second run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from coval_gate.errors import GateError, InternalError, RunnerError
from coval_gate.judge.judgement import with_end_of_repetition
from coval_gate.judge.verdict import Verdict
from coval_gate.model.outcomes import Cancellation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coval_gate.clock import Clock
    from coval_gate.config.inputs import Inputs
    from coval_gate.coval.client import Client
    from coval_gate.judge.judgement import Judgement
    from coval_gate.runs.guard import RunGuard
    from coval_gate.runs.leg import Leg
    from coval_gate.waiting import Procedure


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleanup:
    """What decides about a run that is guarded.

    `until`: when to give up. `late`: max_wait_time has passed. `log` takes a sentence for people.
    """

    guard: RunGuard
    inputs: Inputs
    client: Client
    clock: Clock
    until: float
    late: bool
    log: Callable[[str], None]

    def clean_up(self, verdict: Verdict | None) -> Procedure[None]:
        """Cancel the run or leave it, as the verdict and the inputs say, and end any second run.

        The post step tries again where this fails.
        """
        guard, leg = self.guard, self.guard.leg
        is_left = guard.is_active and self._is_left(verdict)
        if guard.is_active and not is_left:
            guard.ended = yield from self._cancel()
        if leg.launched_again:
            yield from self._end_other_launches(keep_newest=is_left)
        if is_left:  # not before: a signal until now may ask to cancel the run
            guard.ended = Cancellation(outcome="left" if leg.run_id else "maybe_left", run_id=leg.run_id)
            guard.release()

    def _cancel(self) -> Procedure[Cancellation]:
        guard = self.guard
        try:
            ended = yield from guard.cancel(self.client, until=self.until)
        except Exception as error:  # noqa: BLE001 - the verdict has to come out, whatever goes wrong here
            with suppress(RunnerError):
                guard.arm(cancel=True)
            what = (error if isinstance(error, GateError) else InternalError(error)).what
            return Cancellation(outcome="failed", run_id=guard.leg.run_id, reason=what.rstrip("."))
        guard.release()
        return ended

    def _end_other_launches(self, *, keep_newest: bool) -> Procedure[None]:
        try:
            yield from self.guard.end_other_launches(
                self.client, until=self.until, log=self.log, keep_newest=keep_newest
            )
        except Exception as error:  # noqa: BLE001 - as above
            self.log(f"Could not check for a second run, so the post step checks again: {error}")
            return
        if self.inputs.mode != "launch":  # that step ends too soon, so its post step checks again at the end of the job
            self.guard.expect_no_other()

    def _is_left(self, verdict: Verdict | None) -> bool:
        if self.guard.is_cancelling:
            return False  # a signal came while the run was being cancelled, and how far that got is not known
        if self.guard.leg.repetition and verdict is not Verdict.CANCELLED:
            return False  # the step has decided without it, and no later step can use it
        match verdict:
            case Verdict.CANCELLED:
                return not self.inputs.cancel_on_interrupt
            case Verdict.TIMED_OUT:
                return not self.inputs.cancel_on_timeout
            case Verdict.ERROR:
                # A later step cannot wait for a run whose id is not known.
                gave_up = self.late and self.guard.leg.run_id
                return not (self.inputs.cancel_on_timeout if gave_up else self.inputs.cancel_on_interrupt)
        return True


def with_cancellations(judgement: Judgement, guards: Sequence[RunGuard]) -> Judgement:
    """Return the step's judgement with what became of its runs, and record it in their legs.

    The first guard is that of the step's first run.
    """
    for guard in guards:
        if guard.ended and _is_judged_apart(guard.leg, judgement):
            judgement = guards[0].leg.judgement = with_end_of_repetition(judgement, guard.ended)
        elif guard.ended:
            judgement = guard.leg.judgement = replace(judgement, cancellation=guard.ended)
    return judgement


def _is_judged_apart(leg: Leg, judgement: Judgement) -> bool:
    """Return whether a leg is a repetition whose own verdict is not that of the step, which goes on without it."""
    return bool(leg.repetition and leg.judgement) and judgement.verdict is not Verdict.CANCELLED
