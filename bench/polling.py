"""Measures the detection delay at the end of a run, and the number of requests, on a virtual clock.

The mix of runs, from one seeded generator:
- length from launch to end: log-uniform over 30 s to 60 min; queued share: uniform over 5 to 40 %;
- concurrency: uniform over 1 to 10;
- conversations: lognormal with a median log-uniform over 20 s to 5 min (at most the running time) and a sigma uniform
  over 0.3 to 0.8; as many as fill the time at that concurrency, 1 to 500, started in order as slots become free;
- finally, all lengths are scaled so that the last conversation ends with the run.

Short runs have their own mix:
- length: log-uniform over 3 s to 60 s; queue: uniform over 0 s to 10 s, at most half of the length;
- conversations: uniform over 1 to 20, at a concurrency uniform over 1 to 20, lognormal with a sigma uniform over 0.3 to
  0.8; in every tenth run, one hangs on after all others;
- in half of the runs, the last conversation ends up to a fifth of the length before the run;
- a quarter of the runs report no progress.

A poll returns the exact counts at its time; its response takes 0.2 s. The first poll is at the launch, the last one is
the first after the run's end. All requests are counted.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
import sys
from bisect import bisect_right
from dataclasses import dataclass, replace
from pathlib import Path

from coval_gate.step.watch import Observation, next_pause

if not __package__:  # started as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.figures import Figure, table

ANSWER = 0.2  # s; the API's response time
COMMON_INTERVAL = 30.0  # s
MOST_REQUESTS = 3.0  # times the requests with the common interval
MOST_DELAY = 3.0  # s, mean, and
MOST_SHARE = 2 / 3  # of the delay with a fixed interval and the same number of requests
SHORT_INTERVAL = 15.0  # s
MOST_EXTRA = 15.0  # requests of a short run, beyond those with that interval
MOST_SHORT_DELAY = 3.0  # s, mean, and
MOST_RELATIVE = 20.0  # % of the run's length, mean


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """A run. All times are in seconds after its launch."""

    queued_until: float
    end: float
    ends: tuple[float, ...]  # of the conversations, ascending
    silent: bool = False  # whether Coval reports no progress

    def seen(self, at: float) -> Observation:
        """Return the observation of a poll at this time."""
        if self.silent:
            return Observation(at, running=at >= self.queued_until)
        if at < self.queued_until:
            return Observation(at, running=False, done=0, total=len(self.ends))
        return Observation(at, True, bisect_right(self.ends, at), len(self.ends))


@dataclass(frozen=True, slots=True)
class Watched:
    """The cost and delay of watching one run."""

    requests: int
    delay: float  # s, from the run's end to its detection


def schedule(queued_until: float, lengths: list[float], concurrency: int, running: float) -> SimulatedRun:
    """Start the conversations in order in `concurrency` slots, scaled so that all end within `running` seconds."""
    free = [0.0] * concurrency
    ends = []
    for length in lengths:
        start = heapq.heappop(free)
        heapq.heappush(free, start + length)
        ends.append(start + length)
    scale = running / max(ends)
    placed = sorted(queued_until + scale * moment for moment in ends)
    return SimulatedRun(queued_until, placed[-1], tuple(placed))


def draw(rng: random.Random) -> SimulatedRun:
    """Generate a run of the mix."""
    length = math.exp(rng.uniform(math.log(30), math.log(3600)))
    queued = length * rng.uniform(0.05, 0.4)
    running = length - queued
    concurrency = rng.randint(1, 10)
    median = min(math.exp(rng.uniform(math.log(20), math.log(300))), running)
    sigma = rng.uniform(0.3, 0.8)
    mean = median * math.exp(sigma**2 / 2)
    count = min(max(round(running * concurrency / mean), 1), 500)
    return schedule(queued, [rng.lognormvariate(math.log(median), sigma) for _ in range(count)], concurrency, running)


def draw_short(rng: random.Random, length: float) -> SimulatedRun:
    """Generate a short run of this length in seconds."""
    queued = rng.uniform(0, min(10, length / 2))
    finishing = rng.choice((0, length * rng.uniform(0, 0.2)))
    sigma = rng.uniform(0.3, 0.8)
    lengths = [rng.lognormvariate(0, sigma) for _ in range(rng.randint(1, 20))]
    if rng.random() < 0.1:
        lengths[-1] += sum(lengths)
    run = schedule(queued, lengths, rng.randint(1, 20), length - queued - finishing)
    return replace(run, end=length, silent=rng.random() < 0.25)


def watch(run: SimulatedRun) -> Watched:
    """Watch a run from its launch with the action's pauses."""
    history = [Observation(0.0, running=False)]
    poll, requests = 0.0, 1
    while poll < run.end:
        history.append(run.seen(poll))
        poll += ANSWER + next_pause(history)
        requests += 1
    return Watched(requests, poll + ANSWER - run.end)


def watch_fixed(run: SimulatedRun, interval: float) -> Watched:
    """Watch a run from its launch with a fixed pause, in seconds."""
    further = math.ceil(run.end / (ANSWER + interval))
    return Watched(1 + further, further * (ANSWER + interval) + ANSWER - run.end)


def equal_interval(runs: list[SimulatedRun], requests: int) -> float:
    """Return the shortest fixed interval, in seconds, with which `runs` need at most `requests` requests in total."""
    low, high = 0.1, 600.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        if sum(watch_fixed(run, middle).requests for run in runs) > requests:
            low = middle
        else:
            high = middle
    return high


def measure(runs: int = 500, seed: int = 0) -> list[Figure]:
    """Watch `runs` runs of the mix, with the action's pauses and with fixed pauses."""
    rng = random.Random(seed)  # noqa: S311 - a repeatable mix, not cryptography
    mix = [draw(rng) for _ in range(runs)]
    ours = [watch(run) for run in mix]
    requests = sum(watched.requests for watched in ours) / runs
    delays = sorted(watched.delay for watched in ours)
    mean_delay = sum(delays) / runs
    common_requests = sum(watch_fixed(run, COMMON_INTERVAL).requests for run in mix) / runs
    interval = equal_interval(mix, sum(watched.requests for watched in ours))
    equal_delay = sum(watch_fixed(run, interval).delay for run in mix) / runs
    most_requests = MOST_REQUESTS * common_requests
    most_delay = min(MOST_DELAY, MOST_SHARE * equal_delay)
    common, equal = f"fixed {COMMON_INTERVAL:.0f} s", f"fixed {interval:.1f} s, equal requests"
    return [
        Figure("polls per run", requests, "", common, common_requests, most_requests, requests <= most_requests),
        Figure("detection delay, mean", mean_delay, "s", equal, equal_delay, most_delay, mean_delay <= most_delay),
        Figure("detection delay, median", delays[runs // 2], "s", "", None, None, True),
        Figure("detection delay, 95 %", delays[runs * 95 // 100], "s", "", None, None, True),
    ]


def measure_short(runs: int = 1000, seed: int = 0, lengths: tuple[float, float] = (3, 60)) -> list[Figure]:
    """Watch `runs` short runs with lengths in this range, with the action's pauses and with a fixed pause."""
    rng = random.Random(seed)  # noqa: S311 - a repeatable mix, not cryptography
    shortest, longest = map(math.log, lengths)
    mix = [draw_short(rng, math.exp(rng.uniform(shortest, longest))) for _ in range(runs)]
    ours = [watch(run) for run in mix]
    fixed = [watch_fixed(run, SHORT_INTERVAL) for run in mix]
    requests = statistics.fmean(watched.requests for watched in ours)
    fixed_requests = statistics.fmean(watched.requests for watched in fixed)
    delay = statistics.fmean(watched.delay for watched in ours)
    fixed_delay = statistics.fmean(watched.delay for watched in fixed)
    relative, fixed_relative = (
        100 * statistics.fmean(watched.delay / run.end for watched, run in zip(watches, mix, strict=True))
        for watches in (ours, fixed)
    )
    most_requests = fixed_requests + MOST_EXTRA
    what, name = f"runs of {lengths[0]:g} to {lengths[1]:g} s", f"fixed {SHORT_INTERVAL:.0f} s"
    of_length = f"{what}: delay by length"
    return [
        Figure(f"{what}: polls", requests, "", name, fixed_requests, most_requests, requests <= most_requests),
        Figure(f"{what}: delay", delay, "s", name, fixed_delay, MOST_SHORT_DELAY, delay <= MOST_SHORT_DELAY),
        Figure(of_length, relative, "%", name, fixed_relative, MOST_RELATIVE, relative <= MOST_RELATIVE),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the delay and the requests of adaptive polling.")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    figures = [*measure(options.runs, options.seed), *measure_short()]
    print(table(figures))
    return 0 if all(figure.ok for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
