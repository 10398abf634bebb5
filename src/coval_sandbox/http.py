"""The API of a world without a socket: routes, keys and scopes, error envelopes."""

import json
import re
from collections.abc import Callable, Mapping
from email.utils import formatdate
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from .catalogue import Json
from .catalogue_api import CatalogueApi
from .problems import NoRoute, Problem, forbidden, invalid
from .views import timestamp
from .world import World

BASE: Final = "/v1"
CLOCK: Final = "/clock"  # not Coval's: a PUT of seconds since the epoch sets the sandbox's clock
JSON: Final = MappingProxyType({"content-type": "application/json"})
SIMULATED: Final = "/conversations/simulated"
SIMULATIONS: Final = "/simulations"  # its older path


class Reply(NamedTuple):
    """`headers` lack the content-length."""

    status: int
    body: bytes
    headers: Mapping[str, str] = JSON


class SeenRequest(NamedTuple):
    """`path` is undecoded; header names are in lower case; `at` is a time of the world."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    at: float = 0.0

    @property
    def json(self) -> Any:
        """Return the parsed body; None without a body."""
        return json.loads(self.body) if self.body else None


class Call(NamedTuple):
    """`body` is parsed. `legacy`: whether it uses the older path of simulations."""

    query: Mapping[str, str]
    body: Any
    legacy: bool


class Route(NamedTuple):
    """`operation` gets the world, the call and the parts of the path that vary."""

    method: str
    path: re.Pattern[str]
    scope: str
    operation: Callable[..., Json]


def _route(method: str, path: str, scope: str, operation: Callable[..., Json]) -> Route:
    return Route(method, re.compile(BASE + path.replace("{}", "([^/]+)")), scope, operation)


def _catalogue(
    path: str, operations: Callable[[CatalogueApi], tuple[Callable[..., Json], Callable[..., Json]]]
) -> list[Route]:
    """`operations` are to list all, and to get one."""
    scope = f"{path[1:]}:read"
    return [
        _route("GET", path, scope, lambda world, call: operations(world.catalogue)[0](call.query)),
        _route("GET", f"{path}/{{}}", scope, lambda world, _, id_: operations(world.catalogue)[1](id_)),
    ]


def _simulations(path: str, scope: str) -> list[Route]:
    return [
        _route("GET", path, scope, lambda world, call: world.list_simulations(call.query, legacy=call.legacy)),
        _route("GET", f"{path}/{{}}", scope, lambda world, call, id_: world.get_simulation(id_, legacy=call.legacy)),
        _route(
            "GET",
            f"{path}/{{}}/metrics",
            scope,
            lambda world, call, id_: world.list_metric_outputs(id_, call.query, legacy=call.legacy),
        ),
    ]


ROUTES: Final = (
    _route("POST", "/runs", "runs:write", lambda world, call: world.launch(call.body)),
    _route("GET", "/runs", "runs:read", lambda world, call: world.list_runs(call.query)),
    _route("GET", "/runs/{}", "runs:read", lambda world, _, id_: world.get_run(id_)),
    _route("PATCH", "/runs/{}", "runs:write", lambda world, call, id_: world.update_run(id_, call.body)),
    _route("DELETE", "/runs/{}", "runs:write", lambda world, _, id_: world.delete_run(id_)),
    _route(
        "GET", "/scheduled-runs/{}/runs", "scheduled-runs:read", lambda world, _, id_: world.list_scheduled_runs(id_)
    ),
    *_simulations(SIMULATED, "simulated-conversations:read"),
    *_simulations(SIMULATIONS, "simulations:read"),
    _route(
        "GET",
        f"{SIMULATIONS}/{{}}/connect",
        "simulations:read",
        lambda world, _, id_: world.attachments.connection(id_),
    ),
    *_catalogue("/metrics", lambda shelf: (shelf.list_metrics, shelf.get_metric)),
    *_catalogue("/test-sets", lambda shelf: (shelf.list_test_sets, shelf.get_test_set)),
    *_catalogue("/test-cases", lambda shelf: (shelf.list_test_cases, shelf.get_test_case)),
    *_catalogue("/personas", lambda shelf: (shelf.list_personas, shelf.get_persona)),
    *_catalogue("/run-templates", lambda shelf: (shelf.list_run_templates, shelf.get_run_template)),
    *_catalogue("/agents", lambda shelf: (shelf.list_agents, shelf.get_agent)),
    _route(
        "GET",
        "/agents/{}/mutations",
        "agents:read",
        lambda world, call, id_: world.catalogue.list_mutations(id_, call.query),
    ),
)


class Api:
    def __init__(self, world: World) -> None:
        self._world = world

    def answer(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """`path` begins with BASE; header names are in lower case."""
        try:
            reply = self._answer(method, unquote(path), query, headers, body)
        except Problem as problem:
            reply = as_json(problem.status, problem.body)
        date = formatdate(self._world.clock(), usegmt=True)  # the user's clock may differ
        return reply._replace(headers={**reply.headers, "date": date})

    def _answer(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Reply:
        world = self._world
        route, parts = _find(method, path)
        key = headers.get("x-api-key")
        # The gateway, its authorizer and the API use different error envelopes.
        if not key:
            return as_json(401, {"message": "Missing API Key"})
        if key not in world.api_keys:
            return as_json(401, {"error": "invalid API key", "timestamp": timestamp(world.clock())})
        resource, action = route.scope.split(":")
        if not {"*", route.scope, f"{resource}:*", f"*:{action}"}.intersection(world.api_keys[key]):
            raise forbidden(route.scope)
        _check_workspace(headers.get("x-coval-workspace-id"))
        if path.startswith(BASE + SIMULATED):
            _check_canonical(world)
        call = Call(dict(parse_qsl(query, keep_blank_values=True)), parsed(body), path.startswith(BASE + SIMULATIONS))
        with world.lock:
            return as_json(200, route.operation(world, call, *parts))


def as_json(status: int, content: Mapping[str, Any], headers: Mapping[str, str] = JSON) -> Reply:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Reply(status, text.encode(), headers)


def parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        raise invalid(("body", "is not JSON")) from None


def _find(method: str, path: str) -> tuple[Route, tuple[str, ...]]:
    """Raises NoRoute."""
    for route in ROUTES:
        if route.method == method and (match := route.path.fullmatch(path)):
            return route, match.groups()
    raise NoRoute


def _check_workspace(workspace_id: str | None) -> None:
    if workspace_id is not None and (workspace_id.startswith("missing") or not 1 <= len(workspace_id) <= 26):
        raise Problem(412, "FAILED_PRECONDITION", "There is no such workspace")


def _check_canonical(world: World) -> None:
    match world.quirks.simulations_api:
        case "legacy-only":
            raise NoRoute
        case "canonical-forbidden":
            raise forbidden("simulated-conversations:read")
