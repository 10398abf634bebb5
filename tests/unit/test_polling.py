"""The time of the next poll. All clocks here start at the launch, and all numbers are in seconds."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.runs.polling import EACH, FEW, LONGEST_PAUSE, SHORTEST_PAUSE, Observation, expected_end, next_pause

if TYPE_CHECKING:
    from collections.abc import Callable

LAUNCH = Observation(0.0, running=False)
HOUR = 3600.0

counts = st.none() | st.integers(-3, 40) | st.integers()
any_history = st.lists(
    st.builds(Observation, st.floats(-1e12, 1e12) | st.floats(0, 4000), st.booleans(), counts, counts, counts),
    min_size=1,
    max_size=30,
)


def one_minute_conversations(done: int, *, total: int = 20) -> list[Observation]:
    """Return polls of a run with sequential one-minute conversations, one at each end; `done` of them are over."""
    return [LAUNCH, *(Observation(60.0 * n, True, n, total, min(1, total - n)) for n in range(done + 1))]


def poll_times(
    show: Callable[[float], Observation], seconds: float, *, longest: float = LONGEST_PAUSE, runs: int = 1
) -> list[float]:
    """Return the times of the polls within `seconds`, where a poll at `t` observes `show(t)`."""
    history = [LAUNCH]
    while (time := history[-1].at + next_pause(history, longest=longest, runs=runs)) < seconds:
        history.append(show(time))
    return [observation.at for observation in history[1:]]


# Length of a pause


def test_pause_is_longest_while_many_conversations_remain() -> None:
    assert next_pause(one_minute_conversations(10)) == LONGEST_PAUSE


def test_pause_grows_with_square_root_of_runs_that_are_polled_side_by_side() -> None:
    history = [*one_minute_conversations(19), Observation(19 * 60 + 60, True, 19, 20, 1)]
    assert next_pause(history, runs=16) == pytest.approx(4 * next_pause(history), rel=0.2)


SHOWN: dict[str, Callable[[float], Observation]] = {
    "queued": lambda at: Observation(at, running=False),
    "silent": lambda at: Observation(at, running=True),
    "chat": lambda at: Observation(at, True, min(int(at / 3), 19), 20, 1),
    "about to end": lambda at: Observation(at, True, 20, 20, 0),
}


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("runs", [10, 20, 30, 100])
def test_many_runs_keep_to_the_pace_from_the_start(runs: int, shown: str) -> None:
    """Of 20 runs, at most 60 polls are in the first minute, as the module's docstring says."""
    polls = [0.0, *poll_times(SHOWN[shown], 300, longest=LONGEST_PAUSE * math.sqrt(runs), runs=runs)]
    each = EACH * (runs - FEW)
    assert all(time >= number * each - 0.05 for number, time in enumerate(polls))
    assert runs != 20 or runs * sum(time <= 60 for time in polls) <= 60


@given(any_history, st.integers(1, FEW))
def test_few_runs_are_polled_as_often_as_they_need(history: list[Observation], runs: int) -> None:
    age = max(history[-1].at - history[0].at, 4.0)
    assert next_pause(history, runs=runs) <= max(age, SHORTEST_PAUSE)


def test_what_a_run_saves_is_for_its_end() -> None:
    """One of twenty runs, which is about to end, may be polled several times in a row."""
    history = [*one_minute_conversations(20)[::2], Observation(20 * 60 + 1, True, 20, 20, 0)]
    pauses = []
    for _ in range(8):
        pauses.append(next_pause(history, longest=LONGEST_PAUSE * math.sqrt(20), runs=20))
        history.append(replace(history[-1], at=history[-1].at + pauses[-1]))
    assert max(pauses) < EACH * (20 - FEW)
    assert next_pause(history, runs=1) < pauses[-1], "the last of them is watched as if it were alone"


def test_pause_shrinks_during_last_conversation_and_grows_when_overdue() -> None:
    ages = [0, 30, 60, 120, 600, HOUR]
    pauses = [next_pause([*one_minute_conversations(19), Observation(19 * 60 + age, True, 19, 20, 1)]) for age in ages]
    assert pauses == pytest.approx([13.5, 3.7, 2.6, 2.9, 11.9, LONGEST_PAUSE], abs=0.1)


def test_pause_grows_with_length_of_conversations() -> None:
    short_conversations = [LAUNCH, *(Observation(20.0 * n, True, n, 20, 1) for n in range(20))]
    long_conversations = [LAUNCH, *(Observation(300.0 * n, True, n, 20, 1) for n in range(20))]
    assert next_pause(short_conversations) < next_pause(one_minute_conversations(19)) < next_pause(long_conversations)


def test_new_conversation_lengthens_pause() -> None:
    four_talk = Observation(0.0, True, 16, 20, 4)
    all_about_to_end = Observation(100.0, True, 16, 20, 4)
    one_begins = Observation(100.0, True, 17, 21, 4)
    assert next_pause([LAUNCH, four_talk, all_about_to_end]) < next_pause([LAUNCH, four_talk, one_begins])


def test_pause_grows_with_time_in_queue() -> None:
    pauses = [next_pause([LAUNCH, Observation(age, running=False)]) for age in (0, 60, 600)]
    assert pauses == pytest.approx([3.2, 22.1, LONGEST_PAUSE], abs=0.1)


def test_pause_without_progress_grows_with_age_of_run() -> None:
    begun = Observation(100.0, running=True)
    pauses = [next_pause([LAUNCH, begun, Observation(100 + age, running=True)]) for age in (60, 600, HOUR)]
    assert pauses == pytest.approx([4.5, 10.9, LONGEST_PAUSE], abs=0.1)


def test_pause_after_last_conversation_grows_from_shortest() -> None:
    all_done = one_minute_conversations(20)
    pauses = [next_pause([*all_done, replace(all_done[-1], at=20 * 60 + age)]) for age in (0, 60, 600)]
    assert pauses == pytest.approx([1.4, 3.6, 12.7], abs=0.1)


def test_pause_uses_last_known_progress() -> None:
    history = one_minute_conversations(19)
    forgetful, seeing = (Observation(19 * 60 + 30.0, True, *seen) for seen in ((None, None, None), (19, 20, 1)))
    assert next_pause([*history, forgetful]) == next_pause([*history, seeing])


def test_pause_grows_to_longest_when_first_poll_finds_half_done() -> None:
    times = [0.0, 4.0, 8.0, 16.0, 32.0]
    history = [Observation(at, True, 50, 100, 1) for at in times]
    pauses = [next_pause(history[: number + 1]) for number in range(len(times))]
    assert pauses == [4.0, 4.0, 8.0, 16.0, LONGEST_PAUSE]


@given(any_history)
def test_pause_is_no_longer_than_age_of_run(history: list[Observation]) -> None:
    """A run that has been seen for seconds may end within seconds."""
    assert next_pause(history, longest=HOUR) <= max(history[-1].at - history[0].at, 4.0)


# Number of polls, and detection delay


@pytest.mark.parametrize(
    "show",
    [
        pytest.param(lambda at: Observation(at, running=False), id="in queue"),
        pytest.param(lambda at: Observation(at, running=True), id="without progress", marks=pytest.mark.long),
        pytest.param(lambda at: Observation(at, True, min(int(at / 60), 19), 20, 1), id="last conversation"),
        pytest.param(lambda at: Observation(at, True, 0, 1, 1), id="only conversation", marks=pytest.mark.long),
        pytest.param(lambda at: Observation(at, True, min(int(at / 60), 20), 20, 0), id="after last conversation"),
    ],
)
def test_stuck_run_needs_few_polls(show: Callable[[float], Observation]) -> None:
    at_a_fixed_interval = 6 * HOUR / LONGEST_PAUSE
    times = poll_times(show, 6 * HOUR)
    assert len(times) < 1.6 * at_a_fixed_interval
    assert times[-1] - times[-2] == LONGEST_PAUSE


def test_end_of_steady_run_is_detected_in_seconds_with_few_polls() -> None:
    """The run has four concurrent conversations at a time, 15 times, of about two minutes."""
    delays = []
    for length in range(110, 130, 3):
        times = poll_times(lambda at, each=length: Observation(at, True, 4 * int(at / each), 60, 4), 16 * length)  # type: ignore[misc]
        seen = next(number for number, time in enumerate(times) if time >= 15 * length)
        delays.append(times[seen] - 15 * length)
        assert seen < 2 * 15 * length / LONGEST_PAUSE
    assert fmean(delays) < 6


@pytest.mark.parametrize("conversations", [None, 1, 5, 20], ids="{} conversations".format)
def test_end_of_short_run_is_detected_soon_with_few_polls(conversations: int | None) -> None:
    """The runs last 3 to 60 s. They are queued for up to 10 s of it. Then conversations follow each other."""
    runs = [(3 * 20 ** (number / 20), queued) for number in range(21) for queued in (0.0, 0.4, 0.8)]
    delays, polls = [], []
    for length, queued in runs:
        queue = min(queued * length, 10.0)

        def show(at: float, length: float = length, queue: float = queue) -> Observation:
            if conversations is None:
                return Observation(at, at >= queue)
            done = max(int(conversations * (at - queue) / (length - queue)), 0)
            return Observation(at, at >= queue, done, conversations, int(at >= queue))

        times = poll_times(show, length + LONGEST_PAUSE)
        seen = next(number for number, time in enumerate(times) if time >= length)
        delays.append(times[seen] - length)
        polls.append(1 + seen + 1)  # there is one at the launch
    assert fmean(delays) <= 3
    assert fmean(delay / length for delay, (length, _) in zip(delays, runs, strict=True)) <= 0.2
    assert fmean(polls) <= 5 + fmean(1 + math.ceil(length / 15) for length, _ in runs), "one each 15 s, and five more"


def test_hanging_chat_needs_few_polls() -> None:
    """All conversations but one end within seconds."""
    times = poll_times(lambda at: Observation(at, at >= 2, 19 if at > 8 else 0, 20, 1 if at > 8 else 20), HOUR)
    assert len(times) < 1.6 * HOUR / LONGEST_PAUSE
    assert times[-1] - times[-2] == LONGEST_PAUSE


# Bounds for any response of the API


@given(any_history, st.floats(0.1, 1000))
def test_pause_is_within_bounds(history: list[Observation], longest: float) -> None:
    assert min(SHORTEST_PAUSE, longest) <= next_pause(history, longest=longest) <= longest
    assert SHORTEST_PAUSE <= next_pause(history) <= LONGEST_PAUSE


@given(any_history)
def test_check_interval_below_shortest_pause_is_used(history: list[Observation]) -> None:
    assert next_pause(history, longest=1.0) == 1.0


@given(any_history, st.floats(2, 300), st.floats(2, 300))
def test_check_interval_only_limits_pause(history: list[Observation], one: float, other: float) -> None:
    tight, wide = sorted([one, other])
    assert next_pause(history, longest=tight) == pytest.approx(min(next_pause(history, longest=wide), tight), abs=0.11)


def test_check_interval_above_longest_pause_is_used() -> None:
    assert next_pause(one_minute_conversations(3), longest=120.0) == 120.0


@given(st.integers(2, 60), st.integers(1, 10), st.integers(1, 20), st.floats(1, 300))
def test_pause_never_grows_with_more_conversations_done(total: int, places: int, looked: int, each: float) -> None:
    """The polls differ only in the last number of finished conversations; at least one conversation remains."""
    seen = [min(n, total - 1) for n in range(looked)]
    history = [LAUNCH, *(Observation(each * n, True, done, total, places) for n, done in enumerate(seen))]
    now = each * looked
    pauses = [next_pause([*history, Observation(now, True, done, total, places)]) for done in range(seen[-1], total)]
    assert all(later <= sooner + 0.05 for sooner, later in pairwise(pauses))


@given(any_history)
def test_pause_and_expected_end_do_not_depend_on_start_of_clock(history: list[Observation]) -> None:
    history = [replace(observation, at=float(round(observation.at) % 4096)) for observation in history]
    shifted = [replace(observation, at=observation.at + 2.0**20) for observation in history]
    assert next_pause(shifted) == next_pause(history)
    end, shifted_end = expected_end(history), expected_end(shifted)
    assert shifted_end == (None if end is None else pytest.approx(end + 2.0**20))


# Expected end


@given(any_history)
def test_expected_end_is_finite_and_never_in_past(history: list[Observation]) -> None:
    end = expected_end(history)
    assert end is None or (math.isfinite(end) and end >= history[-1].at)


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([LAUNCH], id="launched"),
        pytest.param([LAUNCH, Observation(60.0, False, 0, 20, 0)], id="queued"),
        pytest.param([LAUNCH, Observation(60.0, running=True)], id="without progress"),
        pytest.param(one_minute_conversations(0), id="none finished"),
        pytest.param(one_minute_conversations(20), id="none remaining"),
    ],
)
def test_expected_end_is_unknown_without_progress(history: list[Observation]) -> None:
    assert expected_end(history) is None


@pytest.mark.parametrize("done", range(2, 20))
def test_expected_end_extrapolates_pace_so_far(done: int) -> None:
    end = expected_end(one_minute_conversations(done))
    assert end is not None
    assert end - 60 * done == pytest.approx(60 * (20 - done), rel=0.22)


def test_expected_end_changes_gradually() -> None:
    """Between two polls, it moves by less than a tenth of the remaining time, or than half a conversation."""
    ends = [(60.0 * done, expected_end(one_minute_conversations(done))) for done in range(1, 20)]
    for (_, before), (now, after) in pairwise(ends):
        assert before is not None
        assert after is not None
        assert abs(after - before) < max((before - now) / 10, 30)


def test_expected_end_of_overdue_run_recedes_by_less_than_delay() -> None:
    for overdue in (60, 600, HOUR):
        now = 20 * 60 + overdue
        end = expected_end([*one_minute_conversations(19), Observation(now, True, 19, 20, 1)])
        assert end is not None
        assert 0 < end - now < overdue
