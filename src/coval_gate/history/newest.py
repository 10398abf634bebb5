"""Finds the newest run of a source, which the input run_id names: a tag, a branch, or a scheduled run of Coval's.

An older run must not pass in place of the newest. So the search fails if a newer run hides whether it is one of them.
"""

from __future__ import annotations

import math
import time
from typing import Final

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError, NotFound
from coval_gate.base.schedule import Procedure, Wait
from coval_gate.base.text import age, duration, in_words
from coval_gate.ci.host import IS_BASE, REPETITION, Context
from coval_gate.coval.model import Run
from coval_gate.coval.session import FRESH_TIME, SERVERS_SKEW, Session
from coval_gate.history.search import Found, Sought, created_at, creation, is_of, moment_of, search
from coval_gate.history.tags import branch_tag, pull_request_of
from coval_gate.inputs.fields import RunSource
from coval_gate.inputs.inputs import LAUNCH_IDS, ids_of, noun

PATIENCE: Final = 300.0  # s during which an outage does not end the search
PAUSES: Final = (1.0, 2.0, 4.0, 8.0)  # s before further searches: Coval may list a run late that was just launched
MOST_SCHEDULED: Final = 30  # runs of a scheduled run that are read
DAY: Final = 86_400.0  # s
PHRASES: Final = {"tag": "with tag {}", "branch": "of branch {}", "schedule": "of scheduled run {}"}
FIRST: Final = f"Check {in_words(['run_id', *LAUNCH_IDS])}. If they are right, launch such a run first."
BY_ID: Final = "Pass the id of the run in run_id."


def find_newest(session: Session, source: RunSource, context: Context) -> Procedure[Run]:
    """Return the newest run with the ids of the inputs, whatever its status. Raises GateError if none counts."""
    began = session.clock.now()
    until = min(session.deadline, began + PATIENCE)
    session = session.until(until)
    pauses = list(PAUSES)
    while True:
        of_schedule = source.kind == "schedule"
        searching = _scheduled(session, source, began) if of_schedule else _listed(session, source, context)
        try:
            found = yield from searching
        except CovalError as error:
            what, advice = f"Could not look up run_id {source}: {error.what}", error.advice
            if isinstance(error, NotFound) and error.by_coval:
                advice = f"{advice}\nThe API key needs the permission scheduled-runs:read."
            raise GateError(error.title, what, advice=advice) from None
        is_fresh = bool(found.hidden) and session.clock.now() < began + FRESH_TIME
        pause = pauses.pop(0) if pauses else PAUSES[-1] if is_fresh else None
        if found.runs or pause is None or session.clock.now() + pause >= until:
            break
        yield Wait(pause)
    if found.hidden:  # then no run shows its tags, so none was found
        raise GateError(
            titles.RUN_UNCLEAR,
            f"Coval lists run {found.hidden[0].run_id}, but does not show what it is, so the step cannot tell which "
            f"run is the newest {_phrase(source)}.",
            advice=BY_ID,
        )
    if not found.runs:
        ids = in_words([f"{noun(name)} {value}" for name, value in ids_of(session.inputs).items()])
        raise GateError(titles.RUN_NOT_FOUND, f"Coval lists no run of {ids} {_phrase(source)}.", advice=FIRST)
    newest, limit = found.runs[0], session.inputs.run_max_age
    seconds = _time(session, session.clock.now()) - creation(newest)
    if seconds < -SERVERS_SKEW:
        raise GateError(
            titles.RUN_UNCLEAR,
            f"The newest run {_phrase(source)}, {newest.run_id}, was created at {newest.create_time}, which is later "
            "than Coval's own time, so its age is not known.",
            advice=BY_ID,
        )
    if seconds > limit.seconds:
        old = age(seconds) if seconds >= 2 * DAY else duration(seconds)  # exactly enough to differ from a day
        raise GateError(
            titles.RUN_TOO_OLD,
            f"The newest run {_phrase(source)}, {newest.run_id}, is {old} old, more than run_max_age ({limit}).",
            advice="Launch a new run, or raise run_max_age.",
        )
    return newest


def found_text(run: Run, source: RunSource) -> str:
    """Return which run was found, as the beginning of a line."""
    created = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(creation(run)))
    return f"Found run {run.run_id} of {created}, the newest {_phrase(source)}"


def _listed(session: Session, source: RunSource, context: Context) -> Procedure[Found]:
    """Raises GateError, CovalError."""
    of_branch = source.kind == "branch"
    tag = branch_tag(context, source.name) if of_branch else source.name
    if not tag:
        raise GateError(
            titles.RUN_NOT_FOUND,
            f"run_id {source} cannot be looked up: the repository of the branch is not known.",
            advice=f"Name the run by a tag. {BY_ID}",
        )
    sought = Sought(
        ids_of(session.inputs),
        tag,
        since=0.0,
        enough=bool,
        fits=lambda run: (
            created_at(run) is not None
            and not run.metadata.keys() & {IS_BASE, REPETITION}  # which decide nothing alone
            and not (of_branch and pull_request_of(run) is not None)
        ),
    )
    return search(session, sought)


def _scheduled(session: Session, source: RunSource, began: float) -> Procedure[Found]:
    """A run that was new when the search `began` may not be found yet, and is hidden then. Raises GateError."""
    ids = ids_of(session.inputs)
    listed = yield from session.client.list_scheduled_runs(source.name, until=session.deadline)
    newest_first = sorted(listed, key=lambda run: moment_of(run.create_time) or math.inf, reverse=True)
    runs: list[Run] = []
    for entry in newest_first[:MOST_SCHEDULED]:
        try:
            run = yield from session.client.get_run(entry.run_id, until=session.deadline)
        except NotFound as error:
            if not error.by_coval:
                raise
            if _time(session, began) - (moment_of(entry.create_time) or 0.0) < FRESH_TIME:
                return Found(hidden=(entry,))
            session.log(f"Coval lists run {entry.run_id}, but no longer has it.")
            continue
        if is_of(run, ids) and created_at(run) is not None:
            runs.append(run)
            if moment_of(entry.create_time):
                break
    return Found(runs=tuple(sorted(runs, key=creation, reverse=True)))


def _time(session: Session, moment: float) -> float:
    """Return seconds since the epoch, by Coval's clock: ours may be wrong. Raises GateError if Coval does not tell."""
    shown = session.client.server_time(moment)
    if shown is None:
        what = "Coval's responses have no Date, so the age of a run is not known."
        raise GateError(titles.RUN_UNCLEAR, what, advice=BY_ID)
    return shown


def _phrase(source: RunSource) -> str:
    """Return what the runs of a source have in common."""
    return PHRASES[source.kind].format(source.name)
