"""What the main step loads before it launches: a budget that no clock takes part in."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from coval_sandbox.deterministic import SpeedClock
from coval_sandbox.runner import LocalRunner
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import DEFAULTS, IDS, KEY

ROOT = Path(__file__).resolve().parents[2]
MOST_MODULES = 53  # of ours, packages among them
FAST = 2000  # times real time
SLOW = {"dataclasses", "inspect", "difflib", "html", "jinja2", "junitparser", "markupsafe", "pydantic", "statistics"}
SLOW |= {"yaml", "coval_gate.inputs.file"}
AFTERWARDS = {"coval_gate.gate.judgement", "coval_gate.report.model", "coval_gate.step.evaluate"}
# Python calls the hook with every request that the process sends. The first POST is the launch.
HOOKED = """
import json, runpy, sys

def on(event, arguments):
    if event == "http.client.send" and bytes(arguments[1]).startswith(b"POST"):
        print(json.dumps(sorted(sys.modules)), file=sys.stderr)

sys.addaudithook(on)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def loaded_at_launch(directory: Path, **inputs: str) -> set[str]:
    """Return the names of the modules that are loaded when a step sends its launch."""
    with Server(World(SpeedClock(FAST))) as server:
        given = DEFAULTS | IDS | {"api_key": KEY, "api_base_url": server.url} | inputs
        done = subprocess.run(
            [sys.executable, "-I", "-c", HOOKED, str(ROOT / "entrypoint.py")],
            capture_output=True,
            text=True,
            check=False,
            env=LocalRunner(directory).environ(given),
        )
    assert done.returncode == 0, done.stdout
    modules: list[Any] = json.loads(done.stderr.splitlines()[0])
    return {str(module) for module in modules}


def test_launch_waits_for_nothing_slow(tmp_path: Path) -> None:
    assert not loaded_at_launch(tmp_path, thresholds="Resolved: rate(YES) >= 90%") & SLOW


def test_launch_waits_for_few_modules(tmp_path: Path) -> None:
    loaded = loaded_at_launch(tmp_path, mode="launch")
    assert not loaded & (AFTERWARDS | SLOW)
    assert len([module for module in loaded if module.startswith("coval_gate")]) <= MOST_MODULES
