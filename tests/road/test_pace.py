"""A step with many legs sends Coval few requests: a look-up once, and polls at a bearable pace from the start."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from coval_sandbox.http import SeenRequest
from coval_sandbox.scenarios import BY_NAME
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.nights import RunStep
from support import VirtualClock

LEGS = 20
FEW = 3
MOST = 60  # reads in any minute
CONVERSATIONS = 10
MINUTES = (10, 20)  # that a run takes
PERSONAS = [f"persona{number:015}" for number in range(LEGS)]


class LongRuns(World):
    """A Coval whose runs take MINUTES."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._lengths = random.Random(0)

    def launch(self, body: object) -> dict[str, Any]:
        """Launch a run."""
        each = 60 * self._lengths.uniform(*MINUTES) / CONVERSATIONS
        passing = BY_NAME["passing"]
        self.scenario = replace(passing, test_cases=CONVERSATIONS, conversation=(0.7 * each, 1.3 * each))
        return super().launch(body)


def reads_of(server: Server) -> list[SeenRequest]:
    return [request for request in server.requests_seen if request.method == "GET"]


def most_in_a_minute(requests: Sequence[SeenRequest]) -> int:
    times = [request.at for request in requests]
    return max(sum(begin <= at < begin + 60 for at in times) for begin in times)


def kinds_of(requests: Sequence[SeenRequest]) -> Counter[str]:
    """Return how many requests there were by the first part of their path."""
    return Counter(request.path.removeprefix("/v1/").partition("/")[0] for request in requests)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["run", "wait"])
def test_twenty_legs_keep_to_the_pace(mode: str, run_step: RunStep, clock: VirtualClock) -> None:
    world = LongRuns(clock.time)
    inputs = {"persona_id": ", ".join(PERSONAS)}
    if mode == "wait":
        launched, _ = run_step(world=world, mode="launch", **inputs)
        inputs |= {"run_id": launched.outputs["run_ids"]}
    result, server = run_step(world=world, mode=mode, thresholds="Latency: avg < 1.5", **inputs)
    assert result.outputs["total_simulations"] == str(LEGS * CONVERSATIONS), result.log
    assert most_in_a_minute(reads_of(server)) <= MOST
    assert sum(request.method != "GET" for request in server.requests_seen) == (LEGS if mode == "run" else 0)


def test_legs_share_look_ups_and_what_later_comparisons_need(run_step: RunStep) -> None:
    few = {"persona_id": ", ".join(PERSONAS[:FEW])}
    _, server = run_step(thresholds="Latency: avg < 1.5", baseline="branch:main", **few)
    kinds = kinds_of(reads_of(server))
    del kinds["runs"]
    shared = {"agents": 1, "metrics": 1, "test-sets": 1, "test-cases": 1}
    assert kinds == shared | {"personas": FEW, "conversations": FEW}
    result, server = run_step("GET /metrics -> 403", thresholds="Latency: avg < 9", **few)
    assert sum("Could not check before the launch" in line for line in result.log.splitlines()) == FEW
    assert kinds_of([request for request in reads_of(server) if request.path == "/v1/metrics"]) == {"metrics": 1}
    assert result.outputs["verdict"] == "passed"


def test_legs_share_a_mistake_and_each_reports_it(run_step: RunStep) -> None:
    result, server = run_step(persona_id=", ".join(PERSONAS[:FEW]), thresholds="Latncy: avg < 2")
    assert sum("did you mean Latency?" in line for line in result.log.splitlines() if line.startswith("[")) == FEW
    assert not server.world.runs
    paths = Counter(request.path for request in reads_of(server))
    assert max(paths.values()) <= 2, "the first time only for the agent's type"
