"""The most that a report lists. It counts what is beyond a limit, so that nothing is left out silently.

Without limits, a report would grow with the number of criteria times that of simulations, which may be millions.
"""

from __future__ import annotations

from typing import Final

MOST_CRITERIA: Final = 1_000  # of a leg, and as many reasons
MOST_IDS: Final = 100  # simulations that are to blame for a criterion
MOST_FLIPS: Final = 50  # test cases that flipped, of a criterion and in each direction
MOST_RUNS: Final = 100  # of a baseline
MOST_MISSES: Final = 10  # missed criteria of a simulation
MOST_VALUES: Final = 100  # values of a simulation, and as many explanations
MOST_FIGURES: Final = 5_000  # metrics of a leg times their variants
LONGEST_MENTION: Final = 200  # characters of a criterion where a simulation names it
