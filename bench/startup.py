"""Measures the time from process start to the launch request, next to a ten-line script with the same request."""

import compileall
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.figures import Figure
from coval_gate.inputs.inputs import declared
from coval_sandbox.runner import LocalRunner

ROOT = Path(__file__).resolve().parent.parent
RUNS = 25
MOST = 1.2
COMMAND = ("-m", "coval_gate", "launch")
INPUTS = {
    "api_key": "coval_sk_test_sandbox",
    "agent_id": "a" * 22,
    "persona_id": "p" * 22,
    "test_set_id": "passing1",
}
TEN_LINES = """\
import os
import requests

body = {"agent_id": os.environ["INPUT_AGENT_ID"], "persona_id": os.environ["INPUT_PERSONA_ID"]}
body["test_set_id"] = os.environ["INPUT_TEST_SET_ID"]
headers = {"x-api-key": os.environ["INPUT_API_KEY"]}
url = os.environ["INPUT_API_BASE_URL"] + "/runs"
response = requests.post(url, json=body, headers=headers, timeout=30)
response.raise_for_status()
print(response.json()["run"]["run_id"])
"""


def measure() -> list[Figure]:
    """Measure both in turn, so that a change of the machine's speed affects both. The first pair is a warm-up."""
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as server:
        directory = Path(name)
        # As in the image. With -B, each process would compile every module again.
        compileall.compile_dir(str(ROOT / "src" / "coval_gate"), quiet=1)
        ten_lines = directory / "ten_lines.py"
        ten_lines.write_text(TEN_LINES, encoding="utf-8")
        inputs = {declaration.name: declaration.default for declaration in declared()} | INPUTS
        inputs["api_base_url"] = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        environ = LocalRunner(directory).environ(inputs)
        ours, theirs, command, shown, imported = [], [], [], [], []
        for _ in range(RUNS + 1):
            theirs.append(to_wire(server, (str(ten_lines),), environ))
            ours.append(to_wire(server, (str(ROOT / "entrypoint.py"),), environ))
            command.append(to_wire(server, COMMAND, environ))
            shown.append(seconds_of("-m", "coval_gate", "--help"))
            imported.append(seconds_of("-c", "import requests"))
    ours_ms, theirs_ms, command_ms, help_ms, import_ms = (
        statistics.median(times[1:]) * 1000 for times in (ours, theirs, command, shown, imported)
    )
    script, importing = ("ten lines with requests", theirs_ms), ("python -c 'import requests'", import_ms)
    return [
        Figure("process start to the launch request", ours_ms, "ms", script, MOST * theirs_ms),
        Figure("coval-gate launch to the launch request", command_ms, "ms", importing),
        Figure("coval-gate --help", help_ms, "ms", importing),
        Figure("wheel", wheel_size() / 1e6, "MB"),
    ]


def seconds_of(*arguments: str) -> float:
    """Return how long Python takes with these arguments."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def wheel_size() -> int:
    """Return the size of the built wheel in bytes."""
    with tempfile.TemporaryDirectory() as directory:
        build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", directory, str(ROOT)]
        subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *build], check=True)
        (wheel,) = Path(directory).glob("*.whl")
        return wheel.stat().st_size


def to_wire(server: socket.socket, program: Sequence[str], environ: dict[str, str]) -> float:
    """Return the time in seconds from the start of `program` until its launch request has arrived; then kill it."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-I", "-u", "-B", *program], env=environ, stdout=subprocess.DEVNULL)
    connection, received = accepted(server)
    while received.startswith(b"GET "):  # mode launch first looks the agent's type up
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        connection.close()
        connection, received = accepted(server)
    with connection:
        while b'"test_set_id"' not in received:
            received += connection.recv(65536)
        elapsed = time.perf_counter() - began
        process.kill()
        process.wait()
    return elapsed


def accepted(server: socket.socket) -> tuple[socket.socket, bytes]:
    """Return the next connection, and what arrives first."""
    connection, _ = server.accept()
    return connection, connection.recv(65536)
