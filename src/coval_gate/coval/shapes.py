"""Reads the fields of a JSON response. A field that is absent or null is empty; one of another type is a ValueError.

An error message does not quote a response, which is foreign text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from coval_gate.base.text import json_in, one_line
from coval_gate.inputs.fields import IDENTIFIER

T = TypeVar("T")

MOST: Final = 10**9  # test cases, simulations
PHONE: Final = re.compile(r"\+\d[\d ().-]{5,}\d")
LONGEST_TEXT: Final = 500  # characters
LONGEST_NAME: Final = 100  # characters
TYPE_PREFIX: Final = "MODEL_TYPE_"  # of the types of agents
TYPE: Final = re.compile("[A-Z0-9_]{1,60}")


def parse_object(body: bytes) -> dict[str, Any]:
    """Tolerate damaged text (half a surrogate, an invalid byte)."""
    content = json_in(body.decode("utf-8-sig", "replace"))
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def parse_page(body: bytes, keys: tuple[str, ...], read: Callable[[dict[str, Any]], T]) -> tuple[list[T], str]:
    """Return the entries and the next page's token. `keys`: the possible names of the list."""
    content = parse_object(body)
    entries = next((content[key] for key in keys if key in content), None)
    if not isinstance(entries, list):
        raise ValueError(f"{keys[0]}: not a list")
    return [read(as_object(entry, keys[0])) for entry in entries], text_in(content, "next_page_token")


def enveloped(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return the object under one of the `keys`, or else the response itself."""
    return next((content[key] for key in keys if isinstance(content.get(key), dict)), content)


def as_object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name}: not an object")
    return value


def object_in(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    return {} if value is None else as_object(value, name)


def text_in(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str | None):
        raise ValueError(f"{name}: not a text")
    return value or ""


def without_numbers(text: object, limit: int = LONGEST_TEXT) -> str:
    """Mask phone numbers, and put foreign text on one line of at most `limit` characters."""
    return PHONE.sub("+…", one_line(text, limit))


def name_in(fields: Mapping[str, Any]) -> str:
    return one_line(text_in(fields, "display_name") or text_in(fields, "name"), LONGEST_NAME)


def agent_type_in(fields: Mapping[str, Any]) -> str:
    """Return a type such as VOICE; empty if the agent shows none."""
    type_ = text_in(fields, "model_type").strip().upper().removeprefix(TYPE_PREFIX)
    return type_ if TYPE.fullmatch(type_) else ""


def list_in(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    if not isinstance(value, list | None):
        raise ValueError(f"{name}: not a list")
    return value or []


def texts_in(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the different texts of a list, without spaces around them."""
    texts = list_in(fields, name)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name}: not a list of texts")
    return tuple(dict.fromkeys(filter(None, map(str.strip, texts))))


def id_in(fields: Mapping[str, Any], name: str) -> str:
    id_ = text_in(fields, name)
    if id_ and not IDENTIFIER.fullmatch(id_):
        raise ValueError(f"{name}: not an id")
    return id_


def needed_id(fields: Mapping[str, Any], *names: str) -> str:
    for name in names:
        if id_ := id_in(fields, name):
            return id_
    raise ValueError(f"{names[0]}: missing")


def count_in(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
        raise ValueError(f"{name}: not a count")
    return value
