from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.coval.models import Run, parse_run
from coval_gate.coval.statuses import normalize_status

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


def run(**fields: Any) -> Run:
    return parse_run(json.dumps({"run": {"run_id": "r1", "status": "COMPLETED"} | fields}).encode())


@pytest.mark.parametrize(
    ("spelling", "status"),
    [
        ("IN PROGRESS", "IN PROGRESS"),
        ("IN_PROGRESS", "IN PROGRESS"),
        ("in-progress", "IN PROGRESS"),
        ("IN_QUEUE", "IN QUEUE"),
        ("Canceled", "CANCELLED"),
        (" completed ", "COMPLETED"),
        ("PAUSED", "PAUSED"),
    ],
)
def test_one_spelling_for_all(spelling: str, status: str) -> None:
    assert normalize_status(spelling) == status


@pytest.mark.parametrize("status", [None, 7, "", "  ", ["COMPLETED"]])
def test_an_answer_without_a_status_is_no_answer(status: object) -> None:
    with pytest.raises(ValueError, match="status"):
        run(status=status)


@pytest.mark.parametrize(
    ("status", "over", "known"),
    [
        ("PENDING", False, True),
        ("RUNNING", False, True),
        ("ERROR", True, True),
        ("DELETED", True, True),
        ("PAUSED", False, False),
    ],
)
def test_what_a_status_means(status: str, over: bool, known: bool) -> None:
    assert (run(status=status).is_over, run(status=status).has_known_status) == (over, known)


@pytest.mark.parametrize(
    "answer",
    [
        {"run": {"name": "runs/r1", "run_id": "r1", "status": "PENDING", "create_time": "2025-10-14T12:00:00Z"}},
        {"run": {"run_id": "r1"}},
        {"run": {"id": "r1"}},
        {"run": {"name": "runs/r1"}},
        {"run_id": "r1"},
    ],
)
def test_a_launch_needs_no_more_than_an_id(answer: dict[str, Any]) -> None:
    launched = parse_run(json.dumps(answer).encode(), launched=True)
    assert (launched.run_id, launched.status) == ("r1", "PENDING")


@pytest.mark.parametrize("run_id", ["", "../x", "a b", 7, None, "x" * 65, "r1\n::error::"])
def test_an_id_that_is_none_is_refused(run_id: object) -> None:
    with pytest.raises(ValueError, match="run_id"):
        parse_run(json.dumps({"run": {"run_id": run_id}}).encode(), launched=True)


@pytest.mark.parametrize("progress", [None, 5, [], {}, {"total_test_cases": "many"}, {"total_test_cases": -1}])
def test_progress_that_makes_no_sense_is_left_out(progress: object) -> None:
    assert run(progress=progress).progress is None


@pytest.mark.parametrize(
    ("error_status", "clean"),
    [(None, True), ("", True), ("SUCCESS", True), ("success", True), ("EXECUTION_FAILURE", False), ({"a": 1}, False)],
)
def test_only_known_good_words_are_clean(error_status: object, clean: bool) -> None:
    assert run(error_status=error_status).is_clean is clean


def test_simulations_are_counted_by_whichever_source_knows_more() -> None:
    progress = {"total_test_cases": 10, "completed_test_cases": 9, "failed_test_cases": 1}
    assert run(progress=progress, results={"output_ids": ["s"] * 30, "metrics": {}}).simulations == 30
    assert run(progress=progress, results=None).simulations == 10
    assert run(progress=None, results={"output_ids": None}).simulations == 0


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"run": {"run_id": "r1", "sta', b"\xff\xfe", b"[" * 100_000, b"[]", b"null"]
)
def test_a_damaged_answer_is_one_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_run(body)


@given(JSON, st.booleans())
def test_no_json_breaks_the_reading_or_is_quoted(answer: Any, launched: bool) -> None:
    """Whatever comes: a Run, or a ValueError on one short line."""
    try:
        parse_run(json.dumps({"run": answer}).encode(), launched=launched)
    except ValueError as error:
        assert str(error).isprintable()
        assert len(str(error)) <= 200
