"""The time of the next poll. All clocks here start at the launch, and all numbers are in seconds."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.step.watch import EACH, FEW, LONGEST_PAUSE, SHORTEST_PAUSE, Observation, expected_end, next_pause

LAUNCH = Observation(0.0, running=False)

counts = st.none() | st.integers(0, 40) | st.integers(0, 10**9)
any_history = st.lists(
    st.builds(Observation, st.floats(-1e12, 1e12) | st.floats(0, 4000), st.booleans(), counts, counts),
    min_size=1,
    max_size=30,
)


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
@pytest.mark.parametrize("runs", [10, 20, 100])
def test_many_runs_keep_to_the_pace_from_the_start(runs: int, shown: str) -> None:
    """Of 20 runs, at most 60 polls are in the first minute, as the module's docstring says."""
    history = [LAUNCH]
    while history[-1].at < 300:
        pause = next_pause(history, longest=LONGEST_PAUSE * math.sqrt(runs), runs=runs)
        history.append(SHOWN[shown](history[-1].at + pause))
    each = EACH * (runs - FEW)
    assert all(poll.at >= number * each - 0.05 for number, poll in enumerate(history))
    assert runs != 20 or runs * sum(poll.at <= 60 for poll in history) <= 60


@given(any_history, st.floats(0.1, 1000), st.integers(1, 100))
def test_pause_is_within_bounds(history: list[Observation], longest: float, runs: int) -> None:
    assert min(SHORTEST_PAUSE, longest) <= next_pause(history, longest=longest, runs=runs) <= longest


@given(any_history)
def test_expected_end_is_finite_and_never_in_past(history: list[Observation]) -> None:
    end = expected_end(history)
    assert end is None or (math.isfinite(end) and end >= history[-1].at)


def test_expected_end_is_unknown_without_progress() -> None:
    without_counts = [LAUNCH, Observation(60.0, running=True)]
    none_finished, none_remaining = one_minute_conversations(0), one_minute_conversations(20)
    for history in ([LAUNCH], without_counts, none_finished, none_remaining):
        assert expected_end(history) is None


def test_expected_end_extrapolates_pace_so_far() -> None:
    assert [expected_end(one_minute_conversations(done)) for done in (1, 10, 19)] == [1200.0] * 3
    assert expected_end(one_minute_conversations(19, age=600)) == 1740.0
