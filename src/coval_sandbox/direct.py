"""The API without a socket or a web framework, with the same routes, keys and envelopes, but much faster."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote

from starlette.exceptions import HTTPException

from .http import BASE, Operation, check_workspace, parsed, routes, why_refused
from .problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from .world import World


@dataclass(frozen=True)
class Reply:
    """A response of the API; `body` is JSON."""

    status: int
    body: bytes


@dataclass(frozen=True)
class _Parameters:
    """The parts of a request that operations read."""

    query_params: Mapping[str, str]
    path_params: Mapping[str, str] = field(default_factory=dict)


class Direct:
    """The API of `world`, for one request at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._routes = [
            (method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)), scope, operation)
            for method, path, scope, operation in routes(world)
        ]

    def answer(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Return the response to a request. `path` begins with /v1; header names are in lower case."""
        for verb, pattern, scope, operation in self._routes:
            match = pattern.fullmatch(unquote(path).removeprefix(BASE)) if verb == method else None
            if match:
                parameters = _Parameters(dict(parse_qsl(query, keep_blank_values=True)), match.groupdict())
                return self._operate(operation, parameters, scope, headers, body)
        return _reply(404, {"message": "Not Found"})

    def _operate(
        self, operation: Operation, parameters: _Parameters, scope: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        try:
            refused = why_refused(self._world, headers.get("x-api-key"), scope)
            if refused is not None:
                return Reply(refused.status_code, bytes(refused.body))
            check_workspace(headers.get("x-coval-workspace-id"))
            with self._world.lock:
                return _reply(200, operation(cast("Request", parameters), parsed(body)))
        except Problem as problem:
            return _reply(problem.status, problem.body)
        except HTTPException as error:
            return _reply(error.status_code, {"message": "Not Found"})


def _reply(status: int, content: dict[str, Any]) -> Reply:
    return Reply(status, json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode())
