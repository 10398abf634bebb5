"""Legs in slices of their test cases: each launched once, the next one only while the answer is open."""

import json
from dataclasses import replace

from coval_sandbox.scenarios import BY_NAME
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.nights import RunStep
from support import StepResult, VirtualClock

UNTIL_CLEAR = {"spend": "until clear", "confidence": "95%", "thresholds": "Resolved: rate(YES) >= 80%"}


def world_of(clock: VirtualClock, scenario: str = "passing", cases: int = 100) -> World:
    world = World(clock.time)
    world.scenario = replace(BY_NAME[scenario], test_cases=cases, queue=1.0, conversation=(0.1, 0.2))
    return world


def test_x(run_step: RunStep, clock: VirtualClock) -> None:
    result, server = run_step(world=world_of(clock), **UNTIL_CLEAR)
    print(result.log)
    print(result.outputs)
    assert 0
