"""The sandbox's API: the HTTP server over real sockets, the fault scripts that it plays, lists, and quirks."""

import json
import math
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import requests

from coval_sandbox import catalogue
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.faults import FaultScript, parse_fault
from coval_sandbox.filters import listing, matches, ordered, parse_filter
from coval_sandbox.http import Api
from coval_sandbox.problems import Problem
from coval_sandbox.quirks import Quirks, describe_quirks, parse_quirks
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


def test_requests_are_recorded(session: requests.Session) -> None:
    with serve("POST /runs -> reset-before") as server:
        call(session, server, "GET", "/runs/a%2Fb", params={"filter": 'tag="ä"', "page_size": ""})
        with suppress(requests.ConnectionError):
            call(session, server, "POST", "/runs", json=BODY, headers={"X-Custom": "1"})
        get, post = server.requests_seen
        assert (get.method, get.path, get.json) == ("GET", "/v1/runs/a%2Fb", None)
        assert get.query == {"filter": 'tag="ä"', "page_size": ""}
        assert (post.json, post.headers["x-custom"], post.headers["x-api-key"]) == (BODY, "1", DEFAULT_KEY)


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


def raw(server: Server, request: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.sendall(request.replace("\n", "\r\n").encode())
    return connection


def wait_for_requests(server: Server, number: int) -> None:
    while len(server.requests_seen) < number:
        time.sleep(0.001)


GET_RUNS = f"GET /v1/runs HTTP/1.1\nHost: x\nx-api-key: {DEFAULT_KEY}\n\n"


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


def test_shutdown_waits_for_no_client_that_left_and_ends_outstanding_requests() -> None:
    with serve("GET /runs #1 -> slow 600", "GET /runs #2- -> hang 600") as server:
        for number in (1, 2):
            with raw(server, GET_RUNS):
                wait_for_requests(server, number)
        connection = raw(server, GET_RUNS)
        wait_for_requests(server, 3)
    with connection, suppress(ConnectionResetError):
        assert connection.recv(100) == b""


# Fault scripts: one fault per line


def test_parse_fault() -> None:
    for text in ("cut", "200 cut"):
        action = parse_fault(f"GET /runs -> {text}").action
        assert (action.kind, action.status) == ("cut", 200)
        assert math.isnan(action.amount)
    counts = {"": (1, math.inf), "*": (1, math.inf), "#3": (3, 3), "#2-4": (2, 4), "#2-": (2, math.inf)}
    for count, expected in counts.items():
        fault = parse_fault(f"POST  /runs {count}  ->  503")
        assert (fault.first, fault.last) == expected


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


def test_added_fault_counts_later_requests_only() -> None:
    script = FaultScript()
    assert kinds(script, ("GET", "/runs")) == [None]
    script.add("GET /runs #1 -> 500")
    assert kinds(script, ("GET", "/runs"), ("GET", "/runs")) == ["status", None]


# The same without sockets

LAUNCH = json.dumps(BODY)
REQUESTS = [
    ("POST", "/v1/runs", "", DEFAULT_KEY, LAUNCH),
    ("POST", "/v1/runs", "", DEFAULT_KEY, "{"),
    ("POST", "/v1/runs", "", "wrong", LAUNCH),
    ("POST", "/v1/runs", "", "", LAUNCH),
    ("GET", "/v1/runs", "page_size=1&filter=status%3D%22PENDING%22", DEFAULT_KEY, ""),
    ("GET", "/v1/runs/RUN", "", DEFAULT_KEY, ""),
    ("GET", "/v1/simulations", "filter=run_id%3D%22RUN%22", DEFAULT_KEY, ""),
    ("GET", "/v1/test-cases/case%2Fnone", "", DEFAULT_KEY, ""),
    ("PUT", "/v1/runs", "", DEFAULT_KEY, ""),
    ("PATCH", "/v1/runs/RUN", "", DEFAULT_KEY, '{"tags": ["a"]}'),
    ("DELETE", "/v1/runs/RUN", "", DEFAULT_KEY, ""),
]


def test_direct_and_server_responses_are_equal() -> None:
    behind_socket, direct = (World(ManualClock(), seed=7) for _ in range(2))
    interface = Api(direct)
    with Server(behind_socket) as server:
        root = server.url.removesuffix("/v1")
        for method, path, query, key, body in REQUESTS:
            run_id = direct.runs[0].run_id if direct.runs else ""
            path, query = path.replace("RUN", run_id), query.replace("RUN", run_id)
            headers = {"x-api-key": key} if key else {}
            from_server = requests.request(method, f"{root}{path}?{query}", headers=headers, data=body, timeout=10)
            from_direct = interface.answer(method, path, query, headers, body.encode())
            assert (from_direct.status, json.loads(from_direct.body)) == (
                from_server.status_code,
                from_server.json(),
            ), (method, path)
    assert direct.runs == behind_socket.runs


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
        ('status="in_progress"', True),
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
        "agent_id=a1", 'agent_id="a1" AND', 'agent_id="a1" tag="nightly"', 'agent_id="a1', 'secret="x"',
        '(agent_id="a1")', 'agent_id!="a1"', 'agent_id="a1" OR tag="x"',
    ],
)  # fmt: skip
def test_invalid_filter_is_refused(text: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_filter(text, FIELDS)
    assert (caught.value.status, caught.value.details[0]["field"]) == (400, "filter")


def test_order_has_the_two_forms_of_the_api() -> None:
    rows = [{"name": name} for name in "bca"]
    for up, down in (("name", "-name"), ("name asc", "name desc")):
        assert ordered(rows, up, ("name",)) == ordered(rows, down, ("name",))[::-1] == sorted(rows, key=str)
    for wrong in ("colour", "name down", "-name desc", "name desc,colour"):
        with pytest.raises(Problem, match="400"):
            ordered(rows, wrong, ("name",))


@pytest.mark.parametrize(
    "query",
    [{"page_size": "0"}, {"page_size": "1001"}, {"page_size": "-1"}, {"page_size": "ten"},
        {"page_size": "1" * 5000}, {"page_size": "²"},
     {"page_token": "?"}, {"page_token": "e30="}, {"page_token": "eyJvZmZzZXQiOiAtMX0="}],
)  # fmt: skip
def test_invalid_page_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(Problem, match="400"):
        listing("rows", [], query, Quirks())


# Quirks


def test_parse_quirks() -> None:
    settings = ["status-spelling=lower", "metrics-lag=2.5", "null-progress", "error-status="]
    expected = Quirks(status_spelling="lower", metrics_lag=2.5, null_progress=True, error_status="")
    assert parse_quirks(settings) == expected
    assert parse_quirks(["null-progress=no"]) == parse_quirks([]) == Quirks()
    for setting, part in (
        ("spelling=lower", "status-spelling, canceled-spelling"),
        ("status_spelling=lower", "unknown quirk"),
        ("status-spelling=loud", r"documented\|underscore"),
        ("metrics-lag=soon", "<number>"),
        ("metrics-lag=nan", "<number>"),
        ("null-progress=maybe", r"true\|false"),
    ):
        with pytest.raises(ValueError, match=part):
            parse_quirks([setting])
    described = describe_quirks()
    assert len(described) == len(fields(Quirks))
    assert all(meaning.endswith(".") for meaning in described.values())
    assert described["metrics-lag=<number>"] == "Seconds from the run's end until the last value is available."
    assert described["offer-life=<number>"].endswith(" Default: 60.0.")
