"""Measures how often verdicts with confidence are wrong, and how often they notice a regression.

Each row covers many combinations of sizes and agents, and shows the worst one. The agents are simulated
(`bench/agents.py`), with fixed seeds; `bench/exact.py` calculates instead. Fails if a row misses its limit.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from random import Random
from typing import Final, NamedTuple

from bench.exact import sizes, slices
from bench.experiments import Cell, Experiment, Limit, one_run, two_runs
from bench.judged import causes, comparisons, families, legs, power, repetition
from bench.nights import histories
from bench.permuted import nights, permutations

RUNS: Final = 2000  # of each cell


class Row(NamedTuple):
    """The worst and the mean share of an experiment's cells, in percent."""

    limit: Limit
    worst: float
    mean: float
    cells: int

    @property
    def ok(self) -> bool:
        """Whether the worst cell or, with `overall`, the mean is within the limit."""
        limit, share = self.limit, self.mean if self.limit.overall else self.worst
        return limit.percent is None or (share >= limit.percent if limit.least else share <= limit.percent)

    def __str__(self) -> str:
        name, percent, least, overall = self.limit
        shown = f"{name:<92} {self.worst:6.2f} % {self.mean:6.2f} % {self.cells:5d}"
        if percent is None:
            return shown
        of = " (mean)" if overall else ""
        return f"{shown}   {'>=' if least else '<='} {percent:4.1f} %{of}   {'ok' if self.ok else 'NO'}"


def experiments() -> Iterator[Experiment]:
    """Yield all experiments."""
    yield from families()
    yield from one_run()
    yield from two_runs()
    yield from permutations()
    yield from power()
    yield from comparisons()
    yield from histories()
    yield from nights()
    yield from legs()
    yield from causes()
    yield from repetition()
    yield from slices()
    yield from sizes()


def measure(runs: int) -> Iterator[Row]:
    """Measure every row, with a process for each core."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        planned = [
            (
                experiment,
                [
                    pool.submit(
                        percentages,
                        cell,
                        max(1, round(runs * experiment.times)),
                        f"{experiment.limits[0].name}/{number}",
                    )
                    for number, cell in enumerate(experiment.cells)
                ],
            )
            for experiment in experiments()
        ]
        for experiment, cells in planned:
            shares = zip(*(cell.result() for cell in cells), strict=True)
            for limit, column in zip(experiment.limits, shares, strict=True):
                worst = min(column) if limit.least else max(column)
                yield Row(limit, worst, sum(column) / len(column), len(column))


def percentages(cell: Cell, runs: int, seed: str) -> list[float]:
    """Return how often each outcome of a cell happens, in percent of `runs`."""
    rng = Random(seed)  # noqa: S311 - a simulation, which must be the same each time
    return [100.0 * sum(column) / runs for column in zip(*(cell(rng) for _ in range(runs)), strict=True)]


def main() -> None:
    """Print all rows; exit with 1 if one misses its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    about = "runs of each cell (%(default)s); fewer miss limits by chance"
    parser.add_argument("--runs", type=int, default=RUNS, help=about)
    runs = parser.parse_args().runs
    print(f"{f'one-sided, at 95 % confidence; {runs:,} runs a cell':<92}    worst     mean cells   limit of the worst")
    missed = False
    for row in measure(runs):
        print(row, flush=True)
        missed = missed or not row.ok
    sys.exit(missed)


if __name__ == "__main__":
    main()
