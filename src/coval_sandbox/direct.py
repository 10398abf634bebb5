"""The API of a world without a socket: what the server responds with, and much faster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate
from functools import cache
from urllib.parse import parse_qsl, unquote

from .http import BASE, Operation, Reply, Request, as_json, check_workspace, parsed, routes, why_refused
from .problems import NoRoute, Problem
from .world import World


class Direct:
    def __init__(self, world: World) -> None:
        self._world = world
        self._routes = [
            (method, _pattern(BASE + path), scope, operation) for method, path, scope, operation in routes(world)
        ]

    def answer(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """`path` begins with /v1; header names are in lower case."""
        reply = self._answer(method, path, query, headers, body)
        date = formatdate(self._world.clock(), usegmt=True)  # the user's clock may differ
        return reply._replace(headers={**reply.headers, "date": date})

    def _answer(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Reply:
        world = self._world
        try:
            operation, scope, parameters = self._find(method, unquote(path))
            refused = why_refused(world, headers.get("x-api-key"), scope)
            if refused is not None:
                return refused
            check_workspace(headers.get("x-coval-workspace-id"))
            with world.lock:
                request = Request(parameters, dict(parse_qsl(query, keep_blank_values=True)))
                return as_json(200, operation(request, parsed(body)))
        except Problem as problem:
            return as_json(problem.status, problem.body)

    def _find(self, method: str, path: str) -> tuple[Operation, str, dict[str, str]]:
        """Return an operation, the scope that it needs, and the parameters in `path`. Raises NoRoute."""
        for verb, pattern, scope, operation in self._routes:
            if verb == method and (match := pattern.fullmatch(path)):
                return operation, scope, match.groupdict()
        raise NoRoute


@cache
def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))
