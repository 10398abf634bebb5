"""Real processes of `coval-gate attach` against the sandbox's relay: what the relay saw is the truth.

Each simulation is answered once, and the run has the tag only if all were, whatever is killed or answers as well.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from campaign.schedule import ATTACHED
from coval_sandbox.attachments import LOST_AGENT, Attachments, Call, Session
from coval_sandbox.catalogue import OWN_BUILD_ID, PERSONA_ID
from coval_sandbox.deterministic import SpeedClock
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.world import World
from slim_client import slim_client
from support import KEY

SPEED: Final = 20.0  # s of sandbox time per s
SIMULATIONS: Final = 4
QUIRKS: Final = Quirks(attach_limit=40.0, offer_life=30.0)
OVER: Final = 300.0  # s after which a process counts as one that never ends
COMMAND: Final = """
import os, sys
from coval_attach.command import AttachOptions, attach
from coval_attach.process import Limits
from coval_gate.base.clock import SystemClock
from coval_gate.base.runtime import Runtime

limits = Limits(quiet=0.3, handler=0.3, over=0.6, killing=0.3, poll=0.1, stopping=4.0)
clock = SystemClock()
clock.listen()
sys.exit(attach(Runtime(os.environ, sys.stdout, clock), AttachOptions(sys.argv[1], "agent:answer"), limits))
"""
AGENT: Final = """
import os
from pathlib import Path

async def answer(connection):
    held = Path(os.environ["HELD"]) / f"{connection.simulation_id}.{os.getpid()}"
    held.write_text("")
    async for audio in connection.receive_audio():
        await connection.send_audio(audio)
    held.with_suffix(f".{os.getpid()}.left").write_text("")
"""

pytestmark = pytest.mark.untraced  # the processes are others


class Plan(NamedTuple):
    """What happens. `kills`: a signal ends the first command once a conversation has begun.

    `second`: another command begins beside the first. `again`: another one begins afterwards.
    """

    faults: tuple[str, ...] = ()
    kills: bool = False
    second: bool = False
    again: bool = False


PLANS: Final = {
    "the first of two is killed": Plan(kills=True, second=True),
    "a killed command, and another": Plan(kills=True, again=True),
    "a second command, and lost offers": Plan(
        ("OFFER /simulations/* #1 -> lost 5", "OFFER /simulations/* #3 -> stale"), second=True
    ),
    "a relay that drops": Plan(("RELAY /simulations/* #2 -> drop", "GET /runs/* #2 -> 503"), again=True),
}


class Watched(Attachments):
    """The sandbox's connections, and how many of them a simulation ever had at once."""

    live: dict[str, int]
    most: dict[str, int]

    def begin_call(self, simulation_id: str) -> Call:
        """Begin a conversation."""
        self.live[simulation_id] = self.live.get(simulation_id, 0) + 1
        self.most[simulation_id] = max(self.most.get(simulation_id, 0), self.live[simulation_id])
        return super().begin_call(simulation_id)

    def end_call(self, simulation_id: str, outcome: Any) -> None:
        """End a conversation; the relay does so whenever a connection ends, with this reason."""
        if outcome == LOST_AGENT:
            self.live[simulation_id] -= 1
        super().end_call(simulation_id, outcome)

    def sessions(self, run_id: str) -> dict[str, Session]:
        """Return what the relay knows of a run's conversations."""
        return self._waiting[run_id].sessions


class Job:
    """The job whose commands answer a run."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.plan, self.directory, self.held = plan, directory, directory / "held"
        self.held.mkdir()
        self.world = World(SpeedClock(SPEED), seed=1, quirks=QUIRKS)
        watched: Any = self.world.attachments
        watched.__class__, watched.live, watched.most = Watched, {}, {}
        self.watched: Watched = watched

    def run(self) -> Iterator[str]:
        """Let everything happen, and yield what did not hold."""
        body = {"agent_id": OWN_BUILD_ID, "persona_id": PERSONA_ID, "test_set_id": "passing1"}
        with Server(self.world, faults=self.plan.faults, relay=True) as server:
            self.world.launch(body | {"options": {"concurrency": SIMULATIONS, "sub_sample_size": SIMULATIONS}})
            self.record = self.world.runs[-1]
            self.ids = [planned.simulation_id for planned in self.record.plan.simulations]
            self.environ = {
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(slim_client(self.directory)),
                "COVAL_API_KEY": KEY,
                "INPUT_API_BASE_URL": server.url,
                "SSL_CERT_FILE": str(server.relay_ca),
                "HELD": str(self.held),
            }
            yield from self._commands()
        yield from (f"{id_} had {most} connections at once" for id_, most in self.watched.most.items() if most > 1)
        for id_ in self.ids:
            if len([*self.held.glob(f"{id_}.*.left")]) > 1:
                yield f"{id_} was answered by two processes to its end"

    def _commands(self) -> Iterator[str]:
        first = self._start("first")
        others = []
        if self.plan.second:
            wait_for(lambda: (self.directory / "first/.coval-gate").exists() or first.poll() is not None)
            others.append(("second", self._start("second")))
        if self.plan.kills:
            wait_for(lambda: any(self.held.iterdir()) or first.poll() is not None)
            first.kill()
        for name, command in [("first", first), *others]:
            yield from self._is_over(command, name)
        if self.plan.again:
            yield from self._is_over(self._start("again"), "again")

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        workspace = self.directory / name
        workspace.mkdir()
        (workspace / "agent.py").write_text(AGENT)
        command = [sys.executable, "-c", COMMAND, self.record.run_id]
        with (self.directory / f"{name}.log").open("wb") as log:
            return subprocess.Popen(command, env=self.environ, cwd=workspace, stdout=log, stderr=log)

    def _is_over(self, command: subprocess.Popen[bytes], name: str) -> Iterator[str]:
        code = command.wait(OVER)
        log = (self.directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-2000:]
        answered, is_tagged = sum(map(self._was_answered, self.ids)), ATTACHED in self.record.tags
        if is_tagged and answered < SIMULATIONS:
            yield f"the run is tagged, but {answered} were answered: {log}"
        if code == 0 and not is_tagged:
            yield f"the command {name} ended with 0, but the run is not tagged: {log}"

    def _was_answered(self, id_: str) -> bool:
        """Return whether a conversation came to its end."""
        with self.world.lock:
            session = self.watched.sessions(self.record.run_id).get(id_)
        return session is not None and session.error is None


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait in real time, because the processes are real."""
    until = time.monotonic() + OVER
    while not condition():
        assert time.monotonic() < until, "a process does not end"
        time.sleep(0.02)


@pytest.mark.parametrize("name", PLANS)
def test_each_simulation_is_answered_once_and_the_tag_is_true(name: str, tmp_path: Path) -> None:
    assert [*Job(PLANS[name], tmp_path).run()] == []
