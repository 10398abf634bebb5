"""What a step found, as a document and in each format.

Limits are here. Without them, a report would grow with the product of criteria and simulations, which may be millions.
It counts what is beyond them, so nothing is left out silently.
"""

from typing import Final

MOST_CRITERIA: Final = 1_000  # of a leg, and as many reasons
MOST_IDS: Final = 100  # simulations that miss a criterion
MOST_LISTED: Final = 2_000  # ids in an output
MOST_FLIPS: Final = 50  # test cases that flipped, of a criterion and in each direction
MOST_DETAILED: Final = 2_000  # simulations, the worst, with all listed criteria that they miss; others have the first
MOST_RUNS: Final = 100  # of a baseline
MOST_TURNS: Final = 6  # of each conversation, at least; of short ones more
MOST_VALUES: Final = 100  # values of a simulation, and as many explanations
MOST_FIGURES: Final = 5_000  # metrics of a leg times their variants
MOST_DISTRIBUTIONS: Final = 500  # metrics of a leg with charts times their variants
MOST_OUTPUT: Final = 64 * 1024  # characters of an output; all of a job's together may have about half a million
LONGEST_MENTION: Final = 200  # characters of a criterion where a simulation names it

# Of the HTML report, which should open at once: about 2 MB for 1,000 simulations.
MOST_TABLE_ROWS: Final = 2_000  # simulations in the table
MOST_FIRST_ROWS: Final = 10  # simulations to look at, above the table
MOST_TABLE_CRITERIA: Final = 200  # of a leg
MOST_COLUMNS: Final = 6  # metrics with a column in the table; an opened row shows all
MOST_CARDS: Final = 24  # metrics of a leg with charts
MOST_PROMPTS: Final = 50  # the worst simulations have one
LONGEST_PROMPT: Final = 6_000  # bytes
TEXTS_ROOM: Final = 200_000  # characters of all explanations together, shared equally by the simulations
MISSES_ROOM: Final = 2_000  # missed criteria of all rows together, shared equally by the simulations
LONGEST_TEXT: Final = 2_000  # characters of one explanation
TRANSCRIPTS_ROOM: Final = 400_000  # characters of all transcripts together
LONGEST_TURN: Final = 1_000  # characters
MOST_SHOWN: Final = 100  # criteria of a leg in the summary and the log
