"""Responses from Coval or a proxy, and connection errors, become errors with readable texts."""

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import requests
import requests_mock

from coval_gate.base.errors import CovalError, LaunchUncertain, NotFound, Rejected, Unavailable
from coval_gate.base.schedule import Procedure, run
from coval_gate.base.transport import Response
from coval_gate.coval.client import Client
from coval_gate.coval.errors import inputs_of
from coval_gate.coval.model import RunFilter
from coval_gate.coval.resources import AGENT, METRIC, PERSONA, TEST_CASE, TEST_SET, cases_of
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import KEY, REQUEST, VirtualClock, new_client

ROOT = "https://api.coval.dev/v1"


def refused(status: int, code: str, message: str, *details: Any) -> dict[str, Any]:
    """Return an error in the form of Coval."""
    error = {"code": code, "message": message} | ({"details": details} if details else {})
    return {"status_code": status, "json": {"error": error}}


def field(name: str, description: str | None = "No.") -> dict[str, str | None]:
    return {"field": name, "description": description}


INVALID = (400, "INVALID_ARGUMENT", "Invalid request.")
ITERATIONS = field("options.iteration_count", "Value must be between 1 and 10")
MANY = map(field, ("metric_ids.3", "metadata.customer.team", "body", "options.concurrency", "tags"))
SCOPE = "API key does not have required permission: runs:write"
RESPONSES: dict[str, dict[str, Any]] = {
    "field errors": {
        "status_code": 400,
        "json": refused(*INVALID, ITERATIONS, field("test_set_id", None), "odd")["json"] | {"request_id": "req-body"},
    },
    "no details": {
        "status_code": 400,
        "json": {"error": {"code": "INVALID_ARGUMENT", "message": "No.", "details": None}},
    },
    "authoriser": {"status_code": 401, "json": {"error": "invalid API key", "timestamp": "…"}},
    "gateway": {"status_code": 401, "json": {"message": "Missing API Key"}, "headers": {"x-amzn-RequestId": "amz-1"}},
    "scope": refused(403, "PERMISSION_DENIED", SCOPE) | {"headers": {"x-request-id": "req-1"}},
    "wrong id": refused(404, "NOT_FOUND", "Agent not found"),
    "workspace": refused(412, "FAILED_PRECONDITION", "No workspace."),
    "conflict": refused(409, "CONFLICT", "Busy."),
    "redirect": {"status_code": 302, "text": "", "headers": {"Location": "https://evil.example/v1/runs"}},
    "proxy page": {
        "status_code": 403,
        "text": "<html>Blocked</html>",
        "headers": {"Content-Type": "text/html; charset=x"},
    },
    "many fields": refused(*INVALID, *MANY),
    "wrong id with field": refused(404, "NOT_FOUND", "Agent not found", field("agent_id", "There is no agent a1.")),
    "wrong path": {"status_code": 404, "json": {"message": "Not Found"}},
    "model tier": refused(403, "MODEL_TIER_ACCESS_DENIED", "No."),
    "too large": refused(413, "PAYLOAD_TOO_LARGE", "10 MB."),
    "forged": refused(400, "X\r\n::set-output name=a::b", "\x1b[31m##[error]no\u2028::error::x"),
    "unavailable": refused(503, "INTERNAL", "The database is moving house. Try again."),
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
        calls = (partial(client.launch_run, REQUEST, sent=lambda _: None), partial(client.get_run, "r1"))
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
            run(client.launch_run(REQUEST, until=clock.now() + 3600, sent=lambda _: None), clock)
    assert not isinstance(caught.value, (Unavailable, LaunchUncertain))
    assert "was not sent" in caught.value.what
    assert clock.slept == []


@pytest.fixture
def runner_in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30),
        ("Thu, 01 Jan 2026 00:00:30 -0000", 30),  # without a zone
        ("Wed, 31 Dec 2025 23:59:00 GMT", 0),
        ("0", 0),
        ("-5", None),
        ("soon", None),
        ("Thu, 99 Jan 2026 00:01:30 GMT", None),
        ("86400", 86400),
        ("Thu, 01 Jan 2026 10:00:00 GMT", 36000),
        ("9" * 400, math.inf),
        ("٣", None),
        ("", None),
    ],
)
@pytest.mark.usefixtures("runner_in_new_york")
def test_retry_after_is_parsed_as_seconds_or_date(header: str, seconds: float | None) -> None:
    response = Response(503, {"Retry-After": header, "date": "Thu, 01 Jan 2026 00:00:00 GMT"}, b"")
    assert response.retry_after == seconds


def test_date_to_wait_for_needs_a_date_to_compare_with() -> None:
    assert Response(503, {"Retry-After": "Thu, 01 Jan 2026 00:00:30 GMT"}, b"").retry_after is None
    assert Response(503, {"Retry-After": "7"}, b"").retry_after == 7
    assert Response(503, {}, b"").retry_after is None


MISSING = "missing000000000000001"
CALLS: dict[str, tuple[Callable[[Client, float], Procedure[object]], str]] = {
    "launch": (
        lambda client, until: client.launch_run(REQUEST._replace(agent_id=MISSING), until=until, sent=lambda _: None),
        "agent_id",
    ),
    "run": (lambda client, until: client.get_run(MISSING, until=until), "run_id"),
    "delete": (lambda client, until: client.delete_run(MISSING, until=until), "run_id"),
    "runs": (lambda client, until: client.list_runs(RunFilter(tag="a"), until=until), ""),
    "metric": (
        lambda client, until: client.get(METRIC, MISSING, until=until),
        "metric_ids and thresholds",
    ),
    "agent": (lambda client, until: client.get(AGENT, MISSING, until=until), "agent_id"),
    "agents": (lambda client, until: client.list(AGENT, until=until), ""),
    "personas": (lambda client, until: client.list(PERSONA, until=until), ""),
    "test sets": (lambda client, until: client.list(TEST_SET, until=until), ""),
    "test case": (lambda client, until: client.get(TEST_CASE, MISSING, until=until), "test_case_ids"),
    "test cases": (
        lambda client, until: client.list(cases_of("passing1"), until=until),
        "",
    ),
    "outputs": (lambda client, until: client.list_metric_outputs("missing", until=until), ""),
}


def failure_of(call: Callable[[Client, float], Procedure[object]], clock: VirtualClock, world: World) -> Rejected:
    with Server(world) as server, pytest.raises(Rejected) as caught:
        run(call(new_client(server.url, clock), clock.now()), clock)
    return caught.value


@pytest.mark.parametrize("name", CALLS)
def test_missing_permission_is_named(name: str, clock: VirtualClock) -> None:
    """The sandbox declares the permissions of its routes independently."""
    error = failure_of(CALLS[name][0], clock, World(clock.time, api_keys={KEY: ("tags:read",)}))
    _, _, needed = error.what.partition("required permission: ")
    assert (error.title, error.status) == ("Permission missing", 403)
    assert error.advice == f"Give the API key the permission {needed.split(';')[0]}, or use a key with full access."


@pytest.mark.parametrize("name", [name for name, (_, inputs) in CALLS.items() if inputs])
def test_missing_resource_is_about_the_input_that_names_it(name: str, clock: VirtualClock) -> None:
    call, inputs = CALLS[name]
    error = failure_of(call, clock, World(clock.time))
    assert isinstance(error, NotFound)
    assert error.advice.startswith(f"Check {inputs}: ")
    assert ("run_id" in error.advice) is (inputs == "run_id")


@pytest.mark.parametrize("name", [name for name, (_, inputs) in CALLS.items() if not inputs])
def test_list_that_is_not_found_is_no_missing_resource(name: str, client: Client, clock: VirtualClock) -> None:
    with requests_mock.Mocker() as coval:
        coval.get(requests_mock.ANY, **RESPONSES["wrong id"])
        with pytest.raises(Rejected) as caught:
            run(CALLS[name][0](client, clock.now() + 60), clock)
    assert not isinstance(caught.value, NotFound)


def test_simulations_need_one_of_two_permissions(clock: VirtualClock) -> None:
    world = World(clock.time, api_keys={KEY: ("runs:read",)}, quirks=Quirks(simulations_api="canonical-forbidden"))
    error = failure_of(lambda client, until: client.list_simulations("r1", until=until), clock, world)
    assert "simulated-conversations:read (or the older simulations:read)" in error.advice


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("agent_id", "agent_id"),
        ("options.iteration_count", "iteration_count"),
        ("metric_ids[3]", "metric_ids"),
        ("mutation_ids.0", "mutation_ids"),
        ("/options/test_case_ids/0", "test_case_ids"),
        ("metadata.customer.team", "metadata"),
        ("metadata.display_name", "display_name"),
        ("config_overrides.a.b", "config_overrides"),
        ("body", ""),
        ("", ""),
    ],
)
def test_field_of_request_belongs_to_input(field: str, name: str) -> None:
    assert inputs_of([field]) == ((name,) if name else ())
