"""Many thresholds at once: how to keep a step from failing because one of them flips by chance. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def significant(changes: Sequence[Callable[[float], bool]], error: float) -> list[bool]:
    """Tell which changes are real, so that all such claims together are wrong in at most the share `error` of steps.

    Each change tells whether it is significant at the level that it is given, a share; it must not be so at a stricter
    level and not at a looser one. Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (Scandinavian Journal
    of Statistics 6, 1979): each of m changes is tested at error / m. Those that are significant leave, and the rest is
    tested again, at the level for so many as are left, until none leaves.
    """
    left = set(range(len(changes)))
    while left:
        real = {index for index in left if changes[index](error / len(left))}
        if not real:
            break
        left -= real
    return [index not in left for index in range(len(changes))]
