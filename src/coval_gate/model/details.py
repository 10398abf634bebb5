"""What only informs about a run: test cases in words, and what judges say."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Turn(NamedTuple):
    """What was said in one turn of a conversation; `start` and `end` in seconds from its beginning, None if unknown."""

    role: Literal["persona", "agent"]
    text: str
    start: float | None = None
    end: float | None = None


def length(turns: Sequence[Turn]) -> float | None:
    """Return how many seconds a conversation took, up to the end of its last turn; None where that is not known."""
    return turns[-1].end if turns else None


class Details(NamedTuple):
    """Texts for the report that do not affect the verdict.

    `labels`: test cases in words, by id. `texts`: explanations of metric values, by simulation id and metric id.
    `transcripts`: conversations by simulation id, where `include_transcripts` asked for them.
    """

    labels: Mapping[str, str] = MappingProxyType({})
    texts: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    transcripts: Mapping[str, tuple[Turn, ...]] = MappingProxyType({})
