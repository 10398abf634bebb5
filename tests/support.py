"""What several tests build on: time under control, and one trip down the whole road."""

from __future__ import annotations

import io
import json
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from coval_gate.clock import Interrupted
from coval_gate.config.checks import check_inputs
from coval_gate.config.inputs import Inputs, declared, parse_inputs
from coval_gate.coval.client import Client, server_of
from coval_gate.main import main
from coval_gate.runtime import Runtime
from coval_sandbox.runner import PULL_REQUEST, Command, LocalRunner, read_log

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from coval_gate.ci.context import Context
    from coval_gate.clock import Clock

KEY = "coval_sk_test_sandbox"
REAL_SLICE = 0.05  # s between two looks at a call that is under way
TALLY = "tally"  # the property of a test's report that is printed at the end
EPOCH = 1_767_225_600.0  # 1 January 2026
IDS = {
    "agent_id": "agent00000000000000001",
    "persona_id": "persona000000000000001",
    "test_set_id": "passing1",
}
DEFAULTS = {each.name: each.default for each in declared()}


def read_inputs(environ: Mapping[str, str], context: Context) -> Inputs:
    """Parse and check all inputs, as the road does. Raises InputError with every problem at once."""
    inputs, problems = parse_inputs(environ)
    check_inputs(inputs, problems, environ, context.secrets_withheld_from)
    return inputs


class VirtualClock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._passed = 0.0
        self._alarms: list[tuple[float, Callable[[], object]]] = []
        self._told = self._heeded = False
        self._waits_since: float | None = None  # real seconds

    def now(self) -> float:
        return self._passed

    def time(self) -> float:
        return EPOCH + self._passed

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something once that much time has passed since the beginning."""
        self._alarms = sorted([*self._alarms, (seconds, action)], key=lambda alarm: alarm[0])

    def interrupt(self) -> None:
        """Tell the process that it has to end, as a signal does."""
        self._told = True

    def wait(self, event: threading.Event, until: float) -> None:
        """Let real time pass for a call that is under way; as much of it as `until` allows brings that moment."""
        began = self._waits_since = self._waits_since or time.monotonic()
        if event.wait(REAL_SLICE):
            self._waits_since = None
        elif time.monotonic() - began >= until - self._passed:
            self._passed, self._waits_since = until, None
        self.check()

    def check(self) -> None:
        if self._told and not self._heeded:
            self._heeded = True
            raise Interrupted

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        end = self._passed + seconds
        while self._alarms and self._alarms[0][0] <= end:
            at, action = self._alarms.pop(0)
            self._passed = max(self._passed, at)
            action()
            self.check()
        self._passed = end
        self.check()


def runtime(clock: Clock, **given: Any) -> Runtime:
    """A runtime with nothing but a clock, a log of its own, and chance that is the same each time."""
    usual: dict[str, Any] = {"environ": {}, "stdout": io.StringIO(), "clock": clock, "randomness": random.Random(0)}
    return Runtime(**usual | given)


def new_client(
    url: str, clock: Clock, *, log: Callable[[str], None] = lambda _: None, workspace_id: str = "", **server: Any
) -> Client:
    """A client of the API at `url`, as the road makes one; `server` are fields of Server to replace."""
    inputs, problems = parse_inputs(
        {"INPUT_API_KEY": KEY, "INPUT_API_BASE_URL": url, "INPUT_WORKSPACE_ID": workspace_id}
    )
    assert not problems
    return Client(replace(server_of(inputs), **server), runtime(clock), log)


@dataclass(frozen=True, slots=True)
class Trip:
    """What is left of a step: its log, its exit code, and what the runner reads in its files."""

    exit_code: int
    log: str
    outputs: dict[str, str]
    state: dict[str, str]
    summary: str
    workspace: Path

    @property
    def held(self) -> bool:
        """Whether the post step is to cancel a run."""
        return any(leg["cancel"] for leg in json.loads(self.state.get("legs", "[]")))

    @property
    def junit(self) -> str:
        """The JUnit report, where the step was to write it to this path."""
        return (self.workspace / "reports" / "junit.xml").read_text(encoding="utf-8")

    @property
    def json(self) -> str:
        """The result as JSON, likewise."""
        return (self.workspace / "reports" / "coval.json").read_text(encoding="utf-8")

    @property
    def commands(self) -> list[Command]:
        """The log's commands, as the runner understands them."""
        return read_log(self.log)

    def annotations(self, level: str) -> list[Command]:
        """The annotations of one level: "error", "warning" or "notice"."""
        return [command for command in self.commands if command.name == level]


def travel(
    directory: Path,
    url: str,
    clock: VirtualClock,
    *,
    event: Mapping[str, Any] = PULL_REQUEST,
    env: Mapping[str, str] | None = None,
    **inputs: str,
) -> Trip:
    """One step against the API at `url`: the defaults of action.yml, ids that the sandbox knows, and `inputs`."""
    runner = LocalRunner(directory, event)
    environ = runner.environ(DEFAULTS | {"api_key": KEY, "api_base_url": url} | IDS | inputs)
    log = io.StringIO()
    exit_code = main(Runtime(environ=environ | dict(env or {}), stdout=log, clock=clock))
    return Trip(exit_code, log.getvalue(), runner.outputs, runner.state, runner.summary, runner.workspace)
