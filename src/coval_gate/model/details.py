"""Texts about a run that only inform: test cases in words, judges' explanations, transcripts."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Turn(NamedTuple):
    """One turn of a conversation; `start` and `end` in seconds from the conversation's start, None if unknown."""

    role: Literal["persona", "agent"]
    text: str
    start: float | None = None
    end: float | None = None


def length(turns: Sequence[Turn]) -> float | None:
    """Return a conversation's length in seconds, up to the end of its last turn; None if unknown."""
    return turns[-1].end if turns else None


class Details(NamedTuple):
    """Texts for the report that do not affect the verdict.

    `labels`: test cases in words, by id. `texts`: explanations of metric values, by simulation id and metric id.
    `transcripts`: conversations by simulation id, if `include_transcripts` requests them.
    """

    labels: Mapping[str, str] = MappingProxyType({})
    texts: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    transcripts: Mapping[str, tuple[Turn, ...]] = MappingProxyType({})
