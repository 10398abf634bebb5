"""The last runs of a branch in a few numbers. Frozen."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class TrendRun(NamedTuple):
    """An earlier run that completed, with the averages of its metrics by id, as Coval computes them.

    `created` is ISO 8601. `promoted`: the tags that it was promoted to.
    """

    run_id: str
    created: str
    averages: Mapping[str, float] = MappingProxyType({})
    promoted: tuple[str, ...] = ()
