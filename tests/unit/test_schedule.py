"""Many procedures run concurrently on one clock in one thread."""

import threading
from collections.abc import Callable

import pytest

from coval_gate.base.clock import Interrupted, SystemClock
from coval_gate.base.errors import Unavailable
from coval_gate.base.schedule import BackgroundCall, Event, Procedure, Wait, first, repeat, run, together
from coval_gate.step.cancel import cancel_run
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import IDS, VirtualClock, new_client, new_session

MANY = 100
WATCHES = 20


def sleep_for(clock: VirtualClock, *pauses: float) -> Procedure[float]:
    """Sleep, and return how long that took."""
    began = clock.now()
    for pause in pauses:
        yield Wait(pause)
    return clock.now() - began


def fail_after(clock: VirtualClock, after: float) -> Procedure[float]:
    yield from sleep_for(clock, after)
    raise ValueError(f"failed after {after:g} s")


def call_in_background(work: Callable[[], int], within: float) -> Procedure[int]:
    call = BackgroundCall(work)
    yield Wait(within, (call,))
    return call.result if call.ended else -1


def test_hundred_procedures_take_time_of_longest(clock: VirtualClock) -> None:
    procedures = [sleep_for(clock, *[1.0] * (number % 7), number / 10) for number in range(MANY)]
    took = run(together(procedures, clock), clock)
    assert took == pytest.approx([number % 7 + number / 10 for number in range(MANY)])
    assert clock.now() == max(seconds for seconds in took if isinstance(seconds, float))


def test_procedure_is_resumed_when_its_wait_ends(clock: VirtualClock) -> None:
    resumed: list[tuple[str, float]] = []

    def note(name: str, pause: float) -> Procedure[None]:
        for _ in range(3):
            yield Wait(pause)
            resumed.append((name, clock.now()))

    run(together([note("a", 2), note("b", 3)], clock), clock)
    assert resumed == [("a", 2), ("b", 3), ("a", 4), ("a", 6), ("b", 6), ("b", 9)]


def test_failed_procedure_does_not_delay_others(clock: VirtualClock) -> None:
    with pytest.raises(ValueError, match="failed after 1 s"):
        run(together([sleep_for(clock, 3), fail_after(clock, 1), sleep_for(clock, 5)], clock), clock)
    assert clock.now() == 5


def test_empty_group_takes_no_time(clock: VirtualClock) -> None:
    nothing: list[Procedure[None]] = []
    assert run(together(nothing, clock), clock) == []
    assert clock.slept == []


def test_groups_can_be_nested(clock: VirtualClock) -> None:
    def group(*pauses: float) -> Procedure[float]:
        yield from together([sleep_for(clock, pause) for pause in pauses], clock)
        return clock.now()

    assert run(together([group(1, 2), group(4, 3)], clock), clock) == [2, 4]


def test_error_of_single_procedure_is_raised(clock: VirtualClock) -> None:
    with pytest.raises(ValueError, match="failed after 2 s"):
        run(fail_after(clock, 2), clock)


@pytest.mark.parametrize("at", [0.5, 7.25, 98])
def test_signal_closes_all_procedures(at: float, clock: VirtualClock) -> None:
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
    assert run(sleep_for(clock, 5), clock) == 5, "the signal interrupts only once"


def test_procedure_may_go_on_after_signal(clock: VirtualClock) -> None:
    def procedure() -> Procedure[str]:
        try:
            yield from sleep_for(clock, 10)
        except Interrupted:
            yield Wait(3)
            return "went on"
        return "was not interrupted"

    clock.at(4, clock.interrupt)
    assert (run(procedure(), clock), clock.now()) == ("went on", 7)


def test_no_background_call_starts_after_signal(clock: VirtualClock) -> None:
    made, before = threading.Event(), threading.active_count()
    clock.interrupt()
    with pytest.raises(Interrupted):
        run(call_in_background(lambda: made.wait(0) + 1, 5), clock)
    assert threading.active_count() == before


def test_background_calls_run_concurrently_and_end_waits() -> None:
    """Each call waits until all others have begun. This test runs in real time."""
    clock, barrier = SystemClock(), threading.Barrier(WATCHES)
    results = run(together([call_in_background(lambda: barrier.wait(60), 60) for _ in range(WATCHES)], clock), clock)
    assert sorted(result for result in results if isinstance(result, int)) == list(range(WATCHES))


def test_wait_for_hanging_call_ends_after_its_time() -> None:
    clock, never = SystemClock(), threading.Event()
    results = run(
        together([call_in_background(lambda: never.wait() or 0, 0.1), call_in_background(lambda: 42, 60)], clock), clock
    )
    never.set()
    assert results == [-1, 42]


def test_error_of_background_call_is_raised_in_procedure() -> None:
    with pytest.raises(ZeroDivisionError):
        run(call_in_background(lambda: 1 // 0, 5), SystemClock())


@pytest.mark.parametrize(
    ("retry_after", "to_the_end", "slept"),
    [
        (0.0, False, [1, 2, 4]),
        (0.0, True, [1, 2, 4, 0]),
        (3.0, False, [3, 3]),
        (3.0, True, [3, 3, 1.25]),
        (60.0, False, []),
        (60.0, True, [7.75]),
    ],
)
def test_repeat_pauses_as_long_as_asked_within_the_time_left(
    retry_after: float, to_the_end: bool, slept: list[float], clock: VirtualClock
) -> None:
    def attempt() -> Procedure[None]:
        yield Wait(0.25)
        raise Unavailable("Busy", "Busy.", arrived=True, retry_after=retry_after, too_late=clock.now() > 8)

    repeated = repeat(
        attempt, Unavailable, left=lambda: 8 - clock.now(), backoff=lambda tries: 2.0**tries, to_the_end=to_the_end
    )
    with pytest.raises(Unavailable) as caught:
        run(repeated, clock)
    assert [pause for pause in clock.slept if pause != 0.25] == slept
    assert not caught.value.too_late


def launch_run(server: Server, body: dict[str, str]) -> str:
    server.world.launch(body)
    return server.world.runs[-1].run_id


def test_twenty_runs_are_cancelled_in_time_of_one(clock: VirtualClock) -> None:
    with Server(World(clock.time), faults=["DELETE /runs/* #1-20 -> 500"]) as server:
        ids = [launch_run(server, IDS | {"test_set_id": "stuck001"}) for _ in range(WATCHES)]
        session = new_session(new_client(server.url, clock), clock, deadline=clock.now() + 30)
        procedures = [cancel_run(session, run_id) for run_id in ids]
        ended = run(together(procedures, clock), clock)
        assert {record.status(server.world.clock()) for record in server.world.runs} == {"CANCELLED"}
    assert {getattr(cancelled, "outcome", cancelled) for cancelled in ended} == {"cancelled"}
    assert clock.now() <= 2


def test_at_most_some_procedures_run_at_once(clock: VirtualClock) -> None:
    running, most = 0, 0

    def counted(pause: float) -> Procedure[float]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        yield Wait(pause)
        running -= 1
        return clock.now()

    ends = run(together([counted(2) for _ in range(10)], clock, at_once=3), clock)
    assert most == 3
    assert ends == [2, 2, 2, 4, 4, 4, 6, 6, 6, 8]


def test_event_resumes_all_that_wait_for_it_each_time(clock: VirtualClock) -> None:
    event, seen = Event(), list[float]()

    def wait(times: int) -> Procedure[None]:
        for _ in range(times):
            yield event.wait()
            seen.append(clock.now())

    def happen() -> Procedure[None]:
        for seconds in (3, 4):
            yield Wait(seconds)
            event.happen()

    run(together([wait(2), together([wait(1)], clock), happen()], clock), clock)
    assert seen == [3, 3, 7]


def test_wait_for_an_event_may_end_before_it_happens(clock: VirtualClock) -> None:
    def wait() -> Procedure[float]:
        yield Event().wait(5)
        return clock.now()

    assert run(wait(), clock) == 5


def test_first_to_end_gives_up_the_others(clock: VirtualClock) -> None:
    """They wait as if they were alone."""
    ended: list[str] = []

    def work(name: str, seconds: float) -> Procedure[str]:
        try:
            for _ in range(3):
                yield Wait(seconds)
        finally:
            ended.append(name)
        return name

    assert run(first([work("slow", 7), work("fast", 5)], clock), clock) == "fast"
    assert (ended, clock.now()) == (["fast", "slow"], 15)


def test_error_of_the_first_to_end_is_raised(clock: VirtualClock) -> None:
    def fail() -> Procedure[str]:
        yield Wait(1)
        raise ValueError("first")

    def work() -> Procedure[str]:
        yield Wait(2)
        return "second"

    with pytest.raises(ValueError, match="first"):
        run(first([work(), fail()], clock), clock)
