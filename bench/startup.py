"""Measures the time from process start to the launch request, beside a ten-line script with the same request."""

import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.figures import DEFAULTS, ROOT, Figure, compile_gate
from coval_sandbox.runner import LocalRunner

RUNS = 25
MOST = 2.2
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
    """Measure both in turn, so that both see the same changes of the machine's speed. The first turn is a warm-up."""
    compile_gate()
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        environ = LocalRunner(Path(name)).environ(DEFAULTS | INPUTS | {"api_base_url": url})
        turns = [
            (
                to_wire(server, ("-c", TEN_LINES), environ),
                to_wire(server, (str(ROOT / "entrypoint.py"),), environ),
            )
            for _ in range(RUNS + 1)
        ]
    theirs, ours = (statistics.median(times) * 1000 for times in zip(*turns[1:], strict=True))
    script = ("ten lines with requests", theirs)
    return [Figure("process start to the launch request", ours, "ms", script, MOST * theirs)]


def to_wire(server: socket.socket, program: Sequence[str], environ: dict[str, str]) -> float:
    """Return the time in seconds from the start of `program` until its launch request has arrived; then kill it."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-I", "-u", "-B", *program], env=environ, stdout=subprocess.DEVNULL)
    received = b""
    while b'"test_set_id"' not in received:
        connection, _ = server.accept()
        with connection:
            received = connection.recv(65536)
            if received.startswith(b"GET "):  # for example, to read the agent's type
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                continue
            while b'"test_set_id"' not in received:
                received += connection.recv(65536)
    elapsed = time.perf_counter() - began
    process.kill()
    process.wait()
    return elapsed
