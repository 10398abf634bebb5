"""Finds the run of a launch whose response was lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, LaunchUncertain, Rejected, Unavailable
from coval_gate.base.schedule import Procedure, Wait
from coval_gate.base.text import duration
from coval_gate.coval.model import Run
from coval_gate.coval.session import Session
from coval_gate.history.search import Found, Sought, created_at, search
from coval_gate.step.trial import Trial

LATE: Final = 1.5  # s for the response to a launch that was under way when the search begins
LATE_SHARE: Final = 0.25  # of the time until the deadline; the most that it may take
FOREIGN: Final = 10.0  # s after which responses that are not in Coval's form will not do
SEARCH_TIME: Final = (
    10.0  # s for a search while the connection of a launch is open, whose response settles the question
)
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 10.0  # s between two searches

Unknown = Literal["unknown"]
UNKNOWN: Final[Unknown] = "unknown"  # whether a launch had an effect


def find_launched(
    session: Session, trial: Trial, *, settling: float = math.inf, since: Callable[[], float] = lambda: 0.0
) -> Procedure[Run | None]:
    """Return None if the launch surely had no effect. Raises LaunchUncertain.

    It had none if Coval lists no run created `since` then for `settling` seconds after the connection was closed.
    `since` returns seconds since the epoch by Coval's clock, of which its responses may tell more and more. While the
    connection is open, a search may fail: the response can still come.
    """
    clock, until = session.clock, session.deadline
    began = last_open = clock.now()
    within = min(LATE, LATE_SHARE * max(0.0, until - began))
    pause = FIRST_PAUSE
    outcome: Found | LaunchUncertain | None = None
    while True:
        late = yield from _late_response(trial, within)
        if not isinstance(late, str):
            return late
        within, open_calls, began_search = 0.0, trial.open_calls, clock.now()
        patience = min(until, began_search + SEARCH_TIME) if open_calls else until
        outcome = yield from _search(session.until(patience), trial, since=since, before=outcome)
        now = clock.now()
        last_open = now if open_calls else last_open
        settled = last_open + settling
        if isinstance(outcome, Found) and outcome.runs:
            return outcome.runs[0]
        failed = (
            isinstance(outcome, LaunchUncertain) and not open_calls and not _may_pass(outcome, began_search - last_open)
        )
        if failed or now >= min(settled, until):  # the response may have come during the search
            late = yield from _late_response(trial, 0.0)
            if not isinstance(late, str):
                return late
            if isinstance(outcome, LaunchUncertain):
                raise outcome
            if now < settled:
                raise _no_time(settled - now, settling, is_open=bool(open_calls))
            if not outcome.hidden:
                return None
            ids = " or ".join(run.run_id for run in outcome.hidden)
            raise LaunchUncertain(titles.LAUNCH_UNCERTAIN, f"The launch may have begun the run {ids}.")
        yield Wait(min(pause, settled - now, until - now), open_calls)
        pause = min(LONGEST_PAUSE, pause * 2)


def _no_time(lacking: float, settling: float, *, is_open: bool) -> LaunchUncertain:
    """`lacking`: seconds until the search could be sure that there is no run."""
    if math.isinf(settling):
        return LaunchUncertain(titles.LAUNCH_UNCERTAIN, "Coval does not list the run that may have been launched.")
    looked = "" if is_open else f" in the {duration(settling - lacking)}"
    still_open = ", and the connection was still open," if is_open else ""
    until = " when" if is_open else " until"
    return LaunchUncertain(
        titles.LAUNCH_UNCERTAIN,
        f"Coval did not list the run{looked}{still_open}{until} max_wait_time was over. The step needs "
        f"{duration(settling)} after the end of the connection to be sure that no run began.",
        advice=f"To give it that time, raise max_wait_time by at least {duration(math.ceil(lacking))}.",
    )


def _late_response(trial: Trial, within: float) -> Procedure[Run | Unknown | None]:
    """Wait `within` seconds for the latest launch's response. None: all launches surely had no effect."""
    unknown = not trial.launches
    for launch in reversed(trial.launches):
        try:
            return (yield from launch.late_response(within))
        except Unavailable as error:
            unknown = unknown or error.arrived
        except Rejected as error:
            unknown = unknown or not error.by_coval
        except CovalError:
            pass  # it was not sent
        within = 0.0
    return UNKNOWN if unknown else None


def _search(
    session: Session, trial: Trial, *, since: Callable[[], float], before: Found | LaunchUncertain | None
) -> Procedure[Found | LaunchUncertain]:
    """Return the runs with the trial's key, and those that hide their tags; `before` if no time is left."""
    try:
        sought = Sought(trial.ids, trial.key, may_be=lambda run: _is_created(run, since()), must_know=True)
        return (yield from search(session, sought))
    except CovalError as error:
        if isinstance(before, LaunchUncertain) and isinstance(error, Unavailable) and error.too_late:
            return before
        return LaunchUncertain(
            titles.LAUNCH_UNCERTAIN,
            f"Could not check whether the launch began a run: {error.what}",
            advice=error.advice,
            rejection=error if isinstance(error, Rejected) else None,
        )


def _may_pass(error: LaunchUncertain, waited: float) -> bool:
    """Return whether to search again after so many seconds: the response was not Coval's."""
    return error.rejection is not None and not error.rejection.by_coval and waited < FOREIGN


def _is_created(run: Run, since: float) -> bool:
    """Return whether a run may be younger than `since`, in seconds since the epoch."""
    created = created_at(run)
    return created is None or created >= since
