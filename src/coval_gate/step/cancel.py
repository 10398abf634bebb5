"""Cancels runs, and finds those of lost launches.

Coval's `DELETE /runs/{id}` cancels an unfinished run, but deletes a finished one. So the step polls the run before each
try, and never deletes a finished run.
"""

import math
from collections.abc import Callable
from typing import Final, Literal

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, LaunchUncertain, NotFound, Rejected, Unavailable
from coval_gate.base.schedule import Wait
from coval_gate.base.text import duration
from coval_gate.coval.client import FRESH_TIME, Session
from coval_gate.coval.errors import unavailable
from coval_gate.coval.model import CANCELLED, DELETED, Run
from coval_gate.gate.verdict import Cancellation
from coval_gate.history.search import Found, Sought, search
from coval_gate.step.leg import Trial

AFTER_CANCELLING: Final = (CANCELLED, DELETED)  # what a cancelled run shows
MAX_POLL_AGE: Final = 2.0  # s after which a response may be wrong that shows a run as not over
FIRST_CANCEL_PAUSE, LONGEST_CANCEL_PAUSE = 1.0, 8.0  # s between two tries, or searches
LATE: Final = 1.5  # s for the response to a launch that was under way when the search begins
LATE_SHARE: Final = 0.25  # of the time until the deadline; the most that it may take
FOREIGN: Final = 10.0  # s after which responses that are not in Coval's form will not do
SEARCH_TIME: Final = 10.0  # s for a search while a launch is open, whose response settles the question
LONGEST_SEARCH_PAUSE: Final = 10.0  # s
Unknown = Literal["unknown"]
UNKNOWN_EFFECT: Final[Unknown] = "unknown"  # whether a launch had an effect


async def cancel_run(session: Session, run_id: str, *, fresh_until: float = 0.0) -> Cancellation:
    """Cancel a run unless it is over; one that Coval does not have is over. Raises CovalError.

    `fresh_until`: Coval may not know the run before that time on the clock.
    """
    client, clock, until = session.client, session.clock, session.deadline
    sent = False  # a try whose response was lost may have cancelled the run all the same
    pause = FIRST_CANCEL_PAUSE
    report_retry = client.retry_reporter()
    while True:
        try:
            polled_at = clock.now()
            run = await client.get_run(run_id, until=until, once=True)
            if run.is_over:
                return _cancellation(run, by_us=sent and run.status in AFTER_CANCELLING)
            if clock.now() - polled_at > MAX_POLL_AGE:
                raise unavailable("The poll of the run", "took so long that the run may be over by now.", arrived=False)
            sent = True
            await client.delete_run(run_id, until=until)
            return _cancellation(run, by_us=True)
        except NotFound:
            if sent:
                return Cancellation(outcome="cancelled", run_id=run_id)
            if clock.now() >= fresh_until:
                return Cancellation(outcome="gone", run_id=run_id)
            if clock.now() >= until:
                raise
        except Unavailable as error:
            if clock.now() >= until:
                raise
            pause = max(pause, error.retry_after)
            report_retry(error, min(pause, until - clock.now()))
        await Wait(max(0.0, min(pause, until - clock.now())))
        pause = min(LONGEST_CANCEL_PAUSE, pause * 2)


def _cancellation(run: Run, *, by_us: bool) -> Cancellation:
    return Cancellation(outcome="cancelled" if by_us else "over", run_id=run.run_id, status=run.status)


async def find_launched(
    session: Session, trial: Trial, *, settling: float = math.inf, since: Callable[[], float] = lambda: 0.0
) -> Run | None:
    """Find the run of a launch. Return None if the launch certainly had no effect. Raises LaunchUncertain.

    It had none if the connection has been closed for `settling` seconds, and Coval lists no run that was created after
    `since()`, in seconds since the epoch on Coval's clock. Every response may show more of that clock. While the
    connection is open, a search may fail: the response can still come.
    """
    clock, until = session.clock, session.deadline
    began = last_open = clock.now()
    within = min(LATE, LATE_SHARE * max(0.0, until - began))
    pause = FIRST_CANCEL_PAUSE
    outcome: Found | LaunchUncertain | None = None
    while True:
        late = await _late_response(trial, within)
        if not isinstance(late, str):
            return late
        within, open_calls, began_search = 0.0, trial.open_calls, clock.now()
        patience = min(until, began_search + SEARCH_TIME) if open_calls else until
        searched = await _search(session.until(patience), trial, since=since, before=outcome)
        is_fresh, outcome = searched is not outcome, searched
        now = clock.now()
        last_open = now if open_calls else last_open
        settled = last_open + settling
        if isinstance(outcome, Found) and outcome.runs:
            return outcome.runs[0]
        if (not open_calls and _is_final(outcome, began_search - last_open)) or now >= min(
            settled, until
        ):  # the response may have come during the search
            late = await _late_response(trial, 0.0)
            if not isinstance(late, str):
                return late
            if isinstance(outcome, LaunchUncertain):
                raise outcome
            if now < settled or not is_fresh:
                raise _no_time(max(1.0, settled - now), settling, is_open=bool(open_calls))
            if not outcome.hidden:
                return None
            ids = " or ".join(run.run_id for run in outcome.hidden)
            raise LaunchUncertain(titles.LAUNCH_UNCERTAIN, f"The launch may have begun the run {ids}.")
        await Wait(min(pause, settled - now, until - now), open_calls)
        pause = min(LONGEST_SEARCH_PAUSE, pause * 2)


def _no_time(lacking: float, settling: float, *, is_open: bool) -> LaunchUncertain:
    """`lacking`: seconds until the search could be sure that there is no run."""
    if math.isinf(settling):
        return LaunchUncertain(titles.LAUNCH_UNCERTAIN, "Coval does not list the run that may have been launched.")
    how_long = "while the connection was open" if is_open else f"in the {duration(settling - lacking)}"
    return LaunchUncertain(
        titles.LAUNCH_UNCERTAIN,
        f"Coval did not list the run {how_long} until max_wait_time was over. The step needs "
        f"{duration(settling)} after the end of the connection to be sure that no run began.",
        advice=f"To give it that time, raise max_wait_time by at least {duration(math.ceil(lacking))}.",
    )


def _is_final(outcome: Found | LaunchUncertain, waited: float) -> bool:
    """Return whether a search failed for good. A rejection that is not Coval's own may pass within FOREIGN seconds."""
    if isinstance(outcome, Found):
        return False
    return outcome.rejection is None or outcome.rejection.by_coval or waited >= FOREIGN


async def _late_response(trial: Trial, within: float) -> Run | Unknown | None:
    """Wait `within` seconds for the latest launch's response. None: all launches certainly had no effect."""
    unknown = not trial.launches
    for launch in reversed(trial.launches):
        try:
            return await launch.late_response(within)
        except Unavailable as error:
            unknown = unknown or error.arrived
        except Rejected as error:
            unknown = unknown or not error.by_coval
        except CovalError:
            pass  # it was not sent
        within = 0.0
    return UNKNOWN_EFFECT if unknown else None


async def _search(
    session: Session, trial: Trial, *, since: Callable[[], float], before: Found | LaunchUncertain | None
) -> Found | LaunchUncertain:
    """Return the runs with the trial's key, and those that hide their tags; `before` if no time is left."""
    try:
        sought = Sought(
            trial.ids,
            trial.tags.key,
            may_be=lambda run: run.created is None or run.created >= since(),
            must_know=True,
            parts=True,
        )
        return await search(session, sought)
    except CovalError as error:
        if before and isinstance(error, Unavailable) and error.too_late:
            return before
        return LaunchUncertain(
            titles.LAUNCH_UNCERTAIN,
            f"Could not check whether the launch began a run: {error.what}",
            advice=error.advice,
            rejection=error if isinstance(error, Rejected) else None,
        )


async def cancel_trial(session: Session, trial: Trial) -> Cancellation:
    """Find the run if its id is not known, and cancel it unless it is over. Raises CovalError."""
    trial.is_given_up = True
    if not trial.run_id:
        run = await find_launched(session, trial)
        if run is None:
            return Cancellation(outcome="not_launched")
        trial.identify(run.run_id, at=session.clock.now())
    return await cancel_run(session, trial.run_id, fresh_until=trial.known_since + FRESH_TIME)


async def end_other_launches(session: Session, trial: Trial, *, keep_newest: bool = False) -> None:
    """Cancel the runs of launches that were given up for lost and had an effect after all. Raises CovalError.

    `keep_newest`: if the id of the trial's own run is unknown, assume that it is the newest run.
    """
    runs = (await search(session, Sought(trial.ids, trial.tags.key, parts=True))).runs
    if runs and keep_newest and not trial.run_id:
        trial.identify(runs[0].run_id, at=session.clock.now())
    for run in runs:
        if run.run_id != trial.run_id and not run.is_over:
            # It is listed, so a 404 means that Coval does not know it yet.
            await cancel_run(session, run.run_id, fresh_until=session.deadline)
            session.log(f"Cancelled run {run.run_id}: the step launched another in its place.")
