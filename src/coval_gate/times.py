"""How long each part of a step may take. All of it follows from one deadline.

The deadline is `max_wait_time` after the beginning. A step goes on past it only to collect what it has waited for, to
cancel what it gave up, and to show its end on the host's pages. Then it ends, whatever the servers do, and leaves the
rest to the post step.

    deadline                the last poll of a run
    deadline + INFORMING    the last call that only informs has begun
    deadline + CALLING      every call to Coval has ended, those that collect data or cancel a run included
    deadline + LAST         every call to the CI system has ended
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

INFORMING: Final = 5.0  # s
COLLECTING: Final = 9.0  # s for the data of a run that completed just before the deadline
CALLING: Final = 9.0  # s
LAST: Final = 10.0  # s

# Before the launch, which needs most of the time, and just after it
PREPARING: Final = 5.0  # s for checks, and for what later comparisons need
ANNOUNCING: Final = 10.0  # s for the commit's pages, and to find the commit for them
SHARE: Final = 0.25  # of the time that is left, for each of these at most

# Once the run is over, at most
MARKING: Final = 20.0  # s for the marks of failed runs
PROMOTING: Final = 30.0  # s for a promotion, which comes last
DETAILS: Final = 20.0  # s for names, explanations and transcripts
TREND: Final = 10.0  # s for the last runs
CANCELLING: Final = 30.0  # s for cancelling runs, except in mode cancel, which has max_wait_time
TELLING: Final = 30.0  # s for the first page, and for the others if that leaves time
TELLING_EACH: Final = 10.0  # s for each of the others at least

# After a signal: the runner kills the step 10 s later
HURRIED_CALLING: Final = 3.5  # s from the signal until every call to Coval has ended
HURRIED_LAST: Final = 5.8  # s from the signal until every call to the CI system has ended
HURRIED_RENDERING: Final = 4.8  # s from the signal until every report is rendered, or left out
HURRIED_TELLING: Final = 1.0  # s for the host's pages

# The post step: the runner gives all post steps of a cancelled job five minutes
POST_CANCELLING: Final = 90.0  # s
POST_LOCATING: Final = 10.0  # s to find out which commit a run tests
POST_TELLING: Final = 75.0  # s for the commit's pages; the host may ask for a pause of a minute

FINAL: Final = 1.0  # s that a call to the CI system may take which begins at the last moment


class Times(NamedTuple):
    """The times of one step, on the clock: its deadline, and when every call to Coval and to the host has ended."""

    deadline: float
    coval_ends: float
    host_ends: float
    telling: float = TELLING
    rendering_ends: float = math.inf

    @classmethod
    def of_step(cls, began: float, max_wait_time: float) -> Times:
        """Return the times of a main step."""
        deadline = began + max_wait_time
        return cls(deadline, deadline + CALLING, deadline + LAST)

    @classmethod
    def of_interrupted(cls, now: float) -> Times:
        """Return the times of a step that received a signal just `now`."""
        return cls(now, now + HURRIED_CALLING, now + HURRIED_LAST, HURRIED_TELLING, now + HURRIED_RENDERING)

    @classmethod
    def of_post_step(cls, now: float) -> Times:
        """Return the times of a post step that completes pages from `now` on."""
        return cls(now, math.inf, now + POST_TELLING, POST_TELLING)

    def informing(self, now: float, most: float) -> float:
        """Return when calls have to begin that only inform, and take `most` seconds at most."""
        return min(now + most, self.deadline + INFORMING)

    def cancelling(self, now: float) -> float:
        """Return until when to try to cancel a run."""
        return min(now + CANCELLING, self.coval_ends)

    def telling_of(self, now: float, first: float) -> float:
        """Return until when calls for one page may begin; those for all pages began at `first`.

        The first page may take all of the time, and leaves the others a little.
        """
        return min(max(first + self.telling, now + min(self.telling, TELLING_EACH)), self.host_ends - FINAL)


def preparing(now: float, deadline: float) -> float:
    """Return until when to prepare a launch."""
    return now + min(PREPARING, SHARE * max(0.0, deadline - now))


def announcing(now: float, deadline: float) -> float:
    """Return until when to show a launch on pages, or to find its commit."""
    return now + min(ANNOUNCING, SHARE * max(0.0, deadline - now))
