"""The HTTP API of a world: routes, keys and scopes, error envelopes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from .problems import NoRoute, Problem, forbidden, invalid
from .views import timestamp
from .world import World

BASE = "/v1"
JSON: Final = MappingProxyType({"content-type": "application/json"})


class Request(NamedTuple):
    path_params: Mapping[str, str]
    query_params: Mapping[str, str]


class Reply(NamedTuple):
    """`headers` lack the content-length."""

    status: int
    body: bytes
    headers: Mapping[str, str] = JSON


def as_json(status: int, content: Mapping[str, Any], headers: Mapping[str, str] = JSON) -> Reply:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Reply(status, text.encode(), headers)


Operation = Callable[[Request, Any], dict[str, Any]]
"""Maps a request and its parsed JSON body to the body of the response."""


def routes(world: World) -> list[tuple[str, str, str, Operation]]:
    runs = [
        ("POST", "/runs", "runs:write", lambda _r, body: world.launch(body)),
        ("GET", "/runs", "runs:read", lambda r, _: world.list_runs(r.query_params)),
        ("GET", "/runs/tags", "runs:read", lambda _r, _: world.run_tags()),
        ("GET", "/runs/{id}", "runs:read", lambda r, _: world.get_run(r.path_params["id"])),
        ("PATCH", "/runs/{id}", "runs:write", lambda r, body: world.update_run(r.path_params["id"], body)),
        ("DELETE", "/runs/{id}", "runs:write", lambda r, _: world.delete_run(r.path_params["id"])),
        (
            "GET",
            "/scheduled-runs/{id}/runs",
            "scheduled-runs:read",
            lambda r, _: world.list_scheduled_runs(r.path_params["id"]),
        ),
    ]
    simulations = _simulation_routes(world, legacy=False) + _simulation_routes(world, legacy=True)
    connections: list[tuple[str, str, str, Operation]] = [
        (
            "GET",
            "/simulations/{id}/connect",
            "simulations:read",
            lambda r, _: world.attachments.connection(r.path_params["id"]),
        )
    ]
    return runs + simulations + connections + _catalogue(world)


def _simulation_routes(world: World, *, legacy: bool) -> list[tuple[str, str, str, Operation]]:
    base = "/simulations" if legacy else "/conversations/simulated"
    resource = "simulations" if legacy else "simulated-conversations"
    scope = f"{resource}:read"
    gate: Callable[[], None] = (lambda: None) if legacy else (lambda: _canonical_gate(world))

    def guarded(operation: Operation) -> Operation:
        def operate(request: Request, body: Any) -> dict[str, Any]:
            gate()
            return operation(request, body)

        return operate

    operations: list[tuple[str, Operation]] = [
        ("", lambda r, _: world.list_simulations(r.query_params, legacy=legacy)),
        ("/{id}", lambda r, _: world.get_simulation(r.path_params["id"], legacy=legacy)),
        ("/{id}/metrics", lambda r, _: world.list_metric_outputs(r.path_params["id"], r.query_params, legacy=legacy)),
        ("/{id}/metrics/{output}", lambda r, _: world.get_metric_output(r.path_params["id"], r.path_params["output"])),
    ]
    return [("GET", f"{base}{path}", scope, guarded(operation)) for path, operation in operations]


def _catalogue(world: World) -> list[tuple[str, str, str, Operation]]:
    shelf = world.catalogue
    mutations = "/agents/{agent}/mutations"
    operations: list[tuple[str, str, Operation]] = [
        ("/metrics", "metrics:read", lambda r, _: shelf.list_metrics(r.query_params)),
        ("/metrics/{id}", "metrics:read", lambda r, _: shelf.get_metric(r.path_params["id"])),
        ("/metrics/{id}/threshold", "metrics:read", lambda r, _: shelf.get_threshold(r.path_params["id"])),
        (
            "/metrics/{id}/thresholds",
            "metrics:read",
            lambda r, _: shelf.list_thresholds(r.path_params["id"], r.query_params),
        ),
        ("/test-sets", "test-sets:read", lambda r, _: shelf.list_test_sets(r.query_params)),
        ("/test-sets/{id}", "test-sets:read", lambda r, _: shelf.get_test_set(r.path_params["id"])),
        ("/test-cases", "test-cases:read", lambda r, _: shelf.list_test_cases(r.query_params)),
        ("/test-cases/{id}", "test-cases:read", lambda r, _: shelf.get_test_case(r.path_params["id"])),
        ("/personas", "personas:read", lambda r, _: shelf.list_personas(r.query_params)),
        ("/personas/{id}", "personas:read", lambda r, _: shelf.get_persona(r.path_params["id"])),
        ("/run-templates", "run-templates:read", lambda r, _: shelf.list_run_templates(r.query_params)),
        ("/run-templates/{id}", "run-templates:read", lambda r, _: shelf.get_run_template(r.path_params["id"])),
        ("/agents", "agents:read", lambda r, _: shelf.list_agents(r.query_params)),
        ("/agents/{id}", "agents:read", lambda r, _: shelf.get_agent(r.path_params["id"])),
        (mutations, "agents:read", lambda r, _: shelf.list_mutations(r.path_params["agent"], r.query_params)),
        (
            f"{mutations}/{{id}}",
            "agents:read",
            lambda r, _: shelf.get_mutation(r.path_params["agent"], r.path_params["id"]),
        ),
    ]
    return [("GET", path, scope, operation) for path, scope, operation in operations]


def _canonical_gate(world: World) -> None:
    match world.quirks.simulations_api:
        case "legacy-only":
            raise NoRoute
        case "canonical-forbidden":
            raise forbidden("simulated-conversations:read")


def parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        raise invalid(("body", "is not JSON")) from None


def why_refused(world: World, key: str | None, scope: str) -> Reply | None:
    # The gateway, its authorizer and the API use different error envelopes.
    if not key:
        return as_json(401, {"message": "Missing API Key"})
    if key not in world.api_keys:
        return as_json(401, {"error": "invalid API key", "timestamp": timestamp(world.clock())})
    resource, action = scope.split(":")
    if not {"*", scope, f"{resource}:*", f"*:{action}"}.intersection(world.api_keys[key]):
        raise forbidden(scope)
    return None


def check_workspace(workspace_id: str | None) -> None:
    if workspace_id is not None and (workspace_id.startswith("missing") or not 1 <= len(workspace_id) <= 26):
        raise Problem(412, "FAILED_PRECONDITION", "There is no such workspace")
