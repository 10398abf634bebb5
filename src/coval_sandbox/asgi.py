"""The sandbox as an ASGI application: Coval's API and the small GitHub, with scripted faults."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

from .faults import Action, FaultScript
from .github import API, EVENT_PATH, GitHub, as_reply, origin_of
from .github import BASE as GITHUB
from .http import BASE, JSON, Api, Reply, SeenRequest, as_json
from .problems import Problem, code_for
from .runner import PULL_REQUEST
from .world import World

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TRANSPORT = "coval_sandbox.transport"
"""Key of the ASGI scope for the connection's asyncio transport."""

CHUNK = 65536
LATE = "late"
HTML = "<!doctype html><html><head><title>{0}</title></head><body><h1>{0}</h1><p>Try again later.</p></body></html>"


class Application:
    """`seen` gets every request, also one that meets a fault. Paths in the script are relative to Coval's base."""

    def __init__(self, world: World, github: GitHub, script: FaultScript, seen: list[SeenRequest]) -> None:
        self._api = Api(world)
        self._clock = world.clock
        self._github = github
        self._script = script
        self._seen = seen
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        if body is None:
            return
        method, path, query = scope["method"], scope["raw_path"].decode("latin-1"), scope["query_string"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        asked = dict(parse_qsl(query.decode(errors="replace"), keep_blank_values=True))
        self._seen.append(SeenRequest(method, path, asked, headers, body, self._clock()))
        usual = {
            "x-request-id": f"sandbox-{next(self._numbers):06d}",
            "date": formatdate(self._clock(), usegmt=True),
        }
        action = self._script.take(method, scope["path"].removeprefix(BASE))
        if action is not None and action.kind == LATE:
            await asyncio.sleep(action.amount)  # even if the client disconnects meanwhile
        reply = Reply(200 if action is None else action.status, b"", {})
        if action is None or action.takes_effect:
            reply = self._answer(method, path, query.decode("latin-1"), headers, body)
        exchange = _Exchange(receive, send, scope[TRANSPORT], usual, reply)
        await (exchange.respond(reply) if action is None else _play(exchange, action))

    def _answer(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Reply:
        if not f"{path}/".startswith(f"{GITHUB}/"):
            return self._api.answer(method, path, query, headers, body)
        match method, path.rstrip("/"):
            case "GET", place if place == GITHUB:
                from .github_page import HEADERS, page  # only who looks needs it

                return Reply(200, page(self._github, f"{origin_of(headers)}{API}").encode(), HEADERS)
            case "GET", place if place == EVENT_PATH:
                return as_reply(200, PULL_REQUEST)
        return self._github.answer(method, path, query, headers, body)


async def _read(receive: Receive) -> bytes | None:
    """None if the client disconnects."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


@dataclass
class _Exchange:
    """`usual`: headers that a response has unless it has its own."""

    receive: Receive
    send: Send
    transport: asyncio.Transport
    usual: Mapping[str, str]
    reply: Reply

    async def respond(self, reply: Reply) -> None:
        self.reply = reply
        await self.start(len(reply.body))
        await self.write(reply.body, more=False)

    async def start(self, length: int) -> None:
        """`length`: the content-length."""
        headers = {**self.usual, **self.reply.headers, "content-length": str(length)}
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": self.reply.status, "headers": encoded})

    async def write(self, data: bytes, *, more: bool) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def gone_within(self, seconds: float) -> bool:
        """Return whether the client disconnects."""

        async def gone() -> None:
            while (await self.receive())["type"] != "http.disconnect":
                pass

        try:
            await asyncio.wait_for(gone(), seconds)
        except TimeoutError:
            return False
        return True

    async def close(self, *, reset: bool = False) -> None:
        """Send what is buffered first; with `reset`, close at once with a TCP RST."""
        if reset:
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()
        # Until the client disconnects, the server would report an incomplete response as a bug.
        await self.gone_within(5)


async def _play(exchange: _Exchange, action: Action) -> None:
    match action.kind:
        case "reset":
            await exchange.close(reset=True)
        case "hang":
            if not await exchange.gone_within(action.amount):
                await exchange.close()
        case "slow":
            if not await exchange.gone_within(action.amount):
                await exchange.respond(exchange.reply)
        case "drip":
            await _drip(exchange, action.amount)
        case "cut":
            await _cut(exchange, action.amount)
        case "huge":
            await _huge(exchange, int(action.amount))
        case _:
            await exchange.respond(_instead(action) or exchange.reply)


def _instead(action: Action) -> Reply | None:
    """Return the response in place of the API's; None if that arrives."""
    match action.kind:
        case "status":
            headers = {"retry-after": action.retry_after} if action.retry_after is not None else {}
            problem = Problem(action.status, code_for(action.status), "A scripted fault")
            return as_json(action.status, problem.body, JSON | headers)
        case "html":
            page = HTML.format(f"{action.status} {HTTPStatus(action.status).phrase}")
            return Reply(action.status, page.encode(), {"content-type": "text/html; charset=utf-8"})
        case "redirect":
            return Reply(action.status, b"", {"location": action.text})
        case "body" | "json":
            return Reply(200, action.text.encode())
    return None


async def _drip(exchange: _Exchange, pace: float) -> None:
    # Send twenty chunks a second, so that the connection does not look dead in between.
    body, step = exchange.reply.body, max(1, math.ceil(pace / 20))
    await exchange.start(len(body))
    for start in range(0, len(body), step):
        await exchange.write(body[start : start + step], more=start + step < len(body))
        if start + step < len(body) and await exchange.gone_within(step / pace):
            return


async def _cut(exchange: _Exchange, amount: float) -> None:
    body = exchange.reply.body
    kept = len(body) // 2 if math.isnan(amount) else int(amount)
    # The content-length must exceed what is sent, even if the body is shorter than the cut.
    await exchange.start(max(len(body), kept + 1))
    await exchange.write(body[:kept], more=True)
    await exchange.close()


async def _huge(exchange: _Exchange, size: int) -> None:
    head, tail = b'{"padding": "', b'"}'
    rest = max(0, size - len(head) - len(tail))
    exchange.reply = Reply(200, b"")
    await exchange.start(len(head) + rest + len(tail))
    await exchange.write(head, more=True)
    for start in range(0, rest, CHUNK):
        await exchange.write(b"x" * min(CHUNK, rest - start), more=True)
    await exchange.write(tail, more=False)
