"""Calls to the API of a CI system: repeated until a deadline, with responses that are read field by field.

What a status code or a header means is the system's own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from coval_gate.base import titles
from coval_gate.base.errors import HostError
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import repeat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coval_gate.base.clock import Clock
    from coval_gate.base.schedule import Procedure

T = TypeVar("T")

BACKOFFS: Final = (1.0, 2.0, 4.0)  # s after each attempt at an operation; the last one repeats
LIMIT_PAUSE: Final = 60.0  # s after a rate limit without a stated pause
LONGEST_WAIT: Final = 10.0**7  # s; keeps an absurd date from a server within the calendar


class Transient(Exception):
    """`wait` is the pause that the system asks for, in seconds; 0 if none."""

    def __init__(self, error: HostError, wait: float = 0.0) -> None:
        super().__init__(error.what)
        self.error = error
        self.wait = wait


class TooLate(Transient):
    """A request was not sent, because its deadline had passed."""


class Payload(NamedTuple):
    """`text` and `number` raise HostError for a missing value. `advice`: for a response that is not the system's."""

    call: str
    headers: Mapping[str, str]
    data: Any
    advice: str = ""

    def get(self, *keys: str) -> Any:
        """Return the value at a path of keys; None if there is none."""
        value = self.data
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def text(self, *keys: str) -> str:
        return value if isinstance(value := self.get(*keys), str) else self.lacks(".".join(keys))

    def number(self, key: str) -> int:
        return value if isinstance(value := self.get(key), int) else self.lacks(key)

    def lacks(self, what: str) -> NoReturn:
        raise HostError(
            titles.UNEXPECTED_RESPONSE, f"{self.call} returned a response without {what}.", advice=self.advice
        )


def repeat_until(attempt: Callable[[], Procedure[T]], clock: Clock, until: float) -> Procedure[T]:
    """An attempt that a deadline cuts off raises the error of the attempt before it."""
    last: Transient | None = None

    def pause_after(failure: Transient, tries: int) -> float | None:
        nonlocal last
        last = failure if last is None or not isinstance(failure, TooLate) else last
        pause = max(failure.wait, BACKOFFS[min(tries, len(BACKOFFS) - 1)])
        return pause if pause < until - clock.now() else None

    try:
        return (yield from repeat(attempt, Transient, pause_after))
    except Transient as failure:
        raise (last or failure).error from None


def pause_in(after: str, resets: str, now: float) -> float | None:
    """Return the pause in seconds; None if the response asks for none.

    `after`: its header with seconds. `resets`: its header with the end of a rate limit, in seconds since the epoch.
    """
    if re.fullmatch(r"\d+", after, re.ASCII):
        return min(float(after), LONGEST_WAIT)
    if re.fullmatch(r"\d+", resets, re.ASCII):
        return min(max(0.0, float(resets) - now), LONGEST_WAIT)
    return None
