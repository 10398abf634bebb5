"""Finds out whether a job answered the simulations of a run: by its record in the workspace, or by its tag on the run.

Coval itself reaches the agents of most runs. Those have neither a record nor a tag, and cost no further request.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from coval_gate.base.errors import CovalError
from coval_gate.base.schedule import Wait
from coval_gate.base.text import one_line
from coval_gate.ci.host import AGENT_TYPE
from coval_gate.model.attachment import (
    ANSWERED_BY_JOB,
    NOT_ATTACHED,
    STALE,
    Answering,
    answering_of,
    counts_in,
    is_deserted,
    path_of,
    read_record,
    worse,
)
from coval_gate.model.run import Completed, Deserted
from coval_gate.report.wording.answering import warnings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coval_gate.base.schedule import Procedure
    from coval_gate.model.attachment import AttachRecord
    from coval_gate.model.run import Outcome, Run
    from coval_gate.runs.legs import Session, Trial

LARGEST: Final = 8 * 1024 * 1024  # bytes of a record; 10,000 simulations that all crashed are about a third
LONGEST: Final = 200  # characters of a line in a record
PAUSE: Final = 2.0  # s between two looks at a record that is not finished
TAG_PAUSE: Final = 5.0  # s between two looks for the tag, which another job may add when the run is over
READING: Final = 20.0  # s to read the type of the agent, on which the verdict may rest


def find_answering(session: Session, trial: Trial, outcome: Outcome) -> Procedure[Outcome]:
    """Record who answered the simulations of the trial's run, if that was a job's to do, and warn of what is odd.

    Return the outcome. Where a simulation did not complete because its process crashed, it has the crash as its error:
    Coval knows only that the agent left.
    """
    trial.answering = yield from _answering(session, trial, outcome)
    if not trial.answering:
        return outcome
    for text in warnings(trial.answering):
        session.warn(text)
    return _with_causes(outcome, trial.answering.causes) if isinstance(outcome, Completed) else outcome


def _with_causes(outcome: Completed, causes: Mapping[str, str]) -> Completed:
    simulations = tuple(
        one if one.completed else one._replace(error=causes.get(one.id, one.error))
        for one in outcome.result.simulations
    )
    return outcome._replace(result=outcome.result._replace(simulations=simulations))


def desertion(session: Session, run_id: str) -> Callable[[Run], Answering | None]:
    """Return what finds out whether nobody will answer the rest of a run that goes on, and then returns who did."""
    watch = _RecordWatch(session, run_id)

    def look(run: Run) -> Answering | None:
        record, now = watch.look()
        expected = _counted(run)
        if record is None or not is_deserted(record, expected=expected, now=now):
            return None
        return answering_of(record, expected=expected, now=now)

    return look


def _answering(session: Session, trial: Trial, outcome: Outcome) -> Procedure[Answering | None]:
    """Return who answered; None if Coval itself reached the agent, as far as is known.

    Another job that attached has its record elsewhere, and adds its tag only when the run is over.
    """
    if isinstance(outcome, Deserted):
        return outcome.answering
    run = trial.run
    if run is None:
        return None
    listed = [simulation.id for simulation in outcome.result.simulations] if isinstance(outcome, Completed) else []
    expected = max(_counted(run), outcome.result.expected if isinstance(outcome, Completed) else 0)
    of_tag = partial(_of_tag, expected=max(len(listed), expected))
    record, now = yield from _finished_record(session, run)
    if record:
        return worse(answering_of(record, listed, expected=expected, now=now), of_tag(run))
    if answering := of_tag(run):
        return answering
    if session.inputs.mode != "wait" or not (yield from _is_answered_by_job(session, run)):
        return None
    return (yield from _await_tag(session, run, of_tag)) or NOT_ATTACHED


def _of_tag(run: Run, expected: int) -> Answering | None:
    counts = counts_in(tag.lower() for tag in run.tags)
    return Answering(counts[0], max(counts[1], expected)) if counts else None


def _await_tag(session: Session, run: Run, of_tag: Callable[[Run], Answering | None]) -> Procedure[Answering | None]:
    """Return what the tag of a run shows that is over; None if it gets none for a while."""
    until = min(session.deadline, session.clock.now() + STALE) if run.is_over else 0.0
    while session.clock.now() + TAG_PAUSE < until:
        yield Wait(TAG_PAUSE)
        try:
            polled = yield from session.client.get_run(run.run_id, until=until, once=True)
        except CovalError:
            continue
        if answering := of_tag(polled):
            return answering
    return None


def _is_answered_by_job(session: Session, run: Run) -> Procedure[bool]:
    """Return whether the agent is a process of the user's, by what the launch noted, or else by what Coval says now."""
    noted = run.metadata.get(AGENT_TYPE)
    if noted or not run.agent_id:
        return noted == ANSWERED_BY_JOB
    until = session.times.informing(session.clock.now(), READING)
    try:
        return (yield from session.client.get_agent_type(run.agent_id, until=until)) == ANSWERED_BY_JOB
    except CovalError:
        return False


class _RecordWatch:
    """Reads the record of a run again and again."""

    def __init__(self, session: Session, run_id: str) -> None:
        self._session, self._run_id = session, run_id
        self._changed: float | None = None
        self._seen_at = 0.0

    def look(self) -> tuple[AttachRecord | None, float]:
        """Return the record, if there is one, and what time it is on the clock of the process that writes it.

        The clock of another machine or container may be minutes off, so only what passes here shows that time passes.
        """
        record, now = _read(self._session, self._run_id), self._session.clock.now()
        if record is None:
            return None, 0.0
        if record.changed != self._changed:
            self._changed, self._seen_at = record.changed, now
        return record, record.changed + now - self._seen_at


def _finished_record(session: Session, run: Run) -> Procedure[tuple[AttachRecord | None, float]]:
    """Return the record of a run, and the time on its clock. If the run is over, let the process end first."""
    watch = _RecordWatch(session, run.run_id)
    until = session.clock.now() + STALE + PAUSE if run.is_over else 0.0
    record, now = watch.look()
    while (
        record
        and not (record.done or record.is_gone(now))
        and session.clock.now() + PAUSE < min(session.deadline, until)
    ):
        yield Wait(PAUSE)
        record, now = watch.look()
    return record, now


def _read(session: Session, run_id: str) -> AttachRecord | None:
    """Return the record of a run in the workspace; None if there is none that can be read."""
    workspace = session.host.workspace
    try:
        contents = workspace.read(workspace.find(path_of(run_id)), LARGEST)
    except ValueError:
        return None
    record = read_record(contents.decode("utf-8", "replace"), run_id)
    return record and _redacted(record, lambda text: one_line(session.host.redact(text), LONGEST))


def _redacted(record: AttachRecord, redact: Callable[[str], str]) -> AttachRecord:
    """Return a record whose texts show no secret: the last line of a traceback may contain one."""
    simulations = {
        id_: one._replace(error=redact(one.error), log=redact(one.log)) for id_, one in record.simulations.items()
    }
    return record._replace(problem=redact(record.problem), handler=redact(record.handler), simulations=simulations)


def _counted(run: Run) -> int:
    """Return how many simulations Coval counts."""
    return max(run.progress.total if run.progress else 0, len(run.output_ids or ()))
