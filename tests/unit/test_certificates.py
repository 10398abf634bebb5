"""Requests over TLS: which certificates are trusted, and that no proxy is used on the loopback interface."""

import ssl
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from coval_gate.base.errors import CovalError
from coval_gate.base.schedule import run
from support import KEY, VirtualClock, new_client

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
BODY = b'{"run": {"run_id": "r1", "status": "PENDING"}}'


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with a run, and notes the key."""

    def do_GET(self) -> None:
        self.server.keys.append(self.headers["x-api-key"])  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("content-length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class SecureServer(ThreadingHTTPServer):
    """A server with a certificate of its own making."""

    def __init__(self, certificate: Path, key: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.keys: list[str] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_: object) -> None:
        """Ignore clients that do not trust the certificate."""


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
def server(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecureServer]:
    """Serve while the environment names no certificates, and proxies that lead nowhere."""
    for name in (*VARIABLES, "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in PROXIES:
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with SecureServer(certificate, certificate.with_name("key.pem")) as serving:
        thread = Thread(target=serving.serve_forever, args=[0.01], daemon=True)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def get_run(server: SecureServer, clock: VirtualClock, host: str = "127.0.0.1") -> str:
    """Fetch a run, and return its id."""
    client = new_client(f"https://{host}:{server.server_port}/v1", clock)
    try:
        return run(client.get_run("r1", until=clock.now() + 10), clock).run_id
    finally:
        client.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("variable", VARIABLES)
def test_certificates_of_environment_are_trusted_on_loopback(
    variable: str,
    host: str,
    certificate: Path,
    server: SecureServer,
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, str(certificate))
    assert get_run(server, clock, host) == "r1"
    assert server.keys == [KEY]


def test_unknown_certificate_is_error_that_names_variable(server: SecureServer, clock: VirtualClock) -> None:
    with pytest.raises(CovalError, match="certificate cannot be verified") as caught:
        get_run(server, clock)
    assert "REQUESTS_CA_BUNDLE" in caught.value.advice
    assert server.keys == []


@pytest.mark.parametrize("variable", VARIABLES)
def test_missing_bundle_is_error_that_names_variable(
    variable: str, server: SecureServer, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/nowhere/certificates.pem")
    with pytest.raises(CovalError, match=f"{variable}.* does not name a certificate file"):
        get_run(server, clock)
    assert server.keys == []
