"""Cancels runs, and finds those that the step does not know: of lost launches, and of earlier attempts and steps.

Coval's `DELETE /runs/{id}` cancels an unfinished run, but deletes a finished one. So the step polls the run before each
try, and never deletes a finished run.

A step that cannot look for earlier runs does not launch. A step that cannot tell who launched a run leaves it alone. If
that run could be from its own earlier attempt, the step does not launch another beside it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Final, Literal, NamedTuple

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, LaunchUncertain, NotFound, Rejected, Unavailable
from coval_gate.base.schedule import MOST_AT_ONCE, Procedure, Wait, all_or_first_error, together
from coval_gate.base.text import duration
from coval_gate.base.times import CANCELLING, LOOKING_UP
from coval_gate.coval.client import FRESH_TIME, Session
from coval_gate.coval.errors import unavailable
from coval_gate.coval.model import CANCELLED, COMPLETED, DELETED, Run
from coval_gate.gate.verdict import Cancellation
from coval_gate.history.search import Found, Sought, search
from coval_gate.history.tags import Tags, tags_of
from coval_gate.step.leg import Duty, Trial

AFTER_CANCELLING: Final = (CANCELLED, DELETED)  # what a cancelled run shows
MAX_POLL_AGE: Final = 2.0  # s after which a response that says that a run is not over may be wrong
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 8.0  # s between two tries, or searches
LATE: Final = 1.5  # s for the response to a launch that was under way when the search begins
LATE_SHARE: Final = 0.25  # of the time until the deadline; the most that it may take
FOREIGN: Final = 10.0  # s after which responses that are not in Coval's form will not do
SEARCH_TIME: Final = 10.0  # s for a search while a launch is open, whose response settles the question
LONGEST_SEARCH_PAUSE: Final = 10.0  # s
Unknown = Literal["unknown"]
UNKNOWN: Final[Unknown] = "unknown"  # whether a launch had an effect


def cancel_run(session: Session, run_id: str, *, fresh_until: float = 0.0) -> Procedure[Cancellation]:
    """Cancel a run unless it is over; one that Coval does not have is over. Raises CovalError.

    `fresh_until`: Coval may not know the run before that time on the clock.
    """
    client, clock, until = session.client, session.clock, session.deadline
    sent = False  # a try whose response was lost may have cancelled the run all the same
    pause = FIRST_PAUSE
    report_retry = client.retry_reporter()
    while True:
        try:
            polled_at = clock.now()
            run = yield from client.get_run(run_id, until=until, once=True)
            if run.is_over:
                return _ended(run, by_us=sent and run.status in AFTER_CANCELLING)
            if clock.now() - polled_at > MAX_POLL_AGE:
                raise unavailable("The poll of the run", "took so long that the run may be over by now.", arrived=False)
            sent = True
            yield from client.delete_run(run_id, until=until)
            return _ended(run, by_us=True)
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
        yield Wait(max(0.0, min(pause, until - clock.now())))
        pause = min(LONGEST_PAUSE, pause * 2)


def _ended(run: Run, *, by_us: bool) -> Cancellation:
    return Cancellation(outcome="cancelled" if by_us else "over", run_id=run.run_id, status=run.status)


def find_launched(
    session: Session, trial: Trial, *, settling: float = math.inf, since: Callable[[], float] = lambda: 0.0
) -> Procedure[Run | None]:
    """Find the run of a launch. Return None if the launch surely had no effect. Raises LaunchUncertain.

    It had none if the connection has been closed for `settling` seconds, and Coval lists no run that was created after
    `since()`, in seconds since the epoch on Coval's clock. Every response may show more of that clock. While the
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
        searched = yield from _search(session.until(patience), trial, since=since, before=outcome)
        is_fresh, outcome = searched is not outcome, searched
        now = clock.now()
        last_open = now if open_calls else last_open
        settled = last_open + settling
        if isinstance(outcome, Found) and outcome.runs:
            return outcome.runs[0]
        if (not open_calls and _is_final(outcome, began_search - last_open)) or now >= min(
            settled, until
        ):  # the response may have come during the search
            late = yield from _late_response(trial, 0.0)
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
        yield Wait(min(pause, settled - now, until - now), open_calls)
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
        sought = Sought(
            trial.ids,
            trial.tags.key,
            may_be=lambda run: run.created is None or run.created >= since(),
            must_know=True,
            parts=True,
        )
        return (yield from search(session, sought))
    except CovalError as error:
        if before and isinstance(error, Unavailable) and error.too_late:
            return before
        return LaunchUncertain(
            titles.LAUNCH_UNCERTAIN,
            f"Could not check whether the launch began a run: {error.what}",
            advice=error.advice,
            rejection=error if isinstance(error, Rejected) else None,
        )


class Launches(NamedTuple):
    """What a leg launches in turn, and its base beside it, if it has one and their runs depend on each other."""

    of_leg: Sequence[Tags]
    of_base: Sequence[Tags] = ()


class EarlierRuns(NamedTuple):
    """`tags` and `ids`: of the launch that follows. The session's deadline bounds the whole search."""

    session: Session
    tags: Tags
    ids: Mapping[str, str]

    def to_resume(self, legs: Sequence[Launches], *, of_base: bool = False) -> Procedure[list[Run | None]]:
        """Return the runs that earlier attempts launched for the first launches of a leg, up to an unfinished one.

        All before that completed; without it, there are none. A run whose base's run is unfinished counts as such.
        `of_base`: return the base's runs instead, beside those that any of the `legs` takes over; it may lack some.
        Raises CovalError if a run may be hidden.
        """
        unfinished = yield from self.unfinished()
        resumed: list[Run | None] = []
        for launches in legs:
            of_leg, of_its_base = (
                [self._of_earlier_attempt(tags, unfinished.runs) for tags in each] for each in launches
            )
            pairs = [*zip_longest(of_leg, of_its_base)]
            while pairs and not (pairs[-1][0] and any(run and not run.is_over for run in pairs[-1])):
                pairs.pop()
            if all(run for run, _ in pairs) and len(pairs) > len(resumed):
                resumed = [pair[of_base] for pair in pairs]
        if any(resumed):
            return resumed
        if unknown := _unknown(unfinished):
            raise CovalError(
                titles.NOT_LAUNCHED,
                f"Coval shows neither tags nor metadata, so the step cannot tell whether {unknown}, which is not over, "
                "is from an earlier attempt.",
                advice="Wait until it is over, or set resume to false to launch another run.",
            )
        return []

    def _of_earlier_attempt(self, tags: Tags, runs: Sequence[Run]) -> Run | None:
        """Return the newest run of a launch that goes on, or else that completed."""
        own = [run for run in runs if tags.continues(tags_of(run))]
        for run in own:
            if run.is_ending and not run.is_over:
                self.session.log(
                    f"Run {run.run_id} of an earlier attempt is being cancelled, so the step does not take it over."
                )
        going = (run for run in own if not (run.is_over or run.is_ending))
        return next(going, next((run for run in own if run.status == COMPLETED), None))

    def unfinished(self) -> Procedure[Found]:
        """Return the group's runs, and unfinished ones that may belong to it. Raises CovalError."""
        return self._unfinished(
            "Could not check for a run from an earlier attempt",
            way_out="To launch without this check, set resume to false.",
        )

    def supersede(self, *, keep: str = "") -> Procedure[None]:
        """Cancel the unfinished runs that this one supersedes, except `keep`. Raises CovalError."""
        unfinished = yield from self._unfinished(
            "Could not look for older runs",
            way_out="To leave older runs alone, set supersede to false.",
        )
        others = [run for run in unfinished.runs if not (run.is_over or run.run_id == keep)]
        superseded = [run.run_id for run in others if self.tags.supersedes(tags_of(run))]
        yield from self.cancel(superseded, "superseded by this run")
        if unknown := _unknown(unfinished):
            self.session.warn(
                f"Coval shows neither tags nor metadata, so the step cannot tell whether this run supersedes {unknown}."
            )

    def cancel(self, run_ids: Sequence[str], why: str) -> Procedure[list[bool]]:
        """Cancel runs. Return for each whether it is over now. `why` ends a line in the log."""
        calls = (self._cancel(run_id, why) for run_id in run_ids)
        return all_or_first_error((yield from together(calls, self.session.clock, at_once=MOST_AT_ONCE)))

    def _cancel(self, run_id: str, why: str) -> Procedure[bool]:
        session = self.session.within(CANCELLING)
        try:  # it is listed, so a 404 means that Coval does not know it yet
            ended = yield from cancel_run(session, run_id, fresh_until=session.deadline)
        except CovalError as error:
            session.warn(f"Could not cancel run {run_id} ({why}): {error.what}")
            return False
        if ended.outcome == "cancelled":
            session.log(f"Cancelled run {run_id}: {why}.")
        return True

    def _unfinished(self, trouble: str, *, way_out: str) -> Procedure[Found]:
        try:
            return (yield from self.listed(LOOKING_UP))
        except CovalError as error:
            advice = "\n".join(text for text in (error.advice, way_out) if text)
            raise CovalError(titles.NOT_LAUNCHED, f"{trouble}: {error.what}", advice=advice) from None

    def listed(self, patience: float) -> Procedure[Found]:
        """Raises CovalError if Coval lists no runs within `patience` seconds."""
        if not self.tags.group:
            return Found()
        sought = Sought(self.ids, self.tags.group, may_be=lambda run: not run.is_over, parts=True)
        return (yield from search(self.session.within(patience), sought))


def _unknown(unfinished: Found) -> str:
    return " or ".join(f"run {run.run_id}" for run in unfinished.hidden)


def cancel_trial(session: Session, trial: Trial) -> Procedure[Cancellation]:
    """Find the run if its id is not known, and cancel it unless it is over. Raises CovalError."""
    trial.is_given_up = True
    if not trial.run_id:
        run = yield from find_launched(session, trial)
        if run is None:
            return Cancellation(outcome="not_launched")
        trial.identify(run.run_id, at=session.clock.now())
    return (yield from cancel_run(session, trial.run_id, fresh_until=trial.known_since + FRESH_TIME))


def end_other_launches(session: Session, trial: Trial, *, keep_newest: bool = False) -> Procedure[None]:
    """Cancel the runs of launches that were given up for lost and had an effect after all. Raises CovalError.

    `keep_newest`: if the id of the trial's own run is unknown, take the newest run for it.
    """
    if Duty.CANCEL_OTHERS not in trial.duties:
        return
    runs = (yield from search(session, Sought(trial.ids, trial.tags.key, parts=True))).runs
    if runs and keep_newest and not trial.run_id:
        trial.identify(runs[0].run_id, at=session.clock.now())
    for run in runs:
        if run.run_id != trial.run_id and not run.is_over:
            # It is listed, so a 404 means that Coval does not know it yet.
            yield from cancel_run(session, run.run_id, fresh_until=session.deadline)
            session.log(f"Cancelled run {run.run_id}: the step launched another in its place.")
