"""Signals at any moment, and the post step after them, under Docker as with GitHub's runner."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any, NamedTuple

import pytest

from coval_gate.report.formats.outputs import OUTPUTS
from e2e import engine
from e2e.engine import CANCEL, KEY, KILL, Sandbox, Step, docker, leaks
from e2e.test_container import HOSTILE_ENV, TRAP, TRAP_MESSAGE, TRAPS, write_files
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


class Moment(NamedTuple):
    """A moment in a step at which a signal arrives: how to reach it, and the expected state afterwards.

    `statuses` are those that the run may have, "" if none was launched; `may_leave`: on a busy machine, the post step
    may have to cancel it. tests/campaign/test_deadlines.py checks that the main step does.
    """

    reach: Reach
    statuses: tuple[str, ...] = ("CANCELLED",)
    faults: tuple[str, ...] = ()
    may_leave: bool = False


class SignalResult(NamedTuple):
    """The result of a signal: the seconds until the step ended, the run afterwards, and the post step."""

    seconds: float
    result: StepResult
    post: StepResult
    run: dict[str, Any]
    leaks: list[Path]

    def is_in_time(self, moment: Moment) -> bool:
        """Return whether the main step did in time what else is left to the post step."""
        reported = self.result.outputs.get("run_id") == self.run["run_id"] and self.result.summary
        left = bool(self.post.log) and not moment.may_leave
        return self.seconds < MAX_SECONDS and self.result.exit_code == 1 and bool(reported) and not left


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition is true, which must happen soon."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "the condition is not true"
        time.sleep(0.02)


def log_begins(_: Step, __: Sandbox, process: Process) -> None:
    assert process.stdout
    assert process.stdout.readline()


def run_created(_: Step, api: Sandbox, __: Process) -> None:
    """The run exists, but the step has not received the response."""
    wait_until(lambda: api.runs)


def run_in_progress(step: Step, api: Sandbox, process: Process) -> None:
    step.wait_for_launch(process)
    wait_until(lambda: api.run["status"] == "IN PROGRESS")
    time.sleep(1.3)


# What hangs at a signal, and when, is a matter of tests/campaign/test_deadlines.py.
MOMENTS = {
    "log-begins": Moment(log_begins, ("", "CANCELLED")),
    "before-response": Moment(run_created, faults=("POST /runs -> slow 1",)),
    "in-progress": Moment(run_in_progress),
    "delete-hangs": Moment(run_in_progress, faults=("DELETE /runs/* #1 -> hang 30",), may_leave=True),
}
CASES = [*product(MOMENTS, SIGNALS)]


def run_until_signal(image: str, new_directory: Callable[[], Path], moment: Moment, signals: str) -> list[SignalResult]:
    """Return the results of up to `TRIES` steps; only the last one may be in time."""
    results: list[SignalResult] = []
    while len(results) < TRIES and not (results and results[-1].is_in_time(moment)):
        results.append(run_once(image, new_directory(), moment, signals))
    return results


def run_once(image: str, directory: Path, moment: Moment, signals: str) -> SignalResult:
    """Run a step up to a moment, send the signals, and run its post step."""
    with engine.sandbox(*moment.faults) as api:
        step = Step(image, directory, api)
        with step.running(test_set_id="stuck001") as process:
            moment.reach(step, api, process)
            log, seconds = step.cancel(process, SIGNALS[signals])
            result = step.result(process, log)
        post = step.post()
        run = api.run if api.runs else {"run_id": "", "status": ""}
    return SignalResult(seconds, result, post, run, leaks(directory))


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
    assert ended <= {"cancelled", None}


def test_post_container_cancels_run_of_killed_container(step: Step, sandbox: Sandbox) -> None:
    """It does so only once, and also with a hostile workspace and environment."""
    with step.running(test_set_id="stuck001") as process:
        run_in_progress(step, sandbox, process)
        log, _ = step.cancel(process, KILL)
        result = step.result(process, log)
    assert result.exit_code == 137
    run_id = sandbox.run["run_id"]
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("error", run_id)
    (leg,) = json.loads(result.state["legs"])
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


@pytest.mark.parametrize(("name", "signals"), CASES)
def test_signal_ends_step_and_cancels_run(
    name: str, signals: str, signal_results: dict[tuple[str, str], Future[list[SignalResult]]]
) -> None:
    """Each leaves no unfinished run, and one that is in time reports that it was cancelled."""
    moment, found = MOMENTS[name], signal_results[name, signals].result()
    for signalled in found:
        result, post = signalled.result, signalled.post
        if result.exit_code != 137:  # a busy machine: the runner killed it
            assert result.exit_code == 1, result.log
            assert (result.outputs["verdict"], result.outputs["status"]) == ("cancelled", "CANCELLED")
            assert result.outputs["run_id"] in ("", signalled.run["run_id"])
            assert result.outputs.keys() == OUTPUTS.keys()
        assert signalled.run["status"] in moment.statuses, result.log
        assert post.exit_code == 0
        left = {"legs": "[]", "mode": "run"} if post.log else {}  # nothing is left
        assert (post.outputs, post.state, post.summary) == ({}, left, "")
        assert signalled.leaks == []
    last = found[-1]
    assert last.is_in_time(moment), (last.seconds, last.result.log, last.post.log)
    assert last.result.summary.startswith("### 🚫 Cancelled: Coval evaluation")
