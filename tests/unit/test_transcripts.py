"""Transcripts are parsed in every documented format; an unreadable one is empty."""

import json
from typing import Any

import pytest

from coval_gate.coval.model import Turn
from coval_gate.coval.transcripts import LONGEST_TURN, MOST_MESSAGES, read_transcript


def said(role: str, text: str, **times: Any) -> dict[str, Any]:
    return {"role": role, "content": text, **times}


def times_of(*messages: dict[str, Any]) -> list[tuple[float | None, float | None]]:
    return [(turn.start, turn.end) for turn in read_transcript(list(messages))]


DOCUMENTED = [
    said("assistant", "Hello?", start_timestamp="1767225600.000", end_timestamp="1767225600.800", start_offset=0),
    said("user", "Hi.", start_timestamp="1767225601.200", end_timestamp="1767225602.000", start_offset=1200),
]
FLOATS = [
    said("agent", "Hello?", start_time=0.0, end_time=0.8, start_offset=5, end_offset=4),
    said("persona", "Hi.", start_time=1.2, end_time=2.0),
]


def offsets(unit: int | float) -> list[dict[str, Any]]:
    return [
        said("assistant", "Hello?", start_offset=0 * unit, end_offset=800 * unit),
        said("user", "Hi.", start_offset=1200 * unit, end_offset=2000 * unit),
    ]


@pytest.mark.parametrize(
    "raw", [DOCUMENTED, FLOATS, offsets(1), offsets(0.001), json.dumps(DOCUMENTED), json.dumps(offsets(0.001))]
)
def test_transcript_is_read_in_every_shape(raw: object) -> None:
    assert read_transcript(raw) == (
        Turn(role="agent", text="Hello?", start=0.0, end=0.8),
        Turn(role="persona", text="Hi.", start=1.2, end=2.0),
    )


@pytest.mark.parametrize(
    "message",
    [
        said("TOOL", "x"),
        said("assistant", "look_up(12)", is_tool_call=True),
        {"role": "assistant", "content": None},
        said("assistant", "  \u200b\x07 "),
        said("assistant", {"audio_url": "https://bucket.example/call.wav?signature=s"}),  # type: ignore[arg-type]
        "Hi.",
        7,
    ],
)
def test_what_was_not_said_is_left_out(message: object) -> None:
    assert [turn.text for turn in read_transcript([said("user", "Hi."), message, said("user", "Bye.")])] == [
        "Hi.",
        "Bye.",
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Call +1 (555) 010-0123 now", "Call +… now"),
        ("two\nlines\tand \x1b[31mred\u202e", "two lines and red"),
        ({"text": "in an object"}, "in an object"),
        ("x" * (LONGEST_TURN + 1), "x" * (LONGEST_TURN - 1) + "…"),
    ],
)
def test_text_is_one_short_line_without_phone_numbers(content: Any, text: str) -> None:
    assert [turn.text for turn in read_transcript([said("assistant", content)])] == [text]


@pytest.mark.parametrize("raw", [None, "", "Hello?", "{}", "[", "[" * 100_000, {}, {"messages": []}, 7, True, [], [[]]])
def test_unreadable_transcript_is_empty(raw: object) -> None:
    assert read_transcript(raw) == ()


def test_long_transcript_is_cut() -> None:
    assert len(read_transcript([said("user", "Hi.")] * (MOST_MESSAGES + 1))) == MOST_MESSAGES


@pytest.mark.parametrize(
    "messages",
    [
        [said("user", "a", start_offset=0, end_offset=0), said("user", "b", start_offset=0, end_offset=0)],  # unset
        [said("user", "a", start_time="soon", end_time=[1])],
        [said("user", "a", start_offset=1e300, end_offset=float("nan"))],
    ],
)
def test_what_is_no_time_is_left_out(messages: list[dict[str, Any]]) -> None:
    assert times_of(*messages) == [(None, None)] * len(messages)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"start_time": 1.0, "end_time": 4.0}, {"start_time": 3.0, "end_time": 5.0}),  # one interrupts the other
        ({}, {}),  # a chat
        ({"start_offset": 0, "end_offset": 2}, {"start_offset": 600, "end_offset": 900}),  # whole seconds
    ],
)
def test_each_turn_has_the_times_that_it_tells(first: dict[str, Any], second: dict[str, Any]) -> None:
    wanted = [(*times.values(),) or (None, None) for times in (first, second)]
    assert times_of(said("user", "a", **first), said("agent", "b", **second)) == wanted
