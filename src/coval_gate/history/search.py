"""Searches Coval's list of runs: the only place that does.

Two doubts about the list are known here alone: it may ignore, refuse or not understand a filter for tags, and its
entries may show neither tags nor metadata. So a search asks by the tag and then without it, checks each entry itself,
and reads an entry alone if that may show more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from coval_gate.base.errors import CovalError, NotFound, Rejected, Unavailable
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import Procedure, together
from coval_gate.coval.model import Run, RunFilter
from coval_gate.coval.session import Session
from coval_gate.history.tags import PREFIX, tags_of
from coval_gate.inputs.inputs import LAUNCH_IDS
from coval_gate.inputs.parsing import MOST_RUN_TAGS

MOST_READ: Final = 20  # entries of a list that are read alone; the newest
AT_ONCE: Final = 5  # of these
MOST_LISTED: Final = 1000  # entries of a list


class Sought(NamedTuple):
    """`since`: the list comes newest first, and is read up to the first run created earlier (s since the epoch).

    If it is None, one page is enough. `ids`: by the names of inputs. `may_be`: which runs that do not show whether they
    have the tag matter; with `must_know`, also where the list shows the tags of others. `averages`: list those of
    metrics, too; then Coval knows no filter for tags, and no run is read alone.
    """

    ids: Mapping[str, str] = MappingProxyType({})
    tag: str = ""
    status: str = ""
    since: float | None = None
    enough: Callable[[Sequence[Run]], bool] = lambda _: False
    fits: Callable[[Run], bool] = lambda _: True
    may_be: Callable[[Run], bool] = lambda _: True
    must_know: bool = False
    averages: bool = False

    @property
    def filters(self) -> tuple[RunFilter, ...]:
        """The ways to ask, the best first."""
        ids = {name: self.ids.get(name, "") for name in LAUNCH_IDS}
        alike = RunFilter(**ids, status=self.status)
        tagged = alike._replace(tag=self.tag)
        by_tag = [tagged] if self.tag and tagged.can_be_sent and not self.averages else []
        return (*by_tag, *([alike] if any(alike) or not by_tag else []))

    def is_alike(self, run: Run) -> bool:
        """Return whether a run has the ids and the status, as far as it shows them."""
        return is_of(run, self.ids) and self.status in ("", run.status)

    def is_found(self, run: Run) -> bool:
        return self.is_alike(run) and (not self.tag or has_tag(run, self.tag)) and self.fits(run)

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


def search(session: Session, sought: Sought) -> Procedure[Found]:
    """Raises Rejected if Coval refuses each way to ask, Unavailable if there is no response by the deadline."""
    refused: list[Rejected] = []
    seen: dict[str, Run] = {}
    found = Found()
    for run_filter in sought.filters:
        try:
            listed = yield from session.client.list_runs(
                run_filter,
                until=session.deadline,
                go_on=lambda runs: _goes_on(sought, runs),
                with_averages=sought.averages,
            )
        except Rejected as error:
            refused.append(error)
            continue
        seen = {run.run_id: run for run in listed} | seen
        alone, is_whole = yield from _read_alone(session, sought, seen)
        seen |= alone
        found = _found(sought, seen.values())._replace(is_whole=is_whole and len(listed) < MOST_LISTED)
        if found.runs:
            return found
    if len(refused) == len(sought.filters):
        raise refused[0]
    return found


def _goes_on(sought: Sought, listed: Sequence[Run]) -> bool:
    if not listed or sought.since is None or len(listed) >= MOST_LISTED or sought.is_satisfied(listed):
        return False
    return (created_at(listed[-1]) or math.inf) >= sought.since


def _read_alone(session: Session, sought: Sought, seen: Mapping[str, Run]) -> Procedure[tuple[dict[str, Run], bool]]:
    """Read the newest runs alone that may be sought, if the list shows no tags; return these, with what it showed."""
    shows_tags = any(run.tags for run in seen.values())

    def is_doubtful(run: Run) -> bool:
        if sought.averages:
            return False
        if shows_tags:
            return (sought.must_know or bool(run.tags)) and sought.hides_tag(run)
        return not run.tags and (sought.hides_tag(run) or sought.is_found(run))

    all_doubtful = list(filter(is_doubtful, _newest_first(seen.values())))
    doubtful = all_doubtful[:MOST_READ]
    whole: dict[str, Run] = {}
    while doubtful and not sought.is_satisfied(whole.values()):
        batch, doubtful = doubtful[:AT_ONCE], doubtful[AT_ONCE:]
        calls = (session.client.get_run(run.run_id, until=session.deadline) for run in batch)
        for listed, read in zip(batch, (yield from together(calls, session.clock)), strict=True):
            if isinstance(read, NotFound):
                whole[listed.run_id] = listed
            elif isinstance(read, Unavailable):
                raise read
            elif not isinstance(read, CovalError):
                whole[listed.run_id] = with_list(read, listed)
    return whole, len(all_doubtful) <= MOST_READ or sought.is_satisfied(whole.values())


def with_list(run: Run, listed: Run) -> Run:
    """Return a run that was read alone with what only the list shows of it."""
    return run._replace(
        tags=run.tags or listed.tags, metadata=run.metadata or listed.metadata, averages=listed.averages
    )


def _found(sought: Sought, seen: Iterable[Run]) -> Found:
    runs = _newest_first(seen)
    is_shown = not sought.must_know and any(run.tags or run.metadata for run in runs)
    hidden = () if is_shown else tuple(run for run in runs if sought.hides_tag(run) and not sought.is_found(run))
    return Found(runs=tuple(filter(sought.is_found, runs)), seen=tuple(runs), hidden=hidden)


def _newest_first(runs: Iterable[Run]) -> list[Run]:
    return sorted(runs, key=creation, reverse=True)


def has_tag(run: Run, tag: str) -> bool:
    """Coval may show tags in lower case."""
    return tag.lower() in map(str.lower, tags_of(run))


def is_of(run: Run, ids: Mapping[str, str]) -> bool:
    """Return whether a run may have been launched with these ids, as far as it shows its own."""
    return all(getattr(run, name) in ("", ids.get(name) or getattr(run, name)) for name in LAUNCH_IDS)


def ids_of_run(run: Run) -> dict[str, str]:
    """Return ids by the names of inputs."""
    return {name: getattr(run, name) for name in LAUNCH_IDS}


def created_at(run: Run) -> float | None:
    """Return seconds since the epoch; None if the run does not show them."""
    return moment_of(run.create_time)


def creation(run: Run) -> float:
    """Return the same for an order by age: a run that does not show them counts as the oldest."""
    return created_at(run) or 0.0


def moment_of(text: str) -> float | None:
    """Return seconds since the epoch; None if the text cannot be read. Without an offset, it is in UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
