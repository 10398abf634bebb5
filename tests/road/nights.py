"""Nights: steps on main that follow one another in one world, each of which finds the runs before it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import PULL_REQUEST
from coval_sandbox.scenarios import BY_NAME, Scenario
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import StepResult, VirtualClock

RunStep = Callable[..., tuple[StepResult, Server]]

HOUR = 3600.0
DAY = 24 * HOUR
PUSH: dict[str, Any] = {"ref": "refs/heads/main"}
ON_MAIN = {"GITHUB_EVENT_NAME": "push", "GITHUB_HEAD_REF": "", "GITHUB_REF": "refs/heads/main"}
ON_PULL_REQUEST = {
    "GITHUB_EVENT_NAME": "pull_request",
    "GITHUB_HEAD_REF": "patch-1",
    "GITHUB_REF": "refs/pull/42/merge",
}


class Nights:
    """A world, and the steps of its nights. The agent of a night is a scenario; most need few polls."""

    def __init__(self, run_step: RunStep, clock: VirtualClock, **quirks: Any) -> None:
        self.world = World(clock.time, quirks=Quirks(**quirks))
        self.clock = clock
        self.server: Server
        self._run_step = run_step
        self._count = 0

    def night(
        self,
        scenario: str | Scenario,
        *faults: str,
        days: float = 1.0,
        pull_request: bool = False,
        env: dict[str, str] | None = None,
        **given: Any,
    ) -> StepResult:
        """Run the step of one night, in a workflow run of its own, and wait for so many days."""
        self._count += 1
        self.play(scenario)
        env = {"GITHUB_RUN_ID": str(1000 + self._count)} | (ON_PULL_REQUEST if pull_request else ON_MAIN) | (env or {})
        event = PULL_REQUEST if pull_request else PUSH
        given = {"world": self.world, "event": event, "env": env} | given
        result, self.server = self._run_step(*faults, **given)
        self.clock.sleep(days * DAY)
        return result

    def play(self, scenario: str | Scenario) -> None:
        """Give the runs that are launched from now on a scenario."""
        played = BY_NAME[scenario] if isinstance(scenario, str) else scenario
        self.world.scenario = played if scenario == "slow" else replace(played, queue=1.0, conversation=(0.1, 0.2))

    def launch(self, scenario: str = "passing", **given: Any) -> str:
        """Launch the run of one night. Return its id."""
        return self.night(scenario, mode="launch", **given).outputs["run_id"]

    def tag(self, run_id: str, tag: str) -> None:
        """Give a run a tag, as a step does."""
        (tags,) = (run.tags for run in self.world.runs if run.run_id == run_id)
        self.world.update_run(run_id, {"tags": [*tags, tag]})

    def tagged(self, tag: str) -> list[str]:
        return [run.run_id for run in self.world.runs if tag in run.tags]


def prolong(world: World, *, seconds: float, place: int = -1) -> None:
    """Prolong the last run, or another one."""
    record = world.runs[place]
    last = record.plan.simulations[-1]
    simulations = (*record.plan.simulations[:-1], replace(last, end=last.end + seconds))
    plan = replace(record.plan, simulations=simulations, end=record.plan.end + seconds)
    world._records[record.run_id] = replace(record, plan=plan)
