"""Lets the campaign's test tell its tally."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support import TALLY

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[object], None]:
    """Have a tally printed below the test results, whether the test passes or not."""
    return lambda tally: record_property(TALLY, str(tally))
