"""Measures the detection delay at the end of a run, and the number of requests, on a virtual clock.

The mix of runs, from one seeded generator: a length from launch to end log-uniform over 30 s to 60 min, 5 to 40 % of it
queued; conversations lognormal with a median log-uniform over 20 s to 5 min (at most the running time) and a sigma
uniform over 0.3 to 0.8, 1 to 10 at once; as many as fill the time, 1 to 500. Short runs take 3 s to 60 s, at most 10 s
of it queued, and have 1 to 20 conversations; in every tenth run, one hangs on after all others; in half of them, the
last conversation ends up to a fifth of the length before the run; a quarter report no progress.

A poll returns the exact counts at its time; its response takes 0.2 s. The first poll is at the launch, the last one is
the first after the run's end. All requests are counted.
"""

import heapq
import math
import random
import statistics
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import NamedTuple

from bench.figures import Figure
from coval_gate.step.watch import Observation, next_pause

USUAL, SHORT = 500, 1000  # runs
SHORT_LENGTHS = (3, 60)  # s
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


class Watched(NamedTuple):
    """The cost of watching one run, and the s from its end to its detection."""

    requests: int
    delay: float


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
    queued, concurrency = length * rng.uniform(0.05, 0.4), rng.randint(1, 10)
    running = length - queued
    median = min(math.exp(rng.uniform(math.log(20), math.log(300))), running)
    sigma = rng.uniform(0.3, 0.8)
    count = min(max(round(running * concurrency / (median * math.exp(sigma**2 / 2))), 1), 500)
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


def measure() -> list[Figure]:
    """Watch the runs of both mixes, with the action's pauses and with fixed pauses."""
    rng = random.Random(0)  # noqa: S311 - a repeatable mix, not cryptography
    mix = [draw(rng) for _ in range(USUAL)]
    ours = [watch(run) for run in mix]
    interval = equal_interval(mix, sum(watched.requests for watched in ours))
    requests, delay = means(ours)
    common_requests, _ = means([watch_fixed(run, COMMON_INTERVAL) for run in mix])
    _, equal_delay = means([watch_fixed(run, interval) for run in mix])
    rng = random.Random(0)  # noqa: S311
    short = [draw_short(rng, math.exp(rng.uniform(*map(math.log, SHORT_LENGTHS)))) for _ in range(SHORT)]
    watches = [watch(run) for run in short], [watch_fixed(run, SHORT_INTERVAL) for run in short]
    (short_requests, short_delay), (fixed_requests, fixed_delay) = map(means, watches)
    share, fixed_share = (
        100 * statistics.fmean(watched.delay / run.end for watched, run in zip(some, short, strict=True))
        for some in watches
    )
    common, equal = f"fixed {COMMON_INTERVAL:.0f} s", f"fixed {interval:.1f} s, as many requests"
    fixed, most_short = f"fixed {SHORT_INTERVAL:.0f} s", fixed_requests + MOST_EXTRA
    most_delay = min(MOST_DELAY, MOST_SHARE * equal_delay)
    return [
        Figure("requests per run", requests, "", (common, common_requests), MOST_REQUESTS * common_requests),
        Figure("detection delay, mean", delay, "s", (equal, equal_delay), most_delay),
        Figure("requests per run of 3 to 60 s", short_requests, "", (fixed, fixed_requests), most_short),
        Figure("detection delay of runs of 3 to 60 s", short_delay, "s", (fixed, fixed_delay), MOST_SHORT_DELAY),
        Figure("the same by the run's length", share, "%", (fixed, fixed_share), MOST_RELATIVE),
    ]


def means(watches: list[Watched]) -> tuple[float, float]:
    """Return the mean numbers of requests, and of seconds of delay."""
    return statistics.fmean(one.requests for one in watches), statistics.fmean(one.delay for one in watches)
