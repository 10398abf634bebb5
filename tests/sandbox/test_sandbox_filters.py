"""Filters, order and pagination of lists."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_sandbox.filters import listing, matches, ordered, parse_filter
from coval_sandbox.problems import Problem
from coval_sandbox.quirks import Quirks

FIELDS = ("status", "agent_id", "tag", "create_time")
ROW = {
    "status": "IN PROGRESS",
    "agent_id": "a1",
    "tag": ("nightly", "a b"),
    "create_time": "2026-10-01T12:00:00.000Z",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ('agent_id="a1"', True),
        ('status="IN PROGRESS"', True),
        ('status="in_progress"', True),
        ('tag="nightly"', True),
        ('tag="night"', False),
        ('agent_id="a1" AND tag="other"', False),
        ('agent_id="a1" AND tag="nightly"', True),
    ],
)
def test_filter_matches(text: str, expected: bool) -> None:
    assert matches(ROW, parse_filter(text, FIELDS)) is expected


@pytest.mark.parametrize(
    "text",
    [
        "agent_id=a1",
        'agent_id="a1" AND',
        'AND agent_id="a1"',
        'agent_id="a1" tag="nightly"',
        'agent_id="a1" AND OR tag="x"',
        'agent_id="a1',
        'agent_id=="a1"',
        'secret="x"',
        'metrics.m="1"',
        '(agent_id="a1")',
        'agent_id!="a1"',
        'agent_id="a1" OR tag="x"',
        'agent_id="a\\\\"1"',
    ],
)
def test_invalid_filter_is_refused(text: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_filter(text, FIELDS)
    assert (caught.value.status, caught.value.details[0]["field"]) == (400, "filter")


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with suppress(Problem):
        parse_filter(text, FIELDS)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "create_time": "same", "status": number % 2} for number in range(count)]


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        (None, [3, 2, 1, 0]),
        ("create_time", [0, 1, 2, 3]),
        ("status", [0, 2, 1, 3]),
        ("-status", [3, 1, 2, 0]),
    ],
)
def test_order_by(order_by: str | None, expected: list[int]) -> None:
    in_order = ordered(rows(4), order_by, ("create_time", "status"))
    assert [row["id"] for row in in_order] == expected


@given(total=st.integers(0, 40), size=st.integers(1, 15))
def test_pages_have_every_row_once(total: int, size: int) -> None:
    items, token = [], ""
    for _ in range(total + 1):
        query = {"page_size": str(size)} | ({"page_token": token} if token else {})
        answer = listing("rows", rows(total), query, Quirks())
        items += answer["rows"]
        token = answer["next_page_token"]
        if token is None:
            break
    assert [row["id"] for row in items] == list(range(total))


@pytest.mark.parametrize(
    "query",
    [{"page_size": "0"}, {"page_size": "1001"}, {"page_size": "-1"}, {"page_size": "ten"},
        {"page_size": "1" * 5000}, {"page_size": "²"},
     {"page_token": "?"}, {"page_token": "e30="}, {"page_token": "eyJvZmZzZXQiOiAtMX0="}],
)  # fmt: skip
def test_invalid_page_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(Problem, match="400"):
        listing("rows", rows(3), query, Quirks())
