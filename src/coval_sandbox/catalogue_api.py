"""Operations on the catalogue, and the JSON of its agents, metrics, test sets and cases, mutations and templates."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import catalogue
from .catalogue import FIRST_VERSION, FOUNDED, Json, Metric, Mutation, Persona, TestCase, agent_for, version_ulid
from .deterministic import ID_LENGTH, TEST_SET_ID_LENGTH, ULID_LENGTH, Clock, rng, ulid
from .filters import Query, flag, listing, matches, parse_filter, selected
from .problems import forbidden, invalid, not_found
from .quirks import Quirks
from .scenarios import SCENARIOS, Scenario
from .views import timestamp

KNOWN: Mapping[str, frozenset[str]] = {
    "Agent": frozenset(catalogue.AGENTS),
    "Persona": frozenset(persona.id for persona in catalogue.PERSONAS),
    "Test set": frozenset(scenario.test_set_id for scenario in SCENARIOS),
    "Metric": frozenset(metric.id for metric in catalogue.METRICS),
    "Mutation": frozenset(mutation.id for mutation in (*catalogue.MUTATIONS, *catalogue.PREVIEW_MUTATIONS)),
}
"""The ids that exist in a strict sandbox, by kind of resource."""
LENGTHS = dict.fromkeys(KNOWN, ID_LENGTH) | {"Test set": TEST_SET_ID_LENGTH, "Mutation": ULID_LENGTH}
MISSING = "missing"
"""The prefix of ids that never exist."""
_WHEN = timestamp(FOUNDED)
_AUDIT = {"created_at": _WHEN, "created_by": "sandbox", "updated_at": _WHEN, "updated_by": "sandbox"}
_TIMES = {"create_time": _WHEN, "update_time": _WHEN}
_EVALUATORS = {"METRIC_LLM_BINARY": "llm_judge", "METRIC_AGENT_JUDGE": "agent_judge", "METRIC_PYTHON": "python"}


class Edits:
    """Users' changes: the contents of test cases and personas, and the versions of metrics."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed: dict[str, Json] = {}
        self._versions: dict[str, int] = {}

    def change(self, identifier: str, **fields: object) -> None:
        """Change a test case or persona; without fields, only its update_time."""
        now = timestamp(self._clock())
        earlier = self._changed.get(identifier, {})
        self._changed[identifier] = earlier | {"update_time": now, "updated_at": now} | fields

    def revise(self, metric_id: str) -> None:
        """Add a version of a metric, which judges later runs."""
        self._versions[metric_id] = self.version(metric_id) + 1

    def applied(self, row: Json) -> Json:
        """`row`: the JSON of a test case or persona."""
        return row | self._changed.get(row["id"], {})

    def version(self, metric_id: str) -> int:
        return self._versions.get(metric_id, FIRST_VERSION)


class CatalogueApi:
    """A method returns the JSON body of a success, or raises `Problem`.

    If `strict`, only the resources of the catalogue exist. Otherwise, every id of the right length exists.
    """

    def __init__(
        self, scenario_for: Callable[[str], Scenario], quirks: Quirks, edits: Edits, *, strict: bool = False
    ) -> None:
        self._scenario_for = scenario_for
        self._quirks = quirks
        self._edits = edits
        self._strict = strict

    def require(self, what: str, field: str, identifier: str) -> None:
        """Raise `Problem` (404) if a resource does not exist; `what` is its kind, as in `KNOWN`."""
        if not self._exists(what, identifier):
            raise not_found(what, field, identifier)

    def require_mutation(self, agent_id: str, mutation_id: str) -> None:
        """Raise `Problem` (404) if the agent does not have the mutation. That Coval answers 404 is not documented."""
        self.require("Mutation", "mutation_ids", mutation_id)
        own = {mutation.id for mutation in catalogue.mutations_of(agent_id)}
        if mutation_id in KNOWN["Mutation"] - own:
            raise not_found("Mutation", "mutation_ids", mutation_id)

    def _exists(self, what: str, identifier: str) -> bool:
        could_exist = len(identifier) == LENGTHS[what] and not identifier.startswith(MISSING)
        return could_exist and (not self._strict or identifier in KNOWN[what])

    def list_metrics(self, query: Query) -> Json:
        """List metrics; include_builtin=true adds built-in ones."""
        builtin = flag(query, "include_builtin")
        rows = [self._shown_metric(m) for m in catalogue.METRICS if builtin or not m.builtin]
        fields = ("metric_type", "metric_name", "create_time")
        return self._listing("metrics", selected(rows, query, fields, ("create_time", "metric_name")), query)

    def get_metric(self, metric_id: str) -> Json:
        self.require("Metric", "metric_id", metric_id)
        return {"metric": self._shown_metric(catalogue.metric_for(metric_id))}

    def list_test_sets(self, query: Query) -> Json:
        """List the test sets of the scenarios."""
        rows = [_test_set_json(scenario.test_set_id, scenario) for scenario in SCENARIOS]
        order = ("create_time", "update_time", "display_name")
        rows = selected(rows, query, (*order, "test_set_type"), order, default="-update_time")
        return self._listing("test_sets", rows, query)

    def get_test_set(self, test_set_id: str) -> Json:
        """Return a test set; only this operation counts its test cases."""
        self.require("Test set", "test_set_id", test_set_id)
        scenario = self._scenario_for(test_set_id)
        shown = _test_set_json(test_set_id, scenario)
        return {"test_set": shown | {"test_case_count": scenario.test_cases}}

    def list_test_cases(self, query: Query) -> Json:
        """List the cases of the test set in the filter, or of every known set."""
        order = ("create_time", "update_time")
        fields = (*order, "test_set_id", "input_type")
        named = parse_filter(query.get("filter"), fields).get("test_set_id")
        rows = [
            self._shown_case(case)
            for test_set_id in ([named] if named else sorted(KNOWN["Test set"]))
            if self._exists("Test set", test_set_id)
            for case in catalogue.test_cases(test_set_id, self._scenario_for(test_set_id).test_cases)
        ]
        return self._listing("test_cases", selected(rows, query, fields, order), query)

    def get_test_case(self, test_case_id: str) -> Json:
        try:
            return {"test_case": self._shown_case(catalogue.test_case(test_case_id))}
        except ValueError:
            raise not_found("Test case", "test_case_id", test_case_id) from None

    def list_personas(self, query: Query) -> Json:
        rows = [self._edits.applied(_persona_json(persona)) for persona in catalogue.PERSONAS]
        return self._listing("personas", rows, query)

    def get_persona(self, persona_id: str) -> Json:
        self.require("Persona", "persona_id", persona_id)
        return {"persona": self._edits.applied(_persona_json(catalogue.persona_for(persona_id)))}

    def list_run_templates(self, query: Query) -> Json:
        rows = [_run_template_json(template) for template in catalogue.RUN_TEMPLATES]
        return self._listing("run_templates", rows, query) | {"total_count": len(rows)}

    def get_run_template(self, run_template_id: str) -> Json:
        for template in catalogue.RUN_TEMPLATES:
            if template["id"] == run_template_id:
                return {"run_template": _run_template_json(template)}
        raise not_found("Run template", "run_template_id", run_template_id)

    def schedule(self, schedule_id: str) -> catalogue.Schedule:
        """Raises `Problem` (404)."""
        for schedule in catalogue.SCHEDULES:
            if schedule.id == schedule_id:
                return schedule
        raise not_found("Scheduled run", "scheduled_run_id", schedule_id)

    def list_agents(self, query: Query) -> Json:
        wanted = parse_filter(query.get("filter"), ("model_type", "display_name", "create_time", "update_time"))
        if self._quirks.agent_metrics == "forbidden":
            raise forbidden("agents:read")
        shows_metrics = self._quirks.agent_metrics == "shown"
        rows = [_agent_json(agent_id, shows_metrics=shows_metrics) for agent_id in catalogue.AGENTS]
        return self._listing("agents", [row for row in rows if matches(row, wanted)], query)

    def get_agent(self, agent_id: str) -> Json:
        if len(agent_id) != ID_LENGTH:
            raise invalid(("agent_id", f"must have {ID_LENGTH} characters"))
        self.require("Agent", "agent_id", agent_id)
        if self._quirks.agent_metrics == "forbidden":
            raise forbidden("agents:read")
        return {"agent": _agent_json(agent_id, shows_metrics=self._quirks.agent_metrics == "shown")}

    def list_mutations(self, agent_id: str, query: Query) -> Json:
        self.require("Agent", "agent_id", agent_id)  # unlike for GET /agents/{agent_id}, there is no 400
        rows = [_mutation_json(agent_id, mutation) for mutation in catalogue.mutations_of(agent_id)]
        return self._listing("mutations", rows, query) | {"total_count": len(rows)}

    def _shown_case(self, case: catalogue.TestCase) -> Json:
        shown = self._edits.applied(_test_case_json(case))
        return shown if self._quirks.update_times == "shown" else shown | {"update_time": None}

    def _shown_metric(self, metric: catalogue.Metric) -> Json:
        return _metric_json(metric, self._edits.version(metric.id))

    def _listing(self, envelope: str, rows: Sequence[Any], query: Query) -> Json:
        return listing(envelope, rows, query, self._quirks, most=100)


def _metric_json(metric: Metric, version: int = 1) -> Json:
    """Built-in metrics have no versions."""
    evaluation = {
        "evaluator": _EVALUATORS.get(metric.metric_type, "builtin"),
        "output_type": metric.output_type,
        "output_type_source": "inferred",
        "semantic_type": None,
        "semantic_type_source": "inferred",
    }
    return {
        **_AUDIT,
        **_TIMES,
        "name": f"metrics/{metric.id}",
        "id": metric.id,
        "metric_name": metric.name,
        "description": metric.description,
        "metric_type": metric.metric_type,
        "evaluation": evaluation,
        "categories": list(metric.categories) or None,
        "unit": metric.unit,
        "target_condition": metric.target,
        "organization_threshold": _threshold(metric, metric.threshold) if metric.threshold else None,
        "current_version": None if metric.builtin else _version(metric, version),
        "tags": [],
    }


def _version(metric: Metric, number: int) -> Json:
    return {
        "ulid": version_ulid(metric.id, number),
        "version_number": number,
        "change_type": "save",
    }


def _threshold(metric: Metric, override: Json) -> Json:
    identity = {
        "id": ulid(FOUNDED, rng("threshold", metric.id)),
        "name": f"metrics/{metric.id}/threshold",
        "source": "manual",
    }
    unset = dict.fromkeys(("comparison_operator", "target_float_upper", "target_float_lower", "target_values"))
    return {**_AUDIT, **_TIMES, **unset, **identity, **override}


def _test_set_json(test_set_id: str, scenario: Scenario) -> Json:
    """As in lists."""
    return {
        **_AUDIT,
        **_TIMES,
        "name": f"test-sets/{test_set_id}",
        "id": test_set_id,
        "slug": re.sub(r"[^a-z0-9_-]", "-", test_set_id.lower()),
        "display_name": scenario.name.replace("-", " ").capitalize(),
        "description": scenario.summary,
        "test_set_type": "SCENARIO",
        "test_set_metadata": None,
        "parameters": None,
        "tags": [],
    }


def _test_case_json(case: TestCase) -> Json:
    """As in GET; `description` is the label."""
    return {
        **_AUDIT,
        **_TIMES,
        "name": f"test-cases/{case.id}",
        "id": case.id,
        "test_set_id": case.test_set_id,
        "input_str": case.text,
        "expected_behaviors": [f"The agent {case.expected}."],
        "description": case.label,
        "input_type": "SCENARIO",
    }


def _persona_json(persona: Persona) -> Json:
    return {
        **_AUDIT,
        **_TIMES,
        "resource_name": f"personas/{persona.id}",
        "id": persona.id,
        "name": persona.name,
        "persona_prompt": persona.prompt,
        "voice_name": persona.voice,
        "language_code": "en-US",
        "background_sound": "off",
        "conversation_initiation": "wait_for_user",
        "interruption_rate": "NONE",
        "tags": [],
    }


def _agent_json(agent_id: str, *, shows_metrics: bool) -> Json:
    agent = agent_for(agent_id)
    return {
        **_TIMES,
        "id": agent_id,
        "customer_agent_id": agent_id,
        "display_name": agent.name,
        "model_type": agent.model_type,
        "metric_ids": [metric.id for metric in agent.metrics] if shows_metrics else [],
        "test_set_ids": [],
    }


def _mutation_json(agent_id: str, mutation: Mutation) -> Json:
    return {
        **_AUDIT,
        **_TIMES,
        "id": mutation.id,
        "agent_id": agent_id,
        "display_name": mutation.name,
        "description": "",
        "config_overrides": mutation.overrides,
        "parameter_values": {},
        "status": "ACTIVE",
    }


def _run_template_json(template: Json) -> Json:
    return {**_AUDIT, **_TIMES, "name": f"run-templates/{template['id']}", **template}
