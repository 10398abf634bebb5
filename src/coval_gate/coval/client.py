"""Calls to Coval, repeated as far as that is safe.

A read may be repeated after any transient failure. A launch starts phone calls that cost money, so it is repeated only
if it surely had no effect: the connection was refused, the name did not resolve, or Coval itself says "later" (429,
503). Every call is a procedure (see `waiting`); `until`, on the clock's now(), bounds it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from coval_gate.config.inputs import api_root
from coval_gate.coval.definitions import IDENTITY
from coval_gate.coval.errors import network_problem, response_problem, unavailable
from coval_gate.errors import LaunchUncertain, Rejected, Unavailable
from coval_gate.network import NetworkError
from coval_gate.text import duration
from coval_gate.transport import Request, Server, Timeouts, Transport
from coval_gate.waiting import repeat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coval_gate.config.inputs import Inputs
    from coval_gate.model.results import Simulation
    from coval_gate.model.run import Run
    from coval_gate.runtime import Runtime
    from coval_gate.transport import Exchange, Response
    from coval_gate.waiting import Procedure

T = TypeVar("T")

LAUNCH_PATIENCE: Final = 300.0  # s during which a launch that had no effect is repeated
FIRST_BACKOFF: Final = 1.0  # s
LONGEST_BACKOFF: Final = 30.0  # s
BODY_LIMIT: Final = 32 * 1024 * 1024  # bytes; a run with 10,000 simulations and 10 metrics has about a third
PAGE_SIZE: Final = 1000  # simulations; the most that the API gives at a time
SMALL_PAGE: Final = 100  # test cases; the most that the API gives of those
CANONICAL: Final = "/conversations/simulated"
LEGACY: Final = "/simulations"
SIMULATIONS_ADVICE: Final = (
    "Give the API key the permission simulated-conversations:read (or the older simulations:read): "
    "the simulations tell whether the run can be trusted."
)
HEARTBEAT: Final = 60.0  # s between two log lines about the same trouble
HURRIED_TIMEOUTS: Final = Timeouts(connect=1.5, response=2.0, last_look=0.5)  # where the process is to be killed soon


def connect(inputs: Inputs, runtime: Runtime, log: Callable[[str], None], *, hurried: bool = False) -> Client:
    """Make a client for the API that the inputs name; `log` takes a line for people who wait.

    `hurried`: the process is to be killed soon. Raises ValueError without an API key.
    """
    return Client(server_of(inputs, HURRIED_TIMEOUTS if hurried else Timeouts()), runtime, log)


def server_of(inputs: Inputs, timeouts: Timeouts = Timeouts()) -> Server:  # noqa: B008 - frozen
    """Return where the API is, and what every request to it carries. Raises ValueError without an API key."""
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


class Launch:
    """One `POST /runs`, whose response may come late."""

    def __init__(self, exchange: Exchange, read: Callable[[Request, Response], Run]) -> None:
        self._exchange = exchange
        self._read = read

    def response(self) -> Procedure[Run]:
        """Send the request and wait for the run. Raises CovalError."""
        return self._run(self._exchange.response())

    def late_response(self, within: float) -> Procedure[Run]:
        """Wait `within` seconds once more for the run. Raises CovalError."""
        return self._run(self._exchange.late_response(within))

    def _run(self, response: Procedure[Response]) -> Procedure[Run]:
        request = self._exchange.request
        try:
            return self._read(request, (yield from response))
        except NetworkError as error:
            raise network_problem(request, error) from None


class Client:
    """Coval's API. Every method is a procedure that returns what the API says or raises a CovalError."""

    def __init__(self, server: Server, runtime: Runtime, log: Callable[[str], None]) -> None:
        self._transport = Transport(server, clock=runtime.clock, new_session=runtime.new_session)
        self._clock = runtime.clock
        self._randomness = runtime.randomness
        self._log = log
        self._simulation_path = CANONICAL
        self._reached = False

    def close(self) -> None:
        """Close the connections; the next call opens a new one."""
        self._transport.close()

    def launch_run(self, body: Mapping[str, Any], *, until: float, sent: Callable[[Launch], None]) -> Procedure[Run]:
        """`POST /runs`. Repeats what surely had no effect, until the deadline or LAUNCH_PATIENCE.

        `sent` takes each attempt just before it is sent. Raises Rejected, Unavailable (no run exists) or
        LaunchUncertain (one may exist).
        """
        request = Request("POST", "/runs", json=body)

        def attempt() -> Procedure[Run]:
            launch = Launch(self._transport.exchange(request, until=until), self._new_run)
            sent(launch)
            return launch.response()

        give_up = min(until, self._clock.now() + LAUNCH_PATIENCE)
        try:
            return (yield from repeat(attempt, Unavailable, self._backoff(give_up, launches=True)))
        except Unavailable as error:
            if not error.arrived:
                raise
            raise LaunchUncertain(
                "Launch uncertain",
                f"The launch was sent, but its response was lost: {error.what}",
                advice="A run may have started. Look for it in Coval before you launch again.",
            ) from None

    def get_run(self, run_id: str, *, until: float, once: bool = False) -> Procedure[Run]:
        """`GET /runs/{run_id}`, repeated after transient failures until the deadline and once more at it, or sent once.

        Raises Rejected (NotFound for a 404), or Unavailable if there was no usable response by the deadline.
        """
        request = Request("GET", f"/runs/{quote(run_id, safe='')}")

        def attempt() -> Procedure[Run]:
            from coval_gate.coval.models import parse_run

            run = self._parsed(request, (yield from self._send(request, until)), parse_run)
            if run_id != run.run_id:
                raise unavailable(request, f"answered about another run ({run.run_id}).", arrived=True)
            return run

        return attempt() if once else self._read(attempt, until)

    def delete_run(self, run_id: str, *, until: float) -> Procedure[None]:
        """`DELETE /runs/{run_id}`, sent once: it ends a run that is not finished, and deletes one that is.

        Where its response is lost, the run may be finished by now. Raises Rejected (NotFound for a 404) or Unavailable.
        """
        from coval_gate.coval.models import parse_object

        request = Request("DELETE", f"/runs/{quote(run_id, safe='')}")
        response = yield from self._send(request, until)
        # The page of something in between is no success.
        self._parsed(request, response._replace(body=response.body or b"{}"), parse_object)

    def list_runs(self, wanted: str, *, until: float) -> Procedure[tuple[Run, ...]]:
        """Return the newest runs that match a filter, without entries that cannot be read. Raises as `get_run`."""
        from coval_gate.coval.models import read_run

        query = {"filter": wanted, "page_size": str(SMALL_PAGE), "order_by": "-create_time"}
        request = Request("GET", "/runs", query=query)
        answer = yield from self._read(partial(self._page, request, ("runs",), until), until)
        found = (read_run(each) for each in answer.get("runs") or () if isinstance(each, dict))
        return tuple(run for run in found if run)

    def list_simulations(self, run_id: str, *, until: float) -> Procedure[tuple[Simulation, ...]]:
        """Return every simulation of a run, oldest first, in as few pages as the API allows. Raises as `get_run`.

        The list moved from /simulations to /conversations/simulated, with a permission of its own: the client uses
        whichever of the two the API has and the key may read.
        """
        try:
            return (yield from self._simulations(run_id, until))
        except Rejected as error:
            if error.status not in (403, 404) or self._simulation_path != CANONICAL:
                raise
            self._simulation_path = LEGACY
        try:
            return (yield from self._simulations(run_id, until))
        except Rejected as error:
            raise type(error)(
                error.status, error.title, error.what, advice=SIMULATIONS_ADVICE, link=error.link
            ) from None

    def get_metric(self, metric_id: str, *, until: float) -> Procedure[dict[str, Any]]:
        """Return the definition of a metric, as it is. Raises as `get_run`."""
        return self._get("/metrics", metric_id, "metric", until)

    def get_test_case(self, test_case_id: str, *, until: float) -> Procedure[dict[str, Any]]:
        """Return a test case, as it is. Raises as `get_run`."""
        return self._get("/test-cases", test_case_id, "test_case", until)

    def list_test_cases(
        self, test_set_id: str, *, until: float, take: Callable[[dict[str, Any]], bool]
    ) -> Procedure[None]:
        """Hand the test cases of a test set to `take`, as they are, while it returns True. Raises as `get_run`."""
        query = {"filter": f'test_set_id="{test_set_id}"', "page_size": str(SMALL_PAGE)}
        return self._pages("/test-cases", query, ("test_cases",), until, take)

    def list_metric_outputs(self, simulation_id: str, *, until: float) -> Procedure[tuple[dict[str, Any], ...]]:
        """Return a simulation's metric outputs with their explanations, without transcripts. Raises as `get_run`."""
        path = f"{self._simulation_path}/{quote(simulation_id, safe='')}/metrics"
        query = {"view": "BASIC", "page_size": str(SMALL_PAGE)}
        outputs: list[dict[str, Any]] = []

        def take(entry: dict[str, Any]) -> bool:
            outputs.append(entry)
            return True

        yield from self._pages(path, query, ("metrics",), until, take)
        return tuple(outputs)

    def _simulations(self, run_id: str, until: float) -> Procedure[tuple[Simulation, ...]]:
        from coval_gate.coval.values import read_simulation

        query = {"filter": f'run_id="{run_id}"', "page_size": str(PAGE_SIZE), "order_by": "create_time"}
        simulations: dict[str, Simulation] = {}

        def take(entry: dict[str, Any]) -> bool:
            # A filter that the API ignored must not bring in the simulations of another run.
            if entry.get("run_id") not in (None, run_id, f"runs/{run_id}"):
                return True
            simulation = read_simulation(entry)
            if simulation is None:
                raise unavailable(f"GET {self._simulation_path}", "listed a simulation without an id.", arrived=True)
            # Where one is listed twice, it counts as completed only if both entries say so.
            if simulations.setdefault(simulation.id, simulation).completed:
                simulations[simulation.id] = simulation
            return True

        yield from self._pages(self._simulation_path, query, ("simulated_conversations", "simulations"), until, take)
        return tuple(simulations.values())

    def _pages(
        self,
        path: str,
        query: Mapping[str, str],
        keys: tuple[str, ...],
        until: float,
        take: Callable[[dict[str, Any]], bool],
    ) -> Procedure[None]:
        """Fetch a list page after page, and hand its entries to `take` while it returns True.

        `keys` are the names that the list may have.
        """
        tokens: set[str] = set()
        token = ""
        while True:
            request = Request("GET", path, query={**query, **({"page_token": token} if token else {})})
            self._check_time(request, until)
            answer = yield from self._read(partial(self._page, request, keys, until), until)
            entries = next((answer[key] for key in keys if key in answer), None) or []
            if not all(take(each) for each in entries if isinstance(each, dict)):
                return
            following = answer.get("next_page_token")
            if not following:
                return
            token = str(following)
            if token in tokens:
                raise unavailable(request, "gave the same page again and again.", arrived=True)
            tokens.add(token)

    def _page(self, request: Request, keys: tuple[str, ...], until: float) -> Procedure[dict[str, Any]]:
        answer = yield from self._json(request, until)
        entries = next((answer[key] for key in keys if key in answer), ...)
        if not (entries is None or isinstance(entries, list)):
            raise unavailable(request, f"gave a response without {keys[0]}.", arrived=True)
        if not isinstance(answer.get("next_page_token"), str | int | None):
            raise unavailable(request, "gave a page token that is none.", arrived=True)
        return answer

    def _check_time(self, request: Request, until: float) -> None:
        """Keep one call of many from being sent when the time for all of them is up."""
        if self._clock.now() > until:
            raise unavailable(request, "was not sent: the time is up.", arrived=False)

    def _get(self, path: str, wanted: str, key: str, until: float) -> Procedure[dict[str, Any]]:
        request = Request("GET", f"{path}/{quote(wanted, safe='')}")
        self._check_time(request, until)

        def attempt() -> Procedure[dict[str, Any]]:
            answer = yield from self._json(request, until)
            inner = answer.get(key)
            found = inner if isinstance(inner, dict) else answer
            if found.get("id") not in (None, wanted):
                raise unavailable(request, "answered about something else.", arrived=True)
            if not any(found.get(name) for name in IDENTITY):
                raise unavailable(request, f"gave a response without a {key}.", arrived=True)
            return found

        return (yield from self._read(attempt, until))

    def _json(self, request: Request, until: float) -> Procedure[dict[str, Any]]:
        from coval_gate.coval.models import parse_object

        return self._parsed(request, (yield from self._send(request, until)), parse_object)

    def _new_run(self, request: Request, response: Response) -> Run:
        """Read the run that was launched; only its id matters."""
        # pydantic takes longer to import than the rest of the start; the launch is on its way by now.
        from coval_gate.coval.models import parse_run

        return self._parsed(request, self._succeeded(request, response), partial(parse_run, launched=True))

    def _parsed(self, request: Request, response: Response, parse: Callable[[bytes], T]) -> T:
        try:
            return parse(response.body)
        except ValueError as error:
            raise unavailable(request, f"gave a response that makes no sense ({error}).", arrived=True) from None

    def _send(self, request: Request, until: float) -> Procedure[Response]:
        """Send a request once, and return its response if that is a success. Raises CovalError otherwise."""
        try:
            response = yield from self._transport.send(request, until=until)
        except NetworkError as error:
            raise network_problem(request, error) from None
        return self._succeeded(request, response)

    def _succeeded(self, request: Request, response: Response) -> Response:
        if not response.ok:
            raise response_problem(request, response, now=self._clock.time(), reached=self._reached)
        self._reached = True
        return response

    def _read(self, attempt: Callable[[], Procedure[T]], until: float) -> Procedure[T]:
        return repeat(attempt, Unavailable, self._backoff(until))

    def _backoff(self, until: float, *, launches: bool = False) -> Callable[[Unavailable, int], float | None]:
        """Return the pause after an error: exponential, with half of it random, so that jobs do not retry in step.

        A read is repeated once more just at `until`; a launch only if it surely had no effect, and never that late.
        """
        told = float("-inf")

        def pause_after(error: Unavailable, tries: int) -> float | None:
            nonlocal told
            left = until - self._clock.now()
            backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(tries, 10)) * self._randomness.uniform(0.5, 1)
            pause = error.retry_after or backoff
            if left <= 0 or (launches and (error.arrived or pause >= left)):
                return None
            pause = min(left, pause)
            if self._clock.now() - told >= HEARTBEAT:
                self._log(f"{error.what} Trying again in {duration(pause)}.")
                told = self._clock.now()
            return pause

        return pause_after
