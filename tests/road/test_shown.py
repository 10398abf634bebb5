"""What reports call things, as far as Coval shows it: the units of metrics, names, and where the step comes from.

No verdict depends on it.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from coval_sandbox.catalogue import LATENCY, TONE, TOPICS, agent_for, persona_for
from hostile import HOSTILE
from road.steps import THRESHOLDS
from support import IDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_sandbox.server import Server
    from support import StepResult

    RunStep = Callable[..., tuple[StepResult, Server]]

BAD = {"test_set_id": "failing1", "thresholds": "Latency: max < 1.5"}


def definition(unit: object) -> str:
    """Return a fault that gives Latency this unit."""
    body = json.dumps({"metric": {"id": LATENCY.id, "metric_name": LATENCY.name, "unit": unit}})
    return f"GET /metrics/{LATENCY.id} -> json {body}"


def unit_calls(server: Server) -> list[str]:
    paths = [request.path.removeprefix("/v1") for request in server.requests_seen]
    return sorted(path for path in paths if path.startswith("/metrics/"))  # sent side by side


def test_values_have_the_unit_of_their_metric(run_step: RunStep) -> None:
    result, server = run_step(json_path="reports/coval.json", **BAD)
    assert result.outputs["reason"] == "max of Latency is 2.723 s, must be < 1.5."
    assert "✗ Latency: max < 1.5    2.723 s, 1.223 s too high" in result.log
    assert "| ❌ | `Latency: max < 1.5` | 2.723 s | 1.223 s too high |" in result.summary
    assert "| Latency (s) | 10 |" in result.summary
    assert 'x-axis "s" [' in result.summary
    units = {metric["name"]: metric["unit"] for metric in json.loads(result.json)["legs"][0]["metrics"]}
    assert units == {"Latency": "s", "Resolved": "", "Compliance": "", "Tone: friendly": "", "Topics": ""}
    assert unit_calls(server) == []  # the list that was read before the launch shows them


@pytest.mark.parametrize("fault", ["403", "404", "500", "json {}", "hang 60"])
def test_number_without_a_unit_where_coval_shows_none(fault: str, run_step: RunStep) -> None:
    result, server = run_step(f"GET /metrics* -> {fault}", **BAD)
    assert result.outputs["reason"] == "max of Latency is 2.723, must be < 1.5."
    assert result.outputs["verdict"] == "failed"
    assert len(unit_calls(server)) == len({*unit_calls(server)}), "a call that only informs is repeated"
    assert not any("unit" in warning.data for warning in result.annotations("warning"))


@pytest.mark.parametrize(
    ("unit", "shown"),
    [
        ("Seconds", "2.693 s"),
        ("milliseconds", "2.693 ms"),
        ("percent", "2.693%"),
        ("turns", "2.693 turns"),
        ("", "2.693"),
        (None, "2.693"),
        ({"name": "s"}, "2.693"),
        ("99", "2.693"),
        ("× 1000", "2.693"),
        ("x" * 99, f"2.693 {'x' * 19}…"),
        ("a\n::error::b", "2.693 a ::error::b"),
    ],
)
def test_unit_is_shown_as_people_write_it(unit: object, shown: str, run_step: RunStep) -> None:
    metric_ids = f"{LATENCY.id},{TONE.id}"
    result, _ = run_step("GET /metrics -> 403", definition(unit), metric_ids=metric_ids, **BAD)
    assert result.outputs["reason"] == f"max of Latency is {shown}, must be < 1.5."


def test_hostile_unit_is_text(run_step: RunStep) -> None:
    result, _ = run_step("GET /metrics -> 403", definition("u|`<b>](x)"), metric_ids=LATENCY.id, **BAD)
    assert "<b>" not in result.summary
    assert r"| 3.001 u\|\`&lt;b&gt;\](x) |" in result.summary
    assert "x-axis [" in result.summary  # no text from outside is part of a drawing


def test_units_of_the_metrics_with_criteria_come_first(run_step: RunStep) -> None:
    """Without criteria, only metrics with numbers have a look-up."""
    _, server = run_step()
    assert unit_calls(server) == sorted(f"/metrics/{metric.id}" for metric in (LATENCY, TONE))
    _, server = run_step(thresholds=THRESHOLDS, use_metric_targets="true")
    twice = [path for path, times in Counter(unit_calls(server)).items() if times > 1]
    assert twice == [f"/metrics/{TOPICS.id}"]  # it has no target, which a damaged response would look like


def named(kind: str, name: object) -> str:
    """Return a fault that gives the agent, persona or test set of the step this name."""
    path, key, input_ = KINDS[kind]
    body = json.dumps({key: {"id": (IDS | BAD)[input_], "display_name": name}})
    return f"GET {path}/* -> json {body}"


KINDS = {
    "agent": ("/agents", "agent", "agent_id"),
    "persona": ("/personas", "persona", "persona_id"),
    "test set": ("/test-sets", "test_set", "test_set_id"),
}


def heading(result: StepResult) -> list[str]:
    """Return the first lines of the summary, up to its first table."""
    return [line for line in result.summary.partition("\n|")[0].split("\n") if line]


def test_reports_speak_of_agent_persona_and_test_set_by_name(run_step: RunStep) -> None:
    result, _ = run_step(json_path="reports/coval.json", junit_path="reports/junit.xml", html_path="r.html", **BAD)
    agent, persona = agent_for(IDS["agent_id"]).name, persona_for(IDS["persona_id"]).name
    assert heading(result) == [
        f"### ❌ Failed: Coval evaluation · test set Failing · persona {persona}",
        "Pull request [#\u200b42](https://github.com/acme/voice-agent/pull/42) · branch `better-greeting` · commit "
        "[`5d1c1b0`](https://github.com/acme/voice-agent/commit/5d1c1b0a8f0e4c2f9a7b6c5d4e3f2a1b0c9d8e7f)",
        f"Tested: agent {agent} as deployed",
    ]
    # Ids stay where they are needed to act.
    assert f"| agent | `{agent} ({IDS['agent_id']})` |" in result.summary
    assert f'<property name="persona" value="{persona} ({IDS["persona_id"]})"' in result.junit
    run = json.loads(result.json)["legs"][0]["run"]
    assert (run["agent_id"], run["agent_name"], run["persona_name"]) == (IDS["agent_id"], agent, persona)
    page = (result.workspace / "r.html").read_text(encoding="utf-8")
    assert f"Tested: agent {agent} as deployed · test set Failing · persona {persona} · " in page
    assert '<a href="https://github.com/acme/voice-agent/pull/42">#42</a>' in page


@pytest.mark.parametrize("fault", ["403", "404", "500", "json {}", "hang 60"])
def test_ids_where_coval_shows_no_names(fault: str, run_step: RunStep) -> None:
    faults = [f"GET {path}/* -> {fault}" for path, _, _ in KINDS.values()]
    result, server = run_step(*faults, **BAD)
    assert "· test set `failing1` · persona `persona000000000000001`" in heading(result)[0]
    assert f"Tested: agent {IDS['agent_id']} as deployed" in heading(result)
    assert (result.outputs["verdict"], result.exit_code) == ("failed", 1)
    assert all(warning.properties["title"].startswith("Coval: ") for warning in result.annotations("warning"))
    asked = [request.path.removeprefix("/v1") for request in server.requests_seen]
    for path, _, _ in KINDS.values():
        assert sum(called.startswith(f"{path}/") for called in asked) <= 2, "a call that only informs is repeated"


def test_names_are_not_looked_up_before_the_launch_or_without_a_verdict(run_step: RunStep) -> None:
    _, server = run_step()
    paths = [request.path for request in server.requests_seen]
    assert paths.index("/v1/runs") < paths.index(f"/v1/personas/{IDS['persona_id']}")
    _, server = run_step(mode="launch", thresholds="pass_rate >= 50%")
    paths = [request.path for request in server.requests_seen]
    assert paths.count(f"/v1/agents/{IDS['agent_id']}") <= 1


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(name: str, run_step: RunStep) -> None:
    """The sentences around them stay; other tests read whole reports back that contain such texts."""
    faults = [named(kind, name) for kind in KINDS]
    result, _ = run_step(*faults, html_path="r.html", junit_path="reports/junit.xml", **BAD)
    assert len([line for line in result.summary.split("\n") if line.startswith("### ")]) == 1
    assert all(len(line) < 800 for line in heading(result))
    assert not [command for command in result.annotations("error") if "Gate failed" not in command.properties["title"]]
    ElementTree.fromstring(result.junit)


def test_several_legs_ask_for_each_name_once(run_step: RunStep) -> None:
    test_sets = "passing1,failing1,flaky001"
    result, server = run_step(test_set_id=test_sets, json_path="reports/coval.json")
    paths = [request.path.removeprefix("/v1") for request in server.requests_seen]
    looked_up = [path for path in paths if path.startswith(("/agents/", "/personas/", "/test-sets/"))]
    assert len(looked_up) == len({*looked_up}) == 5
    assert len({leg["run"]["test_set_name"] for leg in json.loads(result.json)["legs"]}) == 3


def test_agents_of_one_name_are_told_apart(run_step: RunStep) -> None:
    agents = ("agent00000000000000001", "agent00000000000000002")
    faults = [f"GET /agents/{id_} -> json {json.dumps({'agent': {'id': id_, 'name': 'Bot'}})}" for id_ in agents]
    result, _ = run_step(*faults, agent_id=",".join(agents))
    tested = " and ".join(f"agent Bot ({id_}) as deployed" for id_ in agents)
    assert f"Tested: {tested}" in heading(result)
    same, _ = run_step(test_set_id="passing1,failing1")
    assert f"Tested: agent {agent_for(IDS['agent_id']).name} as deployed" in heading(same)


def test_id_that_is_none_is_no_advice_for_a_name(run_step: RunStep) -> None:
    ids = ["one\n::error::two", "x" * 5000, LATENCY.id]
    metrics = {"metrics": [{"id": id_, "metric_name": LATENCY.name} for id_ in ids]}
    result, _ = run_step(f"GET /metrics -> json {json.dumps(metrics)}", metric_ids=LATENCY.name)
    (error,) = result.annotations("error")
    assert f'metric_ids takes ids, not names; "{LATENCY.name}" is {LATENCY.id}.\n' in error.data
