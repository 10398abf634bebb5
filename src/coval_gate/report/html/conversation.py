"""A transcript as a conversation: its turns, and how long each answer of the agent took. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coval_gate.report.limits import LONGEST_TURN
from coval_gate.text import number, one_line, plural, stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coval_gate.model.details import Turn

BAR: Final = 100  # width of the longest latency


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnView:
    """A turn, its time in the conversation, and the pause before it where the agent answers."""

    role: str
    text: str
    at: str
    latency: str
    bar: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """The last turns of a conversation, and what is left out of it."""

    turns: tuple[TurnView, ...]
    left_out: str


def conversation(turns: Sequence[Turn], room: int) -> Conversation | None:
    """Return as many of the last turns as the room (characters) allows; None without any."""
    if not turns:
        return None
    latencies = list(_latencies(turns))
    longest = max((each for each in latencies if each is not None), default=0.0)
    shown = [_turn(each, latency, longest) for each, latency in zip(turns, latencies, strict=True)]
    first = len(shown)
    while first and (first == len(shown) or len(shown[first - 1].text) <= room):
        first -= 1
        room -= len(shown[first].text)
    return Conversation(turns=tuple(shown[first:]), left_out=plural(first, "earlier turn") if first else "")


def _latencies(turns: Sequence[Turn]) -> Iterator[float | None]:
    """Yield how many seconds the agent took to answer; None where the persona speaks, or the times are not known."""
    before: Turn | None = None
    for turn in turns:
        answers = before is not None and before.role == "persona" and turn.role == "agent"
        known = answers and turn.start is not None and before is not None and before.end is not None
        yield max(0.0, (turn.start or 0.0) - (before.end or 0.0)) if known and before else None
        before = turn


def _turn(turn: Turn, latency: float | None, longest: float) -> TurnView:
    return TurnView(
        role=turn.role,
        text=one_line(turn.text, LONGEST_TURN),
        at="" if turn.start is None else stopwatch(turn.start),
        latency="" if latency is None else f"{number(round(latency, 2))} s",
        bar=round(BAR * latency / longest, 1) if latency and longest else 0.0,
    )
