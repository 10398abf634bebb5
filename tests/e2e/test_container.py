"""The image under `docker run`, started as GitHub's runner starts it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from coval_gate.report.formats.outputs import OUTPUTS
from e2e.engine import KEY, PYTHON, docker, inspect, leaks
from e2e.traps import MODULES, SPRUNG, TRAP, TRAPS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from e2e.engine import Sandbox, Step

pytestmark = pytest.mark.e2e
HOSTILE = {
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
}  # as in workflows/hostile.yml


def test_a_run_that_passes(step: Step, sandbox: Sandbox) -> None:
    """The runner's files are written where it put them, and it can read them."""
    result = step.run()
    assert result.exit_code == 0, result.log
    assert result.outputs.keys() == OUTPUTS.keys()
    assert result.outputs["verdict"] == "passed"
    assert result.outputs["run_id"] == sandbox.run["run_id"]
    (leg,) = json.loads(result.state.pop("legs"))
    assert leg.pop("key").startswith("coval-gate/")
    assert leg == {"name": "", "run_id": sandbox.run["run_id"], "cancel": False}
    assert result.state == {"concluded": "true"}
    assert result.summary.startswith("### ✅ Passed: Coval evaluation\n")
    assert result.annotations("error") == []


def test_a_run_that_fails(step: Step, sandbox: Sandbox) -> None:
    result = step.run(test_set_id="someFail")
    assert result.exit_code == 1
    assert result.outputs["verdict"] == "failed"
    assert result.outputs["passed"] == "false"
    assert result.outputs["status"] == "COMPLETED_WITH_FAILURES"
    assert result.outputs["run_id"] == sandbox.run["run_id"]
    assert result.state["concluded"] == "true"
    assert result.summary.startswith("### ❌ Failed: Coval evaluation\n")
    assert len(result.annotations("error")) == 1


def test_a_mistake_in_the_workflow(step: Step, sandbox: Sandbox) -> None:
    """An error launches nothing and still leaves outputs and a summary."""
    result = step.run(agent_id="")
    assert result.exit_code == 1
    assert result.outputs["verdict"] == "error"
    assert result.outputs["status"] == "ERROR"
    assert "agent_id" in result.outputs["reason"]
    assert result.outputs["reason"] in result.annotations("error")[0].data
    assert result.summary.startswith("### ⚠️ Error: Coval evaluation\n")
    assert sandbox.runs == []


def test_the_key_is_masked_first_and_stays_out_of_log_and_files(step: Step) -> None:
    result = step.run(test_set_id="someFail")
    mask, *rest = result.log.splitlines()
    assert mask == f"::add-mask::{KEY}"
    assert [line for line in rest if KEY in line] == []
    assert leaks(step.directory) == []


def test_the_key_is_on_no_command_line(step: Step) -> None:
    """Neither the container's command nor any process in it shows the key, which others on the machine could read."""
    with step.running(test_set_id="stuck001") as process:
        step.wait_for_launch(process)
        container = inspect(step.name)
        processes = docker("top", step.name)
    assert "/app/entrypoint.py" in processes
    assert KEY not in processes
    assert KEY not in str(process.args)
    shown = [container["Path"], container["Args"], container["Config"]["Cmd"], container["Config"]["Entrypoint"]]
    assert KEY not in str(shown)
    assert f"INPUT_API_KEY={KEY}" in container["Config"]["Env"]  # or it would have been easy


def test_an_interrupted_step_says_so(step: Step, sandbox: Sandbox) -> None:
    """GitHub's runner cancels with SIGINT, which the first process of a container gets only if it asks for it."""
    with step.running(test_set_id="stuck001") as process:
        log = step.wait_for_launch(process)
        docker("kill", "--signal", "INT", step.name)
        rest, _ = process.communicate(timeout=6)
        result = step.result(process, log + rest)
    assert result.exit_code == 1
    assert result.outputs["verdict"] == "cancelled"
    assert result.outputs["run_id"] == sandbox.run["run_id"]
    assert result.summary.startswith("### 🚫 Cancelled: Coval evaluation\n")


def test_the_workspace_and_the_environment_change_nothing(step: Step, sandbox: Sandbox) -> None:
    """As in the workflow, with the directories of GitHub's runner."""
    lay(step, TRAPS)
    result = step.run(env=HOSTILE)
    assert SPRUNG not in result.log
    assert result.exit_code == 0, result.log
    assert result.outputs["verdict"] == "passed"
    assert result.outputs["run_id"] == sandbox.run["run_id"]
    assert re.search(r"COMPLETED +█+  10/10 done", result.log), "the log is not UTF-8"


@pytest.mark.parametrize("module", MODULES)
def test_without_isolation_they_would(step: Step, module: str) -> None:
    """The counter-check: each of these files takes over a Python that lacks -I, so the traps are real."""
    package = {"src/coval_gate/__init__.py": ""} if module.startswith("coval_gate/") else {}
    lay(step, package | {f"src/{module}.py": TRAP})
    result = step.run(env={"PYTHONPATH": "src"}, entrypoint=[PYTHON, "-u", "-B", "/app/entrypoint.py"])
    assert f"{SPRUNG}: {module.replace('/', '.')}" in result.log
    assert result.outputs.get("verdict") != "passed"


def lay(step: Step, files: Mapping[str, str]) -> None:
    """Put files into the step's workspace."""
    for name, text in files.items():
        (step.directory / "workspace" / name).parent.mkdir(parents=True, exist_ok=True)
        (step.directory / "workspace" / name).write_text(text, encoding="utf-8")
