"""The client makes real requests over a socket, and meets real faults; a run is cancelled once (more: road, campaign).

An invalid or unreadable response counts as lost: the client retries a read, and looks for a launch.
"""

import contextlib
import gzip
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from coval_gate.base.clock import Clock
from coval_gate.base.errors import CovalError, LaunchUncertain, TooLarge, Unavailable
from coval_gate.base.schedule import Procedure
from coval_gate.base.schedule import run as run_through
from coval_gate.coval.calls import LONGEST_BACKOFF, UNREACHED_TIME
from coval_gate.coval.client import MOST_RUNS, Client
from coval_gate.coval.errors import unavailable
from coval_gate.coval.model import Run, RunFilter
from coval_gate.gate.verdict import Cancellation
from coval_gate.history.tags import Tags
from coval_gate.step.cancel import cancel_run, find_launched
from coval_gate.step.leg import Trial
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
    """Let a function accept connections at the address that this yields."""
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
    """A client and its sandbox; `log_lines` holds the lines that the client logged."""

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


@pytest.mark.parametrize("settling", [40.0, 60.0])
def test_last_search_without_time_says_no_more_than_those_before(
    settling: float, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real clock wakes the step when the deadline is over already."""
    deadline = clock.now() + 40
    with Session(clock) as session:
        list_runs = session.client.list_runs

        def without_time(*args: Any, **options: Any) -> Procedure[tuple[Run, ...]]:
            if clock.now() >= deadline:
                raise unavailable("GET /runs", "was not sent.", arrived=False, too_late=True)
            return (yield from list_runs(*args, **options))

        monkeypatch.setattr(session.client, "list_runs", without_time)
        searching = new_session(session.client, clock, deadline=deadline)
        with pytest.raises(LaunchUncertain, match="did not list the run"):
            run_through(find_launched(searching, Trial(ids=IDS, tags=Tags("a")), settling=settling), clock)


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
