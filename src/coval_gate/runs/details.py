"""Fetches what only informs: test cases in words, and judges' comments and transcripts of the simulations to look at.

The verdict is known before, and nothing here changes it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from coval_gate.errors import CovalError
from coval_gate.model.details import Details
from coval_gate.runs.schedule import all_or_first_error, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.coval.resources import TestCase
    from coval_gate.model.details import Turn
    from coval_gate.model.results import RunResult, Simulation
    from coval_gate.runs.session import Session
    from coval_gate.waiting import Procedure

EXPLAINED: Final = 20  # simulations of which more is fetched, at the most
AT_ONCE: Final = 5  # calls for transcripts
MOST_LABELS: Final = 1000  # test cases that are listed for their names


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
                texts[simulation.id] = yield from _explanations(session, simulation)
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
    """Fill in the `labels` of test cases by their ids, as far as the first pages of their test set have them."""
    if not test_set_id or not case_ids:
        return
    listed = 0

    def go_on(case: TestCase) -> bool:
        nonlocal listed
        listed += 1
        if case.id in case_ids:
            labels[case.id] = case.label
        return len(labels) < len(case_ids) and listed < MOST_LABELS

    yield from session.client.list_test_cases(test_set_id, until=session.deadline, go_on=go_on)


def _explanations(session: Session, simulation: Simulation) -> Procedure[dict[str, str]]:
    """Return what each metric's judge says, by metric id."""
    outputs = yield from session.client.list_metric_outputs(simulation.id, until=session.deadline)
    return {output.metric_id: output.explanation for output in outputs if output.explanation}
