"""Finds the newest run that the input run_id names by a tag, a branch or a scheduled run.

An older run must not pass in place of the newest. So finding that fails if a newer run hides whether it is one of them,
or if two are equally new.
"""

import math
import time
from typing import Final

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError, NotFound
from coval_gate.base.schedule import Procedure, Wait
from coval_gate.base.text import age, duration, in_words
from coval_gate.base.times import LOOKING_UP
from coval_gate.ci.host import Context
from coval_gate.coval.client import FRESH_TIME, SERVERS_SKEW, Session
from coval_gate.coval.model import Run
from coval_gate.history.search import MOST_READ, Found, Sought, may_have_ids, newest_first, search
from coval_gate.history.tags import branch_tag, part_of, pull_request_of
from coval_gate.inputs.fields import RunSource
from coval_gate.inputs.inputs import LAUNCH_IDS, ids_of, noun

PAUSES: Final = (1.0, 2.0, 4.0, 8.0)  # s before further searches: Coval may list a run late that was just launched
MOST_SCHEDULED: Final = 30  # runs of a scheduled run that are read
MOST_NEWEST_NAMED: Final = 3  # runs of one moment in a message
TWO_DAYS: Final = 172_800.0  # s
SOURCE_PHRASES: Final = {"tag": "with tag {}", "branch": "of branch {}", "schedule": "of scheduled run {}"}
FIRST: Final = f"Check {in_words(['run_id', *LAUNCH_IDS])}. If they are right, launch such a run first."
BY_ID: Final = "Pass the id of the run in run_id."


async def find_newest(session: Session, source: RunSource, context: Context) -> Run:
    """Return the newest run with the ids of the inputs, whatever its status. Raises GateError if none counts."""
    began = session.clock.now()
    session = session.within(LOOKING_UP)
    pauses = list(PAUSES)
    while True:
        by_schedule = source.kind == "schedule"
        searching = _scheduled(session, source, began) if by_schedule else list_newest(session, source, context)
        try:
            found = await searching
        except CovalError as error:
            what, advice = f"Could not look up run_id {source}: {error.what}", error.advice
            if isinstance(error, NotFound) and error.by_coval:
                advice = f"{advice}\nThe API key needs the permission scheduled-runs:read."
            raise GateError(error.title, what, advice=advice) from None
        is_fresh = bool(found.hidden) and session.clock.now() < began + FRESH_TIME
        pause = pauses.pop(0) if pauses else PAUSES[-1] if is_fresh else None
        if found.runs or pause is None or session.clock.now() + pause >= session.deadline:
            break
        await Wait(pause)
    if found.hidden:  # then no run shows its tags, so none was found
        raise GateError(
            titles.RUN_UNCLEAR,
            f"Coval lists run {found.hidden[0].run_id}, but does not show what it is, so the step does not know which "
            f"run is the newest {source_phrase(source)}.",
            advice=BY_ID,
        )
    if not found.runs:
        ids = in_words([f"{noun(name)} {value}" for name, value in ids_of(session.inputs).items()])
        raise GateError(titles.RUN_NOT_FOUND, f"Coval lists no run of {ids} {source_phrase(source)}.", advice=FIRST)
    newest, limit = found.runs[0], session.inputs.run_max_age
    if twins := [run.run_id for run in found.runs if run.created == newest.created][1:]:
        raise GateError(
            titles.RUN_UNCLEAR,
            f"Runs {in_words([newest.run_id, *twins], most=MOST_NEWEST_NAMED)} were created at the same time, "
            f"{newest.create_time}, so none of them is the newest {source_phrase(source)}.",
            advice=BY_ID,
        )
    seconds = _server_time(session, session.clock.now()) - (newest.created or 0.0)
    if seconds < -SERVERS_SKEW:
        raise GateError(
            titles.RUN_UNCLEAR,
            f"The newest run {source_phrase(source)}, {newest.run_id}, was created at {newest.create_time}, which is "
            "later than Coval's own time, so its age is not known.",
            advice=BY_ID,
        )
    if seconds > limit.seconds:
        old = age(seconds) if seconds >= TWO_DAYS else duration(seconds)  # exactly enough to differ from a day
        raise GateError(
            titles.RUN_TOO_OLD,
            f"The newest run {source_phrase(source)}, {newest.run_id}, is {old} old, more than run_max_age ({limit}).",
            advice="Launch a new run, or raise run_max_age.",
        )
    return newest


def found_text(run: Run, source: RunSource) -> str:
    """Return which run was found, as the beginning of a line."""
    created = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run.created or 0.0))
    return f"Found run {run.run_id} of {created}, the newest {source_phrase(source)}"


def list_newest(session: Session, source: RunSource, context: Context) -> Procedure[Found]:
    """Find the newest runs with a tag or of a branch, whatever their status. Raises GateError, CovalError."""
    is_branch = source.kind == "branch"
    tag = branch_tag(context, source.name) if is_branch else source.name
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
        enough=lambda runs: len(runs) >= max(1, source.last),
        fits=lambda run: run.created is not None and not (is_branch and pull_request_of(run) is not None),
        most_read=max(MOST_READ, 2 * source.last),
    )
    return search(session, sought)


async def _scheduled(session: Session, source: RunSource, began: float) -> Found:
    """A run that was new when the search `began` may not be found yet, and is hidden then. Raises GateError."""
    ids = ids_of(session.inputs)
    listed = await session.client.list_scheduled_runs(source.name, until=session.deadline)
    by_age = sorted(listed, key=lambda run: run.created or math.inf, reverse=True)
    runs: list[Run] = []
    newest = 0.0
    for entry in by_age[:MOST_SCHEDULED]:
        if entry.created and entry.created < newest:
            break
        try:
            run = await session.client.get_run(entry.run_id, until=session.deadline)
        except NotFound as error:
            if not error.by_coval:
                raise
            if _server_time(session, began) - (entry.created or 0.0) < FRESH_TIME:
                return Found(hidden=(entry,))
            session.log(f"Coval lists run {entry.run_id}, but no longer has it.")
            continue
        if may_have_ids(run, ids) and run.created is not None and not part_of(run):
            runs.append(run)
            newest = entry.created or newest
    return Found(runs=tuple(newest_first(runs)))


def _server_time(session: Session, moment: float) -> float:
    """Return seconds since the epoch, by Coval's clock: ours may be wrong. Raises GateError without it."""
    if (shown := session.client.server_time(moment)) is None:
        what = "Coval's responses have no Date, so the age of a run is not known."
        raise GateError(titles.RUN_UNCLEAR, what, advice=BY_ID)
    return shown


def source_phrase(source: RunSource) -> str:
    """Return what the runs of a source have in common."""
    return SOURCE_PHRASES[source.kind].format(source.name)
