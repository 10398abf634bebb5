"""The fixtures that run steps against the sandbox, on a virtual clock."""

from pathlib import Path
from typing import Any

import pytest

from coval_gate.report.formats.outputs import OUTPUTS
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.nights import RunStep
from support import KEY, StepResult, VirtualClock, run_main_step


@pytest.fixture
def run_step(tmp_path: Path, clock: VirtualClock) -> RunStep:
    """Run the main step, check what is true after every step, and return its result and the server.

    `bare`: skip the checks.
    """

    def run(
        *faults: str,
        quirks: Quirks | None = None,
        event: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
        world: World | None = None,
        bare: bool = False,
        **inputs: str,
    ) -> tuple[StepResult, Server]:
        world = world or World(clock.time, quirks=quirks or Quirks())
        with Server(world, faults=faults) as server:
            result = run_main_step(tmp_path, server.url, clock, event=event or PULL_REQUEST, env=env, **inputs)
        if bare:
            return result, server
        assert list(result.outputs) == list(OUTPUTS), "a step must write all outputs"
        green = result.outputs["verdict"] in ("passed", "skipped", "")
        policy = inputs.get("on_inconclusive") or ("pass" if "base" in inputs.get("thresholds", "") else "fail")
        green |= result.outputs["verdict"] == "inconclusive" and policy == "pass"
        assert result.exit_code == (0 if green else 1)
        assert len(result.annotations("error")) == (0 if green else 1), "a failing step must write one ::error"
        assert result.summary.startswith("### ")
        written = "\n".join(line for line in result.log.splitlines() if not line.startswith("::add-mask::"))
        assert KEY not in f"{written}{result.outputs}{result.state}{result.summary}"
        return result, server

    return run
