"""Fetches what only informs, for the first reports after the verdict; nothing here changes it.

That is test cases in words, what judges say, transcripts, the last runs of the branch, the units of metrics, and the
names of agents, personas and test sets. A call is made once, and only for what no earlier response showed. Where one
fails, reports show less.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from typing import Final

from coval_gate.base.errors import CovalError
from coval_gate.base.schedule import Procedure, all_or_first_error, together
from coval_gate.base.times import DETAILS, NAMING, TREND, UNITS
from coval_gate.coval.client import Session
from coval_gate.coval.model import COMPLETED, Details, Run, RunResult, Simulation, TrendRun, Turn
from coval_gate.coval.resources import METRIC, OF_RUNS, TEST_CASE, TestCase, cases_of
from coval_gate.gate.judgement import Judgement, judgement_with_units, result_with_units
from coval_gate.history.search import Sought, created_at, has_tag, search
from coval_gate.history.tags import FAILED, branch_tag_of, is_marked
from coval_gate.inputs.inputs import LAUNCH_IDS, ids_of
from coval_gate.step.leg import Leg, ids_shown
from coval_gate.step.step import Step

EXPLAINED: Final = 20  # simulations of which more is fetched, at the most
AT_ONCE: Final = 5  # calls
MOST_LABELS: Final = 1000  # test cases that are listed for their names
MOST_EARLIER: Final = 30  # runs
END_OF_DATES: Final = 253_402_300_799.0  # s since the epoch: the year 9999
MOST_UNITS: Final = 20  # metrics of which units are looked up
MOST_NAMES: Final = 24  # agents, personas and test sets of which names are looked up; the first ones

Named = tuple[str, str]  # the input of such ids, such as agent_id, and the id


def fetch_details(
    session: Session, result: RunResult, failing: Sequence[str], *, test_set_id: str
) -> Procedure[Details]:
    """Fetch the names of all test cases, and more about the first of the `failing` simulations (ids).

    Leave out what the key may not read, and everything after a call without a response.
    """
    session = _briefly(session, DETAILS)
    simulations = {simulation.id: simulation for simulation in result.simulations}
    first = [simulations[simulation_id] for simulation_id in failing[:EXPLAINED] if simulation_id in simulations]
    with_transcripts = session.inputs.include_transcripts == "failures"
    words = _words(session, result, first, test_set_id)
    transcripts = _transcripts(session, first if with_transcripts else [])
    # Side by side: neither takes time from the other.
    worded, transcribed = all_or_first_error((yield from together((words, transcripts), session.clock)))
    return worded._replace(transcripts=transcribed.transcripts)


def _briefly(session: Session, seconds: float) -> Session:
    """Let it end after so many seconds; a moment later if the deadline has passed."""
    return session.until(session.times.informing(session.clock.now(), seconds))


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
        run.ids,
        branch_tag_of(run),
        COMPLETED,
        fits=lambda other: 0 <= (created_at(other) or -1) < began and bool(other.averages),
        enough=lambda runs: len(runs) >= MOST_EARLIER,
        averages=True,
    )
    try:
        earlier = (yield from search(_briefly(session, TREND), sought)).runs[:MOST_EARLIER]
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


def with_units(session: Session, result: RunResult, judgement: Judgement) -> Procedure[tuple[RunResult, Judgement]]:
    """Return both with the units of metrics, as far as Coval shows them soon: first of those that were checked."""
    client, until = session.client, session.times.informing(session.clock.now(), UNITS)
    known, checked = client.shown.units, {check.metric for check in judgement.checks}
    unknown = [
        metric.id for metric in result.metrics if metric.is_identified and metric.id not in known and metric.numbers
    ]
    unknown.sort(key=lambda metric_id: metric_id not in checked)
    calls = [client.get(METRIC, metric_id, until=until, once=True) for metric_id in unknown[:MOST_UNITS]]
    yield from together(calls, session.clock, at_once=AT_ONCE)  # what fails stays unknown
    known = client.shown.units
    units = {metric.id: known[metric.id] for metric in result.metrics if known.get(metric.id)}
    if not units:
        return result, judgement
    return result_with_units(result, units), judgement_with_units(judgement, units)


def find_names(step: Step) -> Procedure[None]:
    """Look up the names that the reports of all legs need, and no response has shown yet."""
    session = _briefly(step.session(), NAMING)
    client, until = session.client, session.deadline
    wanted = [[*_wanted(leg)] for leg in step.legs if leg.trials]
    # The agents of all legs first: they matter most, and only so many are looked up.
    by_kind = sorted(chain.from_iterable(wanted), key=lambda named: LAUNCH_IDS.index(named[0]))
    unknown = [named for named in dict.fromkeys(by_kind) if named[1] and client.shown.name_of(*named) is None]
    calls = [client.get(OF_RUNS[name], id_, until=until, once=True) for name, id_ in unknown[:MOST_NAMES]]
    yield from together(calls, session.clock, at_once=AT_ONCE)  # what fails stays unknown


def _wanted(leg: Leg) -> Iterator[tuple[str, str]]:
    yield from ids_shown(leg, leg.first).items()
    if leg.base:
        yield "agent_id", ids_of(leg.base.inputs)["agent_id"]
