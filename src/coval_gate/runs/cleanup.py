"""Cleans up after a leg: decides whether a run that is not over is cancelled or left, and does so."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coval_gate.errors import GateError, InternalError, RunnerError
from coval_gate.judge.verdict import Verdict
from coval_gate.model.outcomes import Cancellation
from coval_gate.runs.cancel import CANCEL_TIME

if TYPE_CHECKING:
    from coval_gate.clock import Clock
    from coval_gate.config.inputs import Inputs
    from coval_gate.coval.client import Client
    from coval_gate.runs.guard import RunGuard
    from coval_gate.waiting import Procedure

HURRIED_TIME: Final = 4.0  # s after a signal, and a little more for calls under way; the runner kills 10 s after it


def time_to_clean_up(*, hurried: bool) -> float:
    """Return the time for cancelling runs, in seconds. `hurried`: the step was interrupted."""
    return HURRIED_TIME if hurried else CANCEL_TIME


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleanup:
    """What decides about a run that is guarded.

    `hurried`: the step was interrupted, and `client` is as hurried. `late`: max_wait_time has passed.
    """

    guard: RunGuard
    inputs: Inputs
    client: Client
    clock: Clock
    hurried: bool
    late: bool

    def clean_up(self, verdict: Verdict | None) -> Procedure[Cancellation]:
        """Cancel the run where the verdict and the inputs say so, and return what became of it.

        The post step tries again where the run could not be cancelled.
        """
        guard, leg = self.guard, self.guard.leg
        if self._is_left(verdict):
            guard.release()
            return Cancellation(outcome="left" if leg.run_id else "maybe_left", run_id=leg.run_id)
        until = self.clock.now() + time_to_clean_up(hurried=self.hurried)
        try:
            ended = yield from guard.cancel(self.client, until=until)
        except Exception as error:  # noqa: BLE001 - the verdict has to come out, whatever goes wrong here
            with suppress(RunnerError):
                guard.arm(cancel=True)
            what = (error if isinstance(error, GateError) else InternalError(error)).what
            return Cancellation(outcome="failed", run_id=leg.run_id, reason=what.rstrip("."))
        guard.release()
        return ended

    def _is_left(self, verdict: Verdict | None) -> bool:
        if self.guard.is_cancelling:
            return False  # a signal came while the run was being cancelled, and how far that got is not known
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
