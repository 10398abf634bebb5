"""Outages: the reason names what went wrong for as long as the step tried, and no step launches without its look-up."""

from collections.abc import Callable
from pathlib import Path

import pytest

from coval_gate.base.errors import Unavailable
from coval_gate.base.schedule import Procedure, run
from coval_gate.base.times import LOOKING_UP
from coval_gate.coval.client import Client
from coval_gate.coval.model import LaunchRequest, RunFilter
from coval_gate.coval.resources import METRIC, cases_of
from coval_sandbox.catalogue import AGENT_ID
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.legs import NEWER, RERUN
from road.nights import RunStep
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


def test_call_that_comes_too_late_by_itself_reports_that(clock: VirtualClock) -> None:
    with Server(World(clock.time)) as server:
        client = new_client(server.url, clock, ends=-1.0)
        with pytest.raises(Unavailable, match=TOO_LATE):
            run(client.list(cases_of("t1"), until=-1.0), clock)
        with pytest.raises(Unavailable, match="POST /runs was not sent: the deadline has passed"):
            run(client.launch_run(WANTED, until=-1.0, sent=lambda _: None), clock)


def test_launch_that_comes_too_late_fails_with_what_delayed_it(clock: VirtualClock) -> None:
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


@pytest.mark.parametrize("calls", ["/conversations/simulated", "/runs/* #2-"])
def test_reason_names_the_outage(calls: str, tmp_path: Path) -> None:
    clock = TickingClock()
    with Server(World(clock.time), faults=[f"GET {calls} -> 503"]) as server:
        result = run_main_step(tmp_path, server.url, clock, use_metric_targets="true", max_wait_time="120")
    assert "returned 503" in result.outputs["reason"]
    assert TOO_LATE not in result.log
    assert clock.now() <= 130.5


# A step that must look for earlier runs does not launch before Coval has listed them


@pytest.mark.parametrize(
    ("fault", "name", "env"), [("503", "resume", RERUN), ("body {}", "supersede", NEWER), ("403", "supersede", NEWER)]
)
def test_step_does_not_launch_without_look_up(
    fault: str, name: str, env: dict[str, str], run_step: RunStep, clock: VirtualClock
) -> None:
    _, server = run_step(mode="launch", test_set_id="stuck001")
    inputs = {"test_set_id": "stuck001", "supersede": "true" if name == "supersede" else "false"}
    began = clock.now()
    second, _ = run_step(f"GET /runs -> {fault}", world=server.world, env=env, **inputs)
    assert (second.outputs["verdict"], len(server.world.runs)) == ("error", 1)
    assert f"set {name} to false" in second.annotations("error")[0].data
    assert clock.now() - began == (0 if fault == "403" else LOOKING_UP)
    assert not second.post_step_cancels
    third, _ = run_step(f"GET /runs -> {fault}", world=server.world, env=env, mode="launch", **inputs | {name: "false"})
    assert (third.outputs["status"], len(server.world.runs)) == ("LAUNCHED", 2)


def test_look_up_keeps_deadline_of_step_and_a_first_attempt_needs_none(run_step: RunStep, clock: VirtualClock) -> None:
    first, server = run_step("GET /runs -> 503")
    assert first.outputs["verdict"] == "passed"
    began = clock.now()
    second, _ = run_step("GET /runs -> 503", world=server.world, env=RERUN, max_wait_time="60")
    assert (second.outputs["verdict"], len(server.world.runs), clock.now() - began) == ("error", 1, 60)
