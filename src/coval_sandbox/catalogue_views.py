"""JSON of metrics, thresholds, test sets, test cases, mutations and run templates."""

from __future__ import annotations

import re

from .catalogue import FOUNDED, Json, Metric, Mutation, Persona, TestCase, agent_for
from .ids import rng, ulid
from .scenarios import Scenario
from .views import timestamp

FIRST_VERSION = 1
_WHEN = timestamp(FOUNDED)
_AUDIT = {"created_at": _WHEN, "created_by": "sandbox", "updated_at": _WHEN, "updated_by": "sandbox"}
_TIMES = {"create_time": _WHEN, "update_time": _WHEN}
_EVALUATORS = {"METRIC_LLM_BINARY": "llm_judge", "METRIC_AGENT_JUDGE": "agent_judge", "METRIC_PYTHON": "python"}


def metric(metric: Metric, version: int = 1) -> Json:
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


def version_ulid(metric_id: str, number: int) -> str:
    """`number` counts from 1."""
    return ulid(FOUNDED, rng("version", metric_id, *([number] if number > FIRST_VERSION else [])))


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


def test_set(test_set_id: str, scenario: Scenario) -> Json:
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


def test_case(case: TestCase) -> Json:
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


def persona(persona: Persona) -> Json:
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


def agent(agent_id: str, *, shows_metrics: bool) -> Json:
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


def mutation(agent_id: str, mutation: Mutation) -> Json:
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


def run_template(template: Json) -> Json:
    return {**_AUDIT, **_TIMES, "name": f"run-templates/{template['id']}", **template}
