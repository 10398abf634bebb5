"""The fixture that runs one step against the sandbox, on a virtual clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from coval_gate.report.formats.outputs import OUTPUTS
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import KEY, StepResult, VirtualClock, run_main_step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def run_step(tmp_path: Path, clock: VirtualClock) -> Callable[..., tuple[StepResult, Server]]:
    """Run the main step, check what must hold after every step, and return its result and the server.

    `silent`: the step writes neither summary nor annotations; `bare`: skip the checks.
    """

    def run(
        *faults: str,
        quirks: Quirks | None = None,
        event: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
        prepare: Callable[[World], dict[str, str]] | None = None,
        world: World | None = None,
        silent: bool = False,
        bare: bool = False,
        **inputs: str,
    ) -> tuple[StepResult, Server]:
        world = world or World(clock.time, quirks=quirks or Quirks())
        with Server(world, faults=faults) as server:
            inputs = {"api_base_url": server.url} | inputs | (prepare(world) if prepare else {})
            result = run_main_step(
                tmp_path, clock=clock, event=event or PULL_REQUEST, env=env, url=inputs.pop("api_base_url"), **inputs
            )
        if bare:
            return result, server
        assert list(result.outputs) == list(OUTPUTS), "a step must write all outputs"
        green = result.outputs["verdict"] in ("passed", "skipped", "")
        policy = inputs.get("on_inconclusive") or ("pass" if "baseline" in inputs.get("thresholds", "") else "fail")
        green |= result.outputs["verdict"] == "inconclusive" and policy == "pass"
        assert result.exit_code == (0 if green else 1)
        assert len(result.annotations("error")) == (0 if green or silent else 1), (
            "a failing step must write one ::error"
        )
        assert result.summary.startswith("" if silent else "### ")
        written = "\n".join(line for line in result.log.splitlines() if not line.startswith("::add-mask::"))
        assert KEY not in f"{written}{result.outputs}{result.state}{result.summary}"
        return result, server

    return run
