"""The request that launches a run. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coval_gate.base.records import NamedTuple
from coval_gate.inputs.parsing import RunMetadata

if TYPE_CHECKING:
    from collections.abc import Mapping

API_DEFAULT_COUNT: Final = 1  # of iteration_count and concurrency; the API's defaults are not sent


class LaunchRequest(NamedTuple):
    """What a run evaluates, and how. Unset fields are empty, or None."""

    agent_id: str
    persona_id: str
    test_set_id: str
    metric_ids: tuple[str, ...] = ()
    persona_metrics: tuple[str, ...] = ()
    mutation_ids: tuple[str, ...] = ()
    iteration_count: int = API_DEFAULT_COUNT
    concurrency: int = API_DEFAULT_COUNT
    sub_sample_size: int | None = None
    sub_sample_seed: int | None = None
    test_case_ids: tuple[str, ...] = ()
    config_overrides: Mapping[str, Any] | None = None
    metadata: RunMetadata = RunMetadata()

    @property
    def ids(self) -> dict[str, str]:
        """The resources by which the run is found again."""
        return {"agent_id": self.agent_id, "persona_id": self.persona_id, "test_set_id": self.test_set_id}

    @property
    def parameters(self) -> dict[str, Any]:
        """All but the metadata by the API's names, without unset fields."""
        return _set_only(
            {
                **self.ids,
                "metric_ids": self.metric_ids,
                "persona_metrics": self.persona_metrics,
                "mutation_ids": self.mutation_ids,
                "options": self._options,
                "config_overrides": self.config_overrides,
            }
        )

    @property
    def body(self) -> dict[str, Any]:
        return _set_only({**self.parameters, "metadata": _set_only(self.metadata._asdict())})

    @property
    def _options(self) -> dict[str, Any]:
        counts = {"iteration_count": self.iteration_count, "concurrency": self.concurrency}
        sample = {"sub_sample_size": self.sub_sample_size, "sub_sample_seed": self.sub_sample_seed}
        return {
            **{name: count for name, count in counts.items() if count != API_DEFAULT_COUNT},
            **(_set_only(sample) if self.sub_sample_size else {}),
            **_set_only({"test_case_ids": self.test_case_ids}),
        }


def _set_only(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value not in ("", (), {}, [])}
