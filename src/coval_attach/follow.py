"""Follows a run, and attaches a process to each simulation as soon as Coval begins it."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from coval_attach.process import ANSWERED, Ending, Order, WorkerEvent, WorkerProcess
from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError, NotFound, RunnerError
from coval_gate.base.schedule import Wait, all_or_first_error, together
from coval_gate.base.text import duration, plural, shortened
from coval_gate.ci.host import AGENT_TYPE, DIRECTORY, IGNORED
from coval_gate.coval.client import Session
from coval_gate.coval.model import QUEUED, Run, Simulation
from coval_gate.coval.resources import AGENT
from coval_gate.features.files.workspace import Workspace

LOGS: Final = f"{DIRECTORY}/logs"  # a file for each simulation
WORKER_LOG: Final = f"{LOGS}/attach.worker.log"  # no simulation has a dot in its id
TICK: Final = 0.1  # s between two looks at the worker
POLLS_OF_RUN: Final = 4  # looks at the simulations for each look at the run, as long as some are under way
NEWS: Final = 10.0  # s at least between two lines of progress
CALLED_BY_COVAL: Final = (  # types of agents that no process can attach to; Coval may have others
    *("VOICE", "OUTBOUND_VOICE", "CHAT", "CHAT_A2A", "CHAT_WEBSOCKET", "EMAIL", "SMS", "WEBSOCKET", "LIVEKIT", "DAILY"),
    *("OPENAI_REALTIME", "GEMINI_REALTIME", "GROK_REALTIME", "DEEPGRAM_REALTIME"),
)
READING_AGENT: Final = 5.0  # s to read the type of the agent
BAD_ENDINGS: Final = {
    "crashed": "crashed",
    "lost": "lost its relay",
    "refused": "was not attached",
    "missed": "was missed",
}


class _Refusal(NamedTuple):
    """A process could not attach. Another one tries at `again_at`, after a `pause` in seconds."""

    error: str
    pause: float
    again_at: float


class AttachError(GateError):
    """The command cannot continue."""


@dataclass
class _Followed:
    """A simulation as Coval showed it last, and the outcome of its processes."""

    shown: Simulation
    outcome: Ending = "waiting"
    was_started: bool = False
    is_open: bool = False  # a process for it has not ended
    knows_end: bool = False  # the process knows that the simulation is over
    refusal: _Refusal | None = None


class Follower:
    def __init__(self, session: Session, run_id: str, worker: WorkerProcess) -> None:
        self._session, self._run_id, self._worker, self._limits = session, run_id, worker, worker.limits
        self._simulations: dict[str, _Followed] = {}
        self._expected = 0  # simulations that Coval counts
        self._begun = session.clock.now()
        self._logged, self._logged_at = "", float("-inf")  # the last line of progress
        self._polled_at: float | None = None  # when polling ended
        self._is_checked = False  # whether the agent's type was checked
        self._unknown_since: float | None = None  # since when Coval has answered that there is no such run
        self._error: GateError | None = None

    async def follow(self) -> None:
        """Attach to every simulation, until the run and every process have ended. Raises GateError."""
        try:
            all_or_first_error(await together([self._poll(), self._listen()], self._session.clock))
            if self._error:
                raise self._error
            self._settle()
        finally:
            self._show(is_over=True)

    async def _poll(self) -> None:
        """Poll the run until it is over. An error also ends the processes."""
        try:
            await self._poll_until_over()
        except GateError as error:
            self._error = self._error or error
        self._polled_at = self._session.clock.now()

    async def _poll_until_over(self) -> None:
        client, clock, until = self._session.client, self._session.clock, self._session.deadline
        polls = 0
        while self._error is None:
            if clock.now() >= until:
                raise AttachError(
                    titles.TIME_IS_OVER,
                    "The run was not over within --max-wait-time.",
                    advice="Raise --max-wait-time, or look in Coval for what delays the run.",
                )
            run = None
            if polls % POLLS_OF_RUN == 0 or not self._open:
                # Read the run first: a simulation that begins between the two requests is then still listed.
                run = await self._run()
                if run is None:
                    await Wait(self._limits.poll)
                    continue
                await self._check_agent(run)
            self._see(await client.list_simulations(self._run_id, until=until))
            if run and run.is_over:
                return
            polls += 1
            await Wait(self._limits.poll)

    async def _run(self) -> Run | None:
        """Return the run; None while Coval may not show it yet, mostly just after its launch."""
        session, limits = self._session, self._limits
        try:
            run = await session.client.get_run(self._run_id, until=session.deadline)
        except NotFound:
            now = session.clock.now()
            if self._unknown_since is None:
                self._unknown_since = now
                session.log(f"Coval does not find run {self._run_id}; trying again for {duration(limits.unknown)}.")
            if now - self._unknown_since >= limits.unknown:
                raise
            return None
        self._unknown_since = None
        self._expected = max(run.progress.total if run.progress else 0, len(run.output_ids or ()))
        return run

    async def _check_agent(self, run: Run) -> None:
        """Raise AttachError if Coval itself calls the agent, by its type in the run's metadata or else in Coval."""
        if self._is_checked:
            return
        self._is_checked = True
        type_ = run.metadata.get(AGENT_TYPE, "")
        if not type_ and run.agent_id:
            client, until = self._session.client, self._session.clock.now() + READING_AGENT
            with suppress(CovalError):
                type_ = (await client.get(AGENT, run.agent_id, until=until, once=True)).model_type
        if type_ in CALLED_BY_COVAL:
            raise AttachError(
                titles.NO_AGENT,
                f"The agent of run {self._run_id} is of type {type_}. Coval itself calls such agents.",
                advice="Launch the run with an agent of type SDK WebSocket.",
            )

    def _see(self, simulations: tuple[Simulation, ...]) -> None:
        for simulation in simulations:
            followed = self._simulations.setdefault(simulation.id, _Followed(simulation))
            followed.shown = simulation
            if simulation.ended:
                self._send_end(followed)
                self._give_up(followed)
            elif simulation.status not in QUEUED:
                self._start(followed)

    def _send_end(self, followed: _Followed) -> None:
        if followed.is_open and not followed.knows_end:
            followed.knows_end = True
            self._worker.send(Order("over", followed.shown.id, completed=followed.shown.completed))

    def _start(self, followed: _Followed) -> None:
        id_, refusal = followed.shown.id, followed.refusal
        may_try_again = refusal and not followed.is_open and self._session.clock.now() >= refusal.again_at
        if followed.was_started and not may_try_again:
            return
        followed.was_started = True
        path = open_log(self._session.host.workspace, log_of(id_))
        followed.is_open = True
        self._worker.send(Order("attach", id_, path))

    async def _listen(self) -> None:
        limits, clock = self._limits, self._session.clock
        patience = limits.over + limits.handler + 2 * limits.killing
        while True:
            alive = self._worker.is_running
            for event in self._worker.events():
                self._handle(event)
            if not alive and self._error is None and (self._polled_at is None or self._open):
                self._error = AttachError(
                    titles.WORKER_GONE,
                    "The process that answers the conversations ended unexpectedly.",
                    advice=f"See {WORKER_LOG}; the runner may have run out of memory.",
                )
            self._show()
            if not alive or (self._error and self._polled_at is not None):
                break
            if self._polled_at is not None:
                for followed in self._open:  # also one that Coval shows as unfinished
                    self._send_end(followed)
                if not self._open or clock.now() - self._polled_at > patience:
                    break
            await Wait(TICK)
        while self._polled_at is None:
            await Wait(TICK)

    def _handle(self, event: WorkerEvent) -> None:
        followed = self._simulations.get(event.simulation)
        if followed is None or not followed.is_open:
            return
        if event.what == "attached":
            followed.refusal, followed.outcome = None, "attached"
        elif event.what == "quiet":
            self._session.log(f"Simulation {event.simulation} receives no audio from the agent ({_see_log(followed)})")
        elif event.what == "ended":
            followed.is_open = False
            self._end(followed, event.outcome, event.error)

    def _end(self, followed: _Followed, outcome: Ending, error: str) -> None:
        id_, refusal = followed.shown.id, followed.refusal
        continues = self._polled_at is None and self._error is None and not followed.shown.ended  # as far as known
        if outcome == "refused" and continues:
            self._try_again(followed, error)
            return
        if refusal and outcome == "missed":  # the last attempt was too late; the error of an earlier one explains more
            outcome, error = "refused", refusal.error
        followed.outcome = outcome
        if outcome in BAD_ENDINGS:
            self._session.log(
                f"✗ Simulation {id_} {BAD_ENDINGS[outcome]}: {shortened(error, 200)} ({_see_log(followed)})"
            )
        elif error or outcome == "ended_early":
            what = error or "The handler returned before the conversation ended."
            self._session.log(f"Simulation {id_}: {what}")

    def _try_again(self, followed: _Followed, error: str) -> None:
        """Try again in another process later, because the error may be temporary.

        The Agent SDK gives up after a damaged response, a 404, or an offer that has just expired.
        """
        former = followed.refusal
        pause = min(self._limits.again, former.pause * 2 if former else self._limits.poll)
        followed.refusal = _Refusal(error, pause, self._session.clock.now() + pause)
        if former is None:
            what = f"{shortened(error, 200)} ({_see_log(followed)})"
            self._session.log(f"Simulation {followed.shown.id} is not attached yet: {what}")

    def _give_up(self, followed: _Followed) -> None:
        """Report the last refusal: the simulation or its run is over."""
        if followed.refusal and not followed.is_open and followed.outcome == "waiting":
            self._end(followed, "refused", followed.refusal.error)

    def _settle(self) -> None:
        """Set the outcome of simulations whose process did not end by itself, and of those without a process."""
        for followed in self._simulations.values():
            self._give_up(followed)
            if followed.is_open:
                followed.outcome = "answered" if followed.outcome == "attached" and followed.shown.ended else "lost"
            elif followed.outcome == "waiting":
                followed.outcome = "missed"

    @property
    def _open(self) -> list[_Followed]:
        return [followed for followed in self._simulations.values() if followed.is_open]

    @property
    def _outcomes(self) -> Counter[Ending]:
        return Counter(followed.outcome for followed in self._simulations.values())

    @property
    def is_whole(self) -> bool:
        """Whether this command answered every simulation that Coval lists or counts."""
        return 0 < self._total == sum(self._outcomes[outcome] for outcome in ANSWERED)

    @property
    def _total(self) -> int:
        """How many simulations Coval lists or counts."""
        return max(len(self._simulations), self._expected)

    @property
    def has_begun(self) -> bool:
        """Whether a process was started for any simulation."""
        return any(followed.was_started for followed in self._simulations.values())

    @property
    def summary(self) -> str:
        counts, total = self._outcomes, self._total
        if not total:
            return "The run had no simulation."
        others = [f"{count} {outcome}" for outcome, count in counts.items() if outcome not in ANSWERED]
        answered = sum(counts[outcome] for outcome in ANSWERED)
        return f"{answered} of {plural(total, 'simulation')} answered{': ' if others else ''}{', '.join(others)}."

    def _show(self, *, is_over: bool = False) -> None:
        line, now = self._line(), self._session.clock.now()
        is_news = line != self._logged and (is_over or now - self._logged_at >= NEWS)
        if is_news:
            self._logged, self._logged_at = line, now
        self._session.show_progress(now - self._begun, line, is_news=is_news, is_over=is_over)

    def _line(self) -> str:
        outcomes, listed = self._outcomes, len(self._simulations)
        if not listed:
            return "waiting for the run's simulations"
        waiting = outcomes["waiting"] + outcomes["missed"] + outcomes["refused"]
        done = listed - outcomes["waiting"] - outcomes["attached"]
        return f"{listed - waiting} of {self._total} attached, {done} done"


def _see_log(followed: _Followed) -> str:
    return f"log: {log_of(followed.shown.id)}"


def log_of(simulation: str) -> str:
    return f"{LOGS}/{simulation}.log"


def open_log(workspace: Workspace, name: str) -> str:
    """Create a log in the workspace if there is none yet, and return its absolute path. Raises RunnerError."""
    try:
        workspace.create(IGNORED, "*\n")
        workspace.create(name, "")
    except ValueError as problem:
        raise RunnerError(titles.LOG_NOT_WRITTEN, f"The log {problem}") from None
    return workspace.locate(name)
