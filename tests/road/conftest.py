"""The fixtures that run steps against the sandbox, on a virtual clock."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from coval_gate.report.formats.outputs import OUTPUTS
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST
from coval_sandbox.server import Server
from coval_sandbox.world import World
from fake_github import TOKEN, FakeGitHub, pull_request_on_github
from road.nights import RunStep
from road.steps import ALL_REPORTS, OTHERS, STEPS
from support import KEY, StepResult, VirtualClock, run_main_step


@pytest.fixture
def run_step(tmp_path: Path, clock: VirtualClock) -> RunStep:
    """Run the main step, check what must hold after every step, and return its result and the server.

    `bare`: skip the checks.
    """
    return step_runner(tmp_path, clock)


@pytest.fixture(scope="session")
def reported_step(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[StepResult, FakeGitHub]]:
    """Return the result of a step of STEPS or OTHERS with all reports turned on, and the GitHub that shows them.

    It is for tests that only read them: each step runs once.
    """

    @cache
    def reported(name: str) -> tuple[StepResult, FakeGitHub]:
        clock, inputs = VirtualClock(), {"github_token": TOKEN} | ALL_REPORTS | (STEPS | OTHERS)[name]
        with pull_request_on_github(clock) as github:
            inputs["env"] = {"GITHUB_API_URL": github.url} | inputs.get("env", {})
            result, _ = step_runner(tmp_path_factory.mktemp(name), clock)(**inputs)
        return result, github

    return reported


def step_runner(directory: Path, clock: VirtualClock) -> RunStep:
    """Return the function that runs steps in a directory; see `run_step`."""

    def run(
        *faults: str,
        quirks: Quirks | None = None,
        event: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
        prepare: Callable[[World], dict[str, str]] | None = None,
        world: World | None = None,
        bare: bool = False,
        **inputs: str,
    ) -> tuple[StepResult, Server]:
        world = world or World(clock.time, quirks=quirks or Quirks())
        with Server(world, faults=faults) as server:
            inputs = {"api_base_url": server.url} | inputs | (prepare(world) if prepare else {})
            result = run_main_step(
                directory, clock=clock, event=event or PULL_REQUEST, env=env, url=inputs.pop("api_base_url"), **inputs
            )
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
