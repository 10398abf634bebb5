"""Fetches what only informs: test cases in words, what judges say, transcripts, and the last runs of the branch.

Nothing here changes the verdict.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from coval_gate.base.errors import CovalError
from coval_gate.base.schedule import all_or_first_error, together
from coval_gate.coval.model import COMPLETED, Details, TrendRun
from coval_gate.coval.resources import TEST_CASE, cases_of
from coval_gate.history.search import Sought, created_at, has_tag, ids_of_run, search
from coval_gate.history.tags import FAILED, branch_tag_of, is_marked
from coval_gate.inputs.inputs import LAUNCH_IDS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from coval_gate.base.schedule import Procedure
    from coval_gate.coval.model import Run, RunResult, Simulation, Turn
    from coval_gate.coval.resources import TestCase
    from coval_gate.coval.session import Session

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
                labels[case_id] = (yield from session.client.get(TEST_CASE, case_id, until=session.deadline)).label
    with suppress(CovalError):
        for simulation in first:
            if simulation.completed:
                outputs = yield from session.client.list_metric_outputs(simulation.id, until=session.deadline)
                texts[simulation.id] = {
                    output.metric_id: output.explanation for output in outputs if output.explanation
                }
    return Details(labels=labels, texts=texts)


def _transcripts(session: Session, spoken: Sequence[Simulation]) -> Procedure[Details]:
    calls = (session.client.get_transcript(simulation.id, until=session.deadline) for simulation in spoken)
    fetched = yield from together(calls, session.clock, at_once=AT_ONCE)
    transcripts: dict[str, tuple[Turn, ...]] = {}
    for simulation, turns in zip(spoken, fetched, strict=True):
        if turns and not isinstance(turns, CovalError):
            transcripts[simulation.id] = turns
    return Details(transcripts=transcripts)


def _fetch_labels(session: Session, case_ids: set[str], labels: dict[str, str], test_set_id: str) -> Procedure[None]:
    """Fill in `labels` from the first pages of the test set. Legs with the same test set list it once."""
    shown = session.client.shown.labels
    labels |= {case_id: shown[case_id] for case_id in case_ids if case_id in shown}
    if not test_set_id or len(labels) == len(case_ids):
        return

    def go_on(listed: Sequence[TestCase]) -> bool:
        case = listed[-1]
        if case.id in case_ids:
            labels[case.id] = case.label
        return len(labels) < len(case_ids) and len(listed) < MOST_LABELS

    yield from session.client.list(cases_of(test_set_id), until=session.deadline, go_on=go_on)


def fetch_trend(session: Session, run: Run, *, metrics: Collection[str], tag: str) -> Procedure[tuple[TrendRun, ...]]:
    """Return the last completed runs before `run` of its branch, newest first; if it has none, of all branches.

    Agent, persona and test set are the same. `metrics`: ids to return averages of. `tag`: the baseline's, or empty.
    """
    began = _created(run)
    if began is None or not all(getattr(run, name) for name in LAUNCH_IDS):
        return ()
    sought = Sought(
        ids_of_run(run),
        branch_tag_of(run),
        COMPLETED,
        fits=lambda other: 0 <= (created_at(other) or -1) < began and bool(other.averages),
        enough=lambda runs: len(runs) >= MOST_EARLIER,
        averages=True,
    )
    try:
        earlier = (yield from search(session, sought)).runs[:MOST_EARLIER]
    except CovalError:
        return ()
    return tuple(_trend_run(other, metrics, tag) for other in earlier)


def _trend_run(run: Run, metrics: Collection[str], tag: str) -> TrendRun:
    return TrendRun(
        run_id=run.run_id,
        created=_iso(run),
        averages={metric_id: mean for metric_id, mean in run.averages.items() if metric_id in metrics},
        is_baseline=bool(tag) and has_tag(run, tag),
        failed=is_marked(run, FAILED),
    )


def _created(run: Run) -> float | None:
    """Return seconds since the epoch; None if the run does not show them, or if they are beyond dates."""
    created = created_at(run)
    return created if created is not None and 0 <= created < END_OF_DATES else None


def _iso(run: Run) -> str:
    """Return when a run was created as ISO 8601, in UTC. Coval's own text is foreign."""
    created = datetime.fromtimestamp(_created(run) or 0.0, UTC)
    return created.isoformat(timespec="milliseconds").replace("+00:00", "Z")
