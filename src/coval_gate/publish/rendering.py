"""Renders reports in another thread than signals, because a large one takes longer than the runner waits.

After a signal, a report that is ready within a moment is still written; the others are left out.
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

AFTER_SIGNAL: Final = 0.75  # s for everything not yet rendered when a signal arrives


class TooLate(Interrupted):
    """The step is ending, and this was not rendered in time."""


class Rendering:
    """Renders formats until shortly after a signal ends the step."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = math.inf
        self._signalled = False

    def check(self) -> None:
        """Raise Interrupted if a signal arrived during rendering."""
        if self._signalled:
            raise Interrupted

    def end_at(self, until: float) -> None:
        """Render only what is ready by `until`, a time of the clock."""
        self._until = min(self._until, until)

    def of(self, work: Callable[[], T]) -> Procedure[T]:
        """Return the result of `work`, or raise its exception. Raises TooLate if it takes too long."""
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
