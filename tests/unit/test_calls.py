"""Calls to Coval: errors with readable texts, and responses that legs share.

Responses from Coval or a proxy, and connection errors, become errors. Legs that need the same answer of Coval at about
the same time share one call, and one error; nothing of a run.
"""

import math
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import requests
import requests_mock

from coval_gate.base.errors import CovalError, LaunchUncertain, NotFound, Rejected, Unavailable
from coval_gate.base.schedule import Procedure, SharedCall, Wait, run, together
from coval_gate.base.transport import Response
from coval_gate.coval.calls import ALIKE, SHARED
from coval_gate.coval.client import Client
from coval_gate.coval.model import RunFilter
from coval_gate.coval.resources import AGENT, METRIC, PERSONA, TEST_CASE, TEST_SET, Agent, cases_of, mutations_of
from coval_sandbox.catalogue import AGENT_ID, LATENCY
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import IDS, KEY, REQUEST, VirtualClock, new_client

ROOT = "https://api.coval.dev/v1"


def refused(status: int, code: str, message: str, *details: Any) -> dict[str, Any]:
    """Return an error in the form of Coval."""
    error = {"code": code, "message": message} | ({"details": details} if details else {})
    return {"status_code": status, "json": {"error": error}}


def field(name: str, description: str | None = "No.") -> dict[str, str | None]:
    return {"field": name, "description": description}


INVALID = (400, "INVALID_ARGUMENT", "Invalid request.")
ITERATIONS = field("options.iteration_count", "Value must be between 1 and 10")
MANY = map(
    field,
    ("metric_ids[3]", "metadata.customer.team", "body", "/options/test_case_ids/0", "metadata.display_name",
     "config_overrides.a.b", "mutation_ids.0"),
)  # fmt: skip
SCOPE = "API key does not have required permission: runs:write"
RESPONSES: dict[str, dict[str, Any]] = {
    "field errors": {
        "status_code": 400,
        "json": refused(*INVALID, ITERATIONS, field("test_set_id", None), "odd")["json"] | {"request_id": "req-body"},
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
    "plan": refused(402, "PAYMENT_REQUIRED", "No simulations are left this month."),
    "model tier": refused(403, "MODEL_TIER_ACCESS_DENIED", "No."),
    "too large": {"status_code": 413, "json": {"error": {"code": "TOO_LARGE", "message": "No.", "details": None}}},
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


SSL = requests.exceptions.SSLError


FAILURES: list[tuple[Exception, bool | None]] = [
    (requests.exceptions.ReadTimeout("…"), True),
    (requests.exceptions.ConnectTimeout("…"), False),
    (requests.exceptions.ProxyError("…"), False),
    (SSL("bad record"), True),
    (SSL("[SSL: WRONG_VERSION_NUMBER] wrong version number"), False),
    (requests.exceptions.ChunkedEncodingError("…"), True),
    (SSL("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"), None),
    (OSError("Could not find a suitable TLS CA certificate bundle, invalid path: /nowhere"), None),
    (requests.exceptions.InvalidURL("…"), None),
    (requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support."), None),
    (SSL("[X509: NO_CERTIFICATE_OR_CRL_FOUND] no certificate or crl found"), None),
]


def test_connection_error_tells_whether_the_request_arrived_or_never_will(
    client: Client, clock: VirtualClock, subtests: pytest.Subtests
) -> None:
    for failure, arrived in FAILURES:
        with requests_mock.Mocker() as coval, subtests.test(repr(failure)):
            coval.get(f"{ROOT}/runs/r1", exc=failure)
            coval.post(f"{ROOT}/runs", exc=failure)
            with pytest.raises(CovalError) as caught:
                run(client.get_run("r1", until=clock.now()), clock)
            assert getattr(caught.value, "arrived", None) is arrived
            if arrived is None:
                with pytest.raises(CovalError) as caught:
                    run(client.launch_run(REQUEST, until=clock.now() + 3600, sent=lambda _: None), clock)
                assert not isinstance(caught.value, (Unavailable, LaunchUncertain))
                assert "was not sent" in caught.value.what
                assert clock.slept == [], "it is not retried"


DATE = {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (" 7 ", 7),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30),
        ("Wed, 31 Dec 2025 23:59:00 GMT", 0),
        ("-5", None),
        ("soon", None),
        ("Thu, 99 Jan 2026 00:01:30 GMT", None),
        ("9" * 400, math.inf),
        ("٣", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_to_compare_with(header: str, seconds: float | None) -> None:
    response = Response(503, {"Retry-After": header} | DATE, b"")
    assert response.retry_after == seconds
    without_date = Response(503, {"Retry-After": header}, b"").retry_after
    assert without_date == (None if header.endswith("GMT") else seconds)
    assert Response(503, DATE, b"").retry_after is None


MISSING = "missing000000000000001"
CALLS: dict[str, tuple[Callable[[Client, float], Procedure[object]], str]] = {
    "launch": (
        lambda client, until: client.launch_run(REQUEST._replace(agent_id=MISSING), until=until, sent=lambda _: None),
        "agent_id",
    ),
    "run": (lambda client, until: client.get_run(MISSING, until=until), "run_id"),
    "delete": (lambda client, until: client.delete_run(MISSING, until=until), "run_id"),
    "runs": (lambda client, until: client.list_runs(RunFilter(tag="a"), until=until), ""),
    "metric": (lambda client, until: client.get(METRIC, MISSING, until=until), "metric_ids and thresholds"),
    "agent": (lambda client, until: client.get(AGENT, MISSING, until=until), "agent_id"),
    "agents": (lambda client, until: client.list(AGENT, until=until), ""),
    "personas": (lambda client, until: client.list(PERSONA, until=until), ""),
    "test sets": (lambda client, until: client.list(TEST_SET, until=until), ""),
    "test case": (lambda client, until: client.get(TEST_CASE, MISSING, until=until), "test_case_ids"),
    "test cases": (lambda client, until: client.list(cases_of("passing1"), until=until), ""),
    "outputs": (lambda client, until: client.list_metric_outputs("missing", until=until), ""),
}


@pytest.mark.parametrize("name", CALLS)
def test_missing_permission_is_named(name: str, clock: VirtualClock) -> None:
    """The sandbox declares the permissions of its routes independently."""
    with Server(World(clock.time, api_keys={KEY: ("tags:read",)})) as server, pytest.raises(Rejected) as caught:
        run(CALLS[name][0](new_client(server.url, clock), clock.now()), clock)
    error = caught.value
    _, _, needed = error.what.partition("required permission: ")
    assert (error.title, error.status) == ("Permission missing", 403)
    assert error.advice == f"Give the API key the permission {needed.split(';')[0]}, or use a key with full access."


@pytest.mark.parametrize("name", CALLS)
def test_missing_resource_is_about_the_input_that_names_it_and_a_list_is_none(
    name: str, client: Client, clock: VirtualClock
) -> None:
    call, inputs = CALLS[name]
    with requests_mock.Mocker() as coval:
        response = RESPONSES["wrong id with field" if name == "launch" else "wrong id"]
        coval.register_uri(requests_mock.ANY, requests_mock.ANY, **response)
        with pytest.raises(Rejected) as caught:
            run(call(client, clock.now() + 60), clock)
    assert isinstance(caught.value, NotFound) is bool(inputs)
    if inputs:
        assert caught.value.advice.startswith(f"Check {inputs}: ")
        assert ("run_id" in caught.value.advice) is (inputs == "run_id")


LEGS = 20


class Coval:
    """A sandbox with the clients of several legs."""

    def __init__(self, server: Server, clock: VirtualClock) -> None:
        self.server = server
        self.clock = clock
        first = new_client(server.url, clock)
        self.clients = [first.logging_to(lambda _: None) for _ in range(LEGS)]

    def all(self, read: Callable[[Client], Procedure[Any]]) -> list[Any]:
        """Return what the legs read side by side, or their errors."""
        return run(together(map(read, self.clients), self.clock), self.clock)

    @property
    def calls(self) -> dict[str, int]:
        """How often each path was read."""
        return Counter(request.path.removeprefix("/v1") for request in self.server.requests_seen)


@pytest.fixture
def coval(clock: VirtualClock, request: pytest.FixtureRequest) -> Generator[Coval, None, None]:
    """Return a sandbox with the faults that the test names."""
    with Server(World(clock.time), faults=getattr(request, "param", ())) as server:
        yield Coval(server, clock)


def with_faults(*faults: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("coval", [faults], indirect=True, ids=[" ".join(faults)])


READS: dict[str, Callable[[Client, float], Procedure[Any]]] = {
    "agent": lambda client, until: client.get(AGENT, AGENT_ID, until=until, once=True),
    "persona": lambda client, until: client.get(PERSONA, IDS["persona_id"], until=until),
    "test set": lambda client, until: client.get(TEST_SET, "passing1", until=until),
    "metric": lambda client, until: client.get(METRIC, LATENCY.id, until=until),
    "metrics": lambda client, until: client.list(METRIC, until=until),
    "mutations": lambda client, until: client.list(mutations_of(AGENT_ID), until=until),
    "test cases": lambda client, until: client.list(cases_of("passing1"), until=until),
}


@pytest.mark.parametrize("name", READS)
def test_legs_share_a_call(name: str, coval: Coval, clock: VirtualClock) -> None:
    deadlines = [clock.now() + 5 + ALIKE * number / LEGS for number in range(LEGS)]
    first, *others = run(together(map(READS[name], coval.clients, deadlines), clock), clock)
    assert first
    assert not isinstance(first, Exception)
    assert others == [first] * (LEGS - 1)
    assert [*coval.calls.values()] == [1]
    clock.sleep(SHARED)
    coval.all(lambda client: READS[name](client, clock.now() + 5))
    assert [*coval.calls.values()] == [1]
    clock.sleep(1)
    coval.all(lambda client: READS[name](client, clock.now() + 5))
    assert [*coval.calls.values()] == [2], "what decides must not be old"


@with_faults("GET /personas/* -> 403", "GET /metrics/* -> 404", "GET /agents/* #1 -> 500")
def test_error_is_shared_and_a_refusal_is_remembered(coval: Coval, clock: VirtualClock) -> None:
    def outcomes(name: str) -> set[type]:
        return {type(result) for result in coval.all(lambda client: READS[name](client, clock.now() + 5))}

    assert [outcomes("persona") for _ in range(2)] == [{Rejected}] * 2
    assert [outcomes("metric") for _ in range(2)] == [{NotFound}] * 2
    assert [outcomes("agent") for _ in range(2)] == [{Unavailable}, {Agent}]
    assert [*coval.calls.values()] == [1, 1, 2]


@with_faults("GET /personas/* #1-3 -> 500", "GET /metrics/* #1-2 -> 500")
def test_deadline_of_one_leg_neither_ends_nor_delays_a_call_of_others(coval: Coval, clock: VirtualClock) -> None:
    """The leg with the early deadline, the first one and then the last, has no time for a second attempt."""
    late = [clock.now() + 3600] * (LEGS - 1)
    reads = map(READS["persona"], coval.clients, [clock.now(), *late])
    first, *others = run(together(reads, clock), clock)
    assert isinstance(first, Unavailable)
    assert not any(isinstance(persona, Exception) for persona in others)
    assert [*coval.calls.values()] == [4], "one of its own, and three that the others share"

    def timed(client: Client, until: float) -> Procedure[float]:
        with suppress(Unavailable):
            yield from READS["metric"](client, until)
        return clock.now()

    began = clock.now()
    *_, last = run(together(map(timed, coval.clients, [*late, began]), clock), clock)
    assert last == began


def test_nothing_of_a_run_is_shared(coval: Coval, clock: VirtualClock) -> None:
    run_id = coval.server.world.launch(IDS)["run"]["run_id"]
    clock.sleep(300)
    simulation_id = run(coval.clients[0].list_simulations(run_id, until=clock.now()), clock)[0].id
    coval.server.requests_seen.clear()
    reads: list[Callable[[Client], Procedure[Any]]] = [
        lambda client: client.get_run(run_id, until=clock.now() + 5),
        lambda client: client.list_runs(RunFilter(), until=clock.now() + 5),
        lambda client: client.list_simulations(run_id, until=clock.now() + 5),
        lambda client: client.list_metric_outputs(simulation_id, until=clock.now() + 5),
        lambda client: client.get_transcript(simulation_id, until=clock.now() + 5),
    ]
    for read in reads:
        assert not any(isinstance(result, Exception) for result in coval.all(read))
    assert sorted(coval.calls.values()) == [LEGS] * len(reads)


def test_shared_call_is_given_up_with_the_last_that_waits(clock: VirtualClock) -> None:
    closed: list[str] = []

    def work() -> Procedure[None]:
        try:
            yield Wait(10)
        finally:
            closed.append("closed")

    shared = SharedCall(work(), clock)
    waiting = [shared.result(), shared.result()]
    for procedure in waiting:
        next(procedure)
    waiting[0].close()
    assert closed == []
    waiting[1].close()
    assert closed == ["closed"]
    assert shared.ended_at is not None
    assert shared.ended_at < clock.now() - SHARED, "it serves no other"
