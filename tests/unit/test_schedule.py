"""Procedures run concurrently on one clock in one thread, until they end or a signal arrives; when a run is polled.

What waits for an event or for the first to end, road/test_legs.py and road/test_base_agent.py walk.
"""

import math
import signal
import threading
from collections.abc import Callable

import pytest

from coval_gate.base.clock import SIGNALS, Interrupted, SystemClock
from coval_gate.base.errors import Unavailable
from coval_gate.base.schedule import BackgroundCall, Wait, repeat, run, together
from coval_gate.step.watch import EACH, FEW, LONGEST_PAUSE, Observation, expected_end, next_pause
from support import VirtualClock

MANY = 100


async def sleep_for(clock: VirtualClock, *pauses: float) -> float:
    """Sleep, and return the time of the end."""
    for pause in pauses:
        await Wait(pause)
    return clock.now()


async def call_in_background(work: Callable[[], int], within: float) -> int:
    call = BackgroundCall(work)
    await Wait(within, (call,))
    return call.result if call.ended else -1


@pytest.mark.parametrize("at", [0.5, 7.25, 98])
def test_signal_closes_all_procedures(at: float, clock: VirtualClock) -> None:
    closed: list[int] = []

    async def guarded(number: int) -> None:
        try:
            await Wait(100)
        finally:
            closed.append(number)

    clock.at(at, clock.interrupt)
    with pytest.raises(Interrupted):
        run(together([guarded(number) for number in range(MANY)], clock), clock)
    assert sorted(closed) == list(range(MANY))
    assert clock.now() == at
    assert run(sleep_for(clock, 5), clock) == at + 5, "the signal interrupts only once"


def test_no_background_call_starts_after_signal(clock: VirtualClock) -> None:
    made, before = threading.Event(), threading.active_count()
    clock.interrupt()
    with pytest.raises(Interrupted):
        run(call_in_background(lambda: made.wait(0) + 1, 5), clock)
    assert threading.active_count() == before


def test_wait_for_hanging_call_ends_after_its_time(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another call goes on after that."""
    never, later = threading.Event(), threading.Event()

    def wait(ended: threading.Event, until: float) -> None:
        if until == 5:
            clock.sleep(5 - clock.now())
        else:
            later.set()
            ended.wait()

    monkeypatch.setattr(clock, "wait", wait)
    calls = [call_in_background(lambda: never.wait() or 0, 5), call_in_background(lambda: later.wait() and 42, 60)]
    assert run(together(calls, clock), clock) == [-1, 42]
    assert clock.now() == 5
    never.set()


@pytest.mark.parametrize(
    ("retry_after", "to_the_end", "slept"),
    [
        (0.0, False, [1, 2, 4]),
        (0.0, True, [1, 2, 4, 0]),
        (3.0, True, [3, 3, 1.25]),
        (60.0, True, [7.75]),
    ],
)
def test_repeat_pauses_as_long_as_requested_within_the_time_left(
    retry_after: float, to_the_end: bool, slept: list[float], clock: VirtualClock
) -> None:
    async def attempt() -> None:
        await Wait(0.25)
        raise Unavailable("Busy", "Busy.", arrived=True, retry_after=retry_after, too_late=clock.now() > 8)

    repeated = repeat(
        attempt, Unavailable, left=lambda: 8 - clock.now(), backoff=lambda tries: 2.0**tries, to_the_end=to_the_end
    )
    with pytest.raises(Unavailable) as caught:
        run(repeated, clock)
    assert [pause for pause in clock.slept if pause != 0.25] == slept
    assert not caught.value.too_late


# The time of the next poll, in seconds after the launch

LAUNCH = Observation(0.0, running=False)


def one_minute_conversations(done: int, *, total: int = 20, age: float = 0.0) -> list[Observation]:
    """Return polls of a run with sequential one-minute conversations, one at each end, and `age` after the last."""
    polls = [LAUNCH, *(Observation(60.0 * n, True, n, total) for n in range(done + 1))]
    return [*polls, Observation(60.0 * done + age, True, done, total)]


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize(("age", "pause"), [(0, 1), (8, 1), (60, 6), (200, 20), (3600, LONGEST_PAUSE)])
def test_pause_is_a_tenth_of_the_age(age: float, pause: float, running: bool) -> None:
    assert next_pause([LAUNCH, Observation(age, running=running)]) == pause


@pytest.mark.parametrize(
    ("done", "age", "pause"),
    [
        *((10, 0, 30), (18, 0, 20), (19, 30, 5), (19, 60, 1), (19, 120, 10)),
        *((20, 0, 1), (20, 60, 10), (20, 600, LONGEST_PAUSE)),
    ],
)
def test_pause_shrinks_towards_the_expected_end_and_grows_when_overdue(done: int, age: float, pause: float) -> None:
    assert next_pause(one_minute_conversations(done, age=age)) == pytest.approx(pause)


def test_pause_grows_with_square_root_of_runs_that_are_polled_side_by_side() -> None:
    history = one_minute_conversations(19, age=30)
    assert next_pause(history, longest=120, runs=16) == pytest.approx(4 * next_pause(history))


SHOWN: dict[str, Callable[[float], Observation]] = {
    "queued": lambda at: Observation(at, running=False),
    "chat": lambda at: Observation(at, True, min(int(at / 3), 19), 20),
    "about to end": lambda at: Observation(at, True, 20, 20),
}


@pytest.mark.parametrize("shown", SHOWN)
def test_many_runs_keep_to_the_pace_from_the_start(shown: str) -> None:
    """Of 20 runs, at most 60 polls are in the first minute, as the module's docstring promises."""
    runs, history = 20, [LAUNCH]
    while history[-1].at < 300:
        pause = next_pause(history, longest=LONGEST_PAUSE * math.sqrt(runs), runs=runs)
        history.append(SHOWN[shown](history[-1].at + pause))
    each = EACH * (runs - FEW)
    assert all(poll.at >= number * each - 0.05 for number, poll in enumerate(history))
    assert runs * sum(poll.at <= 60 for poll in history) <= 60


def test_expected_end_extrapolates_the_pace_and_is_unknown_without_one() -> None:
    assert [expected_end(one_minute_conversations(done)) for done in (0, 1, 19, 20)] == [None, 1200, 1200, None]
    assert expected_end(one_minute_conversations(19, age=600)) == 1740, "it is never in the past"


# Signals, and the end of the process


@pytest.mark.parametrize("number", SIGNALS)
def test_first_signal_interrupts_a_wait_and_second_does_not(number: signal.Signals) -> None:
    clock, before = SystemClock(), {each: signal.getsignal(each) for each in SIGNALS}
    clock.listen()
    try:
        signal.raise_signal(number)
        with pytest.raises(Interrupted):
            clock.sleep(600)
        signal.raise_signal(number)
        clock.check()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
