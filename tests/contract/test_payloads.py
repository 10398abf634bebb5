"""The payloads that the action sends and reads match the models of Coval's SDK."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.ci.host import Context
from coval_gate.coval.model import QUEUED, RUNNING, TERMINAL, normalize_status
from coval_gate.coval.results import read_run
from coval_gate.step.launch import launch_request
from coval_sandbox.world import World
from support import DEFAULTS, IDS, KEY, LateModule, read_inputs

models = LateModule("coval_sdk.models")
STATUSES = st.deferred(lambda: st.sampled_from(models.CovalRunsAPISimulationStatus))

FULL = {
    "metric_ids": "m" * 22,
    "mutation_ids": "u" * 26,
    "iteration_count": "3",
    "concurrency": "5",
    "sub_sample_size": "10",
    "sub_sample_seed": "7",
    "display_name": "Nightly",
    "tags": "regression",
    "created_by": "release bot",
    "metadata": '{"team": "voice"}',
    "config_overrides": '{"simulation_timeout_seconds": 300}',
}


def body(**inputs: str) -> dict[str, Any]:
    given_inputs = DEFAULTS | {"api_key": KEY} | IDS | inputs
    environ = {f"INPUT_{name.upper()}": value for name, value in given_inputs.items()}
    context = Context(repository="acme/voice-agent", sha="5d1c1b0", actor="mona", pull_request=42)
    return launch_request(read_inputs(environ, context), context).body


def unknown_fields(model: Any) -> dict[str, Any]:
    """Return the fields, at any depth, that the SDK's model lacks."""
    unknown = dict(model.additional_properties)
    for name in type(model).model_fields:
        value = getattr(model, name)
        if hasattr(value, "additional_properties"):
            unknown |= {f"{name}.{key}": inner for key, inner in unknown_fields(value).items()}
    return unknown


@pytest.mark.parametrize(
    "inputs",
    [{}, FULL, {"mutation_id": "u" * 26, "test_case_ids": "t1,t2"}],
    ids=["minimal", "full", "one-mutation"],
)
def test_sdk_knows_all_fields_of_launch_request(inputs: dict[str, str]) -> None:
    model = models.CovalRunsAPILaunchRunRequest.from_dict(_lists(body(**inputs)))
    assert model is not None
    assert unknown_fields(model) == {}
    assert model.to_dict().keys() >= body(**inputs).keys()


@pytest.mark.parametrize("inputs", [{}, FULL | {"persona_metrics": "latency"}], ids=["minimal", "full"])
def test_sandbox_accepts_and_stores_launch_request(inputs: dict[str, str]) -> None:
    world = World(lambda: 0.0)
    sent = _lists(body(**inputs))
    run = world.get_run(world.launch(sent)["run"]["run_id"])["run"]
    assert world.runs[0].body == sent
    assert run["display_name"] == sent["metadata"]["display_name"]
    assert run["tags"] == sent["metadata"].get("tags", [])


def test_sdk_does_not_know_persona_metrics() -> None:
    model = models.CovalRunsAPILaunchRunRequest.from_dict(_lists(body(persona_metrics="latency")))
    assert model is not None
    assert unknown_fields(model) == {"persona_metrics": ["latency"]}


@given(STATUSES)
def test_all_documented_statuses_are_known(status: Any) -> None:
    assert normalize_status(status.value) in QUEUED | RUNNING | TERMINAL


@given(
    STATUSES,
    st.none() | st.fixed_dictionaries({f"{name}_test_cases": st.integers(0, 100) for name in
                                       ("total", "completed", "failed", "in_progress")}),
)  # fmt: skip
def test_any_run_of_sdk_model_is_parsed(status: Any, progress: dict[str, int] | None) -> None:
    resource = models.CovalRunsAPIRunResource.from_dict(
        {
            "name": "runs/" + "r" * 22,
            "run_id": "r" * 22,
            "status": status.value,
            "create_time": "2026-01-01T00:00:00Z",
            "progress": progress,
        }
    )
    assert resource is not None
    run = read_run(json.loads(resource.to_json()))
    assert (run.run_id, run.status) == ("r" * 22, status.value)
    assert (run.progress is None) == (progress is None)


def _lists(value: Any) -> Any:
    """Convert tuples to lists, as in JSON: the SDK's models reject tuples."""
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, tuple) else value
