"""Calls to Coval, retried where that is safe.

The client retries a read after any transient failure. A launch starts phone calls that cost money, so the client
retries it only if it certainly had no effect: the connection was refused, the name did not resolve, or Coval itself
asks to retry later (429, 503). Every call is a procedure (see `waiting`). `until`, a time on the clock's now(), is its
deadline.
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

LAUNCH_PATIENCE: Final = 300.0  # s during which a launch without effect is retried
FIRST_BACKOFF: Final = 1.0  # s
LONGEST_BACKOFF: Final = 30.0  # s
BODY_LIMIT: Final = 32 * 1024 * 1024  # bytes; a run with 10,000 simulations and 10 metrics has about a third
PAGE_SIZE: Final = 1000  # simulations; the API's maximum
SMALL_PAGE: Final = 100  # test cases; the API's maximum
CANONICAL: Final = "/conversations/simulated"
LEGACY: Final = "/simulations"
SIMULATIONS_ADVICE: Final = (
    "Give the API key the permission simulated-conversations:read (or the older simulations:read): "
    "the check is based on the simulations."
)
HEARTBEAT: Final = 60.0  # s between two log lines about the same failure
HURRIED_TIMEOUTS: Final = Timeouts(connect=1.5, response=2.0, final=0.5)  # for a process that is about to be killed


def connect(inputs: Inputs, runtime: Runtime, log: Callable[[str], None], *, hurried: bool = False) -> Client:
    """Return a client for the API in `inputs`. `log` writes a line to the step's log.

    `hurried`: the runner is about to kill the process. Raises ValueError without an API key.
    """
    return Client(server_of(inputs, HURRIED_TIMEOUTS if hurried else Timeouts()), runtime, log)


def server_of(inputs: Inputs, timeouts: Timeouts = Timeouts()) -> Server:  # noqa: B008 - frozen
    """Return the API's address, and the headers of every request. Raises ValueError without an API key."""
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
    """One `POST /runs`, whose response may arrive late."""

    def __init__(self, exchange: Exchange, read: Callable[[Request, Response], Run]) -> None:
        self._exchange = exchange
        self._read = read

    def response(self) -> Procedure[Run]:
        """Send the request, and wait for the run. Raises CovalError."""
        return self._run(self._exchange.response())

    def late_response(self, within: float) -> Procedure[Run]:
        """Wait for the run again, for up to `within` seconds. Raises CovalError."""
        return self._run(self._exchange.late_response(within))

    def _run(self, response: Procedure[Response]) -> Procedure[Run]:
        request = self._exchange.request
        try:
            return self._read(request, (yield from response))
        except NetworkError as error:
            raise network_problem(request, error) from None


class Client:
    """Coval's API. Every method is a procedure that returns parsed data or raises CovalError."""

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
        """Launch a run with `POST /runs`. Retry attempts without effect until the deadline or LAUNCH_PATIENCE.

        `sent` is called with each attempt just before it is sent. Raises Rejected, Unavailable (no run exists) or
        LaunchUncertain (a run may exist).
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
                advice="A run may have started. Look for it in Coval before you launch another.",
            ) from None

    def get_run(self, run_id: str, *, until: float, once: bool = False) -> Procedure[Run]:
        """Fetch a run with `GET /runs/{run_id}`. Retry transient failures until the deadline, and a last time at it.

        `once`: do not retry. Raises Rejected (NotFound for a 404), or Unavailable without a usable response by the
        deadline.
        """
        request = Request("GET", f"/runs/{quote(run_id, safe='')}")

        def attempt() -> Procedure[Run]:
            from coval_gate.coval.models import parse_run

            run = self._parsed(request, (yield from self._send(request, until)), parse_run)
            if run_id != run.run_id:
                raise unavailable(request, f"returned another run ({run.run_id}).", arrived=True)
            return run

        return attempt() if once else self._read(attempt, until)

    def delete_run(self, run_id: str, *, until: float) -> Procedure[None]:
        """Send `DELETE /runs/{run_id}` once. It cancels an unfinished run, and deletes a finished one.

        It is not retried after a lost response, because the run may be finished by then. Raises Rejected (NotFound for
        a 404) or Unavailable.
        """
        from coval_gate.coval.models import parse_object

        request = Request("DELETE", f"/runs/{quote(run_id, safe='')}")
        response = yield from self._send(request, until)
        # A proxy's page is not a success.
        self._parsed(request, response._replace(body=response.body or b"{}"), parse_object)

    def list_runs(self, wanted: str, *, until: float) -> Procedure[tuple[Run, ...]]:
        """Return the newest runs that match the filter `wanted`, without unreadable entries. Raises as `get_run`."""
        from coval_gate.coval.models import read_run

        query = {"filter": wanted, "page_size": str(SMALL_PAGE), "order_by": "-create_time"}
        request = Request("GET", "/runs", query=query)
        content = yield from self._read(partial(self._page, request, ("runs",), until), until)
        found = (read_run(each) for each in content.get("runs") or () if isinstance(each, dict))
        return tuple(run for run in found if run)

    def list_simulations(self, run_id: str, *, until: float) -> Procedure[tuple[Simulation, ...]]:
        """Return every simulation of a run, oldest first, in as few pages as the API allows. Raises as `get_run`.

        The API moved the list from /simulations to /conversations/simulated, with a separate permission. The client
        uses the one that exists and that the key may read.
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
        """Return the definition of a metric as raw JSON. Raises as `get_run`."""
        return self._get("/metrics", metric_id, "metric", until)

    def get_test_case(self, test_case_id: str, *, until: float) -> Procedure[dict[str, Any]]:
        """Return a test case as raw JSON. Raises as `get_run`."""
        return self._get("/test-cases", test_case_id, "test_case", until)

    def list_test_cases(
        self, test_set_id: str, *, until: float, take: Callable[[dict[str, Any]], bool]
    ) -> Procedure[None]:
        """Pass each test case of a test set to `take`, as raw JSON, while it returns True. Raises as `get_run`."""
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
            # If the API ignores the filter, the list includes simulations of other runs.
            if entry.get("run_id") not in (None, run_id, f"runs/{run_id}"):
                return True
            simulation = read_simulation(entry)
            if simulation is None:
                raise unavailable(f"GET {self._simulation_path}", "returned a simulation without an id.", arrived=True)
            # A simulation listed twice counts as completed only if both entries say so.
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
        """Fetch a list page by page, and pass its entries to `take` while it returns True.

        `keys` are the possible names of the list in a response.
        """
        tokens: set[str] = set()
        token = ""
        while True:
            request = Request("GET", path, query={**query, **({"page_token": token} if token else {})})
            self._check_time(request, until)
            content = yield from self._read(partial(self._page, request, keys, until), until)
            entries = next((content[key] for key in keys if key in content), None) or []
            if not all(take(each) for each in entries if isinstance(each, dict)):
                return
            following = content.get("next_page_token")
            if not following:
                return
            token = str(following)
            if token in tokens:
                raise unavailable(request, "returned the same page token twice.", arrived=True)
            tokens.add(token)

    def _page(self, request: Request, keys: tuple[str, ...], until: float) -> Procedure[dict[str, Any]]:
        content = yield from self._json(request, until)
        entries = next((content[key] for key in keys if key in content), ...)
        if not (entries is None or isinstance(entries, list)):
            raise unavailable(request, f"returned a response without {keys[0]}.", arrived=True)
        if not isinstance(content.get("next_page_token"), str | int | None):
            raise unavailable(request, "returned an invalid page token.", arrived=True)
        return content

    def _check_time(self, request: Request, until: float) -> None:
        """Raise Unavailable if the deadline for a series of calls has passed."""
        if self._clock.now() > until:
            raise unavailable(request, "was not sent: the deadline has passed.", arrived=False)

    def _get(self, path: str, wanted: str, key: str, until: float) -> Procedure[dict[str, Any]]:
        request = Request("GET", f"{path}/{quote(wanted, safe='')}")
        self._check_time(request, until)

        def attempt() -> Procedure[dict[str, Any]]:
            content = yield from self._json(request, until)
            inner = content.get(key)
            found = inner if isinstance(inner, dict) else content
            if found.get("id") not in (None, wanted):
                raise unavailable(request, f"returned another {key}.", arrived=True)
            if not any(found.get(name) for name in IDENTITY):
                raise unavailable(request, f"returned a response without a {key}.", arrived=True)
            return found

        return (yield from self._read(attempt, until))

    def _json(self, request: Request, until: float) -> Procedure[dict[str, Any]]:
        from coval_gate.coval.models import parse_object

        return self._parsed(request, (yield from self._send(request, until)), parse_object)

    def _new_run(self, request: Request, response: Response) -> Run:
        """Read the launched run; only its id matters."""
        # pydantic takes longer to import than the rest of the start, so import it after the launch was sent.
        from coval_gate.coval.models import parse_run

        return self._parsed(request, self._succeeded(request, response), partial(parse_run, launched=True))

    def _parsed(self, request: Request, response: Response, parse: Callable[[bytes], T]) -> T:
        try:
            return parse(response.body)
        except ValueError as error:
            raise unavailable(request, f"returned an unreadable response ({error}).", arrived=True) from None

    def _send(self, request: Request, until: float) -> Procedure[Response]:
        """Send a request once, and return its response. Raises CovalError if that is not a success."""
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
        """Return a function for the pause after an error, in seconds; None: do not retry.

        The pause grows exponentially, and half of it is random, so that jobs do not retry in step. A read is retried a
        last time exactly at `until`. A launch is retried only if it certainly had no effect, and only before `until`.
        """
        report_retry = self.retry_reporter()

        def pause_after(error: Unavailable, tries: int) -> float | None:
            left = until - self._clock.now()
            backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(tries, 10)) * self._randomness.uniform(0.5, 1)
            pause = error.retry_after or backoff
            if left <= 0 or (launches and (error.arrived or pause >= left)):
                return None
            pause = min(left, pause)
            report_retry(error, pause)
            return pause

        return pause_after

    def retry_reporter(self) -> Callable[[Unavailable, float], None]:
        """Return a function that logs an error and the pause after it, in seconds: the first one, then one a minute."""
        logged = float("-inf")

        def report(error: Unavailable, pause: float) -> None:
            nonlocal logged
            if self._clock.now() - logged >= HEARTBEAT:
                self._log(f"{error.what} Retrying in {duration(pause)}.")
                logged = self._clock.now()

        return report
