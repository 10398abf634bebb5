"""Searches Coval's list of runs, the only place that does.

Two doubts about the list are known here alone: it may ignore, refuse or not understand a filter for tags, and its
entries may show neither tags nor metadata. So a search asks by the tag and then without it, checks each entry itself,
and reads an entry alone if that may show more.

Runs of which several decide together (slices, repetitions, bases) are found only by a search for `parts`. A run of
which the list does not show what it is, is read alone before it counts.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from coval_gate.base.errors import CovalError, Rejected, Unavailable
from coval_gate.base.schedule import together
from coval_gate.coval.client import Session
from coval_gate.coval.model import Run, RunFilter
from coval_gate.history.tags import PREFIX, hides_part, part_of, tags_of
from coval_gate.inputs.parsing import MOST_RUN_TAGS

MOST_READ: Final = 20  # entries of a list that are read alone, the newest; for a history, twice as many as it shows
READS_AT_ONCE: Final = 5  # of these
MOST_SEARCHED: Final = 1000  # entries of a list


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
        runs = newest_first(seen.values())
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

    all_doubtful = list(filter(is_doubtful, newest_first(seen.values())))
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


def newest_first(runs: Iterable[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: run.created or 0.0, reverse=True)


def has_tag(run: Run, tag: str) -> bool:
    """Coval may show tags in lower case."""
    return tag.lower() in map(str.lower, tags_of(run))


def may_have_ids(run: Run, ids: Mapping[str, str]) -> bool:
    """Return whether a run may have been launched with these ids, as far as it shows its own."""
    return all(own in ("", ids.get(name) or own) for name, own in run.ids.items())
