"""Renders beside the thread that notices signals, because a large report takes longer than the runner waits.

A signal takes nothing away from a report that is ready a moment later. What is not ready then is left out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeVar

from coval_gate.clock import Interrupted
from coval_gate.waiting import BackgroundCall, Wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.clock import Clock
    from coval_gate.waiting import Procedure

T = TypeVar("T")

AFTER_SIGNAL: Final = 0.75  # s for all that is still to be rendered when a signal arrives


class TooLate(Interrupted):
    """The step was told to end, and this was not rendered in time."""


class Rendering:
    """Renders formats, until a signal says that the step has to end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = math.inf
        self._signalled = False

    def check(self) -> None:
        """Raise Interrupted if a signal arrived while something was rendered."""
        if self._signalled:
            raise Interrupted

    def end_at(self, until: float) -> None:
        """Render only what is ready by then."""
        self._until = min(self._until, until)

    def of(self, work: Callable[[], T]) -> Procedure[T]:
        """Return what the work returns, or raise what it raises. Raises TooLate where that takes too long."""
        if self._clock.now() >= self._until:
            raise TooLate
        call = BackgroundCall(work)
        while not call.ended:
            try:
                yield Wait(max(0.0, self._until - self._clock.now()), (call,))
            except Interrupted:
                self._signalled = True
                self.end_at(self._clock.now() + AFTER_SIGNAL)
                continue
            if not call.ended:
                self._signalled = True
                raise TooLate
        return call.result
