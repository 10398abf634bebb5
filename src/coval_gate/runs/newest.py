"""Finds the newest run of a source, which the input run_id names: a tag, a branch, or a scheduled run of Coval's.

The step judges only a run that itself shows what it was looked for by. Coval's lists may lag, ignore a filter, or show
neither tags nor metadata, and any response may be damaged. So each list is read twice, and each listed run that may be
the newest is read alone. An older run must not pass in place of the newest: if Coval does not show enough of a run that
may be newer, the search fails.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final, Literal

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError, NotFound, Rejected
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import Wait
from coval_gate.base.text import age, duration, in_words
from coval_gate.config.inputs import LAUNCH_IDS, ids_of
from coval_gate.coval.runs import RunFilter
from coval_gate.runs.cancel import FRESH_TIME
from coval_gate.runs.find import MOST_FETCHED, MOST_LISTED, PATIENCE, PAUSES, created_at, is_of, moment_of
from coval_gate.runs.launch import noun
from coval_gate.runs.tags import branch_tag, hides_tag, pull_request_of, tags_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coval_gate.base.schedule import Procedure
    from coval_gate.ci.host import Context
    from coval_gate.config.fields import RunSource
    from coval_gate.coval.runs import ScheduledRun
    from coval_gate.model.run import Run
    from coval_gate.runs.legs import Session

MOST_SCHEDULED: Final = 30  # runs of a scheduled run that are read alone
DAY: Final = 86_400.0  # s
PHRASES: Final = {"tag": "with tag {}", "branch": "of branch {}", "schedule": "of scheduled run {}"}
FIRST: Final = f"Check {in_words(['run_id', *LAUNCH_IDS])}. If they are right, launch such a run first."
BY_ID: Final = "Pass the id of the run in run_id."

Fit = Literal["fits", "other", "bare", "unclear"]


class _Candidate(NamedTuple):
    """A listed run that may be the newest.

    `created`: when, in seconds since the epoch; infinite if the list does not show it. `fit`: what the list shows.
    """

    run_id: str
    created: float
    fit: Fit


def find_newest(session: Session, source: RunSource, context: Context, *, now: float) -> Procedure[Run]:
    """Return the newest run of the source with the agent, persona and test set of the inputs, whatever its status.

    `now`: seconds since the epoch. Raises GateError if there is none, if it is older than `run_max_age`, or if Coval
    does not show which one it is.
    """
    tag = {"tag": source.name, "branch": branch_tag(context, source.name), "schedule": ""}[source.kind]
    if source.kind == "branch" and not tag:
        raise GateError(
            titles.RUN_NOT_FOUND,
            f"run_id {source} cannot be looked up: the repository of the branch is not known.",
            advice=f"Name the run by a tag. {BY_ID}",
        )
    clock, began = session.clock, session.clock.now()
    until = min(session.deadline, began + PATIENCE)
    search = _NewestSearch(session._replace(deadline=until), source, tag, now)
    pauses = list(PAUSES)
    while True:
        try:
            return (yield from search.newest())
        except CovalError as error:
            what, advice = f"Could not look up run_id {source}: {error.what}", error.advice
            if isinstance(error, NotFound) and error.by_coval:  # a run that is not found is passed over
                advice = f"{advice}\nThe API key needs the permission scheduled-runs:read."
            raise GateError(error.title, what, advice=advice) from None
        except GateError as error:
            is_fresh = isinstance(error, _HiddenRun) and clock.now() < began + FRESH_TIME
            pause = pauses.pop(0) if pauses else PAUSES[-1] if is_fresh else None
            if pause is None or clock.now() + pause >= until:
                raise
        yield Wait(pause)


class _HiddenRun(GateError):
    """Coval lists a run, but does not find it. It may have been launched a moment ago."""


def found_text(run: Run, source: RunSource) -> str:
    """Return which run was found, as the beginning of a line."""
    created = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(_created(run)))
    return f"Found run {run.run_id} of {created}, the newest {_phrase(source)}"


class _NewestSearch:
    """The search for one run. A method raises CovalError if Coval does not say.

    `tag`: what the run must show; empty for a scheduled run. `now`: seconds since the epoch.
    """

    def __init__(self, session: Session, source: RunSource, tag: str, now: float) -> None:
        self._session = session
        self._source = source
        self._tag = tag
        self._now = now
        self._ids = ids_of(session.inputs)
        self._gone = set[str]()

    def newest(self) -> Procedure[Run]:
        """Search once. Raises GateError as `find_newest`, CovalError."""
        candidates, shows_tags = yield from (self._scheduled() if self._source.kind == "schedule" else self._listed())
        newest = yield from self._first(candidates, shows_tags=shows_tags)
        limit, seconds = self._session.inputs.run_max_age, self._now - _created(newest)
        if seconds > limit.seconds:
            old = age(seconds) if seconds >= 2 * DAY else duration(seconds)  # exactly enough to differ from a day
            raise GateError(
                titles.RUN_TOO_OLD,
                f"The newest run {_phrase(self._source)}, {newest.run_id}, is {old} old, "
                f"more than run_max_age ({limit}).",
                advice="Launch a new run, or raise run_max_age.",
            )
        return newest

    def _scheduled(self) -> Procedure[tuple[list[_Candidate], bool]]:
        """Return the runs that the scheduled run has launched and that may fit, newest first."""
        listed: dict[str, list[ScheduledRun]] = {}
        for _ in range(2):  # a damaged response may lack the newest one
            listing = self._session.client.list_scheduled_runs(self._source.name, until=self._session.deadline)
            for run in (yield from listing):
                listed.setdefault(run.run_id, []).append(run)
        ids = {name: self._ids[name] for name in ("agent_id", "test_set_id")}
        fitting = [
            _Candidate(run_id, _latest(run.create_time for run in shown), "unclear")
            for run_id, shown in listed.items()
            if all(getattr(run, name) in ("", value) for run in shown for name, value in ids.items())
        ]
        return _newest_first(fitting), False

    def _listed(self) -> Procedure[tuple[list[_Candidate], bool]]:
        """Return the listed runs that may fit, newest first, and whether the lists show tags at all.

        Raises Rejected if Coval refuses each way to ask.
        """
        same = RunFilter(**self._ids)
        tagged = same._replace(tag=self._tag)
        filters = [*([tagged] if tagged.can_be_sent else []), same] * 2  # as above
        listed: dict[str, list[Run]] = {}
        refused: list[Rejected] = []
        for run_filter in filters:
            try:
                runs = yield from self._session.client.list_runs(
                    run_filter, until=self._session.deadline, go_on=self._lacks_more
                )
            except Rejected as error:
                refused.append(error)
                continue
            for run in runs:
                listed.setdefault(run.run_id, []).append(run)
        if len(refused) == len(filters):
            raise refused[0]
        candidates = [
            _Candidate(run_id, _latest(run.create_time for run in shown), fit)
            for run_id, shown in listed.items()
            if (fit := self._fit_of_all(shown)) != "other"
        ]
        return _newest_first(candidates), any(run.tags for shown in listed.values() for run in shown)

    def _lacks_more(self, runs: Sequence[Run]) -> bool:
        """Return whether to read more of a list, which comes newest first."""
        if not runs or len(runs) >= MOST_LISTED or any(self._fit(run) in ("fits", "unclear") for run in runs):
            return False
        oldest = created_at(runs[-1]) or self._now
        return self._now - oldest <= self._session.inputs.run_max_age.seconds

    def _first(self, candidates: Sequence[_Candidate], *, shows_tags: bool) -> Procedure[Run]:
        """Return the newest of the candidates that fits when it is read alone.

        `shows_tags`: the lists show tags, so a candidate that shows none there probably has none. Only the newest of
        these are read all the same. Raises GateError.
        """
        most = MOST_SCHEDULED if self._source.kind == "schedule" else MOST_FETCHED
        read = {"bare": 0, "shown": 0}
        newest, created = None, -math.inf
        for candidate in candidates:
            if candidate.created < created:
                break
            kind = "bare" if candidate.fit == "bare" else "shown"
            if read[kind] == most and kind == "bare" and shows_tags:
                continue
            if read[kind] == most:
                raise self._not_found(f"None of the newest {most} {self._listed_runs_text} is such a run.", BY_ID)
            read[kind] += 1
            run = yield from self._fitting(candidate)
            if run and _created(run) > created:
                newest, created = run, _created(run)
        if newest is None:
            raise self._not_found()
        return newest

    def _fitting(self, candidate: _Candidate) -> Procedure[Run | None]:
        """Read a candidate alone, and return it if it fits; None if it surely does not. Raises GateError, CovalError.

        A response may be damaged, so only another one can show that the run does not fit.
        """
        run = yield from self._read(candidate.run_id)
        if run is None or (self._fit(run) != "fits" and is_of(run, self._ids)):
            run = (yield from self._read(candidate.run_id)) or run
        if run is None:
            self._pass_over(candidate)
            return None
        match self._fit(run):
            case "fits":
                return run
            case "unclear":
                raise self._unclear(run)
            case "bare" if candidate.fit != "bare":  # only the list shows the tag
                raise self._unclear(run)
        return None

    def _pass_over(self, candidate: _Candidate) -> None:
        """Log that a listed run no longer exists. Raises _HiddenRun if it may have been launched a moment ago."""
        if self._now - candidate.created < FRESH_TIME:
            raise _HiddenRun(
                titles.RUN_UNCLEAR,
                f"Coval lists run {candidate.run_id}, but does not find it, so the step cannot tell which run is the "
                f"newest {_phrase(self._source)}.",
                advice=BY_ID,
            )
        if candidate.run_id not in self._gone:
            self._session.log(f"Coval lists run {candidate.run_id}, but no longer has it.")
        self._gone.add(candidate.run_id)

    def _read(self, run_id: str) -> Procedure[Run | None]:
        """Return a run; None if Coval does not have it."""
        try:
            return (yield from self._session.client.get_run(run_id, until=self._session.deadline))
        except NotFound as error:
            if not error.by_coval:
                raise
            return None

    def _fit_of_all(self, shown: Iterable[Run]) -> Fit:
        """Return whether a run fits by all that the lists show of it: the most that one of them shows."""
        fits = [self._fit(run) for run in shown]
        return next((fit for fit in ("fits", "unclear", "bare") if fit in fits), "other")

    def _fit(self, run: Run) -> Fit:
        """Return whether a run fits, as far as it shows.

        bare: it shows no tags. unclear: it has the tag, but does not show what it evaluates, or when it was created.
        """
        if not is_of(run, self._ids):
            return "other"
        tags = tags_of(run)
        if self._tag and self._tag.lower() not in map(str.lower, tags):
            return "bare" if hides_tag(run, of_gate=self._source.kind == "branch") else "other"
        if self._source.kind == "branch" and pull_request_of(run) is not None:
            return "other"
        return "unclear" if _hidden(run) else "fits"

    @property
    def _listed_runs_text(self) -> str:
        phrase = _phrase(self._source) if self._source.kind == "schedule" else "whose tags Coval does not list"
        return f"runs {phrase}"

    def _not_found(self, more: str = "", advice: str = FIRST) -> GateError:
        ids = in_words([f"{noun(name)} {value}" for name, value in self._ids.items()])
        what = f"Coval lists no run of {ids} {_phrase(self._source)}."
        return GateError(titles.RUN_NOT_FOUND, " ".join(filter(None, (what, more))), advice=advice)

    def _unclear(self, run: Run) -> GateError:
        hidden = in_words(_hidden(run)) or "tags"
        return GateError(
            titles.RUN_UNCLEAR,
            f"Coval does not show the {hidden} of run {run.run_id}, so the step cannot tell which run is the newest "
            f"{_phrase(self._source)}.",
            advice=BY_ID,
        )


def _hidden(run: Run) -> list[str]:
    """Return what a run does not show of what it evaluates and when it was created, as nouns."""
    hidden = [noun(name) for name in LAUNCH_IDS if not getattr(run, name)]
    return [*hidden, *(["time of creation"] if created_at(run) is None else [])]


def _created(run: Run) -> float:
    """Return when a run that shows it was created, in seconds since the epoch."""
    return created_at(run) or 0.0


def _latest(times: Iterable[str]) -> float:
    """Return the latest of the times that a list shows, in seconds since the epoch; infinite if it shows none."""
    return max(filter(None, map(moment_of, times)), default=math.inf)


def _newest_first(candidates: Iterable[_Candidate]) -> list[_Candidate]:
    return sorted(candidates, key=lambda candidate: candidate.created, reverse=True)


def _phrase(source: RunSource) -> str:
    """Return what the runs of a source have in common."""
    return PHRASES[source.kind].format(source.name)
