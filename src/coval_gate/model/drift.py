"""Drift: what was found of the reference that nights are compared with, and of the runs since. Frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from coval_gate.model.baseline import BaselineRun

REFERENCE_RUNS: Final = 7  # the run with the tag, and those that followed it
LATER_RUNS: Final = 60  # after them that count: the newest, with the run that is judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What was found of the `tag` that the input `drift` names.

    `known`: how many runs the reference has so far, without the run that is judged; 0 if no run has the tag, and 1 if
    the judged one has it. `holder` is the id of the run that has it. From REFERENCE_RUNS on, `reference` and `later`
    are the runs before the judged one, the oldest first. `left_out`: how many later runs are not there because their
    data are not complete, or another persona held their conversations. `unreadable`: what Coval did not tell, as a
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
        """Whether no run has the tag, so that the judged one may take it."""
        return not self.holder and not self.unreadable
