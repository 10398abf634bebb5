"""Searches Coval's list of runs, the only place that does, and finds the newest run that the input run_id names.

Two doubts about the list are known here alone: it may ignore, refuse or not understand a filter for tags, and its
entries may show neither tags nor metadata. So a search asks by the tag and then without it, checks each entry itself,
and reads an entry alone if that may show more.

Runs of which several decide together (slices, repetitions, bases) are found only by a search for `parts`. A run of
which the list does not show what it is, is read alone before it counts.

An older run must not pass in place of the newest. So finding that fails if a newer run hides whether it is one of them,
or if two are equally new.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError, NotFound, Rejected, Unavailable
from coval_gate.base.schedule import Procedure, Wait, together
from coval_gate.base.text import age, duration, in_words
from coval_gate.base.times import LOOKING_UP
from coval_gate.ci.host import Context
from coval_gate.coval.client import FRESH_TIME, SERVERS_SKEW, Session
from coval_gate.coval.model import Run, RunFilter
from coval_gate.history.tags import PREFIX, branch_tag, hides_part, part_of, pull_request_of, tags_of
from coval_gate.inputs.fields import RunSource
from coval_gate.inputs.inputs import LAUNCH_IDS, ids_of, noun
from coval_gate.inputs.parsing import MOST_RUN_TAGS

MOST_READ: Final = 20  # entries of a list that are read alone, the newest; for a history, twice as many as it shows
READS_AT_ONCE: Final = 5  # of these
MOST_SEARCHED: Final = 1000  # entries of a list
PAUSES: Final = (1.0, 2.0, 4.0, 8.0)  # s before further searches: Coval may list a run late that was just launched
MOST_SCHEDULED: Final = 30  # runs of a scheduled run that are read
MOST_NEWEST_NAMED: Final = 3  # runs of one moment in a message
TWO_DAYS: Final = 172_800.0  # s
SOURCE_PHRASES: Final = {"tag": "with tag {}", "branch": "of branch {}", "schedule": "of scheduled run {}"}
FIRST: Final = f"Check {in_words(['run_id', *LAUNCH_IDS])}. If they are right, launch such a run first."
BY_ID: Final = "Pass the id of the run in run_id."


class Sought(NamedTuple):
    """`since`: the list comes newest first, and is read up to the first run created earlier (s since the epoch).

    If it is None, one page is enough. `ids`: by the names of inputs. `may_be`: which runs that do not show whether they
    have the tag matter; with `must_know`, also where the list shows the tags of others. `parts`: find these, too.
    `most_read`: how many entries are read alone.
    """

    ids: Mapping[str, str] = MappingProxyType({})
    tag: str = ""
    status: str = ""
    since: float | None = None
    enough: Callable[[Sequence[Run]], bool] = lambda _: False
    fits: Callable[[Run], bool] = lambda _: True
    may_be: Callable[[Run], bool] = lambda _: True
    must_know: bool = False
    parts: bool = False
    most_read: int = MOST_READ

    @property
    def filters(self) -> tuple[RunFilter, ...]:
        """The ways to ask, the best first."""
        alike = RunFilter(**self.ids, status=self.status)
        tagged = alike._replace(tag=self.tag)
        by_tag = [tagged] if self.tag and tagged.can_be_sent else []
        is_bounded = any(alike) or self.since != 0.0
        return (*by_tag, *([alike] if is_bounded or not by_tag else []))

    def is_alike(self, run: Run) -> bool:
        """Return whether a run has the ids and the status, as far as it shows them."""
        return may_have_ids(run, self.ids) and self.status in ("", run.status)

    def is_found(self, run: Run) -> bool:
        is_tagged = self.is_alike(run) and (not self.tag or has_tag(run, self.tag))
        return is_tagged and (self.parts or not part_of(run)) and self.fits(run)

    def is_satisfied(self, runs: Iterable[Run]) -> bool:
        return self.enough([run for run in runs if self.is_found(run)])

    def hides_tag(self, run: Run) -> bool:
        """Return whether a run may have the tag without showing it. Metadata repeat the gate's own tags."""
        is_ours = not self.tag or self.tag.startswith(PREFIX)
        shows_all = 0 < len(run.tags) < MOST_RUN_TAGS  # one of ours finds no room in a full list of tags
        return self.is_alike(run) and not (shows_all or (run.metadata and is_ours)) and self.may_be(run)


class Found(NamedTuple):
    """`runs` were sought, `seen` were listed; both come newest first.

    `hidden` may have the tag, but do not show it even alone; unless `must_know`, there are none if others show theirs.
    `is_whole`: there are not so many runs that some were not looked at.
    """

    runs: tuple[Run, ...] = ()
    seen: tuple[Run, ...] = ()
    hidden: tuple[Run, ...] = ()
    is_whole: bool = True


async def search(session: Session, sought: Sought) -> Found:
    """Raises Rejected if Coval refuses each way to ask, Unavailable if there is no response by the deadline."""
    refused: list[Rejected] = []
    seen: dict[str, Run] = {}
    found = Found()
    for run_filter in sought.filters:
        try:
            listed = await session.client.list_runs(
                run_filter, until=session.deadline, go_on=lambda runs: _reads_on(sought, runs)
            )
        except Rejected as error:
            refused.append(error)
            continue
        seen = {run.run_id: run for run in listed} | seen
        alone, unread = await _read_alone(session, sought, seen)
        seen |= alone
        is_whole = len(listed) < MOST_SEARCHED and (not unread or sought.is_satisfied(alone.values()))
        runs = _newest_first(seen.values())
        is_shown = not sought.must_know and any(run.tags or run.metadata for run in runs)
        hidden = () if is_shown else tuple(run for run in runs if sought.hides_tag(run) and not sought.is_found(run))
        counts = (run for run in filter(sought.is_found, runs) if sought.parts or run.run_id not in unread)
        found = Found(tuple(counts), tuple(runs), hidden, is_whole)
        if found.runs:
            return found
    if len(refused) == len(sought.filters):
        raise refused[0]
    return found


def _reads_on(sought: Sought, listed: Sequence[Run]) -> bool:
    if not listed or sought.since is None or len(listed) >= MOST_SEARCHED:
        return False
    if sought.is_satisfied(run for run in listed if run.created != listed[-1].created):  # others may be as old as that
        return False
    return (listed[-1].created or math.inf) >= sought.since


async def _read_alone(session: Session, sought: Sought, seen: Mapping[str, Run]) -> tuple[dict[str, Run], set[str]]:
    """Read the newest runs alone that may be sought, if the list shows no tags, or not what those found are.

    Return these, with what the list showed, and the ids of those for which there was no need or no room.
    """
    shows_tags = any(run.tags for run in seen.values())

    def is_doubtful(run: Run) -> bool:
        if not sought.parts and hides_part(run) and sought.is_found(run):
            return True
        if shows_tags:
            return (sought.must_know or bool(run.tags)) and sought.hides_tag(run)
        return not run.tags and (sought.hides_tag(run) or sought.is_found(run))

    all_doubtful = list(filter(is_doubtful, _newest_first(seen.values())))
    doubtful = all_doubtful[: sought.most_read]
    whole: dict[str, Run] = {}
    while doubtful and not sought.is_satisfied(run for run in whole.values() if run.created != doubtful[0].created):
        batch, doubtful = doubtful[:READS_AT_ONCE], doubtful[READS_AT_ONCE:]
        calls = (session.client.get_run(run.run_id, until=session.deadline) for run in batch)
        for listed, read in zip(batch, await together(calls, session.clock), strict=True):
            if isinstance(read, Unavailable):
                raise read
            whole[listed.run_id] = listed if isinstance(read, CovalError) else with_list(read, listed)
    return whole, {run.run_id for run in all_doubtful} - whole.keys()


def with_list(run: Run, listed: Run) -> Run:
    """Return a run that was read alone with what only the list shows of it."""
    return run._replace(tags=run.tags or listed.tags, metadata=run.metadata or listed.metadata)


def _newest_first(runs: Iterable[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: run.created or 0.0, reverse=True)


def has_tag(run: Run, tag: str) -> bool:
    """Coval may show tags in lower case."""
    return tag.lower() in map(str.lower, tags_of(run))


def may_have_ids(run: Run, ids: Mapping[str, str]) -> bool:
    """Return whether a run may have been launched with these ids, as far as it shows its own."""
    return all(own in ("", ids.get(name) or own) for name, own in run.ids.items())


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
    newest_first = sorted(listed, key=lambda run: run.created or math.inf, reverse=True)
    runs: list[Run] = []
    newest = 0.0
    for entry in newest_first[:MOST_SCHEDULED]:
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
    return Found(runs=tuple(_newest_first(runs)))


def _server_time(session: Session, moment: float) -> float:
    """Return seconds since the epoch, by Coval's clock: ours may be wrong. Raises GateError without it."""
    if (shown := session.client.server_time(moment)) is None:
        what = "Coval's responses have no Date, so the age of a run is not known."
        raise GateError(titles.RUN_UNCLEAR, what, advice=BY_ID)
    return shown


def source_phrase(source: RunSource) -> str:
    """Return what the runs of a source have in common."""
    return SOURCE_PHRASES[source.kind].format(source.name)
