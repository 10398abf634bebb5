"""Calls to Coval, with retries where they are safe, and what a procedure that makes them gets.

The client retries a read after any transient failure. A launch starts phone calls that cost money, so the client
retries it only if it certainly had no effect: the connection was refused, the name did not resolve, or Coval itself
asks to retry later (429, 503). A launch counts as rejected only by a response in Coval's format. Every call is a
procedure (see `base.schedule`). `until`, a time on the clock's now(), is its deadline.
"""

import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from random import Random
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

from coval_gate.base import titles
from coval_gate.base.clock import Clock
from coval_gate.base.errors import CovalError, LaunchUncertain, Rejected, Unavailable
from coval_gate.base.runtime import Runtime
from coval_gate.base.schedule import BackgroundCall, Procedure
from coval_gate.base.text import one_line, stopwatch
from coval_gate.base.times import Times
from coval_gate.base.transport import Exchange, Request, Response, Server, Timeouts
from coval_gate.ci.host import BUG, GATE_NAME, Host
from coval_gate.coval.calls import Calls
from coval_gate.coval.model import LaunchRequest, Run, RunFilter, Simulation, Turn
from coval_gate.coval.resources import (
    RUN,
    Identified,
    MetricOutput,
    Resource,
    conversation_at,
    newest,
    outputs_of,
    simulations_of,
)
from coval_gate.coval.results import (
    parse_object,
    parse_one,
    parse_page,
    read_launched,
    read_listed,
    with_unique_mutations,
)
from coval_gate.inputs.inputs import Inputs, api_root

T = TypeVar("T")
T_named = TypeVar("T_named", bound="Identified")

LAUNCH_OPEN: Final = 300.0  # s; how long the connection of a launch stays open for its response
BODY_LIMIT: Final = 32 * 1024 * 1024  # bytes of a page
RUN_LIMIT: Final = 256 * 1024 * 1024  # bytes of a run; 10,000 simulations with 50 text metrics are about a third
PAGE_SIZE: Final = 1000  # simulations; the API's maximum
MOST_RUNS: Final = 100  # runs of a list to read at a time; one page, unless it is too large
CANONICAL: Final = "/conversations/simulated"
LEGACY: Final = "/simulations"
SIMULATIONS_ADVICE: Final = (
    "Give the API key the permission simulated-conversations:read (or the older simulations:read): "
    "the check is based on the simulations."
)
READ_LAUNCHED: Final = partial(parse_one, keys=RUN.keys, read=read_launched)
READ_SCHEDULED: Final = partial(parse_page, keys=("runs",), read=read_listed)
HURRIED_TIMEOUTS: Final = Timeouts(connect=1.5, response=2.0, final=0.5)  # when the runner is about to kill the process
FRESH_TIME: Final = 60.0  # s for which Coval may not know a run that was just launched; Coval documents no figure
SERVERS_SKEW: Final = 10.0  # s by which the clocks of Coval's own servers may differ
LONGEST_LEG_TITLE: Final = 200  # characters of a leg's title before its lines


def connect(
    inputs: Inputs,
    runtime: Runtime,
    log: Callable[[str], None],
    *,
    hurried: bool = False,
    ends: float = math.inf,
    shown: "Shown | None" = None,
) -> "Client":
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


class Shown(dict[tuple[str, str], Any]):
    """What responses showed by the way, for reports, by the key of its kind and its id.

    None: Coval was asked, and did not show it; do not ask again.
    """

    @property
    def units(self) -> dict[str, str]:
        return {id_: getattr(metric, "unit", "") for (key, id_), metric in self.items() if key == "metric"}

    @property
    def labels(self) -> dict[str, str]:
        return {id_: getattr(case, "label", "") for (key, id_), case in self.items() if key == "test_case"}

    def name_of(self, input_: str, id_: str) -> str | None:
        """Empty if Coval shows no name, None if it was not asked yet. `input_`: one for such an id."""
        key = (input_.removesuffix("_id"), id_)
        return getattr(self[key], "name", "") if key in self else None


class Launch:
    """One `POST /runs`, whose response may arrive late."""

    def __init__(self, exchange: Exchange, finish: Callable[[Procedure[Response]], Procedure[Run]]) -> None:
        self._exchange = exchange
        self._finish = finish

    @property
    def open_call(self) -> BackgroundCall[Response] | None:
        """None once the call has ended."""
        return self._exchange.open_call

    def response(self) -> Procedure[Run]:
        """Send the request. Raises CovalError."""
        return self._finish(self._exchange.response())

    def late_response(self, within: float) -> Procedure[Run]:
        """Wait again, for up to `within` seconds. Raises CovalError."""
        return self._finish(self._exchange.late_response(within))


def uncertain_after(error: CovalError) -> LaunchUncertain | None:
    """None if the launch certainly had no effect."""
    if isinstance(error, Unavailable) and error.arrived:
        what, rejection = f"its response was lost: {error.what}", None
    elif isinstance(error, Rejected) and not error.by_coval:
        what, rejection = f"its response is not in Coval's format: {error.what}", error
    else:
        return None
    what = f"The launch was sent, but {what}"
    advice = "A run may have started. Look for it in Coval before you launch another."
    return LaunchUncertain(titles.LAUNCH_UNCERTAIN, what, rejection=rejection, advice=advice)


class Client(Calls):
    """Coval's API. Every method is a procedure that returns parsed data or raises CovalError.

    `once`, retries and errors are as in `get_run`, unless a method documents others.
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
        super().__init__(server, runtime, log, ends=ends)
        self._simulation_path = CANONICAL
        self.shown = Shown() if shown is None else shown

    def launch_run(self, wanted: LaunchRequest, *, until: float, sent: Callable[[Launch], None]) -> Procedure[Run]:
        """Retry attempts without effect until the deadline. `sent` gets each attempt just before it is sent.

        Raises Rejected, Unavailable (no run exists) or LaunchUncertain (a run may exist; its response may still come).
        """
        request = Request("POST", "/runs", json=wanted.body)

        async def attempt() -> Run:
            exchange = Exchange(self._transport, request, until, open_for=LAUNCH_OPEN)
            launch = Launch(exchange, partial(self._launched, request))
            sent(launch)
            try:
                return await launch.response()
            except (Unavailable, Rejected) as error:
                if isinstance(error, Unavailable):
                    self._noted(request, error)
                raise uncertain_after(error) or error from None

        return self._retry_launch(attempt, until)

    async def _launched(self, request: Request, response: Procedure[Response]) -> Run:
        return self._parsed(request, await self._completed(request, response), READ_LAUNCHED)

    async def get(self, kind: Resource[T_named], id_: str, *, until: float, once: bool = False) -> T_named:
        """Raises as `get_run`. Legs that read the same at about the same time share the response."""
        request, parse = _reading(kind, id_)
        self.shown.setdefault((kind.key, id_), None)
        self._check_time(request, until)
        resource = await self._fetch(request, parse, until, once=once, shared_as=kind.read)
        self.shown[kind.key, id_] = resource
        return resource

    async def list(
        self,
        kind: Resource[T_named],
        *,
        until: float,
        go_on: Callable[[Sequence[T_named]], bool] = lambda _: True,
        once: bool = False,
    ) -> tuple[T_named, ...]:
        """Stop when `go_on` returns False for all resources so far. Otherwise as `get`."""
        listed = await self._entries(kind, until, go_on=go_on, once=once, shared=True)
        self.shown.update({(kind.key, resource.id): resource for resource in listed})
        return tuple({resource.id: resource for resource in listed}.values())

    def get_run(self, run_id: str, *, until: float, once: bool = False) -> Procedure[Run]:
        """Retry transient failures until the deadline, and once more at it. `once`: do not retry.

        Raises Rejected (NotFound for a 404), or Unavailable without a usable response by the deadline.
        """
        request, parse = _reading(RUN, run_id)
        return self._fetch(request._replace(body_limit=RUN_LIMIT), parse, until, once=once)

    async def delete_run(self, run_id: str, *, until: float) -> None:
        """Cancel an unfinished run; delete a finished one. Raises Rejected (NotFound for a 404) or Unavailable.

        Do not retry after a lost response, because the run may be finished by then.
        """
        request = Request("DELETE", f"/runs/{quote(run_id, safe='')}")
        response = await self._send(request, until)
        # A proxy's page is not a success.
        self._parsed(request, response._replace(content={}) if response.is_empty else response, parse_object)

    async def set_tags(self, run_id: str, tags: Sequence[str], *, until: float) -> None:
        """Replace all tags, without a retry. Raises Rejected (NotFound for a 404) or Unavailable."""
        path = f"/runs/{quote(run_id, safe='')}"
        request = Request("PATCH", path, json={"tags": list(tags)}, body_limit=RUN_LIMIT)
        self._parsed(request, await self._send(request, until), parse_object)

    async def list_runs(
        self, run_filter: RunFilter, *, until: float, go_on: Callable[[Sequence[Run]], bool] = lambda _: False
    ) -> tuple[Run, ...]:
        """Return MOST_RUNS of the newest, and as many again while `go_on` returns True for all runs so far."""
        order = ("order_by", "-create_time")
        kind = RUN._replace(query=(*((("filter", str(run_filter)),) if any(run_filter) else ()), order))
        until = max(until, self._clock.now())  # the last call of a search may begin late

        def reads_on(listed: Sequence[Run]) -> bool:
            return len(listed) % MOST_RUNS > 0 or go_on(listed)

        runs = await self._entries(kind, until, go_on=reads_on, page_size=MOST_RUNS)
        return tuple({run.run_id: run for run in runs}.values())  # new runs shift the pages

    async def list_scheduled_runs(self, schedule_id: str, *, until: float) -> tuple[Run, ...]:
        """Return the newest 500 runs, in any order."""
        request = Request("GET", f"/scheduled-runs/{quote(schedule_id, safe='')}/runs")
        runs, _ = await self._fetch(request, READ_SCHEDULED, until)
        return tuple(runs)

    async def list_simulations(self, run_id: str, *, until: float) -> tuple[Simulation, ...]:
        """Return every simulation, oldest first.

        Coval moved the list from /simulations to /conversations/simulated, with a separate permission. Use the one that
        exists and that the key can read.
        """
        path = self._simulation_path
        try:
            listed = await self._entries(simulations_of(run_id, path), until, page_size=PAGE_SIZE)
        except Rejected as error:
            if path == LEGACY:
                error.advice = SIMULATIONS_ADVICE
            if path == LEGACY or error.status not in (403, 404):
                raise
            self._simulation_path = LEGACY
            try:
                return await self.list_simulations(run_id, until=until)
            except Rejected as older_error:
                if error.status != 403 or older_error.status != 404:
                    raise
            self._simulation_path, error.advice = path, SIMULATIONS_ADVICE  # there is no older list
            raise
        return with_unique_mutations(tuple({simulation.id: simulation for simulation in listed}.values()))

    def get_transcript(self, simulation_id: str, *, until: float) -> Procedure[tuple[Turn, ...]]:
        """Empty if Coval has no transcript."""
        request, parse = _reading(conversation_at(self._simulation_path), simulation_id)
        self._check_time(request, until)
        return self._fetch(request, parse, until)

    @property
    def simulations_path(self) -> str:
        """Where `list_simulations` last found them."""
        return self._simulation_path

    async def list_metric_outputs(self, simulation_id: str, *, until: float) -> tuple[MetricOutput, ...]:
        """Return the newest output of each metric."""
        return newest(await self._entries(outputs_of(simulation_id, self._simulation_path), until))


def _reading(kind: Resource[T], id_: str) -> tuple[Request, Callable[[object], T]]:
    return Request("GET", f"{kind.path}/{quote(id_, safe='')}"), partial(parse_one, keys=kind.keys, read=kind.read)


class Session:
    """What a procedure that asks Coval gets.

    Calls and waiting end at the `deadline` of the step, or of a part of it: a time on the clock.

    `label` begins each line of a leg if there are several. It changes when Coval shows a name; `key` stays.
    """

    def __init__(
        self,
        client: Client,
        host: Host,
        clock: Clock,
        randomness: Random,
        inputs: Inputs,
        deadline: float,
        times: Times,
    ) -> None:
        self.client = client
        self.host = host
        self.clock = clock
        self.randomness = randomness
        self.inputs = inputs
        self.deadline = deadline
        self.times = times
        self.key = ""
        self._title: Callable[[], str] = str

    @property
    def label(self) -> str:
        return f"[{one_line(self._title(), LONGEST_LEG_TITLE)}] " if self.key else ""

    def until(self, deadline: float) -> Self:
        other = copy(self)
        other.deadline = deadline
        return other

    def within(self, seconds: float) -> Self:
        """Limit it to so many seconds, or at its deadline if that is sooner."""
        return self.until(min(self.deadline, self.clock.now() + seconds))

    def labelled(self, key: str, title: Callable[[], str]) -> Self:
        other = copy(self)
        other.key, other._title = key, title  # noqa: SLF001 - its own
        other.client = self.client.logging_to(other.log)
        return other

    def log(self, *lines: str) -> None:
        """Lines may contain foreign text."""
        self.host.quote(*(f"{self.label}{line}" for line in lines))

    def show_progress(self, seconds: float, line: str, *, is_news: bool, is_over: bool) -> None:
        """In a log, show only news."""
        if not self.host.progress(self.key, self.label, seconds, line, is_over=is_over) and is_news:
            self.log(f"{stopwatch(seconds):>7}  {line}")

    def warn(self, message: str) -> None:
        self.host.annotate("warning", GATE_NAME, f"{self.label}{message}")

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """With several legs, the lines mix and cannot be folded."""
        if self.label:
            self.log(title)
            yield
            return
        with self.host.group(title):
            yield

    def report_bug(self) -> None:
        """Log the exception that is being handled."""
        self.host.fold(f"{self.label}{BUG}", traceback.format_exc().splitlines())
