"""Legs: the runs of a step, their entries in its outputs, and the post step that ends what is left of them."""

import io
import json
from pathlib import Path
from typing import Any

from coval_gate.base.runtime import Runtime
from coval_gate.step.post import post
from coval_sandbox.runner import PULL_REQUEST
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import DEFAULTS, IDS, KEY, StepResult, VirtualClock

RERUN = {"GITHUB_RUN_ATTEMPT": "2"}
NEWER = {"GITHUB_RUN_ID": "2000000000"}
PERSONAS = f"{IDS['persona_id']}, persona000000000000002"
SETS = "passing1, failing1"
THRESHOLDS = "Latency: avg < 1.5\nResolved: rate(YES) >= 90%"


def legs_of(result: StepResult) -> dict[str, dict[str, Any]]:
    """Return the entries of the output `legs` by their names."""
    return {leg["name"]: leg for leg in json.loads(result.outputs["legs"])}


def verdicts_of(result: StepResult) -> dict[str, str]:
    """Return the verdict of each leg."""
    return {name: leg["verdict"] for name, leg in legs_of(result).items()}


def file_of_legs(directory: Path, legs: dict[str, dict[str, Any]]) -> str:
    """Write the configuration file of a step with these legs. Return its path in the workspace."""
    (directory / "workspace").mkdir(exist_ok=True)
    (directory / "workspace" / "legs.json").write_text(json.dumps({"legs": legs}), encoding="utf-8")
    return "legs.json"


def run_statuses(world: World) -> list[str]:
    """Return the status of every run ever launched."""
    return [record.status(world.clock()) for record in world.runs]


def launch_count(server: Server) -> int:
    return sum(request.method == "POST" for request in server.requests_seen)


def run_post_step(result: StepResult, world: World, *faults: str, **env: str) -> str:
    """Run the post step after a main step, and return its log."""
    with Server(world, faults=faults) as server:
        inputs = DEFAULTS | IDS | {"api_key": KEY, "api_base_url": server.url}
        environ = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "acme/voice-agent",
            "GITHUB_SHA": PULL_REQUEST["pull_request"]["head"]["sha"],
            **{f"INPUT_{name.upper()}": value for name, value in inputs.items()},
            **{f"STATE_{name}": value for name, value in result.state.items()},
        }
        log = io.StringIO()
        clock = VirtualClock()
        assert post(Runtime(environ=environ | env, stdout=log, clock=clock)) == 0
        assert clock.now() <= 95
    assert KEY not in log.getvalue().replace(f"::add-mask::{KEY}", "")
    return log.getvalue()
