"""Runs the action against the local sandbox, as GitHub's runner would, and shows what a user sees.

demo.py [INPUT=VALUE ...]      for instance: demo.py test_set_id=someFail max_failed_simulations=50%
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from coval_gate.config.inputs import declared
from coval_sandbox.runner import LocalRunner, read_command

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
SPEED = 15  # times real time; a real run takes about a minute
WIDTH = 90  # characters of an output's value
KEY = "coval_sk_test_sandbox"
INPUTS = {
    "api_key": KEY,
    "agent_id": "demoAgent0000000000001",
    "persona_id": "demoPersona00000000001",
    "test_set_id": "passing1",
    "check_interval": "1",  # the sandbox is too fast for adaptive pauses
    "thresholds": """
        Latency: p(95) < 1.5          # seconds until the agent responds
        Resolved: rate(YES) >= 90%
        "Tone: friendly": avg >= 4
        Compliance: count(NO) == 0
    """,
}
RESUMED = re.compile(r"::[0-9a-f]{32}::")  # the line from which the runner reads commands again
BOLD, RED, YELLOW, BLUE, DIM, PLAIN = (f"\x1b[{code}m" if sys.stdout.isatty() else "" for code in (1, 31, 33, 34, 2, 0))


@contextmanager
def sandbox() -> Iterator[str]:
    """Start a sandbox in a separate process; yield the URL of its API."""
    command = [sys.executable, "-m", "coval_sandbox", "--speed", str(SPEED)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            address = re.search(r"http://\S+", line)
            if not address:
                raise RuntimeError("the sandbox did not start")
            print(f"{DIM}{line.strip()}{PLAIN}\n")
            yield address[0]
        finally:
            process.terminate()


def as_shown(line: str) -> str | None:
    """Return a line of the step's output as GitHub's log shows it; None if the log hides it."""
    command = read_command(line)
    if command is None:
        return None if RESUMED.fullmatch(line) else line
    title = command.properties.get("title", "")
    colours = {"error": RED, "warning": YELLOW, "notice": BLUE}
    if command.name in colours:
        return f"{colours[command.name]}{command.name.capitalize()}: {command.data}{PLAIN}{DIM}  [{title}]{PLAIN}"
    return f"{BOLD}▾ {command.data}{PLAIN}" if command.name == "group" else None


def run(given: dict[str, str], url: str) -> int:
    """Run the action with `given` inputs, and return its exit code."""
    with tempfile.TemporaryDirectory() as directory:
        runner = LocalRunner(Path(directory))
        inputs = {each.name: each.default for each in declared()} | INPUTS | {"api_base_url": url} | given
        print(f"{BOLD}Log{PLAIN}")
        began = time.monotonic()
        command = [sys.executable, "-I", "-u", "-B", str(ROOT / "entrypoint.py")]
        with subprocess.Popen(command, env=runner.environ(inputs), stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                if (shown := as_shown(line.rstrip("\n"))) is not None:
                    print(f"  {shown.replace(KEY, '***')}", flush=True)
        print(f"\n{BOLD}Step outputs{PLAIN}")
        for name, value in runner.outputs.items():
            print(f"  {name:<24}{value if len(value) <= WIDTH else value[:WIDTH] + '…'}")
        print(f"\n{BOLD}Step summary (Markdown){PLAIN}")
        print("".join(f"  {line}\n" for line in runner.summary.splitlines()))
        print(f"{DIM}exit code {process.returncode}, {time.monotonic() - began:.1f} s{PLAIN}")
        return process.returncode


def main(arguments: list[str]) -> int:
    """Show a run with the given inputs, or a passing and a failing run. Return the exit code."""
    with sandbox() as url:
        if arguments:
            return run(dict(argument.split("=", 1) for argument in arguments), url)
        print(f"{BOLD}━━ 1. A run that passes the gate{PLAIN}\n")
        passed = run({}, url)
        print(f"\n{BOLD}━━ 2. A run that fails the same gate{PLAIN}\n")
        failed = run({"test_set_id": "failing1"}, url)
    return 0 if (passed, failed) == (0, 1) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
