"""Prepares a launch: checks the names that the criteria use, and notes what later comparisons need.

Both cost calls that delay the launch, so a step makes them only if its inputs need them, and side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coval_gate.base.errors import CovalError
from coval_gate.base.schedule import Procedure, all_or_first_error, together
from coval_gate.base.times import preparing
from coval_gate.ci.host import AGENT_TYPE
from coval_gate.coval.model import LaunchRequest
from coval_gate.coval.resources import AGENT, PERSONA, Persona, TestCase, cases_of
from coval_gate.coval.session import Session
from coval_gate.inputs.inputs import Inputs
from coval_gate.step.step import LegRun
from coval_gate.step.trial import Trial


def is_compared(inputs: Inputs) -> bool:
    """Return whether the run is compared with earlier runs, or later runs with it."""
    return inputs.accept or (inputs.baseline is not None and inputs.baseline.kind != "base")


def prepare(session: LegRun, trial: Trial) -> Procedure[None]:
    """Check the metrics and the baseline that the criteria name, and add to the request what later steps need.

    A repetition needs neither: its first run was checked, and it is never a baseline. Raises InputError.
    """
    if trial.repetition:
        return
    inputs, clock = session.inputs, session.clock
    session = session.until(preparing(clock.now(), session.deadline))
    work: list[Procedure[None]] = []
    if any(threshold.metric for threshold in inputs.thresholds):
        from coval_gate.step.lookups import check_names

        work.append(check_names(session))
    source = inputs.baseline
    if source and source.kind != "base" and _looks_up(inputs):
        from coval_gate.step.lookups import check_baseline

        work.append(check_baseline(session, source, trial.ids, session.step.context))
    if inputs.mode == "launch":
        work.append(_add_agent_type(session, trial))
    if is_compared(inputs):
        work.append(_add_fingerprint(session, trial))
    all_or_first_error((yield from together(work, clock)))


def _looks_up(inputs: Inputs) -> bool:
    """In mode launch, a later step may compare the run with its baseline."""
    compares = any(threshold.bound.reference == "baseline" for threshold in inputs.thresholds)
    return not inputs.accept and (inputs.mode == "launch" or compares)


def _add_fingerprint(session: Session, trial: Trial) -> Procedure[None]:
    from coval_gate.history.comparable import fingerprint_of

    if trial.request is None:
        return
    request = trial.request
    reading_persona = session.client.get(PERSONA, request.persona_id, until=session.deadline)
    cases, persona = yield from together([_cases(session, request), reading_persona], session.clock)
    read = {"test cases": cases, "persona": persona}
    unread = {what: result for what, result in read.items() if isinstance(result, CovalError)}
    if unread:
        why = next(iter(unread.values())).what
        session.log(
            f"The {' and the '.join(unread)} could not be read, so later comparisons cannot see changes there: {why}"
        )
    fingerprint = fingerprint_of(
        request.parameters,
        cases if isinstance(cases, list) else (),
        persona if isinstance(persona, Persona) else None,
    )
    _add_metadata(trial, fingerprint.as_metadata())


def _add_agent_type(session: Session, trial: Trial) -> Procedure[None]:
    """Note the agent's type for the step that waits: a job may have to answer the run. Costs no launch if it fails."""
    if trial.request is None:
        return
    agent_id = trial.request.agent_id
    try:
        agent = yield from session.client.get(AGENT, agent_id, until=session.deadline, once=True)
    except CovalError:
        return  # the step that waits looks itself
    if agent.model_type:
        _add_metadata(trial, {AGENT_TYPE: agent.model_type})


def _add_metadata(trial: Trial, more: Mapping[str, Any]) -> None:
    """Metadata added here are no part of what the tags are made of."""
    if trial.request:
        metadata = trial.request.metadata
        metadata = metadata._replace(customer={**metadata.customer, **more})
        trial.request = trial.request._replace(metadata=metadata)


def _cases(session: Session, request: LaunchRequest) -> Procedure[list[TestCase]]:
    """Return the test cases that the run may have. Raises CovalError."""
    cases = yield from session.client.list(cases_of(request.test_set_id), until=session.deadline)
    return [case for case in cases if not request.test_case_ids or case.id in request.test_case_ids]
