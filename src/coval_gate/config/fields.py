"""The kinds of value that an input can have: how a user writes one, and what it becomes.

Every parser takes stripped, non-empty text and raises ValueError with the end of a sentence that begins with the
input's name ("is not a whole number …"). None of them repeats a secret.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar
from urllib.parse import SplitResult, urlsplit

from coval_gate.secret import SHORTEST_SECRET, Secret
from coval_gate.text import quoted

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

UNFILLED: Final = "${{"  # how an expression begins that a runner did not evaluate
LONGEST_PATH: Final = 1024  # characters
MOST_DIGITS: Final = 100  # of a whole number in JSON
DEEPEST_JSON: Final = 100  # levels; what is sent comes back in answers, which must stay readable
IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
LOOPBACK: Final = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """`name` is what README calls it, `empty` the value of an input that was left out."""

    name: str
    empty: T
    parse: Callable[[str], T]


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many of a total may miss: `most` of them, or `most` percent."""

    most: float
    percent: bool = False

    def of(self, total: int) -> int:
        """The largest whole number out of `total` that the allowance covers."""
        # 7% of 100 is 7.000000000000001 in binary, 29% is 28.999999999999996: neither may shift the count.
        return math.floor(total * self.most / 100 + 1e-9) if self.percent else int(self.most)

    def __str__(self) -> str:
        return f"{self.most:g}%" if self.percent else f"{self.most:,.0f}"


def text(longest: int) -> Field[str]:
    """Free text of at most `longest` characters."""

    def parse(given: str) -> str:
        if len(given) > longest:
            raise ValueError(f"has {len(given):,} characters; {longest:,} are allowed.")
        return given

    return Field("text", "", parse)


def secret() -> Field[Secret | None]:
    """A credential that can travel in an HTTP header."""

    def parse(given: str) -> Secret:
        if not re.fullmatch(r"[!-~]+", given):
            raise ValueError("holds a space, a line break or another character that no key has; copy it again.")
        if len(given) < SHORTEST_SECRET:
            # Besides, keeping so short a text out of all that is written would blot out ordinary words.
            raise ValueError(f"has less than {SHORTEST_SECRET} characters; copy it again.")
        return Secret(given)

    return Field("secret", None, parse)


def token() -> Field[Secret | None]:
    """A credential that the runner fills in. One that does not know how leaves the expression as it is: then none."""
    inner = secret()
    return Field(inner.name, None, lambda given: None if given.startswith(UNFILLED) else inner.parse(given))


def path() -> Field[str]:
    """The path of a file; where it leads is for who writes it to judge."""

    def parse(given: str) -> str:
        if len(given) > LONGEST_PATH or not given.isprintable():
            raise ValueError(f"is {quoted(given)}, which is not the path of a file.")
        return given

    return Field("path", "", parse)


def url(*, encrypted: bool) -> Field[str]:
    """An absolute http(s) URL without a trailing slash; with `encrypted`, http is for loopback alone."""

    def parse(given: str) -> str:
        parts = _split(given)
        host = (parts and parts.hostname) or ""
        if not parts or not host or parts.scheme not in ("http", "https") or re.search(r"\s", given):
            raise ValueError(f"is {quoted(given)}, which is not a URL such as https://api.coval.dev/v1.")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("may have a host and a path only: no user, password, query or fragment.")
        if encrypted and parts.scheme == "http" and not LOOPBACK.fullmatch(host):
            raise ValueError(f"is {quoted(given)}: the API key travels over https only; write https://{host}…")
        return given.rstrip("/")

    return Field("URL", "", parse)


def identifier() -> Field[str]:
    """One id of Coval's. Lengths are not checked here: Coval's own pages disagree on them."""
    return Field("id", "", _identifier)


def identifiers(most: int) -> Field[tuple[str, ...]]:
    """A list of ids, each once, in the order given."""
    return _list("list of ids", most, _identifier)


def texts(most: int, longest: int) -> Field[tuple[str, ...]]:
    """A list of texts, each once, in the order given."""
    return _list("list", most, text(longest).parse)


def whole(least: int, most: int | None = None) -> Field[int]:
    """A whole number between two bounds, both allowed."""
    allowed = f"{least:,} or more" if most is None else f"between {least:,} and {most:,}"

    def parse(given: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,18}", given, re.ASCII):
            raise ValueError(f"is {quoted(given)}, which is not a whole number {allowed}.")
        number = int(given)
        if number < least or (most is not None and number > most):
            raise ValueError(f"is {number}; a whole number {allowed} is allowed.")
        return number

    return Field("whole number", 0, parse)


def seconds(least: float, most: float) -> Field[float]:
    """A length of time in seconds, between two bounds."""

    def parse(given: str) -> float:
        number = _number(given)
        if number is None or not least <= number <= most:
            raise ValueError(f"is {quoted(given)}; a number of seconds between {least:g} and {most:,.0f} is allowed.")
        return number

    return Field("seconds", 0.0, parse)


def optional(kind: Field[T], word: str = "") -> Field[T | None]:
    """`kind`, or None where the input was left out or says `word`."""

    def parse(given: str) -> T | None:
        if word and given.lower() == word:
            return None
        try:
            return kind.parse(given)
        except ValueError as problem:
            also = f", and so is {word}." if word else "."
            raise ValueError(str(problem).removesuffix(".") + also) from None

    return Field(kind.name, None, parse)


def allowance() -> Field[Allowance]:
    """A number of simulations, or a share of them in percent."""

    def parse(given: str) -> Allowance:
        percent = given.endswith("%")
        number = _number(given.removesuffix("%").rstrip())
        if number is None or number < 0 or (percent and number > 100) or (not percent and number % 1):
            raise ValueError(f"is {quoted(given)}; a whole number such as 2 or a share such as 5% is allowed.")
        return Allowance(number, percent)

    return Field("number or %", Allowance(0), parse)


def choice(*words: str) -> Field[str]:
    """One of a few words; capitals do not matter."""

    def parse(given: str) -> str:
        word = given.lower()
        if word not in words:
            raise ValueError(f"is {quoted(given)}, which is not one of: {', '.join(words)}.")
        return word

    return Field(" or ".join(f"`{word}`" for word in words), "", parse)


def flag() -> Field[bool]:
    """true or false, and nothing else: a slip must not silently mean one of them."""

    def parse(given: str) -> bool:
        word = given.lower()
        if word not in ("true", "false"):
            raise ValueError(f"is {quoted(given)}; true or false is allowed.")
        return word == "true"

    return Field("true or false", False, parse)


def json_object(example: str) -> Field[dict[str, Any] | None]:
    """A JSON object; `example` shows one in the message for who gives something else."""

    def parse(given: str) -> dict[str, Any]:
        value = _json(given, example)
        if not isinstance(value, dict):
            raise ValueError(f"is not a JSON object; write one such as {example}.")
        return value

    return Field("JSON object", None, parse)


def _split(given: str) -> SplitResult | None:
    try:
        parts = urlsplit(given)
        parts.port  # noqa: B018 - the property raises where the port is no number
    except ValueError:
        return None
    return parts


def _identifier(given: str) -> str:
    if not IDENTIFIER.fullmatch(given):
        raise ValueError(f"is {quoted(given)}; an id has letters, digits, hyphens and underscores, at most 64.")
    return given


def _list(name: str, most: int, item: Callable[[str], str]) -> Field[tuple[str, ...]]:
    def parse(given: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(item(entry) for entry in _entries(given)))
        if len(found) > most:
            raise ValueError(f"has {len(found)} entries; at most {most} are allowed.")
        return found

    return Field(name, (), parse)


def _entries(given: str) -> list[str]:
    """JSON, comma-separated or one per line, as the user likes; blank entries do not count."""
    if given.startswith("["):
        value = _json(given, '["first", "second"]')
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise ValueError('is a JSON list that holds more than texts; write one such as ["first", "second"].')
    else:
        value = given.splitlines() if "\n" in given else given.split(",")
        value = [entry.strip().rstrip(",") for entry in value]
    return [entry.strip() for entry in value if entry.strip()]


def _json(given: str, example: str) -> Any:
    def refuse(number: str) -> NoReturn:
        raise ValueError(f"holds {quoted(number, 20)}, which is no number that JSON can carry.")

    def finite(number: str) -> float:
        return value if math.isfinite(value := float(number)) else refuse(number)

    def whole_number(number: str) -> int:
        return int(number) if len(number) <= MOST_DIGITS else refuse(number)

    try:
        value = json.loads(given, parse_constant=refuse, parse_float=finite, parse_int=whole_number)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"is not valid JSON ({error.msg}, {where}); write it such as {example}.") from None
    except RecursionError:
        value = None
    if value is None or _depth(value) > DEEPEST_JSON:
        raise ValueError(f"is nested more than {DEEPEST_JSON} levels deep.")
    return value


def _depth(value: Any) -> int:
    """How many lists and objects stand inside each other, counted without recursion."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


def _number(given: str) -> float | None:
    return float(given) if re.fullmatch(r"\d{1,15}(\.\d{1,15})?", given, re.ASCII) else None
