"""The request that launches a run of a leg: what the inputs ask for, where it comes from, and the tags that find it.

What criteria name is checked before the launch, and what later comparisons need is noted in the request. Both cost
calls that delay the launch, so a step makes them only if its inputs need them, and side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from coval_gate.base.errors import CovalError
from coval_gate.base.schedule import Procedure, all_or_first_error, together
from coval_gate.base.times import preparing
from coval_gate.ci.host import (
    AGENT_TYPE,
    BRANCH,
    COMMIT,
    IS_BASE,
    LEG,
    MATRIX,
    PULL_REQUEST,
    REPETITION,
    REPOSITORY,
    Context,
)
from coval_gate.coval.client import Session
from coval_gate.coval.model import LaunchRequest
from coval_gate.coval.resources import AGENT, PERSONA, Persona, TestCase, cases_of
from coval_gate.history.tags import Tags, tags_as_metadata, tags_for
from coval_gate.inputs.inputs import Inputs, ids_of
from coval_gate.inputs.parsing import MOST_RUN_TAGS, RunMetadata, read_metadata
from coval_gate.step import later
from coval_gate.step.leg import Leg
from coval_gate.step.step import LegRun

DISPLAY_NAME_LIMIT: Final = 200  # characters
FALLBACK_CREATOR: Final = "coval-gate"


def request_of(session: LegRun, repetition: int) -> tuple[LaunchRequest, Tags]:
    step, leg = session.step, session.leg
    # Repetitions follow failed runs only, so they would bias the branch's baseline.
    # Runs of the base agent are none of the branch's.
    context = step.context._replace(branch="") if repetition or leg.is_base else step.context
    request, own = _identity(context, leg, repetition)
    nonce = f"{session.randomness.getrandbits(32):08x}"
    tags = tags_for(context, request, nonce, own)
    branch = "" if leg.is_base else tags_for(step.context, request, nonce, own).branch
    return with_tags(_with_leg(request, leg, repetition, branch), tags.to_send), tags


def _identity(context: Context, leg: Leg, repetition: int) -> tuple[LaunchRequest, list[object]]:
    """Return the request without tags, and what else identifies the run within the step.

    Only names in a file count, which may list two legs that run the same. Other names may change in the next attempt.
    """
    inputs = leg.inputs
    name = leg.name if leg.is_listed else "base" if leg.is_base else ""
    own = [inputs.display_name, inputs.tags, inputs.metadata, *filter(None, (repetition, name))]
    return launch_request(inputs, context), own


def launch_request(inputs: Inputs, context: Context) -> LaunchRequest:
    """Return the request, with the provenance in `context` as metadata."""
    return LaunchRequest(
        **ids_of(inputs),
        metric_ids=inputs.metric_ids,
        persona_metrics=inputs.persona_metrics,
        mutation_ids=inputs.mutation_ids,
        iteration_count=inputs.iteration_count,
        concurrency=inputs.concurrency,
        sub_sample_size=inputs.sub_sample_size,
        sub_sample_seed=inputs.sub_sample_seed,
        test_case_ids=inputs.test_case_ids,
        config_overrides=inputs.config_overrides,
        metadata=_metadata(inputs, context),
    )


def _with_leg(request: LaunchRequest, leg: Leg, repetition: int, branch: str) -> LaunchRequest:
    """Add what a step in mode wait must know: the leg, and the repetition's number."""
    again = {REPETITION: repetition, **({BRANCH: branch} if branch else {})} if repetition else {}
    base = {IS_BASE: True} if leg.is_base else {}
    customer = {**request.metadata.customer, LEG: leg.key, **base, **again}
    return request._replace(metadata=request.metadata._replace(customer=customer))


def with_tags(request: LaunchRequest, tags: Sequence[str]) -> LaunchRequest:
    """Add tags, the most important first. Only the customer's metadata contain those without room."""
    metadata = request.metadata
    own = (*metadata.tags, *tags)[:MOST_RUN_TAGS]
    customer = {**metadata.customer, **tags_as_metadata(tags)}
    return request._replace(metadata=metadata._replace(tags=own, customer=customer))


def _metadata(inputs: Inputs, context: Context) -> RunMetadata:
    metadata = read_metadata(inputs.metadata)
    return RunMetadata(
        display_name=inputs.display_name or metadata.display_name or _display_name(context),
        created_by=inputs.created_by or metadata.created_by or context.actor or FALLBACK_CREATOR,
        template_name=metadata.template_name,
        tags=inputs.tags or metadata.tags,
        customer={**_provenance(context), **metadata.customer},  # the user's override the provenance
    )


def _display_name(context: Context) -> str:
    pull_request = f"#{context.pull_request}" if context.pull_request else ""
    where = " ".join(part for part in (context.repository, pull_request) if part)
    sha = context.sha[:7] if context.sha_is_known else ""
    workflow = context.matrix.after(context.workflow)
    return " · ".join(part for part in (where, sha, workflow) if part)[:DISPLAY_NAME_LIMIT]


def _provenance(context: Context) -> dict[str, Any]:
    """A prefix distinguishes these metadata from the user's own."""
    provenance = {
        REPOSITORY: context.repository,
        COMMIT: context.sha if context.sha_is_known else "",
        PULL_REQUEST: context.pull_request,
        MATRIX: context.matrix.label,
        "github_run_url": context.run_url,
        "github_run_attempt": context.run_attempt,
        "github_actor": context.actor,
    }
    return {name: value for name, value in provenance.items() if value}


def is_compared(inputs: Inputs) -> bool:
    """Return whether the run is compared with earlier runs, or later runs with it."""
    return inputs.accept or (inputs.baseline is not None and inputs.baseline.kind != "base")


def prepare(session: LegRun, request: LaunchRequest) -> Procedure[LaunchRequest]:
    """Check the metrics and the baseline that the criteria name. Return the request with what later steps need.

    Raises InputError.
    """
    inputs, clock = session.inputs, session.clock
    session = session.until(preparing(clock.now(), session.deadline))
    work: list[Procedure[Mapping[str, Any] | None]] = []
    if any(threshold.metric for threshold in inputs.thresholds):
        work.append(later.lookups.check_names(session))
    source = inputs.baseline
    if source and source.kind != "base" and _looks_up(inputs):
        work.append(later.lookups.check_baseline(session, source, request.ids, session.step.context))
    if inputs.mode == "launch":
        work.append(_agent_type(session, request))
    if is_compared(inputs):
        work.append(_fingerprint(session, request))
    noted = all_or_first_error((yield from together(work, clock)))
    # Metadata added here are no part of what the tags are made of.
    customer = {
        name: value for more in (request.metadata.customer, *filter(None, noted)) for name, value in more.items()
    }
    return request._replace(metadata=request.metadata._replace(customer=customer))


def _looks_up(inputs: Inputs) -> bool:
    """In mode launch, a later step may compare the run with its baseline."""
    compares = any(threshold.bound.reference == "baseline" for threshold in inputs.thresholds)
    return not inputs.accept and (inputs.mode == "launch" or compares)


def _fingerprint(session: Session, request: LaunchRequest) -> Procedure[Mapping[str, Any]]:
    """Return metadata."""
    reading_persona = session.client.get(PERSONA, request.persona_id, until=session.deadline)
    cases, persona = yield from together([_cases(session, request), reading_persona], session.clock)
    read = {"test cases": cases, "persona": persona}
    unread = {what: result for what, result in read.items() if isinstance(result, CovalError)}
    if unread:
        why = next(iter(unread.values())).what
        session.log(
            f"The {' and the '.join(unread)} could not be read, so later comparisons cannot see changes there: {why}"
        )
    fingerprint = later.comparable.fingerprint_of(
        request.parameters,
        cases if isinstance(cases, list) else (),
        persona if isinstance(persona, Persona) else None,
    )
    return fingerprint.as_metadata()


def _agent_type(session: Session, request: LaunchRequest) -> Procedure[Mapping[str, Any]]:
    """Return metadata for the step that waits: a job may have to answer the run. Costs no launch if it fails."""
    try:
        agent = yield from session.client.get(AGENT, request.agent_id, until=session.deadline, once=True)
    except CovalError:
        return {}  # the step that waits looks itself
    return {AGENT_TYPE: agent.model_type} if agent.model_type else {}


def _cases(session: Session, request: LaunchRequest) -> Procedure[list[TestCase]]:
    """Return the test cases that the run may have. Raises CovalError."""
    cases = yield from session.client.list(cases_of(request.test_set_id), until=session.deadline)
    return [case for case in cases if not request.test_case_ids or case.id in request.test_case_ids]
