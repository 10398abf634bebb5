"""Each quirk changes what it says, and nothing else."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from coval_sandbox import catalogue
from coval_sandbox.clock import ManualClock
from coval_sandbox.problems import Problem
from coval_sandbox.quirks import Quirks, describe_quirks, parse_quirks
from coval_sandbox.world import World

LATENCY, RESOLVED = catalogue.LATENCY.id, catalogue.RESOLVED.id


class Organization:
    """A world with one launched run."""

    def __init__(self, test_set_id: str = "passing1", **quirks: Any) -> None:
        self.clock = ManualClock()
        self.world = World(self.clock, quirks=Quirks(**quirks))
        ids = {"agent_id": catalogue.AGENT_ID, "persona_id": catalogue.PERSONA_ID, "test_set_id": test_set_id}
        self.answer = self.world.launch(ids | {"metadata": {"tags": ["x"]}})
        self.run_id = self.world.runs[0].run_id

    def after(self, seconds: float) -> dict[str, Any]:
        self.clock.advance(seconds)
        shown = self.world.get_run(self.run_id)["run"]
        assert isinstance(shown, dict)
        return shown

    def values(self, metric_id: str) -> list[Any]:
        entries = self.after(0)["results"]["metrics"][metric_id]["values"]
        assert isinstance(entries, list)
        return entries

    def outputs(self, *, legacy: bool = False, **query: str) -> list[dict[str, Any]]:
        simulation = self.world.runs[0].plan.simulations[-1]
        outputs = self.world.list_metric_outputs(simulation.simulation_id, query, legacy=legacy)["metrics"]
        assert isinstance(outputs, list)
        return outputs


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("documented", ["PENDING", "IN QUEUE", "IN PROGRESS", "CANCELLED"]),
        ("underscore", ["PENDING", "IN_QUEUE", "IN_PROGRESS", "CANCELLED"]),
        ("lower", ["pending", "in queue", "in progress", "cancelled"]),
        ("running", ["PENDING", "IN_QUEUE", "RUNNING", "CANCELLED"]),
    ],
)
def test_status_spelling_quirk(spelling: str, expected: list[str]) -> None:
    organization = Organization("cancels1", status_spelling=spelling)
    assert [organization.after(seconds)["status"] for seconds in (0, 2, 10, 10)] == expected
    filtered = organization.world.list_runs({"filter": f'status="{expected[-1]}"'})
    assert len(filtered["runs"]) == 1


def test_canceled_spelling_quirk() -> None:
    assert Organization("cancels1", canceled_spelling="CANCELED").after(30)["status"] == "CANCELED"


def test_unknown_status_quirk() -> None:
    organization = Organization(unknown_status="RINGING")
    assert [organization.after(seconds)["status"] for seconds in (5, 5, 20)] == ["IN QUEUE", "RINGING", "IN PROGRESS"]


@pytest.mark.parametrize(("quirk", "expected"), [("scenario", "SUCCESS"), ("null", None), ("", ""), ("ODD", "ODD")])
def test_error_status_quirk(quirk: str, expected: str | None) -> None:
    assert Organization(error_status=quirk).after(100)["error_status"] == expected


def test_metric_shape_quirk_gives_summaries() -> None:
    full, short = Organization("flaky001"), Organization("flaky001", metric_shape="summary")
    full.after(100)
    values = [entry["value"] for entry in full.values(LATENCY)]
    metrics = short.after(100)["results"]["metrics"]
    assert list(metrics) == ["Latency", "Resolved", "Compliance", "Tone: friendly"]
    assert metrics["Latency"] == {
        "mean": pytest.approx(sum(values) / len(values)),
        "min": min(values),
        "max": max(values),
    }


def test_metrics_lag_quirk() -> None:
    organization = Organization(metrics_lag=30)
    organization.after(100 - 1)
    early, late = Organization(metrics_lag=30), Organization(metrics_lag=30)
    end = early.world.runs[0].plan.end
    counts = []
    for seconds in (end, 3.5, 12.0, 14.5):
        early.after(seconds)
        counts.append(len(early.values(LATENCY)))
    assert counts == [0, 1, 5, 10]
    late.after(end + 29)
    assert {output["status"] for output in late.outputs()} == {"IN PROGRESS"}
    late.after(2)
    assert {output["status"] for output in late.outputs()} == {"COMPLETED"}


def test_missing_values_quirk() -> None:
    organization = Organization("large001", missing_values=0.3)
    organization.after(200)
    entries = organization.values(RESOLVED)
    nulls = [entry for entry in entries if entry["value"] is None]
    assert 0.6 < len(entries) / 250 < 0.95
    assert 10 < len(nulls) < 70
    everything = Organization(missing_values=1.0)
    everything.after(200)
    assert {output["status"] for output in everything.outputs()} == {"FAILED"}
    assert all(output["status_reason"] for output in everything.outputs())


def test_duplicate_values_quirk() -> None:
    organization = Organization(duplicate_values=True)
    organization.after(100)
    ids = [entry["simulation_output_id"] for entry in organization.values(LATENCY)]
    assert (len(ids), len(set(ids))) == (11, 10)


def test_failed_values_quirk_gives_nulls() -> None:
    organization = Organization("someFail", failed_values="null")
    organization.after(100)
    assert [entry["value"] is None for entry in organization.values(LATENCY)].count(True) == 3


@pytest.mark.parametrize(
    ("quirks", "expected"),
    [
        ({}, [(mutation.id, mutation.name) for mutation in catalogue.MUTATIONS]),
        ({"mutation_fields": "id-only"}, [(mutation.id, None) for mutation in catalogue.MUTATIONS]),
        ({"mutation_fields": "name-only"}, [(None, mutation.name) for mutation in catalogue.MUTATIONS]),
        (
            {"same_mutation_names": True},
            [(mutation.id, catalogue.MUTATIONS[0].name) for mutation in catalogue.MUTATIONS],
        ),
    ],
)
def test_quirks_of_mutation_fields(quirks: dict[str, Any], expected: list[tuple[str | None, str | None]]) -> None:
    organization = Organization(**quirks)
    ids = {"agent_id": catalogue.AGENT_ID, "persona_id": catalogue.PERSONA_ID, "test_set_id": "passing1"}
    organization.world.launch(ids | {"mutation_ids": [mutation.id for mutation in catalogue.MUTATIONS]})
    query = {"filter": f'run_id="{organization.world.runs[-1].run_id}"', "page_size": "100"}
    rows = organization.world.list_simulations(query)["simulated_conversations"]
    shown = dict.fromkeys((row["mutation_id"], row["mutation_name"]) for row in rows)
    assert sorted(shown, key=str) == sorted([(None, None), *expected], key=str)


def test_skipped_simulations_quirk() -> None:
    organization = Organization("someFail", skipped_simulations=True)
    organization.after(120)
    listed = organization.world.list_simulations({"filter": f'run_id="{organization.run_id}"'})
    rows = listed["simulated_conversations"]
    assert sorted(row["status"] for row in rows) == ["COMPLETED"] * 7 + ["SKIPPED"] * 3
    assert not any(row["error_message"] for row in rows)


def test_superseded_outputs_quirk() -> None:
    organization = Organization(superseded_outputs=True)
    organization.after(100)
    assert [output["status"] for output in organization.outputs()] == ["COMPLETED"] * 5
    for outputs in (organization.outputs(legacy=True), organization.outputs(include_superseded="true")):
        assert len(outputs) == 10
        newest = {}
        for output in sorted(outputs, key=lambda output: output["metric_output_id"]):
            newest[output["metric_id"]] = output
        assert list(newest.values()) == sorted(
            organization.outputs(), key=lambda output: list(newest).index(output["metric_id"])
        )


def test_null_progress_quirk() -> None:
    assert Organization(null_progress=True).after(20)["progress"] is None
    assert Organization("noProgrs").after(20)["progress"] is None


def test_metrics_trickle_quirk() -> None:
    organization = Organization(metrics_trickle=8)
    end = organization.world.runs[0].plan.end
    assert len(organization.after(end)["results"]["metrics"]) == 1
    assert [len(organization.after(2)["results"]["metrics"]) for _ in range(5)] == [2, 3, 4, 5, 5]


def test_outputs_trickle_quirk() -> None:
    for trickles, expected in ((True, [1, 2]), (False, [5, 5])):
        organization = Organization(metrics_trickle=8, outputs_trickle=trickles)
        organization.after(organization.world.runs[0].plan.end)
        counts = []
        for seconds in (0, 2):
            organization.clock.advance(seconds)
            counts.append(len(organization.outputs()))
        assert counts == expected


def test_simulations_trickle_quirk() -> None:
    organization = Organization(simulations_trickle=10)
    organization.after(organization.world.runs[0].plan.end)
    counts = []
    for seconds in (0, 1, 4, 5):
        organization.clock.advance(seconds)
        counts.append(len(organization.world.list_simulations({})["simulated_conversations"]))
        assert len(organization.values(LATENCY)) == counts[-1]
    assert counts == [0, 1, 5, 10]


def test_output_ids_quirk() -> None:
    assert "output_ids" not in Organization(output_ids="absent").after(1000)["results"]


def test_reopens_quirk() -> None:
    organization = Organization(reopens=10)
    end = organization.world.runs[0].plan.end
    statuses = [organization.after(seconds)["status"] for seconds in (end, 5, 9, 1)]
    assert statuses == ["COMPLETED", "IN PROGRESS", "IN PROGRESS", "COMPLETED"]


def test_agent_metrics_quirk() -> None:
    ids = [metric.id for metric in catalogue.DEFAULT_METRICS]
    for quirk, expected in (("shown", ids), ("hidden", [])):
        shelf = Organization(agent_metrics=quirk).world.catalogue
        assert shelf.get_agent(catalogue.AGENT_ID)["agent"]["metric_ids"] == expected
    with pytest.raises(Problem, match="403"):
        Organization(agent_metrics="forbidden").world.catalogue.get_agent(catalogue.AGENT_ID)


@pytest.mark.parametrize(
    ("quirk", "expected"),
    [
        ("minimal", {"run": {"name", "run_id", "status", "create_time"}}),
        ("name-only", {"run": {"name"}}),
        ("id-field", {"run": {"id"}}),
        ("top-level", {"run_id"}),
    ],
)
def test_launch_response_quirk(quirk: str, expected: Any) -> None:
    answer = Organization(launch_response=quirk).answer
    assert answer.keys() == set(expected)
    if isinstance(expected, dict):
        assert answer["run"].keys() == expected["run"]


def test_full_launch_response_is_whole_run() -> None:
    organization = Organization(launch_response="full")
    assert organization.answer == organization.world.get_run(organization.run_id)


def test_ignore_tag_filter_quirk() -> None:
    organization = Organization(ignore_tag_filter=True)
    for text, count in (('tag="other"', 1), ('tag="other" AND status="FAILED"', 0)):
        assert len(organization.world.list_runs({"filter": text})["runs"]) == count


def test_blind_tag_filter_quirk() -> None:
    organization = Organization(blind_tag_filter=True)
    for text, count in (('tag="other"', 0), ("", 1)):
        assert len(organization.world.list_runs({"filter": text})["runs"]) == count


@pytest.mark.parametrize(("quirk", "shown"), [("", "IN QUEUE"), ("CANCELLING", "CANCELLING")])
def test_cancel_lag_quirks(quirk: str, shown: str) -> None:
    organization = Organization("queued01", cancel_lag=30, cancelling_status=quirk)
    organization.clock.advance(60)
    organization.world.delete_run(organization.run_id)
    assert organization.after(20)["status"] == shown
    organization.world.delete_run(organization.run_id)
    assert organization.after(10)["status"] == "CANCELLED"


@pytest.mark.parametrize(
    ("quirk", "shown"),
    [("both", {"tags", "metadata"}), ("tags", {"tags"}), ("metadata", {"metadata"}), ("neither", set())],
)
def test_identity_quirks(quirk: str, shown: set[str]) -> None:
    organization = Organization(list_identity=quirk)
    (listed,) = organization.world.list_runs({})["runs"]
    assert {"tags", "metadata"} & listed.keys() == shown
    assert {"tags", "metadata"} <= organization.after(0).keys()
    organization = Organization(run_identity=quirk)
    (listed,) = organization.world.list_runs({})["runs"]
    assert {"tags", "metadata"} & organization.after(0).keys() == shown
    assert {"tags", "metadata"} <= listed.keys()


def test_not_found_after_launch_and_list_lag_quirks() -> None:
    organization = Organization(not_found_after_launch=3, list_lag=5)
    with pytest.raises(Problem, match="404"):
        organization.after(2.9)
    assert organization.after(0.2)["status"] == "IN QUEUE"
    assert organization.world.list_runs({})["runs"] == []
    organization.clock.advance(2)
    assert len(organization.world.list_runs({})["runs"]) == 1


def test_iteration_limit_quirk() -> None:
    organization = Organization(iteration_limit=10)
    body = organization.world.runs[0].body
    organization.world.launch(body | {"options": {"iteration_count": 10}})
    with pytest.raises(Problem) as caught:
        organization.world.launch(body | {"options": {"iteration_count": 11}})
    assert caught.value.details == ({"field": "options.iteration_count", "description": "must be at most 10"},)


def test_parse_quirks() -> None:
    settings = ["status-spelling=lower", "metrics-lag=2.5", "null-progress", "iteration-limit=10", "error-status="]
    assert parse_quirks(settings) == Quirks(
        status_spelling="lower", metrics_lag=2.5, null_progress=True, iteration_limit=10, error_status=""
    )
    assert parse_quirks(["null-progress=no"]) == parse_quirks([]) == Quirks()


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("spelling=lower", "status-spelling, canceled-spelling"),
        ("status_spelling=lower", "unknown quirk"),
        ("status-spelling=loud", r"documented\|underscore"),
        ("metrics-lag=soon", "<number>"),
        ("metrics-lag=-1", "<number>"),
        ("metrics-lag=nan", "<number>"),
        ("null-progress=maybe", r"true\|false"),
        ("iteration-limit=1.5", "<whole number>"),
    ],
)
def test_parse_invalid_quirk(setting: str, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        parse_quirks([setting])


def test_all_quirks_have_descriptions() -> None:
    described = describe_quirks()
    assert len(described) == len(fields(Quirks))
    assert all(meaning.endswith(".") for meaning in described.values())
    assert described["metrics-lag=<number>"] == "Seconds from the run's end until the last value is available."
    assert described["iteration-limit=<whole number>"].endswith(" Default: 50.")


def test_refused_tag_filter_quirk() -> None:
    world = Organization(refuse_tag_filter=True).world
    with pytest.raises(Problem) as caught:
        world.list_runs({"filter": 'tag="x"'})
    assert caught.value.status == 400
    assert len(world.list_runs({"filter": f'agent_id="{catalogue.AGENT_ID}"'})["runs"]) == 1


def test_lower_case_tags_quirk() -> None:
    for lower, expected in ((False, ["Nightly"]), (True, ["nightly"])):
        organization = Organization(lower_case_tags=lower)
        organization.world.update_run(organization.run_id, {"tags": ["Nightly"]})
        assert organization.after(0)["tags"] == expected


def test_metric_versions_quirk() -> None:
    for quirk, expected in (("shown", False), ("null", True)):
        organization = Organization(metric_versions=quirk)
        organization.after(100)
        assert all((output["metric_version_ulid"] is None) is expected for output in organization.outputs())


def test_update_times_quirk() -> None:
    shelf = Organization(update_times="null").world.catalogue
    cases = shelf.list_test_cases({"filter": 'test_set_id="passing1"'})["test_cases"]
    assert {case["update_time"] for case in cases} == {None}


@pytest.mark.parametrize(
    ("quirk", "fields", "length"),
    [
        ("documented", {"role", "content", "start_timestamp", "end_timestamp", "start_offset", "end_offset"}, 4),
        ("seconds", {"role", "content", "start_offset", "end_offset"}, 6),
        ("text", {"role", "content", "start_time", "end_time"}, 5),
        ("chat", {"role", "content"}, 4),
    ],
)
def test_transcript_quirk(quirk: str, fields: set[str], length: int) -> None:
    transcript = _transcript(quirk)
    assert isinstance(transcript, str) is (quirk == "text")
    messages = json.loads(transcript) if quirk == "text" else transcript
    assert (set(messages[0]), len(messages)) == (fields, length)


def test_absent_transcript_quirk() -> None:
    assert _transcript("absent") is None


def _transcript(quirk: str) -> Any:
    organization = Organization(transcript=quirk)
    organization.after(100)
    simulation_id = organization.world.runs[0].plan.simulations[0].simulation_id
    return organization.world.get_simulation(simulation_id)["simulated_conversation"]["transcript"]


def test_averages_quirk() -> None:
    for quirk, expected in (("shown", True), ("absent", False)):
        organization = Organization(averages=quirk)
        organization.after(100)
        (run,) = organization.world.list_runs({"include": "metric_averages"})["runs"]
        assert ("metric_averages" in run) is expected
    world = Organization(averages="refused").world
    with pytest.raises(Problem) as caught:
        world.list_runs({"include": "metric_averages"})
    assert caught.value.status == 400
    assert len(world.list_runs({})["runs"]) == 1
