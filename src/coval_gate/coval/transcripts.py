"""Reads the transcript of a conversation. Pure.

Sources disagree on its shape. It is a list of messages, or the JSON text of one. Times are seconds (`start_time`, or
`start_timestamp` as text, which may count from the epoch), or offsets in seconds or milliseconds; chats have none.
Calls of tools are messages, too. Only roles, texts and times are read: neither addresses of recordings nor arguments of
tools are part of a conversation. A transcript only informs, so no shape of it is an error.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from coval_gate.base.text import json_in
from coval_gate.coval.model import Turn
from coval_gate.coval.results import read_number, without_numbers

MOST_MESSAGES: Final = 500  # to read
LONGEST_TURN: Final = 1000  # characters
PERSONA_ROLES: Final = frozenset({"user", "persona"})
UNSPOKEN: Final = frozenset({"", "system", "tool", "function", "developer"})  # all other roles are the agent

CLOCKS: Final = (("start_time", "end_time"), ("start_timestamp", "end_timestamp"))  # s; preferred first
OFFSETS: Final = ("start_offset", "end_offset")
LONGEST_CALL: Final = 1200.0  # s; a larger whole number is in milliseconds
EPOCH: Final = 1e8  # s; a larger time counts from 1970
LATEST: Final = 1e10  # s; a larger time is none

TurnTimes = tuple[float | None, float | None]


def read_transcript(raw: object) -> tuple[Turn, ...]:
    """Return no turns of an unreadable transcript."""
    messages = list(_messages(raw))
    times = _times([fields for _, fields in messages])
    return tuple(turn._replace(start=start, end=end) for (turn, _), (start, end) in zip(messages, times, strict=True))


def _messages(raw: object) -> Iterator[tuple[Turn, Mapping[str, Any]]]:
    listed = json_in(raw) if isinstance(raw, str) else raw
    for entry in islice(listed if isinstance(listed, list) else (), MOST_MESSAGES):
        if not isinstance(entry, dict) or entry.get("is_tool_call"):
            continue
        role, content = entry.get("role"), entry.get("content")
        role = role.strip().lower() if isinstance(role, str) else ""
        spoken = content.get("text") if isinstance(content, dict) else content
        text = without_numbers(spoken, LONGEST_TURN) if isinstance(spoken, str) else ""
        if text and role not in UNSPOKEN:
            yield Turn("persona" if role in PERSONA_ROLES else "agent", text), entry


def _times(messages: Sequence[Mapping[str, Any]]) -> list[TurnTimes]:
    """Return each start and end in seconds, from the first pair of fields with times that are not all 0, or unset."""
    for start, end in (*CLOCKS, OFFSETS):
        spans = [(_seconds(message.get(start)), _seconds(message.get(end))) for message in messages]
        times = [time for span in spans for time in span if time is not None]
        if any(times):
            begin = min(times) if min(times) >= EPOCH else 0.0
            in_milliseconds = start == OFFSETS[0] and max(times) > LONGEST_CALL and all(map(float.is_integer, times))
            unit = 1000 if in_milliseconds else 1
            return [(_since(begin, start, unit), _since(begin, end, unit)) for start, end in spans]
    return [(None, None)] * len(messages)


def _seconds(raw: object) -> float | None:
    value = read_number(raw)
    return value if value is not None and 0 <= value <= LATEST else None


def _since(begin: float, time: float | None, unit: int) -> float | None:
    """Digits beyond the milliseconds of such differences are noise."""
    return None if time is None else round((time - begin) / unit, 3)
