"""Builds the request that launches a run, from Inputs and Context. Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coval_gate.ci.context import COMMIT, MATRIX, PULL_REQUEST, REPOSITORY
from coval_gate.config.metadata import MOST_RUN_TAGS, read_metadata
from coval_gate.runs.tags import as_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coval_gate.ci.context import Context
    from coval_gate.config.inputs import Inputs

API_DEFAULT_COUNT: Final = 1  # of iteration_count and concurrency; the API's defaults are not sent
DISPLAY_NAME_LIMIT: Final = 200  # characters
FALLBACK_CREATOR: Final = "coval-gate"


class LaunchRequest(NamedTuple):
    """The body of `POST /runs`, with the API's field names."""

    agent_id: str
    persona_id: str
    test_set_id: str
    metric_ids: tuple[str, ...] = ()
    persona_metrics: tuple[str, ...] = ()
    mutation_id: str = ""
    mutation_ids: tuple[str, ...] = ()
    options: Mapping[str, Any] = MappingProxyType({})
    metadata: Mapping[str, Any] = MappingProxyType({})
    config_overrides: Mapping[str, Any] | None = None

    @property
    def ids(self) -> dict[str, str]:
        """What the run evaluates: by these ids it is found again."""
        return {"agent_id": self.agent_id, "persona_id": self.persona_id, "test_set_id": self.test_set_id}

    def body(self, tags: Sequence[str] = ()) -> dict[str, Any]:
        """Return the body as JSON-ready values, without unset fields.

        `tags` are added to the user's own, the most important first: where there is no room for one, only the metadata
        contain it.
        """
        metadata = dict(self.metadata)
        metadata["tags"] = (*metadata.get("tags", ()), *tags)[:MOST_RUN_TAGS]
        if tags:
            metadata["customer"] = {**metadata.get("customer", {}), **as_metadata(tags)}
        return _set_only({**self._asdict(), "metadata": _set_only(metadata)})


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
        options=_options(inputs),
        metadata=_metadata(inputs, context),
        config_overrides=inputs.config_overrides,
    )


def _options(inputs: Inputs) -> dict[str, Any]:
    counts = {"iteration_count": inputs.iteration_count, "concurrency": inputs.concurrency}
    sample = {"sub_sample_size": inputs.sub_sample_size, "sub_sample_seed": inputs.sub_sample_seed}
    return {
        **{name: count for name, count in counts.items() if count != API_DEFAULT_COUNT},
        **(_set_only(sample) if inputs.sub_sample_size else {}),
        **_set_only({"test_case_ids": inputs.test_case_ids}),
    }


def _metadata(inputs: Inputs, context: Context) -> dict[str, Any]:
    given = read_metadata(inputs.metadata)
    return _set_only(
        {
            "display_name": inputs.display_name or given.display_name or _display_name(context),
            "template_name": given.template_name,
            "tags": inputs.tags or given.tags,
            "created_by": inputs.created_by or given.created_by or context.actor or FALLBACK_CREATOR,
            # The user's metadata override the provenance.
            "customer": {**_provenance(context), **given.customer},
        }
    )


def _display_name(context: Context) -> str:
    pull_request = f"#{context.pull_request}" if context.pull_request else ""
    where = " ".join(part for part in (context.repository, pull_request) if part)
    sha = context.sha[:7] if context.sha_is_known else ""
    workflow = context.matrix.after(context.workflow)
    return " · ".join(part for part in (where, sha, workflow) if part)[:DISPLAY_NAME_LIMIT]


def _provenance(context: Context) -> dict[str, Any]:
    """Return the provenance as flat metadata, with a prefix that distinguishes it from the user's own."""
    return _set_only(
        {
            REPOSITORY: context.repository,
            COMMIT: context.sha if context.sha_is_known else "",
            PULL_REQUEST: context.pull_request,
            MATRIX: context.matrix.label,
            "github_run_url": context.run_url,
            "github_run_attempt": context.run_attempt,
            "github_actor": context.actor,
        }
    )


def _set_only(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value not in ("", (), {}, [])}
