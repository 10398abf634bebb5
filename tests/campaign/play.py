"""Plays a schedule: the whole road, from the environment to the files, on a clock that only waiting moves."""

from __future__ import annotations

import io
import random
import signal
import tempfile
import threading
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from campaign.moments import Killed, Moments, Stuck
from campaign.wire import Line, Sent, Wire
from coval_gate.main import main
from coval_gate.post import post
from coval_gate.runtime import Runtime
from coval_sandbox.problems import Problem
from coval_sandbox.runner import LocalRunner, read_entries
from coval_sandbox.world import World
from support import DEFAULTS, EPOCH, IDS, KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from campaign.schedule import Event, Schedule, Signal, Step, Trouble
    from coval_sandbox.state import RunRecord

REAL_TIME: Final = 30  # s that a play may take; it takes less than a tenth of one
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where there is one, files cost nothing
KILL_AFTER: Final = 10.0  # s from the first signal, as GitHub's runner does it
RUNNER_FILES: Final = ("output", "state", "summary.md", "event.json")
STILL_UNDER_WAY: Final = 5.0  # s for requests that were sent, but not yet heeded, when their process ended
POST_DELAY: Final = 1.0  # s until a job's post steps run


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What is left of one process: a step's main part or its post step.

    `files`: everything in its directory, the runner's files and the workspace; `crash`: what it let out, which must be
    nothing. Times are seconds of the play.
    """

    step: Step
    number: int
    is_post: bool
    given_run: str  # the run that the modes wait and cancel were given
    began: float
    ended: float
    exit_code: int | None  # None: killed
    signalled: float | None
    killed: float | None
    crash: str
    deaf: bool
    log: str
    files: dict[str, bytes]
    sent: tuple[Sent, ...]

    @property
    def outputs(self) -> dict[str, str]:
        """Raises ValueError where the runner would."""
        return read_entries(self.files["output"].decode())

    @property
    def created(self) -> tuple[str, ...]:
        """The runs that it launched, whether it came to know or not."""
        return tuple(each.created for each in self.sent if each.created)

    @property
    def verdict(self) -> str:
        """Its verdict; empty where there is none."""
        return "" if self.killed is not None else _or_nothing(lambda: self.outputs.get("verdict", ""))

    @property
    def run_id(self) -> str:
        """The run that its outputs name."""
        return _or_nothing(lambda: self.outputs.get("run_id", ""))


@dataclass(frozen=True, kw_only=True)
class Played:
    """What is left of a play. `runs` are all that there ever were; `strangers` and `deleted` are ids."""

    schedule: Schedule
    taken: tuple[Taken, ...]
    world: World
    strangers: tuple[str, ...]
    deleted: tuple[str, ...]  # by somebody else
    ended: float
    met: int  # faults

    @property
    def runs(self) -> dict[str, RunRecord]:
        return {each.run_id: each for each in self.world.runs}

    def launcher(self, run_id: str) -> Taken | None:
        """The process that launched a run."""
        return next((each for each in self.taken if run_id in each.created), None)

    def coval_time(self, moment: float) -> float:
        """A moment of the play on Coval's clock."""
        return EPOCH + moment + self.schedule.skew


def play(schedule: Schedule) -> Played:
    """Play a schedule from the beginning to the end."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None, prefix="campaign-") as directory:
        return Player(schedule, Path(directory)).play()


@dataclass
class Player:
    """One play."""

    schedule: Schedule
    directory: Path
    taken: list[Taken] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.moments = Moments()
        self.chance = random.Random(f"chance/{self.schedule.seed}")
        self.world = World(
            lambda: EPOCH + self.moments.now() + self.schedule.skew,
            seed=self.schedule.seed,
            quirks=self.schedule.quirks,
        )
        self.wire = Wire(
            self.world,
            self.moments,
            faults=self.schedule.faults,
            outages=self.schedule.outages,
            latency=self.schedule.latency,
        )

    def play(self) -> Played:
        """Every step, and the post steps at the end of their job."""
        for event in self.schedule.events:
            self.moments.at(event.at, lambda event=event: self._happen(event))  # type: ignore[misc]
        if self.schedule.stranger:
            self.wire.before_launch.append(self._launch_strange)
        with _watched():
            waiting: list[Taken] = []
            for number, step in enumerate(self.schedule.steps):
                if waiting and (step.workflow_run, step.attempt) != _job(waiting[0]):
                    self._end_job(waiting)
                self.moments.pass_by(step.pause if number else 0.0)
                taken = self._take(step, number, self._run_before(step))
                self.taken.append(taken)
                waiting.append(taken)
            self._end_job(waiting)
            self.moments.pass_by(STILL_UNDER_WAY)
        return Played(
            schedule=self.schedule,
            taken=tuple(self.taken),
            world=self.world,
            strangers=tuple(self.strangers),
            deleted=tuple(self.deleted),
            ended=self.moments.now(),
            met=self.wire.met,
        )

    def _end_job(self, waiting: list[Taken]) -> None:
        for taken in reversed(waiting):
            if taken.step.post:
                self.moments.pass_by(POST_DELAY)
                self.taken.append(self._take(taken.step, taken.number, "", main_part=taken))
        waiting.clear()

    def _run_before(self, step: Step) -> str:
        return self.taken[-1].run_id if self.taken and step.mode in ("wait", "cancel") else ""

    def _take(self, step: Step, number: int, run_id: str, main_part: Taken | None = None) -> Taken:
        """Run one process until it ends or is killed."""
        directory = self.directory / f"{number}{'-post' if main_part else ''}"
        directory.mkdir()
        runner = LocalRunner(directory)
        line, url = self.wire.new_line()
        inputs = DEFAULTS | IDS | {"test_set_id": self.schedule.test_set, "api_key": KEY, "api_base_url": url}
        inputs |= {name: value for name, value in step.given.items() if name in DEFAULTS}
        inputs |= {"mode": step.mode} | ({"run_id": run_id} if run_id else {})
        environ = runner.environ(inputs) | {
            "GITHUB_ACTION": step.action,
            "GITHUB_RUN_ID": step.workflow_run,
            "GITHUB_RUN_ATTEMPT": str(step.attempt),
        }
        if main_part:
            environ |= {f"STATE_{name}": value for name, value in read_entries_or_none(main_part).items()}
        process = _Process(self.moments, line, directory)
        self.moments.begin_step()
        self.moments.on_kill = lambda: self._die(process)
        self._aim(process, step.post_signal if main_part else step.signal)
        if step.trouble and not main_part:
            self._trouble(process, step.trouble, environ)
        runtime = Runtime(
            environ=environ,
            stdout=process.log,
            clock=self.moments,
            new_session=self.wire.new_session,
            randomness=self.chance,
        )
        process.run(runtime, post if main_part else main)
        self.wire.hang_up(process.line)
        self.moments.settle()
        given_run = main_part.given_run if main_part else run_id
        return process.taken(step, number, is_post=main_part is not None, given_run=given_run)

    def _die(self, process: _Process) -> None:
        process.die()
        self.wire.hang_up(process.line)

    def _aim(self, process: _Process, aimed: Signal | None) -> None:
        """Have the schedule's signal hit this process."""
        self.moments.on_check = lambda _: None
        if aimed is None:
            return

        def hit() -> None:
            if process.over:
                return
            self.moments.signal(kill=aimed.kill)
            if not aimed.kill:
                self.moments.at(self.moments.now() + KILL_AFTER, kill)

        def kill() -> None:
            if not process.over:
                self.moments.signal(kill=True)

        if aimed.at is not None:
            self.moments.at(self.moments.now() + aimed.at, hit)
        elif aimed.request is not None:
            process.line.triggers[aimed.method, aimed.path, aimed.request] = (aimed.phase, hit)
        else:
            self.moments.on_check = lambda number: hit() if number == aimed.check else None

    def _trouble(self, process: _Process, trouble: Trouble, environ: dict[str, str]) -> None:
        names = {"output": "GITHUB_OUTPUT", "state": "GITHUB_STATE", "summary": "GITHUB_STEP_SUMMARY"}
        variable = names.get(trouble.file, "GITHUB_EVENT_PATH")
        if trouble.what == "missing":
            del environ[variable]
            return
        file = Path(environ[variable])

        def spoil() -> None:
            if process.over:
                return
            file.rename(file.with_name(f"{file.name}.aside"))
            if trouble.what == "directory":
                file.mkdir()
            else:
                file.symlink_to("/dev/full")

        if trouble.at:
            self.moments.at(self.moments.now() + trouble.at, spoil)
        else:
            spoil()

    def _happen(self, event: Event) -> None:
        match event.what:
            case "revoke":
                self.world.api_keys.pop(KEY, None)
            case "jump":
                self.moments.jumped += event.amount
            case "delete":
                ours = [each.run_id for each in self.world.runs if each.run_id not in self.strangers]
                for run_id in ours[-1:]:
                    self.deleted.append(run_id)
                    with suppress(Problem):
                        self.world.delete_run(run_id)
                        self.world.delete_run(run_id)

    def _launch_strange(self, sent: Sent) -> None:
        """Somebody in another repository has just launched the same, with the same display name, too."""
        import json

        body: Any = json.loads(sent.body)
        tagged = {
            **body["metadata"],
            "tags": ["coval-gate/4711.1/0123456789ab/fedcba98", "nightly"],
            "customer": {"github_repository": "acme/chat-agent"},
        }
        body["metadata"] = tagged if self.schedule.stranger == "tagged" else {}
        self.world.launch(body)
        self.strangers.append(self.world.runs[-1].run_id)


class _Process:
    """A process while it runs: its end of the wire and its directory."""

    def __init__(self, moments: Moments, line: Line, directory: Path) -> None:
        self._moments = moments
        self.line = line
        self._directory = directory
        self.log = io.StringIO()
        self._began = moments.now()
        self._left: tuple[str, dict[str, bytes]] | None = None
        self._killed: float | None = None
        self._crash = ""
        self._exit_code: int | None = None
        self.over = False

    def run(self, runtime: Runtime, part: Callable[[Runtime], int]) -> None:
        """Run it to its end."""
        try:
            self._exit_code = part(runtime)
        except Killed:
            pass
        except Stuck:
            self._crash = "does not come to an end"
            self.die()
        except BaseException:  # noqa: BLE001 - whatever it lets out is a finding
            self._crash = traceback.format_exc()
        self.over = True

    def die(self) -> None:
        """Keep what it wrote up to now: its code may still unwind, but a killed process writes no more."""
        if self._left is None:
            self._left = (self.log.getvalue(), _files(self._directory))
            self._killed = self._moments.now()
            self.over = True

    def taken(self, step: Step, number: int, *, is_post: bool, given_run: str) -> Taken:
        log, files = self._left or (self.log.getvalue(), _files(self._directory))
        return Taken(
            step=step,
            number=number,
            is_post=is_post,
            given_run=given_run,
            began=self._began,
            ended=self._moments.now(),
            exit_code=self._exit_code if self._killed is None else None,
            signalled=self._moments.signalled[0] if self._moments.signalled else None,
            killed=self._killed,
            crash=self._crash,
            deaf=self._moments.deaf,
            log=log,
            files=files,
            sent=tuple(self.line.sent),
        )


def read_entries_or_none(taken: Taken) -> dict[str, str]:
    """The state that a process saved."""
    try:
        return read_entries(taken.files["state"].decode())
    except ValueError:
        return {}


def _job(taken: Taken) -> tuple[str, int]:
    return taken.step.workflow_run, taken.step.attempt


def _or_nothing(read: Callable[[], str]) -> str:
    try:
        return read()
    except (ValueError, KeyError):
        return ""


def _files(directory: Path) -> dict[str, bytes]:
    """Every file by its path; a runner's file that was moved aside under its own name."""
    found: dict[str, bytes] = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not path.is_symlink():
            name = str(path.relative_to(directory)).removesuffix(".aside")
            found[name] = path.read_bytes()
    return found


@contextmanager
def _watched() -> Iterator[None]:
    """A play that takes far too long in real time is ended, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(*_: object) -> None:
        raise Stuck

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, REAL_TIME)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
