"""Injects scripted faults into the responses of any ASGI application."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from http import HTTPStatus

from .asgi import App, Message, Receive, Scope, Send, read_body, respond
from .faults import Action, FaultScript
from .http import JSON, Reply, as_json
from .problems import Problem, code_for

TRANSPORT = "coval_sandbox.transport"
"""Key of the ASGI scope for the connection's asyncio transport."""

CHUNK = 65536
LATE = "late"
HTML = "<!doctype html><html><head><title>{0}</title></head><body><h1>{0}</h1><p>Try again later.</p></body></html>"


@dataclass
class Answer:
    """A response from the application, held back."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def catch(self, message: Message) -> None:
        """An ASGI `send`."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self.body += message.get("body", b"")


@dataclass
class Exchange:
    scope: Scope
    receive: Receive
    send: Send
    action: Action
    answer: Answer

    async def start(self, length: int) -> None:
        """`length`: the content-length."""
        headers = [(name, value) for name, value in self.answer.headers if name != b"content-length"]
        headers.append((b"content-length", str(length).encode()))
        await self.send({"type": "http.response.start", "status": self.answer.status, "headers": headers})

    async def write(self, data: bytes, *, more: bool) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def respond(self, reply: Reply) -> None:
        await respond(self.send, reply)

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
        transport: asyncio.Transport = self.scope[TRANSPORT]
        if reset:
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        # Until the client disconnects, the server would report an incomplete response as a bug.
        await self.gone_within(5)


async def _status(exchange: Exchange) -> None:
    action = exchange.action
    headers = {"retry-after": action.retry_after} if action.retry_after is not None else {}
    problem = Problem(action.status, code_for(action.status), "A scripted fault")
    await exchange.respond(as_json(action.status, problem.body, JSON | headers))


async def _html(exchange: Exchange) -> None:
    status = exchange.action.status
    page = HTML.format(f"{status} {HTTPStatus(status).phrase}")
    await exchange.respond(Reply(status, page.encode(), {"content-type": "text/html; charset=utf-8"}))


async def _redirect(exchange: Exchange) -> None:
    await exchange.respond(Reply(exchange.action.status, b"", {"location": exchange.action.text}))


async def _reset(exchange: Exchange) -> None:
    await exchange.close(reset=True)


async def _hang(exchange: Exchange) -> None:
    if not await exchange.gone_within(exchange.action.amount):
        await exchange.close()


async def _slow(exchange: Exchange) -> None:
    if not await exchange.gone_within(exchange.action.amount):
        await _whole(exchange)


async def _whole(exchange: Exchange) -> None:
    await exchange.start(len(exchange.answer.body))
    await exchange.write(exchange.answer.body, more=False)


async def _drip(exchange: Exchange) -> None:
    # Send twenty chunks a second, so that the connection does not look dead in between.
    body, pace = exchange.answer.body, exchange.action.amount / 20
    step = max(1, math.ceil(pace))
    await exchange.start(len(body))
    for start in range(0, len(body), step):
        await exchange.write(body[start : start + step], more=start + step < len(body))
        if start + step < len(body) and await exchange.gone_within(step / exchange.action.amount):
            return


async def _cut(exchange: Exchange) -> None:
    body, amount = exchange.answer.body, exchange.action.amount
    kept = len(body) // 2 if math.isnan(amount) else int(amount)
    # The content-length must exceed what is sent, even if the body is shorter than the cut.
    await exchange.start(max(len(body), kept + 1))
    await exchange.write(body[:kept], more=True)
    await exchange.close()


async def _text(exchange: Exchange) -> None:
    await exchange.respond(Reply(200, exchange.action.text.encode()))


async def _huge(exchange: Exchange) -> None:
    head, tail = b'{"padding": "', b'"}'
    rest = max(0, int(exchange.action.amount) - len(head) - len(tail))
    exchange.answer = Answer(headers=[(b"content-type", b"application/json")])
    await exchange.start(len(head) + rest + len(tail))
    await exchange.write(head, more=True)
    for start in range(0, rest, CHUNK):
        await exchange.write(b"x" * min(CHUNK, rest - start), more=True)
    await exchange.write(tail, more=False)


_PLAYERS: dict[str, Callable[[Exchange], Coroutine[None, None, None]]] = {
    "status": _status,
    "html": _html,
    "redirect": _redirect,
    "reset": _reset,
    "hang": _hang,
    "slow": _slow,
    LATE: _whole,
    "drip": _drip,
    "cut": _cut,
    "body": _text,
    "json": _text,
    "huge": _huge,
}


class FaultInjector:
    """Pass requests to `app`, unless the script, whose paths are relative to `base`, has a fault for them."""

    def __init__(self, app: App, script: FaultScript, base: str = "") -> None:
        self._app = app
        self._script = script
        self._base = base

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        action = self._script.take(scope["method"], scope["path"].removeprefix(self._base))
        if action is None:
            await self._app(scope, receive, send)
            return
        answer = Answer(action.status)
        if action.kind == LATE:
            await asyncio.sleep(action.amount)  # even if the client disconnects meanwhile
        if action.takes_effect:
            await self._app(scope, receive, answer.catch)
        else:
            await read_body(receive)
        await _PLAYERS[action.kind](Exchange(scope, receive, send, action, answer))
