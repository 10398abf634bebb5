"""The fixture that prints the campaign's tally."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support import TALLY

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def print_tally(record_property: Callable[[str, object], None]) -> Callable[[object], None]:
    """Print a tally below the test results, whether the test passes or fails."""
    return lambda tally: record_property(TALLY, str(tally))
