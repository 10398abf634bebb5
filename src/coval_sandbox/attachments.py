"""Connections of agents' processes to simulations: offers of a relay, their one-use tokens, and sessions."""

import heapq
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from . import catalogue
from .catalogue import Json
from .deterministic import Clock, SpeedClock, rng, short_id
from .faults import Action, FaultScript
from .judges import judged
from .plan import Plan, PlannedSimulation, RunRecord, end_of_run
from .problems import Problem, invalid
from .quirks import Quirks
from .scenarios import FAILURE, Value
from .sound import Answer

PREPARING: Final = 2.0  # s of sandbox time until an offer is ready
REPLACING: Final = 5.0  # s from the end of an unused offer until its replacement is prepared
TOKEN_LENGTH: Final = 43
SHORTEST_CALL: Final = 0.3  # s of real time
LOST_AGENT: Final = "The agent disconnected before the conversation ended"
OVER: Final = {"COMPLETED": "CLOSED", "FAILED": "FAILED", "CANCELLED": "CANCELLED"}
"""The status of a connection by that of its simulation, once it is over."""


class Session(NamedTuple):
    """`began` and `ended` are in seconds after the launch. `error`: None if the simulation did not fail."""

    began: float
    ended: float = math.inf
    error: str | None = None
    values: Mapping[str, Value] | None = None


class Offer(NamedTuple):
    """`token` works once, from `ready` until `expires`; a replacement follows at `replaced`.

    Times are seconds since the epoch, in sandbox time. `is_stale`: its time of expiry has always been over.
    """

    token: str
    ready: float
    expires: float
    replaced: float
    is_used: bool = False
    is_stale: bool = False

    def is_open(self, now: float) -> bool:
        return self.ready <= now < self.expires and not (self.is_used or self.is_stale)


class Call(NamedTuple):
    """`seconds`: how long the caller speaks, in real time; infinite if it never ends."""

    simulation_id: str
    seconds: float


@dataclass
class _Waiting:
    """`first` is the plan at the launch."""

    first: Plan
    sessions: dict[str, Session] = field(default_factory=dict)


class Attachments:
    """`find` returns a simulation and its run, `store` replaces a run. A caller must hold the world's lock."""

    def __init__(
        self,
        clock: Clock,
        seed: int,
        quirks: Quirks,
        find: Callable[[str], tuple[RunRecord, PlannedSimulation]],
        store: Callable[[RunRecord], None],
    ) -> None:
        self._clock = clock
        self._seed = seed
        self._quirks = quirks
        self._find = find
        self._store = store
        self._waiting: dict[str, _Waiting] = {}
        self._offers: dict[str, list[Offer]] = {}
        self._relay = ""
        self._faults = FaultScript()
        self.live_seconds = 0.0  # of real time, in which a real agent needs for its turns at any speed of the clock
        self._speed = clock.speed if isinstance(clock, SpeedClock) else 1.0  # seconds of sandbox time per second

    def open(self, relay: str, faults: FaultScript) -> None:
        self._relay, self._faults = relay, faults

    def close(self) -> None:
        self._relay = ""

    def begin(self, record: RunRecord) -> RunRecord:
        """Return the run as planned; if its agent attaches, its simulations wait for processes."""
        if not catalogue.agent_for(record.request.agent_id).attaches:
            return record
        self._waiting[record.run_id] = _Waiting(record.plan)
        return self._planned(record)

    def connection(self, simulation_id: str) -> Json:
        """GET /simulations/{id}/connect."""
        record, planned = self._find(simulation_id)
        if record.run_id not in self._waiting:
            raise invalid(("simulation_id", f"its agent is not of type {catalogue.SDK_MODEL_TYPE}"))
        if not self._relay:
            raise Problem(503, "UNAVAILABLE", "The sandbox has no relay: start it with --relay")
        now = self._clock()
        status, offer = self._status(record, planned, now)
        shown: Json = dict.fromkeys(("attempt_id", "wss_url", "token", "expires_at"))
        if offer is not None:
            left = -1.0 if offer.is_stale else (offer.expires - now) / self._speed
            shown = {
                "attempt_id": short_id(rng(self._seed, simulation_id, "attempt", offer.token)),
                "wss_url": f"{self._relay}/simulations/{simulation_id}",
                "token": offer.token,
                "expires_at": math.ceil(time.time() + left),
            }
        return {"status": status, "simulation_id": simulation_id, **shown}

    def _status(self, record: RunRecord, planned: PlannedSimulation, now: float) -> tuple[str, Offer | None]:
        status = record.simulation_status(planned, now)
        if status in OVER:
            return OVER[status], None
        if status != "IN PROGRESS":
            return "PENDING", None
        offer = self._newest(record, planned, now)
        if offer.is_used:
            return "CONNECTED", None
        if now < offer.ready:
            return "PENDING", None
        return ("READY", offer) if now < offer.expires else ("EXPIRED", None)

    def _newest(self, record: RunRecord, planned: PlannedSimulation, now: float) -> Offer:
        offers = self._offers.setdefault(planned.simulation_id, [])
        if not offers:
            offers.append(self._offer(planned.simulation_id, 1, record.create_time + planned.start))
        while now >= offers[-1].replaced:
            offers.append(self._offer(planned.simulation_id, len(offers) + 1, offers[-1].replaced))
        return offers[-1]

    def _offer(self, simulation_id: str, number: int, begun: float) -> Offer:
        action = self._faults.take("OFFER", f"/simulations/{simulation_id}")
        kind, amount = (action.kind, action.amount) if action else ("", math.nan)
        ready = begun + PREPARING + (amount if kind == "delay" else 0.0)
        expires = ready + (0.0 if kind == "lost" else self._quirks.offer_life)
        pause = amount if kind == "lost" else REPLACING
        return Offer(
            token=short_id(rng(self._seed, simulation_id, "token", number), TOKEN_LENGTH),
            ready=ready,
            expires=expires,
            replaced=math.inf if math.isnan(pause) else expires + pause,
            is_stale=kind == "stale",
        )

    # For the relay

    def accepts(self, simulation_id: str, token: str) -> bool:
        try:
            record, planned = self._find(simulation_id)
        except Problem:
            return False
        if record.run_id not in self._waiting:
            return False
        now = self._clock()
        _, offer = self._status(record, planned, now)
        return offer is not None and offer.is_open(now) and offer.token == token

    def fault(self, simulation_id: str) -> Action | None:
        """Return the scripted fault of a connection with a valid token, if any."""
        return self._faults.take("RELAY", f"/simulations/{simulation_id}")

    def begin_call(self, simulation_id: str) -> Call:
        """Start the call of a connection with a valid token, and use the token up."""
        record, planned = self._find(simulation_id)
        offers = self._offers[simulation_id]
        offers[-1] = offers[-1]._replace(is_used=True, replaced=math.inf)
        first = self._waiting[record.run_id].first.simulations[planned.number]
        length = first.end - first.start if math.isfinite(first.end) else math.inf
        if not isinstance(self._clock, SpeedClock) and math.isfinite(length):
            length = 0.0  # real time does not move the clock
        self._change(record, simulation_id, Session(self._clock() - record.create_time))
        return Call(simulation_id, max(SHORTEST_CALL, min(length, self.live_seconds), length / self._speed))

    def is_on(self, simulation_id: str) -> bool:
        """Return whether the conversation goes on. The end of its run ends it, too."""
        try:
            record, planned = self._find(simulation_id)
        except Problem:
            return False
        return record.simulation_status(planned, self._clock()) == "IN PROGRESS"

    def end_call(self, simulation_id: str, outcome: Answer | str) -> None:
        """End a call. `outcome`: the agent's answer, or why the conversation failed."""
        if not self.is_on(simulation_id):
            return
        record, planned = self._find(simulation_id)
        waiting = self._waiting[record.run_id]
        changes: dict[str, Any] = {"ended": self._clock() - record.create_time}
        if isinstance(outcome, str):
            changes["error"] = outcome
        else:
            changes["values"] = judged(waiting.first.simulations[planned.number].values, outcome)
        self._change(record, simulation_id, waiting.sessions[simulation_id]._replace(**changes))

    def _change(self, record: RunRecord, simulation_id: str, session: Session) -> None:
        self._waiting[record.run_id].sessions[simulation_id] = session
        self._store(self._planned(record))

    def _planned(self, record: RunRecord) -> RunRecord:
        waiting = self._waiting[record.run_id]
        concurrency = record.request.options.concurrency
        plan = attached_plan(waiting.first, concurrency, waiting.sessions, self._quirks.attach_limit)
        return replace(record, plan=plan)


def attached_plan(first: Plan, concurrency: int, sessions: Mapping[str, Session], limit: float) -> Plan:
    """Return the `first` plan as changed by the `sessions` so far, by simulation.

    A simulation that no process connects to fails after `limit` seconds.
    """
    free = [first.queue] * concurrency
    simulations = []
    for planned in first.simulations:
        start = heapq.heappop(free)
        simulations.append(_simulation(planned, start, sessions.get(planned.simulation_id), limit))
        heapq.heappush(free, simulations[-1].end)
    end = end_of_run(first.scenario, first.queue, simulations)
    failed = any(planned.failed for planned in simulations)
    scenario = replace(first.scenario, error_status=FAILURE) if failed else first.scenario
    return replace(first, scenario=scenario, simulations=tuple(simulations), end=end)


def _simulation(planned: PlannedSimulation, start: float, session: Session | None, limit: float) -> PlannedSimulation:
    if session is None:
        return _failed(planned, start, start + limit, f"No agent connected within {limit:g} s")
    if session.error is not None:
        return _failed(planned, start, session.ended, session.error)
    values = planned.values if session.values is None else session.values
    return replace(planned, start=start, end=session.ended, values=values)


def _failed(planned: PlannedSimulation, start: float, end: float, message: str) -> PlannedSimulation:
    return replace(planned, start=start, end=end, failed=True, error_message=message, values={})
