"""Lists: filter grammar, order and page tokens.

A filter is `field operator "value"`, joined by AND and OR. AND binds more tightly, and there are no
parentheses. A row maps fields to text, number, list of texts or None.
"""

from __future__ import annotations

import base64
import json
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<join>AND|OR)\b
        | (?P<field>[A-Za-z_][\w.\-]*)\s*(?P<operator><=|>=|!=|=|<|>)\s*
          (?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s"]+))
    )\s*""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Term:
    field: str
    operator: str
    value: str

    def matches(self, row: Row) -> bool:
        """A list matches if any member does."""
        actual = row.get(self.field)
        if isinstance(actual, (list, tuple)):
            is_member = self.value in actual
            return is_member if self.operator == "=" else not is_member
        left, right = _comparable(self.field, actual), _comparable(self.field, self.value)
        if self.operator == "=":
            return bool(left == right)
        if self.operator == "!=":
            return bool(left != right)
        return type(left) is type(right) and _COMPARE[self.operator](left, right)


@dataclass(frozen=True)
class Filter:
    """A row matches if all terms of any group match, or if there are no groups."""

    groups: tuple[tuple[Term, ...], ...] = ()

    def matches(self, row: Row) -> bool:
        return not self.groups or any(all(term.matches(row) for term in group) for group in self.groups)

    def allows(self, field: str, value: Any) -> bool:
        """Tell whether a row with this value of a field can match."""
        groups = [[term for term in group if term.field == field] for group in self.groups]
        return not groups or any(all(term.matches({field: value}) for term in group) for group in groups)

    @property
    def terms(self) -> tuple[Term, ...]:
        return tuple(term for group in self.groups for term in group)


def parse_filter(text: str | None, fields: Collection[str]) -> Filter:
    """Raises `Problem` (400)."""
    if not text or not text.strip():
        return Filter()
    groups: list[list[Term]] = [[]]
    position, expect_term = 0, True
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or bool(match["field"]) is not expect_term:
            raise invalid(("filter", f"cannot be read at '{text[position : position + 20]}'"))
        if match["join"] == "OR":
            groups.append([])
        elif match["field"]:
            groups[-1].append(_term(match, fields))
        position, expect_term = match.end(), not expect_term
    if expect_term:
        raise invalid(("filter", "ends where a comparison should follow"))
    return Filter(tuple(map(tuple, groups)))


def _term(match: re.Match[str], fields: Collection[str]) -> Term:
    field = match["field"]
    if field not in fields:
        raise invalid(("filter", f"unknown field '{field}'"))
    if match["bare"] is not None:
        raise invalid(("filter", f"the value of '{field}' must be in double quotes"))
    value = re.sub(r"\\(.)", r"\1", match["quoted"])
    if field.endswith("_time"):
        _moment(value)
    return Term(field, match["operator"], value)


def _comparable(field: str, value: Any) -> Any:
    if value is None:
        return None
    if field.endswith("_time"):
        return _moment(value)
    if field == "status":
        return str(value).upper().replace("_", " ").replace("CANCELED", "CANCELLED")
    return value


def _moment(value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise invalid(("filter", f"'{value}' is not a time")) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def selected(
    rows: Sequence[Row], query: Query, fields: Collection[str], order: Sequence[str], *, default: str = "-create_time"
) -> list[Row]:
    """Filter and sort by parameters of the query; `fields` and `order` are those that they may name."""
    query_filter = parse_filter(query.get("filter"), fields)
    return ordered([row for row in rows if query_filter.matches(row)], query.get("order_by"), order, default=default)


def ordered(
    rows: Sequence[Row], order_by: str | None, allowed: Sequence[str], *, default: str = "-create_time"
) -> list[Row]:
    """Sort by "field", "-field", "field asc" or "field desc". Raises `Problem` (400) for any other field."""
    match = re.fullmatch(r"(?P<minus>-?)(?P<field>\w+)(?:\s+(?P<way>asc|desc))?", order_by or default)
    if match is None or match["field"] not in allowed:
        raise invalid(("order_by", f"must be one of {', '.join(allowed)}, with - in front for descending"))
    down = bool(match["minus"]) or match["way"] == "desc"
    # Rows with equal keys keep their order of creation, forwards or backwards.
    order = sorted(enumerate(rows), key=lambda pair: (pair[1][match["field"]], pair[0]), reverse=down)
    return [row for _, row in order]


def flag(query: Query, name: str) -> bool:
    """False by default. Raises `Problem` (400) for any word but true and false."""
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
