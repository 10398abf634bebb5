"""Simulates many schedules in a pool of processes, checks the invariants, and counts the outcomes."""

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from inspect import isgeneratorfunction
from typing import Final, NamedTuple

from campaign import report_invariants, reruns, run_invariants, slices, tag_invariants, verdict_invariants
from campaign.generate import generate
from campaign.simulate import History, ProcessResult, simulate

CHUNK_SIZE: Final = 25  # schedules per task
LOG_LINES: Final = 25  # lines of each log that are shown


# The promises: each public function of these modules that yields, yields the violations of one. They know nothing of
# the implementation: they check the requests that Coval received, its runs, and the files written.
INVARIANTS: Final[dict[str, Callable[[History], Iterator[str]]]] = {
    name: check
    for module in (run_invariants, verdict_invariants, tag_invariants, report_invariants, reruns, slices)
    for name, check in vars(module).items()
    if isgeneratorfunction(check) and check.__module__ == module.__name__ and not name.startswith("_")
}


def violations(history: History) -> list[str]:
    """Return all violations of a schedule."""
    return [f"{name}: {problem}" for name, check in INVARIANTS.items() for problem in check(history)]


class Outcome(NamedTuple):
    """The outcome of one schedule; `description` explains it in full if an invariant was violated."""

    seed: int
    violations: list[str]
    description: str
    counts: Counter[str]  # of what happened, by its name


@dataclass
class Tally:
    """Counts over many schedules."""

    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)

    def __str__(self) -> str:
        broken = sum(len(failure.violations) for failure in self.failures)
        counts = ", ".join(f"{count:,} {name}" for name, count in self.counts.most_common())
        return f"campaign: {broken} violations in {self.seconds:.0f} s: {counts}"


def run_campaign(seeds: Sequence[int], *, jobs: int = 0, stop: bool = False) -> Tally:
    """Check the schedules of `seeds` on `jobs` cores (0: all); with `stop`, only until the first violation."""
    tally, began = Tally(), time.monotonic()
    for outcome in _outcomes(seeds, jobs or os.cpu_count() or 1):
        tally.counts += outcome.counts
        tally.failures += [outcome] if outcome.violations else []
        if stop and outcome.violations:
            break
    tally.seconds = time.monotonic() - began
    return tally


def _outcomes(seeds: Sequence[int], jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from (check_seed(seed) for seed in seeds)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(check_seed, seeds, chunksize=CHUNK_SIZE)


def check_seed(seed: int) -> Outcome:
    """Simulate the schedule of a seed, and check its invariants."""
    history = simulate(generate(seed))
    broken, mains = violations(history), [result for result in history.results if not result.is_post]
    counts = Counter([history.schedule.dimension, "schedules", *map(_ending, mains)])
    counts["faults"] = history.fault_count
    counts["interrupts and kills"] = sum(
        result.interrupted is not None or result.killed is not None for result in history.results
    )
    counts["repeated"] = sum(len(main.run_ids) > 1 for main in mains if main.step.repetitions)
    counts["in slices"] = sum(len(main.run_ids) > 1 for main in mains if slices.is_sliced(main.step))
    return Outcome(seed, broken, describe(history) if broken else "", counts)


def describe(history: History) -> str:
    """Describe everything that happened in a schedule."""
    return "\n".join(
        [
            str(history.schedule),
            *(f"  VIOLATION {violation}" for violation in violations(history)),
            *(line for result in history.results for line in _describe_process(result)),
            f"  replay: .venv/bin/python tests/campaign --seed {history.schedule.seed}",
        ]
    )


def _describe_process(result: ProcessResult) -> Iterator[str]:
    part = "post step of step" if result.is_post else "step"
    yield f"  {part} {result.number}, from {result.began:.2f} s to {result.ended:.2f} s: {_ending(result)}"
    if result.interrupted is not None:
        yield f"    interrupted at {result.interrupted:.2f} s"
    if result.killed is not None:
        yield f"    killed at {result.killed:.2f} s"
    yield from (f"    {request}" for request in result.requests)
    lines = result.log.splitlines()
    yield from (f"    | {line}" for line in (["…"] if len(lines) > LOG_LINES else []) + lines[-LOG_LINES:])
    yield from (f"    ! {line}" for line in result.crash.splitlines()[-LOG_LINES:])


def _ending(result: ProcessResult) -> str:
    return "killed" if result.killed is not None else result.verdict or f"exit {result.exit_code}"
