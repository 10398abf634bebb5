"""Agents whose process connects: plans of their runs, sound, judges, and the faults of offers and connections."""

import math
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_sandbox import catalogue
from coval_sandbox.attachments import Session, attached_plan
from coval_sandbox.faults import FaultScript
from coval_sandbox.judges import NO_ANSWER, judged
from coval_sandbox.plan import Plan, make_plan
from coval_sandbox.problems import parse_launch
from coval_sandbox.scenarios import BY_NAME
from coval_sandbox.sound import (
    FRAME_SECONDS,
    SILENCE,
    Answer,
    Listener,
    tone,
)

BODY = {"agent_id": catalogue.OWN_BUILD_ID, "persona_id": catalogue.PERSONA_ID, "test_set_id": "passing1"}
LIMIT = 300.0


def first_plan(scenario: str = "passing", **options: int) -> Plan:
    return make_plan(BY_NAME[scenario], parse_launch(BODY | {"options": options}), seed=0)


# Plans


def test_session_delays_later_simulations_until_it_ends() -> None:
    first = first_plan(sub_sample_size=2)
    ids = [planned.simulation_id for planned in first.simulations]
    open_ = attached_plan(first, 1, {ids[0]: Session(10.0)}, LIMIT)
    assert [(planned.start, planned.end) for planned in open_.simulations] == [(8, math.inf), (math.inf, math.inf)]
    ended = attached_plan(first, 1, {ids[0]: Session(10.0, 15.0)}, LIMIT)
    assert [(planned.start, planned.end) for planned in ended.simulations] == [(8, 15), (15, 15 + LIMIT)]
    assert [planned.failed for planned in ended.simulations] == [False, True]
    lost = attached_plan(first, 1, {ids[0]: Session(10.0, 15.0, "Lost")}, LIMIT)
    assert (lost.simulations[0].error_message, lost.simulations[0].values) == ("Lost", {})


@given(
    concurrency=st.integers(1, 4),
    calls=st.lists(st.tuples(st.floats(0, LIMIT - 1), st.floats(0, 500)), min_size=10, max_size=10),
)
def test_session_changes_nothing_before_it_begins(concurrency: int, calls: list[tuple[float, float]]) -> None:
    """Nothing that a client saw may change: only the future depends on a new session."""
    first = first_plan()
    sessions: dict[str, Session] = {}
    plan = attached_plan(first, concurrency, sessions, LIMIT)
    for _ in calls:  # in the order in which the processes connect
        waiting = [planned for planned in plan.simulations if planned.simulation_id not in sessions]
        planned = min(waiting, key=lambda planned: planned.start + calls[planned.number][0])
        wait, length = calls[planned.number]
        began = planned.start + wait
        sessions[planned.simulation_id] = Session(began, began + length)
        before, plan = plan, attached_plan(first, concurrency, sessions, LIMIT)
        for old, new in zip(before.simulations, plan.simulations, strict=True):
            for was, becomes in ((old.start, new.start), (old.end, new.end)):
                assert was == becomes or min(was, becomes) >= began
    changes = sorted(change for planned in plan.simulations for change in ((planned.start, 1), (planned.end, -1)))
    assert max(accumulate(change for _, change in changes)) <= concurrency


# Sound


def test_listener_counts_sound_in_any_chunks() -> None:
    audio = SILENCE * 5 + tone(440.0) * 10 + tone(250) * 10
    listener = Listener(turn_end=0.05)
    for start in range(0, len(audio), 1234):
        listener.hear(audio[start : start + 1234], start / 32_000)
    answer = listener.answer(1.0)
    assert (answer.sent, answer.sounding, answer.toned) == pytest.approx((0.5, 0.4, 0.2))
    assert answer.delay == pytest.approx(0.05, abs=FRAME_SECONDS)
    assert answer.is_good


# Judges


def test_judged_values() -> None:
    planned = first_plan().simulations[0].values
    latency = planned[catalogue.LATENCY.id]
    assert isinstance(latency, float)
    good = Answer(call=1.0, sent=0.5, sounding=0.4, toned=0.4, delay=0.2)
    assert judged(planned, good) == {**planned, catalogue.SPEAKING_TIME.id: 40.0}
    assert judged(planned, good._replace(delay=0.6))[catalogue.LATENCY.id] == pytest.approx(latency + 0.5)
    assert judged(planned, good._replace(toned=0.0))[catalogue.RESOLVED.id] == "NO"
    silent = Answer(call=1.0, sent=0.5)
    assert judged(planned, silent) == {**planned, **NO_ANSWER}
    assert judged({catalogue.TONE.id: 4.0}, silent) == {catalogue.TONE.id: 1.0}  # no other metric was asked for


# Faults


def test_any_method_does_not_include_offers() -> None:
    script = FaultScript(["* * -> 503", "OFFER * #2 -> stale"])
    taken = [script.take("OFFER", "/simulations/abc") for _ in range(2)]
    assert [action.kind if action else None for action in taken] == [None, "stale"]
