"""Drift: the reference that nights are compared with, and the runs since. Frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from coval_gate.model.baseline import BaselineRun

REFERENCE_RUNS: Final = 7  # the run with the tag, and those that followed it
LATER_RUNS: Final = 60  # that count after the reference: the newest, including the judged run


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """The reference that begins with the `tag` of the input `drift`, and the later runs.

    `known`: how many runs the reference has so far, without the judged one: 0 if no run has the tag, 1 if the judged
    run has it. `holder`: the id of the run with the tag. From REFERENCE_RUNS on, `reference` and `later` are the runs
    before the judged one, the oldest first. `left_out`: how many later runs are excluded because their data are
    incomplete, or because another persona held their conversations. `unreadable`: what Coval did not report, as a
    sentence; then nothing else is known.
    """

    tag: str
    known: int = 0
    holder: str = ""
    reference: tuple[BaselineRun, ...] = ()
    later: tuple[BaselineRun, ...] = ()
    left_out: int = 0
    unreadable: str = ""

    @property
    def begins(self) -> bool:
        """Whether no run has the tag yet, so the judged one may take it."""
        return not self.holder and not self.unreadable
