"""Lists: filter, order and page tokens.

The sandbox knows only the part of Coval's filter grammar that a gate sends: `field="value"`, joined by AND.
"""

import base64
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from .problems import invalid
from .quirks import Quirks

Query = Mapping[str, str]
"""The parameters of a request."""
Row = dict[str, Any]
Show = Callable[[Any], dict[str, Any]]

DEFAULT_PAGE = 50
_LAST_PAGE: dict[str, dict[str, Any]] = {
    "null": {"next_page_token": None},
    "absent": {},
    "empty": {"next_page_token": ""},
}
_TERM = r'(\w+)="([^"\\]*)"'
_FILTER = re.compile(rf"{_TERM}(?: AND {_TERM})*")


def parse_filter(text: str | None, fields: Collection[str]) -> dict[str, str]:
    """Return the values by their fields. Raises `Problem` (400)."""
    if text and not _FILTER.fullmatch(text):
        raise invalid(("filter", 'must be field="value", joined by AND'))
    wanted = dict(re.findall(_TERM, text or ""))
    for field in wanted:
        if field not in fields:
            raise invalid(("filter", f"unknown field '{field}'"))
    return wanted


def matches(row: Row, wanted: Mapping[str, str]) -> bool:
    """Return whether a row matches. A list matches if any member does."""
    return all(_matches(row.get(field), value, field) for field, value in wanted.items())


def _matches(actual: Any, value: str, field: str) -> bool:
    if isinstance(actual, (list, tuple)):
        return value in actual
    return bool(_status(actual) == _status(value) if field == "status" else actual == value)


def _status(text: str) -> str:
    return text.upper().replace("_", " ").replace("CANCELED", "CANCELLED")


def selected(
    rows: Sequence[Row], query: Query, fields: Collection[str], order: Sequence[str], *, default: str = "-create_time"
) -> list[Row]:
    """Filter and sort by the query, which may name these `fields` and this `order`."""
    wanted = parse_filter(query.get("filter"), fields)
    return ordered([row for row in rows if matches(row, wanted)], query.get("order_by"), order, default=default)


def ordered(
    rows: Sequence[Row], order_by: str | None, allowed: Sequence[str], *, default: str = "-create_time"
) -> list[Row]:
    """Sort by "field" or "-field", "field asc" or "field desc". Raises `Problem` (400) for any other field."""
    by = signed(order_by or default)
    field = by.removeprefix("-")
    if field not in allowed:
        raise invalid(
            ("order_by", f"must be one of {', '.join(allowed)}, with - in front or desc behind for descending")
        )
    # Rows with equal keys keep their order of creation, forwards or backwards.
    order = sorted(enumerate(rows), key=lambda pair: (pair[1][field], pair[0]), reverse=by != field)
    return [row for _, row in order]


def signed(order_by: str) -> str:
    """Return an order in the form "field" or "-field". Coval's pages write both this and "field desc"."""
    words = re.fullmatch(r"(\w+) (asc|desc)", order_by)
    return f"{'-' if words[2] == 'desc' else ''}{words[1]}" if words else order_by


def flag(query: Query, name: str) -> bool:
    """Return a boolean parameter, false by default. Raises `Problem` (400) for any other word."""
    value = query.get(name, "false").lower()
    if value not in {"true", "false"}:
        raise invalid((name, "must be true or false"))
    return value == "true"


def as_is(row: dict[str, Any]) -> dict[str, Any]:
    return row


def listing(
    envelope: str, rows: Sequence[Any], query: Query, quirks: Quirks, show: Show = as_is, *, most: int = 1000
) -> dict[str, Any]:
    """Return the page as `{envelope: […]}`, each row as `show` returns it. Raises `Problem` (400)."""
    size, token = query.get("page_size"), query.get("page_token")
    if size is not None and not (re.fullmatch("[0-9]{1,6}", size) and 1 <= int(size) <= most):
        raise invalid(("page_size", f"must be a whole number from 1 to {most}"))
    start = _offset(token) if token else 0
    stop = start + (int(size) if size else DEFAULT_PAGE)
    shown = {envelope: [show(row) for row in rows[start:stop]]}
    if stop < len(rows):
        return shown | {"next_page_token": page_token(stop)}
    return shown | _LAST_PAGE[quirks.page_token_end]


def page_token(offset: int) -> str:
    return base64.urlsafe_b64encode(json.dumps({"offset": offset}).encode()).decode()


def _offset(token: str) -> int:
    try:
        offset = json.loads(base64.urlsafe_b64decode(token))["offset"]
    except (ValueError, TypeError, KeyError):
        offset = None
    if not isinstance(offset, int) or offset < 0:
        raise invalid(("page_token", "did not come from this API"))
    return offset
