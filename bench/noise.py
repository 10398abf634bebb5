"""Measures how often verdicts with confidence are wrong, and how often they notice a regression.

Each row covers many combinations of sizes and agents (`bench/experiments.py`, `bench/steps.py`), and shows the worst
one. The agents are simulated (`bench/agents.py`), with fixed seeds. Fails if a row misses its limit.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from random import Random
from typing import Final, NamedTuple

from bench.comparisons import comparisons
from bench.decline import declines
from bench.experiments import Cell, Experiment, Limit, one_run, power, two_runs
from bench.steps import families, family_power, invariants, repetition

RUNS: Final = 2000  # of each cell


class Row(NamedTuple):
    """The worst and the mean share of an experiment's cells, in percent."""

    limit: Limit
    worst: float
    mean: float
    cells: int

    @property
    def ok(self) -> bool:
        """Whether the worst cell or, with `overall`, the mean keeps the limit."""
        if self.limit.percent is None:
            return True
        share = self.mean if self.limit.overall else self.worst
        return share >= self.limit.percent if self.limit.least else share <= self.limit.percent

    def __str__(self) -> str:
        sign = ">=" if self.limit.least else "<="
        of = " (mean)" if self.limit.overall else ""
        limit = (
            ""
            if self.limit.percent is None
            else f"{sign} {self.limit.percent:4.1f} %{of}   {'ok' if self.ok else 'NO'}"
        )
        return f"{self.limit.name:<92} {self.worst:6.2f} % {self.mean:6.2f} % {self.cells:5d}   {limit}".rstrip()


def experiments() -> Iterator[Experiment]:
    """Yield all experiments."""
    yield from families()
    yield from one_run()
    yield from two_runs()
    yield from power()
    yield family_power()
    yield from comparisons()
    yield from declines()
    yield from repetition()
    yield invariants()


def measure(runs: int = RUNS) -> Iterator[Row]:
    """Measure every row, with a process for each core."""
    planned = list(experiments())
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        started = [
            [
                pool.submit(percentages, cell, _calls(experiment, runs), f"{experiment.limits[0].name}/{number}")
                for number, cell in enumerate(experiment.cells)
            ]
            for experiment in planned
        ]
        for experiment, cells in zip(planned, started, strict=True):
            yield from rows(experiment, [future.result() for future in cells])


def _calls(experiment: Experiment, runs: int) -> int:
    return max(1, round(runs * experiment.times))


def percentages(cell: Cell, runs: int, seed: str) -> list[float]:
    """Return how often each outcome of a cell happens, in percent of `runs`."""
    rng = Random(seed)  # noqa: S311 - a simulation, which must be the same each time
    return [100.0 * sum(column) / runs for column in zip(*(cell(rng) for _ in range(runs)), strict=True)]


def rows(experiment: Experiment, shares: Sequence[Sequence[float]]) -> list[Row]:
    """Return a row for each limit of an experiment."""
    return [
        Row(limit, min(column) if limit.least else max(column), sum(column) / len(column), len(column))
        for limit, column in zip(experiment.limits, zip(*shares, strict=True), strict=True)
    ]


def main() -> None:
    """Print all rows; exit with 1 if one misses its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs",
        type=int,
        default=RUNS,
        help="runs of each cell (%(default)s); fewer miss limits by chance",
    )
    runs = parser.parse_args().runs
    print(f"{f'one-sided, at 95 % confidence; {runs:,} runs a cell':<92}    worst     mean cells   limit of the worst")
    missed = False
    for row in measure(runs):
        print(row, flush=True)
        missed = missed or not row.ok
    sys.exit(missed)


if __name__ == "__main__":
    main()
