"""What of a long test `make test` runs; `make long` and `make fuzz` run the whole."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterable


def shares(entries: Iterable[Any], *, one_of: int) -> list[Any]:
    """Return two parameters: every n-th entry, for `make test`, and all entries, for `make long`."""
    whole = [*entries]
    return [pytest.param(whole[::one_of], id="some"), pytest.param(whole, id="all", marks=pytest.mark.long)]


def crossed(*axes: Iterable[Any]) -> list[Any]:
    """Return parameters: all combinations of the axes' values.

    `make test` has so many that it has each value once, and `make long` has the others.
    """
    values = [[*axis] for axis in axes]
    diagonal = {tuple(place % len(axis) for axis in values) for place in range(max(map(len, values)))}
    return [
        pytest.param(
            *(axis[place] for axis, place in zip(values, places, strict=True)),
            marks=[] if places in diagonal else pytest.mark.long,
        )
        for places in product(*(range(len(axis)) for axis in values))
    ]


def fewer(share: int) -> int:
    """Return a share of the usual number of examples, for a property that takes long."""
    return settings().max_examples // share
