"""Follows a run, and attaches a process to each simulation as soon as Coval begins it."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from coval_gate.attach.messages import Event
from coval_gate.attach.record import WORKER_LOG, log_of
from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError, NotFound, RunnerError
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import Wait, all_or_first_error, together
from coval_gate.base.text import duration, plural, shortened, stopwatch
from coval_gate.ci.host import AGENT_TYPE
from coval_gate.config.fields import IDENTIFIER
from coval_gate.model.attachment import ANSWERED, OPEN
from coval_gate.model.statuses import QUEUED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.attach.messages import Limits
    from coval_gate.attach.process import WorkerProcess
    from coval_gate.attach.record import RecordKeeper
    from coval_gate.base.schedule import Procedure
    from coval_gate.model.results import Simulation
    from coval_gate.model.run import Run
    from coval_gate.runs.legs import Session

TICK: Final = 0.1  # s between two looks at the worker
POLLS_OF_RUN: Final = 4  # looks at the simulations for each look at the run, as long as some are under way
NEWS: Final = 10.0  # s at least between two lines of progress in a log
EARLIER_IS_GONE: Final = "The process that was attached is gone."
HAD_TO_END: Final = "Its process had to be ended."
UNSURE: Final = (*OPEN, "answered", "before")  # of an earlier process, while Coval shows that the simulation goes on
UNATTACHED: Final = ("refused", "missed")
CALLED_BY_COVAL: Final = (  # types of agents to which no process can attach; Coval may have others
    *("VOICE", "OUTBOUND_VOICE", "CHAT", "CHAT_A2A", "CHAT_WEBSOCKET", "EMAIL", "SMS", "WEBSOCKET", "LIVEKIT", "DAILY"),
    *("OPENAI_REALTIME", "GEMINI_REALTIME", "GROK_REALTIME", "DEEPGRAM_REALTIME"),
)
READING: Final = 5.0  # s to read the type of the agent
CLAIMED: Final = ("CLOSED", "CONNECTED")  # statuses of a relay that a process was attached to
MOST_ASKED: Final = 10  # relays to look at side by side
ASKING: Final = 20.0  # s for that
BAD: Final = {
    "crashed": "crashed",
    "lost": "lost its relay",
    "refused": "could not attach",
    "missed": "was missed",
}


class _Refusal(NamedTuple):
    """Why a process could not attach to a simulation, and when another one may try: after a `pause` in seconds."""

    error: str
    pause: float
    again_at: float


class AttachError(GateError):
    """The command cannot go on."""


class Follower:
    """Answers the simulations of one run, from the first look at it until its end."""

    def __init__(
        self, session: Session, run_id: str, keeper: RecordKeeper, worker: WorkerProcess, limits: Limits
    ) -> None:
        self._session, self._run_id, self._keeper, self._worker = session, run_id, keeper, worker
        self._limits = limits
        self._started: set[str] = set()
        self._open: set[str] = set()  # simulations whose process has not ended
        self._attached: set[str] = set()
        self._refusals: dict[str, _Refusal] = {}
        self._simulations: Mapping[str, Simulation] = {}
        self._begun = session.clock.now()
        self._told_at = float("-inf")
        self._told = self._shown = ""  # the last line of progress in the log, and on a terminal
        self._is_live = False
        self._seen_over: set[str] = set()
        self._polled_at: float | None = None  # when the last look at the run was over
        self._is_checked = False  # the type of the agent
        self._unknown_since: float | None = None  # when Coval began to answer that it has no such run
        self._error: GateError | None = None

    def follow(self) -> Procedure[None]:
        """Attach to every simulation until the run is over, and every process has ended. Raises GateError."""
        try:
            all_or_first_error((yield from together([self._poll(), self._listen()], self._session.clock)))
            yield from self._settle()
        finally:
            self._show(is_over=True)
        if self._error:
            raise self._error

    def _poll(self) -> Procedure[None]:
        """Look at the run again and again. What goes wrong ends the processes, too."""
        try:
            yield from self._poll_until_over()
        except GateError as error:
            self._error = self._error or error
        self._polled_at = self._session.clock.now()

    def _poll_until_over(self) -> Procedure[None]:
        client, clock, until = self._session.client, self._session.clock, self._session.deadline
        polls = 0
        while self._error is None:
            if clock.now() >= until:
                raise AttachError(
                    titles.TIME_IS_OVER,
                    "max_wait_time was over before the run was.",
                    advice="Raise --max-wait-time, or see in Coval what holds the run up.",
                )
            run = None
            if polls % POLLS_OF_RUN == 0 or not self._open:
                # Look at the run first: a simulation that begins between the two looks is then still seen.
                run = yield from self._run()
                if run is None:
                    yield Wait(self._limits.poll)
                    continue
                yield from self._check_agent(run)
            self._see((yield from client.list_simulations(self._run_id, until=until)))
            if run and run.is_over:
                return
            polls += 1
            yield Wait(self._limits.poll)

    def _run(self) -> Procedure[Run | None]:
        """Return the run; None while Coval may only not know it yet, above all after its launch."""
        session, limits = self._session, self._limits
        try:
            run = yield from session.client.get_run(self._run_id, until=session.deadline)
        except NotFound:
            now = session.clock.now()
            if self._unknown_since is None:
                self._unknown_since = now
                session.log(f"Coval does not know run {self._run_id}; asking again for {duration(limits.unknown)}.")
            if now - self._unknown_since >= limits.unknown:
                raise
            return None
        self._unknown_since = None
        return run

    def _check_agent(self, run: Run) -> Procedure[None]:
        """Raise AttachError if Coval itself reaches the agent: by what the launch noted, or else by what Coval says."""
        if self._is_checked:
            return
        self._is_checked = True
        type_ = run.metadata.get(AGENT_TYPE, "")
        if not type_ and run.agent_id:
            client, until = self._session.client, self._session.clock.now() + READING
            with suppress(CovalError):
                type_ = yield from client.get_agent_type(run.agent_id, until=until, once=True)
        if type_ in CALLED_BY_COVAL:
            raise AttachError(
                titles.NO_AGENT,
                f"The agent of run {self._run_id} is of type {type_}, which Coval calls by itself.",
                advice="Launch the run with an agent of type SDK WebSocket.",
            )

    def _see(self, simulations: tuple[Simulation, ...]) -> None:
        self._simulations = {one.id: one for one in simulations if IDENTIFIER.fullmatch(one.id)}
        for id_, simulation in self._simulations.items():
            attachment = self._keeper.record.simulations.get(id_)
            if attachment is None:
                self._keeper.set(id_)
            if simulation.ended:
                self._see_over(id_)
                self._give_up(id_)
            elif simulation.status not in QUEUED and (attachment is None or attachment.outcome in UNSURE):
                self._start(id_)

    def _see_over(self, id_: str) -> None:
        if id_ in self._open and id_ not in self._seen_over:
            self._seen_over.add(id_)
            self._worker.see_over(id_, completed=self._is_completed(id_))

    def _start(self, id_: str) -> None:
        refusal = self._refusals.get(id_)
        may_try_again = refusal and id_ not in self._open and self._session.clock.now() >= refusal.again_at
        if id_ in self._started and not may_try_again:
            return
        self._started.add(id_)
        log = log_of(id_)
        try:
            path = self._keeper.open_log(log)
        except ValueError as problem:
            raise RunnerError(titles.LOG_NOT_WRITTEN, f"The log of a simulation {problem}") from None
        self._open.add(id_)
        self._keeper.set(id_, outcome="waiting", error=refusal.error if refusal else "", log=log)
        self._worker.attach(id_, path)

    def _listen(self) -> Procedure[None]:
        """Note what the worker tells until the run is over, and every process has ended."""
        limits, clock = self._limits, self._session.clock
        patience = limits.over + limits.handler + 2 * limits.killing
        while True:
            alive = self._worker.is_running
            for event in self._worker.events():
                self._take(event)
            if not alive and self._error is None and (self._polled_at is None or self._open):
                self._error = AttachError(
                    titles.WORKER_GONE,
                    "The process that holds the conversations ended by itself.",
                    advice=f"See {WORKER_LOG}; the runner may have run out of memory.",
                )
            self._show()
            self._keeper.write_if_due()
            if not alive or (self._error and self._polled_at is not None):
                break
            if self._polled_at is not None:
                for id_ in self._open:  # also one that Coval shows as unfinished
                    self._see_over(id_)
                if not self._open or clock.now() - self._polled_at > patience:
                    break
            yield Wait(TICK)
        while self._polled_at is None:
            yield Wait(TICK)

    def _take(self, event: Event) -> None:
        id_ = event.simulation
        if id_ not in self._open:
            return
        if event.what == "attached":
            self._attached.add(id_)
            self._refusals.pop(id_, None)
            self._keeper.set(id_, outcome="attached", error="")
        elif event.what == "quiet":
            self._keeper.set(id_, quiet=True)
            self._session.log(f"Simulation {id_} hears no audio from the agent (log: {log_of(id_)})")
        elif event.what == "ended":
            self._open.discard(id_)
            self._end(event)

    def _end(self, event: Event) -> None:
        id_, outcome, error = event.simulation, event.outcome, event.error
        goes_on = self._polled_at is None and self._error is None and not self._is_over(id_)  # as far as known
        if outcome == "refused" and goes_on:
            self._try_again(id_, error)
            return
        refusal = self._refusals.get(id_)
        if refusal and outcome == "missed":  # which is only what became of the last attempt
            outcome, error = "refused", refusal.error
        if id_ in self._keeper.earlier and outcome in UNATTACHED:
            outcome, error = "lost", f"{EARLIER_IS_GONE} {error}"
        self._keeper.set(id_, outcome=outcome, error=error)
        if outcome in BAD:
            self._session.log(f"✗ Simulation {id_} {BAD[outcome]}: {shortened(error, 200)} (log: {log_of(id_)})")
        elif error or outcome == "ended_early":
            what = error or "The handler returned before the conversation ended."
            self._session.log(f"Simulation {id_}: {what}")

    def _try_again(self, id_: str, error: str) -> None:
        """Note that a process could not attach. Another one tries, because Coval may only have hiccuped.

        The Agent SDK gives up at a damaged response, a 404 and an offer that has just expired.
        """
        former = self._refusals.get(id_)
        pause = min(self._limits.again, former.pause * 2 if former else self._limits.poll)
        self._refusals[id_] = _Refusal(error, pause, self._session.clock.now() + pause)
        self._keeper.set(id_, outcome="waiting", error=error)
        if former is None:
            what = f"{shortened(error, 200)} (log: {log_of(id_)})"
            self._session.log(f"Simulation {id_} could not be attached to yet: {what}")

    def _give_up(self, id_: str) -> None:
        """Note that no process could attach to a simulation that is over, or whose run is."""
        refusal = self._refusals.get(id_)
        if refusal and id_ not in self._open and self._keeper.record.simulations[id_].outcome == "waiting":
            self._end(Event("ended", id_, outcome="refused", error=refusal.error))

    def _settle(self) -> Procedure[None]:
        """Say what became of the simulations that no process of this command was attached to."""
        for id_ in self._refusals:
            self._give_up(id_)
        for id_ in [*self._open]:
            # A worker that is gone took its processes along, and with them conversations that went on.
            is_over = self._is_completed(id_) if self._error else self._is_over(id_)
            outcome = "answered" if id_ in self._attached and is_over else "lost"
            self._open.discard(id_)
            self._keeper.set(id_, outcome=outcome, error=self._error.what if self._error else HAD_TO_END)
        outcomes = self._keeper.record.simulations
        doubtful = [
            id_
            for id_, simulation in self._simulations.items()
            if outcomes[id_].outcome in ("waiting", "refused", "missed") and id_ not in self._attached
            # A process that was killed cut its conversation off, even if Coval counts that as completed.
            if simulation.completed and id_ not in self._keeper.earlier
        ]
        asked = [self._was_claimed(id_) for id_ in doubtful]
        claims = yield from together(asked, self._session.clock, at_once=MOST_ASKED)
        before = {id_ for id_, claim in zip(doubtful, claims, strict=True) if claim is True}
        for id_, simulation in self._simulations.items():
            if id_ in before:
                self._keeper.set(id_, outcome="before", error="")
            elif outcomes[id_].outcome == "waiting" and id_ in self._keeper.earlier:
                self._keeper.set(id_, outcome="lost", error=EARLIER_IS_GONE)
            elif outcomes[id_].outcome == "waiting" and simulation.ended:
                self._keeper.set(id_, outcome="missed", error=f"It was {simulation.status} before a process attached.")

    def _was_claimed(self, id_: str) -> Procedure[bool]:
        """Return whether Coval shows that a process was attached."""
        until = self._session.clock.now() + ASKING
        try:
            return (yield from self._session.client.get_relay_status(id_, until=until)) in CLAIMED
        except CovalError:
            return False

    def _is_completed(self, id_: str) -> bool:
        return id_ in self._simulations and self._simulations[id_].completed

    def _is_over(self, id_: str) -> bool:
        return id_ in self._simulations and self._simulations[id_].ended

    def _show(self, *, is_over: bool = False) -> None:
        """Show how far the run is: a live line on a terminal; in a log, news now and then."""
        now, line = self._session.clock.now(), self._line()
        seconds = now - self._begun
        if line != self._shown or is_over:
            self._shown = line
            self._is_live = self._session.host.progress("", seconds, line, is_over=is_over)
        if self._is_live or line == self._told or not (is_over or now - self._told_at >= NEWS):
            return
        self._told, self._told_at = line, now
        self._session.log(f"{stopwatch(seconds):>7}  {line}")

    def _line(self) -> str:
        outcomes = Counter(one.outcome for one in self._keeper.record.simulations.values())
        total = sum(outcomes.values())
        if not total:
            return "waiting for the run's simulations"
        waiting = outcomes["waiting"] + outcomes["missed"] + outcomes["refused"]
        done = total - sum(outcomes[outcome] for outcome in OPEN)
        return f"{total - waiting} of {total} attached, {done} done"


def summary_of(keeper: RecordKeeper) -> str:
    """Return in a sentence how many simulations were answered, and what became of the others."""
    outcomes = Counter(one.outcome for one in keeper.record.simulations.values())
    total, answered = sum(outcomes.values()), keeper.record.answered
    if not total:
        return "The run had no simulation."
    others = [f"{count} {outcome.replace('_', ' ')}" for outcome, count in outcomes.items() if outcome not in ANSWERED]
    return f"{answered} of {plural(total, 'simulation')} answered{': ' if others else ''}{', '.join(others)}."
