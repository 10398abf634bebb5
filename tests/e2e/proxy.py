"""A proxy that inspects TLS, as companies have it: it answers for every host with a certificate of its own."""

import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

import trustme

TIMEOUT = 60  # s; longest silence on a connection


def make_certificate(directory: Path, host: str) -> Path:
    """Make a certificate of a host, and return the file of its authority; its own is in own.pem beside it."""
    authority = trustme.CA()
    authority.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(directory / "own.pem")
    authority.cert_pem.write_to_path(directory / "authority.pem")
    return directory / "authority.pem"


class Proxy(ThreadingTCPServer):
    """Sends what it is asked to tunnel to one plain HTTP server; `tunnels` are the addresses that clients asked for."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, certificate: Path, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.target = target
        self.tunnels: list[str] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.with_name("own.pem"))

    @property
    def url(self) -> str:
        """Return the value for HTTPS_PROXY."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def proxy(certificate: Path, target: tuple[str, int]) -> Iterator[Proxy]:
    """Run a proxy on a free port of the loopback interface."""
    with Proxy(certificate, target) as serving:
        thread = Thread(target=serving.serve_forever, args=[0.01], daemon=True)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


class _Tunnel(StreamRequestHandler):
    server: Proxy

    def handle(self) -> None:
        method, address, _ = self.rfile.readline().decode().split()
        while self.rfile.readline().strip():
            pass
        if method != "CONNECT":
            self.wfile.write(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
            return
        self.server.tunnels.append(address)
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with (
            suppress(OSError),  # a client that does not trust the certificate, or that is gone
            self.server.context.wrap_socket(self.connection, server_side=True) as client,
            socket.create_connection(self.server.target) as target,
        ):
            _relay(client, target)


def _relay(client: ssl.SSLSocket, target: socket.socket) -> None:
    """Copy in both directions until one side has no more, or both are silent. A TLS socket allows one thread only."""
    while ready := [client] if client.pending() else select.select([client, target], [], [], TIMEOUT)[0]:
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            (target if source is client else client).sendall(data)
