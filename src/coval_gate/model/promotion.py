"""What became of a promotion: whether a run that passed has the tag now, and which runs lost it. Frozen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Obstacle = Literal[
    "", "newer", "no_room", "pull_request", "unknown_origin", "hidden_tags", "late", "failed", "repeated", "not_first"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """The promotion of the run `run_id` to `tag`; without an `obstacle`, the run has the tag.

    `previous`: the runs that had the tag, and lost it. `remaining`: older runs that could not be changed, so they still
    have the tag, for the reason in `text`.

    newer: the run `other`, which is newer, has the tag. no_room: the run has as many tags as Coval allows.
    pull_request: the run evaluates the pull request with the number `other`. unknown_origin: Coval shows neither tags
    nor metadata, so the run could be one of a pull request. hidden_tags: Coval does not show all tags, so they could
    not be kept. repeated: it failed at first, and passed only together with its repetitions. not_first: it was compared
    with nothing, although the run `other` has the tag. late: the step's time was over. failed: a call failed, for the
    reason in `text`; `advice` says what to do.
    """

    run_id: str
    tag: str
    obstacle: Obstacle = ""
    previous: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()
    other: str = ""
    text: str = ""
    advice: str = ""

    @property
    def promoted(self) -> bool:
        """Whether the run has the tag."""
        return not self.obstacle

    def redacted(self, redact: Callable[[str], str]) -> Promotion:
        """Return the promotion with `redact` applied to the texts of errors."""
        return replace(self, text=redact(self.text), advice=redact(self.advice))
