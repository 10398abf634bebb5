"""The HTTP server over real sockets: API keys, response bodies and injected faults."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests

from coval_sandbox import catalogue
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.quirks import Quirks
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


def test_reset_fault_resets_tcp_connection() -> None:
    with serve("GET /runs #1 -> reset-after", "GET /runs #2 -> hang 0.01") as server:
        with raw(server, GET_RUNS) as connection, pytest.raises(ConnectionResetError):
            connection.recv(100)
        with raw(server, GET_RUNS) as connection:
            assert connection.recv(100) == b""


@pytest.mark.parametrize(("action", "kept"), [("cut 9", 9), ("cut 0", 0), ("cut", 17), ("cut 99", 34)])
def test_cut_body_is_shorter_than_content_length(action: str, kept: int) -> None:
    with serve(f"GET /runs -> {action}") as server, raw(server, GET_RUNS) as connection:
        data = b""
        while piece := connection.recv(1000):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    assert body == b'{"runs":[],"next_page_token":null}'[:kept]
    content_length = next(line for line in head.decode().lower().splitlines() if line.startswith("content-length:"))
    assert int(content_length.split(":")[1]) > len(body)


def test_status_html_and_redirect_faults(session: requests.Session) -> None:
    faults = (
        "POST /runs #1 -> 503 retry-after=2", "POST /runs #2 -> 500 after", "GET /runs #1 -> html",
        "GET /runs #2 -> redirect http://elsewhere.example/v1", "GET /runs #3 -> 418",
    )  # fmt: skip
    with serve(*faults) as server:
        unavailable = call(session, server, "POST", "/runs", json=BODY)
        assert (unavailable.status_code, unavailable.headers["retry-after"]) == (503, "2")
        assert unavailable.json()["error"]["code"] == "INTERNAL"
        assert server.world.runs == ()
        ambiguous = call(session, server, "POST", "/runs", json=BODY)
        assert (ambiguous.status_code, "retry-after" in ambiguous.headers) == (500, False)
        assert len(server.world.runs) == 1
        page = call(session, server, "GET", "/runs")
        assert (page.status_code, page.headers["content-type"]) == (502, "text/html; charset=utf-8")
        moved = call(session, server, "GET", "/runs")
        assert (moved.status_code, moved.headers["location"]) == (302, "http://elsewhere.example/v1")
        assert call(session, server, "GET", "/runs").status_code == 418


def test_body_json_and_huge_faults(session: requests.Session) -> None:
    with serve(
        "GET /runs #1 -> body {broken", 'GET /runs #2 -> json {"a": 1}', "GET /runs #3 -> huge 300000"
    ) as server:
        assert call(session, server, "GET", "/runs").text == "{broken"
        assert call(session, server, "GET", "/runs").json() == {"a": 1}
        huge = call(session, server, "GET", "/runs")
        assert len(huge.content) == 300_000
        assert json.loads(huge.content)["padding"]


def test_slow_and_drip_faults_deliver_whole_body(session: requests.Session) -> None:
    with serve("GET /runs #2 -> slow 0.01", "GET /runs #3 -> drip 4000") as server:
        plain, *late = (call(session, server, "GET", "/runs").content for _ in range(3))
        assert late == [plain] * 2


def test_client_that_leaves_does_not_block_shutdown() -> None:
    with serve("GET /runs #1 -> slow 600", "GET /runs #2 -> hang 600") as server:
        for number in (1, 2):
            with raw(server, GET_RUNS):
                wait_for_requests(server, number)


def test_shutdown_ends_outstanding_requests() -> None:
    with serve("GET /runs -> hang 600") as server:
        connection = raw(server, GET_RUNS)
        wait_for_requests(server, 1)
    with connection, suppress(ConnectionResetError):
        assert connection.recv(100) == b""
