"""Fetches what only informs: test cases in words; what judges say of the simulations to look at, and their transcripts.

The verdict stands before, and nothing here changes it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from coval_gate.errors import CovalError
from coval_gate.model.details import Details
from coval_gate.runs.schedule import all_or_first_error, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.coval.resources import TestCase
    from coval_gate.model.results import RunResult, Simulation
    from coval_gate.runs.session import Session
    from coval_gate.waiting import Procedure

EXPLAINED: Final = 20  # simulations of which more is fetched, at the most
AT_ONCE: Final = 5  # calls for transcripts
MOST_LABELS: Final = 1000  # test cases that are listed for their names


def fetch_details(
    session: Session, result: RunResult, wanted: Sequence[str], *, test_set_id: str
) -> Procedure[Details]:
    """Fetch the names of all test cases, and more about the first of the `wanted` simulations (ids).

    What the key may not read is left out, and so is what follows a call without a response.
    """
    simulations = {simulation.id: simulation for simulation in result.simulations}
    first = [simulations[each] for each in wanted[:EXPLAINED] if each in simulations]
    with_transcripts = session.inputs.include_transcripts == "failures"
    words = _words(session, result, first, test_set_id)
    transcripts = _transcripts(session, first if with_transcripts else [])
    # Side by side, so that neither takes the time of the other.
    worded, transcribed = all_or_first_error((yield from together((words, transcripts), session.clock)))
    return replace(worded, transcripts=transcribed.transcripts)


def _words(session: Session, result: RunResult, first: Sequence[Simulation], test_set_id: str) -> Procedure[Details]:
    """Fetch the names of test cases, and what judges say of the `first` simulations."""
    labels: dict[str, str] = {}
    texts: dict[str, dict[str, str]] = {}
    with suppress(CovalError):
        cases = {each.test_case_id for each in result.simulations if each.test_case_id}
        yield from _fetch_labels(session, cases, labels, test_set_id)
    with suppress(CovalError):
        for case_id in dict.fromkeys(each.test_case_id for each in first):
            if case_id and case_id not in labels:
                labels[case_id] = (yield from session.client.get_test_case(case_id, until=session.deadline)).label
    with suppress(CovalError):
        for simulation in first:
            if simulation.completed:
                texts[simulation.id] = yield from _explanations(session, simulation)
    return Details(labels=labels, texts=texts)


def _transcripts(session: Session, spoken: Sequence[Simulation]) -> Procedure[Details]:
    """Fetch what was said in simulations."""
    fetching = (session.client.get_transcript(simulation.id, until=session.deadline) for simulation in spoken)
    fetched = yield from together(fetching, session.clock, at_once=AT_ONCE)
    for result in fetched:
        if isinstance(result, Exception) and not isinstance(result, CovalError):
            raise result
    found = {each.id: turns for each, turns in zip(spoken, fetched, strict=True) if turns and isinstance(turns, tuple)}
    return Details(transcripts=found)


def _fetch_labels(session: Session, wanted: set[str], labels: dict[str, str], test_set_id: str) -> Procedure[None]:
    """Fill `labels` with those of the test cases `wanted`, as far as the first pages of their test set have them."""
    if not test_set_id or not wanted:
        return
    listed = 0

    def go_on(case: TestCase) -> bool:
        nonlocal listed
        listed += 1
        if case.id in wanted:
            labels[case.id] = case.label
        return len(labels) < len(wanted) and listed < MOST_LABELS

    yield from session.client.list_test_cases(test_set_id, until=session.deadline, go_on=go_on)


def _explanations(session: Session, simulation: Simulation) -> Procedure[dict[str, str]]:
    """Return what each metric's judge says, by metric id."""
    outputs = yield from session.client.list_metric_outputs(simulation.id, until=session.deadline)
    return {output.metric_id: output.explanation for output in outputs if output.explanation}
