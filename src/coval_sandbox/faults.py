"""Scripted faults.

A line is `METHOD PATH-GLOB [#n | #n-m | #n- | *] -> ACTION`, e.g. `GET /runs/* #2-3 -> reset-after`. Paths are relative
to the base URL. Each line counts its own matches, from 1. A line without a count always applies.

Two methods concern agents whose process connects: OFFER, an offer of the relay to a simulation, and RELAY, a connection
with a valid token. Their path is `/simulations/ID`. The method `*` does not include them.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from http import HTTPStatus
from threading import Lock

ACTIONS = {
    "STATUS [retry-after=TEXT]": "an error in the API's envelope",
    "html [STATUS]": "an HTML page (502)",
    "redirect URL [STATUS]": "a redirect (302)",
    "reset-before": "connection reset, the request has no effect",
    "reset-after": "connection reset, the request took effect",
    "hang SECONDS": "no response for this long, then the connection closes; no effect",
    "slow SECONDS": "took effect, the response is late",
    "late SECONDS": "takes effect and returns the response after this long",
    "drip BYTES": "took effect, the body arrives at this many bytes per second",
    "[STATUS] cut [BYTES]": "took effect, the body ends early (after half of it)",
    "body TEXT": "took effect, this text instead of the body",
    "json TEXT": "took effect, 200 with this JSON",
    "huge BYTES": "took effect, 200 with a JSON body of this size",
}
"""The syntax and meaning of each action on a request. A final `before` or `after` overrides whether it takes effect."""

OFFER_ACTIONS = {
    "delay SECONDS": "the offer is ready this much later (sandbox time)",
    "lost [SECONDS]": "the offer expires at once; a replacement follows after this long (sandbox time), or never",
    "stale": "the offer is READY, but its token has expired",
}
"""The syntax and meaning of each action on an offer of the relay."""
RELAY_ACTIONS = {
    "refuse [STATUS]": "the relay refuses the connection (401); the token is not used up",
    "error TEXT": "an error frame in the middle of the call",
    "close CODE": "closes with this code in the middle of the call; 1000 and 1001: at its end, without session_end",
    "drop": "the connection breaks in the middle of the call",
}
"""The syntax and meaning of each action on a connection to the relay."""
ACTIONS_OF = {"OFFER": OFFER_ACTIONS, "RELAY": RELAY_ACTIONS}
_UNSENT = frozenset({1004, 1005, 1006, 1015})  # close codes that no frame may have

_LINE = re.compile(
    r"(?P<method>[A-Z]+|\*)\s+(?P<path>/\S*|\*)(?:\s+(?P<count>\*|#\d+(?:-\d*)?))?\s+->\s+(?P<action>\S.*)"
)


@dataclass(frozen=True)
class Action:
    """`kind` is "status", "reset" or the action's keyword.

    `amount` is in seconds, bytes or bytes per second, or a close code; NaN if not given.
    """

    kind: str
    takes_effect: bool
    status: int = 200
    amount: float = math.nan
    text: str = ""
    retry_after: str | None = None


@dataclass(frozen=True)
class Fault:
    """A line of a script. Its requests are numbered from 1."""

    method: str
    path: str
    first: float
    last: float
    action: Action

    def concerns(self, method: str, path: str) -> bool:
        same = self.method == method or (self.method == "*" and method not in ACTIONS_OF)
        return same and fnmatchcase(path, self.path)


def parse_fault(line: str) -> Fault:
    """Parse a line. Raises ValueError with the reason."""
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"fault '{line}' must have the form METHOD PATH-GLOB [#n | #n-m | *] -> ACTION")
    first, last = _range(match["count"])
    method, text = match["method"], match["action"].strip()
    try:
        action = _attach_action(method, text) if method in ACTIONS_OF else _action(text)
    except ValueError:
        known = "; ".join(ACTIONS_OF.get(method, ACTIONS))
        raise ValueError(f"fault '{line}': the action must be one of {known}") from None
    return Fault(method, match["path"], first, last, action)


def _range(count: str | None) -> tuple[float, float]:
    if count is None or count == "*":
        return 1, math.inf
    first, dash, last = count[1:].partition("-")
    return int(first), int(last) if last else math.inf if dash else int(first)


def _attach_action(method: str, text: str) -> Action:
    kind, _, rest = text.partition(" ")
    match method, kind, rest.split():
        case "OFFER", "delay", [seconds]:
            return Action(kind, takes_effect=True, amount=_amount(seconds))
        case "OFFER", "lost", [*seconds] if len(seconds) < 2:
            return Action(kind, takes_effect=True, amount=_amount(*seconds))
        case ("OFFER", "stale", []) | ("RELAY", "drop", []):
            return Action(kind, takes_effect=True)
        case "RELAY", "refuse", [*code] if len(code) < 2:
            return Action(kind, takes_effect=False, status=_status(*code or ["401"]))
        case "RELAY", "error", [_, *_]:
            return Action(kind, takes_effect=True, text=rest)
        case "RELAY", "close", [code]:
            return Action(kind, takes_effect=True, amount=_close_code(code))
        case _:
            raise ValueError(text)


def _close_code(code: str) -> int:
    number = int(code)
    if not 1000 <= number < 5000 or 1015 < number < 3000 or number in _UNSENT:
        raise ValueError(code)
    return number


def _action(text: str) -> Action:
    kind, _, rest = text.partition(" ")
    if kind in {"body", "json"}:
        return Action(kind, takes_effect=True, text=rest)
    words = text.split()
    effect = words.pop() if words[-1] in {"before", "after"} else None
    action = _worded(words)
    return replace(action, takes_effect=effect == "after") if effect else action


def _worded(words: list[str]) -> Action:
    match words:
        case ["reset-before" | "reset-after" as kind]:
            return Action("reset", takes_effect=kind == "reset-after")
        case ["cut", *size] if len(size) < 2:
            return Action("cut", takes_effect=True, amount=_amount(*size))
        case [code, "cut", *size] if len(size) < 2:
            return Action("cut", takes_effect=True, status=_status(code), amount=_amount(*size))
        case ["slow" | "late" | "drip" | "huge" as kind, amount]:
            return Action(kind, takes_effect=True, amount=_amount(amount))
        case ["hang", seconds]:
            return Action("hang", takes_effect=False, amount=_amount(seconds))
        case ["html", *code] if len(code) < 2:
            return Action("html", takes_effect=False, status=_status(*code or ["502"]))
        case ["redirect", url, *code] if len(code) < 2:
            return Action("redirect", takes_effect=False, status=_status(*code or ["302"]), text=url)
        case [code]:
            return Action("status", takes_effect=False, status=_status(code))
        case [code, option, *rest] if option.startswith("retry-after="):
            retry_after = " ".join([option.removeprefix("retry-after="), *rest])
            return Action("status", takes_effect=False, status=_status(code), retry_after=retry_after)
        case _:
            raise ValueError(words)


def _status(code: str) -> int:
    return HTTPStatus(int(code)).value


def _amount(number: str = "nan") -> float:
    amount = float(number)
    if amount < 0 or math.isinf(amount):
        raise ValueError(number)
    return amount


class FaultScript:
    """A script of faults that counts requests per line. Thread-safe."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._faults = [parse_fault(line) for line in lines]
        self._seen = [0] * len(self._faults)
        self._lock = Lock()

    def add(self, line: str) -> None:
        """Add a line, which counts requests from now on. Raises ValueError."""
        fault = parse_fault(line)
        with self._lock:
            self._faults.append(fault)
            self._seen.append(0)

    def take(self, method: str, path: str) -> Action | None:
        """Count the request in every matching line. Return the action of the first line that applies."""
        with self._lock:
            due = None
            for place, fault in enumerate(self._faults):
                if fault.concerns(method, path):
                    self._seen[place] += 1
                    if due is None and fault.first <= self._seen[place] <= fault.last:
                        due = fault
            return due.action if due else None
