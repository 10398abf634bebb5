"""The image under `docker run`, as GitHub's runner starts it."""

import os
import re
import subprocess
from collections.abc import Mapping

import pytest

from coval_gate.report.formats.outputs import OUTPUTS
from e2e.engine import KEY, MAIN, POST, PYTHON, SPEED_OF_STEPS, Sandbox, Step, docker, inspect, leaks
from support import IDS

pytestmark = pytest.mark.e2e
SPEED = SPEED_OF_STEPS
# Files in the workspace that Python without isolation would import instead of the action's modules.
TRAP_MESSAGE = "This is not what you meant to run"
TRAP = f"""\
import os
os.write(1, b"{TRAP_MESSAGE}: " + __name__.encode() + b"\\n")
os._exit(0)
"""
MODULES = ("json", "requests", "pydantic", "coval_gate/base/clock", "sitecustomize")
TRAPS = {f"{directory}{module}.py": TRAP for directory in ("", "src/") for module in MODULES}
TRAPS |= {f"{directory}coval_gate/{package}__init__.py": "" for directory in ("", "src/") for package in ("", "base/")}
TRAPS |= {"startup.py": TRAP}
HOSTILE_ENV = {
    "PATH": "/nonsense",
    "PYTHONPATH": "src",
    "PYTHONHOME": "/nonsense",
    "PYTHONSTARTUP": "startup.py",
    "PYTHONINSPECT": "1",
    "PYTHONWARNINGS": "error",
    "PYTHONIOENCODING": "ascii",
    "PYTHONUTF8": "0",
    "LANG": "C",
    "LC_ALL": "POSIX",
}


def test_failing_run_fails_step_and_shows_no_key(step: Step, sandbox: Sandbox) -> None:
    """The key is masked first, and is neither in the log nor in a file."""
    result = step.run(test_set_id="someFail")
    assert result.exit_code == 1
    shown = [result.outputs[name] for name in ("verdict", "passed", "status", "run_id")]
    assert shown == ["failed", "false", "COMPLETED_WITH_FAILURES", sandbox.run["run_id"]]
    assert result.summary.startswith("### ❌ Failed: Coval evaluation")
    assert len(result.annotations("error")) == 1
    mask, *rest = result.log.splitlines()
    assert mask == f"::add-mask::{KEY}"
    assert [line for line in rest if KEY in line] == []
    assert leaks(step.directory) == []


def test_key_is_on_no_command_line(step: Step) -> None:
    """Command lines are visible to other users of the machine."""
    with step.running(test_set_id="stuck001") as process:
        step.wait_for_launch(process)
        container = inspect(step.name)
        processes = docker("top", step.name)
    assert "/app/entrypoint.py" in processes
    assert KEY not in processes
    assert KEY not in str(process.args)
    shown = [container["Path"], container["Args"], container["Config"]["Cmd"], container["Config"]["Entrypoint"]]
    assert KEY not in str(shown)
    assert f"INPUT_API_KEY={KEY}" in container["Config"]["Env"]  # it is in the environment only


def test_run_passes_despite_hostile_workspace_and_environment(step: Step, sandbox: Sandbox) -> None:
    write_files(step, TRAPS)
    result = step.run(env=HOSTILE_ENV)
    assert TRAP_MESSAGE not in result.log
    assert result.exit_code == 0, result.log
    assert result.outputs.keys() == OUTPUTS.keys()
    assert (result.outputs["verdict"], result.outputs["run_id"]) == ("passed", sandbox.run["run_id"])
    assert result.state == {"legs": "[]", "mode": "run"}, "nothing is left to do"
    assert result.summary.startswith("### ✅ Passed: Coval evaluation")
    assert result.annotations("error") == []
    assert re.search(r"COMPLETED +█+  10/10 done", result.log), "the log is not UTF-8"


def test_traps_work_without_isolation(step: Step) -> None:
    """Control: each trap hijacks a Python without -I, in the main step and in the post step."""
    cases = [(MAIN, module) for module in MODULES]
    cases += [(POST, module) for module in ("coval_gate/base/clock", "sitecustomize")]
    script = ""
    for number, (program, module) in enumerate(cases):
        packages = {f"{number}/coval_gate/{package}__init__.py": "" for package in ("", "base/")}
        packages = packages if module.startswith("coval_gate/") else {}
        write_files(step, packages | {f"{number}/{module}.py": TRAP})
        script += f"PYTHONPATH={number} {PYTHON} -u -B {program}; echo ended\n"
    result = step.run(entrypoint=["sh", "-c", script], json_path="coval.json")  # pydantic writes it
    logs = result.log.split("ended\n")[:-1]
    for (program, module), log in zip(cases, logs, strict=True):
        assert f"{TRAP_MESSAGE}: {module.replace('/', '.')}" in log, program
    assert not (step.directory / "workspace" / "coval.json").exists()


def write_files(step: Step, files: Mapping[str, str]) -> None:
    """Write files into the step's workspace."""
    for name, text in files.items():
        (step.directory / "workspace" / name).parent.mkdir(parents=True, exist_ok=True)
        (step.directory / "workspace" / name).write_text(text, encoding="utf-8")


def test_image_has_the_command(image: str, sandbox: Sandbox) -> None:
    """It is on the PATH, and has no sandbox."""
    key = {"COVAL_API_KEY": KEY, "INPUT_API_BASE_URL": sandbox.url}
    flags = [part for name, value in IDS.items() for part in (f"--{name.replace('_', '-')}", value)]

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        names = [part for name in key for part in ("--env", name)]
        started = ["docker", "run", "--rm", "--network", "host", *names, "--entrypoint", "coval-gate", image]
        environ = os.environ | key
        return subprocess.run([*started, *arguments], env=environ, capture_output=True, text=True, timeout=120)

    passed = command("run", *flags, "--check-interval", "1", "--threshold", "Latency: p(95) < 9")
    assert passed.returncode == 0, passed.stdout
    assert passed.stdout.splitlines()[-1].startswith("✅ Passed")
    assert sandbox.run["status"] == "COMPLETED"
    assert command("wait", sandbox.run["run_id"], "--threshold", "Latency: p(95) < 0.1").returncode == 1
    assert "pip install 'coval-gate[demo] @ git+https://" in command("demo").stderr
    assert "pip install 'coval-gate[attach] @ git+https://" in command("attach", "agent:answer", "--run", "run1").stderr
