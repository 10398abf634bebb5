"""The fixture that prints the campaign's tally."""

from collections.abc import Callable

import pytest

from support import TALLY


@pytest.fixture
def print_tally(record_property: Callable[[str, object], None]) -> Callable[[object], None]:
    """Print a tally below the test results, whether the test passes or fails."""
    return lambda tally: record_property(TALLY, str(tally))
