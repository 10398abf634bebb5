"""Seeded schedules for the real `coval-gate attach`: its processes, against the sandbox's relay on real sockets.

Offers and the relay fail, handlers crash or return, and a signal ends the command, its worker or a handler at a drawn
moment. A second command begins meanwhile or afterwards. What the relay saw is the truth.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from collections.abc import Callable, Iterator

from coval_sandbox.attachments import LOST_AGENT, Attachments, Call, Session
from coval_sandbox.catalogue import OWN_BUILD_ID, PERSONA_ID
from coval_sandbox.clock import SpeedClock
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.world import World
from slim_client import slim_client
from support import KEY

SPEED: Final = 20.0  # s of sandbox time per s
SIMULATIONS: Final = 4
QUIRKS: Final = Quirks(attach_limit=40.0, offer_life=30.0)
OVER_TIME: Final = 30.0  # s for a command to end by itself
LEAVING: Final = 6.0  # s for everything to end after a signal
FAULTS: Final = (
    "OFFER /simulations/* #{} -> lost 5",
    "OFFER /simulations/* #{} -> lost",
    "OFFER /simulations/* #{} -> stale",
    "OFFER /simulations/* #{} -> delay 10",
    "RELAY /simulations/* #{} -> refuse",
    "RELAY /simulations/* #{} -> error the line broke",
    "RELAY /simulations/* #{} -> close 1011",
    "RELAY /simulations/* #{} -> close 1000",
    "RELAY /simulations/* #{} -> drop",
    "GET /runs/* #{} -> 503",
    "GET /conversations/simulated #{} -> reset-before",
    "GET /simulations/*/connect #{} -> 500",
)
ENDS: Final = ("", "", "", "SIGTERM command", "SIGKILL command", "SIGKILL worker", "SIGKILL handler")
TAG: Final = "coval-gate/attached"
COMMAND: Final = """
import os, sys
from coval_gate.attach.command import Options, attach
from coval_gate.attach.messages import Limits
from coval_gate.base.clock import SystemClock
from coval_gate.base.runtime import Runtime

limits = Limits(quiet=0.3, handler=0.3, over=0.6, killing=0.3, poll=0.1, stopping=4.0)
clock = SystemClock()
clock.listen()
sys.exit(attach(Runtime(os.environ, sys.stdout, clock), Options(sys.argv[1], "agent:answer"), limits))
"""
AGENT: Final = """
import json, os, time
from pathlib import Path

FATES = json.loads(os.environ["FATES"])

async def answer(connection):
    held = Path(os.environ["HELD"]) / f"{connection.simulation_id}.{os.getpid()}"
    held.write_text("")
    fate = FATES.get(connection.simulation_id, "")
    async for audio in connection.receive_audio():
        await connection.send_audio(audio)
        if fate == "crash":
            raise KeyError("no prompt")
        if fate == "return":
            break
    held.with_suffix(f".{os.getpid()}.left").write_text("")
"""


class Plan(NamedTuple):
    """What happens. `end`: which signal ends what, `at` s after the first conversation has begun.

    `fates`: what the handler of each simulation does. `second`: another command begins beside it. `again`: another one
    begins afterwards.
    """

    seed: int
    faults: tuple[str, ...]
    fates: tuple[str, ...]
    end: str
    at: float
    second: bool
    again: bool

    def __str__(self) -> str:
        end = f"{self.end} after {self.at:g} s" if self.end else "no signal"
        others = " beside a second" * self.second + ", and again" * self.again
        return f"schedule {self.seed}: {self.fates}, {end}{others}; {self.faults}"


def plan_of(seed: int) -> Plan:
    """Return the plan of a seed."""
    rng = Random(f"attach schedules/{seed}")
    return Plan(
        seed=seed,
        faults=tuple(rng.choice(FAULTS).format(rng.randint(1, 6)) for _ in range(rng.choice((0, 1, 2)))),
        fates=tuple(rng.choice(("", "", "", "", "", "crash", "return")) for _ in range(SIMULATIONS)),
        end=rng.choice(ENDS),
        at=round(rng.uniform(0.0, 0.5), 2),
        second=rng.random() < 0.4,
        again=rng.random() < 0.4,
    )


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


def violations(plan: Plan) -> list[str]:
    """Let a schedule happen, and return what did not hold."""
    with tempfile.TemporaryDirectory(prefix="attach-") as directory:
        return [f"{plan}: {problem}" for problem in _Schedule(plan, Path(directory)).run()]


def _watched(attachments: Any) -> Watched:
    """Let the connections of a world be watched."""
    attachments.__class__ = Watched
    attachments.live, attachments.most = {}, {}
    watched: Watched = attachments
    return watched


class _Schedule:
    """One schedule, in a directory of its own."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.plan, self.directory = plan, directory
        self.held = directory / "held"
        self.held.mkdir()
        self.world = World(SpeedClock(SPEED), seed=plan.seed, quirks=QUIRKS)
        self.watched = _watched(self.world.attachments)

    def run(self) -> Iterator[str]:
        """Let everything happen, and yield what did not hold."""
        body = {"agent_id": OWN_BUILD_ID, "persona_id": PERSONA_ID, "test_set_id": "passing1"}
        options = {"concurrency": SIMULATIONS, "sub_sample_size": SIMULATIONS}
        with Server(self.world, faults=self.plan.faults, relay=True) as server:
            self.world.launch(body | {"options": options})
            self.run_id = self.world.runs[-1].run_id
            self.ids = [planned.simulation_id for planned in self.world.runs[-1].plan.simulations]
            self.environ = {
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(slim_client(self.directory)),
                "COVAL_API_KEY": KEY,
                "INPUT_API_BASE_URL": server.url,
                "SSL_CERT_FILE": str(server.relay_ca),
                "FATES": json.dumps(dict(zip(self.ids, self.plan.fates, strict=True))),
                "HELD": str(self.held),
            }
            yield from self._commands()
            yield from self._connections()
        if not _wait_for(lambda: not self._handlers(), LEAVING):
            yield f"the processes {self._handlers()} are left"

    def _commands(self) -> Iterator[str]:
        first = self._start("first")
        second = None
        if self.plan.second:
            _wait_for(lambda: (self.directory / "first/.coval-gate").exists() or first.poll() is not None, 10.0)
            second = self._start("second")
        if self.plan.end:
            _wait_for(lambda: any(self.held.iterdir()) or first.poll() is not None, 10.0)
            time.sleep(self.plan.at)
            yield from self._end(first)
        yield from self._is_over(first, "first")
        if second is not None:
            yield from self._is_over(second, "second")
        if self.plan.again:
            yield from self._is_over(self._start("again"), "again")

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        workspace = self.directory / name
        workspace.mkdir(exist_ok=True)
        (workspace / "agent.py").write_text(AGENT)
        command = [sys.executable, "-c", COMMAND, self.run_id]
        log = (self.directory / f"{name}.log").open("ab")
        with log:
            return subprocess.Popen(command, env=self.environ, cwd=workspace, stdout=log, stderr=log)

    def _end(self, command: subprocess.Popen[bytes]) -> Iterator[str]:
        name, _, what = self.plan.end.partition(" ")
        number = signal.Signals[name]
        targets = {"command": [command.pid], "worker": _children(command.pid), "handler": self._handlers()[:1]}[what]
        began = time.monotonic()
        for pid in targets:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if what == "command":
            with suppress(subprocess.TimeoutExpired):
                command.wait(OVER_TIME)
            if time.monotonic() - began > LEAVING:
                yield "the command did not end in time after the signal"

    def _is_over(self, command: subprocess.Popen[bytes], name: str) -> Iterator[str]:
        """Wait until a command has ended, and yield what does not hold then."""
        try:
            code = command.wait(OVER_TIME)
        except subprocess.TimeoutExpired:
            command.kill()
            yield f"the command {name} does not end: {self._log(name)}"
            return
        if not self.plan.second and not _wait_for(lambda: not self._handlers(), LEAVING):
            yield f"the command {name} left the processes {self._handlers()}"
        answered = sum(map(self._was_answered, self.ids))
        is_tagged = TAG in self.world.runs[-1].tags
        if is_tagged and answered < SIMULATIONS:
            yield f"the run is tagged, but {answered} were answered: {self._log(name)}"
        if code == 0 and not is_tagged:
            yield f"the command {name} ended with 0, but the run is not tagged: {self._log(name)}"
        alone = name == "first" and not (self.plan.second or self.plan.end or self.plan.faults)
        if code != 0 and alone and answered == SIMULATIONS:
            yield f"the command {name} ended with {code}, but all were answered: {self._log(name)}"

    def _connections(self) -> Iterator[str]:
        for id_, most in self.watched.most.items():
            if most > 1:
                yield f"{id_} had {most} connections at once"
        for id_ in self.ids:
            if len([*self.held.glob(f"{id_}.*.left")]) > 1:
                yield f"{id_} was answered by two processes to its end"

    def _session(self, id_: str) -> Session | None:
        with self.world.lock:
            return self.watched.sessions(self.run_id).get(id_)

    def _was_answered(self, id_: str) -> bool:
        """Return whether a conversation came to its end, or its handler returned."""
        session = self._session(id_)
        returned = self.plan.fates[self.ids.index(id_)] == "return" and any(self.held.glob(f"{id_}.*.left"))
        return session is not None and (session.error is None or returned)

    def _handlers(self) -> list[int]:
        """Return the processes that have begun to answer, and still run."""
        pids = {int(path.name.split(".")[1]) for path in self.held.iterdir()}
        return [pid for pid in sorted(pids) if _is_alive(pid)]

    def _log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-2000:]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def run(arguments: list[str]) -> int:
    """Run some schedules; return 1 if something did not hold."""
    parser = ArgumentParser(prog="python tests/campaign/attach_schedules.py", description=__doc__)
    parser.add_argument("--schedules", type=int, default=20, help="number of schedules (20)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    options = parser.parse_args(arguments)
    broken = 0
    for seed in range(options.first, options.first + options.schedules):
        began = time.monotonic()
        problems = violations(plan_of(seed))
        broken += len(problems)
        sys.stdout.write(f"{plan_of(seed)} {time.monotonic() - began:.1f} s\n")
        sys.stdout.writelines(f"  VIOLATION {problem}\n" for problem in problems)
        sys.stdout.flush()
    sys.stdout.write(f"attach: {options.schedules} schedules: {broken} violations\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
