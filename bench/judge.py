"""Measures how long the judge takes for a large run against its baseline."""

from __future__ import annotations

import time
from random import Random
from typing import Final

from bench.figures import Figure
from bench.steps import ten_large_thresholds

MOST_SECONDS: Final = 3.0
NAME: Final = "judge, 10 baseline thresholds, 5 of percentiles, 1,000 cases, 10 conversations each: CPU"


def measure() -> list[Figure]:
    """Return the CPU time of one decision, in seconds."""
    decide = ten_large_thresholds(Random("speed"))  # noqa: S311 - a simulation, which must be the same each time
    began = time.process_time()
    decide()
    took = time.process_time() - began
    return [Figure(NAME, took, "s", "", None, MOST_SECONDS, took <= MOST_SECONDS)]
