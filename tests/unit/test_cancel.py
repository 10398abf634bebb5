"""A run is cancelled once, and never deleted."""

from collections.abc import Sequence
from typing import Any

import pytest

from coval_gate.base.errors import LaunchUncertain, NotFound, Rejected, Unavailable
from coval_gate.base.schedule import Procedure, run
from coval_gate.coval.errors import unavailable
from coval_gate.coval.model import Run
from coval_gate.gate.verdict import Cancellation
from coval_gate.history.tags import Tags
from coval_gate.step.cancel import MAX_POLL_AGE, cancel_run, find_launched
from coval_gate.step.leg import Trial
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import IDS, VirtualClock, new_client, new_session

STUCK = IDS | {"test_set_id": "stuck001"}


class Session:
    """A sandbox with one run, and a client that has 30 s to cancel it."""

    def __init__(self, clock: VirtualClock, *faults: str, body: dict[str, str] = STUCK, **quirks: float) -> None:
        self.clock = clock
        self.world = World(clock.time, quirks=Quirks(**quirks))  # type: ignore[arg-type]
        self.world.launch(body)
        self.run_id = self.world.runs[0].run_id
        self.server = Server(self.world, faults=faults)

    def cancel(self, run_id: str = "", *, fresh_for: float = 0.0) -> Cancellation:
        with self.server:
            now = self.clock.now()
            session = new_session(new_client(self.server.url, self.clock), self.clock, deadline=now + 30)
            procedure = cancel_run(session, run_id or self.run_id, fresh_until=now + fresh_for)
            return run(procedure, self.clock)

    @property
    def status(self) -> str:
        return self.world.runs[0].status(self.world.clock())

    @property
    def calls(self) -> list[str]:
        return [request.method for request in self.server.requests_seen]


def test_unfinished_run_is_cancelled(clock: VirtualClock) -> None:
    session = Session(clock)
    cancellation = session.cancel()
    assert (cancellation.outcome, cancellation.run_id) == ("cancelled", session.run_id)
    assert (session.status, session.calls) == ("CANCELLED", ["GET", "DELETE"])


def test_finished_run_is_not_cancelled(clock: VirtualClock) -> None:
    session = Session(clock, body=IDS)
    clock.sleep(600)
    cancellation = session.cancel()
    assert (cancellation.outcome, cancellation.status) == ("over", "COMPLETED")
    assert session.calls == ["GET"]


@pytest.mark.parametrize("fault", ["500", "reset-before", "502", "html 503", "hang 0.1", "429"])
def test_failed_requests_are_retried_with_poll_before_each_delete(fault: str, clock: VirtualClock) -> None:
    session = Session(clock, f"GET /runs/* #1 -> {fault}", f"DELETE /runs/* #1 -> {fault}")
    assert session.cancel().outcome == "cancelled"
    assert session.status == "CANCELLED"
    assert session.calls == ["GET", "GET", "DELETE", "GET", "DELETE"]


@pytest.mark.parametrize("fault", ["reset-after", "500 after", "cut 1"])
def test_run_is_cancelled_despite_lost_delete_response(fault: str, clock: VirtualClock) -> None:
    session = Session(clock, f"DELETE /runs/* #1 -> {fault}")
    assert session.cancel().outcome == "cancelled"
    assert session.calls == ["GET", "DELETE", "GET"]


def test_404_after_lost_delete_response_means_cancelled(clock: VirtualClock) -> None:
    session = Session(clock, "DELETE /runs/* #1 -> reset-after", "GET /runs/* #2 -> 404")
    assert session.cancel().outcome == "cancelled"


def test_unknown_run_is_gone_without_retry(clock: VirtualClock) -> None:
    assert Session(clock).cancel("nowhere").outcome == "gone"
    assert clock.slept == []


def test_404_of_new_run_is_retried(clock: VirtualClock) -> None:
    session = Session(clock, not_found_after_launch=12)
    assert session.cancel(fresh_for=20).outcome == "cancelled"
    assert session.status == "CANCELLED"
    assert 12 <= clock.now() < 20


def test_persistent_404_of_new_run_is_error_at_deadline(clock: VirtualClock) -> None:
    session = Session(clock, not_found_after_launch=100)
    with pytest.raises(NotFound):
        session.cancel(fresh_for=60)
    assert clock.now() == 30


def test_persistent_failure_is_raised_at_deadline(clock: VirtualClock) -> None:
    session = Session(clock, "GET /runs/* -> 500")
    with pytest.raises(Unavailable):
        session.cancel()
    assert clock.now() == 30
    assert session.calls[-1] == "GET", "the last attempt is at the deadline"


def test_rejected_delete_is_raised_without_retry(clock: VirtualClock) -> None:
    session = Session(clock, "DELETE /runs/* -> 403")
    with pytest.raises(Rejected):
        session.cancel()
    assert clock.slept == []


class SlowClock(VirtualClock):
    """A clock on which the first two responses of a server take longer than MAX_POLL_AGE."""

    seen: Sequence[object] = ()

    def now(self) -> float:
        return super().now() + (MAX_POLL_AGE + 1) * min(len(self.seen), 2)


def test_run_is_polled_again_before_delete_after_slow_poll() -> None:
    clock = SlowClock()
    session = Session(clock)
    clock.seen = session.server.requests_seen
    assert session.cancel().outcome == "cancelled"
    assert session.calls == ["GET", "GET", "GET", "DELETE"]


@pytest.mark.parametrize("settling", [40.0, 60.0])
def test_last_search_without_time_says_no_more_than_those_before(
    settling: float, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real clock wakes the step when the deadline is over already."""
    deadline = clock.now() + 40
    with Server(World(clock.time)) as server:
        client = new_client(server.url, clock)
        list_runs = client.list_runs

        def without_time(*args: Any, **options: Any) -> Procedure[tuple[Run, ...]]:
            if clock.now() >= deadline:
                raise unavailable("GET /runs", "was not sent.", arrived=False, too_late=True)
            return (yield from list_runs(*args, **options))

        monkeypatch.setattr(client, "list_runs", without_time)
        searching = find_launched(
            new_session(client, clock, deadline=deadline), Trial(ids=IDS, tags=Tags("a")), settling=settling
        )
        with pytest.raises(LaunchUncertain, match="did not list the run"):
            run(searching, clock)
