"""Many thresholds at once: how to keep a step from failing because one of them flips by chance. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def significant(changes: Sequence[Callable[[float], bool]], error: float) -> list[bool]:
    """Tell which changes are real, so that all such claims together are wrong in at most the share `error` of steps.

    Each change tells whether it is significant at the level that it is given, a share; it must not be so at a stricter
    level and not at a looser one. Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (Scandinavian Journal
    of Statistics 6, 1979): the clearest change of m is tested at error / m, the next one at error / (m - 1), and so on
    until one is not significant.
    """
    count = len(changes)
    # How strict a level each change stands: error / strictness; 0 if not even the whole error.
    strictness = [
        next((divisor for divisor in range(count, 0, -1) if change(error / divisor)), 0) for change in changes
    ]
    real = [False] * count
    for tested, index in enumerate(sorted(range(count), key=lambda each: -strictness[each])):
        if strictness[index] < count - tested:
            break
        real[index] = True
    return real
