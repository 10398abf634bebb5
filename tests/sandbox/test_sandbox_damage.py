"""Damaged responses: one part is lost, empty or of another type, and the rest is unchanged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from coval_sandbox.damage import DAMAGES, damaged

RUN: dict[str, Any] = {
    "run": {"run_id": "a", "progress": {"completed": 2}, "results": {"metrics": {"x": {"name": "n", "value": 1}}}}
}
LISTED: dict[str, Any] = {"items": [{"id": number, "status": "COMPLETED"} for number in range(3)]}


def differences(before: Any, after: Any) -> list[Any]:
    """Return the replacement of each part that differs; "lost" if there is none."""
    if isinstance(before, dict) and isinstance(after, dict):
        assert set(after) <= set(before) or after == {"?": None}
        if before.keys() == after.keys():
            return [found for key in before for found in differences(before[key], after[key])]
        lost = [key for key in before if key not in after]
        return ["lost"] if len(lost) == 1 else [after]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [found for old, new in zip(before, after, strict=True) for found in differences(old, new)]
    if isinstance(before, list) and isinstance(after, list) and len(after) == len(before) - 1 > 0:
        return ["lost"]
    return [] if before == after else [after]


@pytest.mark.parametrize("content", [RUN, LISTED], ids=["run", "list"])
def test_one_part_is_damaged(content: dict[str, Any]) -> None:
    body = json.dumps(content).encode()
    damages = []
    for seed in range(200):
        difference = differences(content, json.loads(damaged(body, seed)))
        assert len(difference) <= 1
        assert not difference or difference[0] in ("lost", *DAMAGES)
        damages += difference
    assert len(damages) > 150
    kinds: tuple[Any, ...] = ("lost", None, {}, [])
    assert all(kind in damages for kind in kinds)


def test_same_seed_damages_the_same_part_of_similar_responses() -> None:
    first, second = ({**LISTED, "items": [{"id": 7, "status": status}]} for status in ("IN QUEUE", "COMPLETED"))
    for seed in range(50):
        results = [json.loads(damaged(json.dumps(document).encode(), seed)) for document in (first, second)]
        assert [differences(first, results[0])] == [differences(second, results[1])]


@pytest.mark.parametrize(("body", "expected"), [(b"<html>", b""), (b"{}", b"[]"), (b"3", b"[]")])
def test_body_without_parts_is_replaced(body: bytes, expected: bytes) -> None:
    assert damaged(body, 1) == expected
