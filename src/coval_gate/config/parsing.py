"""Reads lists, JSON and metadata that a user wrote. Pure. Raises ValueError with the end of a sentence.

In the input `metadata`, keys that Coval knows keep their meaning, and all others are free.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from coval_gate.base.text import one_line, plural, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLE: Final = '["first", "second"]'
MARKER: Final = re.compile(r"[-*•]\s+(?=\S)")  # of a list in YAML or Markdown
MOST_DIGITS: Final = 100  # of a whole number
DEEPEST: Final = 100  # levels; Coval's responses repeat this JSON and must stay parsable
NULL: Final = "null"  # GitHub's toJSON writes it for an unset value
LONGEST_TEXT: Final = 200  # characters of a name or a tag; Coval's limit
MOST_RUN_TAGS: Final = 20  # Coval's limit
MOST_TAGS: Final = 18  # for the user; the gate adds two, and a third if there is room
TEXTS: Final = ("display_name", "created_by", "template_name")
TAGS: Final = "tags"
CUSTOMER: Final = "customer"


def entries(raw: str) -> list[str]:
    """Split a list written as JSON, comma-separated or one entry per line; drop blank entries."""
    if raw.startswith(("[", "{")):
        value = read_json(raw, f"{EXAMPLE}, or without brackets: first, second")
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise ValueError(f"must be a JSON list of strings, such as {EXAMPLE}.")
    else:
        value = raw.splitlines() if "\n" in raw else raw.split(",")
        value = [entry.strip().rstrip(",") for entry in value]
        if marked := next((entry for entry in value if MARKER.match(entry)), ""):
            plain = MARKER.sub("", marked)
            raise ValueError(f"must be a list without markers; got {quoted(marked)}. Write {one_line(plain, 80)}.")
    return [entry.strip() for entry in value if entry.strip()]


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


class RunMetadata(NamedTuple):
    """The metadata of a run, by Coval's names. `customer` holds all keys that Coval does not know."""

    display_name: str = ""
    created_by: str = ""
    template_name: str = ""
    tags: tuple[str, ...] = ()
    customer: Mapping[str, Any] = {}


def read_metadata(written: Mapping[str, Any] | None) -> RunMetadata:
    """Return the user's metadata. Raises ValueError with the end of a sentence about the input."""
    present = {name: value for name, value in (written or {}).items() if value is not None}
    customer = present.pop(CUSTOMER, {})
    texts = {name: _text(name, present.pop(name)) for name in TEXTS if name in present}
    tags = _tags(present.pop(TAGS, []))
    free = {name: value for name, value in (written or {}).items() if name not in (*TEXTS, TAGS, CUSTOMER)}
    if not isinstance(customer, dict):
        raise ValueError(f'must have a JSON object in {CUSTOMER}, such as {{"team": "voice"}}.')
    if twice := next((name for name in free if name in customer), ""):
        raise ValueError(f"has {twice} twice: at the top, and in {CUSTOMER}.")
    return RunMetadata(**texts, tags=tags, customer={**customer, **free})


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must have a text in {name}, in double quotes.")
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"must have at most {LONGEST_TEXT} characters in {name}; got {len(value):,}.")
    return value.strip()


def _tags(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise ValueError(f'must have a list of texts in {TAGS}, such as ["nightly"].')
    tags = tuple(dict.fromkeys(_text(TAGS, tag) for tag in value if tag.strip()))
    if len(tags) > MOST_TAGS:
        raise ValueError(f"must have at most {plural(MOST_TAGS, 'tag')} in {TAGS}; got {len(tags)}.")
    return tags
