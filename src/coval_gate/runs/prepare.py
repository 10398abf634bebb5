"""Prepares a launch: checks for mistakes that would make it useless, and notes what later comparisons need.

Both cost calls that delay the launch, so a step makes them only if its inputs need them, and side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.base.errors import CovalError
from coval_gate.base.schedule import all_or_first_error, together
from coval_gate.base.times import preparing

if TYPE_CHECKING:
    from coval_gate.base.schedule import Procedure
    from coval_gate.ci.context import Context
    from coval_gate.config.inputs import Inputs
    from coval_gate.coval.launch import LaunchRequest
    from coval_gate.coval.resources import TestCase
    from coval_gate.runs.legs import Session, Trial


def is_compared(inputs: Inputs) -> bool:
    """Return whether the run is compared with earlier runs, or later runs with it."""
    return (
        bool(inputs.promote or inputs.drift)
        or inputs.accept
        or (inputs.baseline is not None and inputs.baseline.kind != "base")
    )


def prepare(session: Session, trial: Trial, context: Context) -> Procedure[None]:
    """Check the metrics and the baseline that the criteria name, and add the fingerprint to the request of the trial.

    A repetition needs neither: its first run was checked, and a repetition is never a
    baseline. Raises InputError if the launch would certainly be useless.
    """
    if trial.repetition:
        return
    inputs, clock = session.inputs, session.clock
    session = session._replace(deadline=preparing(clock.now(), session.deadline))
    work: list[Procedure[None]] = []
    if inputs.fail_on_metric_id or any(threshold.metric for threshold in inputs.thresholds):
        from coval_gate.runs.lookups import check_names

        work.append(check_names(session))
    source = inputs.baseline
    if source and source.kind != "base" and _looks_up(inputs):
        from coval_gate.runs.lookups import check_baseline

        work.append(check_baseline(session, source, trial.ids, context))
    if is_compared(inputs):
        work.append(_add_fingerprint(session, trial))
    all_or_first_error((yield from together(work, clock)))


def _looks_up(inputs: Inputs) -> bool:
    """Return whether a threshold compares the run with its baseline; in mode launch, a later step may do so."""
    compares = any(threshold.bound.reference == "baseline" for threshold in inputs.thresholds)
    return inputs.mode == "launch" or (compares and not inputs.accept)


def _add_fingerprint(session: Session, trial: Trial) -> Procedure[None]:
    """Add a fingerprint of all that can be read in time."""
    from coval_gate.coval.resources import Persona
    from coval_gate.runs.comparable import fingerprint_of

    if trial.request is None:
        return
    request = trial.request
    reading_persona = session.client.get_persona(request.persona_id, until=session.deadline)
    cases, persona = yield from together([_cases(session, request), reading_persona], session.clock)
    unread: dict[str, CovalError] = {}
    for what, result in (("test cases", cases), ("persona", persona)):
        if isinstance(result, CovalError):
            unread[what] = result
        elif isinstance(result, Exception):
            raise result
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
    customer = {**request.metadata.customer, **fingerprint.as_metadata()}
    trial.request = request._replace(metadata=request.metadata._replace(customer=customer))


def _cases(session: Session, request: LaunchRequest) -> Procedure[list[TestCase]]:
    """Return the test cases that the run may have. Raises CovalError."""
    cases = yield from session.client.list_test_cases(request.test_set_id, until=session.deadline)
    return [case for case in cases if not request.test_case_ids or case.id in request.test_case_ids]
