"""Builds what a launch sends: what the inputs ask for, where it comes from, and the tags by which its run is found."""

from collections.abc import Sequence
from typing import Any

from coval_gate.ci.host import COMMIT, IS_BASE, LEG, MATRIX, PULL_REQUEST, REPETITION, REPOSITORY, SLICE, Context
from coval_gate.coval.model import LaunchRequest
from coval_gate.history.tags import IN_METADATA, Tags, tags_as_metadata, tags_for
from coval_gate.inputs.inputs import Inputs, ids_of
from coval_gate.inputs.parsing import MOST_RUN_TAGS, RunMetadata, read_metadata
from coval_gate.step.step import LegRun


def request_of(session: LegRun, number: int) -> tuple[LaunchRequest, Tags]:
    """`number`: as of a trial."""
    context, leg, inputs = session.step.context, session.leg, session.leg.inputs
    nonce = f"{session.randomness.getrandbits(32):08x}"
    # Only a whole run stands on a branch. A part's key shows what it is.
    if part := IS_BASE if leg.is_base else SLICE if leg.slices else REPETITION if number else "":
        context, nonce = context._replace(branch=""), f"{nonce}-{part.removeprefix(f'{IN_METADATA}_')}"
    if leg.slices:
        inputs = inputs._replace(test_case_ids=leg.slices[number])
    request = launch_request(inputs, context)
    # Only names in a file identify the run, which may list two legs that run the same. Others may change by a re-run.
    name = leg.name if leg.is_listed else "base" if leg.is_base else ""
    own = [inputs.display_name, inputs.tags, inputs.metadata, *filter(None, (number, name))]
    tags = tags_for(context, request, nonce, own)
    # A step in mode wait must know the leg, and the number of a repetition.
    customer: dict[str, Any] = {**request.metadata.customer, LEG: leg.key}
    if leg.is_base:
        customer[IS_BASE] = True
    if leg.slices:
        customer[SLICE] = number + 1
    elif number:
        customer[REPETITION] = number
    request = request._replace(metadata=request.metadata._replace(customer=customer))
    return with_tags(request, tags.to_send), tags


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


def with_tags(request: LaunchRequest, tags: Sequence[str]) -> LaunchRequest:
    """Add tags, the most important first. Tags without room stand only in the customer's metadata."""
    metadata = request.metadata
    own = (*metadata.tags, *tags)[:MOST_RUN_TAGS]
    customer = {**metadata.customer, **tags_as_metadata(tags)}
    return request._replace(metadata=metadata._replace(tags=own, customer=customer))


def _metadata(inputs: Inputs, context: Context) -> RunMetadata:
    metadata = read_metadata(inputs.metadata)
    sha = context.sha if context.sha_is_known else ""
    pull_request = f"#{context.pull_request}" if context.pull_request else ""
    where = " ".join(filter(None, (context.repository, pull_request)))
    workflow = context.matrix.after(context.workflow)
    provenance = {  # a prefix distinguishes these from the user's own
        REPOSITORY: context.repository,
        COMMIT: sha,
        PULL_REQUEST: context.pull_request,
        MATRIX: context.matrix.label,
        "github_run_url": context.run_url,
        "github_run_attempt": context.run_attempt,
        "github_actor": context.actor,
    }
    shown = {name: value for name, value in provenance.items() if value}
    name = " · ".join(filter(None, (where, sha[:7], workflow)))[:200]
    return RunMetadata(
        display_name=inputs.display_name or metadata.display_name or name,
        created_by=inputs.created_by or metadata.created_by or context.actor or "coval-gate",
        template_name=metadata.template_name,
        tags=inputs.tags or metadata.tags,
        customer={**shown, **metadata.customer},  # the user's override the provenance
    )
