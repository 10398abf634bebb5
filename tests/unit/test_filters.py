"""Filters for runs, which the sandbox parses like Coval."""

import pytest

from coval_gate.coval.model import RunFilter


@pytest.mark.parametrize(
    ("run_filter", "text"),
    [
        (RunFilter(), ""),
        (RunFilter(tag="stable"), 'tag="stable"'),
        (RunFilter(agent_id="a1", tag="b", status="COMPLETED"), 'tag="b" AND agent_id="a1" AND status="COMPLETED"'),
    ],
)
def test_filter_names_what_is_set(run_filter: RunFilter, text: str) -> None:
    assert str(run_filter) == text
    assert run_filter.can_be_sent


@pytest.mark.parametrize("tag", ['a"b', "a\\b", "a\nb", 'x" AND status="COMPLETED'])
def test_filter_with_value_that_needs_escapes_cannot_be_sent(tag: str) -> None:
    assert not RunFilter(tag=tag).can_be_sent
