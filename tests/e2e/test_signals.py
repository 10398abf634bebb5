"""Signals at any moment, and the post step after them, under Docker as with GitHub's runner."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any

import pytest

from coval_gate.report.formats.outputs import OUTPUTS
from e2e import engine
from e2e.engine import CANCEL, KEY, KILL, PYTHON, Sandbox, Step, docker, leaks
from e2e.test_container import HOSTILE_ENV, write_files
from e2e.traps import TRAP, TRAP_MESSAGE, TRAPS
from support import StepResult

Process = subprocess.Popen[str]
Reach = Callable[[Step, Sandbox, Process], object]


pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("signal_results")]
MAX_SECONDS = 6.0  # s from the signal to the end of the container
TRIES = 3  # on a busy machine, containers are late now and then; a defect makes each of them late
FINISHED = ("CANCELLED", "COMPLETED")
SIGNALS = {
    "as-github-cancels": CANCEL,
    "sigterm-alone": ((SIGTERM, 10.0),),
    "sigint-and-sigterm": ((SIGINT, 0.05), (SIGTERM, 10.0)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A moment in a step at which a signal arrives: how to reach it, and the expected state afterwards.

    `statuses` are those that the run may have, "" if none was launched; `post_step_cancels` says that the post step
    cancels it; None: on a busy machine it may have to. tests/campaign/test_deadlines.py holds that the main step does.
    """

    reach: Reach
    statuses: tuple[str, ...]
    faults: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    post_step_cancels: bool | None = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalResult:
    """The result of a signal: the seconds until the step ended, the run afterwards, and the post step."""

    seconds: float
    result: StepResult
    post: StepResult
    run_id: str
    status: str
    leaks: list[Path]

    def hurried(self, moment: Moment) -> bool:
        """Return whether the main step did all that it can do in time; what it leaves, the post step does."""
        told = self.result.outputs.get("run_id") == self.run_id and self.result.summary
        cancels = moment.post_step_cancels in (bool(self.post.log), None)
        return self.seconds < MAX_SECONDS and self.result.exit_code == 1 and bool(told) and cancels


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, which must happen soon."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "the condition does not hold"
        time.sleep(0.02)


def legs(state: dict[str, str]) -> list[dict[str, Any]]:
    """What the main step has told the post step of its legs."""
    found: list[dict[str, Any]] = json.loads(state.get("legs", "[]"))
    return found


def log_begins(_: Step, __: Sandbox, process: Process) -> None:
    assert process.stdout
    assert process.stdout.readline()


def before_launch(step: Step, _: Sandbox, __: Process) -> None:
    """The search for earlier runs is slow."""
    wait_until(lambda: "legs" in step.state)
    time.sleep(0.4)
    assert legs(step.state) == []


def run_created(_: Step, api: Sandbox, __: Process) -> None:
    """The run exists, but the step has not received the response."""
    wait_until(lambda: api.runs)


def run_launched(step: Step, _: Sandbox, process: Process) -> None:
    step.wait_for_launch(process)


def poll_outstanding(step: Step, _: Sandbox, process: Process) -> None:
    """The first poll is outstanding."""
    step.wait_for_launch(process)
    time.sleep(0.5)


def run_in_progress(step: Step, api: Sandbox, process: Process) -> None:
    step.wait_for_launch(process)
    wait_until(lambda: api.run["status"] == "IN PROGRESS")
    time.sleep(1.3)


def run_completed(step: Step, _: Sandbox, process: Process) -> None:
    """The step knows that the run completed, and fetches its simulations."""
    assert process.stdout
    step.wait_for_launch(process)
    assert any("COMPLETED" in line for line in process.stdout)
    time.sleep(0.3)


MOMENTS = {
    "log-begins": Moment(reach=log_begins, statuses=("", "CANCELLED")),
    "before-launch": Moment(
        reach=before_launch, statuses=("",), faults=("GET /runs #1 -> slow 9",), inputs={"supersede": "true"}
    ),
    "before-response": Moment(reach=run_created, statuses=("CANCELLED",), faults=("POST /runs -> slow 1",)),
    "long-before-response": Moment(reach=run_created, statuses=("CANCELLED",), faults=("POST /runs -> slow 20",)),
    "launched": Moment(reach=run_launched, statuses=("CANCELLED",)),
    "in-progress": Moment(reach=run_in_progress, statuses=("CANCELLED",)),
    "first-poll-hangs": Moment(reach=poll_outstanding, statuses=("CANCELLED",), faults=("GET /runs/* #1 -> hang 30",)),
    "all-polls-hang": Moment(
        reach=poll_outstanding, statuses=("CANCELLED",), faults=("GET /runs/* #1-4 -> hang 3",), post_step_cancels=True
    ),
    "delete-hangs": Moment(
        reach=run_in_progress,
        statuses=("CANCELLED",),
        faults=("DELETE /runs/* #1 -> hang 30",),
        post_step_cancels=None,
    ),
    "delete-is-slow": Moment(reach=run_in_progress, statuses=("CANCELLED",), faults=("DELETE /runs/* -> slow 30",)),
    "completed": Moment(
        reach=run_completed,
        statuses=("COMPLETED",),
        faults=("GET /conversations/* -> slow 30",),
        inputs={"test_set_id": "passing1"},
    ),
}
# Docker forwards all signals alike, and tests/unit/test_clock.py holds that each interrupts each kind of wait.
MOMENTS_OF_ALL_SIGNALS = ("log-begins", "before-response", "in-progress", "delete-hangs")
CASES = [
    (moment, signals)
    for moment in MOMENTS
    for signals in SIGNALS
    if signals == "as-github-cancels" or moment in MOMENTS_OF_ALL_SIGNALS
]


def run_until_signal(image: str, new_directory: Callable[[], Path], moment: Moment, signals: str) -> list[SignalResult]:
    """Return the results of up to `TRIES` steps; only the last one may be in time."""
    results: list[SignalResult] = []
    while len(results) < TRIES and not (results and results[-1].hurried(moment)):
        results.append(run_once(image, new_directory(), moment, signals))
    return results


def run_once(image: str, directory: Path, moment: Moment, signals: str) -> SignalResult:
    """Run a step up to a moment, send the signals, and run its post step."""
    with engine.sandbox(*moment.faults) as api:
        step = Step(image, directory, api)
        with step.running(env={}, entrypoint=(), **{"test_set_id": "stuck001", **moment.inputs}) as process:
            moment.reach(step, api, process)
            log, seconds = step.cancel(process, SIGNALS[signals])
            result = step.result(process, log)
        post = step.post()
        run = api.run if api.runs else {"run_id": "", "status": ""}
    return SignalResult(
        seconds=seconds,
        result=result,
        post=post,
        run_id=run["run_id"],
        status=run["status"],
        leaks=leaks(directory),
    )


@pytest.fixture(scope="module")
def signal_results(
    image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str], Future[list[SignalResult]]]]:
    """Run all cases in parallel, and in parallel with other tests: they spend most of their time waiting."""
    with ThreadPoolExecutor(3) as pool:
        yield {
            (name, signals): pool.submit(
                run_until_signal, image, partial(tmp_path_factory.mktemp, "step"), MOMENTS[name], signals
            )
            for name, signals in CASES
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("sandbox", [("POST /runs -> hang 20",)], indirect=True)
def test_post_step_handles_launch_without_response(step: Step, sandbox: Sandbox) -> None:
    """At the interrupt, it is unknown whether a run will exist."""
    with step.running() as process:
        wait_until(lambda: legs(step.state))
        time.sleep(0.3)
        log, seconds = step.cancel(process)
        result = step.result(process, log)
    assert seconds < MAX_SECONDS
    assert (result.exit_code, result.outputs["verdict"], result.outputs["run_id"]) == (1, "cancelled", "")
    assert "could not be cancelled" in result.outputs["reason"]
    (leg,) = legs(result.state)
    assert (leg["duties"], leg["run_id"]) == (["cancel"], "")
    assert leg["key"]
    assert sandbox.runs == []


def test_signal_during_start_leaves_no_run(image: str, tmp_path: Path, sandbox: Sandbox) -> None:
    """While the container or Python starts, SIGINT may be lost; then SIGTERM ends the step in time."""

    def cancel_early(number: int) -> StepResult:
        directory = tmp_path / f"step{number}"
        directory.mkdir()
        step = Step(image, directory, sandbox)
        with step.running(test_set_id="stuck001") as process:
            early = ["--all"] if number < 2 else []  # as soon as the container exists, usually before it runs
            wait_until(lambda: docker("ps", "--quiet", "--filter", f"name={step.name}", *early))
            time.sleep(max(0, number - 2) * 0.05)
            log, _ = step.cancel(process)
            result = step.result(process, log)
        assert step.post().exit_code == 0
        return result

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(cancel_early, range(7)))
    runs = sandbox.runs
    assert [run["status"] for run in runs] == ["CANCELLED"] * len(runs)
    assert {result.outputs["run_id"] for result in results if result.outputs} - {""} <= {run["run_id"] for run in runs}
    # Until Python runs the action's code, SIGINT ends it without outputs; no run exists by then.
    ended = {result.outputs.get("verdict") for result in results if result.exit_code != 137}
    assert ended in ({"cancelled"}, {"cancelled", None})


def test_step_that_ignores_signals_is_killed(step: Step) -> None:
    """Control: `cancel` sends both signals to the first process, and finally kills it."""
    signals = ((SIGINT, 2.0), (SIGTERM, 1.0))
    program = "import signal, time\nfor each in (signal.SIGINT, signal.SIGTERM):\n"
    program += "    signal.signal(each, lambda number, _: print(signal.Signals(number).name))\n"
    with step.running(entrypoint=[PYTHON, "-u", "-c", f"{program}print('ready')\ntime.sleep(60)"]) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        log, seconds = step.cancel(process, signals)
        result = step.result(process, log)
    assert log == "SIGINT\nSIGTERM\n"
    assert seconds >= 3
    assert result.exit_code == 137


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Run a sandbox with the faults that a test requests as its parameter."""
    with engine.sandbox(*getattr(request, "param", ())) as started:
        yield started


def kill_step(step: Step, reach: Callable[[Process], object], **inputs: str) -> StepResult:
    """Run a step whose run never ends up to a moment, and kill it there."""
    with step.running(env={}, entrypoint=(), test_set_id="stuck001", **inputs) as process:
        reach(process)
        log, _ = step.cancel(process, KILL)
        result = step.result(process, log)
    assert result.exit_code == 137
    return result


def test_post_container_cancels_run_of_killed_container(step: Step, sandbox: Sandbox) -> None:
    """It does so only once, and also with a hostile workspace and environment."""
    result = kill_step(step, partial(run_in_progress, step, sandbox))
    run_id = sandbox.run["run_id"]
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("error", run_id)
    (leg,) = legs(result.state)
    assert (leg["duties"], leg["run_id"]) == (["cancel"], run_id)
    assert result.summary == ""
    assert sandbox.run["status"] not in FINISHED
    write_files(
        step,
        TRAPS | {f"{place}coval_gate/{name}.py": TRAP for place in ("", "src/") for name in ("base/clock", "post")},
    )
    post = step.post(env=HOSTILE_ENV)
    assert TRAP_MESSAGE not in post.log
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
def test_post_step_cancels_run_whose_id_is_unknown(step: Step, sandbox: Sandbox) -> None:
    result = kill_step(step, partial(run_created, step, sandbox))
    (leg,) = legs(result.state)
    assert (leg["run_id"], result.outputs["run_id"]) == ("", "")
    assert sandbox.run["status"] not in FINISHED
    post = step.post()
    assert post.exit_code == 0
    assert post.log.endswith(f"the run was cancelled ({sandbox.run['run_id']}).\n"), post.log
    assert sandbox.run["status"] == "CANCELLED"
    assert step.post().exit_code == 0
    assert sandbox.run["status"] == "CANCELLED"


@pytest.mark.parametrize("sandbox", [("GET /runs #1 -> slow 9",)], indirect=True)
def test_post_step_does_nothing_for_step_killed_before_launch(step: Step, sandbox: Sandbox) -> None:
    kill_step(step, partial(before_launch, step, sandbox), supersede="true")
    assert sandbox.runs == []
    post = step.post()
    assert (post.exit_code, post.log) == (0, "")


def test_post_container_does_not_delete_finished_run(step: Step, sandbox: Sandbox) -> None:
    """A DELETE would. The state is as if the step had been killed after the end of its run, with or without its id."""
    result = step.run()
    assert result.outputs["verdict"] == "passed"
    quiet = step.post()
    assert (quiet.exit_code, quiet.log) == (0, "")
    assert legs(result.state) == []
    ids = {name: sandbox.run[name] for name in ("agent_id", "persona_id", "test_set_id")}
    (key,) = [tag for tag in sandbox.run["tags"] if re.match(r"coval-gate/\d", tag)]
    known = {"leg": "", "key": key, "run_id": sandbox.run["run_id"], "ids": ids}
    known |= {"phase": "followed", "duties": ["cancel"]}
    for state in (known, known | {"run_id": ""}):
        post = step.post(state={"legs": json.dumps([state])})
        assert post.exit_code == 0
        assert f"the run had already ended (COMPLETED) ({result.outputs['run_id']})" in post.log
        assert sandbox.run["status"] == "COMPLETED"


def test_post_step_keeps_run_without_cancel_on_interrupt(step: Step, sandbox: Sandbox) -> None:
    kill_step(step, partial(run_in_progress, step, sandbox), cancel_on_interrupt="false")
    post = step.post()
    assert (post.exit_code, post.log) == (0, "")
    assert sandbox.run["status"] not in FINISHED


@pytest.mark.parametrize(("name", "signals"), CASES)
def test_signal_ends_step_and_cancels_run(
    name: str, signals: str, signal_results: dict[tuple[str, str], Future[list[SignalResult]]]
) -> None:
    """Each leaves no unfinished run, and one that is in time reports that it was cancelled."""
    moment, found = MOMENTS[name], signal_results[name, signals].result()
    for each in found:
        result, post = each.result, each.post
        if result.exit_code != 137:  # a busy machine: the runner killed it
            assert result.exit_code == 1, result.log
            assert (result.outputs["verdict"], result.outputs["status"]) == ("cancelled", "CANCELLED")
            assert result.outputs["run_id"] in ("", each.run_id)
            assert result.outputs.keys() == OUTPUTS.keys()
        assert each.status in moment.statuses, result.log
        assert post.exit_code == 0
        left = {"legs": "[]", "mode": "run"} if post.log else {}  # nothing is left
        assert (post.outputs, post.state, post.summary) == ({}, left, "")
        assert each.leaks == []
    last = found[-1]
    assert last.hurried(moment), (last.seconds, last.result.log, last.post.log)
    assert last.result.summary.startswith("### 🚫 Cancelled: Coval evaluation")
