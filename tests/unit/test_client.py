"""Calls to Coval: real requests over a socket, real faults, errors with readable texts, and responses that legs share.

An invalid or unreadable response counts as lost: the client retries a read, and looks for a launch. Legs that need the
same answer of Coval at about the same time share one call, and one error; nothing of a run."""

import contextlib
import gzip
import math
import socket
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import requests_mock

from coval_gate.base.clock import Clock
from coval_gate.base.errors import CovalError, LaunchUncertain, NotFound, Rejected, TooLarge, Unavailable
from coval_gate.base.schedule import Procedure, SharedCall, Wait, run, together
from coval_gate.base.schedule import run as run_through
from coval_gate.base.transport import Response
from coval_gate.coval.calls import ALIKE, LONGEST_BACKOFF, SHARED, UNREACHED_TIME
from coval_gate.coval.client import MOST_RUNS, Client
from coval_gate.coval.model import Run, RunFilter
from coval_gate.coval.resources import AGENT, METRIC, PERSONA, TEST_CASE, TEST_SET, Agent, cases_of, mutations_of
from coval_gate.gate.verdict import Cancellation
from coval_gate.step.cancel import cancel_run
from coval_sandbox.catalogue import AGENT_ID, LATENCY
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import IDS, KEY, REQUEST, VirtualClock, new_client, new_session

MIB = 1024 * 1024
RUN = b'{"run": {"run_id": "r1", "status": "PENDING"}}'
OK = b"HTTP/1.1 200 OK\r\n"
GOOD = OK + b"content-length: %d\r\n\r\n%b" % (len(RUN), RUN)
CHUNKED, GZIP = OK + b"transfer-encoding: chunked\r\n", OK + b"content-encoding: gzip\r\n"
INVALID = {
    "two lengths": OK + b"content-length: 46\r\ncontent-length: 47\r\n\r\n" + RUN,
    "length too long": OK + b"content-length: 9999\r\n\r\n" + RUN,
    "bad chunk": CHUNKED + b"\r\nzz\r\n" + RUN + b"\r\n0\r\n\r\n",
    "bad status": b"HTTP/1.1 banana\r\n\r\n",
    "nothing": b"",
    "no gzip": GZIP + b"\r\n" + RUN,
    "cut gzip": GZIP + b"\r\n" + gzip.compress(RUN)[:30],
    "long header": OK + b"x: " + b"y" * 70_000 + b"\r\n\r\n" + RUN,
    "many headers": OK + b"".join(b"x%d: 1\r\n" % number for number in range(200)) + b"\r\n" + RUN,
    "another charset": OK + b"content-type: application/json; charset=utf-16\r\n\r\n" + RUN.decode().encode("utf-16"),
    "deep JSON": OK + b"\r\n" + b"[" * 100_000,
    "number of 5,000 digits": OK + b'\r\n{"run": {"run_id": "r1", "status": ' + b"9" * 5_000 + b"}}",
}


@contextlib.contextmanager
def listening(respond: Callable[[socket.socket], None]) -> Iterator[str]:
    """Accept connections by a function, at the address that this yields."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=respond, args=[listener], daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        thread.join(10)


def server(responses: Sequence[bytes], received: list[bytes]) -> contextlib.AbstractContextManager[str]:
    """Answer one connection after another, each with the next of the responses."""

    def respond(listener: socket.socket) -> None:
        for response in responses:
            with listener.accept()[0] as connection, contextlib.suppress(OSError):
                received.append(connection.recv(65536))
                connection.sendall(response)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(0.05)  # a close before all is read would reset the connection
                while connection.recv(65536):
                    pass

    return listening(respond)


def launch(client: Client, clock: Clock, until: float) -> Run:
    return run_through(client.launch_run(REQUEST, until=until, sent=lambda _: None), clock)


class Session:
    """A client and its sandbox; `log_lines`: the lines that the client logged."""

    def __init__(self, clock: VirtualClock, *faults: str, **quirks: Any) -> None:
        self.clock = clock
        self.log_lines: list[str] = []
        self.world = World(clock.time, quirks=Quirks(**quirks))
        self.server = Server(self.world, faults=faults)

    def __enter__(self) -> "Session":
        self.server.__enter__()
        self.client = new_client(
            self.server.url, self.clock, log=self.log_lines.append, workspace_id="w1", body_limit=MIB
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.__exit__(None, None, None)

    def launch(self, patience: float = 3600) -> Run:
        return launch(self.client, self.clock, self.clock.now() + patience)

    def launched(self, **ids: str) -> str:
        """Return the id of a run that the sandbox has already."""
        self.world.launch(IDS | ids)
        return self.world.runs[-1].run_id

    def get_run(self, run_id: str, patience: float = 60) -> Run:
        return run_through(self.client.get_run(run_id, until=self.clock.now() + patience), self.clock)

    def cancel(self, run_id: str) -> Cancellation:
        """Cancel a run within 30 s."""
        session = new_session(self.client, self.clock, deadline=self.clock.now() + 30)
        return run_through(cancel_run(session, run_id), self.clock)

    @property
    def launches(self) -> int:
        """The number of runs in the sandbox."""
        return len(self.world.runs)

    @property
    def calls(self) -> list[str]:
        return [request.method for request in self.server.requests_seen]


def test_launch_sends_key_workspace_and_body_only(
    clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a proxy nor a password of the environment has a part in it."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login mona password secret\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with Session(clock) as session:
        run = session.launch()
        (request,) = session.server.requests_seen
    assert (request.method, request.path, request.json) == ("POST", "/v1/runs", IDS)
    headers = {name.lower(): value for name, value in request.headers.items()}
    sent = ("x-api-key", "x-coval-workspace-id", "content-type", "authorization")
    assert [headers.get(name) for name in sent] == [KEY, "w1", "application/json", None]
    assert run.run_id == session.world.runs[0].run_id


@pytest.mark.parametrize("fault", ["503", "429", "503 retry-after=7", "429 retry-after=7"])
def test_launch_is_retried_after_503_or_429(fault: str, clock: VirtualClock) -> None:
    with Session(clock, f"POST /runs #1-2 -> {fault}") as session:
        session.launch()
        assert session.launches == 1
    assert len(session.server.requests_seen) == 3
    assert clock.slept == [7, 7] if "7" in fault else all(0.5 <= pause <= 2 for pause in clock.slept)


LOSES = ["reset-after", "500", "502", "hang 0.01", "cut 10", "html 500", "html 503 after", "body {}", "json []",
         'body {"message": "Service Unavailable"}', f"huge {MIB + 1}"]  # fmt: skip
REFUSES = ["html 400 after", "html 403 after", "html 404 after", "redirect /v2/runs after"]  # not in Coval's form


@pytest.mark.parametrize("fault", [*LOSES, *REFUSES])
def test_launch_is_uncertain_and_not_retried_without_a_response_of_coval(fault: str, clock: VirtualClock) -> None:
    with Session(clock, f"POST /runs #1 -> {fault}") as session, pytest.raises(LaunchUncertain) as caught:
        session.launch()
    assert (caught.value.rejection is not None) is (fault in REFUSES) is ("was lost" not in str(caught.value))
    assert (session.calls, clock.slept) == (["POST"], [])


def test_interim_response_is_no_response_and_its_connection_is_closed(clock: VirtualClock) -> None:
    """The final response follows on the same connection; the next request must not read it as its own."""
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n"
    answered = threading.Event()

    def respond(listener: socket.socket) -> None:
        with contextlib.ExitStack() as connections:
            for response in (interim, interim, GOOD):
                connection = connections.enter_context(listener.accept()[0])
                connection.recv(65536)
                connection.sendall(response)
            answered.wait(60)

    with listening(respond) as url:
        client = new_client(url, clock)
        with pytest.raises(LaunchUncertain, match="103"):
            launch(client, clock, 60)
        assert run_through(client.get_run("r1", until=clock.now() + 60), clock).run_id == "r1"
        assert len(clock.slept) == 1, "the GET is retried after its interim response"
        answered.set()
        client.close()


def test_refused_launch_connection_is_retried_for_limited_time(clock: VirtualClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = new_client(f"http://127.0.0.1:{port}/v1", clock)
    with pytest.raises(Unavailable, match="refused") as caught:
        launch(client, clock, 3600)
    assert not caught.value.arrived
    assert UNREACHED_TIME - LONGEST_BACKOFF <= clock.now() <= UNREACHED_TIME


def test_launch_that_coval_puts_off_is_retried_until_deadline(clock: VirtualClock) -> None:
    patience = UNREACHED_TIME + 2 * LONGEST_BACKOFF
    with Session(clock, "POST /runs -> 503") as session:
        with pytest.raises(Unavailable):
            session.launch(patience)
        assert patience - LONGEST_BACKOFF <= clock.now() <= patience
        slept = [*clock.slept]
    with Session(clock, "POST /runs -> 503 retry-after=3600") as session, pytest.raises(Unavailable):
        session.launch(60)
    assert clock.slept == slept, "no pause begins that would end after the deadline"
    assert session.launches == 0


@pytest.mark.parametrize(
    "fault",
    ["408", "429", "500", "502", "503", "504", "reset-before", "reset-after", "cut 10", "html 200", "html 502",
     "body", "body {\"run\": 5}", "json {\"run\": {\"status\": \"COMPLETED\"}, \"x\": 1}", "json {}", "hang 0.01"],
)  # fmt: skip
def test_get_run_is_retried_after_transient_fault(fault: str, clock: VirtualClock) -> None:
    with Session(clock, f"GET /runs/* #1-3 -> {fault}") as session:
        run_id = session.launch().run_id
        assert session.get_run(run_id).run_id == run_id
    assert len(clock.slept) == 3
    assert len(session.log_lines) == 1
    assert "Retrying in" in session.log_lines[0]


def test_get_run_backs_off_with_jitter(clock: VirtualClock) -> None:
    with Session(clock, "GET /runs/* -> 500") as session:
        run_id = session.launch().run_id
        with pytest.raises(Unavailable):
            session.get_run(run_id, 300)
    assert all(2**n / 2 <= pause <= 2**n for n, pause in enumerate(clock.slept[:5]))
    assert all(15 <= pause <= 30 for pause in clock.slept[5:-1])
    assert clock.now() == pytest.approx(300)
    assert len(session.log_lines) == 5, "one line per minute"


def test_lists_of_runs_above_size_limit_are_fetched_in_smaller_pages(clock: VirtualClock) -> None:
    with Session(clock, f"GET /runs #1 -> huge {MIB + 1}") as session:
        for _ in range(MOST_RUNS + 5):
            session.world.launch(IDS)
            clock.sleep(1)
        runs = run_through(session.client.list_runs(RunFilter(), until=clock.now() + 60), clock)
        sizes = [request.query["page_size"] for request in session.server.requests_seen]
    assert [run.run_id for run in runs] == [run.run_id for run in session.world.runs[: -MOST_RUNS - 1 : -1]]
    assert sizes == ["100", *["10"] * 10]


def test_one_simulation_above_size_limit_is_error(clock: VirtualClock) -> None:
    with Session(clock, f"GET /conversations/simulated -> huge {MIB + 1}") as session:
        run_id = session.launch().run_id
        with pytest.raises(TooLarge, match="more than 1 MiB") as caught:
            run_through(session.client.list_simulations(run_id, until=clock.now() + 60), clock)
    assert "metric_ids" in caught.value.advice
    sizes = [request.query.get("page_size") for request in session.server.requests_seen[1:]]
    assert sizes == ["1000", "100", "10", "1"]


def test_idle_connection_is_not_reused(clock: VirtualClock) -> None:
    """Some networks drop an idle connection without closing it: requests on it get no response."""
    log_lines: list[str] = []

    def respond_once_per_connection(listener: socket.socket) -> None:
        with contextlib.ExitStack() as dropped:
            for _ in range(2):
                connection = dropped.enter_context(listener.accept()[0])
                connection.recv(65536)
                connection.sendall(GOOD)
            ended.wait(60)

    ended = threading.Event()
    with listening(respond_once_per_connection) as url:
        client = new_client(url, clock, log=log_lines.append)
        for _ in range(2):
            run_through(client.get_run("r1", until=clock.now() + 60), clock)
            clock.sleep(30)
        client.close()
        ended.set()
    assert log_lines == []


def test_time_of_coval_is_the_latest_that_responses_show(clock: VirtualClock) -> None:
    """A response loses time on its way, so no later response can show that Coval's clock is slower."""
    dates = ["yesterday", "Thu, 01 Jan 99999 00:00:00 GMT", *(f"Thu, 01 Jan 2026 00:01:{s} GMT" for s in (38, 40, 39))]
    began, times = 1767225600.0, list[float | None]()  # 2026-01-01
    responses = [OK + b"date: %b\r\nconnection: close\r\n\r\n%b" % (date.encode(), RUN) for date in dates]
    with server(responses, []) as url:
        client = new_client(url, clock)
        for _ in dates:
            assert run_through(client.get_run("r1", until=clock.now() + 60), clock).run_id == "r1"
            times.append(client.server_time(clock.now() + 5))
        client.close()
    assert times == [None, None, began + 103, began + 105, began + 105]


@pytest.mark.parametrize("kind", INVALID)
def test_read_is_retried_and_launch_uncertain_after_invalid_response(kind: str, clock: VirtualClock) -> None:
    received: list[bytes] = []
    with server([INVALID[kind], GOOD, INVALID[kind]], received) as url:
        client = new_client(url, clock)
        assert run_through(client.get_run("r1", until=clock.now() + 60), clock).run_id == "r1"
        assert len(clock.slept) == 1
        with pytest.raises(LaunchUncertain):
            launch(client, clock, clock.now() + 60)
        assert len(clock.slept) == 1
        client.close()
    for request in received:  # Coval's gateway reportedly rejects any other spelling
        assert b"\r\nx-api-key: " + KEY.encode() + b"\r\n" in request


def test_filter_names_what_is_set_unless_it_needs_escapes() -> None:
    assert str(RunFilter()) == ""
    chosen = RunFilter(agent_id="a1", tag="b", status="COMPLETED")
    assert str(chosen) == 'tag="b" AND agent_id="a1" AND status="COMPLETED"'
    assert chosen.can_be_sent
    unsafe = ['a"b', "a\\b", "a\nb", 'x" AND status="COMPLETED']
    assert [tag for tag in unsafe if RunFilter(tag=tag).can_be_sent] == []


STUCK = "stuck001"  # a test set whose runs do not end
HICCUPS = ["500", "reset-before", "502", "html 503", "hang 0.1", "429"]
LOST = ["reset-after", "500 after", "cut 1"]


@pytest.mark.parametrize(
    ("faults", "calls"),
    [
        ([], "GET DELETE"),
        *(([f"GET /runs/* #1 -> {fault}", f"DELETE /runs/* #1 -> {fault}"], "GET GET DELETE GET DELETE")
          for fault in HICCUPS),
        *(([f"DELETE /runs/* #1 -> {fault}"], "GET DELETE GET") for fault in LOST),
        (["DELETE /runs/* #1 -> reset-after", "GET /runs/* #2 -> 404"], "GET DELETE GET"),
    ],
)  # fmt: skip
def test_run_is_cancelled_once_with_a_poll_before_each_try(faults: list[str], calls: str, clock: VirtualClock) -> None:
    with Session(clock, *faults) as session:
        run_id = session.launched(test_set_id=STUCK)
        assert session.cancel(run_id)[:2] == ("cancelled", run_id)
        assert session.world.runs[0].status(clock.time()) == "CANCELLED"
        assert session.calls == calls.split()


# TLS

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for the loopback interface; its key is beside it."""
    directory = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", "rsa:2048", "-subj", "/CN=coval-gate-test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    command += ["-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return directory / "cert.pem"


@pytest.fixture
def get_over_tls(
    certificate: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, list[bytes]], str]:
    """Fetch a run while the environment names no certificates, and proxies that lead nowhere; return its id."""
    for name in (*VARIABLES, "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))

    def get(host: str, received: list[bytes]) -> str:
        def respond(listener: socket.socket) -> None:
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(listener.accept()[0], server_side=True) as connection,
            ):
                received.append(connection.recv(65536))
                connection.sendall(GOOD)

        with listening(respond) as url:
            client = new_client(url.replace("http://127.0.0.1", f"https://{host}"), clock)
            try:
                return run_through(client.get_run("r1", until=clock.now() + 10), clock).run_id
            finally:
                client.close()
                socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)).close()  # where no request came

    return get


@pytest.mark.parametrize(("variable", "host"), [*zip(VARIABLES, ("127.0.0.1", "localhost"), strict=True)])
def test_certificates_of_environment_are_trusted_on_loopback(
    variable: str,
    host: str,
    certificate: Path,
    get_over_tls: Callable[[str, list[bytes]], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, str(certificate))
    received: list[bytes] = []
    assert get_over_tls(host, received) == "r1"
    assert [KEY.encode() in request for request in received] == [True]


@pytest.mark.parametrize("variable", ["", *VARIABLES])
def test_unknown_certificate_or_missing_bundle_is_error_that_names_variable(
    variable: str, get_over_tls: Callable[[str, list[bytes]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv(variable, "/nowhere/certificates.pem")
    problem = f"{variable}.* does not name a certificate file" if variable else "certificate cannot be verified"
    received: list[bytes] = []
    with pytest.raises(CovalError, match=problem) as caught:
        get_over_tls("127.0.0.1", received)
    assert variable or "REQUESTS_CA_BUNDLE" in caught.value.advice
    assert not any(received)


ROOT = "https://api.coval.dev/v1"


def refused(status: int, code: str, message: str, *details: Any) -> dict[str, Any]:
    """Return an error in the form of Coval."""
    error = {"code": code, "message": message} | ({"details": details} if details else {})
    return {"status_code": status, "json": {"error": error}}


def field(name: str, description: str | None = "No.") -> dict[str, str | None]:
    return {"field": name, "description": description}


REFUSAL = (400, "INVALID_ARGUMENT", "Invalid request.")
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
        "json": refused(*REFUSAL, ITERATIONS, field("test_set_id", None), "odd")["json"] | {"request_id": "req-body"},
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
    "many fields": refused(*REFUSAL, *MANY),
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


def test_errors_of_responses_match_golden_file(
    client: Client, clock: VirtualClock, golden: Callable[[str, str], None]
) -> None:
    texts = []
    for name, response in RESPONSES.items():
        texts.append(f"# {name}\n")
        with requests_mock.Mocker() as coval:
            coval.post(f"{ROOT}/runs", **response)
            coval.get(f"{ROOT}/runs/r1", **response)
            calls = (partial(client.launch_run, REQUEST, sent=lambda _: None), partial(client.get_run, "r1"))
            for call in calls:
                with pytest.raises(CovalError) as caught:
                    run(call(until=clock.now()), clock)
                error = caught.value
                assert KEY not in f"{error!r}{error.__dict__}"
                text = described(error)
                is_alike = text.replace("GET /runs/r1", "POST /runs") == texts[-1]
                texts.append("The same of GET /runs/r1.\n" if is_alike else text)
                if isinstance(error, LaunchUncertain) and error.rejection:
                    texts.append(f"and if no run is found:\n{described(error.rejection)}")
    golden("problems.txt", "\n".join(texts))


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


def test_connection_error_shows_whether_the_request_arrived_or_never_will(
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
        ("soon", None),
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

    async def timed(client: Client, until: float) -> float:
        with suppress(Unavailable):
            await READS["metric"](client, until)
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

    async def work() -> None:
        try:
            await Wait(10)
        finally:
            closed.append("closed")

    shared = SharedCall(work(), clock)
    waiting = [shared.result(), shared.result()]
    for procedure in waiting:
        procedure.send(None)
    waiting[0].close()
    assert closed == []
    waiting[1].close()
    assert closed == ["closed"]
    assert shared.ended_at is not None
    assert shared.ended_at < clock.now() - SHARED, "it serves no other"
