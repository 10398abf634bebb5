"""A model of `coval-gate attach` on the simulated clock: what Coval and the later steps see of one process.

It takes the sandbox's offers of a relay, holds conversations, keeps the record and adds the tag, as documented. It may
crash, lose its relay, overlook simulations, or be ended at any moment. It shares no code with the command. What it
knows itself is the truth that the invariants ask; the record is only what it managed to write.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

from coval_sandbox.attachments import LOST_AGENT
from coval_sandbox.problems import Problem
from coval_sandbox.sound import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from campaign.clock import SimulatedClock
    from coval_sandbox.faults import Action
    from coval_sandbox.state import RunRecord
    from coval_sandbox.world import World

TICK: Final = 1.0  # s between two looks at the run
BEAT: Final = 20.0  # s; it writes its record at least that often
GOOD: Final = Answer(call=10.0, sent=5.0, sounding=5.0, toned=5.0, delay=0.1)
ANSWERED: Final = ("answered", "ended_early", "before")  # outcomes
OPEN: Final = ("waiting", "attached")
UNSURE: Final = (*OPEN, "answered", "before")  # of an earlier process, while the simulation goes on
CLAIMED: Final = ("CLOSED", "CONNECTED")  # a process has used the relay
CLEAN: Final = (1000, 1001)  # close codes after which a conversation is complete
OVER: Final = ("COMPLETED", "FAILED", "CANCELLED")
PROBLEMS: Final = {
    "cancelled": "cancelled",
    "failed": "The process that holds the conversations ended by itself.",
}  # in the record, by how it ended; "killed" is in none
TAG: Final = "coval-gate/attached/"


@dataclass(frozen=True, kw_only=True)
class AttachPlan:
    """How one process behaves. Times are in seconds.

    It begins `begins` after the end of the step number `after`; with `waits`, the next step begins when it has ended.
    `call`: about how long a conversation lasts. `closing`: how long a handler goes on after its conversation, before
    that counts as over. `lag`: how long it takes until it writes what happened. `tag_delay`: from the last write to the
    tag; None if it adds none. `crashes`, `returns`, `overlooks`: shares of the simulations whose process crashes, whose
    handler returns early, and which it never sees. `end`: "killed", "cancelled" or "failed", if it ends before the run,
    `at` after its start, or when so many conversations (`call_number`) have ended. `forged`: a tag that somebody adds
    as soon as it adds its own.
    """

    after: int
    waits: bool
    begins: float = 1.0
    call: float = 20.0
    lag: float = 0.0
    tag_delay: float | None = 1.0
    crashes: float = 0.0
    returns: float = 0.0
    overlooks: float = 0.0
    end: str = ""
    at: float = 0.0
    call_number: int = 0
    closing: float = 0.0
    forged: str = ""

    def __str__(self) -> str:
        shares = [
            f"{name} {share:.0%}" for name in ("crashes", "returns", "overlooks") if (share := getattr(self, name))
        ]
        when = f"call {self.call_number}" if self.call_number else f"{self.at:g} s"
        parts = [
            f"attach {self.begins:g} s after step {self.after}, {'before' if self.waits else 'beside'} the next",
            f"calls of {self.call:g} s, handlers end after {self.closing:g} s, writes after {self.lag:g} s",
            "no tag" if self.tag_delay is None else f"tag after {self.tag_delay:g} s",
            *shares,
            *([f"{self.end} at {when}"] if self.end else []),
            *([f"beside it the tag {self.forged}"] if self.forged else []),
        ]
        return ", ".join(parts)


@dataclass
class Workspace:
    """The directory in which processes keep the record of a run: that of each step that is given it."""

    run_id: str
    text: str = ""
    mounted: list[Path] = field(default_factory=list)

    def mount(self, workspace: Path) -> None:
        """Let a step's workspace have the record, now and later."""
        self.mounted.append(workspace)
        if self.text:
            self._write(workspace)

    def write(self, text: str) -> None:
        """Replace the record."""
        self.text = text
        for workspace in self.mounted:
            self._write(workspace)

    def _write(self, workspace: Path) -> None:
        file = workspace / ".coval-gate" / f"attach-{self.run_id}.json"
        file.parent.mkdir(exist_ok=True)
        beside = file.with_suffix(".new")
        beside.write_text(self.text, encoding="utf-8")
        beside.replace(file)


@dataclass
class _Call:
    """A conversation. It ends at `until`, well or with an `error`; `outcome` is then what the record says."""

    until: float
    outcome: str = "answered"
    error: str = ""


class AttachProcess:
    """One process. `answered` are the simulations that it really answered, and `outcomes` what it knows of each."""

    def __init__(
        self, plan: AttachPlan, name: str, run_id: str, clock: SimulatedClock, world: World, workspace: Workspace
    ) -> None:
        self.plan, self.run_id = plan, run_id
        self._name, self._clock, self._world, self._workspace = name, clock, world, workspace
        self.outcomes: dict[str, str] = {}
        self.answered: set[str] = set()
        self.ended: float | None = None  # on the simulated clock
        self.is_done = False  # its record is finished
        self.tagged: float | None = None
        self._calls: dict[str, _Call] = {}
        self._closing: dict[str, tuple[float, str]] = {}  # when the handler ends, and the outcome
        self._tried: set[str] = set()  # simulations that this process itself has begun to answer
        self._over = 0  # conversations that have ended
        self._changed: float | None = None  # when what the record lacks happened
        self._written = float("-inf")
        self._begun = self._began = 0.0

    def start(self) -> None:
        """Begin, and continue the record of an earlier process."""
        self._began, self._begun = self._clock.now(), self._clock.time()
        if self._workspace.text:
            former = json.loads(self._workspace.text)
            self._begun = former["begun"]
            kept = {id_: one["outcome"] for id_, one in former["simulations"].items()}
            self.outcomes = {id_: "waiting" if outcome in OPEN else outcome for id_, outcome in kept.items()}
        self._write()
        self._tick()

    def kill(self) -> None:
        """End at once: Coval loses its calls, and the record stays as it is."""
        if self.ended is None:
            self.ended = self._clock.now()
            self._hang_up()

    @property
    def is_whole(self) -> bool:
        """Whether the process shows that every simulation of the run was answered."""
        listed = {planned.simulation_id for planned in self._run.plan.simulations}
        return bool(listed) and all(self.outcomes.get(id_) in ANSWERED for id_ in {*listed, *self.outcomes})

    @property
    def _run(self) -> RunRecord:
        return next(run for run in self._world.runs if run.run_id == self.run_id)

    def _tick(self) -> None:
        if self.ended is not None:
            return
        now, run = self._clock.now(), self._run
        if run.delete_time is not None:
            self._finish("GET /runs answered 404.")
            return
        coval_now = self._world.clock()
        is_over = run.finished(coval_now)
        for planned in run.plan.simulations:
            self._see(planned.simulation_id, run.simulation_status(planned, coval_now))
        for id_, (when, outcome) in [*self._closing.items()]:
            if now >= when:
                del self._closing[id_]
                self._set(id_, outcome)
        if self._is_to_end(now):
            if self.plan.end == "killed":
                self.kill()
            else:
                self._finish(PROBLEMS[self.plan.end])
            return
        if is_over and not (self._calls or self._closing):
            self._settle()
            self._finish()
            return
        late = self._changed is not None and now - self._changed >= self.plan.lag
        if late or now - self._written >= BEAT:
            self._write()
        self._clock.at(now + TICK, self._tick)

    def _is_to_end(self, now: float) -> bool:
        plan = self.plan
        if plan.call_number:
            return self._over >= plan.call_number
        return bool(plan.end) and now - self._began >= plan.at

    def _see(self, id_: str, status: str) -> None:
        if self._draw(id_) >= 1 - self.plan.overlooks:
            return
        if id_ not in self.outcomes:
            self._set(id_, "waiting")
        call = self._calls.get(id_)
        if call is not None:
            if status in OVER:  # the run was cancelled, and the relay hung up
                call.outcome, call.error = "answered", ""
            if status in OVER or self._clock.now() >= call.until:
                self._end_call(id_, call)
        elif status == "IN PROGRESS" and self._may_try(id_):
            self._try(id_)

    def _may_try(self, id_: str) -> bool:
        return self.outcomes[id_] == "waiting" or (id_ not in self._tried and self.outcomes[id_] in UNSURE)

    def _try(self, id_: str) -> None:
        """Attach, if Coval offers a relay that works."""
        attachments = self._world.attachments
        try:
            offer = attachments.connection(id_)
        except Problem:
            return
        if offer["status"] != "READY" or not attachments.accepts(id_, offer["token"]):
            return
        self._tried.add(id_)
        action = attachments.fault(id_)
        if action is not None and action.kind == "refuse":
            self._set(id_, "refused")
            return
        attachments.begin_call(id_)
        self._calls[id_] = self._call(id_, action)
        self._set(id_, "attached")

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
        if call.outcome in ANSWERED:
            self.answered.add(id_)

    def _hang_up(self) -> None:
        for id_ in self._calls:
            self._world.attachments.end_call(id_, LOST_AGENT)
        self._calls.clear()

    def _settle(self) -> None:
        """Find out what became of simulations that this process did not hold."""
        run, now = self._run, self._world.clock()
        for planned in run.plan.simulations:
            id_ = planned.simulation_id
            outcome, status = self.outcomes.get(id_), run.simulation_status(planned, now)
            if outcome in ("waiting", "refused", "lost", "missed") and status == "COMPLETED":
                if self._world.attachments.connection(id_)["status"] in CLAIMED:
                    self._set(id_, "before")
            elif outcome == "waiting":
                self._set(id_, "missed")

    def _finish(self, problem: str = "") -> None:
        self._hang_up()
        for id_, outcome in self.outcomes.items():
            if outcome == "attached":
                self.outcomes[id_] = "lost"
        self.is_done = True
        self._write(problem)
        if not problem and self.plan.tag_delay is not None and self.outcomes:
            self._clock.at(self._clock.now() + self.plan.tag_delay, self._tag)
            return
        self.ended = self._clock.now()

    def _tag(self) -> None:
        if self.ended is not None:
            return
        self.ended = self.tagged = self._clock.now()
        counts = Counter(outcome in ANSWERED for outcome in self.outcomes.values())
        run = self._run
        kept = [tag for tag in run.tags if not tag.lower().startswith(TAG)]
        added = [f"{TAG}{counts[True]}.{counts.total()}", *([self.plan.forged] if self.plan.forged else [])]
        try:
            self._world.update_run(self.run_id, {"tags": [*kept, *added]})
        except Problem:
            self.tagged = None

    def _set(self, id_: str, outcome: str) -> None:
        if self.outcomes.get(id_) != outcome:
            self.outcomes[id_] = outcome
            self._changed = self._clock.now() if self._changed is None else self._changed

    def _write(self, problem: str = "") -> None:
        self._written, self._changed = self._clock.now(), None
        simulations = {id_: self._entry(id_, outcome) for id_, outcome in self.outcomes.items()}
        record = {
            "version": 1,
            "run_id": self.run_id,
            "handler": "agent:answer",
            "begun": self._begun,
            "changed": self._clock.time(),
            "done": self.is_done,
            "problem": problem,
            "simulations": simulations,
        }
        self._workspace.write(json.dumps(record))

    @staticmethod
    def _entry(id_: str, outcome: str) -> dict[str, Any]:
        error = "KeyError: 'no prompt'" if outcome == "crashed" else ""
        return {"outcome": outcome, "error": error, "log": f".coval-gate/logs/{id_}.log", "quiet": False}

    def _draw(self, what: str) -> float:
        return Random(f"{self._name}/{what}").random()
