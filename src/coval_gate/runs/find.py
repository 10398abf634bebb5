"""Finds a run by what it was launched with, even if Coval's filter for tags does not work.

Sources disagree on whether it works, so the newest runs of the same agent, persona and test set are searched as well,
and every listed run is checked here. A list may show neither the tags of a run nor its metadata; such runs are fetched
one by one.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, LaunchUncertain, Rejected, Unavailable
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import Wait, together
from coval_gate.base.text import duration
from coval_gate.config.inputs import LAUNCH_IDS
from coval_gate.model.run import Run
from coval_gate.runs.tags import tags_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from coval_gate.base.schedule import Procedure
    from coval_gate.runs.legs import Session, Trial

LATE: Final = 1.5  # s for the response to a launch that was under way when the search begins
FOREIGN: Final = 10.0  # s after which responses that are not in Coval's form will not do
SEARCH_TIME: Final = (
    10.0  # s for a search while the connection of a launch is open, whose response settles the question
)
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 10.0  # s between two searches
MOST_FETCHED: Final = 20  # runs of a list that are fetched one by one; the newest
NEWEST_FETCHED: Final = 5  # of them, if a launch was lost, whenever they seem to have begun: the clocks may differ
MOST_LISTED: Final = 1000  # runs of a list that a search considers
PATIENCE: Final = 300.0  # s during which an outage does not end a search
PAUSES: Final = (1.0, 2.0, 4.0, 8.0)  # s before further searches, if a list may be late or a response damaged

Unknown = Literal["unknown"]
UNKNOWN: Final[Unknown] = "unknown"  # whether a launch had an effect


class FoundRuns(NamedTuple):
    """The runs with a tag, newest first; `bare` ones show neither tags nor metadata, so they could be such a run.

    `named`: another run shows tags or metadata, so Coval does show them.
    """

    runs: tuple[Run, ...]
    bare: tuple[Run, ...] = ()
    named: bool = False


def runs_with(
    session: Session,
    tag: str,
    ids: Mapping[str, str],
    *,
    may_be: Callable[[Run], bool] = lambda _: True,
    newest: int = 0,
) -> Procedure[FoundRuns]:
    """Return the runs of this agent, persona and test set (`ids`) that have a tag, and bare ones.

    `may_be`: whether a run whose tags are unknown matters. The first `newest` ones are fetched in any case. Raises
    Rejected if Coval refuses both ways to ask, Unavailable if there is no response by the deadline.
    """

    from coval_gate.coval.runs import RunFilter

    def is_unnamed(run: Run) -> bool:
        return not _is_named(run) and is_of(run, ids)

    same = RunFilter(**{name: ids.get(name, "") for name in LAUNCH_IDS})
    filters = [RunFilter(tag=tag), *([same] if any(same) else [])]
    refused: list[Rejected] = []
    listed: dict[str, Run] = {}
    for run_filter in filters:
        try:
            runs = yield from session.client.list_runs(run_filter, until=session.deadline)
        except Rejected as error:
            refused.append(error)
            continue
        listed = {run.run_id: run for run in runs} | {run_id: run for run_id, run in listed.items() if _is_named(run)}
        unnamed = filter(is_unnamed, listed.values())
        bare = [run for number, run in enumerate(unnamed) if number < newest or may_be(run)][:MOST_FETCHED]
        listed |= {run.run_id: run for run in (yield from fetched(session, bare))}
        if tagged := tuple(run for run in listed.values() if has_tag(run, tag)):
            return FoundRuns(tagged)
    if len(refused) == len(filters):
        raise refused[0]
    bare = [run for run in listed.values() if is_unnamed(run) and may_be(run)]
    return FoundRuns((), tuple(bare), named=any(map(_is_named, listed.values())))


def find_launched(
    session: Session, trial: Trial, *, settling: float = math.inf, since: Callable[[], float] = lambda: 0.0
) -> Procedure[Run | None]:
    """Find the run of a launch whose response was lost; return None if it surely had no effect.

    A launch had none if Coval does not list its run for `settling` seconds after the connection was closed, unless a
    bare run created `since` then may be its run: a time in seconds since the epoch, by Coval's clock, of which its
    responses may tell more and more. While the connection is open, a search may fail: the response can
    still come. Raises LaunchUncertain if the question cannot be settled by the deadline.
    """
    clock, until = session.clock, session.deadline
    began = last_open = clock.now()
    within = min(LATE, max(0.0, until - began))
    pause = FIRST_PAUSE
    outcome: FoundRuns | LaunchUncertain | None = None
    while True:
        late = yield from _late_response(trial, within)
        if not isinstance(late, str):
            return late
        within, open_calls, began_search = 0.0, trial.open_calls, clock.now()
        patience = min(until, began_search + SEARCH_TIME) if open_calls else until
        outcome = yield from _search(session._replace(deadline=patience), trial, since=since, before=outcome)
        now = clock.now()
        last_open = now if open_calls else last_open
        settled = last_open + settling
        if isinstance(outcome, FoundRuns) and outcome.runs:
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
            if not outcome.bare:
                return None
            ids = " or ".join(run.run_id for run in outcome.bare)
            raise LaunchUncertain(titles.LAUNCH_UNCERTAIN, f"The launch may have begun the run {ids}.")
        yield Wait(min(pause, settled - now, until - now), open_calls)
        pause = min(LONGEST_PAUSE, pause * 2)


def _no_time(lacking: float, settling: float, *, is_open: bool) -> LaunchUncertain:
    """Return the error of a search that ended `lacking` seconds before it could be sure that there is no run."""
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


def has_tag(run: Run, tag: str) -> bool:
    """Return whether a run has a tag."""
    return tag in tags_of(run)


def fetched(session: Session, runs: Iterable[Run]) -> Procedure[list[Run]]:
    """Fetch each of the runs, except those that cannot be read. Raises Unavailable as `Client.get_run`."""
    calls = (session.client.get_run(run.run_id, until=session.deadline) for run in runs)
    results = yield from together(calls, session.clock)
    for result in results:
        if isinstance(result, Unavailable) or not isinstance(result, Run | CovalError):
            raise result
    return [result for result in results if isinstance(result, Run)]


def fetched_whole(session: Session, listed: Run) -> Procedure[Run]:
    """Fetch a listed run; the list may show tags or metadata that the run alone does not. Raises CovalError."""
    run = yield from session.client.get_run(listed.run_id, until=session.deadline)
    return run._replace(tags=run.tags or listed.tags, metadata=run.metadata or listed.metadata)


def created_at(run: Run) -> float | None:
    """Return when a run was created, in seconds since the epoch; None if it does not show it."""
    return moment_of(run.create_time)


def moment_of(text: str) -> float | None:
    """Return a time of Coval's in seconds since the epoch; None if it cannot be read."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _late_response(trial: Trial, within: float) -> Procedure[Run | Unknown | None]:
    """Return the run in a response that came late, or None if all launches surely had no effect.

    `within`: seconds to wait for the response to the latest launch.
    """
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
    session: Session, trial: Trial, *, since: Callable[[], float], before: FoundRuns | LaunchUncertain | None
) -> Procedure[FoundRuns | LaunchUncertain]:
    """Return the runs with the trial's key, and bare ones; an error if Coval does not say.

    If there is no time for a call, return the error of the search `before`.
    """
    try:
        return (
            yield from runs_with(
                session, trial.key, trial.ids, may_be=lambda run: _is_created(run, since()), newest=NEWEST_FETCHED
            )
        )
    except CovalError as error:
        if isinstance(before, LaunchUncertain) and isinstance(error, Unavailable) and not error.call:
            return before
        return LaunchUncertain(
            titles.LAUNCH_UNCERTAIN,
            f"Could not check whether the launch began a run: {error.what}",
            advice=error.advice,
            rejection=error if isinstance(error, Rejected) else None,
        )


def _may_pass(error: LaunchUncertain, waited: float) -> bool:
    """Return whether a search is worth another try that failed after so many seconds: the response was not Coval's."""
    return error.rejection is not None and not error.rejection.by_coval and waited < FOREIGN


def _is_named(run: Run) -> bool:
    """Return whether a run shows what it was launched with."""
    return bool(run.tags or run.metadata)


def is_of(run: Run, ids: Mapping[str, str]) -> bool:
    """Return whether a run may have been launched with these ids, as far as it shows its own."""
    return all(getattr(run, name) in ("", ids.get(name)) for name in LAUNCH_IDS)


def _is_created(run: Run, since: float) -> bool:
    """Return whether a run may have been created since that time, in seconds since the epoch."""
    created = created_at(run)
    return created is None or created >= since
