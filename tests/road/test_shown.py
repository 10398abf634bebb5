"""What reports call things, as far as Coval shows it: the units of metrics, names, and where the step comes from.

No verdict depends on it.
"""

import json
from collections.abc import Callable

import pytest

from coval_sandbox.catalogue import agent_for, persona_for
from coval_sandbox.server import Server
from support import IDS, StepResult

RunStep = Callable[..., tuple[StepResult, Server]]


BAD = {"test_set_id": "failing1", "thresholds": "Latency: max < 1.5"}


def unit_calls(server: Server) -> list[str]:
    paths = [request.path.removeprefix("/v1") for request in server.requests_seen]
    return sorted(path for path in paths if path.startswith("/metrics/"))  # sent side by side


def test_reports_speak_of_names_and_units(run_step: RunStep) -> None:
    result, server = run_step(json_path="reports/coval.json", **BAD)
    assert result.outputs["reason"] == "max of Latency is 2.72 s, must be < 1.5 s."
    for line in ("| ❌ | `Latency: max < 1.5` | 2.72 s | 1.22 s too high |", "| Latency (s) | 10 |", 'x-axis "s" ['):
        assert line in result.summary
    (leg,) = json.loads(result.json)["legs"]
    units = {metric["name"]: metric["unit"] for metric in leg["metrics"]}
    assert units == {"Latency": "s", "Resolved": "", "Compliance": "", "Tone: friendly": "", "Topics": ""}
    assert unit_calls(server) == []  # the list that was read before the launch shows them
    agent, persona = agent_for(IDS["agent_id"]).name, persona_for(IDS["persona_id"]).name
    assert heading(result) == [
        f"### ❌ Failed: Coval evaluation · agent {agent} · test set Failing · persona {persona}",
        "Pull request [#\u200b42](https://github.com/acme/voice-agent/pull/42) · branch `better-greeting` · commit "
        "[`5d1c1b0`](https://github.com/acme/voice-agent/commit/5d1c1b0a8f0e4c2f9a7b6c5d4e3f2a1b0c9d8e7f)",
        f"Tested: agent {agent} as deployed",
    ]
    # Ids stay where they are needed to act.
    assert f"| agent | `{agent} ({IDS['agent_id']})` |" in result.summary
    run = leg["run"]
    assert (run["agent_id"], run["agent_name"], run["persona_name"]) == (IDS["agent_id"], agent, persona)


KINDS = {"agent": "/agents", "persona": "/personas", "test set": "/test-sets", "metric": "/metrics"}


@pytest.mark.parametrize("fault", ["403", "503"])
def test_ids_and_numbers_alone_where_coval_shows_no_names_and_units(fault: str, run_step: RunStep) -> None:
    faults = [f"GET {path}* -> {fault}" for path in KINDS.values()]
    result, server = run_step(*faults, **BAD)
    assert result.outputs["reason"] == "max of Latency is 2.72, must be < 1.5."
    assert f"agent `{IDS['agent_id']}` · test set `failing1` · persona `persona000000000000001`" in heading(result)[0]
    assert f"Tested: agent {IDS['agent_id']}" in heading(result)
    assert all(warning.properties["title"].startswith("Coval: ") for warning in result.annotations("warning"))
    asked = [request.path.removeprefix("/v1") for request in server.requests_seen]
    for path in KINDS.values():
        decides = path == "/agents" and fault != "403"  # whether a job has to answer
        assert decides or sum(called.startswith(f"{path}/") for called in asked) <= 2, "a call that only informs"


def heading(result: StepResult) -> list[str]:
    """Return the first lines of the summary, up to its first table."""
    return [line for line in result.summary.partition("\n|")[0].split("\n") if line]


def test_several_legs_ask_for_each_name_once_after_the_launch(run_step: RunStep) -> None:
    test_sets = "passing1,failing1,flaky001"
    result, server = run_step(test_set_id=test_sets, json_path="reports/coval.json")
    paths = [request.path.removeprefix("/v1") for request in server.requests_seen]
    looked_up = [path for path in paths if path.startswith(("/agents/", "/personas/", "/test-sets/"))]
    assert len(looked_up) == len({*looked_up}) == 5
    assert paths.index("/runs") < paths.index(f"/personas/{IDS['persona_id']}")
    assert len({leg["run"]["test_set_name"] for leg in json.loads(result.json)["legs"]}) == 3
    assert f"Tested: agent {agent_for(IDS['agent_id']).name} as deployed" in heading(result)


def test_agents_of_one_name_are_told_apart(run_step: RunStep) -> None:
    agents = ("agent00000000000000001", "agent00000000000000002")
    named = {"name": "Bot", "model_type": "MODEL_TYPE_VOICE"}
    faults = [f"GET /agents/{id_} -> json {json.dumps({'agent': named | {'id': id_}})}" for id_ in agents]
    result, _ = run_step(*faults, agent_id=",".join(agents))
    tested = " and ".join(f"agent Bot ({id_}) as deployed" for id_ in agents)
    assert f"Tested: {tested}" in heading(result)
