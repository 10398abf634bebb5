"""Fields: the types that an input can have, and how to parse each of them.

A parser takes stripped, non-empty text. It raises ValueError with the end of a sentence that begins with the input's
name ("must be true or false; …"). The message never contains a secret.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

from coval_gate.address import is_loopback, parse_address
from coval_gate.model.matrix import NO_MATRIX, Matrix, matrix_of
from coval_gate.secret import SHORTEST_SECRET, Secret
from coval_gate.text import quoted

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

UNFILLED: Final = "${{"  # the start of an expression that the runner did not evaluate
LONGEST_PATH: Final = 1024  # characters
MOST_DIGITS: Final = 100  # of a whole number in JSON
DEEPEST_JSON: Final = 100  # levels; Coval returns this JSON in its responses, which must stay parsable
IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """The type of an input: `name` as in README, `empty` the value of an unset input, `parse` the parser."""

    name: str
    empty: T
    parse: Callable[[str], T]


@dataclass(frozen=True, slots=True)
class Allowance:
    """The number of items that may be missing from a total: `most`, or `most` percent of the total."""

    most: float
    percent: bool = False

    def of(self, total: int) -> int:
        """Return the allowed number out of `total`, rounded down."""
        # In binary, 7% of 100 is 7.000000000000001 and 29% is 28.999999999999996. Neither may change the count.
        return math.floor(total * self.most / 100 + 1e-9) if self.percent else int(self.most)

    def __str__(self) -> str:
        return f"{self.most:g}%" if self.percent else f"{self.most:,.0f}"


def text(longest: int) -> Field[str]:
    """Return a field for free text of at most `longest` characters."""

    def parse(given: str) -> str:
        if len(given) > longest:
            raise ValueError(f"must have at most {longest:,} characters; got {len(given):,}.")
        return given

    return Field("text", "", parse)


def metric_value(longest: int) -> Field[str]:
    """Return a field for one value of a metric, of at most `longest` characters."""

    def parse(given: str) -> str:
        from coval_gate.config.values import parse_value  # not needed by most steps, and the start is measured

        return text(longest).parse(parse_value(given))

    return Field("text", "", parse)


def secret() -> Field[Secret | None]:
    """Return a field for a credential that fits in an HTTP header."""

    def parse(given: str) -> Secret:
        if not re.fullmatch(r"[!-~]+", given):
            raise ValueError("must contain visible ASCII characters only, no spaces or line breaks; copy it again.")
        if len(given) < SHORTEST_SECRET:
            # Masking a shorter text would also mask ordinary words in the log.
            raise ValueError(f"must have at least {SHORTEST_SECRET} characters; copy it again.")
        return Secret(given)

    return Field("secret", None, parse)


def token() -> Field[Secret | None]:
    """Return a field for a credential that the runner fills in; None where it left the expression unevaluated."""
    inner = secret()
    return Field(inner.name, None, lambda given: None if given.startswith(UNFILLED) else inner.parse(given))


def path() -> Field[str]:
    """Return a field for the path of a file. `ci.workspace` checks where the path leads."""

    def parse(given: str) -> str:
        if len(given) > LONGEST_PATH or not given.isprintable():
            raise ValueError(f"is {quoted(given)}, but must have at most {LONGEST_PATH:,} printable characters.")
        return given

    return Field("path", "", parse)


def url(*, encrypted: bool) -> Field[str]:
    """Return a field for an absolute http(s) URL, without its trailing slash.

    With `encrypted`, http is allowed for loopback hosts only.
    """

    def parse(given: str) -> str:
        parts = parse_address(given)
        if parts is None:
            raise ValueError(f"must be a URL such as https://api.coval.dev/v1; got {quoted(given)}.")
        if not (parts.auth is parts.query is parts.fragment is None):
            raise ValueError("must not contain a user, password, query or fragment.")
        if encrypted and parts.scheme == "http" and not is_loopback(parts):
            raise ValueError(f"must use https to protect the API key; got {quoted(given)}. Write https://{parts.host}…")
        return given.rstrip("/")

    return Field("URL", "", parse)


def identifier() -> Field[str]:
    """Return a field for a Coval id. It accepts any length up to 64, because Coval's own pages disagree on lengths."""
    return Field("id", "", _identifier)


def identifiers(most: int) -> Field[tuple[str, ...]]:
    """Return a field for a list of at most `most` ids, without duplicates, in the given order."""
    return _list("list of ids", most, _identifier)


def texts(most: int, longest: int) -> Field[tuple[str, ...]]:
    """Return a field for a list of at most `most` texts, without duplicates, in the given order."""
    return _list("list", most, text(longest).parse)


def whole(least: int, most: int | None = None) -> Field[int]:
    """Return a field for a whole number from `least` to `most`, both included."""
    allowed = f"of at least {least:,}" if most is None else f"from {least:,} to {most:,}"

    def parse(given: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,18}", given, re.ASCII):
            raise ValueError(f"must be a whole number {allowed}; got {quoted(given)}.")
        number = int(given)
        if number < least or (most is not None and number > most):
            raise ValueError(f"must be a whole number {allowed}; got {number}.")
        return number

    return Field("whole number", 0, parse)


def seconds(least: float, most: float) -> Field[float]:
    """Return a field for a duration in seconds, from `least` to `most`, both included."""

    def parse(given: str) -> float:
        number = _number(given)
        if number is None or not least <= number <= most:
            raise ValueError(f"must be a number of seconds from {least:g} to {most:,.0f}; got {quoted(given)}.")
        return number

    return Field("seconds", 0.0, parse)


def optional(field: Field[T], word: str = "") -> Field[T | None]:
    """Return `field` with the value None for an unset input, and for `word`."""

    def parse(given: str) -> T | None:
        if word and given.lower() == word:
            return None
        try:
            return field.parse(given)
        except ValueError as problem:
            also = f"must be {word} or " if word else "must be "
            raise ValueError(also + str(problem).removeprefix("must be ")) from None

    return Field(field.name, None, parse)


def allowance() -> Field[Allowance]:
    """Return a field for a number of simulations or a percentage of them."""

    def parse(given: str) -> Allowance:
        percent = given.endswith("%")
        number = _number(given.removesuffix("%").rstrip())
        if number is None or number < 0 or (percent and number > 100) or (not percent and number % 1):
            raise ValueError(f"must be a whole number such as 2 or a percentage such as 5%; got {quoted(given)}.")
        return Allowance(number, percent)

    return Field("number or %", Allowance(0), parse)


def choice(*words: str) -> Field[str]:
    """Return a field for one of `words`, in any case."""

    def parse(given: str) -> str:
        word = given.lower()
        if word not in words:
            raise ValueError(f"must be one of: {', '.join(words)}; got {quoted(given)}.")
        return word

    return Field(" or ".join(f"`{word}`" for word in words), "", parse)


def flag() -> Field[bool]:
    """Return a field for true or false. It accepts no other word, so that a typo cannot mean either."""

    def parse(given: str) -> bool:
        word = given.lower()
        if word not in ("true", "false"):
            raise ValueError(f"must be true or false; got {quoted(given)}.")
        return word == "true"

    return Field("true or false", False, parse)


def json_object(example: str) -> Field[dict[str, Any] | None]:
    """Return a field for a JSON object. Error messages show `example`."""

    def parse(given: str) -> dict[str, Any]:
        value = _json(given, example)
        if not isinstance(value, dict):
            raise ValueError(f"must be a JSON object such as {example}.")
        return value

    return Field("JSON object", None, parse)


def matrix() -> Field[Matrix]:
    """Return a field for the values of a job's matrix, as GitHub's toJSON writes them."""
    example = '{"region": "eu"}'

    def parse(given: str) -> Matrix:
        if given == "null" or given.startswith(UNFILLED):  # no matrix, or no runner that could tell
            return NO_MATRIX
        value = _json(given, example)
        if not isinstance(value, dict):
            raise ValueError(f"must be a JSON object such as {example}, or empty.")
        return matrix_of(value)

    return Field("JSON object", NO_MATRIX, parse)


def _identifier(given: str) -> str:
    if not IDENTIFIER.fullmatch(given):
        raise ValueError(f"must have 1 to 64 letters, digits, hyphens or underscores; got {quoted(given)}.")
    return given


def _list(name: str, most: int, item: Callable[[str], str]) -> Field[tuple[str, ...]]:
    def parse(given: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(item(entry) for entry in _entries(given)))
        if len(found) > most:
            raise ValueError(f"must have at most {most} entries; got {len(found)}.")
        return found

    return Field(name, (), parse)


def _entries(given: str) -> list[str]:
    """Split a list written as JSON, comma-separated or one entry per line; drop blank entries."""
    if given.startswith("["):
        value = _json(given, '["first", "second"]')
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise ValueError('must be a JSON list of strings, such as ["first", "second"].')
    else:
        value = given.splitlines() if "\n" in given else given.split(",")
        value = [entry.strip().rstrip(",") for entry in value]
    return [entry.strip() for entry in value if entry.strip()]


def _json(given: str, example: str) -> Any:
    def refuse(number: str) -> NoReturn:
        raise ValueError(f"contains {quoted(number, 20)}; numbers must be finite, with at most {MOST_DIGITS} digits.")

    def finite(number: str) -> float:
        return value if math.isfinite(value := float(number)) else refuse(number)

    def whole_number(number: str) -> int:
        return int(number) if len(number) <= MOST_DIGITS else refuse(number)

    try:
        value = json.loads(given, parse_constant=refuse, parse_float=finite, parse_int=whole_number)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"is not valid JSON: {error.msg} ({where}). Write it like {example}.") from None
    except RecursionError:
        value = None
    if value is None or _depth(value) > DEEPEST_JSON:
        raise ValueError(f"must not be nested more than {DEEPEST_JSON} levels deep.")
    return value


def _depth(value: Any) -> int:
    """Return how deep lists and objects are nested, counted without recursion."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


def _number(given: str) -> float | None:
    return float(given) if re.fullmatch(r"\d{1,15}(\.\d{1,15})?", given, re.ASCII) else None
