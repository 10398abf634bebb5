"""What of a long test `make test` runs; `make long` runs the rest, and `make fuzz` searches further."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings


def shares(entries: Iterable[Any], *, one_of: int) -> list[Any]:
    """Return two parameters: every n-th entry, for `make test`, and the others, for `make long`."""
    whole = [*entries]
    others = [entry for place, entry in enumerate(whole) if place % one_of]
    return [pytest.param(whole[::one_of], id="some"), pytest.param(others, id="others", marks=pytest.mark.long)]


def fewer(share: int) -> int:
    """Return a share of the usual number of examples, for a property that takes long."""
    return settings().max_examples // share
