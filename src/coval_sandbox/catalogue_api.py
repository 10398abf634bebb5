"""Operations on the catalogue: agents, metrics, test sets and cases, mutations, run templates, scheduled runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import catalogue
from . import catalogue_views as views
from .catalogue import Json
from .catalogue_views import FIRST_VERSION
from .clock import Clock
from .filters import Query, flag, listing, parse_filter, selected
from .ids import ID_LENGTH, TEST_SET_ID_LENGTH
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
MISSING = "missing"
"""The prefix of ids that never exist."""


class Edits:
    """Users' changes: the contents of test cases and personas, and the versions of metrics."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed: dict[str, Json] = {}
        self._versions: dict[str, int] = {}

    def change(self, identifier: str, **fields: object) -> None:
        """Without fields, change only the update_time of the test case or persona."""
        now = timestamp(self._clock())
        earlier = self._changed.get(identifier, {})
        self._changed[identifier] = earlier | {"update_time": now, "updated_at": now} | fields

    def revise(self, metric_id: str) -> None:
        """The new version judges later runs."""
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
        return not identifier.startswith(MISSING) and (not self._strict or identifier in KNOWN[what])

    def list_metrics(self, query: Query) -> Json:
        """include_builtin=true adds built-in metrics."""
        builtin = flag(query, "include_builtin")
        rows = [self._shown_metric(m) for m in catalogue.METRICS if builtin or not m.builtin]
        fields = ("metric_type", "metric_name", "create_time")
        return self._listing("metrics", selected(rows, query, fields, ("create_time", "metric_name")), query)

    def get_metric(self, metric_id: str) -> Json:
        if len(metric_id) != ID_LENGTH:
            raise not_found("Metric", "metric_id", metric_id)
        self.require("Metric", "metric_id", metric_id)
        return {"metric": self._shown_metric(catalogue.metric_for(metric_id))}

    def list_test_sets(self, query: Query) -> Json:
        """List the test sets of the scenarios."""
        rows = [views.test_set(scenario.test_set_id, scenario) for scenario in SCENARIOS]
        order = ("create_time", "update_time", "display_name")
        rows = selected(rows, query, (*order, "test_set_type"), order, default="-update_time")
        return self._listing("test_sets", rows, query)

    def get_test_set(self, test_set_id: str) -> Json:
        """Only this operation counts the test cases."""
        if len(test_set_id) != TEST_SET_ID_LENGTH:
            raise not_found("Test set", "test_set_id", test_set_id)
        self.require("Test set", "test_set_id", test_set_id)
        scenario = self._scenario_for(test_set_id)
        shown = views.test_set(test_set_id, scenario)
        return {"test_set": shown | {"test_case_count": scenario.test_cases}}

    def list_test_cases(self, query: Query) -> Json:
        """List the cases of the test set in the filter, or of every known set."""
        order = ("create_time", "update_time")
        fields = (*order, "test_set_id", "input_type")
        query_filter = parse_filter(query.get("filter"), fields)
        filtered = (term.value for term in query_filter.terms if term.field == "test_set_id")
        named = {value for value in filtered if len(value) == TEST_SET_ID_LENGTH and self._exists("Test set", value)}
        rows = [
            self._shown_case(case)
            for test_set_id in sorted(named | KNOWN["Test set"])
            if query_filter.allows("test_set_id", test_set_id)
            for case in catalogue.test_cases(test_set_id, self._scenario_for(test_set_id).test_cases)
        ]
        return self._listing("test_cases", selected(rows, query, fields, order), query)

    def get_test_case(self, test_case_id: str) -> Json:
        try:
            return {"test_case": self._shown_case(catalogue.test_case(test_case_id))}
        except ValueError:
            raise not_found("Test case", "test_case_id", test_case_id) from None

    def list_personas(self, query: Query) -> Json:
        rows = [self._edits.applied(views.persona(persona)) for persona in catalogue.PERSONAS]
        return self._listing("personas", rows, query)

    def get_persona(self, persona_id: str) -> Json:
        if len(persona_id) != ID_LENGTH:
            raise not_found("Persona", "persona_id", persona_id)
        self.require("Persona", "persona_id", persona_id)
        return {"persona": self._edits.applied(views.persona(catalogue.persona_for(persona_id)))}

    def list_run_templates(self, query: Query) -> Json:
        rows = [views.run_template(template) for template in catalogue.RUN_TEMPLATES]
        return self._listing("run_templates", rows, query) | {"total_count": len(rows)}

    def get_run_template(self, run_template_id: str) -> Json:
        for template in catalogue.RUN_TEMPLATES:
            if template["id"] == run_template_id:
                return {"run_template": views.run_template(template)}
        raise not_found("Run template", "run_template_id", run_template_id)

    def schedule(self, schedule_id: str) -> catalogue.Schedule:
        """Raises `Problem` (404)."""
        for schedule in catalogue.SCHEDULES:
            if schedule.id == schedule_id:
                return schedule
        raise not_found("Scheduled run", "scheduled_run_id", schedule_id)

    def list_agents(self, query: Query) -> Json:
        query_filter = parse_filter(query.get("filter"), ("model_type", "display_name", "create_time", "update_time"))
        if self._quirks.agent_metrics == "forbidden":
            raise forbidden("agents:read")
        shows_metrics = self._quirks.agent_metrics == "shown"
        rows = [views.agent(agent_id, shows_metrics=shows_metrics) for agent_id in catalogue.AGENTS]
        return self._listing("agents", [row for row in rows if query_filter.matches(row)], query)

    def get_agent(self, agent_id: str) -> Json:
        if len(agent_id) != ID_LENGTH:
            raise invalid(("agent_id", f"must have {ID_LENGTH} characters"))
        self.require("Agent", "agent_id", agent_id)
        if self._quirks.agent_metrics == "forbidden":
            raise forbidden("agents:read")
        return {"agent": views.agent(agent_id, shows_metrics=self._quirks.agent_metrics == "shown")}

    def list_mutations(self, agent_id: str, query: Query) -> Json:
        self._require_agent(agent_id)
        rows = [views.mutation(agent_id, mutation) for mutation in catalogue.mutations_of(agent_id)]
        return self._listing("mutations", rows, query) | {"total_count": len(rows)}

    def _require_agent(self, agent_id: str) -> None:
        # Unlike GET /agents/{agent_id}, the operations on mutations return no 400.
        if len(agent_id) != ID_LENGTH:
            raise not_found("Agent", "agent_id", agent_id)
        self.require("Agent", "agent_id", agent_id)

    def _shown_case(self, case: catalogue.TestCase) -> Json:
        shown = self._edits.applied(views.test_case(case))
        return shown if self._quirks.update_times == "shown" else shown | {"update_time": None}

    def _shown_metric(self, metric: catalogue.Metric) -> Json:
        return views.metric(metric, self._edits.version(metric.id))

    def _listing(self, envelope: str, rows: Sequence[Any], query: Query) -> Json:
        return listing(envelope, rows, query, self._quirks, most=100)
