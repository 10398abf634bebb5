"""How long each part of a step may take. Everything follows from one deadline.

The deadline is `max_wait_time` after the start. After it, a step only collects the results of a run that just
completed, cancels what it gave up, and shows its end on the host's pages. Then it ends, whatever the servers do, and
leaves the rest to the post step.

    deadline                the last poll of a run
    deadline + INFORMING    the last call that only informs people has begun
    deadline + CALLING      every call to Coval has ended, those that collect data or cancel a run included
    deadline + LAST         every call to the CI system has ended
"""

import math
from typing import Final, NamedTuple

INFORMING: Final = 5.0  # s
COLLECTING: Final = 9.0  # s for the data of a run that completed just before the deadline
CALLING: Final = 9.0  # s
LAST: Final = 10.0  # s

# Before the launch and just after it; the run needs most of the time
LOOKING_UP: Final = 300.0  # s during which an outage does not end a look-up that a limit or a verdict needs
PREPARING: Final = 5.0  # s for checks, and for data that later comparisons need
ANNOUNCING: Final = 10.0  # s to find the commit, and for its pages
REPLAYING: Final = 60.0  # s in mode plan to read the runs of earlier nights
SIZING: Final = 2.0  # s to find out how many simulations a run has that was just launched; one call takes no less
SHARE_OF_REST: Final = 0.25  # of the remaining time; the most that each of these may use

# After the run; the longest times
MARKING: Final = 20.0  # s for changes of tags
ACCEPTING: Final = 300.0  # s for those of an acceptance, which an outage must not turn red
DETAILS: Final = 20.0  # s for names, explanations and transcripts
UNITS: Final = 3.0  # s for the units of metrics, which stand in the first lines after the verdict
NAMING: Final = 3.0  # s for the names of agents, personas and test sets
CANCELLING: Final = 30.0  # s for cancelling runs, except in mode cancel, which has max_wait_time
UPDATING: Final = 30.0  # s for all pages; the first may use all of it
UPDATING_EACH: Final = 10.0  # s; the least for each other page

# After a signal; the runner kills the step 10 s later
HURRIED_CALLING: Final = 3.5  # s from the signal until every call to Coval has ended
HURRIED_LAST: Final = 5.8  # s from the signal until every call to the CI system has ended
HURRIED_RENDERING: Final = 4.8  # s from the signal until every report is rendered, or left out
HURRIED_TELLING: Final = 1.0  # s for the host's pages

# The post step; the runner gives all post steps of a cancelled job five minutes
POST_CANCELLING: Final = 90.0  # s
POST_LOCATING: Final = 10.0  # s to find the commit that a run tests
POST_TELLING: Final = 75.0  # s for the commit's pages; the host may ask for a pause of a minute

FINAL: Final = 1.0  # s for a call to the CI system that begins at the last moment


class Times(NamedTuple):
    """When every call has ended, to Coval and to the host, on the step's clock."""

    deadline: float
    coval_ends: float
    host_ends: float
    updating: float = UPDATING
    rendering_ends: float = math.inf

    @classmethod
    def for_step(cls, began: float, max_wait_time: float) -> "Times":
        deadline = began + max_wait_time
        return cls(deadline, deadline + CALLING, deadline + LAST)

    @classmethod
    def for_interrupted(cls, now: float) -> "Times":
        return cls(now, now + HURRIED_CALLING, now + HURRIED_LAST, HURRIED_TELLING, now + HURRIED_RENDERING)

    @classmethod
    def for_post_step(cls, now: float) -> "Times":
        return cls(now, math.inf, now + POST_TELLING, POST_TELLING)

    def informing(self, now: float, most: float) -> float:
        """Return the last start of calls that only inform and take at most `most` seconds."""
        return min(now + most, self.deadline + INFORMING)

    def cancelling(self, now: float) -> float:
        """Return when to stop trying to cancel a run."""
        return min(now + CANCELLING, self.coval_ends)

    def updating_of(self, now: float, first: float) -> float:
        """The first page may use all of the time, but leaves the others a little. `first`: when it began."""
        return min(max(first + self.updating, now + min(self.updating, UPDATING_EACH)), self.host_ends - FINAL)


def preparing(now: float, deadline: float) -> float:
    return now + min(PREPARING, SHARE_OF_REST * max(0.0, deadline - now))


def sizing(now: float, deadline: float) -> float | None:
    """Return when to stop finding out the size of a run that was just launched; None if too little time is left."""
    return now + SIZING if SHARE_OF_REST * (deadline - now) >= SIZING else None


def announcing(now: float, deadline: float) -> float:
    """Return when to stop announcing a launch on pages, or looking for its commit."""
    return now + min(ANNOUNCING, SHARE_OF_REST * max(0.0, deadline - now))
