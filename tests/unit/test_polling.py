"""When the next look comes. Every clock here starts at the launch, and every number is in seconds."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.runs.polling import LONGEST_PAUSE, SHORTEST_PAUSE, Observation, expected_end, next_pause

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


def minute_by_minute(done: int, *, total: int = 20) -> list[Observation]:
    """A run without a queue: conversations of a minute, one after the other, seen when each ends; `done` are over."""
    return [LAUNCH, *(Observation(60.0 * n, True, n, total, min(1, total - n)) for n in range(done + 1))]


def looks(show: Callable[[float], Observation], seconds: float, *, longest: float = LONGEST_PAUSE) -> list[float]:
    """The moments at which a run that shows `show(moment)` is looked at within `seconds`."""
    history = [LAUNCH]
    while (moment := history[-1].at + next_pause(history, longest=longest)) < seconds:
        history.append(show(moment))
    return [sighting.at for sighting in history[1:]]


# What a pause looks like.


def test_while_much_is_left_the_pause_is_the_longest() -> None:
    assert next_pause(minute_by_minute(10)) == LONGEST_PAUSE


def test_it_shrinks_while_the_last_conversation_goes_on_and_grows_again_when_it_is_overdue() -> None:
    ages = [0, 30, 60, 120, 600, HOUR]
    pauses = [next_pause([*minute_by_minute(19), Observation(19 * 60 + age, True, 19, 20, 1)]) for age in ages]
    assert pauses == pytest.approx([13.5, 3.7, 2.6, 2.9, 11.9, LONGEST_PAUSE], abs=0.1)


def test_the_longer_the_conversations_of_this_run_the_longer_the_pause() -> None:
    hasty = [LAUNCH, *(Observation(20.0 * n, True, n, 20, 1) for n in range(20))]
    leisurely = [LAUNCH, *(Observation(300.0 * n, True, n, 20, 1) for n in range(20))]
    assert next_pause(hasty) < next_pause(minute_by_minute(19)) < next_pause(leisurely)


def test_one_that_has_just_begun_postpones_the_end_that_the_others_are_near_to() -> None:
    four_talk = Observation(0.0, True, 16, 20, 4)
    all_about_to_end = Observation(100.0, True, 16, 20, 4)
    one_begins = Observation(100.0, True, 17, 21, 4)
    assert next_pause([LAUNCH, four_talk, all_about_to_end]) < next_pause([LAUNCH, four_talk, one_begins])


def test_the_age_of_the_queue_sets_the_pace_while_the_run_is_queued() -> None:
    pauses = [next_pause([LAUNCH, Observation(age, running=False)]) for age in (0, 60, 600)]
    assert pauses == pytest.approx([19.6, 22.2, LONGEST_PAUSE], abs=0.1)


def test_without_progress_the_age_of_the_run_sets_the_pace() -> None:
    begun = Observation(100.0, running=True)
    pauses = [next_pause([LAUNCH, begun, Observation(100 + age, running=True)]) for age in (60, 600, HOUR)]
    assert pauses == pytest.approx([4.5, 10.9, LONGEST_PAUSE], abs=0.1)


def test_when_all_are_done_and_the_run_goes_on_we_look_often_and_then_less() -> None:
    all_done = minute_by_minute(20)
    pauses = [next_pause([*all_done, replace(all_done[-1], at=20 * 60 + age)]) for age in (0, 60, 600)]
    assert pauses == pytest.approx([SHORTEST_PAUSE, 3.6, 12.7], abs=0.1)


def test_a_look_without_progress_does_not_make_us_forget() -> None:
    history = minute_by_minute(19)
    forgetful, seeing = (Observation(19 * 60 + 30.0, True, *seen) for seen in ((None, None, None), (19, 20, 1)))
    assert next_pause([*history, forgetful]) == next_pause([*history, seeing])


def test_a_run_that_is_first_seen_half_way_is_not_taken_for_a_fast_one() -> None:
    assert next_pause([Observation(0.0, True, 50, 100, 1)]) == LONGEST_PAUSE


# How many looks, and how late.


@pytest.mark.parametrize(
    "show",
    [
        pytest.param(lambda at: Observation(at, running=False), id="in the queue"),
        pytest.param(lambda at: Observation(at, running=True), id="without progress"),
        pytest.param(lambda at: Observation(at, True, min(int(at / 60), 19), 20, 1), id="in its last conversation"),
        pytest.param(lambda at: Observation(at, True, 0, 1, 1), id="in its only conversation"),
        pytest.param(lambda at: Observation(at, True, min(int(at / 60), 20), 20, 0), id="after its last conversation"),
    ],
)
def test_a_stuck_run_takes_few_requests(show: Callable[[float], Observation]) -> None:
    at_a_fixed_interval = 6 * HOUR / LONGEST_PAUSE
    moments = looks(show, 6 * HOUR)
    assert len(moments) < 1.6 * at_a_fixed_interval
    assert moments[-1] - moments[-2] == LONGEST_PAUSE


def test_an_orderly_run_is_noticed_in_seconds_for_few_requests() -> None:
    """Half an hour, four conversations at a time, each two minutes long."""

    def show(at: float) -> Observation:
        rounds = int(at / 120)
        return Observation(at, True, 4 * rounds, 60, 4)

    moments = looks(show, 30 * 60)
    assert len(moments) < 2 * 30 * 60 / LONGEST_PAUSE
    assert 30 * 60 - moments[-1] < 4


# Bounds, whatever the API says.


@given(any_history, st.floats(0.1, 1000))
def test_a_pause_keeps_its_bounds(history: list[Observation], longest: float) -> None:
    assert min(SHORTEST_PAUSE, longest) <= next_pause(history, longest=longest) <= longest
    assert SHORTEST_PAUSE <= next_pause(history) <= LONGEST_PAUSE


@given(any_history)
def test_a_check_interval_below_the_shortest_pause_wins(history: list[Observation]) -> None:
    assert next_pause(history, longest=1.0) == 1.0


@given(any_history, st.floats(2, 300), st.floats(2, 300))
def test_check_interval_only_cuts_off(history: list[Observation], one: float, other: float) -> None:
    tight, wide = sorted([one, other])
    assert next_pause(history, longest=tight) == pytest.approx(min(next_pause(history, longest=wide), tight), abs=0.11)


def test_a_check_interval_above_the_usual_one_is_used() -> None:
    assert next_pause(minute_by_minute(1), longest=120.0) == 120.0


@given(st.integers(2, 60), st.integers(1, 10), st.integers(1, 20), st.floats(1, 300))
def test_with_more_conversations_done_the_pause_is_never_longer(
    total: int, places: int, looked: int, each: float
) -> None:
    """The same run up to now, and then a last look that differs in what is done alone; something is always left."""
    seen = [min(n, total - 1) for n in range(looked)]
    history = [LAUNCH, *(Observation(each * n, True, done, total, places) for n, done in enumerate(seen))]
    now = each * looked
    pauses = [next_pause([*history, Observation(now, True, done, total, places)]) for done in range(seen[-1], total)]
    assert all(later <= sooner + 0.05 for sooner, later in pairwise(pauses))


@given(any_history)
def test_it_does_not_matter_where_the_clock_began(history: list[Observation]) -> None:
    history = [replace(sighting, at=float(round(sighting.at) % 4096)) for sighting in history]
    shifted = [replace(sighting, at=sighting.at + 2.0**20) for sighting in history]
    assert next_pause(shifted) == next_pause(history)
    end, shifted_end = expected_end(history), expected_end(shifted)
    assert shifted_end == (None if end is None else pytest.approx(end + 2.0**20))


# The expected end.


@given(any_history)
def test_the_expected_end_is_never_past_and_always_a_moment(history: list[Observation]) -> None:
    end = expected_end(history)
    assert end is None or (math.isfinite(end) and end >= history[-1].at)


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([LAUNCH], id="launched"),
        pytest.param([LAUNCH, Observation(60.0, False, 0, 20, 0)], id="queued"),
        pytest.param([LAUNCH, Observation(60.0, running=True)], id="without progress"),
        pytest.param(minute_by_minute(0), id="no conversation has ended"),
        pytest.param(minute_by_minute(20), id="none is left"),
    ],
)
def test_nothing_is_said_of_the_end_without_reason(history: list[Observation]) -> None:
    assert expected_end(history) is None


@pytest.mark.parametrize("done", range(2, 20))
def test_what_has_been_seen_is_expected_to_go_on(done: int) -> None:
    end = expected_end(minute_by_minute(done))
    assert end is not None
    assert end - 60 * done == pytest.approx(60 * (20 - done), rel=0.22)


def test_the_expected_end_does_not_jump() -> None:
    """From one look to the next, it moves by less than a tenth of what is left, or by half a conversation."""
    ends = [(60.0 * done, expected_end(minute_by_minute(done))) for done in range(1, 20)]
    for (_, before), (now, after) in pairwise(ends):
        assert before is not None
        assert after is not None
        assert abs(after - before) < max((before - now) / 10, 30)


def test_an_overdue_end_recedes_by_less_than_the_time_overdue() -> None:
    for overdue in (60, 600, HOUR):
        now = 20 * 60 + overdue
        end = expected_end([*minute_by_minute(19), Observation(now, True, 19, 20, 1)])
        assert end is not None
        assert 0 < end - now < overdue
