"""At the end of a step: whether the run that it holds is to be ended, and what became of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from coval_gate.errors import GateError, InternalError, RunnerError
from coval_gate.judge.verdict import WAIT_LATER, Verdict, interrupted
from coval_gate.runs.cancel import ENDING
from coval_gate.runs.guard import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.clock import Clock
    from coval_gate.config.inputs import Inputs
    from coval_gate.coval.client import Client
    from coval_gate.judge.verdict import Judgement
    from coval_gate.runs.guard import Hold

HURRIED_ENDING: Final = 4.0  # s after a signal, and a little more for calls under way; the runner kills 10 s after it


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What decides about a run that is held and not known to be over.

    `hurry`: the step was interrupted. `late`: max_wait_time is over. `new_client` makes a client that is as hurried;
    `launching` is the one that may still get the answer to the launch.
    """

    hold: Hold
    inputs: Inputs
    clock: Clock
    hurry: bool
    late: bool
    new_client: Callable[[], Client]
    launching: Client

    def settle(self, judgement: Judgement) -> Judgement:
        """End the run where nobody will wait for it any more and the inputs say so; tell what became of it.

        What cannot be ended stays for the post step.
        """
        if self._is_left_alone(judgement.verdict):
            self.hold.release()
            alone = "the run goes on in Coval" if self.hold.run_id else "a run may go on in Coval"
            return self._told(judgement, alone, goes_on=True)
        until = self.clock.now() + (HURRIED_ENDING if self.hurry else ENDING)
        try:
            fate = self.hold.end(self.new_client(), until=until, launching=self.launching)
        except Exception as error:  # noqa: BLE001 - the verdict has to come out, whatever goes wrong here
            with suppress(RunnerError):
                self.hold.save(end=True)
            what = (error if isinstance(error, GateError) else InternalError(error)).what.rstrip(".")
            return self._told(judgement, f"the run could not be ended ({what})", goes_on=True)
        self.hold.release()
        return self._told(judgement, fate)

    def _is_left_alone(self, verdict: Verdict | None) -> bool:
        if self.hold.is_ending:
            return False  # a signal came while it was being ended, and nobody knows how far that has got
        match verdict:
            case Verdict.CANCELLED:
                return not self.inputs.cancel_on_interrupt
            case Verdict.TIMED_OUT:
                return not self.inputs.cancel_on_timeout
            case Verdict.ERROR:
                # A run whose id nobody knows cannot be waited for by anybody.
                gave_up = self.late and self.hold.run_id
                return not (self.inputs.cancel_on_timeout if gave_up else self.inputs.cancel_on_interrupt)
        return True

    def _told(self, judgement: Judgement, fate: str, *, goes_on: bool = False) -> Judgement:
        """The judgement with what became of the run; where it `goes_on`, a later step can wait for it."""
        if self.hurry:
            return interrupted(fate)
        if judgement.verdict not in (Verdict.TIMED_OUT, Verdict.ERROR) or fate in NOTHING:
            return judgement
        advice = judgement.advice if goes_on else judgement.advice.replace(WAIT_LATER, "")
        sentence = f"{fate[0].upper()}{fate[1:]}."
        gap = " " if judgement.verdict is Verdict.TIMED_OUT else "\n"
        return replace(judgement, advice=gap.join(each for each in (sentence, advice) if each))
