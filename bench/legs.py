"""Measures a step with many legs: billed minutes, requests, CPU and memory, and how fast it ends after a signal.

A hundred runs take 10 to 20 minutes each, on a virtual clock. They run in one step and, as a yardstick, in the jobs of
a matrix. GitHub bills each job's minutes, rounded up. CPU and memory include those of the sandbox, which runs in
the same process. Twenty legs are interrupted in real time, while each call takes 0.2 s.
"""

import io
import math
import random
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from bench.figures import DEFAULTS, ROOT, Figure
from coval_gate.base.clock import SystemClock
from coval_gate.base.runtime import Runtime
from coval_gate.step.main import main
from coval_sandbox.deterministic import SpeedClock
from coval_sandbox.runner import PULL_REQUEST, LocalRunner
from coval_sandbox.scenarios import BY_NAME
from coval_sandbox.server import Server
from coval_sandbox.world import DEFAULT_KEY, World

sys.path.append(str(ROOT / "tests"))

from support import VirtualClock

LEGS, FEW = 100, 20
SHORTEST, LONGEST = 10 * 60.0, 20 * 60.0  # s of a run
CASES = 20  # of a run, one after another
ANSWER = 0.2  # s of each call, where legs are interrupted
IDS = {"agent_id": "agent00000000000000001", "test_set_id": "passing1"}
MOST_CPU, MOST_MB = 10.0, 200.0  # s, MB
MOST_PER_MINUTE = 60.0  # requests of twenty legs
MOST_TO_END = 6.0  # s after a signal


class LongRuns(World):
    """A Coval whose runs take between SHORTEST and LONGEST."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._random = random.Random(0)  # noqa: S311 - no secret

    def launch(self, body: object) -> dict[str, Any]:
        """Launch a run."""
        each = self._random.uniform(SHORTEST, LONGEST) / CASES
        self.scenario = replace(BY_NAME["passing"], test_cases=CASES, conversation=(0.7 * each, 1.3 * each))
        return super().launch(body)


class Cost(NamedTuple):
    """The cost of a step: s of its time and of CPU, requests, and the most reads in any minute."""

    seconds: float
    cpu: float
    requests: int
    most_reads: int


def step(world: World, clock: Any, personas: range, *faults: str) -> Cost:
    """Run a step with a leg for each persona."""
    with tempfile.TemporaryDirectory() as directory, Server(world, faults=faults) as server:
        runner = LocalRunner(Path(directory), PULL_REQUEST)
        given = {"api_key": DEFAULT_KEY, "api_base_url": server.url, "thresholds": "Latency: avg < 1.5", **IDS}
        given["persona_id"] = ", ".join(f"persona{number:015}" for number in personas)
        began, cpu = clock.now(), time.process_time()
        main(Runtime(environ=runner.environ(DEFAULTS | given), stdout=io.StringIO(), clock=clock))
        used = time.process_time() - cpu
        times = [request.at for request in server.requests_seen if request.method == "GET"]
        most = max(sum(begin <= at < begin + 60 for at in times) for begin in times)
        return Cost(clock.now() - began, used, len(server.requests_seen), most)


def steps(*personas: range) -> list[Cost]:
    """Run steps one after another on a virtual clock."""
    clock = VirtualClock()
    world = LongRuns(clock.time)
    return [step(world, clock, some) for some in personas]


def interrupted(legs: int) -> float:
    """Return how many seconds a step with so many legs takes to end after a signal, where each call takes ANSWER."""
    clock = SystemClock()
    world = World(SpeedClock(1.0), scenario="slow")
    signalled: list[float] = []

    def signal() -> None:
        while len(world.unfinished) < legs:
            time.sleep(0.05)
        time.sleep(1.0)
        signalled.append(time.monotonic())
        clock._note()  # noqa: SLF001 - what the handler of the signal calls

    threading.Thread(target=signal, daemon=True).start()
    step(world, clock, range(legs), f"* * -> slow {ANSWER}")
    ended = time.monotonic() - signalled[0]
    if world.unfinished:
        raise AssertionError(f"{len(world.unfinished)} runs are not cancelled")
    return ended


def measure() -> list[Figure]:
    """Return the figures."""
    (whole,) = steps(range(LEGS))
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (few,) = steps(range(FEW))
    jobs = steps(*(range(number, number + 1) for number in range(LEGS)))
    billed = sum(math.ceil(job.seconds / 60) for job in jobs)
    tens = sum(math.ceil(max(job.seconds for job in jobs[place : place + 10]) / 60) for place in range(0, LEGS, 10))
    minutes, rate = math.ceil(whole.seconds / 60), 60 * few.requests / few.seconds
    matrix_rate = 60 * sum(job.requests for job in jobs) / max(job.seconds for job in jobs)
    rate_of_all = 60 * whole.requests / whole.seconds
    return [
        Figure(f"minutes billed for {LEGS} runs, beside a matrix", minutes, "min", ("a matrix", billed), billed),
        Figure(f"minutes billed for {LEGS} runs, beside tens", minutes, "min", ("ten at a time", tens), tens),
        Figure(f"requests a minute of {FEW} legs", rate, most=MOST_PER_MINUTE),
        Figure(f"most reads in a minute of {FEW} legs", few.most_reads, most=MOST_PER_MINUTE),
        Figure(f"requests a minute of {LEGS} legs", rate_of_all, yardstick=("a matrix", matrix_rate)),
        Figure(f"CPU of {LEGS} legs", whole.cpu, "s", most=MOST_CPU),
        Figure(f"memory of {LEGS} legs", megabytes, "MB", most=MOST_MB),
        Figure(f"end of {FEW} legs after a signal", interrupted(FEW), "s", most=MOST_TO_END),
    ]
