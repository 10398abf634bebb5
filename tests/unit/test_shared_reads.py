"""Legs that need the same answer of Coval at about the same time share one call, and one error; nothing of a run."""

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

import pytest

from coval_gate.base.errors import NotFound, Rejected, Unavailable
from coval_gate.base.schedule import Procedure, SharedCall, Wait, run, together
from coval_gate.coval.calls import ALIKE, SHARED
from coval_gate.coval.client import Client
from coval_gate.coval.model import RunFilter
from coval_gate.coval.resources import AGENT, METRIC, PERSONA, TEST_SET, cases_of, mutations_of
from coval_sandbox.catalogue import AGENT_ID, LATENCY
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import IDS, VirtualClock, new_client

LEGS = 20


class Coval:
    """A sandbox with the clients of several legs, which write their own lines."""

    def __init__(self, server: Server, clock: VirtualClock) -> None:
        self.server = server
        self.clock = clock
        self.lines: list[str] = []
        first = new_client(server.url, clock, log=self.lines.append)
        self.clients = [first.logging_to(self.lines.append) for _ in range(LEGS)]

    def all(self, read: Callable[[Client], Procedure[Any]]) -> list[Any]:
        """Return what the legs read side by side, or their errors."""
        return run(together(map(read, self.clients), self.clock), self.clock)

    @property
    def calls(self) -> dict[str, int]:
        """How often each path was read."""
        return Counter(request.path.removeprefix("/v1") for request in self.server.requests_seen)


@pytest.fixture
def coval(clock: VirtualClock, request: pytest.FixtureRequest) -> Generator[Coval, None, None]:
    """Return a sandbox with the faults that the test names."""
    with Server(World(clock.time), faults=getattr(request, "param", ())) as server:
        yield Coval(server, clock)


def with_faults(*faults: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("coval", [faults], indirect=True, ids=[" ".join(faults)])


READS: dict[str, Callable[[Client, float], Procedure[Any]]] = {
    "agent": lambda client, until: client.get(AGENT, AGENT_ID, until=until, once=True),
    "persona": lambda client, until: client.get(PERSONA, IDS["persona_id"], until=until),
    "test set": lambda client, until: client.get(TEST_SET, "passing1", until=until),
    "metric": lambda client, until: client.get(METRIC, LATENCY.id, until=until),
    "metrics": lambda client, until: client.list(METRIC, until=until),
    "mutations": lambda client, until: client.list(mutations_of(AGENT_ID), until=until),
    "test cases": lambda client, until: client.list(cases_of("passing1"), until=until),
}


@pytest.mark.parametrize("name", READS)
def test_legs_share_a_call(name: str, coval: Coval, clock: VirtualClock) -> None:
    first, *others = coval.all(lambda client: READS[name](client, clock.now() + 5))
    assert first
    assert not isinstance(first, Exception)
    assert others == [first] * (LEGS - 1)
    assert [*coval.calls.values()] == [1]
    clock.sleep(SHARED)
    coval.all(lambda client: READS[name](client, clock.now() + 5))
    assert [*coval.calls.values()] == [1]
    clock.sleep(1)
    coval.all(lambda client: READS[name](client, clock.now() + 5))
    assert [*coval.calls.values()] == [2], "what decides must not be old"


@with_faults("GET /test-cases #1-3 -> 500")
def test_failure_is_retried_and_told_once(coval: Coval, clock: VirtualClock) -> None:
    first, *others = coval.all(lambda client: READS["test cases"](client, clock.now() + 60))
    assert others == [first] * (LEGS - 1)
    assert coval.calls == {"/test-cases": 4}
    assert len(coval.lines) == 1


@with_faults("GET /agents/* -> 403", "GET /personas/* -> 404")
def test_refusal_is_shared_and_remembered(coval: Coval, clock: VirtualClock) -> None:
    for name, error in (("agent", Rejected), ("persona", NotFound)):
        results = [coval.all(lambda client: READS[name](client, clock.now() + 5)) for _ in range(2)]  # noqa: B023
        assert {type(result) for legs in results for result in legs} == {error}
    assert set(coval.calls.values()) == {1}


@with_faults("GET /agents/* #1 -> 500")
def test_failure_is_shared_but_not_remembered(coval: Coval, clock: VirtualClock) -> None:
    failed = coval.all(lambda client: READS["agent"](client, clock.now() + 5))
    assert {type(result) for result in failed} == {Unavailable}
    assert not any(isinstance(agent, Exception) for agent in coval.all(lambda client: READS["agent"](client, 5)))
    assert [*coval.calls.values()] == [2]


@with_faults("GET /personas/* #1-3 -> 500")
def test_early_deadline_of_one_leg_ends_no_other_call(coval: Coval, clock: VirtualClock) -> None:
    """The first leg has no time for a second attempt."""
    deadlines = [clock.now(), *[clock.now() + 60] * (LEGS - 1)]
    reads = [READS["persona"](client, until) for client, until in zip(coval.clients, deadlines, strict=True)]
    first, *others = run(together(reads, clock), clock)
    assert isinstance(first, Unavailable)
    assert not any(isinstance(persona, Exception) for persona in others)
    assert [*coval.calls.values()] == [4], "one of its own, and three that the others share"


@with_faults("GET /personas/* #1-2 -> 500")
def test_late_deadline_of_others_delays_no_leg(coval: Coval, clock: VirtualClock) -> None:
    deadlines = [*[clock.now() + 3600] * (LEGS - 1), clock.now()]

    def timed(client: Client, until: float) -> Procedure[float]:
        with suppress(Unavailable):
            yield from READS["persona"](client, until)
        return clock.now()

    reads = map(timed, coval.clients, deadlines)
    *_, last = run(together(reads, clock), clock)
    assert last == 0


def test_deadlines_of_legs_that_begin_together_are_alike(coval: Coval, clock: VirtualClock) -> None:
    reads = [
        READS["agent"](client, clock.now() + 5 + ALIKE * number / LEGS) for number, client in enumerate(coval.clients)
    ]
    run(together(reads, clock), clock)
    assert [*coval.calls.values()] == [1]


def test_nothing_of_a_run_is_shared(coval: Coval, clock: VirtualClock) -> None:
    run_id = coval.server.world.launch(IDS)["run"]["run_id"]
    clock.sleep(300)
    simulation_id = run(coval.clients[0].list_simulations(run_id, until=clock.now()), clock)[0].id
    coval.server.requests_seen.clear()
    reads: list[Callable[[Client], Procedure[Any]]] = [
        lambda client: client.get_run(run_id, until=clock.now() + 5),
        lambda client: client.list_runs(RunFilter(), until=clock.now() + 5),
        lambda client: client.list_simulations(run_id, until=clock.now() + 5),
        lambda client: client.list_metric_outputs(simulation_id, until=clock.now() + 5),
        lambda client: client.get_transcript(simulation_id, until=clock.now() + 5),
    ]
    for read in reads:
        assert not any(isinstance(result, Exception) for result in coval.all(read))
    assert sorted(coval.calls.values()) == [LEGS] * len(reads)


class Work:
    """A procedure that takes ten seconds, and how it went."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.is_closed = False

    def __call__(self) -> Procedure[str]:
        self.begun += 1
        try:
            for _ in range(10):
                yield Wait(1.0)
        except GeneratorExit:
            self.is_closed = True
            raise
        self.ended += 1
        return "done"


def test_shared_call_goes_on_when_one_that_waits_is_given_up(clock: VirtualClock) -> None:
    work = Work()
    shared = SharedCall(work(), clock)

    def give_up() -> Procedure[str]:
        waiting = shared.result()
        yield next(waiting)
        waiting.close()
        return "given up"

    results = run(together([give_up(), shared.result(), shared.result()], clock), clock)
    assert results == ["given up", "done", "done"]
    assert (work.begun, work.ended, clock.now(), shared.ended_at) == (1, 1, 10, 10)


def test_shared_call_is_given_up_with_the_last_that_waits(clock: VirtualClock) -> None:
    work = Work()
    shared = SharedCall(work(), clock)
    waiting = [shared.result(), shared.result()]
    for procedure in waiting:
        next(procedure)
    waiting[0].close()
    assert not work.is_closed
    waiting[1].close()
    assert work.is_closed
    assert shared.ended_at is not None
    assert shared.ended_at < clock.now() - SHARED, "it serves no other"
