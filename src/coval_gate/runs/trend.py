"""Finds the last runs before one. A report shows from them how metrics changed; no verdict depends on them.

Two calls are enough: a list of runs with the averages of their metrics, which Coval cannot filter by tags; and if that
shows no tags, a list of the runs with the branch's tag.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from coval_gate.config.inputs import LAUNCH_IDS
from coval_gate.coval.filters import RunFilter
from coval_gate.errors import CovalError
from coval_gate.model.statuses import COMPLETED
from coval_gate.model.trend import TrendRun
from coval_gate.runs.find import created_at
from coval_gate.runs.tags import branch_tag_of, tags_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from coval_gate.model.run import Run
    from coval_gate.runs.session import Session
    from coval_gate.waiting import Procedure

MOST_EARLIER: Final = 30  # runs
END_OF_DATES: Final = 253_402_300_799.0  # s since the epoch: the year 9999


def fetch_trend(
    session: Session, run: Run, *, metrics: Collection[str], promotions: Collection[str]
) -> Procedure[tuple[TrendRun, ...]]:
    """Return the last completed runs before `run` of its branch, newest first; if it has none, of all branches.

    They have the same agent, persona and test set. `metrics`: the ids of the metrics to return averages of.
    `promotions`: the tags that a promotion may have given. Leave out what Coval does not show.
    """
    if _created(run) is None or not all(getattr(run, name) for name in LAUNCH_IDS):
        return ()
    tag = branch_tag_of(run)
    alike = RunFilter.like(run)._replace(status=COMPLETED)
    listed: tuple[Run, ...] = ()
    tagged: dict[str, Run] = {}
    with suppress(CovalError):
        before = alike._replace(created_until=_iso(run))
        listed = yield from session.client.list_runs(before, until=session.deadline, with_averages=True)
        if tag and listed and not any(map(tags_of, listed)):
            of_branch = yield from session.client.list_runs(alike._replace(tag=tag), until=session.deadline)
            tagged = {other.run_id: other for other in of_branch}
    earlier = [other for other in listed if _is_before(other, run) and (not tag or _has(tag, other, tagged))]
    earlier.sort(key=lambda each: _created(each) or 0.0, reverse=True)
    trend = (_trend_run(other, tagged.get(other.run_id, other), metrics, promotions) for other in earlier)
    return tuple(trend_run for trend_run in trend if trend_run.averages)[:MOST_EARLIER]


def _is_before(other: Run, run: Run) -> bool:
    """Return whether another run completed and was created before `run`, with the same ids as far as it shows them."""
    mine, others = _created(run), _created(other)
    alike = all(getattr(other, name) in ("", getattr(run, name)) for name in LAUNCH_IDS)
    is_earlier = mine is not None and others is not None and others < mine
    return other.run_id != run.run_id and other.status == COMPLETED and alike and is_earlier


def _has(tag: str, run: Run, tagged: Mapping[str, Run]) -> bool:
    """Return whether a run has a tag by one of the lists. If these show no tags, trust Coval's filter."""
    shown = tags_of(run) or tags_of(tagged.get(run.run_id, run))
    return tag in map(str.lower, shown) if shown else run.run_id in tagged


def _trend_run(run: Run, tagged: Run, metrics: Collection[str], promotions: Collection[str]) -> TrendRun:
    tags = {tag.lower() for tag in (*run.tags, *tagged.tags)}
    return TrendRun(
        run_id=run.run_id,
        created=_iso(run),
        averages={metric_id: mean for metric_id, mean in run.averages.items() if metric_id in metrics},
        promoted=tuple(dict.fromkeys(promotion for promotion in promotions if promotion.lower() in tags)),
    )


def _created(run: Run) -> float | None:
    """Return when a run was created, in seconds since the epoch; None if it is not shown, or beyond dates."""
    created = created_at(run)
    return created if created is not None and 0 <= created < END_OF_DATES else None


def _iso(run: Run) -> str:
    """Return when a run was created as ISO 8601, in UTC. Coval's own text is foreign."""
    created = datetime.fromtimestamp(_created(run) or 0.0, UTC)
    return created.isoformat(timespec="milliseconds").replace("+00:00", "Z")
