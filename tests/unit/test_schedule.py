"""Many procedures on one clock in one thread."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from coval_gate.clock import Interrupted, SystemClock
from coval_gate.model.run import Run
from coval_gate.runs.cancel import cancel_run
from coval_gate.runs.progress import ProgressLog
from coval_gate.runs.schedule import run, together
from coval_gate.runs.watch import Budgets, watch
from coval_gate.waiting import BackgroundCall, Wait, repeat
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import IDS, VirtualClock, new_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.model.outcomes import NotCompleted, TimedOut
    from coval_gate.waiting import Procedure

MANY = 100
WATCHES = 20


def sleeper(clock: VirtualClock, *pauses: float) -> Procedure[float]:
    """Sleep, and return how long that took."""
    began = clock.now()
    for pause in pauses:
        yield Wait(pause)
    return clock.now() - began


def failing(clock: VirtualClock, after: float) -> Procedure[float]:
    yield from sleeper(clock, after)
    raise ValueError(f"failed after {after:g} s")


def working(work: Callable[[], int], within: float) -> Procedure[int]:
    call = BackgroundCall(work)
    yield Wait(within, (call,))
    return call.result if call.ended else -1


def test_a_hundred_procedures_take_the_time_of_the_longest(clock: VirtualClock) -> None:
    procedures = [sleeper(clock, *[1.0] * (number % 7), number / 10) for number in range(MANY)]
    took = run(together(procedures, clock), clock)
    assert took == pytest.approx([number % 7 + number / 10 for number in range(MANY)])
    assert clock.now() == max(each for each in took if isinstance(each, float))


def test_a_procedure_is_resumed_just_when_it_asked_for(clock: VirtualClock) -> None:
    resumed: list[tuple[str, float]] = []

    def note(name: str, pause: float) -> Procedure[None]:
        for _ in range(3):
            yield Wait(pause)
            resumed.append((name, clock.now()))

    run(together([note("a", 2), note("b", 3)], clock), clock)
    assert resumed == [("a", 2), ("b", 3), ("a", 4), ("a", 6), ("b", 6), ("b", 9)]


def test_one_that_fails_does_not_hold_up_the_others(clock: VirtualClock) -> None:
    first, failed, last = run(together([sleeper(clock, 3), failing(clock, 1), sleeper(clock, 5)], clock), clock)
    assert (first, last) == (3, 5)
    assert isinstance(failed, ValueError)


def test_none_is_no_time(clock: VirtualClock) -> None:
    nothing: list[Procedure[None]] = []
    assert run(together(nothing, clock), clock) == []
    assert clock.slept == []


def test_groups_can_be_nested(clock: VirtualClock) -> None:
    def group(*pauses: float) -> Procedure[float]:
        yield from together([sleeper(clock, each) for each in pauses], clock)
        return clock.now()

    assert run(together([group(1, 2), group(4, 3)], clock), clock) == [2, 4]


def test_an_error_reaches_a_procedure_that_runs_alone(clock: VirtualClock) -> None:
    with pytest.raises(ValueError, match="failed after 2 s"):
        run(failing(clock, 2), clock)


@pytest.mark.parametrize("at", [0.5, 7.25, 98])
def test_a_signal_closes_every_procedure(at: float, clock: VirtualClock) -> None:
    closed: list[int] = []

    def guarded(number: int) -> Procedure[None]:
        try:
            yield Wait(100)
        finally:
            closed.append(number)

    clock.at(at, clock.interrupt)
    with pytest.raises(Interrupted):
        run(together([guarded(number) for number in range(MANY)], clock), clock)
    assert sorted(closed) == list(range(MANY))
    assert clock.now() == at
    assert run(sleeper(clock, 5), clock) == 5, "the work that follows a signal is not interrupted again"


def test_a_signal_keeps_a_call_from_being_made(clock: VirtualClock) -> None:
    made, before = threading.Event(), threading.active_count()
    clock.interrupt()
    with pytest.raises(Interrupted):
        run(working(lambda: made.wait(0) + 1, 5), clock)
    assert threading.active_count() == before


def test_calls_go_on_side_by_side_and_end_the_wait_for_them() -> None:
    """In real time: each call needs all the others to have begun."""
    clock, barrier = SystemClock(), threading.Barrier(WATCHES)
    began = time.monotonic()
    results = run(together([working(lambda: barrier.wait(10), 10) for _ in range(WATCHES)], clock), clock)
    assert sorted(each for each in results if isinstance(each, int)) == list(range(WATCHES))
    assert time.monotonic() - began < 5


def test_a_call_that_hangs_is_waited_for_as_long_as_asked() -> None:
    clock, never = SystemClock(), threading.Event()
    results = run(together([working(lambda: never.wait() or 0, 0.1), working(lambda: 42, 10)], clock), clock)
    never.set()
    assert results == [-1, 42]


def test_a_call_gives_its_error_to_the_procedure() -> None:
    with pytest.raises(ZeroDivisionError):
        run(working(lambda: 1 // 0, 5), SystemClock())


def test_what_passes_is_repeated_until_it_does_not_pay(clock: VirtualClock) -> None:
    def attempt() -> Procedure[float]:
        yield Wait(1)
        if clock.now() < 10:
            raise ValueError("not yet")
        return clock.now()

    def pause_after(_: ValueError, tries: int) -> float | None:
        return 2.0**tries if tries < limit else None

    limit = 9
    assert run(repeat(attempt, ValueError, pause_after), clock) == 11
    clock, limit = VirtualClock(), 2
    with pytest.raises(ValueError, match="not yet"):
        run(repeat(attempt, ValueError, pause_after), clock)


def _watch(server: Server, clock: VirtualClock, run_id: str, limit: float) -> Procedure[Run | NotCompleted | TimedOut]:
    return watch(
        new_client(server.url, clock),
        run_id,
        clock=clock,
        budgets=Budgets(deadline=limit, max_wait_time=limit),
        check_interval=None,
        progress=ProgressLog(clock, lambda _: None, lambda _: None),
        record=lambda _: None,
    )


def launched(server: Server, body: dict[str, str]) -> str:
    server.world.launch(body)
    return server.world.runs[-1].run_id


def test_twenty_watches_see_what_each_would_see_alone() -> None:
    scenarios = ["passing1", "flaky001", "runFails", "cancels1"]
    bodies = [IDS | {"test_set_id": scenarios[number % len(scenarios)]} for number in range(WATCHES)]

    def outcomes(*, side_by_side: bool) -> tuple[list[str], float]:
        clock = VirtualClock()
        with Server(World(clock.time)) as server:
            watches = [_watch(server, clock, launched(server, body), 3600) for body in bodies]
            found = run(together(watches, clock), clock) if side_by_side else [run(each, clock) for each in watches]
        return [each.status if isinstance(each, Run) else type(each).__name__ for each in found], clock.now()

    together_, took = outcomes(side_by_side=True)
    alone, _ = outcomes(side_by_side=False)
    assert together_ == alone
    assert set(together_) == {"COMPLETED", "NotCompleted"}
    assert took < 600


def test_a_deadline_is_kept_by_each_of_twenty_watches(clock: VirtualClock) -> None:
    with Server(World(clock.time)) as server:
        ids = [launched(server, IDS | {"test_set_id": "stuck001"}) for _ in range(WATCHES)]
        limits = [60.0 + 7 * number for number in range(WATCHES)]
        ended: list[float] = []

        def timed(run_id: str, limit: float) -> Procedure[str]:
            outcome = yield from _watch(server, clock, run_id, limit)
            ended.append(clock.now())
            return type(outcome).__name__

        watches = [timed(each, limit) for each, limit in zip(ids, limits, strict=True)]
        assert run(together(watches, clock), clock) == ["TimedOut"] * WATCHES
    assert ended == limits


def test_twenty_runs_are_cancelled_in_the_time_of_one(clock: VirtualClock) -> None:
    with Server(World(clock.time), faults=["DELETE /runs/* #1-20 -> 500"]) as server:
        ids = [launched(server, IDS | {"test_set_id": "stuck001"}) for _ in range(WATCHES)]
        client = new_client(server.url, clock)
        procedures = [cancel_run(client, each, clock=clock, until=clock.now() + 30) for each in ids]
        ended = run(together(procedures, clock), clock)
        assert {record.status(server.world.clock()) for record in server.world.runs} == {"CANCELLED"}
    assert {getattr(each, "outcome", each) for each in ended} == {"cancelled"}
    assert clock.now() <= 2
