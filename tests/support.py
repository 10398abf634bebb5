"""Shared test helpers: a virtual clock, a client, and a function that runs the main step."""

import io
import json
import math
import random
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from coval_gate.base.clock import Clock, Interrupted
from coval_gate.base.runtime import Runtime
from coval_gate.base.times import Times
from coval_gate.ci.host import Context
from coval_gate.coval.client import Client, Session, server_of
from coval_gate.coval.model import LaunchRequest
from coval_gate.features.systems.plain import PlainHost
from coval_gate.inputs.checks import check_inputs
from coval_gate.inputs.inputs import Input, Inputs, declared, parse_inputs
from coval_gate.step.main import main
from coval_sandbox.plan import RunRecord
from coval_sandbox.runner import PULL_REQUEST, Command, LocalRunner, read_log

H = TypeVar("H")

KEY = "coval_sk_test_sandbox"
REAL_SLICE = 0.05  # s of real time between two checks of an outstanding request
TALLY = "tally"  # property of a test report that is printed at the end
EPOCH = 1_767_225_600.0  # 1 January 2026
IDS = {
    "agent_id": "agent00000000000000001",
    "persona_id": "persona000000000000001",
    "test_set_id": "passing1",
}
REQUEST = LaunchRequest(IDS["agent_id"], IDS["persona_id"], IDS["test_set_id"])
DEFAULTS = {entry.name: entry.default for entry in declared()}


class LateModule:
    """A module that Python imports when a test first uses it.

    All of pytest's processes import all test modules, and Coval's SDK alone would take half of that time.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # pytest looks for `__wrapped__` in all that a test module names
            raise AttributeError(attribute)
        return getattr(import_module(self._name), attribute)


def other_value(given: Input) -> str:
    """Return a valid value of an input that differs from its default."""
    samples = {
        "text": "text",
        "id": "id1",
        "ids": "a,b",
        "id or ids": "a,b",
        "ids or newest run": "a,b",
        "list": "a,b",
        "whole number": "1" if given.default == "0" else "5",
        "seconds": "77",
    }
    samples |= {
        "true or false": "",
        "JSON object": '{"a": 1}',
        "thresholds": "total >= 1",
        "number or %": "7%",
        "percentage": "90%",
        "age": "7d",
        "baseline": "branch:main",
        "tag": "stable",
        "reference": "tag:golden",
    }
    samples |= {"URL": "https://example.com", "path": "a.json", "secret": "secret0123456789"}
    words = [word.strip("`") for word in given.field.name.split(", ") if word.startswith("`")]
    other = next((word for word in words if word != given.default), "")
    flag = {"true": "false", "false": "true"}.get(given.default, "true")
    return other or samples[given.field.name] or flag


def environ_of(**inputs: str) -> dict[str, str]:
    """Return the variables of a step with the defaults of action.yml, a key, ids of the sandbox, and `inputs`."""
    return {f"INPUT_{name.upper()}": text for name, text in (DEFAULTS | {"api_key": KEY} | IDS | inputs).items()}


def inputs_of(**inputs: str) -> Inputs:
    """Return these inputs, whether or not a step could run with them."""
    parsed, problems = parse_inputs({f"INPUT_{name.upper()}": text for name, text in inputs.items()})
    assert not problems
    return parsed


def read_inputs(environ: Mapping[str, str], context: Context) -> Inputs:
    """Parse and check all inputs, as the action does. Raises InputError with all problems."""
    inputs, problems = parse_inputs(environ)
    check_inputs(inputs, problems, environ, context.secrets_withheld_from, variables=context.variables)
    return inputs


class VirtualClock:
    """A clock whose time passes only while a caller sleeps."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._now = 0.0
        self._alarms: list[tuple[float, Callable[[], object]]] = []
        self._interrupted = self._interrupt_raised = False
        self._waited = 0.0  # real seconds

    def now(self) -> float:
        return self._now

    def time(self) -> float:
        return EPOCH + self._now

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Schedule an action at a time since the clock's start."""
        self._alarms = sorted([*self._alarms, (seconds, action)], key=lambda alarm: alarm[0])

    def interrupt(self) -> None:
        """Interrupt the process, as a signal does."""
        self._interrupted = True

    def rearm(self) -> None:
        """Begin another process, which can be interrupted again."""
        self._interrupted = self._interrupt_raised = False

    def wait(self, event: threading.Event, until: float) -> None:
        """Wait for an outstanding request in real time; when `until` has passed, it is the virtual time, too.

        It counts what the request could use: time in which a busy machine does not run this process does not count.
        """
        self._waited = 0.0 if event.wait(REAL_SLICE) else self._waited + REAL_SLICE
        if self._waited >= until - self._now:
            self._now, self._waited = until, 0.0
        self.check()

    def check(self) -> None:
        if self._interrupted and not self._interrupt_raised:
            self._interrupt_raised = True
            raise Interrupted

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        end = self._now + seconds
        while self._alarms and self._alarms[0][0] <= end:
            at, action = self._alarms.pop(0)
            self._now = max(self._now, at)
            action()
            self.check()
        self._now = end
        self.check()


def runtime(clock: Clock, **given: Any) -> Runtime:
    """Return a runtime with an empty environment, a new log and deterministic randomness, unless `given`."""
    defaults: dict[str, Any] = {"environ": {}, "stdout": io.StringIO(), "clock": clock, "randomness": random.Random(0)}
    return Runtime(**defaults | given)


def host_of(
    kind: Callable[[Runtime], H], log: io.StringIO | None = None, environ: Mapping[str, str] | None = None
) -> H:
    """Return a host with a virtual clock, and a new log unless one is given."""
    return kind(runtime(VirtualClock(), stdout=log or io.StringIO(), environ=environ or {}))


def new_client(
    url: str,
    clock: Clock,
    *,
    log: Callable[[str], None] = lambda _: None,
    workspace_id: str = "",
    ends: float = math.inf,
    **server: Any,
) -> Client:
    """Return a client of the API at `url`, as the action creates it; `server` replaces fields of Server."""
    inputs = inputs_of(api_key=KEY, api_base_url=url, workspace_id=workspace_id)
    return Client(server_of(inputs)._replace(**server), runtime(clock), log, ends=ends)


def new_session(client: Client, clock: Clock, *, deadline: float, **inputs: str) -> Session:
    """Return a session of a step on a plain terminal, with these inputs."""
    host, times = host_of(PlainHost), Times.for_step(clock.now(), deadline - clock.now())
    return Session(client, host, clock, random.Random(0), inputs_of(**inputs), deadline, times)


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of a step: its exit code, its log, and the contents of its runner files."""

    exit_code: int
    log: str
    outputs: dict[str, str]
    state: dict[str, str]
    summary: str
    workspace: Path

    @property
    def post_step_cancels(self) -> bool:
        """Return whether the post step must cancel a run."""
        return any("cancel" in run["duties"] for run in self.saved_runs)

    @property
    def saved_runs(self) -> list[dict[str, Any]]:
        return saved_runs(self.state)

    @property
    def junit(self) -> str:
        """Return the JUnit report from reports/junit.xml."""
        return (self.workspace / "reports" / "junit.xml").read_text(encoding="utf-8")

    @property
    def json(self) -> str:
        """Return the JSON report from reports/coval.json."""
        return (self.workspace / "reports" / "coval.json").read_text(encoding="utf-8")

    @property
    def commands(self) -> list[Command]:
        """Return the workflow commands in the log, as the runner parses them."""
        return read_log(self.log)

    def annotations(self, level: str) -> list[Command]:
        """Return the annotations of one level: "error", "warning" or "notice"."""
        return [command for command in self.commands if command.name == level]


def run_main_step(
    directory: Path,
    url: str,
    clock: VirtualClock,
    *,
    event: Mapping[str, Any] = PULL_REQUEST,
    env: Mapping[str, str] | None = None,
    **inputs: str,
) -> StepResult:
    """Run the main step against the API at `url`, with the defaults of action.yml, ids of the sandbox, and `inputs`."""
    runner = LocalRunner(directory, event)
    environ = runner.environ(DEFAULTS | {"api_key": KEY, "api_base_url": url} | IDS | inputs)
    log = io.StringIO()
    exit_code = main(Runtime(environ=environ | dict(env or {}), stdout=log, clock=clock))
    return StepResult(exit_code, log.getvalue(), runner.outputs, runner.state, runner.summary, runner.workspace)


def saved_runs(state: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what a step saved of its runs for the post step."""
    texts = [text for name, text in state.items() if re.fullmatch(r"legs(_\d+)?", name)]
    return [run for text in texts for run in json.loads(text)]


def state_of(record: RunRecord) -> dict[str, Any]:
    """Return what a step saves of a run that it guards, so that its post step cancels it."""
    metadata = record.body["metadata"]
    return {
        "leg": metadata["customer"].get("coval_gate_leg", ""),
        "key": metadata["tags"][0],
        "run_id": record.run_id,
        "ids": {name: record.body[name] for name in IDS},
        "phase": "followed",
        "duties": ["cancel"],
    }
