"""The command `attach`: real processes with Coval's Agent SDK, against a fake of Coval with a relay on real sockets.

Importing Coval's whole API client would take most of the time, and the Agent SDK uses three of its modules. So the
processes see a package that has no more than these; `long` cases use it all.
"""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import chdir, suppress
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest

from coval_attach.command import AttachOptions, attach
from coval_attach.follow import log_of
from coval_attach.process import Limits
from coval_gate.base.clock import Clock, SystemClock
from coval_gate.history.tags import ATTACHED, UNANSWERED
from coval_sandbox.catalogue import OWN_BUILD_ID, PERSONA_ID
from coval_sandbox.deterministic import SpeedClock
from coval_sandbox.server import Server
from coval_sandbox.world import World
from fake_relay import FRAME, LONGEST, RUN_ID, Caller, FakeRelay, hears, never
from slim_client import slim_client
from support import KEY, runtime

OPTIONS = AttachOptions(RUN_ID, "agent:answer")
# What would depend on the machine's speed takes as long as it needs.
SHORT = Limits(quiet=LONGEST, handler=0.3, over=LONGEST, killing=LONGEST, poll=0.1, stopping=4.0, unknown=LONGEST)
AGENT = f"""
import asyncio, json, os, signal, sys, time
from pathlib import Path

async def answer(connection):
    Path(f"pid-{{connection.simulation_id}}").write_text(str(os.getpid()))
    print("environment", json.dumps(sorted(os.environ)), flush=True)
    match connection.simulation_id.rstrip("0123456789"):
        case "crash":
            print("{KEY}")
            raise KeyError("no prompt, {KEY}")
        case "group":
            raise ExceptionGroup("several", [ValueError("the first")])
        case "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            sys.exit(3)
        case "block":
            time.sleep(600)
        case "killed":
            while not Path("seen").exists():
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGKILL)
        case "late":
            async for _ in connection.receive_audio():
                pass
            await asyncio.sleep(600)
        case "early":
            await connection.send_audio(bytes(640))
            return
        case "mute":
            async for _ in connection.receive_audio():
                pass
            return
    async for audio in connection.receive_audio():
        await connection.send_audio(audio)
"""
WITHHELD = {"GITHUB_TOKEN": "ghs_1", "CI_REGISTRY_PASSWORD": "c2"}  # two of many


class Result(NamedTuple):
    """What the command returned, wrote and did."""

    code: int
    log: str
    directory: Path

    @property
    def failures(self) -> dict[str, str]:
        """The log's line for each simulation that was not answered."""
        lines = (line.partition("✗ Simulation ")[2] for line in self.log.splitlines())
        return {id_: text for id_, _, text in (line.partition(" ") for line in lines if line)}

    def log_of(self, simulation: str) -> str:
        return (self.directory / log_of(simulation)).read_text(encoding="utf-8")


def environ_of(fake: FakeRelay, directory: Path, **more: str) -> dict[str, str]:
    """Return the environment of a command, with a slim package of the API's client."""
    slim = str(slim_client(directory))
    measured = {name: text for name, text in os.environ.items() if name == "COVERAGE_PROCESS_CONFIG"}
    return {**fake.environ, **measured, "PATH": os.environ["PATH"], "COVAL_API_KEY": KEY, "PYTHONPATH": slim} | more


def run_attach(
    fake: FakeRelay,
    directory: Path,
    options: AttachOptions = OPTIONS,
    limits: Limits = SHORT,
    log: io.StringIO | None = None,
    clock: Clock | None = None,
    /,
    **environ: str,
) -> Result:
    """Run the command in this process, in a directory with the agent."""
    (directory / "agent.py").write_text(AGENT)
    log = log or io.StringIO()
    with chdir(directory):
        given = runtime(clock or SystemClock(), environ=environ_of(fake, directory, **environ), stdout=log)
        code = attach(given, options, limits)
    result = Result(code, log.getvalue(), directory)
    written = [path.read_text(encoding="utf-8") for path in directory.rglob(".coval-gate/**/*") if path.is_file()]
    assert KEY not in "".join([result.log, *written])
    assert (code == 0) == (ATTACHED in fake.tags), "it succeeds only if the run has the tag"
    wait_for(lambda: not alive(directory))
    return result


def alive(directory: Path) -> list[int]:
    """Return the processes of simulations that still run."""
    found = []
    for file in directory.glob("pid-*"):
        with suppress(OSError, ValueError):
            pid = int(file.read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            found += [pid] if state != "Z" else []
    return found


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


MIXED = {
    **dict.fromkeys(("good1", "good2"), hears(6)),
    **dict.fromkeys(("crash1", "group1", "segv1", "exit1", "early1"), never),
    **dict.fromkeys(("lost1", "drop1"), hears(1)),
    "mute1": hears(0),
}


def test_each_simulation_that_was_not_answered_is_logged_with_its_error(tmp_path: Path) -> None:
    """A run whose simulations end in every way, side by side."""
    ends = {"lost1": "error", "drop1": "drop"}
    callers = [Caller(id_, until, end=ends.get(id_, "well")) for id_, until in MIXED.items()]  # type: ignore[arg-type]
    callers += [
        Caller("waiting1", status="CANCELLED"),
        Caller("before1", status="COMPLETED", relay="CLOSED"),  # an earlier process may have answered it, or not
        Caller("refused1", relay="FAILED"),
    ]
    with FakeRelay(tmp_path, callers) as fake:
        environ = {**WITHHELD, "OPENAI_API_KEY": "sk-of-the-agent"}
        result = run_attach(fake, tmp_path, AttachOptions(RUN_ID, "agent:answer"), **environ)
    assert result.code == 1
    assert result.failures == {
        "crash1": "crashed: KeyError: 'no prompt, ***' (log: .coval-gate/logs/crash1.log)",
        "group1": "crashed: ValueError: the first (log: .coval-gate/logs/group1.log)",
        "segv1": "crashed: The process was killed by SIGSEGV. (log: .coval-gate/logs/segv1.log)",
        "exit1": "crashed: SystemExit: 3 (log: .coval-gate/logs/exit1.log)",
        "lost1": "lost its relay: CovalError: Relay error: the line broke (log: .coval-gate/logs/lost1.log)",
        "drop1": result.failures["drop1"],
        "refused1": result.failures["refused1"],
    }
    assert result.failures["drop1"].startswith("lost its relay: ")
    assert result.failures["refused1"].startswith("was not attached: ")
    for expected in (
        *(f"Run: {RUN_ID}, answered by agent:answer", "10 of 13 attached, 13 done"),
        *("4 of 13 simulations answered: ", "4 crashed", "2 lost", "2 missed", "1 refused"),
        "Simulation early1: The handler returned before the conversation ended.",
        "Simulation mute1 receives no audio from the agent",
        "Logs of all processes: .coval-gate/logs",
    ):
        assert expected in result.log
    assert result.log.count("receives no audio") == 1
    assert "KeyError" in result.log_of("crash1")
    assert "Segmentation fault" in result.log_of("segv1")
    assert "KeyError" not in result.log_of("good1")
    assert (result.directory / ".coval-gate/.gitignore").read_text() == "*\n"
    # Agents have no credentials of the job.
    line = next(line for line in result.log_of("good1").splitlines() if line.startswith("environment "))
    names = set(json.loads(line.removeprefix("environment ")))
    assert not names & {*WITHHELD, "COVAL_API_KEY"}
    assert {"OPENAI_API_KEY", "PATH", "PYTHONPATH"} <= names
    # Audio goes both ways, and is acknowledged.
    good = fake.callers["good1"]
    assert good.heard.startswith(FRAME)
    assert good.acknowledged >= len(good.heard)
    assert all(caller.connections <= 1 for caller in fake.callers.values())


def test_run_that_was_answered_is_tagged_although_handlers_were_quiet_and_blocked(tmp_path: Path) -> None:
    """It keeps its tags. At first, Coval does not know it yet."""
    log = io.StringIO()

    def is_warned(caller: Caller) -> bool:
        return f"Simulation {caller.id} receives no audio from the agent" in log.getvalue()

    callers = [Caller("block1", is_warned), Caller("late1", is_warned), Caller("good1")]
    with FakeRelay(tmp_path, callers) as fake:
        fake.unknown = 2
        result = run_attach(fake, tmp_path, OPTIONS, SHORT._replace(quiet=0.3, over=0.3), log)
    assert (result.code, fake.tags) == (0, ["mine", ATTACHED])
    assert "3 of 3 simulations answered." in result.log
    assert result.log.count("Coval does not find run") == 1
    for id_ in ("block1", "late1"):
        assert f"Simulation {id_}: The handler did not end after the conversation, so it was stopped." in result.log


def test_killed_process_has_not_answered_although_its_simulation_is_over(tmp_path: Path) -> None:
    killed, looks = Caller("killed1", hears(0), end="drop"), 0
    with FakeRelay(tmp_path, [killed]) as fake:
        fake.goes_on, respond = True, fake.respond

        def see(method: str, path: str, body: object) -> tuple[int, dict[str, object]]:
            nonlocal looks
            looks += killed.is_over and path.endswith("/simulated")
            if looks == 2:  # the command has seen that the simulation is over
                (tmp_path / "seen").touch()
                fake.goes_on = False
            return respond(method, path, body)

        fake.respond = see  # type: ignore[method-assign]
        result = run_attach(fake, tmp_path)
    assert result.failures["killed1"].startswith("crashed: The process was killed by SIGKILL.")


@pytest.mark.parametrize(("tags", "refuses"), [(["mine"], True), ([f"tag{n}" for n in range(20)], False)])
def test_run_that_cannot_be_tagged_is_no_success(tmp_path: Path, tags: list[str], refuses: bool) -> None:
    with FakeRelay(tmp_path, [Caller("good1")], tags=tags) as fake:
        fake.refuses_tags = refuses
        result = run_attach(fake, tmp_path)
    assert (result.code, fake.tags) == (1, tags)
    assert "Every simulation was answered, but the tag that shows this could not be added to the run: " in result.log


SCRIPT = """
echo "I am $COVAL_SIMULATION_ID" >&2
echo $$ > "pid-$COVAL_SIMULATION_ID"
case $COVAL_SIMULATION_ID in
    bad1) exit 7 ;;
    speaks1) head -c 3201 /dev/zero ;;
    segv1) kill -SEGV $$ ;;
    stays1) trap '' TERM; cat; sleep 600 ;;
    idle1) exec sleep 600 ;;
    closed1) exec >&-; exec sleep 600 ;;
    *) exec cat ;;
esac
"""


def test_command_answers_each_simulation_and_may_do_as_it_likes(tmp_path: Path) -> None:
    """It may speak, and go; not end; neither read nor speak; or not speak any more."""
    (tmp_path / "agent.sh").write_text(SCRIPT)
    callers = [
        *(Caller(id_, never) for id_ in ("bad1", "speaks1", "segv1")),
        *(Caller(id_, hears(1)) for id_ in ("a1", "a2", "stays1")),
        *(Caller(id_, hears(0)) for id_ in ("idle1", "closed1")),
    ]
    with FakeRelay(tmp_path, callers) as fake:
        result = run_attach(fake, tmp_path, AttachOptions(RUN_ID, command=("sh", "agent.sh")))
    assert {id_: text.partition(" (log: ")[0] for id_, text in result.failures.items()} == {
        "bad1": "crashed: CommandFailed: The command ended with exit code 7.",
        "segv1": "crashed: CommandFailed: The command was killed by SIGSEGV.",
    }
    assert result.log_of("a2") == "I am a2\n"
    assert {id_ for id_, caller in fake.callers.items() if caller.heard} == {"speaks1", "a1", "a2", "stays1"}
    assert fake.callers["a1"].heard.startswith(FRAME)
    assert not any(len(caller.heard) % 2 for caller in callers)
    assert f"Run: {RUN_ID}, answered by sh agent.sh" in result.log


def test_simulation_is_answered_once_it_begins_and_what_a_module_started_ends(tmp_path: Path) -> None:
    """A module that starts a thread is imported anew in each process, because a fork has no threads."""
    (tmp_path / "threaded.py").write_text(
        "import subprocess, threading, time\nfrom pathlib import Path\nfrom agent import answer\n"
        "Path('pid-helper').write_text(str(subprocess.Popen(['sleep', '600']).pid))\n"
        "threading.Thread(target=time.sleep, args=[600], daemon=True).start()\n"
        "print('threads', threading.active_count())\n"
    )
    late = Caller("late1", hears(0), status="PENDING", relay="PENDING")
    with FakeRelay(tmp_path, [late]) as fake:

        def begin() -> None:
            wait_for(lambda: any("simulat" in request.path for request in fake.requests_seen))
            late.status, late.relay = "IN PROGRESS", "READY"

        beginning = Thread(target=begin)
        beginning.start()
        result = run_attach(fake, tmp_path, AttachOptions(RUN_ID, "threaded:answer"))
        beginning.join()
    assert result.code == 0
    assert "threads" in result.log_of("late1")


@pytest.mark.long
def test_run_of_the_sandbox_is_answered_with_the_whole_client(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    with Server(World(SpeedClock(2)), relay=True) as server:
        body = {"agent_id": OWN_BUILD_ID, "persona_id": PERSONA_ID, "test_set_id": "passing1"}
        server.world.launch(body | {"options": {"concurrency": 3, "sub_sample_size": 3}})
        run_id = server.world.runs[-1].run_id
        server.world.update_run(run_id, {"tags": ["build"]})
        environ = {"COVAL_API_KEY": KEY, "INPUT_API_BASE_URL": server.url, "SSL_CERT_FILE": str(server.relay_ca)}
        log = io.StringIO()
        with chdir(tmp_path):
            given = runtime(SystemClock(), environ=environ, stdout=log)
            code = attach(given, AttachOptions(run_id, "agent:answer"))
    assert code == 0, log.getvalue()
    assert "3 of 3 simulations answered." in log.getvalue()


@pytest.mark.parametrize(
    ("options", "environ", "problem"),
    [
        (AttachOptions(RUN_ID, "agnt:answer"), {}, "There is no module agnt in"),
        (AttachOptions(RUN_ID, command=("no-such-agent",)), {}, 'There is no command "no-such-agent".'),
        (AttachOptions(RUN_ID, "agent:answer"), {"COVAL_API_KEY": ""}, "COVAL_API_KEY is not set"),
    ],
)
def test_mistake_is_reported_before_anything_else(
    tmp_path: Path, options: AttachOptions, environ: Mapping[str, str], problem: str
) -> None:
    with FakeRelay(tmp_path, [Caller("a1")]) as fake:
        result = run_attach(fake, tmp_path, options, **environ)
    assert result.code == 2
    assert problem in result.log
    assert fake.requests_seen == []


def test_hiccup_of_an_offer_is_no_refusal(tmp_path: Path) -> None:
    """The Agent SDK gives up at each of these; Coval still waits for a process."""
    expired = {"status": "READY", "wss_url": "wss://localhost:1/", "token": "t", "expires_at": time.time() - 1}
    callers = [
        Caller("unknown1", hiccups=[(404, {}), (403, {})]),
        Caller("expired1", hiccups=[(200, expired)]),
        Caller("damaged1", hiccups=[(200, {})]),
        Caller("never1", hiccups=[(404, {})] * 99),
    ]
    with FakeRelay(tmp_path, callers) as fake:

        def fail() -> None:
            wait_for(lambda: all(caller.is_over for caller in callers[:3]))
            callers[3].status = "FAILED"

        failing = Thread(target=fail)
        failing.start()
        result = run_attach(fake, tmp_path)
        failing.join()
    assert [*result.failures] == ["never1"]
    assert "connect returned HTTP 404: {} (log: " in result.failures["never1"]
    assert [caller.connections for caller in callers] == [1, 1, 1, 0]
    assert result.log.count("Simulation never1 is not attached yet: ") == 1


def test_agent_that_coval_calls_is_reported_at_once(tmp_path: Path) -> None:
    with FakeRelay(tmp_path, [Caller("a1", never)]) as fake:
        fake.agent_type = "VOICE"
        result = run_attach(fake, tmp_path)
    assert (result.code, fake.callers["a1"].connections) == (1, 0)
    assert f"The agent of run {RUN_ID} is of type VOICE. Coval itself calls such agents." in result.log
    assert "Launch the run with an agent of type SDK WebSocket." in result.log


def test_run_that_cannot_be_read_is_no_success(tmp_path: Path) -> None:
    with FakeRelay(tmp_path, []) as fake:
        empty = run_attach(fake, tmp_path)
        assert empty.code == 1
        assert "The run had no simulation." in empty.log
        fake.respond = lambda *_: (404, {"error": {"code": "NOT_FOUND", "message": "gone"}})  # type: ignore[method-assign]
        log = io.StringIO()
        clock = HastyClock(lambda: "does not find run" in log.getvalue(), 28.0)
        missing = run_attach(fake, tmp_path, OPTIONS, SHORT._replace(unknown=Limits().unknown), log, clock)
    assert missing.code == 1
    assert "404" in missing.log


class HastyClock(SystemClock):
    """A clock on which so many seconds pass once a condition is true."""

    def __init__(self, condition: Callable[[], object], seconds: float) -> None:
        super().__init__()
        self._condition, self._seconds = condition, seconds

    def now(self) -> float:
        return super().now() + (self._seconds if self._condition() else 0)


@pytest.mark.long
def test_time_limit_ends_the_processes(tmp_path: Path) -> None:
    with FakeRelay(tmp_path, [Caller("a1", never)]) as fake:
        clock = HastyClock(lambda: fake.callers["a1"].heard, 3600)
        result = run_attach(fake, tmp_path, OPTIONS, SHORT._replace(over=0.3), None, clock, INPUT_MAX_WAIT_TIME="3600")
    assert result.code == 1
    assert "The run was not over within --max-wait-time." in result.log


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[FakeRelay]:
    with FakeRelay(tmp_path, [Caller("good1", never), Caller("block1", never)]) as fake:
        yield fake


@pytest.fixture
def begun(relay: FakeRelay, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own, while it has one conversation, and another one blocks."""
    (tmp_path / "agent.py").write_text(AGENT)
    command = [sys.executable, "-m", "coval_cli", "attach", "agent:answer", "--run", RUN_ID]
    with subprocess.Popen(
        command,
        env=environ_of(relay, tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            wait_for(lambda: len(alive(tmp_path)) == 2)
            yield process
        finally:
            process.kill()


def test_signal_ends_everything(begun: subprocess.Popen[str], relay: FakeRelay, tmp_path: Path) -> None:
    begun.send_signal(signal.SIGTERM)
    log, _ = begun.communicate(timeout=LONGEST)
    wait_for(lambda: not alive(tmp_path))
    assert begun.returncode == 130
    assert "Ended by a signal." in log
    assert UNANSWERED in relay.tags


@pytest.mark.parametrize("killed", ["command", "worker"])
def test_killed_process_leaves_no_other(killed: str, begun: subprocess.Popen[str], tmp_path: Path) -> None:
    (worker,) = children_of(begun.pid)
    os.kill(worker if killed == "worker" else begun.pid, signal.SIGKILL)
    log, _ = begun.communicate(timeout=LONGEST)
    wait_for(lambda: not alive(tmp_path))
    if killed == "worker":
        assert begun.returncode == 1
        assert "ended unexpectedly" in log
        assert "Error: The worker is gone" in log


def children_of(pid: int) -> Iterable[int]:
    """Return the processes that a process has started."""
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
