"""Simulates a schedule: runs the whole action, from environment to files, on a simulated clock and network."""

import io
import json
import random
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from requests import Session

from campaign.clock import Killed, SimulatedClock, Stuck
from campaign.network import Connection, Host, SentRequest
from campaign.schedule import (
    ATTACHED,
    FAILED,
    STABLE,
    Event,
    FileFault,
    Process,
    Schedule,
    Signal,
    Step,
)
from coval_gate.base.runtime import Runtime
from coval_gate.base.transport import HttpSession
from coval_gate.inputs.inputs import declared
from coval_gate.step.main import main
from coval_gate.step.post import post
from coval_sandbox import catalogue
from coval_sandbox.github_checks import CheckRun
from coval_sandbox.http import BASE, Api, Reply, SeenRequest
from coval_sandbox.plan import RunRecord
from coval_sandbox.problems import Problem
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST, LocalRunner, read_entries
from coval_sandbox.scenarios import BY_NAME, PASSING, for_test_set
from coval_sandbox.world import World
from fake_github import FakeGitHub
from own_build import with_own_builds
from support import DEFAULTS, EPOCH, IDS, KEY

LATER: Final = {
    "recover": PASSING,
    "regress": BY_NAME["failing"],
    "stall": BY_NAME["stuck"],
}  # the scenario of later runs, after an event
HEAD: Final[str] = PULL_REQUEST["pull_request"]["head"]["sha"]
GITHUB_LATENCY: Final = 0.3  # s
MODES_OF: Final = {declaration.name: declaration.modes for declaration in declared()}
MEMORY_DISK: Final = Path("/dev/shm")  # noqa: S108 - where it exists, writing files is fast
KILL_AFTER: Final = 10.0  # s from the first signal, as GitHub's runner does it
TICK: Final = 1.0  # s between two looks of a process at the run that it answers
LONGEST: Final = 4000.0  # s for which it follows the run
SETTLE_TIME: Final = 5.0  # s for requests that have not taken effect when their process ends
POST_DELAY: Final = 1.0  # s until a job's post steps run


@dataclass(kw_only=True, eq=False)
class ProcessResult:
    """What one process did: a main step or a post step. `log` and `files` are written when it ends or is killed.

    `files` are all files in its directory: the runner files and the workspace. `crash` is the traceback of an exception
    that the process did not handle. Times are simulated seconds.
    """

    step: Step
    number: int
    is_post: bool
    given_runs: tuple[str, ...]  # in the modes wait and cancel
    requests: list[SentRequest]
    began: float
    ended: float = 0.0
    exit_code: int | None = None  # None if the process was killed
    interrupted: float | None = None
    killed: float | None = None
    crash: str = ""
    log: str = ""
    files: dict[str, bytes] = field(default_factory=dict)

    @cached_property
    def outputs(self) -> dict[str, str]:
        """Parse the outputs as the runner does. Raises ValueError if they are malformed."""
        return read_entries(self.files["output"].decode())

    @property
    def launched_runs(self) -> tuple[str, ...]:
        """Return the runs that it launched, even if it got no response."""
        return tuple(request.launched_run for request in self.requests if request.launched_run)

    @cached_property
    def reported(self) -> str:
        """Return the verdict output, or an empty string."""
        return _or_empty(lambda: self.outputs.get("verdict", ""))

    @property
    def verdict(self) -> str:
        """Return the verdict output, or an empty string, as for a process that was killed."""
        return "" if self.killed is not None else self.reported

    @property
    def run_id(self) -> str:
        """Return the run_id output, or an empty string."""
        return _or_empty(lambda: self.outputs.get("run_id", ""))

    @cached_property
    def run_ids(self) -> tuple[str, ...]:
        """Return the run_ids output: the first run and its repetitions, as far as the step knows their ids."""
        return tuple(json.loads(_or_empty(lambda: self.outputs.get("run_ids", "")) or "[]"))


class Retagging(NamedTuple):
    """A change of a run's tags `at` a time on Coval's clock. `process`: its step and whether it was a post step."""

    at: float
    run_id: str
    before: frozenset[str]
    after: frozenset[str]
    process: tuple[int, bool] | None


@dataclass(frozen=True, kw_only=True)
class History:
    """Everything that happened in a schedule."""

    schedule: Schedule
    results: tuple[ProcessResult, ...]
    world: World
    retaggings: tuple[Retagging, ...]
    statuses: tuple[dict[str, Any], ...]  # of the commit, in their order
    check_runs: tuple[CheckRun, ...]
    ended: float
    fault_count: int
    tagged: Mapping[str, float]  # when runs got the tag of the process that answered them, on the simulated clock

    @property
    def runs(self) -> dict[str, RunRecord]:
        """Return all runs that were ever launched, by id."""
        return {run.run_id: run for run in self.world.runs}

    def tags(self, record: RunRecord, at: float) -> frozenset[str]:
        """Return the tags of a run at a time on Coval's clock."""
        later = (change.before for change in self.retaggings if change.run_id == record.run_id and change.at > at)
        return next(later, frozenset(record.tags))

    def coval_time(self, seconds: float) -> float:
        """Convert a simulated time to the time on Coval's clock."""
        return EPOCH + seconds + self.schedule.skew


class Agents(World):
    """A world in which the base agent's runs may have a scenario of their own, which a test set names."""

    def __init__(self, base_test_set: str, clock: Callable[[], float], *, seed: int, quirks: Quirks) -> None:
        super().__init__(clock, seed=seed, quirks=quirks)
        self._base_test_set = base_test_set
        self.retaggings: list[Retagging] = []
        self.process: tuple[int, bool] | None = None  # which sends requests

    def update_run(self, run_id: str, body: object) -> dict[str, Any]:
        before, shown = frozenset(self._find(run_id).tags), super().update_run(run_id, body)
        after = frozenset(self._find(run_id).tags)
        self.retaggings.append(Retagging(self.clock(), run_id, before, after, self.process))
        return shown

    def launch(self, body: object) -> dict[str, Any]:
        later = self.scenario  # of all runs, after an event
        if self._base_test_set and isinstance(body, dict) and body.get("agent_id") == catalogue.AGENT_ID:
            self.scenario = later or for_test_set(self._base_test_set)
        try:
            return super().launch(body)
        finally:
            self.scenario = later


def simulate(schedule: Schedule) -> History:
    """Simulate a schedule from start to end."""
    parent = MEMORY_DISK if MEMORY_DISK.is_dir() else None
    with tempfile.TemporaryDirectory(dir=parent, prefix="campaign-") as directory:
        return _Simulator(schedule, Path(directory)).run()


@dataclass
class _Simulator:
    """The simulation of one schedule."""

    schedule: Schedule
    directory: Path
    results: list[ProcessResult] = field(default_factory=list)
    tagged: dict[str, float] = field(default_factory=dict)
    process_has_left: bool = True
    running: ProcessResult | None = None

    def __post_init__(self) -> None:
        self.clock = SimulatedClock()
        self.rng = random.Random(f"chance/{self.schedule.seed}")
        self.world = Agents(
            self.schedule.base_test_set,
            lambda: EPOCH + self.clock.now() + self.schedule.skew,
            seed=self.schedule.seed,
            quirks=self.schedule.quirks,
        )
        self.api = Api(self.world)
        self.coval = Host(
            "127.0.0.1",
            self._answer,
            self.clock,
            faults=self.schedule.faults,
            outages=self.schedule.outages,
            latency=self.schedule.latency,
        )
        self.fake = FakeGitHub(now=self.clock.time)
        self.fake.add_pull_request(PULL_REQUEST["pull_request"]["number"], HEAD)
        self.github = Host(
            "localhost",
            self._answer_of_github,
            self.clock,
            outages=self.schedule.github_outages,
            latency=GITHUB_LATENCY,
        )
        if self.schedule.holder:
            self._launch_holder()
        if self.schedule.process:
            with_own_builds(self.world)

    def run(self) -> History:
        """Run all steps, and the post steps at the end of each job."""
        for event in self.schedule.events:
            self.clock.at(event.at, lambda event=event: self._apply_event(event))  # type: ignore[misc]
        job: list[ProcessResult] = []
        for number, step in enumerate(self.schedule.steps):
            if job and step.job != job[0].step.job:
                self._run_post_steps(job)
            self.clock.advance(step.pause if number else 0.0)
            result = self._run_process(step, number, self._previous_runs(step))
            self.results.append(result)
            job.append(result)
            if self.schedule.process:
                self._follow(result, self.schedule.process)
        self._run_post_steps(job)
        self.clock.advance(SETTLE_TIME)
        ended = self.clock.now()
        while not self.process_has_left:  # its tag may come when no step looks for it any more
            self.clock.advance(TICK)
        return History(
            schedule=self.schedule,
            results=tuple(self.results),
            world=self.world,
            retaggings=tuple(self.world.retaggings),
            statuses=tuple(self.fake.statuses.get(HEAD, [])),
            check_runs=tuple(self.fake.check_runs),
            ended=ended,
            fault_count=self.coval.fault_count,
            tagged=self.tagged,
        )

    def _prepare(self, step: Step, workspace: Path) -> None:
        """Put into the workspace of a step what is there before it begins: the file with its legs."""
        if path := step.inputs.get("config_path"):
            file = workspace / path
            file.parent.mkdir(parents=True, exist_ok=True)
            legs = {leg.name: leg.inputs for leg in step.listed}
            if "only_legs" in step.inputs:  # another leg with the ids of the first
                legs = {"not selected": step.listed[0].inputs | {"iteration_count": "2"}, **legs}
            given = {"legs": legs} if legs else {}
            filed = {name: step.inputs[name] for name in step.filed if name in step.inputs}
            file.write_text(json.dumps(filed | given, ensure_ascii=False, indent=2), encoding="utf-8")

    def _follow(self, result: ProcessResult, process: Process) -> None:
        """Start the process that answers the run of a launch; the next step may wait for it."""
        runs = [run for run in self.world.runs if run.run_id == result.run_id]
        if result.step.mode != "launch" or result.exit_code or not runs:
            return
        self.process_has_left = False
        self._look(runs[0], process, self.clock.now() + LONGEST)
        while process.waits and not self.process_has_left:
            self.clock.advance(TICK)

    def _look(self, run: RunRecord, process: Process, until: float) -> None:
        """Make the process look at its run, now and later, until the run is over."""
        now, is_over = self.clock.now(), run.finished(self.world.clock())
        was_ended = run.delete_time is not None or run.cancel_time is not None
        if was_ended or now > until or (is_over and process.late is None):
            self.process_has_left = True
        elif is_over:
            self.clock.at(now + (process.late or 0.0), lambda: self._tag(run))
        else:
            self.clock.at(now + TICK, lambda: self._look(run, process, until))

    def _tag(self, run: RunRecord) -> None:
        self.process_has_left = True
        with suppress(Problem):  # it was cancelled
            self.world.update_run(run.run_id, {"tags": [*run.tags, ATTACHED]})
            self.tagged[run.run_id] = self.clock.now()

    def _run_post_steps(self, job: list[ProcessResult]) -> None:
        for result in reversed(job):
            if result.step.post:
                self.clock.advance(POST_DELAY)
                self.results.append(
                    self._run_process(result.step, result.number, result.given_runs, main_result=result)
                )
        job.clear()

    def _previous_runs(self, step: Step) -> tuple[str, ...]:
        if step.mode == "wait":
            earlier = [result for result in self.results if not result.is_post]
            return () if "run_id" in step.inputs else earlier[-1].run_ids
        results = self.results if step.mode == "cancel" else []
        return tuple(result.run_id for result in results if result.run_id)

    def _run_process(
        self, step: Step, number: int, run_ids: tuple[str, ...], main_result: ProcessResult | None = None
    ) -> ProcessResult:
        """Run one process until it ends or is killed: the post step if there is a `main_result`."""
        directory = self.directory / f"{number}{'-post' if main_result else ''}"
        directory.mkdir()
        for_pull_request = step.event == "pull_request" and not step.branch
        event = PULL_REQUEST if for_pull_request else {"ref": f"refs/heads/{step.branch or 'main'}"}
        runner = LocalRunner(directory, event)
        if main_result is None:
            self._prepare(step, runner.workspace)
        connection = self.coval.connect()
        inputs = DEFAULTS | IDS | {"test_set_id": self.schedule.test_set, "api_key": KEY}
        inputs |= {"api_base_url": connection.url + BASE}
        inputs |= {name: value for name, value in step.inputs.items() if step.mode in MODES_OF.get(name, ("run",))}
        inputs |= {"mode": step.mode} | ({"run_id": ",".join(run_ids)} if run_ids else {})
        inputs |= {"matrix": json.dumps({"region": step.matrix})} if step.matrix else {}
        inputs |= dict.fromkeys(step.filed, "")
        environ = runner.environ(inputs) | {
            "GITHUB_ACTION": step.action,
            "GITHUB_RUN_ID": step.workflow_run,
            "GITHUB_RUN_ATTEMPT": str(step.attempt),
            "GITHUB_API_URL": self.github.connect().url,
            "GITHUB_EVENT_NAME": step.event,
        }
        environ |= {"GITHUB_HEAD_REF": "", "GITHUB_SHA": HEAD} if step.event != "pull_request" else {}
        if step.branch:
            environ |= {"GITHUB_HEAD_REF": "", "GITHUB_REF": f"refs/heads/{step.branch}"}
            environ |= {"GITHUB_EVENT_NAME": "push"} if step.event == "pull_request" else {}
        if main_result:
            environ |= {f"STATE_{name}": value for name, value in _saved_state(main_result).items()}
        result = ProcessResult(
            step=step,
            number=number,
            is_post=main_result is not None,
            given_runs=run_ids,
            requests=connection.requests,
            began=self.clock.now(),
        )
        self.running = result
        self._aim_signal(result, connection, step.post_signal if main_result else step.signal)
        if step.file_fault and not main_result:
            self._apply_file_fault(result, step.file_fault, environ)
        self._run(result, environ, directory)
        return result

    def _run(self, result: ProcessResult, environ: dict[str, str], directory: Path) -> None:
        """Run a process until it ends or is killed; what a killed one does while its code unwinds does not count."""
        log = io.StringIO()

        def end() -> None:
            if self.running is result:
                self.running = None
                result.log, result.files = log.getvalue(), _read_files(directory)
                self.coval.disconnect()
                self.github.disconnect()

        def kill() -> None:
            if self.running is result:
                result.killed = self.clock.now()
            end()

        self.world.process = result.number, result.is_post
        self.clock.begin_process(kill)
        runtime = Runtime(
            environ=environ, stdout=log, clock=self.clock, new_session=self._new_session, randomness=self.rng
        )
        try:
            exit_code = (post if result.is_post else main)(runtime)
            result.exit_code = exit_code if result.killed is None else None
        except Killed:
            pass
        except Stuck:
            result.crash = "does not end"
            kill()
        except BaseException:  # noqa: BLE001 - any unhandled exception is a finding
            result.crash = traceback.format_exc()
        end()
        self.clock.join_threads()
        result.ended, result.interrupted = self.clock.now(), next(iter(self.clock.signalled_at), None)

    def _new_session(self) -> Session:
        session = HttpSession()
        for host in (self.coval, self.github):
            session.mount(f"http://{host.address}", host)
        return session

    def _answer(self, sent: SentRequest, headers: dict[str, str]) -> Reply:
        """Apply a request in the sandbox."""
        before = len(self.world.runs)
        reply = self.api.answer(sent.method, BASE + sent.path, sent.query, headers, sent.body)
        if sent.method == "POST" and len(self.world.runs) > before:
            sent.launched_run = self.world.runs[-1].run_id
        return reply

    def _answer_of_github(self, sent: SentRequest, headers: dict[str, str]) -> Reply:
        query = dict(parse_qsl(sent.query))
        response = self.fake.respond_to(SeenRequest(sent.method, sent.path, query, headers, sent.body))
        assert response is not None  # it has no faults of its own
        return Reply(response.status, response.content, response.headers)

    def _aim_signal(self, process: ProcessResult, connection: Connection, planned: Signal | None) -> None:
        """Schedule the signal of this process."""
        self.clock.on_check = lambda _: None
        if planned is None:
            return

        def send() -> None:
            if self.running is not process:
                return
            self.clock.signal(kill=planned.kill)
            if not planned.kill:
                self.clock.at(self.clock.now() + KILL_AFTER, kill)

        def kill() -> None:
            if self.running is process:
                self.clock.signal(kill=True)

        if planned.at is not None:
            self.clock.at(self.clock.now() + planned.at, send)
        elif planned.request is not None:
            connection.triggers[planned.method, planned.path, planned.request] = (planned.phase, send)
        else:
            self.clock.on_check = lambda number: send() if number == planned.check else None

    def _apply_file_fault(self, process: ProcessResult, file_fault: FileFault, environ: dict[str, str]) -> None:
        names = {"output": "GITHUB_OUTPUT", "state": "GITHUB_STATE", "summary": "GITHUB_STEP_SUMMARY"}
        variable = names.get(file_fault.file, "GITHUB_EVENT_PATH")
        if file_fault.kind == "missing":
            del environ[variable]
            return
        file = Path(environ[variable])

        def break_file() -> None:
            if self.running is not process or not file.exists():
                return
            file.rename(file.with_name(f"{file.name}.aside"))
            if file_fault.kind == "directory":
                file.mkdir()
            else:
                file.symlink_to("/dev/full")

        if file_fault.at:
            self.clock.at(self.clock.now() + file_fault.at, break_file)
        else:
            break_file()

    def _apply_event(self, event: Event) -> None:
        match event.kind:
            case "revoke":
                self.world.api_keys.pop(KEY, None)
            case "recover" | "regress" | "stall":
                self.world.scenario = LATER[event.kind]
            case "jump":
                self.clock.wall_offset += event.amount
            case "fail newest":
                self._fail_newest()
            case "run schedule":
                self.world.run_schedule(catalogue.SCHEDULES[0].id)

    def _launch_holder(self) -> None:
        """Launch a run that has the tag of baselines, as if a step elsewhere had given it that."""
        self.world.launch({**IDS, "test_set_id": self.schedule.test_set, "metadata": {"tags": ["nightly", STABLE]}})

    def _fail_newest(self) -> None:
        """Mark the newest run that has ended, as a step does that judges it as well."""
        ended = [run for run in self.world.runs if run.finished(self.world.clock()) and run.delete_time is None]
        for newest in ended[-1:]:
            process, self.world.process = self.world.process, None
            with suppress(Problem):  # a cancelled run may be gone
                self.world.update_run(newest.run_id, {"tags": [*newest.tags, FAILED]})
            self.world.process = process


def _saved_state(result: ProcessResult) -> dict[str, str]:
    """Return the state that a process saved; empty if it is malformed."""
    try:
        return read_entries(result.files["state"].decode())
    except ValueError:
        return {}


def _or_empty(read: Callable[[], str]) -> str:
    try:
        return read()
    except (ValueError, KeyError):
        return ""


def _read_files(directory: Path) -> dict[str, bytes]:
    """Return all files by path; what was moved aside has its original name."""
    files: dict[str, bytes] = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not path.is_symlink():
            name = str(path.relative_to(directory)).replace(".aside", "")
            files[name] = path.read_bytes()
    return files
