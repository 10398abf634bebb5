"""The steps of live.yml against the sandbox, on a virtual clock. tests/e2e runs the workflow itself."""

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from coval_gate.report.formats.outputs import OUTPUTS
from coval_sandbox.catalogue import AGENT_ID, PERSONA_ID
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import VirtualClock, run_main_step

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "live.yml"
ENV = {"AGENT": AGENT_ID, "PERSONA": PERSONA_ID, "TEST_SET": "passing1", "TAG": "coval-gate-live-1-1"}


def test_each_step_ends_as_the_workflow_asserts(
    clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    selftest = import_module("selftest")
    job = YAML(typ="safe").load(WORKFLOW)["jobs"]["live"]
    done: dict[str, Any] = {}
    world = World(clock.time, strict=True)
    with Server(world) as server:
        for step in (step for step in job["steps"] if step.get("uses") == "./"):
            inputs = {name: resolved(str(text), done) for name, text in step["with"].items() if name != "api_key"}
            (directory := tmp_path / step["id"]).mkdir()
            ids = {"agent_id": "", "persona_id": "", "test_set_id": ""}
            result = run_main_step(directory, server.url, clock, **ids | inputs | {"api_base_url": server.url})
            outcome = "failure" if result.exit_code else "success"
            done[step["id"]] = {"outcome": outcome, "outputs": dict.fromkeys(OUTPUTS, "") | result.outputs}
    assert selftest.wrong_steps(selftest.LIVE, done) == []
    assert sum(len(run.plan.simulations) for run in world.runs) <= 14  # and four of doctor --launch
    assert not world.unfinished
    monkeypatch.setenv("STEPS", json.dumps(done | {"pass": done["fail"]}))
    monkeypatch.setattr("sys.argv", ["selftest.py", "--live"])
    assert selftest.main() == 1


def resolved(text: str, done: dict[str, Any]) -> str:
    """Return the text with the values of its expressions."""

    def value(found: re.Match[str]) -> str:
        match found[1].split("."):
            case "env", name:
                return ENV[name]
            case "steps", step, "outputs", name:
                return str(done[step]["outputs"][name])
        return ""

    return re.sub(r"\$\{\{ (\S+) \}\}", value, text)
