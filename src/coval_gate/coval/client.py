"""Calls to Coval, with retries where they are safe.

The client retries a read after any transient failure. A launch starts phone calls that cost money, so the client
retries it only if it certainly had no effect: the connection was refused, the name did not resolve, or Coval itself
asks to retry later (429, 503). A launch counts as rejected only by a response in Coval's format. Every call is a
procedure (see `base.schedule`). `until`, a time on the clock's now(), is its deadline.
"""

from __future__ import annotations

import math
from copy import copy
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, LaunchUncertain, Rejected, Unavailable
from coval_gate.base.records import NamedTuple
from coval_gate.base.transport import NetworkError, Request, Server, Timeouts
from coval_gate.coval.calls import Calls
from coval_gate.coval.shapes import agent_type_in, enveloped, name_in, parse_object
from coval_gate.inputs.inputs import api_root

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coval_gate.base.runtime import Runtime
    from coval_gate.base.schedule import BackgroundCall, Procedure
    from coval_gate.base.transport import Exchange, Response
    from coval_gate.coval.launch import LaunchRequest
    from coval_gate.coval.model import Run, Simulation, Turn
    from coval_gate.coval.resources import (
        Agent,
        Listed,
        MetricDefinition,
        MetricOutput,
        Persona,
        RunTemplate,
        TestCase,
        TestSet,
    )
    from coval_gate.coval.runs import RunFilter, ScheduledRun
    from coval_gate.inputs.inputs import Inputs

    Named = TypeVar("Named", Agent, Persona, TestSet, "_AgentType")

LAUNCH_OPEN: Final = 300.0  # s; how long the connection of a launch stays open for its response
BODY_LIMIT: Final = 32 * 1024 * 1024  # bytes of a page
RUN_LIMIT: Final = 256 * 1024 * 1024  # bytes of a run; 10,000 simulations with 50 text metrics are about a third
PAGE_SIZE: Final = 1000  # simulations; the API's maximum
MOST_RUNS: Final = 100  # runs of a list to read at a time; one page, unless it is too large
CANONICAL: Final = "/conversations/simulated"
LEGACY: Final = "/simulations"
NAMED: Final = {  # where they are, and their names in a response, by the inputs that take their ids
    "agent_id": ("/agents", "agent"),
    "persona_id": ("/personas", "persona"),
    "test_set_id": ("/test-sets", "test_set"),
}
SIMULATIONS_ADVICE: Final = (
    "Give the API key the permission simulated-conversations:read (or the older simulations:read): "
    "the check is based on the simulations."
)
LOOK_IT_UP: Final = "A run may have started. Look for it in Coval before you launch another."
HURRIED_TIMEOUTS: Final = Timeouts(connect=1.5, response=2.0, final=0.5)  # when the runner is about to kill the process


def connect(
    inputs: Inputs,
    runtime: Runtime,
    log: Callable[[str], None],
    *,
    hurried: bool = False,
    ends: float = math.inf,
    shown: Shown | None = None,
) -> Client:
    """All calls end by `ends`. `hurried`: the runner is about to kill the process. Raises ValueError as `server_of`."""
    server = server_of(inputs, HURRIED_TIMEOUTS if hurried else Timeouts())
    return Client(server, runtime, log, ends=ends, shown=shown)


def server_of(inputs: Inputs, timeouts: Timeouts = Timeouts()) -> Server:  # noqa: B008 - frozen
    """Raises ValueError without an API key."""
    if inputs.api_key is None:
        raise ValueError("there is no API key")
    return Server(
        root=api_root(inputs),
        credential=inputs.api_key,
        credential_header="x-api-key",
        headers={"x-coval-workspace-id": inputs.workspace_id} if inputs.workspace_id else {},
        timeouts=timeouts,
        body_limit=BODY_LIMIT,
    )


class Shown:
    """What responses showed by the way, for reports. Empty: Coval shows nothing, or failed to; do not ask again.

    `units`, `labels` (of test cases) and `agent_types` (the known ones) are by id; `names` by the input that takes the
    id (agent_id), and the id.
    """

    def __init__(self) -> None:
        self.units: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.names: dict[tuple[str, str], str] = {}
        self.agent_types: dict[str, str] = {}

    def name_of(self, kind: str, id_: str) -> str | None:
        """Empty if Coval shows no name, None if it was not asked yet."""
        return self.names.get((kind, id_))


class Launch:
    """One `POST /runs`, whose response may arrive late."""

    def __init__(self, calls: Calls, exchange: Exchange) -> None:
        self._calls = calls
        self._exchange = exchange

    @property
    def open_call(self) -> BackgroundCall[Response] | None:
        """None once the call has ended."""
        return self._exchange.open_call

    def response(self) -> Procedure[Run]:
        """Send the request. Raises CovalError."""
        return self._run(self._exchange.response())

    def late_response(self, within: float) -> Procedure[Run]:
        """Wait again, for up to `within` seconds. Raises CovalError."""
        return self._run(self._exchange.late_response(within))

    def _run(self, response: Procedure[Response]) -> Procedure[Run]:
        calls, request = self._calls, self._exchange.request
        try:
            succeeded = calls.succeeded(request, (yield from response))
        except NetworkError as error:
            raise calls.problem(request, error) from None
        # Import the parser after the launch was sent.
        from coval_gate.coval.runs import parse_launched

        return calls.parsed(request, succeeded, parse_launched)


def uncertain_after(error: CovalError) -> LaunchUncertain | None:
    """None if the launch certainly had no effect."""
    if isinstance(error, Unavailable) and error.arrived:
        what, rejection = f"its response was lost: {error.what}", None
    elif isinstance(error, Rejected) and not error.by_coval:
        what, rejection = f"its response is not in Coval's format: {error.what}", error
    else:
        return None
    what = f"The launch was sent, but {what}"
    return LaunchUncertain(titles.LAUNCH_UNCERTAIN, what, rejection=rejection, advice=LOOK_IT_UP)


class Client:
    """Coval's API. Every method is a procedure that returns parsed data or raises CovalError.

    `once`, retries and errors are as in `get_run`, unless a method says otherwise. Legs that read anything but a run at
    about the same time share the response.
    """

    def __init__(
        self,
        server: Server,
        runtime: Runtime,
        log: Callable[[str], None],
        *,
        ends: float = math.inf,
        shown: Shown | None = None,
    ) -> None:
        self._calls = Calls(server, runtime, log, ends=ends)
        self._clock = runtime.clock
        self._simulation_path = CANONICAL
        self.shown = Shown() if shown is None else shown

    def close(self) -> None:
        self._calls.close()

    def logging_to(self, log: Callable[[str], None]) -> Client:
        other = copy(self)
        other._calls = self._calls.logging_to(log)  # noqa: SLF001 - a copy of this object
        return other

    def launch_run(self, wanted: LaunchRequest, *, until: float, sent: Callable[[Launch], None]) -> Procedure[Run]:
        """Retry attempts without effect until the deadline. `sent` gets each attempt just before it is sent.

        Raises Rejected, Unavailable (no run exists) or LaunchUncertain (a run may exist; its response may still come).
        """
        request = Request("POST", "/runs", json=wanted.body)

        def attempt() -> Procedure[Run]:
            launch = Launch(self._calls, self._calls.exchange(request, until, open_for=LAUNCH_OPEN))
            sent(launch)
            try:
                return (yield from launch.response())
            except CovalError as error:
                raise uncertain_after(self._calls.noted(request, error)) or error from None

        return self._calls.retry_launch(attempt, until)

    def get_run(self, run_id: str, *, until: float, once: bool = False) -> Procedure[Run]:
        """Retry transient failures until the deadline, and once more at it. `once`: do not retry.

        Raises Rejected (NotFound for a 404), or Unavailable without a usable response by the deadline.
        """
        request = Request("GET", f"/runs/{quote(run_id, safe='')}", body_limit=RUN_LIMIT)

        def parse(body: bytes) -> Run:
            from coval_gate.coval.runs import parse_run

            return parse_run(body)

        return self._calls.fetch(request, parse, until, once=once)

    def delete_run(self, run_id: str, *, until: float) -> Procedure[None]:
        """Cancel an unfinished run; delete a finished one. Raises Rejected (NotFound for a 404) or Unavailable.

        Do not retry after a lost response, because the run may be finished by then.
        """
        request = Request("DELETE", f"/runs/{quote(run_id, safe='')}")
        response = yield from self._calls.send(request, until)
        # A proxy's page is not a success.
        self._calls.parsed(request, response._replace(body=response.body or b"{}"), parse_object)

    def set_tags(self, run_id: str, tags: Sequence[str], *, until: float) -> Procedure[tuple[str, ...]]:
        """Replace all tags, without a retry. Raises Rejected (NotFound for a 404) or Unavailable."""
        from coval_gate.coval.runs import parse_tags

        path = f"/runs/{quote(run_id, safe='')}"
        request = Request("PATCH", path, json={"tags": list(tags)}, body_limit=RUN_LIMIT)
        return self._calls.parsed(request, (yield from self._calls.send(request, until)), parse_tags)

    def list_runs(
        self,
        run_filter: RunFilter,
        *,
        until: float,
        go_on: Callable[[Sequence[Run]], bool] = lambda _: False,
        with_averages: bool = False,
    ) -> Procedure[tuple[Run, ...]]:
        """Return MOST_RUNS of the newest, and as many again while `go_on` returns True for all runs so far.

        `with_averages`: of metrics; Coval then supports one order only, and no filter by tags.
        """
        from coval_gate.coval.runs import read_run

        more = {"include": "metric_averages"} if with_averages else {"order_by": "-create_time"}
        query = {"filter": str(run_filter)} | more
        until = max(until, self._clock.now())  # the last call of a search may begin late

        listed: list[Run] = []

        def reads_on(run: Run) -> bool:
            listed.append(run)
            return len(listed) % MOST_RUNS > 0 or go_on(listed)

        runs = yield from self._calls.entries(
            "/runs", query, ("runs",), read_run, until, go_on=reads_on, page_size=MOST_RUNS
        )
        return tuple({run.run_id: run for run in runs}.values())  # new runs shift the pages

    def list_scheduled_runs(self, schedule_id: str, *, until: float) -> Procedure[tuple[ScheduledRun, ...]]:
        """Return the newest 500 runs, in any order."""
        from coval_gate.coval.runs import parse_scheduled_runs

        request = Request("GET", f"/scheduled-runs/{quote(schedule_id, safe='')}/runs")
        return self._calls.fetch(request, parse_scheduled_runs, until)

    def list_simulations(self, run_id: str, *, until: float) -> Procedure[tuple[Simulation, ...]]:
        """Return every simulation, oldest first.

        Coval moved the list from /simulations to /conversations/simulated, with a separate permission. Use the one that
        exists and that the key can read.
        """
        path = self._simulation_path
        try:
            return (yield from self._simulations(path, run_id, until))
        except Rejected as error:
            if path == LEGACY:
                advice = SIMULATIONS_ADVICE
                raise type(error)(error.status, error.title, error.what, advice=advice) from None
            if error.status not in (403, 404):
                raise
        self._simulation_path = LEGACY
        return (yield from self.list_simulations(run_id, until=until))

    def get_metric(self, metric_id: str, *, until: float, once: bool = False) -> Procedure[MetricDefinition]:
        from coval_gate.coval.resources import read_definition

        self.shown.units.setdefault(metric_id, "")
        definition = yield from self._calls.get("/metrics", metric_id, "metric", read_definition, until, once=once)
        self.shown.units[metric_id] = definition.unit
        return definition

    def list_metrics(
        self, *, until: float, go_on: Callable[[MetricDefinition], bool]
    ) -> Procedure[tuple[MetricDefinition, ...]]:
        """Include built-in ones, and stop after the first for which `go_on` returns False. Do not retry."""
        from coval_gate.coval.resources import read_definition

        query = {"include_builtin": "true"}
        definitions = yield from self._calls.entries(
            "/metrics", query, ("metrics",), read_definition, until, go_on=go_on, once=True, shared=True
        )
        self.shown.units |= {definition.id: definition.unit for definition in definitions}
        return definitions

    def get_agent(self, agent_id: str, *, until: float, once: bool = False) -> Procedure[Agent]:
        from coval_gate.coval.resources import read_agent

        return self._named("agent_id", agent_id, read_agent, until, once=once)

    def get_agent_type(self, agent_id: str, *, until: float, once: bool = False) -> Procedure[str]:
        """Return a type such as VOICE; empty if Coval shows none. This loads less than `get_agent`."""
        types = self.shown.agent_types
        if agent_id not in types:
            yield from self._named("agent_id", agent_id, _agent_type, until, once=once)
        return types.get(agent_id, "")

    def list_named(self, kind: str, *, until: float, most: int) -> Procedure[tuple[Listed, ...]]:
        """Return the first `most` resources of which the input `kind`, such as agent_id, takes an id."""
        from coval_gate.coval.resources import read_listed

        seen = 0

        def go_on(_: Listed) -> bool:
            nonlocal seen
            seen += 1
            return seen < most

        path, key = NAMED[kind]
        entries = yield from self._calls.entries(path, {}, (f"{key}s",), read_listed, until, go_on=go_on, shared=True)
        return tuple({entry.id: entry for entry in entries}.values())

    def get_test_set(self, test_set_id: str, *, until: float, once: bool = False) -> Procedure[TestSet]:
        from coval_gate.coval.resources import read_test_set

        return self._named("test_set_id", test_set_id, read_test_set, until, once=once)

    def get_run_template(self, template_id: str, *, until: float) -> Procedure[RunTemplate]:
        from coval_gate.coval.resources import read_template

        return self._calls.get("/run-templates", template_id, "run_template", read_template, until)

    def list_mutation_ids(self, agent_id: str, *, until: float) -> Procedure[tuple[str, ...]]:
        from coval_gate.coval.resources import read_mutation_id

        path = f"/agents/{quote(agent_id, safe='')}/mutations"
        return self._calls.entries(path, {}, ("mutations",), read_mutation_id, until, shared=True)

    def get_persona(self, persona_id: str, *, until: float, once: bool = False) -> Procedure[Persona]:
        from coval_gate.coval.resources import read_persona

        return self._named("persona_id", persona_id, read_persona, until, once=once)

    def get_test_case(self, test_case_id: str, *, until: float) -> Procedure[TestCase]:
        from coval_gate.coval.resources import read_test_case

        return self._calls.get("/test-cases", test_case_id, "test_case", read_test_case, until)

    def list_test_cases(
        self, test_set_id: str, *, until: float, go_on: Callable[[TestCase], bool] = lambda _: True
    ) -> Procedure[tuple[TestCase, ...]]:
        """Stop after the first for which `go_on` returns False."""
        from coval_gate.coval.resources import read_test_case

        query = {"filter": f'test_set_id="{test_set_id}"'}
        cases = yield from self._calls.entries(
            "/test-cases", query, ("test_cases",), read_test_case, until, go_on=go_on, shared=True
        )
        self.shown.labels |= {case.id: case.label for case in cases}
        return cases

    def get_transcript(self, simulation_id: str, *, until: float) -> Procedure[tuple[Turn, ...]]:
        """Empty if Coval has no transcript."""
        from coval_gate.coval.resources import read_transcript

        request = Request("GET", f"{self._simulation_path}/{quote(simulation_id, safe='')}")
        self._calls.check_time(request, until)

        def parse(body: bytes) -> tuple[Turn, ...]:
            simulation = enveloped(parse_object(body), "simulated_conversation", "simulation")
            return read_transcript(simulation.get("transcript"))

        return self._calls.fetch(request, parse, until)

    def list_metric_outputs(self, simulation_id: str, *, until: float) -> Procedure[tuple[MetricOutput, ...]]:
        """Return the newest output of each metric, without transcripts."""
        from coval_gate.coval.resources import newest, read_output

        path = f"{self._simulation_path}/{quote(simulation_id, safe='')}/metrics"
        return newest((yield from self._calls.entries(path, {"view": "BASIC"}, ("metrics",), read_output, until)))

    @property
    def lead(self) -> float:
        return self._calls.lead

    def server_time(self, moment: float) -> float | None:
        return self._calls.server_time(moment)

    def retry_reporter(self) -> Callable[[Unavailable, float], None]:
        return self._calls.retry_reporter()

    def _named(
        self, kind: str, id_: str, read: Callable[[dict[str, Any]], Named], until: float, *, once: bool
    ) -> Procedure[Named]:
        path, key = NAMED[kind]
        self.shown.names.setdefault((kind, id_), "")
        resource = yield from self._calls.get(path, id_, key, read, until, once=once)
        self.shown.names[kind, id_] = resource.name
        if agent_type := getattr(resource, "model_type", ""):
            self.shown.agent_types[id_] = agent_type
        return resource

    def _simulations(self, path: str, run_id: str, until: float) -> Procedure[tuple[Simulation, ...]]:
        from coval_gate.coval.results import read_owned_simulation, told_apart

        query = {"filter": f'run_id="{run_id}"', "order_by": "create_time"}
        keys = ("simulated_conversations", "simulations")
        listed = yield from self._calls.entries(path, query, keys, read_owned_simulation, until, page_size=PAGE_SIZE)
        simulations: dict[str, Simulation] = {}
        for owner, simulation in listed:
            # If Coval ignores the filter, it lists other runs, too. A simulation without a run belongs to this one.
            # One that is listed twice counts as completed only if both entries say so.
            if owner in ("", run_id) and simulations.setdefault(simulation.id, simulation).completed:
                simulations[simulation.id] = simulation
        return told_apart(tuple(simulations.values()))


class _AgentType(NamedTuple):
    model_type: str
    name: str


def _agent_type(fields: dict[str, Any]) -> _AgentType:
    return _AgentType(agent_type_in(fields), name_in(fields))
