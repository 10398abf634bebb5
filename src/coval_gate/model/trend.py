"""The last runs of a branch in a few numbers. Frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendRun:
    """An earlier run that completed, with the averages of its metrics by id, as Coval computes them.

    `created` is ISO 8601. `promoted`: the tags that it was promoted to.
    """

    run_id: str
    created: str
    averages: Mapping[str, float] = field(default_factory=dict)
    promoted: tuple[str, ...] = ()
