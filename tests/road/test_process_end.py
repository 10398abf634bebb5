"""The end of each process: whatever comes after the verdict was written, exit code and outputs agree."""

import subprocess
import sys
from pathlib import Path

import pytest

from coval_sandbox.runner import LocalRunner
from support import DEFAULTS

ROOT = Path(__file__).parents[2]
# Runs a program in which SIGTERM comes at a named point, so that no chance decides when.
PROGRAM = """
import atexit, builtins, os, runpy, signal, sys, threading
from functools import partial
from importlib import import_module

point, program = sys.argv[1:3]
sys.argv = sys.argv[2:]
end = partial(os.kill, os.getpid(), signal.SIGTERM)

class Last:
    def __del__(self, end=end):
        end()

def aim(path):
    module, _, path = path.partition(":")
    *outer, name = path.split(".")
    owner = import_module(module)
    for part in outer:
        owner = getattr(owner, part)
    original = getattr(owner, name)

    def aimed(*args, **kwargs):
        end()
        return original(*args, **kwargs)

    setattr(owner, name, aimed)

match point:
    case "atexit":
        atexit.register(end)
    case "shutdown":
        builtins.last = Last()  # is deleted when the interpreter has given up the handlers of signals
    case "thread":
        threading.Thread(target=threading.Event().wait).start()
    case _:
        aim(point)
runpy.run_path(program, run_name="__main__")
"""
POINTS = (
    "coval_gate.step.publish:Publisher._log",  # the outputs are written
    "coval_gate.step.publish:Publisher._conclude",
    "coval_gate.ci.host:Host.release",
    "coval_gate.base.runtime:leave",
    "atexit",
    "shutdown",
    "thread",
)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("program", ["entrypoint.py", "src/coval_cli/__main__.py"])
def test_no_signal_after_the_verdict_changes_the_exit_code(point: str, program: str, tmp_path: Path) -> None:
    """Without a key there is a verdict, and nothing is sent."""
    runner = LocalRunner(tmp_path)
    ids = {"agent_id": "a" * 22, "persona_id": "p" * 22, "test_set_id": "t" * 8}
    arguments = [PROGRAM, point, str(ROOT / program), *(["run"] if "src" in program else [])]
    environ = runner.environ(DEFAULTS | ids | {"on_missing_api_key": "skip"}) | {"GITHUB_ACTOR": "dependabot[bot]"}
    done = subprocess.run([sys.executable, "-c", *arguments], env=environ, capture_output=True, timeout=60, check=False)
    assert (done.returncode, runner.outputs["verdict"]) == (0, "skipped"), done.stderr.decode()


def test_post_step_never_fails_its_job(tmp_path: Path) -> None:
    runner = LocalRunner(tmp_path)
    arguments = [PROGRAM, "shutdown", str(ROOT / "post_entrypoint.py")]
    done = subprocess.run([sys.executable, "-c", *arguments], env=runner.environ(DEFAULTS), timeout=60, check=False)
    assert done.returncode == 0
