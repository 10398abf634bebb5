"""The reason names what went wrong for as long as the step tried, not that its last attempt came too late."""

from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from coval_gate.base.errors import Unavailable
from coval_gate.base.schedule import Procedure, run
from coval_gate.coval.client import Client
from coval_gate.coval.model import LaunchRequest, RunFilter
from coval_gate.coval.resources import METRIC, cases_of
from coval_sandbox.catalogue import AGENT_ID
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import VirtualClock, new_client, run_main_step

TOO_LATE = "was not sent"
WANTED = LaunchRequest(agent_id=AGENT_ID, persona_id="persona000000000000001", test_set_id="passing1")
CALLS: dict[str, Callable[[Client, float], Procedure[object]]] = {
    "/runs/*": lambda client, until: client.get_run("r1", until=until),
    "/runs": lambda client, until: client.list_runs(RunFilter(), until=until),
    "/conversations/simulated": lambda client, until: client.list_simulations("r1", until=until),
    "/conversations/simulated/*": lambda client, until: client.get_transcript("s1", until=until),
    "/metrics/*": lambda client, until: client.get(METRIC, "m1", until=until),
    "/test-cases": lambda client, until: client.list(cases_of("t1"), until=until),
}


class TickingClock(VirtualClock):
    """A clock on which nothing happens at the very moment that it was planned for, as in reality."""

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds + 0.001)


@pytest.mark.parametrize(("path", "fault"), [*zip(CALLS, ["503", "reset-before", "body {"] * 2, strict=True)])
def test_call_that_the_deadline_cuts_off_fails_with_what_went_wrong(path: str, fault: str) -> None:
    clock = TickingClock()
    with Server(World(clock.time), faults=[f"GET {path} -> {fault}"]) as server:
        client = new_client(server.url, clock)
        with pytest.raises(Unavailable) as caught:
            run(CALLS[path](client, 30.0), clock)
        assert TOO_LATE not in caught.value.what
        with pytest.raises(Unavailable) as again:  # a series of calls goes on, and the next one is cut off as well
            run(CALLS["/test-cases"](client, 30.0), clock)
        assert again.value.what == caught.value.what


class BusyClock(TickingClock):
    """A clock on which each request takes a while."""

    def wait(self, event: Event, until: float) -> None:
        super().wait(event, until)
        self._now += 1


@pytest.mark.parametrize("path", ["/runs", "/test-cases"])
def test_list_that_does_not_end_before_the_deadline_says_so(path: str) -> None:
    clock = BusyClock()
    page = '{"runs": [], "simulations": [], "test_cases": [], "next_page_token": "%d"}'
    with Server(World(clock.time), faults=[f"GET {path} #{n} -> json {page % n}" for n in range(1, 99)]) as server:
        client = new_client(server.url, clock)
        with pytest.raises(Unavailable, match=TOO_LATE):
            run(CALLS[path](client, 30.0), clock)


def test_call_that_comes_too_late_by_itself_says_so(clock: VirtualClock) -> None:
    with Server(World(clock.time)) as server:
        client = new_client(server.url, clock, ends=-1.0)
        with pytest.raises(Unavailable, match=TOO_LATE):
            run(client.list(cases_of("t1"), until=-1.0), clock)
        with pytest.raises(Unavailable, match="POST /runs was not sent: the deadline has passed"):
            run(client.launch_run(WANTED, until=-1.0, sent=lambda _: None), clock)


def test_launch_that_comes_too_late_fails_with_what_held_it_up(clock: VirtualClock) -> None:
    """Nothing was launched, whatever became of the calls before."""
    with Server(World(clock.time), faults=["GET /runs -> 503"]) as server:
        client = new_client(server.url, clock, ends=30.0)
        with pytest.raises(Unavailable):
            run(client.list_runs(RunFilter(), until=30.0), clock)
        clock.sleep(1.0)
        with pytest.raises(Unavailable) as caught:
            run(client.launch_run(WANTED, until=30.0, sent=lambda _: None), clock)
        assert caught.value.what.startswith(
            "POST /runs was not sent before max_wait_time was over. The last failure until then: GET /runs returned 503"
        )
        assert (caught.value.arrived, server.world.runs) == (False, ())


@pytest.mark.parametrize("path", ["/conversations/simulated", "/runs/* #2-"])
def test_reason_names_the_outage(path: str, tmp_path: Path) -> None:
    clock = TickingClock()
    glob, _, count = path.partition(" ")
    with Server(World(clock.time), faults=[f"GET {glob} {count} -> 503".replace("  ", " ")]) as server:
        result = run_main_step(tmp_path, server.url, clock, use_metric_targets="true", max_wait_time="120")
    assert "returned 503" in result.outputs["reason"]
    assert TOO_LATE not in result.log
    assert clock.now() <= 130.5
