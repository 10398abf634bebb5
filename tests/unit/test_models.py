import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.coval.model import Run, normalize_status
from coval_gate.coval.results import parse_one, read_launched, read_run

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


def run(**fields: Any) -> Run:
    return read_run({"run_id": "r1", "status": "COMPLETED"} | fields)


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
def test_status_is_normalized(spelling: str, status: str) -> None:
    assert normalize_status(spelling) == status


@pytest.mark.parametrize("status", [None, 7, "", "  ", ["COMPLETED"], "COMP\u200bLETED", "X" * 41])
def test_response_without_valid_status_is_error(status: object) -> None:
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
def test_status_is_over_or_known(status: str, over: bool, known: bool) -> None:
    assert (run(status=status).is_over, run(status=status).has_known_status) == (over, known)


@pytest.mark.parametrize(
    "response",
    [
        {"run": {"name": "runs/r1", "run_id": "r1", "status": "PENDING", "create_time": "2025-10-14T12:00:00Z"}},
        {"run": {"run_id": "r1"}},
        {"run": {"id": "r1"}},
        {"run": {"name": "runs/r1"}},
        {"run": {"run_id": None, "id": "r1", "status": 7}},
        {"run_id": "r1"},
    ],
)
def test_launch_response_requires_run_id_only(response: dict[str, Any]) -> None:
    launched = parse_one(json.dumps(response).encode(), ("run",), read_launched)
    assert (launched.run_id, launched.status) == ("r1", "PENDING")


@pytest.mark.parametrize("run_id", ["", "../x", "a b", 7, None, "x" * 65, "r1\n::error::"])
def test_invalid_run_id_is_error(run_id: object) -> None:
    with pytest.raises(ValueError, match="run_id"):
        read_launched({"run_id": run_id})


def counts(total: object, completed: object, failed: object, active: object = 0) -> dict[str, object]:
    """Return progress with the field names of the API."""
    names = ("total", "completed", "failed", "in_progress")
    return {f"{name}_test_cases": each for name, each in zip(names, (total, completed, failed, active), strict=True)}


@pytest.mark.parametrize(
    ("progress", "done"),
    [(counts(10, 7, 3), 10), (counts(10, 7, None), 7), (counts(10, 7, 3, None), 10)],
)
def test_progress_counts_done_simulations(progress: object, done: int) -> None:
    assert (progress_of := run(progress=progress).progress) is not None
    assert progress_of.done == done


@pytest.mark.parametrize("progress", [None, {}, {"completed_test_cases": 7}])
def test_run_may_show_no_progress(progress: object) -> None:
    assert run(progress=progress).progress is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("progress", 5),
        ("progress", counts("many", 1, 0)),
        ("progress", counts(-1, 0, 0)),
        ("progress", counts(True, True, False)),
        ("agent_id", 7),
        ("persona_id", "../x"),
        ("create_time", 2026),
        ("tags", "nightly"),
        ("tags", ["nightly", None]),
        ("metadata", []),
        ("metadata", {"customer": "x"}),
        ("results", []),
        ("results", {"output_ids": [None]}),
        ("results", {"metrics": []}),
        ("results", {"metrics": {"m1": 5}}),
        ("metric_averages", [1.5]),
    ],
)
def test_field_of_a_wrong_type_is_error(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=r": not an? "):
        run(**{name: value})


def test_entries_of_one_metric_are_read_as_one() -> None:
    """Otherwise the step would tell the user to use the id of one of them, which they share."""

    def entry(**values: float) -> dict[str, Any]:
        return {
            "metric_id": "m1",
            "metric_name": "Latency",
            "values": [{"simulation_output_id": id_, "value": value} for id_, value in values.items()],
        }

    metrics = {"m1": entry(s1=1.0, s2=2.0), "Latency": entry(s2=3.0, s3=4.0)}
    (metric,) = run(results={"metrics": metrics}).metrics
    assert (metric.id, metric.values) == ("m1", {"s1": 1.0, "s3": 4.0})


@pytest.mark.parametrize(
    ("error_status", "is_clean"),
    [
        (None, True),
        ("", True),
        ("SUCCESS", True),
        ("success", True),
        ("EXECUTION_FAILURE", False),
        ({"a": 1}, False),
        ("\u200b", False),
    ],
)
def test_run_is_clean_without_error_status(error_status: object, is_clean: bool) -> None:
    assert run(error_status=error_status).is_clean is is_clean


@pytest.mark.parametrize("name", [b'"x\\ud83d"', b'"\xff"', b'"caf\xc3"', b"[" * 300 + b"]" * 300])
def test_malformed_display_name_is_ignored(name: bytes) -> None:
    body = b'\xef\xbb\xbf{"run": {"run_id": "r1", "status": "COMPLETED", "display_name": %b}}' % name
    assert parse_one(body, ("run",), read_run).status == "COMPLETED"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"run": {"run_id": "r1", "sta', b"\xff\xfe", b"[" * 100_000, b"[]", b"null"]
)
def test_malformed_run_is_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_one(body, ("run",), read_run)


@given(JSON)
def test_any_json_is_run_or_short_error(response: Any) -> None:
    """The result is a Run or a ValueError, whose message is one short line."""
    try:
        parse_one(json.dumps({"run": response}).encode(), ("run",), read_run)
    except ValueError as error:
        assert str(error).isprintable()
        assert len(str(error)) <= 200


NO_SIMULATIONS = {"total_test_cases": 0, "completed_test_cases": 0}


@pytest.mark.parametrize(
    ("fields", "is_empty"),
    [
        ({"progress": NO_SIMULATIONS, "results": {"output_ids": []}}, True),
        ({"progress": NO_SIMULATIONS, "results": {"output_ids": ["s1"]}}, False),
        ({"progress": NO_SIMULATIONS, "results": {"output_ids": None}}, False),
        ({"progress": NO_SIMULATIONS, "results": {}}, False),
        ({"progress": NO_SIMULATIONS, "results": None}, False),
        ({"progress": None, "results": {"output_ids": []}}, False),
        ({"progress": NO_SIMULATIONS | {"total_test_cases": None}, "results": {"output_ids": []}}, False),
        ({"progress": NO_SIMULATIONS | {"total_test_cases": 1}, "results": {"output_ids": []}}, False),
    ],
)
def test_run_is_empty_only_if_both_counts_say_so(fields: dict[str, Any], is_empty: bool) -> None:
    assert run(**fields).is_empty is is_empty
