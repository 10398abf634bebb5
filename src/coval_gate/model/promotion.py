"""The promotion of a run to a tag: whether the run has it, why not, and which runs lost it. Frozen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Refusal = Literal[
    "not_passed", "repeated", "in_doubt", "too_old", "incomparable", "not_compared", "unjudged", "unconfirmed"
]
Obstacle = Literal[
    "",
    "pending",
    "newer",
    "no_room",
    "pull_request",
    "unknown_origin",
    "unlisted",
    "hidden_tags",
    "late",
    "failed",
    "not_first",
    "marked",
    Refusal,
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """The promotion of the run `run_id` to `tag`; without an `obstacle`, the run has the tag.

    `accepted`: a person accepted the run; without a tag, this is about its mark.

    `previous`: the runs that had the tag and lost it. `remaining`: older runs that still have it because they could not
    be changed, for the reason in `text`.

    Obstacles in the judgement: not_passed: the run did not pass. repeated: it failed at first, and passed only together
    with its repetitions. in_doubt: a threshold that does not compare with the baseline was neither met nor missed.
    too_old: the baseline is too old. incomparable: nothing in the baseline could be compared. not_compared: Coval did
    not report which run the baseline is, or that run cannot be one. unjudged: no criterion is about the agent's
    quality. unconfirmed: the run is better than its baseline, beyond the margin; another such run must confirm it.

    Other obstacles: pending: the run is promoted once all reports are written. newer: the newer run `other` has the
    tag. no_room: the run has as many tags as Coval allows. pull_request: the run evaluates pull request number `other`.
    unknown_origin: Coval shows neither tags nor metadata, so the run may be a pull request's. unlisted: Coval's list
    lacks the run, so it may lack the run with the tag, too. hidden_tags: Coval does not show all tags, so they could
    not be kept. not_first: the run was compared with nothing, although the run `other` has the tag. marked: an earlier
    step failed the run. late: the step's time was over. failed: a call failed, for the reason in `text`; `advice` says
    what to do.
    """

    run_id: str
    tag: str
    obstacle: Obstacle = ""
    previous: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()
    other: str = ""
    text: str = ""
    advice: str = ""
    accepted: bool = False

    @property
    def promoted(self) -> bool:
        """Whether the run has the tag."""
        return not self.obstacle

    def with_obstacle(self, obstacle: Obstacle, *, other: str = "", text: str = "", advice: str = "") -> Promotion:
        """Return the promotion with an obstacle and its details."""
        return replace(self, obstacle=obstacle, other=other, text=text, advice=advice)

    def redacted(self, redact: Callable[[str], str]) -> Promotion:
        """Return the promotion with `redact` applied to the texts of errors."""
        return replace(self, text=redact(self.text), advice=redact(self.advice))
