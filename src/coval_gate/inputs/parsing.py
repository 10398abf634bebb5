"""Reads lists, JSON, metadata and matrix values, and recognizes what an invalid value was meant to be. Pure.

Readers raise ValueError with the end of a sentence. A function `…_meant` returns the value that the user meant if that
is certain, or the text unchanged. In the input `metadata`, keys that Coval knows keep their meaning, and all others are
free. The values of a GitHub matrix distinguish jobs that share a name. They may come from a pull request, so they are
untrusted text.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, NoReturn

from coval_gate.base.text import json_in, one_line, plural, quoted

# Most inputs are right: these patterns are compiled where one is wrong.
QUOTES: Final = "\"'`“”„‘’"
DECIMAL: Final = r"\d{1,12}(?:\.\d{1,6})?"
DURATION: Final = rf"(?ai)({DECIMAL})\s*([a-zµ]+)\.?"
TIME_UNITS: Final = {  # in seconds, by singular name
    **dict.fromkeys(("s", "sec", "second"), 1.0),
    **dict.fromkeys(("m", "min", "minute"), 60.0),
    **dict.fromkeys(("h", "hr", "hour"), 3600.0),
    **dict.fromkeys(("d", "day"), 86400.0),
    **dict.fromkeys(("ms", "millisecond"), 0.001),
}
PERCENTAGE_PATTERN: Final = rf"(?ai)({DECIMAL})\s*(?:percent|per cent|pct|pc|%+)\.?"
RESOURCE: Final = r"(?a)(?:https?://[^?#]*/|[a-z-]+/)([\w-]+)/?(?:[?#].*)?"
REFERENCE: Final = re.compile(r"(?:vars|secrets|env|github|inputs)\.[A-Za-z_][\w-]*", re.ASCII)
KEY_PATTERN: Final = re.compile(r"coval_sk_[\w-]{8,}", re.ASCII)  # one of Coval's API keys, as far as they look alike
ENTRY_MARKER: Final = r"[-*•]\s+(?=\S)"  # of a list in YAML or Markdown
EXAMPLE_LIST: Final = '["first", "second"]'
MOST_DIGITS: Final = 100  # of a whole number
DEEPEST: Final = 100  # levels; Coval's responses repeat this JSON and must stay parsable
NULL: Final = "null"  # GitHub's toJSON writes it for an unset value
TEXT_LIMIT: Final = 200  # characters of a name or a tag; Coval's limit
MOST_RUN_TAGS: Final = 20  # Coval's limit
MOST_TAGS: Final = 18  # for the user; the gate adds two, and a third if there is room
TEXTS: Final = ("display_name", "created_by", "template_name")
TAGS: Final = "tags"
CUSTOMER: Final = "customer"
MATRIX_LABEL_LIMIT: Final = 80  # characters
DIGEST_SHOWN: Final = 8  # characters of the digest, in a label that is not the whole text
# A text that matches is written as JSON, because it would be unclear where it ends.
SEPARATING: Final = re.compile(r'[,"]|^\s|\s$|^$')


def plain(number: float) -> str:
    """Return a number as in a workflow file: "90", "0.5"."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def unquoted(raw: str) -> str:
    is_quoted = len(raw) > 1 and raw[0] in QUOTES and raw[-1] in QUOTES
    return raw[1:-1].strip() if is_quoted else raw


def seconds_meant(raw: str) -> str:
    """Return a duration with a unit in seconds; otherwise without its quotes."""
    text = unquoted(raw)
    match = re.fullmatch(DURATION, text)
    unit = match[2].lower() if match else ""
    factor = TIME_UNITS.get(unit) or TIME_UNITS.get(unit.removesuffix("s"))
    return plain(float(match[1]) * factor) if match and factor else text


def percentage_meant(raw: str) -> str:
    """Return a percentage as "5%", also for "5 percent" and "0.05"."""
    text = unquoted(raw)
    if match := re.fullmatch(PERCENTAGE_PATTERN, text):
        return f"{match[1]}%"
    is_share = re.fullmatch(r"0?\.\d{1,6}", text, re.ASCII)
    return f"{plain(float(text) * 100)}%" if is_share else text


def closest(word: str, words: Iterable[str], least: float = 0.6) -> str:
    """Return the most similar of `words`; empty if none has at least the similarity `least`, from 0 to 1."""
    return next(iter(get_close_matches(word, [*words], n=1, cutoff=least)), "")


def id_meant(raw: str) -> str:
    """Return the id from quotes, a resource name (`agents/…`) or the end of a dashboard URL."""
    text = unquoted(raw)
    named = re.fullmatch(RESOURCE, text)
    return named[1] if named else text


def evaluated(raw: str) -> str:
    """Return the text. Raises ValueError for `vars.AGENT_ID` and the like, which are safe to show, unlike a secret."""
    if REFERENCE.fullmatch(raw):
        raise ValueError(f"is the text {raw}, not its value. In the workflow, write ${{{{ {raw} }}}}.")
    return raw


def about_id(raw: str) -> str:
    """Return advice about an invalid id, after a space; "" if the reason is unknown."""
    if raw.startswith("${{"):
        return " GitHub did not evaluate the expression: write it under `with:` of a step."
    return " Write the id, not the name." if " " in raw else ""


def entries(raw: str) -> list[str]:
    """Split a list written as JSON, comma-separated or one entry per line; drop blank entries."""
    if raw.startswith(("[", "{")):
        value = read_json(raw, f"{EXAMPLE_LIST}, or without brackets: first, second")
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise ValueError(f"must be a JSON list of strings, such as {EXAMPLE_LIST}.")
    else:
        value = raw.splitlines() if "\n" in raw else raw.split(",")
        value = [entry.strip().rstrip(",") for entry in value]
        if marked := next((entry for entry in value if re.match(ENTRY_MARKER, entry)), ""):
            plain = re.sub(ENTRY_MARKER, "", marked)
            raise ValueError(f"must be a list without markers; got {quoted(marked)}. Write {one_line(plain, 80)}.")
    return [entry.strip() for entry in value if entry.strip()]


def lines_of(raw: str) -> str:
    """Return a JSON list's entries as lines; any other text unchanged.

    In YAML, `- Latency: avg < 2` is no text, but a mapping of one text to another: it stands for its line, too.
    """
    listed = json_in(raw) if raw.startswith("[") else None
    return "\n".join(map(_line_of, listed)) if isinstance(listed, list) else raw


def _line_of(entry: Any) -> str:
    match entry:
        case str():
            return entry
        case dict() if len(entry) == 1 and isinstance(text := next(iter(entry.values())), str):
            name = next(iter(entry))
            # YAML removed the quotes around it.
            quote = "" if re.fullmatch(r"""[^:#"']*""", name) else "'" if '"' in name else '"'
            return f"{quote}{name}{quote}: {text}"
        case _:
            raise ValueError(f"must be text, or a JSON list of strings, such as {EXAMPLE_LIST}.")


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
        is_deep = _is_deep(value)
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


def _is_deep(value: Any, levels: int = DEEPEST) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (not levels or any(_is_deep(one, levels - 1) for one in inner))


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
    if len(value) > TEXT_LIMIT:
        raise ValueError(f"must have at most {TEXT_LIMIT} characters in {name}; got {len(value):,}.")
    return value.strip()


def _tags(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise ValueError(f'must have a list of texts in {TAGS}, such as ["nightly"].')
    tags = tuple(dict.fromkeys(_text(TAGS, tag) for tag in value if tag.strip()))
    if len(tags) > MOST_TAGS:
        raise ValueError(f"must have at most {plural(MOST_TAGS, 'tag')} in {TAGS}; got {len(tags)}.")
    return tags


class Matrix(NamedTuple):
    """`label` is for users, on one line; `digest` is the identity. Falsy: no matrix."""

    label: str = ""
    digest: str = ""

    def __bool__(self) -> bool:
        return bool(self.digest)

    def __str__(self) -> str:
        return self.label

    def after(self, text: str, limit: int | None = None) -> str:
        """Add the label in brackets, as GitHub names the jobs of a matrix. `limit`: cut the text, not the label."""
        label = f" ({self.label})" if self else ""
        room = None if limit is None else limit - len(label)
        return f"{text[:room]}{label}".lstrip() if self else text[:room]


NO_MATRIX: Final = Matrix()


def matrix_of(values: Mapping[str, Any]) -> Matrix:
    """Return the matrix with these JSON-ready values, whose order does not matter; NO_MATRIX without any."""
    if not values:
        return NO_MATRIX
    whole, text = json.dumps(values, sort_keys=True), ", ".join(map(_word, values.values()))
    digest, label = hashlib.sha256(whole.encode()).hexdigest(), one_line(text, MATRIX_LABEL_LIMIT)
    if label != text:  # cut, or without invisible characters: other labels may look the same
        short = digest[:DIGEST_SHOWN]
        label = f"{one_line(text, MATRIX_LABEL_LIMIT - len(short) - 1)} {short}".lstrip()
    return Matrix(label, digest)


def matrix_from(label: object) -> Matrix:
    """Return the matrix with the label that an earlier step recorded; NO_MATRIX unless it is a text."""
    shown = one_line(label, MATRIX_LABEL_LIMIT) if isinstance(label, str) else ""
    return Matrix(shown, hashlib.sha256(shown.encode("utf-8", "replace")).hexdigest()) if shown else NO_MATRIX


def _word(value: object) -> str:
    """Return a matrix value as text: of an object, its name or else its scalars."""
    if isinstance(value, dict):
        name = value.get("name")
        scalars = [item for item in value.values() if not isinstance(item, dict | list)]
        if shown := [name] if isinstance(name, str) and name else scalars:
            return ", ".join(map(_word, shown))
    plain = isinstance(value, str) and not SEPARATING.search(value)
    return str(value) if plain else json.dumps(value, ensure_ascii=False)
