"""The command `attach`: real processes with Coval's Agent SDK, against a fake of Coval with a relay on real sockets.

Importing Coval's whole API client would take most of the time, and the Agent SDK uses three of its modules. So the
processes see a package that has no more than these; `long` cases use it all.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import chdir, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

import pytest

from coval_gate.attach.command import Options, attach
from coval_gate.attach.messages import Limits
from coval_gate.attach.record import RecordKeeper
from coval_gate.base.clock import SystemClock
from coval_gate.model.attachment import Attachment, AttachRecord, as_json, path_of, read_record
from coval_sandbox.catalogue import OWN_BUILD_ID, PERSONA_ID
from coval_sandbox.clock import SpeedClock
from coval_sandbox.server import Server
from coval_sandbox.world import World
from fake_relay import FRAME, RUN_ID, Caller, FakeRelay
from slim_client import slim_client
from support import KEY, runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

SHORT = Limits(quiet=0.3, handler=0.3, over=0.6, killing=0.3, poll=0.1, stopping=4.0, unknown=0.3)
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
            time.sleep(0.8)  # until Coval shows that the conversation failed
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
WITHHELD = {
    "GITHUB_TOKEN": "ghs_1",
    "GH_TOKEN": "ghs_2",
    "ACTIONS_RUNTIME_TOKEN": "a1",
    "ACTIONS_ID_TOKEN_REQUEST_URL": "a2",
    "INPUT_GITHUB_TOKEN": "i1",
    "GITLAB_TOKEN": "g1",
    "CI_JOB_TOKEN": "c1",
    "CI_REGISTRY_PASSWORD": "c2",
    "CI_REPOSITORY_URL": "https://gitlab-ci-token:c1@gitlab.example/acme/voice.git",
    "SYSTEM_ACCESSTOKEN": "s1",
}


class Result(NamedTuple):
    """What the command returned, wrote and did."""

    code: int
    log: str
    record: AttachRecord
    directory: Path

    def outcomes(self) -> dict[str, str]:
        return {id_: one.outcome for id_, one in self.record.simulations.items()}

    def log_of(self, simulation: str) -> str:
        return (self.directory / self.record.simulations[simulation].log).read_text(encoding="utf-8")


def environ_of(fake: FakeRelay, directory: Path, **more: str) -> dict[str, str]:
    """Return the environment of a command, with a slim package of the API's client."""
    slim = str(slim_client(directory))
    measured = {name: text for name, text in os.environ.items() if name == "COVERAGE_PROCESS_CONFIG"}
    return {**fake.environ, **measured, "PATH": os.environ["PATH"], "COVAL_API_KEY": KEY, "PYTHONPATH": slim} | more


def record_in(directory: Path) -> AttachRecord:
    record = read_record((directory / path_of(RUN_ID)).read_text(encoding="utf-8"), RUN_ID)
    assert record
    return record


def run_attach(
    fake: FakeRelay,
    directory: Path,
    options: Options = Options(RUN_ID, "agent:answer"),  # noqa: B008 - frozen
    limits: Limits = SHORT,
    /,
    **environ: str,
) -> Result:
    """Run the command in this process, in a directory with the agent."""
    (directory / "agent.py").write_text(AGENT)
    log = io.StringIO()
    with chdir(directory):
        given = runtime(SystemClock(), environ=environ_of(fake, directory, **environ), stdout=log)
        code = attach(given, options, limits)
    result = Result(code, log.getvalue(), record_in(directory), directory)
    written = [path.read_text(encoding="utf-8") for path in directory.rglob(".coval-gate/**/*") if path.is_file()]
    assert KEY not in "".join([result.log, *written])
    assert result.record.done
    assert not alive(directory)
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


def outcomes_in(directory: Path) -> list[str]:
    """Return the outcomes in a record that may not be there yet."""
    if not (directory / path_of(RUN_ID)).exists():
        return []
    return [one.outcome for one in record_in(directory).simulations.values()]


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


MIXED = ("good1", "good2", "crash1", "group1", "segv1", "exit1", "block1", "late1", "early1", "mute1", "lost1", "drop1")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[FakeRelay, Result]:
    """A run whose simulations end in every way, side by side."""
    directory = tmp_path_factory.mktemp("mixed")
    ends = {"lost1": "error", "drop1": "drop"}
    callers = [Caller(id_, seconds=0.6, end=ends.get(id_, "well")) for id_ in MIXED]  # type: ignore[arg-type]
    callers += [
        Caller("waiting1", status="CANCELLED"),
        Caller("skipped1", status="SKIPPED"),
        Caller("before1", status="COMPLETED", relay="CLOSED"),
        Caller("missed1", status="COMPLETED", relay="EXPIRED"),
        Caller("refused1", relay="FAILED"),
    ]
    with FakeRelay(directory, callers, tags=["mine", "coval-gate/attached/9.9"]) as fake:
        environ = {**WITHHELD, "OPENAI_API_KEY": "sk-of-the-agent"}
        return fake, run_attach(fake, directory, Options(RUN_ID, "agent:answer"), **environ)


def test_each_simulation_has_its_outcome(mixed: tuple[FakeRelay, Result]) -> None:
    _, result = mixed
    assert result.outcomes() == {
        "good1": "answered",
        "good2": "answered",
        "crash1": "crashed",
        "group1": "crashed",
        "segv1": "crashed",
        "exit1": "crashed",
        "block1": "answered",
        "late1": "answered",
        "early1": "ended_early",
        "mute1": "answered",
        "lost1": "lost",
        "drop1": "lost",
        "waiting1": "missed",
        "skipped1": "missed",
        "before1": "before",
        "missed1": "missed",
        "refused1": "refused",
    }
    assert result.code == 1
    assert result.record.problem == ""


def test_killed_process_has_answered_nobody_although_its_simulation_is_over(tmp_path: Path) -> None:
    with FakeRelay(tmp_path, [Caller("killed1", end="drop")]) as fake:
        options = Options(RUN_ID, "agent:answer")
        result = run_attach(fake, tmp_path, options, SHORT._replace(over=20.0))
    assert (result.code, result.outcomes()) == (1, {"killed1": "crashed"})
    assert result.record.simulations["killed1"].error == "The process was ended by SIGKILL."


def test_errors_say_what_happened_on_one_line(mixed: tuple[FakeRelay, Result]) -> None:
    _, result = mixed
    errors = {id_: one.error for id_, one in result.record.simulations.items()}
    assert errors["good1"] == errors["early1"] == errors["before1"] == ""
    assert errors["crash1"] == "KeyError: 'no prompt, ***'"
    assert errors["group1"] == "ValueError: the first"
    assert errors["segv1"] == "The process was ended by SIGSEGV."
    assert errors["exit1"] == "SystemExit: 3"
    assert errors["lost1"] == "CovalError: Relay error: the line broke"
    assert errors["skipped1"] == "It was SKIPPED before a process attached."
    assert "had to be ended" in errors["block1"]
    assert "had to be ended" in errors["late1"]


def test_quiet_agents_are_told_even_if_they_block(mixed: tuple[FakeRelay, Result]) -> None:
    _, result = mixed
    quiet = {id_ for id_, one in result.record.simulations.items() if one.quiet}
    assert quiet == {"block1", "late1", "mute1"}
    assert "Simulation block1 hears no audio from the agent (log: .coval-gate/logs/block1.log)" in result.log


def test_audio_goes_both_ways_and_is_acknowledged(mixed: tuple[FakeRelay, Result]) -> None:
    fake, _ = mixed
    good = fake.callers["good1"]
    assert good.heard.startswith(FRAME)
    assert good.acknowledged >= len(good.heard) > 5 * len(FRAME)
    assert all(caller.connections <= 1 for caller in fake.callers.values())


def test_log_tells_how_far_the_run_is_and_each_failure(mixed: tuple[FakeRelay, Result]) -> None:
    _, result = mixed
    assert f"Run: {RUN_ID}, answered by agent:answer" in result.log
    assert "13 of 17 attached, 17 done" in result.log  # `before1` counts, too
    assert "✗ Simulation crash1 crashed: KeyError: 'no prompt, ***' (log: .coval-gate/logs/crash1.log)" in result.log
    assert "7 of 17 simulations answered: 4 crashed, 2 lost, 3 missed, 1 refused." in result.log


def test_each_simulation_has_a_log_of_its_own(mixed: tuple[FakeRelay, Result]) -> None:
    _, result = mixed
    assert "KeyError" in result.log_of("crash1")
    assert "Segmentation fault" in result.log_of("segv1")
    assert "KeyError" not in result.log_of("good1")
    assert (result.directory / ".coval-gate/.gitignore").read_text() == "*\n"


def test_agents_have_no_credentials_of_the_job(mixed: tuple[FakeRelay, Result]) -> None:
    _, result = mixed
    line = next(line for line in result.log_of("good1").splitlines() if line.startswith("environment "))
    names = set(json.loads(line.removeprefix("environment ")))
    assert not names & {*WITHHELD, "COVAL_API_KEY"}
    assert {"OPENAI_API_KEY", "PATH", "PYTHONPATH"} <= names


def test_tag_replaces_an_older_one_and_keeps_others(mixed: tuple[FakeRelay, Result]) -> None:
    fake, _ = mixed
    assert fake.tags == ["mine", "coval-gate/attached/7.17"]


def test_worse_tag_of_an_earlier_process_stays(tmp_path: Path) -> None:
    """That saw a crash; for a later one, Coval only shows that a process was attached."""
    with FakeRelay(
        tmp_path, [Caller("a1", status="COMPLETED", relay="CLOSED")], tags=["mine", "Coval-Gate/Attached/0.1"]
    ) as fake:
        result = run_attach(fake, tmp_path)
    assert (result.outcomes(), fake.tags) == ({"a1": "before"}, ["mine", "Coval-Gate/Attached/0.1"])
    assert "is judged by the tag of an earlier coval-gate attach" in result.log


def test_command_answers_each_simulation(tmp_path: Path) -> None:
    script = tmp_path / "agent.sh"
    script.write_text(
        'echo "I am $COVAL_SIMULATION_ID" >&2\ncase $COVAL_SIMULATION_ID in bad*) exit 7;; esac\nexec cat\n'
    )
    callers = [Caller("a1", seconds=0.5), Caller("a2", seconds=0.5), Caller("bad1", seconds=0.5)]
    with FakeRelay(tmp_path, callers) as fake:
        result = run_attach(fake, tmp_path, Options(RUN_ID, command=("sh", "agent.sh")))
    assert result.outcomes() == {"a1": "answered", "a2": "answered", "bad1": "crashed"}
    assert result.record.simulations["bad1"].error == "CommandFailed: The command ended with exit code 7."
    assert result.log_of("a2") == "I am a2\n"
    assert callers[0].heard.startswith(FRAME)
    assert result.record.handler == "sh agent.sh"


@pytest.mark.parametrize(
    ("script", "outcome", "heard"),
    [
        ("head -c 3201 /dev/zero", "ended_early", True),  # speaks, and goes
        ("kill -SEGV $$", "crashed", False),
        ("trap '' TERM; cat; sleep 600", "answered", True),  # does not end
        ("exec sleep 600", "answered", False),  # neither reads nor speaks
        ("exec >&-; exec sleep 600", "answered", False),  # cannot speak any more
    ],
)
def test_command_may_do_as_it_likes(tmp_path: Path, script: str, outcome: str, heard: bool) -> None:
    (tmp_path / "agent.sh").write_text(f'echo $$ > "pid-$COVAL_SIMULATION_ID"; {script}')
    caller = Caller("a1", seconds=0.5)
    with FakeRelay(tmp_path, [caller]) as fake:
        result = run_attach(fake, tmp_path, Options(RUN_ID, command=("sh", "agent.sh")))
    assert result.outcomes() == {"a1": outcome}, result.record.simulations["a1"].error
    assert bool(caller.heard) == heard
    assert len(caller.heard) % 2 == 0


@pytest.mark.long
def test_conversation_survives_an_outage_of_the_api(tmp_path: Path) -> None:
    caller = Caller("good1", seconds=2)
    with FakeRelay(tmp_path, [caller]) as fake:
        respond = fake.respond

        def fail(method: str, path: str, body: object) -> tuple[int, dict[str, object]]:
            is_outage = caller.connections and not caller.is_over and not path.endswith("/good1")
            return (503, {"error": "down"}) if is_outage else respond(method, path, body)

        fake.respond = fail  # type: ignore[method-assign]
        result = run_attach(fake, tmp_path)
    assert result.outcomes() == {"good1": "answered"}
    assert "503" in result.log


def test_what_a_module_starts_ends_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "starter.py").write_text(
        "import subprocess\nfrom pathlib import Path\nfrom agent import answer\n"
        "Path('pid-helper').write_text(str(subprocess.Popen(['sleep', '600']).pid))\n"
    )
    with FakeRelay(tmp_path, [Caller("good1")]) as fake:
        assert run_attach(fake, tmp_path, Options(RUN_ID, "starter:answer")).code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux are processes forked, and their pages counted")
def test_processes_share_what_a_module_holds(tmp_path: Path) -> None:
    """A garbage collection writes to all objects that it looks at, and a page that was written to is not shared."""
    (tmp_path / "large.py").write_text(
        "import gc\nfrom pathlib import Path\nimport agent\n"
        "objects = [[number] for number in range(300_000)]\n"
        "async def answer(connection):\n"
        "    gc.collect()\n"
        "    print(*Path('/proc/self/smaps_rollup').read_text().split('Private_Dirty:')[1].split()[:1])\n"
        "    await agent.answer(connection)\n"
    )
    with FakeRelay(tmp_path, [Caller("good1")]) as fake:
        result = run_attach(fake, tmp_path, Options(RUN_ID, "large:answer"))
    assert result.outcomes() == {"good1": "answered"}
    private = int(result.log_of("good1").split()[0])
    assert private < 20_000  # kB; the module's objects take more than 30,000


def test_record_of_a_dead_process_is_continued(tmp_path: Path) -> None:
    earlier = {
        "kept1": Attachment("crashed", "KeyError: 1"),
        "held1": Attachment("attached"),
        "gone1": Attachment("attached"),
        "lost1": Attachment("lost", "The command ended before the conversation: cancelled"),
        "next1": Attachment("waiting"),
        "again1": Attachment("answered", log="before.log"),  # Coval shows that it goes on
    }
    path = tmp_path / path_of(RUN_ID)
    path.parent.mkdir()
    path.write_text(as_json(AttachRecord(RUN_ID, "agent:answer", 5.0, 6.0, simulations=earlier)))
    callers = [
        Caller("kept1", status="FAILED", relay="CLOSED"),
        Caller("held1", status="COMPLETED", relay="CLOSED"),
        Caller("gone1", relay="FAILED"),
        Caller("lost1", status="COMPLETED", relay="CLOSED"),
        Caller("next1"),
        Caller("again1"),
    ]
    with FakeRelay(tmp_path, callers) as fake:
        fake.refuses_tags = True
        result = run_attach(fake, tmp_path)
    states = {"kept1": "crashed", "held1": "lost", "gone1": "lost", "next1": "answered", "again1": "answered"}
    assert result.outcomes() == states | {"lost1": "lost"}, "whatever Coval counts as completed"
    assert result.record.simulations["again1"].log == ".coval-gate/logs/again1.log"
    assert result.record.simulations["kept1"].error == "KeyError: 1"
    assert result.record.begun == 5.0
    assert "The run could not be tagged with these counts" in result.log
    assert fake.tags == ["mine"]


def test_one_failed_request_does_not_hide_that_an_earlier_process_was_attached(tmp_path: Path) -> None:
    """Otherwise, the record would say that nobody answered, and the check would be an error."""
    with FakeRelay(tmp_path, [Caller("before1", status="COMPLETED", relay="CLOSED")]) as fake:
        original, fails = fake.respond, [True]

        def respond(method: str, path: str, body: object) -> tuple[int, dict[str, object]]:
            if path.endswith("/connect") and fails:
                fails.clear()
                return 503, {"error": {"code": "UNAVAILABLE", "message": "Try again."}}
            return original(method, path, body)

        fake.respond = respond  # type: ignore[method-assign]
        result = run_attach(fake, tmp_path)
    assert not fails
    assert (result.code, result.outcomes()) == (0, {"before1": "before"})


def test_simulation_is_answered_once_it_begins(tmp_path: Path) -> None:
    """A module that starts a thread is imported anew in each process, because a fork has no threads."""
    (tmp_path / "threaded.py").write_text(
        "import threading, time\nfrom agent import answer\n"
        "threading.Thread(target=time.sleep, args=[600], daemon=True).start()\n"
        "print('threads', threading.active_count())\n"
    )
    late = Caller("late1", status="PENDING", relay="PENDING")
    with FakeRelay(tmp_path, [late]) as fake:

        def begin() -> None:
            wait_for(lambda: "late1" in (record_in(tmp_path).simulations if outcomes_in(tmp_path) else {}))
            late.status, late.relay = "IN PROGRESS", "READY"

        beginning = Thread(target=begin)
        beginning.start()
        result = run_attach(fake, tmp_path, Options(RUN_ID, "threaded:answer"))
        beginning.join()
    assert result.outcomes() == {"late1": "answered"}
    assert "threads" in result.log_of("late1")


@pytest.mark.long
def test_run_of_the_sandbox_is_answered_with_the_whole_client(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    with Server(World(SpeedClock(2)), relay=True) as server:
        body = {"agent_id": OWN_BUILD_ID, "persona_id": PERSONA_ID, "test_set_id": "passing1"}
        server.world.launch(body | {"options": {"concurrency": 3, "sub_sample_size": 3}})
        run_id = server.world.runs[-1].run_id
        environ = {"COVAL_API_KEY": KEY, "INPUT_API_BASE_URL": server.url, "SSL_CERT_FILE": str(server.relay_ca)}
        log = io.StringIO()
        with chdir(tmp_path):
            given = runtime(SystemClock(), environ=environ, stdout=log)
            code = attach(given, Options(run_id, "agent:answer"))
    assert code == 0, log.getvalue()
    assert "3 of 3 simulations answered." in log.getvalue()


def test_second_command_for_the_run_is_refused(tmp_path: Path) -> None:
    with FakeRelay(tmp_path, [Caller("a1")]) as fake, chdir(tmp_path):
        given = runtime(SystemClock(), environ=environ_of(fake, tmp_path))
        from coval_gate.ci.workspace import Workspace

        keeper = RecordKeeper(Workspace(), RUN_ID, "other:answer", SystemClock(), str)
        keeper.open()
        assert attach(given, Options(RUN_ID, "agent:answer"), SHORT) == 2
        assert f"Another coval-gate attach answers run {RUN_ID} in this workspace; it wrote" in given.stdout.getvalue()  # type: ignore[attr-defined]
        assert fake.requests == []
        assert record_in(tmp_path).handler == "other:answer"


@pytest.mark.parametrize(
    ("options", "environ", "problem"),
    [
        (Options(RUN_ID, "agnt:answer"), {}, "There is no module agnt in"),
        (Options(RUN_ID, "agent:anser"), {}, "Did you mean answer?"),
        (Options(RUN_ID, "agent"), {}, 'The handler must be MODULE:HANDLER, such as agent:answer; got "agent".'),
        (Options(RUN_ID, command=("no-such-agent",)), {}, 'There is no command "no-such-agent".'),
        (Options(RUN_ID, "agent:answer"), {"COVAL_API_KEY": ""}, "COVAL_API_KEY is not set"),
        (Options(RUN_ID, "agent:answer"), {"INPUT_MAX_WAIT_TIME": "soon"}, "max_wait_time"),
    ],
)
def test_mistake_is_told_before_anything_else(
    tmp_path: Path, options: Options, environ: Mapping[str, str], problem: str
) -> None:
    with FakeRelay(tmp_path, [Caller("a1")]) as fake:
        result = run_attach(fake, tmp_path, options, **environ)
    assert result.code == 2
    assert problem in result.log
    assert problem in result.record.problem
    assert fake.requests == []


def test_record_is_where_the_step_of_the_job_looks(tmp_path: Path) -> None:
    """Modules are those of the working directory, which may be a part of GitHub's workspace."""
    part = tmp_path / "part"
    part.mkdir()
    (part / "agent.py").write_text("def answer(connection): ...")
    log = io.StringIO()
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(tmp_path), "COVAL_API_KEY": KEY}
    with chdir(part):
        code = attach(runtime(SystemClock(), environ=environ, stdout=log), Options(RUN_ID, "agent:answer"), SHORT)
    assert code == 2
    assert "::error title=Handler not usable::agent:answer is not async." in log.getvalue()
    assert record_in(tmp_path).problem.startswith("agent:answer is not async. Write: async def answer(connection):")


def test_module_that_fails_shows_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("print('begin')\nimport no_such_package\n")
    with FakeRelay(tmp_path, [Caller("a1")]) as fake:
        result = run_attach(fake, tmp_path, Options(RUN_ID, "broken:answer"))
    assert result.code == 2
    assert "broken.py" in result.log
    assert result.record.problem == (
        "The module broken cannot be imported: ModuleNotFoundError: No module named 'no_such_package'. "
        "Install it in the environment that coval-gate runs in."
    )
    assert (tmp_path / ".coval-gate/logs/attach.worker.log").read_text() == "begin\n"


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
    answered = dict.fromkeys(("unknown1", "expired1", "damaged1"), "answered")
    assert result.outcomes() == answered | {"never1": "refused"}
    assert result.record.simulations["never1"].error.endswith("connect returned HTTP 404: {}")
    assert all(not result.record.simulations[id_].error for id_ in answered)
    assert [caller.connections for caller in callers] == [1, 1, 1, 0]
    assert result.log.count("Simulation never1 could not be attached to yet: ") == 1
    assert result.log.count("✗ Simulation ") == 1


def test_agent_that_coval_calls_is_told_at_once(tmp_path: Path) -> None:
    with FakeRelay(tmp_path, [Caller("a1", seconds=60)]) as fake:
        fake.agent_type = "VOICE"
        result = run_attach(fake, tmp_path)
    assert (result.code, fake.callers["a1"].connections) == (1, 0)
    assert result.record.problem == f"The agent of run {RUN_ID} is of type VOICE, which Coval calls by itself."
    assert "Launch the run with an agent of type SDK WebSocket." in result.log


def test_run_that_coval_does_not_know_yet_is_awaited(tmp_path: Path) -> None:
    with FakeRelay(tmp_path, [Caller("a1")]) as fake:
        fake.unknown = 2
        result = run_attach(fake, tmp_path)
    assert (result.code, result.outcomes()) == (0, {"a1": "answered"})
    assert result.log.count("Coval does not know run") == 1


def test_run_that_cannot_be_read_is_no_success(tmp_path: Path) -> None:
    with FakeRelay(tmp_path, []) as fake:
        empty = run_attach(fake, tmp_path)
        assert (empty.code, empty.record.problem) == (1, "")
        assert "The run had no simulation." in empty.log
        fake.respond = lambda *_: (404, {"error": {"code": "NOT_FOUND", "message": "gone"}})  # type: ignore[method-assign]
        missing = run_attach(fake, tmp_path)
    assert missing.code == 1
    assert "404" in missing.record.problem


@pytest.mark.long
def test_time_limit_ends_the_processes(tmp_path: Path) -> None:
    with FakeRelay(tmp_path, [Caller("a1", seconds=60)]) as fake:
        result = run_attach(fake, tmp_path, INPUT_MAX_WAIT_TIME="3")
    assert result.code == 1
    assert result.record.problem == "max_wait_time was over before the run was."
    assert result.outcomes()["a1"] in ("lost", "waiting", "refused")


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own, while it holds a conversation, and another one blocks."""
    (tmp_path / "agent.py").write_text(AGENT)
    with FakeRelay(tmp_path, [Caller("good1", seconds=60), Caller("block1", seconds=60)]) as fake:
        command = [sys.executable, "-m", "coval_gate", "attach", "agent:answer", "--run", RUN_ID]
        with subprocess.Popen(
            command, env=environ_of(fake, tmp_path), cwd=tmp_path, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                wait_for(lambda: set(outcomes_in(tmp_path)) == {"attached"} and len(alive(tmp_path)) == 2)
                yield process
            finally:
                process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_everything_in_time(begun: subprocess.Popen[str], tmp_path: Path, number: int) -> None:
    pids = alive(tmp_path)
    began = time.monotonic()
    begun.send_signal(number)
    log, _ = begun.communicate(timeout=20)
    assert time.monotonic() - began < 6
    assert begun.returncode == 130
    assert len(pids) == 2
    assert not alive(tmp_path)
    record = record_in(tmp_path)
    assert (record.done, record.problem) == (True, "cancelled")
    assert {one.outcome for one in record.simulations.values()} == {"lost"}
    assert "Ended by a signal." in log


def test_killed_command_leaves_no_process(begun: subprocess.Popen[str], tmp_path: Path) -> None:
    assert len(alive(tmp_path)) == 2
    begun.kill()
    begun.wait()
    wait_for(lambda: not alive(tmp_path), 6)
    assert not record_in(tmp_path).done


def test_killed_worker_leaves_no_process(begun: subprocess.Popen[str], tmp_path: Path) -> None:
    (pid,) = children_of(begun.pid)
    os.kill(pid, signal.SIGKILL)
    log, _ = begun.communicate(timeout=20)
    wait_for(lambda: not alive(tmp_path), 6)
    assert begun.returncode == 1
    assert "ended by itself" in record_in(tmp_path).problem
    assert "Error: The worker is gone" in log


def children_of(pid: int) -> Iterable[int]:
    """Return the processes that a process has started."""
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
