"""An invalid or unreadable response counts as lost: the client retries a read, and looks for a launch."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest

from coval_gate.base.errors import LaunchUncertain
from coval_gate.base.schedule import run as run_through
from support import REQUEST, VirtualClock, new_client

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


@contextmanager
def server(responses: Sequence[bytes]) -> Iterator[str]:
    """Answer one connection after another, each with the next of the responses; yield the address."""

    def respond(listener: socket.socket) -> None:
        for response in responses:
            with listener.accept()[0] as connection, suppress(OSError):
                connection.recv(65536)
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


@pytest.mark.parametrize("kind", INVALID)
def test_read_is_retried_after_invalid_response(kind: str, clock: VirtualClock) -> None:
    with server([INVALID[kind], GOOD]) as url:
        client = new_client(url, clock)
        assert run_through(client.get_run("r1", until=clock.now() + 60), clock).run_id == "r1"
        assert len(clock.slept) == 1
        client.close()


@pytest.mark.parametrize("kind", INVALID)
def test_launch_is_uncertain_after_invalid_response(kind: str, clock: VirtualClock) -> None:
    with server([INVALID[kind]]) as url:
        client = new_client(url, clock)
        with pytest.raises(LaunchUncertain):
            run_through(client.launch_run(REQUEST, until=clock.now() + 60, sent=lambda _: None), clock)
        client.close()
