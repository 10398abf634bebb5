"""Reads the input `metadata`. Keys that Coval knows keep their meaning; all others are free. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coval_gate.text import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_TEXT: Final = 200  # characters of a name or a tag; Coval's limit
MOST_RUN_TAGS: Final = 20  # Coval's limit
MOST_TAGS: Final = 18  # for the user; the gate adds two, and a third if there is room
TEXTS: Final = ("display_name", "created_by", "template_name")
TAGS: Final = "tags"
CUSTOMER: Final = "customer"


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
