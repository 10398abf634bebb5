"""Coval's official client fits the sandbox, and the payloads that the action sends and reads fit its strict models."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coval_gate.ci.host import Context
from coval_gate.coval.results import read_run
from coval_gate.step.launch import launch_request as request_of_step
from coval_sandbox import catalogue
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.quirks import Quirks
from coval_sandbox.scenarios import SCENARIOS
from coval_sandbox.server import Server
from coval_sandbox.world import DEFAULT_KEY, World
from support import LateModule, environ_of, read_inputs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:coval_sdk")
coval_sdk, exceptions = LateModule("coval_sdk"), LateModule("coval_sdk.exceptions")
models, pagination = LateModule("coval_sdk.models"), LateModule("coval_sdk.pagination")
MUTATION = catalogue.MUTATIONS[0]


class Setup:
    """A sandbox with an official client, which validates strictly and does not retry."""

    def __init__(self, server: Server, clock: ManualClock) -> None:
        self.server = server
        self.clock = clock
        self.client = self.client_with(DEFAULT_KEY)

    def client_with(self, key: str) -> Any:
        return coval_sdk.CovalClient(
            key, base_url=self.server.url, retries=False, strict_response_validation=True, max_idle_seconds=None
        )

    def launch(self, test_set_id: str = "passing1", **fields: Any) -> str:
        run_id = self.client.runs.launch_run(launch_request(test_set_id, **fields)).run.run_id
        assert isinstance(run_id, str)
        return run_id


def launch_request(test_set_id: str = "passing1", **fields: Any) -> Any:
    return models.CovalRunsAPILaunchRunRequest(
        agent_id=catalogue.AGENT_ID, persona_id=catalogue.PERSONA_ID, test_set_id=test_set_id, **fields
    )


def listed(operation: Callable[..., Any], envelope: str, **query: Any) -> list[Any]:
    """Return all entries that an operation lists, with the client's own pagination."""
    return list(pagination.paginate(operation, items_field=envelope, **query))


@pytest.fixture
def setup() -> Iterator[Setup]:
    clock = ManualClock()
    with Server(World(clock)) as server:
        setup = Setup(server, clock)
        with setup.client:
            yield setup


def test_alert_of_the_recipe_is_one_for_runs_that_the_nightly_step_launches() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    (body,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (metadata,) = re.findall(r'`"metadata": (\{.*\})`', text)
    alert = models.CovalAlertsAPICreateAlertRequest.from_json(body)
    assert alert.additional_properties == {}
    assert [condition.additional_properties for condition in alert.conditions] == [{}]
    inputs = read_inputs(environ_of(metadata=metadata), Context())
    customer = request_of_step(inputs, Context(repository="acme/voice-agent")).metadata.customer
    assert json.loads(body)["customer_metadata"].items() <= customer.items()


def test_launch_with_all_fields(setup: Setup) -> None:
    cases = [case.id for case in catalogue.test_cases("passing1", 3)]
    run_id = setup.launch(
        metric_ids=[catalogue.LATENCY.id, catalogue.TOPICS.id],
        mutation_ids=[MUTATION.id],
        options=models.CovalRunsAPILaunchOptions(iteration_count=2, concurrency=3, test_case_ids=cases),
        metadata=models.CovalRunsAPILaunchMetadata(
            customer={"sha": "abc"},
            created_by="ci",
            display_name="Check",
            template_name="Nightly",
            tags=["pr-1", "pr-1"],
        ),
        config_overrides={"simulation_timeout_seconds": 60},
    )
    record = setup.server.world.runs[0]
    assert record.run_id == run_id
    assert record.request.config_overrides == {"simulation_timeout_seconds": 60}
    assert record.request.metadata.template_name == "Nightly"
    run = setup.client.runs.get_run(run_id).run
    assert (run.display_name, run.tags, run.metadata) == ("Check", ["pr-1"], {"sha": "abc"})
    assert run.progress.total_test_cases == 3
    assert len(setup.client.simulated_conversations.list_simulated_conversations().simulated_conversations) == 12


def test_connections_fit_strict_model_in_every_status() -> None:
    clock = ManualClock()
    with (
        Server(World(clock, quirks=Quirks(offer_life=4.0)), relay=True) as server,
        Setup(server, clock).client as client,
    ):
        options = models.CovalRunsAPILaunchOptions(sub_sample_size=1)
        request = launch_request(options=options).model_copy(update={"agent_id": catalogue.OWN_BUILD_ID})
        client.runs.launch_run(request)
        (planned,) = server.world.runs[0].plan.simulations
        seen = set()
        for _ in range(200):
            shown = client.simulated_conversations.get_simulation_connect(planned.simulation_id)
            seen.add(shown.status)
            is_ready = shown.status == "READY"
            assert shown.simulation_id == planned.simulation_id
            assert all(
                bool(part) == is_ready for part in (shown.attempt_id, shown.wss_url, shown.token, shown.expires_at)
            )
            clock.advance(2)
        assert seen == {"PENDING", "READY", "EXPIRED", "FAILED"}


def test_runs_fit_strict_model_in_every_status(setup: Setup) -> None:
    undocumented = {"unknown-status", "error"}
    ids = [setup.launch(scenario.test_set_id) for scenario in SCENARIOS if scenario.name not in undocumented]
    seen = set()
    for seconds in (0, 2, 10, 15, 120):
        setup.clock.advance(seconds)
        runs = setup.client.runs.list_runs(order_by="create_time").runs
        assert [run.run_id for run in runs] == ids
        assert all((run.results is not None) == (run.status.value == "COMPLETED") for run in runs)
        seen |= {run.status.value for run in runs}
    assert seen == {status.value for status in models.CovalRunsAPISimulationStatus}


def test_results_have_all_planned_values(setup: Setup) -> None:
    run_id = setup.launch("someFail")
    setup.clock.advance(100)
    results = setup.client.runs.get_run(run_id).run.results
    planned = setup.server.world.runs[0].plan.simulations
    assert results.output_ids == [simulation.simulation_id for simulation in planned]
    for metric in catalogue.DEFAULT_METRICS:
        shown = results.metrics[metric.id]
        assert (shown.metric_name, shown.output_type) == (metric.name, metric.output_type)
        values = {value.simulation_output_id: value.value.actual_instance for value in shown.values}
        assert values == {
            simulation.simulation_id: list(value) if isinstance(value, tuple) else value
            for simulation in planned
            if not simulation.failed
            for value in [simulation.values[metric.id]]
        }


def test_pagination_lists_all_entries(setup: Setup) -> None:
    ids = [
        setup.launch(metadata=models.CovalRunsAPILaunchMetadata(tags=["odd" if n % 2 else "even"])) for n in range(7)
    ]
    runs = setup.client.runs
    assert [run.run_id for run in listed(runs.list_runs, "runs", page_size=2)] == ids[::-1]
    odd = listed(runs.list_runs, "runs", page_size=2, filter='tag="odd"', order_by="create_time")
    assert [run.run_id for run in odd] == ids[1::2]
    conversations = setup.client.simulated_conversations.list_simulated_conversations
    simulations = listed(conversations, "simulated_conversations", page_size=4, filter=f'run_id="{ids[3]}"')
    assert len({simulation.simulation_id for simulation in simulations}) == len(simulations) == 10


def test_update_and_delete_run(setup: Setup) -> None:
    run_id = setup.launch()
    runs = setup.client.runs
    updated = runs.update_run(run_id, models.CovalRunsAPIUpdateRunRequest(tags=["baseline"])).run
    assert updated.actual_instance.tags == ["baseline"]
    runs.delete_run(run_id)
    assert runs.get_run(run_id).run.status.value == "CANCELLED"
    runs.delete_run(run_id)
    with pytest.raises(exceptions.NotFoundException):
        runs.get_run(run_id)


def test_simulations_and_metric_outputs(setup: Setup) -> None:
    setup.server.world.edits.revise(catalogue.TOPICS.id)
    run_id = setup.launch("someFail", mutation_id=MUTATION.id)
    setup.clock.advance(200)
    conversations, outputs = setup.client.simulated_conversations, setup.client.metric_outputs
    simulations = conversations.list_simulated_conversations(order_by="create_time").simulated_conversations
    assert {simulation.mutation_name for simulation in simulations} == {None, MUTATION.name}
    current = setup.client.metrics.get_metric(catalogue.TOPICS.id).metric.current_version
    for status, turns, output_status in (("FAILED", 2, "SKIPPED"), ("COMPLETED", 4, "COMPLETED")):
        simulation_id = next(simulation.simulation_id for simulation in simulations if simulation.status == status)
        full = conversations.get_simulated_conversation(simulation_id).simulated_conversation
        assert (full.status, len(full.transcript)) == (status, turns)
        metrics = outputs.list_simulated_conversation_metrics(simulation_id, view="BASIC").metrics
        assert {metric.status for metric in metrics} == {output_status}
        legacy = setup.client.simulations.get_simulation(simulation_id).simulation
        assert (legacy.run_id, legacy.simulation_id) == (run_id, simulation_id)
        shown = {metric.metric_id: metric for metric in outputs.simulations_list_metrics(simulation_id).metrics}
        assert shown.keys() == {metric.id for metric in catalogue.DEFAULT_METRICS}
        assert (current.version_number, current.ulid) == (2, shown[catalogue.TOPICS.id].metric_version_ulid)
    every = setup.client.simulations.list_simulations(filter=f'run_id="{run_id}"').simulations
    assert len(every) == len(simulations)


def test_get_metrics(setup: Setup) -> None:
    client = setup.client.metrics
    # The client's own model of target_condition drops every field before it validates (0.9.7), so it cannot parse
    # a metric with a target. The parts are validated against their models one by one.
    metrics: list[Any] = []
    token = None
    while token or not metrics:
        query = {"include_builtin": True, "page_size": 2, "page_token": token, "order_by": "metric_name"}
        page = json.loads(client.list_metrics_without_preload_content(**query).data)
        assert len(page["metrics"]) <= 2
        metrics += page["metrics"]
        token = page["next_page_token"]
    assert [metric["metric_name"] for metric in metrics] == sorted(metric.name for metric in catalogue.METRICS)
    for metric in metrics:
        target = metric.pop("target_condition")
        if target is not None:
            models.CovalMetricsAPITargetCondition.model_validate(target)
        assert models.CovalMetricsAPIMetricResource.from_dict(metric).metric_name == metric["metric_name"]
    assert client.get_metric(catalogue.TOPICS.id).metric.metric_type.value == "METRIC_CATEGORICAL"


def test_get_test_sets_and_cases(setup: Setup) -> None:
    client = setup.client
    cases = listed(client.test_cases.list_test_cases, "test_cases", page_size=4, filter='test_set_id="passing1"')
    assert len(cases) == 10
    assert client.test_cases.get_test_case(cases[0].id).test_case.description == cases[0].description
    sets = listed(client.test_sets.list_test_sets, "test_sets", page_size=4)
    assert {test_set.id for test_set in sets} == {scenario.test_set_id for scenario in SCENARIOS}
    assert all(test_set.test_case_count is None for test_set in sets)
    assert client.test_sets.get_test_set("large001").test_set.test_case_count == 250


def test_get_agents_personas_and_mutations(setup: Setup) -> None:
    client = setup.client
    agents = listed(client.agents.list_agents, "agents", page_size=2)
    assert {agent.id: agent.display_name for agent in agents} == {
        agent_id: agent.name for agent_id, agent in catalogue.AGENTS.items()
    }
    setup.server.world.edits.change(catalogue.PERSONA_ID, persona_prompt="Be brief.")
    personas = listed(client.personas.list_personas, "personas", page_size=1)
    for persona, entry in zip(catalogue.PERSONAS, personas, strict=True):
        shown = client.personas.get_persona(persona.id).persona
        assert (shown.id, shown.name, shown.voice_name) == (persona.id, persona.name, persona.voice)
        assert shown.persona_prompt == entry.persona_prompt
    assert [shown.persona_prompt for shown in personas] == ["Be brief.", catalogue.PERSONAS[1].prompt]
    every = client.mutations.list_mutations(catalogue.AGENT_ID)
    assert every.total_count == len(every.mutations) == len(catalogue.MUTATIONS)
    mutation = next(mutation for mutation in every.mutations if mutation.id == MUTATION.id)
    assert (mutation.display_name, mutation.status) == (MUTATION.name, "ACTIVE")


def test_get_schedules_and_templates(setup: Setup) -> None:
    client = setup.client
    (schedule,) = catalogue.SCHEDULES
    ids = setup.server.world.run_schedule(schedule.id)
    listed_runs = client.scheduled_runs.list_scheduled_run_history(schedule.id).runs
    assert {run.id for run in listed_runs} == set(ids)
    assert {(run.agent_id, run.test_set_id, run.status) for run in listed_runs} == {
        (catalogue.AGENT_ID, test_set_id, "PENDING") for test_set_id in ("passing1", "flaky001")
    }
    plural, several, singular = client.run_templates.list_run_templates().run_templates
    assert (plural.agent_ids, len(several.persona_ids)) == ([catalogue.AGENT_ID], 2)
    assert singular.additional_properties["agent_id"] == catalogue.AGENT_ID
    assert client.run_templates.get_run_template(several.id).run_template.display_name == several.display_name


NOT_FOUND, INVALID = ("NotFoundException", "NOT_FOUND"), ("BadRequestException", "INVALID_ARGUMENT")
CALLS: list[tuple[Callable[[Any], object], tuple[str, str]]] = [
    (lambda client: client.runs.get_run("x" * 22), NOT_FOUND),
    (lambda client: client.runs.launch_run(launch_request("missing1")), NOT_FOUND),
    (lambda client: client.simulated_conversations.get_simulated_conversation("x" * 22), NOT_FOUND),
    (lambda client: client.scheduled_runs.list_scheduled_run_history("nowhere000000000000001"), NOT_FOUND),
    (lambda client: client.runs.list_runs(filter="status=COMPLETED"), INVALID),
    (lambda client: client.runs.list_runs(order_by="colour"), INVALID),
    (lambda client: client.agents.get_agent("short"), INVALID),
]


def test_error_response_raises_typed_exception(setup: Setup, subtests: pytest.Subtests) -> None:
    for place, (call, (exception, code)) in enumerate(CALLS):
        with subtests.test(str(place)):
            with pytest.raises(getattr(exceptions, exception)) as caught:
                call(setup.client)
            error = caught.value.data.error
            assert error.code == code
            assert error.details[0].var_field


# What the action sends and reads

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


def body(**inputs: str) -> Any:
    """Return the body of the action's launch, as JSON has it."""
    context = Context(repository="acme/voice-agent", sha="5d1c1b0", actor="mona", pull_request=42)
    return json.loads(json.dumps(request_of_step(read_inputs(environ_of(**inputs), context), context).body))


def unknown_fields(model: Any) -> dict[str, Any]:
    """Return the fields, at any depth, that the SDK's model lacks."""
    unknown = dict(model.additional_properties)
    for name in type(model).model_fields:
        value = getattr(model, name)
        if hasattr(value, "additional_properties"):
            unknown |= {f"{name}.{key}": inner for key, inner in unknown_fields(value).items()}
    return unknown


@pytest.mark.parametrize(
    ("inputs", "unknown"),
    [
        ({}, {}),
        (FULL, {}),
        (FULL | {"persona_metrics": "latency"}, {"persona_metrics": ["latency"]}),  # the API's docs have it
        ({"mutation_id": "u" * 26, "test_case_ids": catalogue.test_cases("passing1", 2)[1].id}, {}),
    ],
    ids=["minimal", "full", "persona-metrics", "one-mutation"],
)
def test_sdk_and_sandbox_know_all_fields_of_launch_request(inputs: dict[str, str], unknown: dict[str, Any]) -> None:
    sent = body(**inputs)
    model = models.CovalRunsAPILaunchRunRequest.from_dict(sent)
    assert unknown_fields(model) == unknown
    assert model.to_dict().keys() >= sent.keys() - unknown.keys()
    world = World(lambda: 0.0)
    run = world.get_run(world.launch(sent)["run"]["run_id"])["run"]
    assert world.runs[0].body == sent
    assert run["display_name"] == sent["metadata"]["display_name"]
    assert run["tags"] == sent["metadata"].get("tags", [])


def test_every_status_of_the_sdk_is_known() -> None:
    for status in models.CovalRunsAPISimulationStatus:
        assert read_run({"run_id": "r" * 22, "status": status.value}).has_known_status
