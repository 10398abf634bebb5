"""Operations on the catalogue: metrics, test cases, mutations, run templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import catalogue
from . import catalogue_views as views
from .filters import Filter, Query, listing, ordered, parse_filter
from .problems import forbidden, not_found
from .scenarios import SCENARIOS, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .catalogue import Json
    from .quirks import Quirks


class CatalogueApi:
    """The catalogue's operations. A method returns the JSON body of a success, or raises `Problem`."""

    def __init__(self, scenario_for: Callable[[str], Scenario], quirks: Quirks) -> None:
        self._scenario_for = scenario_for
        self._quirks = quirks

    def list_metrics(self, query: Query) -> Json:
        """GET /metrics; include_builtin=true adds the built-in ones."""
        found = self._filter(query, ("metric_type", "metric_name", "create_time"))
        builtin = query.get("include_builtin", "false").lower() == "true"
        rows = [views.metric(m) for m in catalogue.METRICS if builtin or not m.builtin]
        rows = [row for row in rows if found.matches(row)]
        rows = ordered(rows, query.get("order_by"), ("create_time", "metric_name"), lambda row, field: row[field])
        return self._listing("metrics", rows, query)

    def get_metric(self, metric_id: str) -> Json:
        """GET /metrics/{metric_id}."""
        return {"metric": views.metric(_metric(metric_id))}

    def get_threshold(self, metric_id: str) -> Json:
        """GET /metrics/{metric_id}/threshold."""
        return {"threshold": views.threshold(_metric(metric_id))}

    def list_thresholds(self, metric_id: str, query: Query) -> Json:
        """GET /metrics/{metric_id}/thresholds."""
        metric = _metric(metric_id)
        rows = [views.threshold(metric)] if metric.threshold else []
        return self._listing("thresholds", rows, query)

    def list_test_cases(self, query: Query) -> Json:
        """GET /test-cases: those of the test set in the filter, or of every known set."""
        found = self._filter(query, ("test_set_id", "input_type", "create_time", "update_time"))
        named = {term.value for term in found.terms if term.field == "test_set_id" and len(term.value) == 8}
        known = {scenario.test_set_id for scenario in SCENARIOS}
        rows = [
            views.test_case(case)
            for test_set_id in sorted(named | known)
            for case in catalogue.test_cases(test_set_id, self._scenario_for(test_set_id).test_cases)
            if not test_set_id.startswith("missing")
        ]
        rows = [row for row in rows if found.matches(row)]
        return self._listing("test_cases", rows, query)

    def get_test_case(self, test_case_id: str) -> Json:
        """GET /test-cases/{test_case_id}."""
        try:
            return {"test_case": views.test_case(catalogue.test_case(test_case_id))}
        except ValueError:
            raise not_found("Test case", "test_case_id", test_case_id) from None

    def list_run_templates(self, query: Query) -> Json:
        """GET /run-templates."""
        rows = [views.run_template(template) for template in catalogue.RUN_TEMPLATES]
        return self._listing("run_templates", rows, query) | {"total_count": len(rows)}

    def get_run_template(self, run_template_id: str) -> Json:
        """GET /run-templates/{run_template_id}."""
        for template in catalogue.RUN_TEMPLATES:
            if template["id"] == run_template_id:
                return {"run_template": views.run_template(template)}
        raise not_found("Run template", "run_template_id", run_template_id)

    def get_agent(self, agent_id: str) -> Json:
        """GET /agents/{agent_id}."""
        refuse_missing("Agent", "agent_id", agent_id)
        if self._quirks.agent_metrics == "forbidden":
            raise forbidden("agents:read")
        return {"agent": views.agent(agent_id, shows_metrics=self._quirks.agent_metrics == "shown")}

    def list_mutations(self, agent_id: str, query: Query) -> Json:
        """GET /agents/{agent_id}/mutations."""
        refuse_missing("Agent", "agent_id", agent_id)
        rows = [views.mutation(agent_id, mutation) for mutation in catalogue.MUTATIONS]
        return self._listing("mutations", rows, query) | {"total_count": len(rows)}

    def get_mutation(self, agent_id: str, mutation_id: str) -> Json:
        """GET /agents/{agent_id}/mutations/{mutation_id}."""
        refuse_missing("Agent", "agent_id", agent_id)
        for mutation in catalogue.MUTATIONS:
            if mutation.id == mutation_id:
                return {"mutation": views.mutation(agent_id, mutation)}
        raise not_found("Mutation", "mutation_id", mutation_id)

    def _filter(self, query: Query, fields: Sequence[str]) -> Filter:
        return parse_filter(query.get("filter"), fields, unquoted=self._quirks.unquoted_filters)

    def _listing(self, envelope: str, rows: Sequence[Any], query: Query) -> Json:
        return listing(envelope, rows, query, self._quirks, most=100)


def refuse_missing(what: str, field: str, identifier: str) -> None:
    """Raise `Problem` (404) for ids that the sandbox treats as missing."""
    if identifier.startswith("missing"):
        raise not_found(what, field, identifier)


def _metric(metric_id: str) -> catalogue.Metric:
    if metric_id.startswith("missing") or len(metric_id) != 22:
        raise not_found("Metric", "metric_id", metric_id)
    return catalogue.metric_for(metric_id)
