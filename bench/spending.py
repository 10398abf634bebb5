"""Measures what `spend: until clear` costs beside one run: conversations and minutes, by the agent's true rate.

Steps with `rate(YES) >= 90%` of at most 200 test cases run against the sandbox, on a virtual clock: ten calls at a
time, of one to three minutes each, after a minute in the queue. For each rate, STEPS steps have different seeds. Their
mean number of conversations must agree with the exact one, which plans show.
"""

import io
import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import Final, NamedTuple

from bench.figures import DEFAULTS, ROOT, Figure
from coval_gate.base.runtime import Runtime
from coval_gate.features.spending.sequential import TRUTHS, Boundaries, slices_of
from coval_gate.step.main import main
from coval_sandbox import catalogue
from coval_sandbox.runner import LocalRunner
from coval_sandbox.scenarios import BY_NAME, GOOD, Choices
from coval_sandbox.server import Server
from coval_sandbox.world import DEFAULT_KEY, World

sys.path.append(str(ROOT / "tests"))

from support import VirtualClock

CAP: Final = 200
AT_ONCE: Final = 10
STEPS: Final = 16
MOST_OFF: Final = 3.0  # standard errors of the mean
INPUTS: Final = {
    "agent_id": "agent00000000000000001",
    "persona_id": "persona000000000000001",
    "test_set_id": "passing1",
    "thresholds": "Resolved: rate(YES) >= 90%",
    "confidence": "95%",
    "concurrency": str(AT_ONCE),
    "max_wait_time": str(24 * 3600),
}


class Independent(Choices):
    """Values that do not depend on the test case."""

    def at(self, _luck: float, random: Random) -> str:
        """Return a value."""
        return super().at(random.gauss(), random)


class Cost(NamedTuple):
    """Conversations of a step, and its minutes."""

    conversations: int
    minutes: float


def step(truth: float, seed: int, **inputs: str) -> Cost:
    """Run a step whose agent has this true rate."""
    clock = VirtualClock()
    world = World(clock.time, seed=seed)
    world.scenario = replace(
        BY_NAME["passing"],
        test_cases=CAP,
        queue=60.0,
        conversation=(60.0, 180.0),
        values={**GOOD, catalogue.RESOLVED.id: Independent((("YES", truth), ("NO", 1.0 - truth)))},
    )
    with tempfile.TemporaryDirectory() as directory, Server(world) as server:
        runner = LocalRunner(Path(directory))
        given = {"api_key": DEFAULT_KEY, "api_base_url": server.url, **INPUTS, **inputs}
        main(Runtime(environ=runner.environ(DEFAULTS | given), stdout=io.StringIO(), clock=clock))
        return Cost(int(runner.outputs["total_simulations"]), clock.now() / 60.0)


def measure() -> list[Figure]:
    """Return the figures."""
    figures = []
    boundaries = Boundaries.of(0.9, slices_of(CAP), 0.05)
    for truth in TRUTHS:
        whole = step(truth, 0)
        sliced = [step(truth, seed, spend="until clear") for seed in range(STEPS)]
        calls, exact = [cost.conversations for cost in sliced], boundaries.ends(truth).conversations
        error = stdev(calls) / math.sqrt(STEPS) + 1.0
        name, at = "spend: until clear", f"at a true rate of {truth:.0%}"
        figures += [
            Figure(f"{name}, conversations {at}", mean(calls), "", ("one run", whole.conversations)),
            Figure(f"  off the exact mean ({exact:.0f})", abs(mean(calls) - exact), most=MOST_OFF * error),
            Figure(f"  minutes {at}", mean(cost.minutes for cost in sliced), "min", ("one run", whole.minutes)),
        ]
    return figures
