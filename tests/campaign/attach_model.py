"""A model of `coval-gate attach` on the simulated clock: what Coval and the later steps see of one process.

It takes the sandbox's offers of a relay, holds conversations, and tags a run whose simulations it answered, as
documented. It may crash, lose its relay, overlook simulations, or be ended at any moment. It shares no code with the
command.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from coval_sandbox.attachments import LOST_AGENT
from coval_sandbox.problems import Problem
from coval_sandbox.sound import Answer

if TYPE_CHECKING:
    from campaign.clock import SimulatedClock
    from coval_sandbox.faults import Action
    from coval_sandbox.state import RunRecord
    from coval_sandbox.world import World

TICK: Final = 1.0  # s between two looks at the run
GOOD: Final = Answer(call=10.0, sent=5.0, sounding=5.0, toned=5.0, delay=0.1)
ANSWERED: Final = ("answered", "ended_early")  # outcomes
CLEAN: Final = (1000, 1001)  # close codes after which a conversation is complete
OVER: Final = ("COMPLETED", "FAILED", "CANCELLED")
TAG: Final = "coval-gate/attached"


@dataclass(frozen=True, kw_only=True)
class AttachPlan:
    """How one process behaves. Times are in seconds.

    It begins `begins` after the end of the step number `after`; with `waits`, the next step begins when it has ended.
    `call`: about how long a conversation lasts. `closing`: how long a handler goes on after its conversation, before
    that counts as over. `tag_delay`: from the end to the tag; None if Coval refuses it. `crashes`, `returns`,
    `overlooks`: shares of the simulations whose process crashes, whose handler returns early, and which it never sees.
    `is_killed`: it ends before the run, `at` after its start, or when so many conversations (`call_number`) have ended.
    """

    after: int
    waits: bool
    begins: float = 1.0
    call: float = 20.0
    tag_delay: float | None = 1.0
    crashes: float = 0.0
    returns: float = 0.0
    overlooks: float = 0.0
    is_killed: bool = False
    at: float = 0.0
    call_number: int = 0
    closing: float = 0.0

    def __str__(self) -> str:
        shares = [
            f"{name} {share:.0%}" for name in ("crashes", "returns", "overlooks") if (share := getattr(self, name))
        ]
        when = f"call {self.call_number}" if self.call_number else f"{self.at:g} s"
        parts = [
            f"attach {self.begins:g} s after step {self.after}, {'before' if self.waits else 'beside'} the next",
            f"calls of {self.call:g} s, handlers end after {self.closing:g} s",
            "no tag" if self.tag_delay is None else f"tag after {self.tag_delay:g} s",
            *shares,
            *([f"killed at {when}"] if self.is_killed else []),
        ]
        return ", ".join(parts)


@dataclass
class _Call:
    """A conversation. It ends at `until`, well or with an `error`; `outcome` is then what the process knows of it."""

    until: float
    outcome: str = "answered"
    error: str = ""


class AttachProcess:
    """One process. `outcomes` is what it knows of each simulation."""

    def __init__(self, plan: AttachPlan, name: str, run_id: str, clock: SimulatedClock, world: World) -> None:
        self.plan, self.run_id = plan, run_id
        self._name, self._clock, self._world = name, clock, world
        self.outcomes: dict[str, str] = {}
        self.ended: float | None = None  # on the simulated clock
        self.tagged: float | None = None
        self._calls: dict[str, _Call] = {}
        self._closing: dict[str, tuple[float, str]] = {}  # when the handler ends, and the outcome
        self._over = 0  # conversations that have ended
        self._began = 0.0

    def start(self) -> None:
        """Begin."""
        self._began = self._clock.now()
        self._tick()

    def kill(self) -> None:
        """End at once: Coval loses its calls."""
        if self.ended is None:
            self.ended = self._clock.now()
            self._hang_up()

    @property
    def is_whole(self) -> bool:
        """Whether the process answered every simulation of the run."""
        planned = self._run.plan.simulations
        return bool(planned) and all(self.outcomes.get(one.simulation_id) in ANSWERED for one in planned)

    @property
    def _run(self) -> RunRecord:
        return next(run for run in self._world.runs if run.run_id == self.run_id)

    def _tick(self) -> None:
        if self.ended is not None:
            return
        now, run = self._clock.now(), self._run
        if run.delete_time is not None:
            self.kill()
            return
        coval_now = self._world.clock()
        is_over = run.finished(coval_now)
        for planned in run.plan.simulations:
            self._see(planned.simulation_id, run.simulation_status(planned, coval_now))
        for id_, (when, outcome) in [*self._closing.items()]:
            if now >= when:
                del self._closing[id_]
                self.outcomes[id_] = outcome
        if self._is_to_end(now):
            self.kill()
        elif is_over and not (self._calls or self._closing):
            if self.is_whole and self.plan.tag_delay is not None:
                self._clock.at(now + self.plan.tag_delay, self._tag)
            else:
                self.ended = now
        else:
            self._clock.at(now + TICK, self._tick)

    def _is_to_end(self, now: float) -> bool:
        plan = self.plan
        if plan.call_number:
            return self._over >= plan.call_number
        return plan.is_killed and now - self._began >= plan.at

    def _see(self, id_: str, status: str) -> None:
        if self._draw(id_) >= 1 - self.plan.overlooks:
            return
        call = self._calls.get(id_)
        if call is not None:
            if status in OVER:  # the run was cancelled, and the relay hung up
                call.outcome, call.error = "answered", ""
            if status in OVER or self._clock.now() >= call.until:
                self._end_call(id_, call)
        elif status == "IN PROGRESS" and id_ not in self.outcomes:
            self._try(id_)

    def _try(self, id_: str) -> None:
        """Attach, if Coval offers a relay that works."""
        attachments = self._world.attachments
        try:
            offer = attachments.connection(id_)
        except Problem:
            return
        if offer["status"] != "READY" or not attachments.accepts(id_, offer["token"]):
            return
        action = attachments.fault(id_)
        if action is not None and action.kind == "refuse":
            self.outcomes[id_] = "refused"
            return
        attachments.begin_call(id_)
        self._calls[id_] = self._call(id_, action)
        self.outcomes[id_] = "attached"

    def _call(self, id_: str, action: Action | None) -> _Call:
        now, length, luck = self._clock.now(), self.plan.call * (0.5 + self._draw(f"{id_}/length")), self._draw(id_)
        if action is not None and not (action.kind == "close" and action.amount in CLEAN):
            return _Call(now + length / 2, "lost", "The relay failed")
        if luck < self.plan.crashes:
            return _Call(now + length / 2, "crashed", LOST_AGENT)
        if luck < self.plan.crashes + self.plan.returns:
            return _Call(now + length / 2, "ended_early", LOST_AGENT)
        return _Call(now + length)

    def _end_call(self, id_: str, call: _Call) -> None:
        self._world.attachments.end_call(id_, call.error or GOOD)
        del self._calls[id_]
        self._over += 1
        self._closing[id_] = self._clock.now() + (self.plan.closing if call.outcome == "answered" else 0), call.outcome

    def _hang_up(self) -> None:
        for id_ in self._calls:
            self._world.attachments.end_call(id_, LOST_AGENT)
        self._calls.clear()

    def _tag(self) -> None:
        if self.ended is not None:
            return
        self.ended = self.tagged = self._clock.now()
        try:
            self._world.update_run(self.run_id, {"tags": [*self._run.tags, TAG]})
        except Problem:
            self.tagged = None

    def _draw(self, what: str) -> float:
        return Random(f"{self._name}/{what}").random()
