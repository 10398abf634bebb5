"""Fetches what only informs: test cases in words, what judges say, transcripts, and the last runs of the branch.

The verdict stands before, and nothing here changes it.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from coval_gate.base.errors import CovalError
from coval_gate.base.schedule import all_or_first_error, together
from coval_gate.config.inputs import LAUNCH_IDS
from coval_gate.coval.runs import RunFilter
from coval_gate.model.results import Details, TrendRun
from coval_gate.model.statuses import COMPLETED
from coval_gate.runs.find import created_at
from coval_gate.runs.tags import FAILED, branch_tag_of, tags_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from coval_gate.base.schedule import Procedure
    from coval_gate.coval.resources import TestCase
    from coval_gate.model.results import RunResult, Simulation, Turn
    from coval_gate.model.run import Run
    from coval_gate.runs.legs import Session

EXPLAINED: Final = 20  # simulations of which more is fetched, at the most
AT_ONCE: Final = 5  # calls for transcripts
MOST_LABELS: Final = 1000  # test cases that are listed for their names
MOST_EARLIER: Final = 30  # runs
END_OF_DATES: Final = 253_402_300_799.0  # s since the epoch: the year 9999


def fetch_details(
    session: Session, result: RunResult, failing: Sequence[str], *, test_set_id: str
) -> Procedure[Details]:
    """Fetch the names of all test cases, and more about the first of the `failing` simulations (ids).

    Leave out what the key may not read, and everything after a call without a response.
    """
    simulations = {simulation.id: simulation for simulation in result.simulations}
    first = [simulations[simulation_id] for simulation_id in failing[:EXPLAINED] if simulation_id in simulations]
    with_transcripts = session.inputs.include_transcripts == "failures"
    words = _words(session, result, first, test_set_id)
    transcripts = _transcripts(session, first if with_transcripts else [])
    # Side by side: neither takes time from the other.
    worded, transcribed = all_or_first_error((yield from together((words, transcripts), session.clock)))
    return worded._replace(transcripts=transcribed.transcripts)


def _words(session: Session, result: RunResult, first: Sequence[Simulation], test_set_id: str) -> Procedure[Details]:
    """Fetch the names of test cases, and the judges' comments on the `first` simulations."""
    labels: dict[str, str] = {}
    texts: dict[str, dict[str, str]] = {}
    with suppress(CovalError):
        case_ids = {case_id for simulation in result.simulations if (case_id := simulation.test_case_id)}
        yield from _fetch_labels(session, case_ids, labels, test_set_id)
    with suppress(CovalError):
        for case_id in dict.fromkeys(simulation.test_case_id for simulation in first):
            if case_id and case_id not in labels:
                labels[case_id] = (yield from session.client.get_test_case(case_id, until=session.deadline)).label
    with suppress(CovalError):
        for simulation in first:
            if simulation.completed:
                outputs = yield from session.client.list_metric_outputs(simulation.id, until=session.deadline)
                texts[simulation.id] = {
                    output.metric_id: output.explanation for output in outputs if output.explanation
                }
    return Details(labels=labels, texts=texts)


def _transcripts(session: Session, spoken: Sequence[Simulation]) -> Procedure[Details]:
    """Fetch what was said in simulations."""
    calls = (session.client.get_transcript(simulation.id, until=session.deadline) for simulation in spoken)
    fetched = yield from together(calls, session.clock, at_once=AT_ONCE)
    transcripts: dict[str, tuple[Turn, ...]] = {}
    for simulation, turns in zip(spoken, fetched, strict=True):
        if isinstance(turns, Exception) and not isinstance(turns, CovalError):
            raise turns
        if turns and isinstance(turns, tuple):
            transcripts[simulation.id] = turns
    return Details(transcripts=transcripts)


def _fetch_labels(session: Session, case_ids: set[str], labels: dict[str, str], test_set_id: str) -> Procedure[None]:
    """Fill in the `labels` of test cases by their ids, as far as the first pages of their test set have them.

    They only inform, so legs with the same test set list it once.
    """
    shown = session.client.shown.labels
    labels |= {case_id: shown[case_id] for case_id in case_ids if case_id in shown}
    if not test_set_id or len(labels) == len(case_ids):
        return
    listed = 0

    def go_on(case: TestCase) -> bool:
        nonlocal listed
        listed += 1
        if case.id in case_ids:
            labels[case.id] = case.label
        return len(labels) < len(case_ids) and listed < MOST_LABELS

    yield from session.client.list_test_cases(test_set_id, until=session.deadline, go_on=go_on)


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
    earlier.sort(key=lambda other: _created(other) or 0.0, reverse=True)
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
        failed=FAILED in tags,
    )


def _created(run: Run) -> float | None:
    """Return when a run was created, in seconds since the epoch; None if it is not shown, or beyond dates."""
    created = created_at(run)
    return created if created is not None and 0 <= created < END_OF_DATES else None


def _iso(run: Run) -> str:
    """Return when a run was created as ISO 8601, in UTC. Coval's own text is foreign."""
    created = datetime.fromtimestamp(_created(run) or 0.0, UTC)
    return created.isoformat(timespec="milliseconds").replace("+00:00", "Z")
