"""Shows a job that tests its own code: a step launches, a process answers the callers, and a step judges."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from coval_demo import BOLD, INPUTS, PLAIN, PROGRAM, run_step, sandbox
from coval_gate import how_to_install
from coval_sandbox.catalogue import OWN_BUILD_ID
from coval_sandbox.runner import LocalRunner

HERE: Final = Path(__file__).resolve().parent
AGENTS: Final = (HERE.parents[1] / "examples" / "agents", HERE / "agents")  # in a checkout; in an installed package
RUN: Final = {"agent_id": OWN_BUILD_ID, "concurrency": "10"}
THRESHOLDS: Final = "Latency: p(95) < 1.5\nResolved: rate(YES) >= 90%"


def show(files: Sequence[str], overrides: dict[str, str], options: Sequence[str], *, long: bool) -> int:
    """Launch a run, answer it with the first of these files, judge it, and return the exit code of the last step.

    The sandbox's clock runs in real time, because callers speak in real time.
    """
    if not find_spec("coval_agent_sdk"):
        print(f"{PROGRAM}: this needs Coval's Agent SDK; install it with: {how_to_install('attach')}")
        return 2
    with tempfile.TemporaryDirectory() as directory:
        authority = Path(directory) / "relay.pem"
        relay = ["--speed", "1", "--relay", "--relay-ca", str(authority)]
        with sandbox([*relay, *options]) as url:
            inputs = INPUTS | {"api_base_url": url, "thresholds": THRESHOLDS} | RUN | overrides
            return _job(Path(directory) / "job", files, inputs, authority, long=long)


def _job(directory: Path, files: Sequence[str], inputs: dict[str, str], authority: Path, *, long: bool) -> int:
    """Run the three steps of a job, and return the exit code of the last one."""
    directory.mkdir()
    print(f"{BOLD}━━ 1. mode: launch{PLAIN}\n")
    runner = LocalRunner(directory)
    for name in files:
        shutil.copy(next(path for path in AGENTS if path.exists()) / name, runner.workspace)
    code = run_step(runner, inputs | {"mode": "launch"}, long=long)
    run_id = runner.outputs.get("run_id", "")
    runs = runner.outputs.get("run_ids", "")  # with a base, there are two
    if code or not run_id:
        return code or 1
    module = files[0].removesuffix(".py")
    command = ["attach", f"{module}:answer", "--run", run_id]
    print(f"\n{BOLD}━━ 2. coval-gate {' '.join(command)}{PLAIN}\n", flush=True)
    environ = os.environ | {
        "COVAL_API_KEY": inputs["api_key"],
        "INPUT_API_BASE_URL": inputs["api_base_url"],
        "SSL_CERT_FILE": str(authority),
    }
    attached = subprocess.run([sys.executable, "-m", "coval_cli", *command], cwd=runner.workspace, env=environ)
    print(f"exit code {attached.returncode}")
    print(f"\n{BOLD}━━ 3. mode: wait{PLAIN}\n")
    return run_step(LocalRunner(directory), inputs | {"mode": "wait", "run_id": runs}, long=long)
