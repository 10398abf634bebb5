"""Fault scripts: one fault per line."""

import math

import pytest

from coval_sandbox.faults import Action, FaultScript, parse_fault


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("503", Action("status", takes_effect=False, status=503)),
        (
            "503 retry-after=Wed, 21 Oct 2026 07:28:00 GMT after",
            Action("status", takes_effect=True, status=503, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"),
        ),
        ("html 200 after", Action("html", takes_effect=True, status=200)),
        ("redirect /b 307", Action("redirect", takes_effect=False, status=307, text="/b")),
        ("reset-before", Action("reset", takes_effect=False)),
        ("reset-after", Action("reset", takes_effect=True)),
        ("hang 2 after", Action("hang", takes_effect=True, amount=2)),
        ("drip 100", Action("drip", takes_effect=True, amount=100)),
        ("404 cut 40", Action("cut", takes_effect=True, status=404, amount=40)),
        ("huge 1e6", Action("huge", takes_effect=True, amount=1e6)),
        ("body {broken  after", Action("body", takes_effect=True, text="{broken  after")),
        ('json {"a": [1]}', Action("json", takes_effect=True, text='{"a": [1]}')),
    ],
)
def test_parse_action(text: str, action: Action) -> None:
    assert parse_fault(f"GET /runs -> {text}").action == action


def test_parse_cut_without_size() -> None:
    for text in ("cut", "200 cut"):
        action = parse_fault(f"GET /runs -> {text}").action
        assert (action.kind, action.status) == ("cut", 200)
        assert math.isnan(action.amount)


@pytest.mark.parametrize(
    ("count", "expected"),
    [("", (1, math.inf)), ("*", (1, math.inf)), ("#3", (3, 3)), ("#2-4", (2, 4)), ("#2-", (2, math.inf))],
)
def test_parse_request_numbers(count: str, expected: tuple[float, float]) -> None:
    fault = parse_fault(f"POST  /runs {count}  ->  503")
    assert (fault.first, fault.last) == expected


@pytest.mark.parametrize(
    "line",
    [
        "", "503", "/runs -> 503", "GET /runs 503", "GET /runs ->", "GET runs -> 503", "get /runs -> 503",
        "GET /runs 2 -> 503", "GET /runs #x -> 503", "GET /runs -> explode", "GET /runs -> 999", "GET /runs -> after",
        "GET /runs -> slow", "GET /runs -> slow soon", "GET /runs -> slow -1", "GET /runs -> slow inf",
        "OFFER * -> 503", "OFFER * -> drop", "OFFER * -> stale 5", "RELAY * -> lost", "RELAY * -> close 999",
        "RELAY * -> close 1006", "RELAY * -> error", "RELAY * -> refuse nothing", "GET * -> drop",
        "GET /runs -> 503 delay=2", "GET /runs -> reset-before now", "GET /runs -> redirect", "GET /runs -> cut 1 2",
    ],
)  # fmt: skip
def test_parse_invalid_fault(line: str) -> None:
    with pytest.raises(ValueError, match=r"^fault "):
        parse_fault(line)


def kinds(script: FaultScript, *requests: tuple[str, str]) -> list[str | None]:
    actions = [script.take(method, path) for method, path in requests]
    return [action.kind if action else None for action in actions]


def test_each_fault_counts_its_own_requests() -> None:
    script = FaultScript(["POST /runs #1 -> 503", "GET /runs/* #2-3 -> html", "* /metrics/? -> reset-after"])
    post, get, metric = ("POST", "/runs"), ("GET", "/runs/abc"), ("PATCH", "/metrics/x")
    assert kinds(script, post, get, post, get, get, get) == ["status", None, None, "html", "html", None]
    assert kinds(script, metric, metric, ("GET", "/metrics/xy")) == ["reset", "reset", None]


def test_first_matching_fault_applies_and_all_count() -> None:
    script = FaultScript(["GET /runs #2 -> html", "GET /* #2-3 -> 500"])
    requests = [("GET", "/runs")] * 4
    assert kinds(script, *requests) == [None, "html", "status", None]


def test_added_fault_counts_later_requests_only() -> None:
    script = FaultScript()
    assert kinds(script, ("GET", "/runs")) == [None]
    script.add("GET /runs #1 -> 500")
    assert kinds(script, ("GET", "/runs"), ("GET", "/runs")) == ["status", None]
