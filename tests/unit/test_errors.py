"""Responses from Coval or a proxy, and connection errors, become errors with readable texts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import requests
import requests_mock

from coval_gate.coval.errors import seconds_to_wait
from coval_gate.errors import CovalError, LaunchUncertain, NotFound, Rejected, Unavailable
from coval_gate.runs.schedule import run
from support import EPOCH, KEY, VirtualClock, new_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.coval.client import Client

ROOT = "https://api.coval.dev/v1"

RESPONSES: dict[str, dict[str, Any]] = {
    "field errors": {
        "status_code": 400,
        "json": {
            "error": {
                "code": "INVALID_ARGUMENT",
                "message": "Invalid request.",
                "details": [
                    {"field": "options.iteration_count", "description": "Value must be between 1 and 10"},
                    {"field": "test_set_id", "description": None},
                    "odd",
                ],
            },
            "request_id": "req-body",
        },
    },
    "no details": {
        "status_code": 400,
        "json": {"error": {"code": "INVALID_ARGUMENT", "message": "No.", "details": None}},
    },
    "authoriser": {"status_code": 401, "json": {"error": "invalid API key", "timestamp": "…"}},
    "gateway": {"status_code": 401, "json": {"message": "Missing API Key"}, "headers": {"x-amzn-RequestId": "amz-1"}},
    "scope": {
        "status_code": 403,
        "json": {
            "error": {"code": "PERMISSION_DENIED", "message": "API key does not have required permission: runs:write"}
        },
        "headers": {"x-request-id": "req-1"},
    },
    "wrong id": {"status_code": 404, "json": {"error": {"code": "NOT_FOUND", "message": "Agent not found"}}},
    "workspace": {"status_code": 412, "json": {"error": {"code": "FAILED_PRECONDITION", "message": "No workspace."}}},
    "conflict": {"status_code": 409, "json": {"error": {"code": "CONFLICT", "message": "Busy."}}},
    "redirect": {"status_code": 302, "text": "", "headers": {"Location": "https://evil.example/v1/runs"}},
    "proxy page": {
        "status_code": 403,
        "text": "<html>Blocked</html>",
        "headers": {"Content-Type": "text/html; charset=x"},
    },
    "forged": {
        "status_code": 400,
        "json": {"error": {"code": "X\r\n::set-output name=a::b", "message": "\x1b[31m##[error]no\u2028::error::x"}},
    },
    "unavailable": {
        "status_code": 503,
        "json": {"error": {"code": "INTERNAL", "message": "The database is moving house. Try again."}},
    },
    "broken": {"status_code": 500, "text": ""},
    "deep": {"status_code": 400, "text": '{"error":' * 100_000},
}


def described(error: CovalError) -> str:
    return f"{type(error).__name__}: {error.title}\n{error.what}\n{error.advice}\n{error.link}\n"


@pytest.fixture
def client(clock: VirtualClock) -> Client:
    return new_client(ROOT, clock)


@pytest.mark.parametrize("name", RESPONSES)
def test_error_text_of_response_matches_golden_file(
    name: str, client: Client, clock: VirtualClock, golden: Callable[[str, str], None]
) -> None:
    texts = []
    with requests_mock.Mocker() as coval:
        coval.post(f"{ROOT}/runs", **RESPONSES[name])
        coval.get(f"{ROOT}/runs/r1", **RESPONSES[name])
        calls = (partial(client.launch_run, {}, sent=lambda _: None), partial(client.get_run, "r1"))
        for call in calls:
            with pytest.raises(CovalError) as caught:
                run(call(until=clock.now()), clock)
            error = caught.value
            assert KEY not in f"{error!r}{error.__dict__}"
            texts.append(described(error))
            if isinstance(error, LaunchUncertain) and error.rejection:
                texts.append(f"and if no run is found:\n{described(error.rejection)}")
    golden(f"problems/{name.replace(' ', '-')}.txt", "\n".join(texts))


@pytest.mark.parametrize(
    ("failure", "kind", "arrived"),
    [
        (requests.exceptions.ReadTimeout("…"), Unavailable, True),
        (requests.exceptions.ConnectTimeout("…"), Unavailable, False),
        (requests.exceptions.ProxyError("…"), Unavailable, False),
        (requests.exceptions.SSLError("bad record"), Unavailable, True),
        (requests.exceptions.SSLError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), Unavailable, False),
        (requests.exceptions.ChunkedEncodingError("…"), Unavailable, True),
    ],
)
def test_connection_error_tells_whether_request_arrived(
    failure: Exception, kind: type[Unavailable], arrived: bool, client: Client, clock: VirtualClock
) -> None:
    with requests_mock.Mocker() as coval:
        coval.get(f"{ROOT}/runs/r1", exc=failure)
        with pytest.raises(kind) as caught:
            run(client.get_run("r1", until=clock.now()), clock)
    assert caught.value.arrived is arrived


@pytest.mark.parametrize(
    "failure",
    [
        requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"),
        OSError("Could not find a suitable TLS CA certificate bundle, invalid path: /nowhere"),
        requests.exceptions.InvalidURL("…"),
        requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support."),
        requests.exceptions.SSLError("[X509: NO_CERTIFICATE_OR_CRL_FOUND] no certificate or crl found"),
    ],
)
def test_permanent_connection_error_is_raised_without_retry(
    failure: Exception, client: Client, clock: VirtualClock
) -> None:
    with requests_mock.Mocker() as coval:
        coval.post(f"{ROOT}/runs", exc=failure)
        with pytest.raises(CovalError) as caught:
            run(client.launch_run({}, until=clock.now() + 3600, sent=lambda _: None), clock)
    assert not isinstance(caught.value, (Unavailable, LaunchUncertain))
    assert "was not sent" in caught.value.what
    assert clock.slept == []


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30),
        ("Wed, 31 Dec 2025 23:59:00 GMT", None),
        ("0", None),
        ("-5", None),
        ("soon", None),
        ("Thu, 99 Jan 2026 00:01:30 GMT", None),
        ("86400", 60),
        ("Thu, 01 Jan 2026 10:00:00 GMT", 60),
        ("9" * 400, 60),
        ("٣", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_parsed_as_seconds_or_date(header: str | None, seconds: float | None) -> None:
    assert seconds_to_wait(header, EPOCH) == seconds


def test_rejection_has_status_of_response(client: Client, clock: VirtualClock) -> None:
    with requests_mock.Mocker() as coval:
        coval.get(f"{ROOT}/runs/r1", **RESPONSES["wrong id"])
        with pytest.raises(NotFound) as caught:
            run(client.get_run("r1", until=clock.now() + 60), clock)
    assert isinstance(caught.value, Rejected)
    assert caught.value.status == 404
    assert clock.slept == []
