"""The API of a world as an ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from itertools import count
from typing import Any

from .clock import Clock
from .direct import Direct
from .github import API, BASE, EVENT_PATH, GitHub, as_reply, origin_of
from .http import Reply
from .runner import PULL_REQUEST
from .world import World

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def respond(send: Send, reply: Reply) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
    headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def api_of(world: World, github: GitHub) -> App:
    """Serve `world` under /v1, and `github` under its own path."""
    direct = Direct(world)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
        body = await read_body(receive)
        if (scope["method"], path.rstrip("/")) == ("GET", BASE):
            from .github_page import HEADERS, page  # only who looks needs it

            reply = Reply(200, page(github, f"{origin_of(headers)}{API}").encode(), HEADERS)
        elif (scope["method"], path) == ("GET", EVENT_PATH):
            reply = as_reply(200, PULL_REQUEST)
        else:
            answer = github.answer if path.startswith(f"{BASE}/") else direct.answer
            reply = answer(scope["method"], path, query, headers, body)
        await respond(send, reply)

    return app


async def read_body(receive: Receive) -> bytes:
    """It is shorter if the client disconnects."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


def with_usual_headers(app: App, clock: Clock) -> App:
    """Add an `x-request-id` to every response, and the `date` if it has none."""
    numbers = count(1)

    async def numbered(scope: Scope, receive: Receive, send: Send) -> None:
        request_id = b"sandbox-%06d" % next(numbers)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = {b"x-request-id": request_id, b"date": formatdate(clock(), usegmt=True).encode()}
                message["headers"] = [*(added | dict(message["headers"])).items()]
            await send(message)

        await app(scope, receive, send_with_id)

    return numbered
