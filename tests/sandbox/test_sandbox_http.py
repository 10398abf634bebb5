"""The sandbox's API: the HTTP server over real sockets, the fault scripts that it plays, lists, and quirks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from coval_sandbox import catalogue
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.faults import FaultScript, parse_fault
from coval_sandbox.filters import matches, parse_filter
from coval_sandbox.problems import Problem
from coval_sandbox.quirks import Quirks, parse_quirks
from coval_sandbox.server import Server
from coval_sandbox.world import DEFAULT_KEY, World

BODY = {"agent_id": catalogue.AGENT_ID, "persona_id": catalogue.PERSONA_ID, "test_set_id": "passing1"}


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers["x-api-key"] = DEFAULT_KEY
        session.trust_env = False
        yield session


def serve(*faults: str, quirks: Quirks | None = None) -> Server:
    return Server(World(ManualClock(), quirks=quirks), faults=faults)


def call(session: requests.Session, server: Server, method: str, path: str, **more: Any) -> requests.Response:
    return session.request(method, server.url + path, timeout=60, allow_redirects=False, **more)


def test_https(session: requests.Session, tmp_path: Path) -> None:
    """Only who trusts the certificate in the file gets an answer."""
    ca = tmp_path / "ca.pem"
    with Server(World(ManualClock()), ca=ca) as server:
        assert server.url.startswith("https://127.0.0.1:")
        with pytest.raises(requests.exceptions.SSLError):
            call(session, server, "GET", "/runs")
        assert call(session, server, "GET", "/runs", verify=str(ca)).status_code == 200


@pytest.mark.parametrize(
    ("action", "launches"), [("reset-before", 0), ("reset-after", 1), ("cut", 1), ("hang 0.01", 0), ("503 cut 3", 1)]
)
def test_response_is_lost_by_fault(session: requests.Session, action: str, launches: int) -> None:
    with serve(f"POST /runs #1 -> {action}") as server:
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            call(session, server, "POST", "/runs", json=BODY)
        assert len(server.world.runs) == launches
        assert call(session, server, "GET", "/runs").status_code == 200


def test_faults_that_answer(session: requests.Session) -> None:
    faults = (
        "POST /runs #1 -> 503 retry-after=2", "POST /runs #2 -> 500 after", "GET /runs #1 -> html",
        "GET /runs #2 -> redirect http://elsewhere.example/v1", "GET /runs #3 -> 418", "GET /runs #4 -> body {broken",
        'GET /runs #5 -> json {"a": 1}', "GET /runs #6 -> huge 300000", "GET /runs #8 -> slow 0.01",
        "GET /runs #9 -> drip 4000",
    )  # fmt: skip
    with serve(*faults) as server:
        unavailable = call(session, server, "POST", "/runs", json=BODY)
        assert (unavailable.status_code, unavailable.headers["retry-after"]) == (503, "2")
        assert unavailable.json()["error"]["code"] == "INTERNAL"
        assert server.world.runs == ()
        ambiguous = call(session, server, "POST", "/runs", json=BODY)
        assert (ambiguous.status_code, "retry-after" in ambiguous.headers) == (500, False)
        assert len(server.world.runs) == 1
        page, moved, teapot, broken, json_, huge, plain, *late = (
            call(session, server, "GET", "/runs") for _ in range(9)
        )
    assert (page.status_code, page.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert (moved.status_code, moved.headers["location"]) == (302, "http://elsewhere.example/v1")
    assert (teapot.status_code, broken.text, json_.json()) == (418, "{broken", {"a": 1})
    assert len(huge.content) == 300_000
    assert json.loads(huge.content)["padding"]
    assert [answer.content for answer in late] == [plain.content] * 2


# Fault scripts: one fault per line


@pytest.mark.parametrize(
    "line",
    [
        "", "GET /runs 503", "GET runs -> 503", "get /runs -> 503", "GET /runs #x -> 503", "GET /runs -> explode",
        "GET /runs -> 999", "GET /runs -> slow", "GET /runs -> slow inf", "OFFER * -> 503", "RELAY * -> close 1006",
        "GET * -> drop", "GET /runs -> reset-before now", "GET /runs -> cut 1 2",
    ],
)  # fmt: skip
def test_parse_invalid_fault(line: str) -> None:
    with pytest.raises(ValueError, match=r"^fault "):
        parse_fault(line)


def kinds(script: FaultScript, *requests: tuple[str, str]) -> list[str | None]:
    actions = [script.take(method, path) for method, path in requests]
    return [action.kind if action else None for action in actions]


def test_each_fault_counts_its_own_requests_and_the_first_that_matches_applies() -> None:
    script = FaultScript(["POST /runs #1 -> 503", "GET /runs/* #2-3 -> html", "* /metrics/? -> reset-after"])
    post, get, metric = ("POST", "/runs"), ("GET", "/runs/abc"), ("PATCH", "/metrics/x")
    assert kinds(script, post, get, post, get, get, get) == ["status", None, None, "html", "html", None]
    assert kinds(script, metric, metric, ("GET", "/metrics/xy")) == ["reset", "reset", None]
    script = FaultScript(["GET /runs #2 -> html", "GET /* #2-3 -> 500"])
    assert kinds(script, *[("GET", "/runs")] * 4) == [None, "html", "status", None]
    script = FaultScript(["* * -> 503", "OFFER * #2 -> stale"])
    assert kinds(script, *[("OFFER", "/simulations/abc")] * 2) == [None, "stale"], "no method includes offers"


# The same without sockets

# Filters, order and pagination of lists

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
        ('status="IN PROGRESS"', True),
        ('tag="night"', False),
        ('agent_id="a1" AND tag="nightly"', True),
    ],
)
def test_filter_matches(text: str, expected: bool) -> None:
    assert matches(ROW, parse_filter(text, FIELDS)) is expected


@pytest.mark.parametrize(
    "text",
    [
        "agent_id=a1", 'agent_id="a1" AND', 'agent_id="a1" tag="nightly"', 'agent_id="a1', 'secret="x"',
        '(agent_id="a1")', 'agent_id!="a1"', 'agent_id="a1" OR tag="x"',
    ],
)  # fmt: skip
def test_invalid_filter_is_refused(text: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_filter(text, FIELDS)
    assert (caught.value.status, caught.value.details[0]["field"]) == (400, "filter")


# Quirks


def test_parse_quirks() -> None:
    settings = ["status-spelling=lower", "metrics-lag=2.5", "null-progress", "error-status="]
    expected = Quirks(status_spelling="lower", metrics_lag=2.5, null_progress=True, error_status="")
    assert parse_quirks(settings) == expected
    assert parse_quirks(["null-progress=no"]) == parse_quirks([]) == Quirks()
    for setting, part in (
        ("spelling=lower", "status-spelling, canceled-spelling"),
        ("status-spelling=loud", r"documented\|underscore"),
        ("metrics-lag=nan", "<number>"),
        ("null-progress=maybe", r"true\|false"),
    ):
        with pytest.raises(ValueError, match=part):
            parse_quirks([setting])
