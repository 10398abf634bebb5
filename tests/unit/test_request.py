import json
from typing import Any

import pytest

from coval_gate.ci.host import Context
from coval_gate.inputs.parsing import MOST_TAGS
from coval_gate.step.launch import launch_request, with_tags
from support import DEFAULTS, IDS, KEY, read_inputs

CONTEXT = Context(
    repository="acme/voice-agent",
    sha="5d1c1b0a8f0e4c2f9a7b6c5d4e3f2a1b0c9d8e7f",
    actor="mona",
    workflow="Voice gate",
    run_url="https://github.com/acme/voice-agent/actions/runs/7/attempts/1",
    run_attempt="1",
    pull_request=42,
)


def body(context: Context = CONTEXT, **inputs: str) -> dict[str, Any]:
    settings = DEFAULTS | {"api_key": KEY} | IDS | inputs
    return launch_request(
        read_inputs({f"INPUT_{name.upper()}": value for name, value in settings.items()}, context), context
    ).body


def test_unset_inputs_are_not_sent() -> None:
    assert body(Context()) == IDS | {"metadata": {"created_by": "coval-gate"}}


def test_all_inputs_are_sent_as_api_fields() -> None:
    sent = body(
        metric_ids="m1,m2",
        persona_metrics="latency",
        mutation_ids="u1,u2",
        iteration_count="3",
        concurrency="5",
        sub_sample_size="10",
        sub_sample_seed="0",
        display_name="Nightly",
        tags="regression, nightly",
        created_by="release bot",
        metadata='{"team": "voice", "github_actor": "me"}',
        config_overrides='{"simulation_timeout_seconds": 300}',
    )
    assert sent == IDS | {
        "metric_ids": ("m1", "m2"),
        "persona_metrics": ("latency",),
        "mutation_ids": ("u1", "u2"),
        "options": {"iteration_count": 3, "concurrency": 5, "sub_sample_size": 10, "sub_sample_seed": 0},
        "metadata": {
            "display_name": "Nightly",
            "tags": ("regression", "nightly"),
            "created_by": "release bot",
            "customer": {
                "github_repository": "acme/voice-agent",
                "github_commit": "5d1c1b0a8f0e4c2f9a7b6c5d4e3f2a1b0c9d8e7f",
                "github_pull_request": 42,
                "github_run_url": "https://github.com/acme/voice-agent/actions/runs/7/attempts/1",
                "github_run_attempt": "1",
                "github_actor": "me",
                "team": "voice",
            },
        },
        "config_overrides": {"simulation_timeout_seconds": 300},
    }


def test_mutation_id_and_test_case_ids_are_sent() -> None:
    sent = body(mutation_id="u1", test_case_ids="t1,t2")
    assert sent["mutation_ids"] == ("u1",)
    assert sent["options"] == {"test_case_ids": ("t1", "t2")}


def test_display_name_and_author_default_to_workflow_context() -> None:
    metadata = body()["metadata"]
    assert metadata["display_name"] == "acme/voice-agent #42 · 5d1c1b0 · Voice gate"
    assert metadata["created_by"] == "mona"


def test_long_display_name_is_cut_to_limit_of_api() -> None:
    assert len(body(Context(repository="r" * 150, workflow="w" * 150))["metadata"]["display_name"]) == 200


def test_known_keys_of_metadata_keep_their_meaning() -> None:
    metadata = body(
        Context(),
        metadata='{"display_name": " Nightly ", "created_by": "bot", "template_name": "T", "tags": ["a", "a", " b "], '
        '"customer": {"plan": "pro"}, "team": "voice", "run": null}',
    )["metadata"]
    assert metadata == {
        "display_name": "Nightly",
        "created_by": "bot",
        "template_name": "T",
        "tags": ("a", "b"),
        "customer": {"plan": "pro", "team": "voice", "run": None},
    }


def test_inputs_win_over_keys_of_metadata() -> None:
    users = '{"display_name": "theirs", "created_by": "theirs", "tags": ["theirs"], "customer": {"github_actor": "me"}}'
    metadata = body(display_name="ours", created_by="ours", tags="ours", metadata=users)["metadata"]
    assert (metadata["display_name"], metadata["created_by"], metadata["tags"]) == ("ours", "ours", ("ours",))
    assert metadata["customer"]["github_actor"] == "me"


def test_null_under_known_key_of_metadata_is_unset() -> None:
    metadata = '{"display_name": null, "created_by": null, "template_name": null, "tags": null, "customer": null}'
    assert body(Context(), metadata=metadata) == IDS | {"metadata": {"created_by": "coval-gate"}}


@pytest.mark.parametrize("count", [MOST_TAGS, MOST_TAGS - 1])
def test_branch_tag_is_left_out_of_tags_but_not_of_metadata_without_room(count: int) -> None:
    tags = [f"t{number}" for number in range(count)]
    settings = DEFAULTS | {"api_key": KEY} | IDS | {"metadata": json.dumps({"tags": tags})}
    inputs = read_inputs({f"INPUT_{name.upper()}": value for name, value in settings.items()}, CONTEXT)
    sent = with_tags(launch_request(inputs, CONTEXT), ["key", "group", "branch"]).body["metadata"]
    assert sent["tags"] == (*tags, "key", "group", *(["branch"] if count < MOST_TAGS else []))
    assert len(sent["tags"]) == 20
    assert [sent["customer"][f"coval_gate_{number}"] for number in range(3)] == ["key", "group", "branch"]
