"""Calls to Coval, repeated as far as that is safe.

A read may be repeated after any transient failure. A launch starts phone calls that cost money, so it is repeated only
if it surely had no effect: the connection was refused, the name did not resolve, or Coval itself says "later" (429,
503).
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from coval_gate.coval.definitions import IDENTITY
from coval_gate.coval.errors import unavailable
from coval_gate.coval.transport import USUAL_TIMEOUTS, Request, Timeouts, Transport
from coval_gate.errors import LaunchUncertain, Rejected, Unavailable
from coval_gate.text import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from coval_gate.clock import Clock
    from coval_gate.model.results import Simulation
    from coval_gate.model.run import Run
    from coval_gate.secret import Secret

T = TypeVar("T")

LAUNCH_PATIENCE: Final = 300.0  # s during which a launch that had no effect is repeated
FIRST_BACKOFF: Final = 1.0  # s
LONGEST_BACKOFF: Final = 30.0  # s
PAGE_SIZE: Final = 1000  # simulations; the most that the API gives at a time
SMALL_PAGE: Final = 100  # test cases; the most that the API gives of those
CANONICAL: Final = "/conversations/simulated"
LEGACY: Final = "/simulations"
SIMULATIONS_ADVICE: Final = (
    "Give the API key the permission simulated-conversations:read (or the older simulations:read): "
    "the simulations tell whether the run can be trusted."
)
HEARTBEAT: Final = 60.0  # s between two sentences about the same trouble


class Client:
    """Coval's API at `root` (…/v1). `log` takes a sentence for the people who wait."""

    def __init__(
        self,
        root: str,
        key: Secret,
        *,
        clock: Clock,
        log: Callable[[str], None],
        workspace_id: str = "",
        timeouts: Timeouts = USUAL_TIMEOUTS,
        chance: random.Random | None = None,
    ) -> None:
        self._transport = Transport(root, key, clock=clock, timeouts=timeouts, workspace_id=workspace_id)
        self._clock = clock
        self._log = log
        self._simulation_path = CANONICAL
        self._chance = chance or random.Random()  # noqa: S311 - spreads retries, guards nothing

    def close(self) -> None:
        """Close the connections; the next call opens a new one."""
        self._transport.close()

    def launch_run(self, body: Mapping[str, Any], *, until: float) -> Run:
        """`POST /runs`. Repeats what surely had no effect, until the deadline or LAUNCH_PATIENCE.

        Raises Rejected, Unavailable (no run exists) or LaunchUncertain (one may exist).
        """
        request = Request("POST", "/runs", json=body)
        try:
            return self._repeat(
                lambda: self._launched(request, until),
                until=min(until, self._clock.now() + LAUNCH_PATIENCE),
                when=lambda error: not error.arrived,
                at_deadline=False,
            )
        except Unavailable as error:
            if not error.arrived:
                raise
            raise LaunchUncertain(
                "Launch uncertain",
                f"The launch was sent, but its answer was lost: {error.what}",
                advice="A run may have started. Look for it in Coval before you launch again.",
            ) from None

    def get_run(self, run_id: str, *, until: float) -> Run:
        """`GET /runs/{run_id}`, repeated after transient failures until the deadline, and once more at it.

        Raises Rejected (NotFound for a 404), or Unavailable if there was no usable answer by the deadline.
        """
        request = Request("GET", f"/runs/{quote(run_id, safe='')}")
        return self._read(lambda: self._run(request, until, run_id), until)

    def end_run(self, run_id: str, *, until: float) -> None:
        """`DELETE /runs/{run_id}`, sent once: it ends a run that is not finished, and deletes one that is.

        Where its answer is lost, the run may be finished by now. Raises Rejected (NotFound for a 404), or Unavailable.
        """
        from coval_gate.coval.models import parse_object

        request = Request("DELETE", f"/runs/{quote(run_id, safe='')}")
        answer = self._transport.send(request, until=until)
        try:
            parse_object(answer or b"{}")  # a page that something in between shows is no success
        except ValueError as error:
            raise _senseless(str(request), error) from None

    def late_launch(self, within: float) -> Run:
        """The run of a launch whose answer nobody waited for.

        Raises CovalError if that does not come `within` seconds.
        """
        return self._new_run(self._transport.late_answer(within), "POST /runs")

    def list_runs(self, wanted: str, *, until: float) -> tuple[Run, ...]:
        """The newest runs that match a filter; what is none is left out. Raises as `get_run` does."""
        from coval_gate.coval.models import read_run

        query = {"filter": wanted, "page_size": str(SMALL_PAGE), "order_by": "-create_time"}
        request = Request("GET", "/runs", query=query)
        answer = self._read(partial(self._page, request, ("runs",), until), until)
        found = (read_run(each) for each in answer.get("runs") or () if isinstance(each, dict))
        return tuple(run for run in found if run)

    def list_simulations(self, run_id: str, *, until: float) -> tuple[Simulation, ...]:
        """Every simulation of a run, oldest first, in as few pages as the API allows.

        The list moved from /simulations to /conversations/simulated, with a permission of its own; whichever of the
        two the API has and the key may read serves. Raises as `get_run` does.
        """
        try:
            return self._simulations(run_id, until)
        except Rejected as error:
            if error.status not in (403, 404) or self._simulation_path != CANONICAL:
                raise
            self._simulation_path = LEGACY
        try:
            return self._simulations(run_id, until)
        except Rejected as error:
            raise type(error)(
                error.status, error.title, error.what, advice=SIMULATIONS_ADVICE, link=error.link
            ) from None

    def get_metric(self, metric_id: str, *, until: float) -> dict[str, Any]:
        """The definition of a metric, as it is. Raises as `get_run` does."""
        return self._get("/metrics", metric_id, "metric", until)

    def get_test_case(self, test_case_id: str, *, until: float) -> dict[str, Any]:
        """A test case, as it is. Raises as `get_run` does."""
        return self._get("/test-cases", test_case_id, "test_case", until)

    def list_test_cases(self, test_set_id: str, *, until: float) -> Iterator[dict[str, Any]]:
        """The test cases of a test set, as they are, page after page as they are needed. Raises as `get_run` does."""
        query = {"filter": f'test_set_id="{test_set_id}"', "page_size": str(SMALL_PAGE)}
        return self._pages("/test-cases", query, ("test_cases",), until)

    def list_metric_outputs(self, simulation_id: str, *, until: float) -> tuple[dict[str, Any], ...]:
        """A simulation's metric outputs with their explanations, without transcripts. Raises as `get_run` does."""
        path = f"{self._simulation_path}/{quote(simulation_id, safe='')}/metrics"
        query = {"view": "BASIC", "page_size": str(SMALL_PAGE)}
        return tuple(self._pages(path, query, ("metrics",), until))

    def _simulations(self, run_id: str, until: float) -> tuple[Simulation, ...]:
        from coval_gate.coval.values import read_simulation

        query = {"filter": f'run_id="{run_id}"', "page_size": str(PAGE_SIZE), "order_by": "create_time"}
        simulations: dict[str, Simulation] = {}
        for entry in self._pages(self._simulation_path, query, ("simulated_conversations", "simulations"), until):
            # A filter that the API did not heed must not bring in somebody else's simulations.
            if entry.get("run_id") not in (None, run_id, f"runs/{run_id}"):
                continue
            simulation = read_simulation(entry)
            if simulation is None:
                raise unavailable(f"GET {self._simulation_path}", "listed a simulation without an id.", arrived=True)
            # Should one be listed twice, nobody can tell that it completed.
            if simulations.setdefault(simulation.id, simulation).completed:
                simulations[simulation.id] = simulation
        return tuple(simulations.values())

    def _pages(self, path: str, query: Mapping[str, str], keys: tuple[str, ...], until: float) -> Iterator[Any]:
        """The entries of a list, page after page; `keys` are the names that the list may have."""
        tokens: set[str] = set()
        token = ""
        while True:
            request = Request("GET", path, query={**query, **({"page_token": token} if token else {})})
            self._check_time(request, until)
            answer = self._read(partial(self._page, request, keys, until), until)
            entries = next((answer[key] for key in keys if key in answer), None) or []
            yield from (each for each in entries if isinstance(each, dict))
            following = answer.get("next_page_token")
            if not following:
                return
            token = str(following)
            if token in tokens:
                raise unavailable(str(request), "gave the same page again and again.", arrived=True)
            tokens.add(token)

    def _page(self, request: Request, keys: tuple[str, ...], until: float) -> dict[str, Any]:
        answer = self._json(request, until)
        entries = next((answer[key] for key in keys if key in answer), ...)
        if not (entries is None or isinstance(entries, list)):
            raise unavailable(str(request), f"gave an answer without {keys[0]}.", arrived=True)
        if not isinstance(answer.get("next_page_token"), str | int | None):
            raise unavailable(str(request), "gave a page token that is none.", arrived=True)
        return answer

    def _check_time(self, request: Request, until: float) -> None:
        """One call of many must not begin when the time for all of them is up."""
        if self._clock.now() > until:
            raise unavailable(str(request), "was not sent: the time is up.", arrived=False)

    def _get(self, path: str, wanted: str, key: str, until: float) -> dict[str, Any]:
        request = Request("GET", f"{path}/{quote(wanted, safe='')}")

        self._check_time(request, until)

        def attempt() -> dict[str, Any]:
            answer = self._json(request, until)
            inner = answer.get(key)
            found = inner if isinstance(inner, dict) else answer
            if found.get("id") not in (None, wanted):
                raise unavailable(str(request), "answered about something else.", arrived=True)
            if not any(found.get(name) for name in IDENTITY):
                raise unavailable(str(request), f"gave an answer without a {key}.", arrived=True)
            return found

        return self._read(attempt, until)

    def _json(self, request: Request, until: float) -> dict[str, Any]:
        from coval_gate.coval.models import parse_object

        try:
            return parse_object(self._transport.send(request, until=until))
        except ValueError as error:
            raise _senseless(str(request), error) from None

    def _read(self, attempt: Callable[[], T], until: float) -> T:
        return self._repeat(attempt, until=until, when=lambda _: True, at_deadline=True)

    def _run(self, request: Request, until: float, run_id: str) -> Run:
        """The run that an answer is about."""
        from coval_gate.coval.models import parse_run

        answer = self._transport.send(request, until=until)
        try:
            run = parse_run(answer)
        except ValueError as error:
            raise _senseless(str(request), error) from None
        if run_id != run.run_id:
            raise unavailable(str(request), f"answered about another run ({run.run_id}).", arrived=True)
        return run

    def _launched(self, request: Request, until: float) -> Run:
        answer = self._transport.send(request, until=until)
        return self._new_run(answer, str(request))

    def _new_run(self, answer: bytes, call: str) -> Run:
        """The run that was launched; only its id matters."""
        # pydantic takes longer to import than the rest of the start; the launch is on its way by now.
        from coval_gate.coval.models import parse_run

        try:
            return parse_run(answer, launched=True)
        except ValueError as error:
            raise _senseless(call, error) from None

    def _repeat(
        self, attempt: Callable[[], T], *, until: float, when: Callable[[Unavailable], bool], at_deadline: bool
    ) -> T:
        """Make `attempt` until it succeeds, fails for good, or time is up; with `at_deadline` once more just then."""
        tries, told = 0, float("-inf")
        while True:
            try:
                return attempt()
            except Unavailable as error:
                left = until - self._clock.now()
                pause = error.retry_after or self._backoff(tries)
                if left <= 0 or not when(error) or (pause >= left and not at_deadline):
                    raise
                pause = min(left, pause)
                if self._clock.now() - told >= HEARTBEAT:
                    self._log(f"{error.what} Trying again in {duration(pause)}.")
                    told = self._clock.now()
                self._clock.sleep(pause)
                tries += 1

    def _backoff(self, tries: int) -> float:
        """Exponential, with half of it left to chance, so that many jobs do not come back together."""
        return min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(tries, 10)) * self._chance.uniform(0.5, 1)


def _senseless(call: str, error: ValueError) -> Unavailable:
    return unavailable(call, f"gave an answer that makes no sense ({error}).", arrived=True)
