"""Builds the request that launches a run, and compares the run of another step with the inputs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coval_gate.base.text import in_words, quoted
from coval_gate.ci.context import COMMIT, MATRIX, PULL_REQUEST, REPOSITORY
from coval_gate.config.inputs import LAUNCH_IDS, Problem
from coval_gate.config.parsing import MOST_RUN_TAGS, RunMetadata, read_metadata
from coval_gate.coval.launch import LaunchRequest
from coval_gate.runs.tags import as_metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.ci.context import Context
    from coval_gate.config.inputs import Inputs
    from coval_gate.model.run import Run

DISPLAY_NAME_LIMIT: Final = 200  # characters
FALLBACK_CREATOR: Final = "coval-gate"


def launch_request(inputs: Inputs, context: Context) -> LaunchRequest:
    """Return the request for `inputs`, with the provenance in `context` as metadata."""
    return LaunchRequest(
        agent_id=inputs.agent_id,
        persona_id=inputs.persona_id,
        test_set_id=inputs.test_set_id,
        metric_ids=inputs.metric_ids,
        persona_metrics=inputs.persona_metrics,
        mutation_id=inputs.mutation_id,
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
    """Return the request with tags beside the user's own, the most important first.

    If there is no room for a tag, only the customer's metadata contain it.
    """
    metadata = request.metadata
    own = (*metadata.tags, *tags)[:MOST_RUN_TAGS]
    customer = {**metadata.customer, **as_metadata(tags)}
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
    """Return the provenance as flat metadata, with a prefix that distinguishes it from the user's own."""
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


def differences(inputs: Inputs, run: Run) -> tuple[Problem, ...]:
    """Return a problem for each input that names another agent, persona or test set than the run has."""
    pairs = ((name, getattr(inputs, name), getattr(run, name)) for name in LAUNCH_IDS)
    return tuple(
        Problem(
            name,
            f"is {quoted(expected)}, but run {run.run_id} has {quoted(actual)}; wait for a run with this "
            f"{_noun(name)}, or leave {name} empty.",
        )
        for name, expected, actual in pairs
        if expected and actual and expected != actual
    )


def not_shown(inputs: Inputs, run: Run) -> str:
    """Return a sentence on the inputs that cannot be compared; empty if Coval shows all of them."""
    names = [name for name in LAUNCH_IDS if getattr(inputs, name) and not getattr(run, name)]
    nouns = in_words([_noun(name) for name in names])
    return f"{in_words(names)} cannot be checked: Coval does not show the {nouns} of run {run.run_id}." if names else ""


def _noun(name: str) -> str:
    return name.removesuffix("_id").replace("_", " ")
