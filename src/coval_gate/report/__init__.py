"""What a step found, as a document and in each format.

Criteria and simulations may be so many that a report would grow with their product, so each list of them has a limit.
"""

from typing import Final

MOST_CRITERIA: Final = 1_000  # of a leg
CRITERIA_SHOWN: Final = 100  # criteria of a leg where people read them
MOST_IDS: Final = 100  # simulations that miss a criterion
MOST_SIMULATIONS: Final = 2_000  # simulations in an output, and in a table
LONGEST_MENTION: Final = 200  # characters of a criterion where a simulation names it
