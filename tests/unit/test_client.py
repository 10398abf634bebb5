"""The client makes real requests over a socket, and meets real faults.

An invalid or unreadable response counts as lost: the client retries a read, and looks for a launch.
"""

import contextlib
import gzip
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from coval_gate.base.clock import Clock, SystemClock
from coval_gate.base.errors import LaunchUncertain, Rejected, TooLarge, Unavailable
from coval_gate.base.schedule import all_or_first_error, together
from coval_gate.base.schedule import run as run_through
from coval_gate.base.transport import Timeouts
from coval_gate.coval.calls import LONGEST_BACKOFF, UNREACHED_TIME
from coval_gate.coval.client import BODY_LIMIT, MOST_RUNS, RUN_LIMIT, Client
from coval_gate.coval.model import Run, RunFilter
from coval_gate.coval.resources import METRIC
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import IDS, KEY, REQUEST, VirtualClock, new_client

RUN = b'{"run": {"run_id": "r1", "status": "PENDING"}}'
OK = b"HTTP/1.1 200 OK\r\n"
GOOD = OK + b"content-length: %d\r\n\r\n%b" % (len(RUN), RUN)
CHUNKED, GZIP = OK + b"transfer-encoding: chunked\r\n", OK + b"content-encoding: gzip\r\n"
INVALID = {
    "two lengths": OK + b"content-length: 46\r\ncontent-length: 47\r\n\r\n" + RUN,
    "length too long": OK + b"content-length: 9999\r\n\r\n" + RUN,
    "bad chunk": CHUNKED + b"\r\nzz\r\n" + RUN + b"\r\n0\r\n\r\n",
    "endless chunk size": CHUNKED + b"\r\n" + b"f" * 6000 + b"\r\n" + RUN,
    "cut chunk": CHUNKED + b"\r\n2e\r\n{",
    "bad status": b"HTTP/1.1 banana\r\n\r\n",
    "status of four digits": b"HTTP/1.1 1000 OK\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing": b"",
    "no gzip": GZIP + b"\r\n" + RUN,
    "cut gzip": GZIP + b"\r\n" + gzip.compress(RUN)[:30],
    "no deflate": OK + b"content-encoding: deflate\r\n\r\n" + RUN,
    "long header": OK + b"x: " + b"y" * 70_000 + b"\r\n\r\n" + RUN,
    "many headers": OK + b"".join(b"x%d: 1\r\n" % number for number in range(200)) + b"\r\n" + RUN,
    "another charset": OK + b"content-type: application/json; charset=utf-16\r\n\r\n" + RUN.decode().encode("utf-16"),
    "deep JSON": OK + b"\r\n" + b"[" * 100_000,
    "number of 5,000 digits": OK + b'\r\n{"run": {"run_id": "r1", "status": ' + b"9" * 5_000 + b"}}",
}


@contextlib.contextmanager
def server(responses: Sequence[bytes], received: list[bytes]) -> Iterator[str]:
    """Answer one connection after another, each with the next of the responses; yield the address."""

    def respond(listener: socket.socket) -> None:
        for response in responses:
            with listener.accept()[0] as connection, contextlib.suppress(OSError):
                received.append(connection.recv(65536))
                connection.sendall(response)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(0.05)  # a close before all is read would reset the connection
                while connection.recv(65536):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=respond, args=[listener], daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        thread.join(10)


def launch(client: Client, clock: Clock, until: float) -> Run:
    return run_through(client.launch_run(REQUEST, until=until, sent=lambda _: None), clock)


class Session:
    """A client and its sandbox; `log_lines` holds the lines that the client logged."""

    def __init__(self, clock: VirtualClock, *faults: str) -> None:
        self.clock = clock
        self.log_lines: list[str] = []
        self.server = Server(World(clock.time), faults=faults)

    def __enter__(self) -> "Session":
        self.server.__enter__()
        self.client = new_client(self.server.url, self.clock, log=self.log_lines.append)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.__exit__(None, None, None)

    def launch(self, patience: float = 3600) -> Run:
        return launch(self.client, self.clock, self.clock.now() + patience)

    def get_run(self, run_id: str, patience: float = 60) -> Run:
        return run_through(self.client.get_run(run_id, until=self.clock.now() + patience), self.clock)

    @property
    def launches(self) -> int:
        """The number of runs in the sandbox."""
        return len(self.server.world.runs)


def test_launch_sends_key_and_body_only(clock: VirtualClock) -> None:
    with Session(clock) as session:
        run = session.launch()
        (request,) = session.server.requests_seen
    assert (request.method, request.path, request.json) == ("POST", "/v1/runs", IDS)
    assert request.headers["x-api-key"] == KEY
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers
    assert run.run_id == session.server.world.runs[0].run_id


@pytest.mark.parametrize("fault", ["503", "429", "503 retry-after=7", "429 retry-after=7"])
def test_launch_is_retried_after_503_or_429(fault: str, clock: VirtualClock) -> None:
    with Session(clock, f"POST /runs #1-2 -> {fault}") as session:
        session.launch()
        assert session.launches == 1
    assert len(session.server.requests_seen) == 3
    assert clock.slept == [7, 7] if "7" in fault else all(0.5 <= pause <= 2 for pause in clock.slept)


@pytest.mark.parametrize("fault", ["html 503 after", 'body {"message": "Service Unavailable"}'])
def test_launch_is_not_retried_after_503_from_proxy(fault: str, clock: VirtualClock) -> None:
    with Session(clock, f"POST /runs #1 -> {fault}") as session, pytest.raises(LaunchUncertain):
        session.launch()
    assert session.launches == 1


@pytest.mark.parametrize("fault", ["html 400 after", "html 403 after", "html 404 after", "redirect /v2/runs after"])
def test_launch_is_uncertain_after_rejection_without_form_of_coval(fault: str, clock: VirtualClock) -> None:
    with Session(clock, f"POST /runs #1 -> {fault}") as session, pytest.raises(LaunchUncertain) as caught:
        session.launch()
    assert caught.value.rejection is not None
    assert session.launches == 1


@pytest.mark.parametrize("status", [b"102 Processing", b"103 Early Hints"])
def test_interim_response_is_no_response_and_its_connection_is_closed(status: bytes, clock: VirtualClock) -> None:
    """The final response follows on the same connection; the next request must not read it as its own."""
    interim = b"HTTP/1.1 %b\r\nlink: </a>; rel=preload\r\n\r\n" % status
    bodies = [b'{"run": {"run_id": "%b", "status": "PENDING"}}' % run_id for run_id in (b"r1", b"r2")]
    finals = [b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body) for body in bodies]
    answered = threading.Event()

    def respond(listener: socket.socket) -> None:
        with contextlib.ExitStack() as connections:
            for response in (interim, interim, finals[1]):
                connection = connections.enter_context(listener.accept()[0])
                connection.recv(65536)
                connection.sendall(response)
            answered.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=respond, args=[listener])
        thread.start()
        client = new_client(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", clock)
        with pytest.raises(LaunchUncertain, match=status.decode()[:3]):
            launch(client, clock, 60)
        assert run_through(client.get_run("r2", until=clock.now() + 60), clock).run_id == "r2"
        assert len(clock.slept) == 1, "the GET is retried after its interim response"
        answered.set()
        thread.join()
        client.close()


def test_launch_is_not_retried_after_deadline(clock: VirtualClock) -> None:
    with Session(clock, "POST /runs #1 -> 503 retry-after=3600") as session, pytest.raises(Unavailable):
        session.launch(patience=60)
    assert session.launches == 0
    assert clock.slept == [], "no pause begins that would end after the deadline"


@pytest.mark.parametrize(
    "fault", ["reset-after", "500", "502", "hang 0.01", "cut 10", "html 500", "body {}", "json []"]
)
def test_launch_is_not_retried_after_lost_response(fault: str, clock: VirtualClock) -> None:
    with Session(clock, f"POST /runs #1 -> {fault}") as session, pytest.raises(LaunchUncertain, match="was lost"):
        session.launch()
    assert len([request for request in session.server.requests_seen if request.method == "POST"]) == 1
    assert clock.slept == []


def test_refused_launch_connection_is_retried_for_limited_time(clock: VirtualClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = new_client(f"http://127.0.0.1:{port}/v1", clock)
    with pytest.raises(Unavailable, match="refused") as caught:
        launch(client, clock, 3600)
    assert not caught.value.arrived
    assert UNREACHED_TIME - LONGEST_BACKOFF <= clock.now() <= UNREACHED_TIME


def test_launch_that_coval_puts_off_is_retried_until_deadline(clock: VirtualClock) -> None:
    with Session(clock, "POST /runs -> 503") as session, pytest.raises(Unavailable):
        session.launch(patience=3600)
    assert 3600 - LONGEST_BACKOFF <= clock.now() <= 3600


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


@pytest.mark.parametrize("retry_after", ["600", "Fri, 02 Jan 2026 00:00:00 GMT"])
def test_retry_after_is_cut_to_deadline(retry_after: str, clock: VirtualClock) -> None:
    with Session(clock, f"GET /runs/* -> 429 retry-after={retry_after}") as session:
        run_id = session.launch().run_id
        with pytest.raises(Unavailable):
            session.get_run(run_id)
    assert clock.slept == [60]
    assert len(session.server.requests_seen) == 3, "the last poll is at the deadline"


def test_get_run_backs_off_with_jitter(clock: VirtualClock) -> None:
    with Session(clock, "GET /runs/* -> 500") as session:
        run_id = session.launch().run_id
        with pytest.raises(Unavailable):
            session.get_run(run_id, 300)
    assert all(2**n / 2 <= pause <= 2**n for n, pause in enumerate(clock.slept[:5]))
    assert all(15 <= pause <= 30 for pause in clock.slept[5:-1])
    assert clock.now() == pytest.approx(300)
    assert len(session.log_lines) == 5, "one line per minute"


@pytest.mark.parametrize("response", ["{}", '{"metric": null}', '{"message": "Not Found"}', '{"id": null, "name": ""}'])
def test_response_that_is_no_metric_is_error(response: str, clock: VirtualClock) -> None:
    with (
        Session(clock, f"GET /metrics/* -> json {response}") as session,
        pytest.raises(Unavailable, match="id: missing"),
    ):
        run_through(session.client.get(METRIC, "m1", until=clock.now()), clock)


def test_run_above_size_limit_is_fetched_once_and_error(clock: VirtualClock) -> None:
    with Session(clock, f"GET /runs/* -> huge {RUN_LIMIT + 1}") as session:
        run_id = session.launch().run_id
        with pytest.raises(TooLarge, match="more than 256 MiB") as caught:
            session.get_run(run_id)
    assert "metric_ids" in caught.value.advice
    assert len(session.server.requests_seen) == 2
    assert clock.slept == []


def test_lists_of_runs_above_size_limit_are_fetched_in_smaller_pages(clock: VirtualClock) -> None:
    with Session(clock, f"GET /runs #1 -> huge {BODY_LIMIT + 1}") as session:
        for _ in range(MOST_RUNS + 5):
            session.server.world.launch(IDS)
            clock.sleep(1)
        runs = run_through(session.client.list_runs(RunFilter(), until=clock.now() + 60), clock)
        sizes = [request.query["page_size"] for request in session.server.requests_seen]
    assert [run.run_id for run in runs] == [run.run_id for run in session.server.world.runs[: -MOST_RUNS - 1 : -1]]
    assert sizes == ["100", *["10"] * 10]


def test_pages_above_size_limit_are_fetched_in_smaller_ones(clock: VirtualClock) -> None:
    with Session(clock, f"GET /conversations/simulated #1-2 -> huge {BODY_LIMIT + 1}") as session:
        run_id = session.launch().run_id
        clock.sleep(100)
        simulations = run_through(session.client.list_simulations(run_id, until=clock.now() + 60), clock)
    assert len(simulations) == 10
    sizes = [request.query.get("page_size") for request in session.server.requests_seen[1:]]
    assert sizes == ["1000", "100", "10"]


def test_lists_of_simulations_that_begin_together_both_find_the_older_address(clock: VirtualClock) -> None:
    with Session(clock, "GET /conversations/simulated -> 404") as session:
        runs = [session.launch().run_id for _ in range(2)]
        clock.sleep(100)
        until = clock.now() + 60
        listing = together([session.client.list_simulations(run_id, until=until) for run_id in runs], clock)
        assert [len(all_or_first_error([outcome])[0]) for outcome in run_through(listing, clock)] == [10, 10]


def test_one_simulation_above_size_limit_is_error(clock: VirtualClock) -> None:
    with Session(clock, f"GET /conversations/simulated -> huge {BODY_LIMIT + 1}") as session:
        run_id = session.launch().run_id
        with pytest.raises(TooLarge, match="more than 32 MiB"):
            run_through(session.client.list_simulations(run_id, until=clock.now() + 60), clock)
    assert len(session.server.requests_seen) == 5


def test_launch_response_above_size_limit_is_uncertain(clock: VirtualClock) -> None:
    with Session(clock, f"POST /runs -> huge {BODY_LIMIT + 1}") as session, pytest.raises(LaunchUncertain):
        session.launch()


DRIPS = {
    "status line": b"HTTP/1.1 200 " + b"O" * 1000,
    "header": b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 1000,
    "informational": b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
    "body": b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b" " * 1000,
    "chunk size": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"0" * 1000,
    "redirect": b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 1000\r\n\r\n" + b" " * 1000,
}


@pytest.mark.parametrize("what", DRIPS)
def test_slow_response_times_out(what: str) -> None:
    """Each byte arrives before the socket times out, but the response never ends. This test runs in real time."""
    ended = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            for byte in DRIPS[what]:
                connection.sendall(bytes([byte]))
                if ended.wait(0.05):
                    return

    clock = SystemClock()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=[listener])
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        client = new_client(url, clock, timeouts=Timeouts(connect=0.2, response=0.2, final=0.2))
        with pytest.raises((Unavailable, Rejected)):
            run_through(client.get_run("r1", until=clock.now()), clock)
        assert thread.is_alive(), "the response has not ended"
        ended.set()
        thread.join()
        client.close()


def test_redirect_is_not_followed(clock: VirtualClock) -> None:
    with Server(World(clock.time)) as elsewhere, Session(clock, f"* * -> redirect {elsewhere.url}/runs 307") as session:
        with pytest.raises(LaunchUncertain, match="redirect"):
            session.launch()
        assert elsewhere.requests_seen == []


def test_netrc_and_proxy_variables_are_ignored(
    clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login mona password secret\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with Session(clock) as session:
        session.launch()
    assert "authorization" not in session.server.requests_seen[0].headers


def test_idle_connection_is_not_reused(clock: VirtualClock) -> None:
    """Some networks drop an idle connection without closing it: requests on it get no response."""
    dropped = []

    def respond_once_per_connection(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(GOOD)
            dropped.append(connection)

    log_lines: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=respond_once_per_connection, args=[listener])
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        client = new_client(url, clock, log=log_lines.append)
        for _ in range(2):
            run_through(client.get_run("r1", until=clock.now() + 60), clock)
            clock.sleep(30)
        client.close()
        thread.join()
    for connection in dropped:
        connection.close()
    assert log_lines == []


def test_key_header_is_sent_in_lower_case(clock: VirtualClock) -> None:
    """Coval's gateway reportedly rejects any other spelling."""
    received: list[bytes] = []
    with server([GOOD], received) as url:
        client = new_client(url, clock)
        run_through(client.get_run("r1", until=clock.now()), clock)
        client.close()
    assert b"\r\nx-api-key: " + KEY.encode() + b"\r\n" in received[0]


def test_workspace_id_is_sent_as_header(clock: VirtualClock) -> None:
    with Server(World(clock.time)) as server:
        client = new_client(server.url, clock, workspace_id="w1")
        launch(client, clock, 60)
        client.close()
    assert server.requests_seen[0].headers["x-coval-workspace-id"] == "w1"


@pytest.mark.parametrize(
    ("dates", "shown"),
    [
        ([None], None),
        (["", "yesterday", "Thu, 99 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 99999 00:00:00 GMT"], None),
        (["Thu, 01 Jan 2026 00:01:40 GMT"], 100.0),
        (["Thu, 01 Jan 2026 00:01:38 GMT", "Thu, 01 Jan 2026 00:01:40 GMT", "Thu, 01 Jan 2026 00:01:39 GMT"], 100.0),
        (["Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 2026 00:01:40 GMT", "soon"], 100.0),
    ],
    ids=str,
)
def test_time_of_coval_is_the_latest_that_responses_show(
    dates: list[str | None], shown: float | None, clock: VirtualClock
) -> None:
    """A response loses time on its way, so no later response can show that Coval's clock is slower."""
    headers = [b"" if date is None else b"date: %b\r\n" % date.encode() for date in dates]
    responses = [
        OK + b"%bcontent-length: %d\r\nconnection: close\r\n\r\n%b" % (date, len(RUN), RUN) for date in headers
    ]
    with server(responses, []) as url:
        client = new_client(url, clock)
        for _ in dates:
            assert run_through(client.get_run("r1", until=clock.now() + 60), clock).run_id == "r1"
        client.close()
    began = 1767225600.0  # 2026-01-01
    assert client.server_time(clock.now()) == (None if shown is None else began + shown)
    assert client.server_time(clock.now() + 5) == (None if shown is None else began + shown + 5)


@pytest.mark.parametrize("kind", INVALID)
def test_read_is_retried_after_invalid_response(kind: str, clock: VirtualClock) -> None:
    with server([INVALID[kind], GOOD], []) as url:
        client = new_client(url, clock)
        assert run_through(client.get_run("r1", until=clock.now() + 60), clock).run_id == "r1"
        assert len(clock.slept) == 1
        client.close()


@pytest.mark.parametrize("kind", INVALID)
def test_launch_is_uncertain_after_invalid_response(kind: str, clock: VirtualClock) -> None:
    with server([INVALID[kind]], []) as url:
        client = new_client(url, clock)
        with pytest.raises(LaunchUncertain):
            launch(client, clock, clock.now() + 60)
        client.close()
