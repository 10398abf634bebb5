"""Signals at any instant, and the post step after whatever they left: under Docker, as GitHub's runner has it."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from signal import SIGINT, SIGTERM
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from coval_gate.report.formats.outputs import OUTPUTS
from e2e import engine
from e2e.engine import CANCEL, KEY, KILL, POST, PYTHON, Step, docker, leaks
from e2e.test_container import HOSTILE, lay
from e2e.test_image import ask
from e2e.traps import SPRUNG, TRAP, TRAPS

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from e2e.engine import Sandbox
    from support import StepResult

    Process = subprocess.Popen[str]
    Road = Callable[[Step, Sandbox, Process], object]

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("played")]
IN_TIME = 6.0  # s from the signal to the end of the container
OVER = ("CANCELLED", "COMPLETED")
WAYS = {
    "as GitHub cancels": CANCEL,
    "SIGTERM alone": ((SIGTERM, 10.0),),
    "both in a row": ((SIGINT, 0.05), (SIGTERM, 10.0)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """A moment in the life of a step: how it comes about, and what is left of the run if a signal comes just then.

    `left` are the ends that a run may have, "" where none was launched; `by_post` says that the post step brings it
    about.
    """

    reach: Road
    left: tuple[str, ...]
    faults: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    by_post: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What a signal led to: the seconds to the end, the run afterwards, and the post step."""

    seconds: float
    result: StepResult
    post: StepResult
    run_id: str
    status: str
    leaks: list[Path]


def until(condition: Callable[[], object]) -> None:
    """Wait for something that is about to happen."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)


def legs(state: dict[str, str]) -> list[dict[str, Any]]:
    """What the main step has told the post step of its legs."""
    found: list[dict[str, Any]] = json.loads(state.get("legs", "[]"))
    return found


def first_line(_: Step, __: Sandbox, process: Process) -> None:
    assert process.stdout
    assert process.stdout.readline()


def before_the_launch(step: Step, _: Sandbox, __: Process) -> None:
    """Looking for older runs takes long."""
    until(lambda: "legs" in step.state)
    time.sleep(0.4)
    assert legs(step.state) == []


def posted(_: Step, api: Sandbox, __: Process) -> None:
    """The run exists, but nobody has told the step."""
    until(lambda: api.runs)


def launched(step: Step, _: Sandbox, process: Process) -> None:
    step.wait_for_launch(process)


def looking(step: Step, _: Sandbox, process: Process) -> None:
    """The first look at the run is under way."""
    step.wait_for_launch(process)
    time.sleep(0.5)


def waiting(step: Step, api: Sandbox, process: Process) -> None:
    step.wait_for_launch(process)
    until(lambda: api.run["status"] == "IN PROGRESS")
    time.sleep(1.3)


def completed(step: Step, _: Sandbox, process: Process) -> None:
    """The step knows that the run completed, and asks for its simulations."""
    assert process.stdout
    step.wait_for_launch(process)
    assert any("COMPLETED" in line for line in process.stdout)
    time.sleep(0.3)


INSTANTS = {
    "first line": Instant(reach=first_line, left=("", "CANCELLED")),
    "before the launch": Instant(
        reach=before_the_launch, left=("",), faults=("GET /runs #1 -> slow 9",), inputs={"supersede": "true"}
    ),
    "before the answer": Instant(reach=posted, left=("CANCELLED",), faults=("POST /runs -> slow 1",)),
    "long before the answer": Instant(reach=posted, left=("CANCELLED",), faults=("POST /runs -> slow 20",)),
    "launched": Instant(reach=launched, left=("CANCELLED",)),
    "waiting": Instant(reach=waiting, left=("CANCELLED",)),
    "a look that hangs": Instant(reach=looking, left=("CANCELLED",), faults=("GET /runs/* #1 -> hang 30",)),
    "every look hangs": Instant(
        reach=looking, left=("CANCELLED",), faults=("GET /runs/* #1-4 -> hang 3",), by_post=True
    ),
    "the end hangs": Instant(reach=waiting, left=("CANCELLED",), faults=("DELETE /runs/* #1 -> hang 30",)),
    "the end is silent": Instant(reach=waiting, left=("CANCELLED",), faults=("DELETE /runs/* -> slow 30",)),
    "completed": Instant(
        reach=completed,
        left=("COMPLETED",),
        faults=("GET /conversations/* -> slow 30",),
        inputs={"test_set_id": "passing1"},
    ),
}
CASES = [(instant, way) for instant in INSTANTS for way in WAYS]


def play(image: str, directory: Path, instant: Instant, way: str) -> Played:
    """Run a step up to the instant, end it, and run its post step."""
    with engine.sandbox(*instant.faults) as api:
        step = Step(image, directory, api)
        with step.running(env={}, entrypoint=(), **{"test_set_id": "stuck001", **instant.inputs}) as process:
            instant.reach(step, api, process)
            log, seconds = step.cancel(process, WAYS[way])
            result = step.result(process, log)
        post = step.post()
        run = api.run if api.runs else {"run_id": "", "status": ""}
    return Played(
        seconds=seconds,
        result=result,
        post=post,
        run_id=run["run_id"],
        status=run["status"],
        leaks=leaks(directory),
    )


@pytest.fixture(scope="module")
def played(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Future[Played]]]:
    """All of them, several at a time and beside the other tests: they spend most of their time waiting."""
    with ThreadPoolExecutor(5) as pool:
        yield {
            (name, way): pool.submit(play, image, tmp_path_factory.mktemp("step"), INSTANTS[name], way)
            for name, way in CASES
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("sandbox", [("POST /runs -> hang 20",)], indirect=True)
def test_a_launch_that_may_yet_arrive_is_left_to_the_post_step(step: Step, sandbox: Sandbox) -> None:
    """Nobody knows by then whether there will be a run."""
    with step.running() as process:
        until(lambda: legs(step.state))
        time.sleep(0.3)
        log, seconds = step.cancel(process)
        result = step.result(process, log)
    assert seconds < IN_TIME
    assert (result.exit_code, result.outputs["verdict"], result.outputs["run_id"]) == (1, "cancelled", "")
    assert "could not be cancelled" in result.outputs["reason"]
    (leg,) = legs(result.state)
    assert (leg["cancel"], leg["run_id"]) == (True, "")
    assert leg["key"]
    assert sandbox.runs == []


def test_from_the_very_start_no_run_is_left(image: str, tmp_path: Path, sandbox: Sandbox) -> None:
    """Also while the container starts, or Python in it, where SIGINT may be lost: then SIGTERM comes in time."""

    def cancelled(number: int) -> StepResult:
        directory = tmp_path / f"step{number}"
        directory.mkdir()
        step = Step(image, directory, sandbox)
        with step.running(test_set_id="stuck001") as process:
            early = ["--all"] if number < 2 else []  # as soon as there is a container, mostly before it runs
            until(lambda: docker("ps", "--quiet", "--filter", f"name={step.name}", *early))
            time.sleep(max(0, number - 2) * 0.03)
            log, _ = step.cancel(process)
            result = step.result(process, log)
        assert step.post().exit_code == 0
        return result

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(cancelled, range(10)))
    runs = sandbox.runs
    assert [run["status"] for run in runs] == ["CANCELLED"] * len(runs)
    assert {result.outputs["run_id"] for result in results if result.outputs} - {""} <= {run["run_id"] for run in runs}
    # Until Python comes to our code, it answers SIGINT in its own way, without outputs; there is no run by then.
    ended = {result.outputs.get("verdict") for result in results if result.exit_code != 137}
    assert ended in ({"cancelled"}, {"cancelled", None})


def test_both_signals_reach_the_first_process_and_then_it_is_killed(step: Step) -> None:
    """The tests above cancel as GitHub's runner does: here is a step that takes no notice."""
    deaf = "import signal, time\nfor each in (signal.SIGINT, signal.SIGTERM):\n"
    deaf += "    signal.signal(each, lambda number, _: print(signal.Signals(number).name))\n"
    with step.running(entrypoint=[PYTHON, "-u", "-c", f"{deaf}print('ready')\ntime.sleep(60)"]) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        log, seconds = step.cancel(process)
        result = step.result(process, log)
    assert log == "SIGINT\nSIGTERM\n"
    assert 10 <= seconds < 12
    assert result.exit_code == 137


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """With the faults that a test asks for."""
    with engine.sandbox(*getattr(request, "param", ())) as started:
        yield started


def kill(step: Step, reach: Callable[[Process], object], **inputs: str) -> StepResult:
    """Run a step with a run that never ends up to an instant, and kill it there."""
    with step.running(env={}, entrypoint=(), test_set_id="stuck001", **inputs) as process:
        reach(process)
        log, _ = step.cancel(process, KILL)
        result = step.result(process, log)
    assert result.exit_code == 137
    return result


def test_a_run_whose_step_was_killed_is_ended(step: Step, sandbox: Sandbox) -> None:
    """By the post step, once, whatever lies in the workspace and in the environment."""
    result = kill(step, partial(waiting, step, sandbox))
    run_id = sandbox.run["run_id"]
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("error", run_id)
    (leg,) = legs(result.state)
    assert (leg["cancel"], leg["run_id"]) == (True, run_id)
    assert result.summary == ""
    assert sandbox.run["status"] not in OVER
    lay(step, TRAPS | {f"{place}coval_gate/{name}.py": TRAP for place in ("", "src/") for name in ("clock", "post")})
    post = step.post(env=HOSTILE)
    assert SPRUNG not in post.log
    assert post.exit_code == 0
    assert post.log.endswith(f"the run was cancelled ({run_id}).\n"), post.log
    assert post.log.splitlines()[0] == f"::add-mask::{KEY}"
    assert post.log.count(KEY) == 1
    assert sandbox.run["status"] == "CANCELLED"
    again = step.post()
    assert again.exit_code == 0
    assert f"the run had already ended (CANCELLED) ({run_id})" in again.log
    assert sandbox.run["status"] == "CANCELLED"
    assert leaks(step.directory) == []


@pytest.mark.parametrize("sandbox", [("POST /runs -> slow 20",)], indirect=True)
def test_so_is_one_whose_id_the_step_never_learned(step: Step, sandbox: Sandbox) -> None:
    result = kill(step, partial(posted, step, sandbox))
    (leg,) = legs(result.state)
    assert (leg["run_id"], result.outputs["run_id"]) == ("", "")
    assert sandbox.run["status"] not in OVER
    post = step.post()
    assert post.exit_code == 0
    assert post.log.endswith(f"the run was cancelled ({sandbox.run['run_id']}).\n"), post.log
    assert sandbox.run["status"] == "CANCELLED"
    assert step.post().exit_code == 0
    assert sandbox.run["status"] == "CANCELLED"


@pytest.mark.parametrize("sandbox", [("GET /runs #1 -> slow 9",)], indirect=True)
def test_before_the_launch_there_is_nothing_to_end(step: Step, sandbox: Sandbox) -> None:
    kill(step, partial(before_the_launch, step, sandbox), supersede="true")
    assert sandbox.runs == []
    post = step.post()
    assert (post.exit_code, post.log) == (0, "")


@pytest.mark.parametrize("forgotten", [{}, {"run_id": ""}], ids=["by its id", "by its tag"])
def test_a_finished_run_is_not_deleted(forgotten: dict[str, str], step: Step, sandbox: Sandbox) -> None:
    """`DELETE` would do that; the step looks as if it was killed just after the end of its run."""
    result = step.run()
    assert result.outputs["verdict"] == "passed"
    unneeded = step.post()
    assert (unneeded.exit_code, unneeded.log) == (0, "")
    (leg,) = legs(result.state)
    post = step.post(state={"legs": json.dumps([{**leg, "cancel": True, **forgotten}])})
    assert post.exit_code == 0
    assert f"the run had already ended (COMPLETED) ({result.outputs['run_id']})" in post.log
    assert sandbox.run["status"] == "COMPLETED"


def test_a_run_that_was_only_launched_goes_on(step: Step, sandbox: Sandbox) -> None:
    result = step.run(mode="launch", test_set_id="stuck001")
    assert (result.exit_code, result.outputs["status"]) == (0, "LAUNCHED")
    post = step.post()
    assert (post.exit_code, post.log) == (0, "")
    assert sandbox.run["status"] not in OVER


def test_a_run_that_shall_go_on_does(step: Step, sandbox: Sandbox) -> None:
    kill(step, partial(waiting, step, sandbox), cancel_on_interrupt="false")
    post = step.post()
    assert (post.exit_code, post.log) == (0, "")
    assert sandbox.run["status"] not in OVER


def test_a_post_step_that_cannot_end_the_run_does_not_fail_the_job(step: Step, sandbox: Sandbox) -> None:
    kill(step, partial(launched, step, sandbox))
    post = step.post(env={"INPUT_API_KEY": f"coval_sk_{'0' * 32}"})
    assert post.exit_code == 0
    (warning,) = post.annotations("warning")
    assert warning.data.startswith("The run could not be cancelled: ")
    assert sandbox.run["status"] not in OVER


def test_the_post_step_is_an_executable_of_its_own(image: str, checkout: Path) -> None:
    """GitHub's runner starts it with nothing but its name, so that its first line has to isolate it."""
    program = f"import json, os; print(json.dumps([os.access({POST!r}, os.X_OK), open({POST!r}).readline()]))"
    assert ask(image, program) == [True, f"#!{PYTHON} -IuB\n"]
    assert YAML(typ="safe").load(checkout / "action.yml")["runs"]["post-entrypoint"] == POST


@pytest.mark.parametrize("module", ["coval_gate/clock", "sitecustomize"])
def test_without_that_line_the_workspace_would_take_it_over(step: Step, module: str) -> None:
    """The counter-check, as for the main step."""
    lay(step, {"src/coval_gate/__init__.py": "", f"src/{module}.py": TRAP})
    post = step.post(env={"PYTHONPATH": "src"}, entrypoint=[PYTHON, "-u", "-B", POST])
    assert f"{SPRUNG}: {module.replace('/', '.')}" in post.log


@pytest.mark.parametrize(("name", "way"), CASES)
def test_a_step_that_is_told_to_end(name: str, way: str, played: dict[tuple[str, str], Future[Played]]) -> None:
    """It ends in time and by itself, says so, and leaves no run behind; the post step has nothing to do."""
    instant, found = INSTANTS[name], played[name, way].result()
    result, post = found.result, found.post
    assert found.seconds < IN_TIME, result.log
    assert result.exit_code == 1
    assert result.outputs.keys() == OUTPUTS.keys()
    assert (result.outputs["verdict"], result.outputs["status"]) == ("cancelled", "CANCELLED")
    assert result.outputs["run_id"] == found.run_id
    assert result.summary.startswith("### 🚫 Cancelled: Coval evaluation\n")
    assert found.status in instant.left, result.log
    assert post.exit_code == 0
    assert bool(post.log) == instant.by_post, post.log
    assert (post.outputs, post.state, post.summary) == ({}, {}, "")
    assert found.leaks == []
