"""Reads JSON that the user wrote. Pure. Raises ValueError with the end of a sentence."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

from coval_gate.text import quoted

MOST_DIGITS: Final = 100  # of a whole number
DEEPEST: Final = 100  # levels; Coval's responses repeat this JSON and must stay parsable
NULL: Final = "null"  # GitHub's toJSON writes it for an unset value


def read_json(raw: str, example: str) -> Any:
    """Return the parsed JSON. Error messages show `example`."""

    def refuse(number: str) -> NoReturn:
        raise ValueError(f"contains {quoted(number, 20)}; numbers must be finite, with at most {MOST_DIGITS} digits.")

    def finite(number: str) -> float:
        return value if math.isfinite(value := float(number)) else refuse(number)

    def whole_number(number: str) -> int:
        return int(number) if len(number) <= MOST_DIGITS else refuse(number)

    try:
        value = json.loads(
            raw, parse_constant=refuse, parse_float=finite, parse_int=whole_number, object_pairs_hook=_object
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        quotes = " JSON needs double quotes." if raw[error.pos : error.pos + 1] == "'" else ""
        raise ValueError(f"is not valid JSON: {error.msg} ({where}).{quotes} Write it like {example}.") from None
    except RecursionError:
        value = None
        is_deep = True
    else:
        is_deep = _depth(value) > DEEPEST
    if is_deep:
        raise ValueError(f"must not be nested more than {DEEPEST} levels deep.")
    return value


def read_object(raw: str, example: str) -> dict[str, Any] | None:
    """Return a JSON object; None for `null`, and for an empty list, which some programs write for an empty object."""
    value = read_json(raw, example)
    if value is None or value == []:
        return None
    if not isinstance(value, dict):
        raise ValueError(f"must be a JSON object such as {example}.")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object. A duplicate key is an error, because one of its values would be lost."""
    object_: dict[str, Any] = {}
    for key, value in pairs:
        if key in object_:
            raise ValueError(f"has the key {quoted(key)} twice; keep one.")
        object_[key] = value
    return object_


def _depth(value: Any) -> int:
    """Return the nesting depth of lists and objects, without recursion."""
    depth, level = 0, [value]
    while level := [container for container in level if isinstance(container, dict | list)]:
        depth += 1
        level = [
            inner for container in level for inner in (container.values() if isinstance(container, dict) else container)
        ]
    return depth
