"""Fields: the types of inputs, and how to parse each.

A parser takes stripped, non-empty text. It raises ValueError with the end of a sentence about the input
("must be true or false; …"). The message never contains a secret.
"""

import math
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar, get_args

from coval_gate.base.secret import SHORTEST_SECRET, Secret
from coval_gate.base.text import folded, in_words, json_in, one_line, quoted
from coval_gate.base.transport import is_loopback, parse_address
from coval_gate.inputs import parsing
from coval_gate.inputs.parsing import NO_MATRIX, NULL, Matrix, entries, matrix_of, read_object

AGE: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*([hdw])", re.ASCII | re.IGNORECASE)
AGE_UNITS: Final = {"h": 3600.0, "d": 86_400.0, "w": 604_800.0}  # s
LAST_RUNS: Final = re.compile(r"(.*\S)\s+last\s+(\d{1,4})", re.ASCII | re.IGNORECASE)
MOST_BASELINE_RUNS: Final = 20  # to pool; each costs API calls
USUALLY_SHOWN_RUNS, MOST_SHOWN_RUNS = 30, 100  # in a history
NewestOf = Literal["tag", "branch", "schedule"]
OWN_TAGS: Final = "coval-gate/"  # prefix of the tags that identify runs
T = TypeVar("T")

UNFILLED: Final = "${{"  # the start of an expression that the runner did not evaluate
LONGEST_PATH: Final = 1024  # characters
LONGEST_SOURCE: Final = 255  # characters of a tag or a branch; GitHub's limit for branches
FLAG_WORDS: Final = ("true", "false", "yes", "no", "on", "off")
CONFIDENCES: Final = (60.0, 99.9)  # percent; at 50 %, every result would be conclusive
IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
LISTS: Final = ("id or ids", "ids", "list", "thresholds")  # fields whose values may be lists
MOST_QUOTED: Final = 5  # invalid entries of a list, beside the first
SourceKind = Literal["run", "tag", "branch", "base", "base_agent"]


class BaselineSource(NamedTuple):
    """A run by its id, or the newest `last` runs with a tag or of a branch.

    base: the agent itself in the same run, so `name` is empty. base_agent: the agent that the input `base_agent_id`
    names, in a run beside this one.
    """

    kind: SourceKind
    name: str = ""
    last: int = 1

    def __str__(self) -> str:
        if self.kind == "base":
            return self.kind
        if self.kind == "base_agent":
            return f"base agent {self.name}"
        count = f" last {self.last}" if self.last > 1 else ""
        return f"{self.kind}:{self.name}{count}"


class Field(NamedTuple, Generic[T]):
    """`empty`: the value of an unset input. `write`: the inverse of `parse`; None: the usual way for the type.

    `report`: the report whose path it is, in words; empty for any other input.
    """

    name: str
    empty: T
    parse: Callable[[str], T]
    write: Callable[[T], str] | None = None
    report: str = ""


class Unset(int):
    """A default number, where an explicit one of the same value has another effect."""


class Allowance(NamedTuple):
    """How many items of a total may be missing: `most`, or `most` percent of the total."""

    most: float
    percent: bool = False

    def of(self, total: int) -> int:
        """Return the allowed number out of `total`, rounded down."""
        # In binary, 7% of 100 is 7.000000000000001 and 29% is 28.999999999999996. Neither may change the count.
        return math.floor(total * self.most / 100 + 1e-9) if self.percent else int(self.most)

    def __str__(self) -> str:
        return f"{self.most:g}%" if self.percent else f"{self.most:,.0f}"


def text(longest: int, read: Callable[[str], str] = str) -> Field[str]:
    def parse(raw: str) -> str:
        value = read(raw)
        if len(value) > longest:
            raise ValueError(f"must have at most {longest:,} characters; got {len(value):,}.")
        return value

    return Field("text", "", parse)


def secret() -> Field[Secret | None]:
    """A credential that fits in an HTTP header."""

    def parse(raw: str) -> Secret:
        if parsing.evaluated(raw).startswith(UNFILLED):
            raise ValueError(
                "contains an expression that was not evaluated; write it in the `with` or `env` of a step."
            )
        if raw.lower().startswith("bearer "):
            raise ValueError("must be the key alone, without Bearer.")
        if not re.fullmatch(r"[!-~]+", raw):
            raise ValueError("must contain visible ASCII characters only, no spaces or line breaks; copy it again.")
        if len(raw) < SHORTEST_SECRET:
            # A shorter secret would mask ordinary words in the log.
            raise ValueError(f"must have at least {SHORTEST_SECRET} characters; copy it again.")
        return Secret(raw)

    return Field("secret", None, parse)


def token() -> Field[Secret | None]:
    """A credential from the runner; None if the runner did not evaluate the expression."""
    return Field("secret", None, lambda raw: None if raw.startswith(UNFILLED) else secret().parse(raw))


def no_flag(raw: str, what: str) -> str:
    """Return `raw`, the name of `what`. Raises ValueError for true, yes and the like, which are no names."""
    if raw.lower() in FLAG_WORDS:
        raise ValueError(f"must be {what}, or empty for none; got {quoted(raw)}.")
    return raw


def page_name(longest: int, example: str) -> Field[str]:
    """Error messages show `example`."""
    return text(longest, lambda raw: no_flag(raw, f"a name such as {example}"))


def path(report: str = "") -> Field[str]:
    """Return a field for the path of a file, such as a report. `ci.workspace` checks where the path leads."""

    def parse(raw: str) -> str:
        if len(no_flag(raw, "the path of a file")) > LONGEST_PATH or not raw.isprintable():
            raise ValueError(f"must have at most {LONGEST_PATH:,} printable characters; got {quoted(raw)}.")
        return raw

    return Field("path", "", parse, report=report)


def url(example: str, *, encrypted: bool) -> Field[str]:
    """Return a field for an absolute URL, without trailing slash. `encrypted`: http for loopback hosts only."""

    def parse(raw: str) -> str:
        parts = parse_address(parsing.evaluated(raw))
        if parts is None:
            raise ValueError(invalid(f"a URL such as {example}", raw, f"https://{raw}", parse_address))
        if not (parts.auth is parts.query is parts.fragment is None):
            plain = parts._replace(auth=None, query=None, fragment=None).url
            raise ValueError(f"must not contain a user, password, query or fragment. Write {one_line(plain, 80)}.")
        if encrypted and parts.scheme == "http" and not is_loopback(parts):
            secure = one_line(parts._replace(scheme="https").url, 80)
            raise ValueError(f"must use https to protect the API key; got {quoted(raw)}. Write {secure}.")
        return raw.rstrip("/")

    return Field("URL", "", parse)


def identifier() -> Field[str]:
    """Return a field for a Coval id of up to 64 characters. Coval's own pages disagree on the length."""
    return Field("id", "", parse_identifier)


def identifiers(most: int) -> Field[tuple[str, ...]]:
    def entry(raw: str) -> str:
        if " " in raw and not raw.startswith(UNFILLED):
            raise ValueError(f"must be ids, separated by commas or line breaks; got {quoted(raw)}.")
        return parse_identifier(raw)

    return _list("ids", most, entry)


def selection(most: int) -> Field[tuple[str, ...]]:
    """Return a field for one id or several, without duplicates."""
    several = _list("id or ids", most, parse_identifier)

    def parse(raw: str) -> tuple[str, ...]:
        ids = several.parse(raw)
        named = entries(raw) if ids else []
        if twice := next((id_ for id_ in ids if named.count(id_) > 1), ""):
            raise ValueError(f"must name each id once; got {quoted(twice)} twice.")
        return ids

    return several._replace(parse=parse)


class RunSource(NamedTuple):
    """How to find the newest run: by a tag, a branch, or the id of a scheduled run in Coval.

    `last`: how many runs of a tag or a branch; 0 if unset.
    """

    kind: NewestOf
    name: str
    last: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}{f' last {self.last}' if self.last else ''}"


class ChosenRuns(NamedTuple):
    ids: tuple[str, ...] = ()
    newest: RunSource | None = None

    def __bool__(self) -> bool:
        return bool(self.ids or self.newest)


def runs(most: int) -> Field[ChosenRuns]:
    """Return a field for at most `most` ids of runs, or for one of `tag:<tag>`, `branch:<name>`, `schedule:<id>`."""
    several = identifiers(most)

    def parse(raw: str) -> ChosenRuns:
        named = [] if raw == NULL else entries(raw)
        sources = list(filter(None, map(_run_source, named)))
        if sources and len(named) > 1:
            ways = "a list of ids, or exactly one of tag:<tag>, branch:<name> and schedule:<id>"
            raise ValueError(f"must be {ways}; got {quoted(raw)}.")
        return ChosenRuns(newest=sources[0]) if sources else ChosenRuns(several.parse(raw))

    def write(chosen: ChosenRuns) -> str:
        return str(chosen.newest) if chosen.newest else "\n".join(chosen.ids)

    return Field("ids or newest run", ChosenRuns(), parse, write)


def _run_source(entry: str) -> RunSource | None:
    """Return the source that an entry names; None if it is none. Raises ValueError if its name is invalid."""
    word, colon, name = (part.strip() for part in entry.partition(":"))
    kind: NewestOf | None = next((kind for kind in get_args(NewestOf) if colon and word.lower() == kind), None)
    if kind is None:
        return None
    if kind == "schedule":
        return RunSource(kind, parse_identifier(name))
    match = LAST_RUNS.fullmatch(name)
    name, last = (match[1], int(match[2])) if match else (name, 0)
    if match and not 1 <= last <= MOST_SHOWN_RUNS:
        raise ValueError(f"must request the last 1 to {MOST_SHOWN_RUNS} runs; got {last}.")
    if not name or len(name) > LONGEST_SOURCE or not name.isprintable():
        limits = f"1 to {LONGEST_SOURCE} printable characters"
        raise ValueError(f"must name a {kind} of {limits} after {kind}:; got {quoted(entry)}.")
    return RunSource(kind, name, last)


def texts(most: int, longest: int) -> Field[tuple[str, ...]]:
    return _list("list", most, text(longest).parse)


def patterns(most: int, longest: int) -> Field[tuple[str, ...] | None]:
    """Return a field for names with wildcards, which `fits` compares: None for all, () for the JSON list `[]`: none."""
    several = texts(most, longest)

    def parse(raw: str) -> tuple[str, ...] | None:
        names = None if raw == NULL else several.parse(raw)
        if names == () and not (raw.startswith("[") and json_in(raw) == []):
            raise ValueError(f"must be names, or [] for none; got {quoted(raw)}, which has no name.")
        return names

    return Field(several.name, None, parse, lambda names: "[]" if names == () else "\n".join(names or ()))


def fits(name: str, pattern: str) -> bool:
    """Return whether a name matches a pattern with `*` and `?`, ignoring case. `[` has no special meaning."""
    return fnmatchcase(folded(name), folded(pattern).replace("[", "[[]"))


def count() -> Field[int]:
    """Return a field for a whole number above 0; the default is 1."""
    return whole(1)._replace(empty=Unset(1))


def whole(least: int, most: int | None = None) -> Field[int]:
    allowed = f"of at least {least:,}" if most is None else f"from {least:,} to {most:,}"

    def read(raw: str) -> int | None:
        number = int(raw) if re.fullmatch(r"[+-]?\d{1,18}", raw, re.ASCII) else least - 1
        return number if least <= number <= (number if most is None else most) else None

    return Field("whole number", 0, _parser(read, f"a whole number {allowed}", parsing.unquoted))


def seconds(least: float, most: float) -> Field[float]:
    def read(raw: str) -> float | None:
        return number if (number := parse_number(raw)) is not None and least <= number <= most else None

    allowed = f"a number of seconds from {least:g} to {most:,.0f}"
    return Field("seconds", 0.0, _parser(read, allowed, parsing.seconds_meant))


def optional(field: Field[T], word: str = "") -> Field[T | None]:
    """Return `field` extended by None, for an unset input and for `word`."""

    def parse(raw: str) -> T | None:
        if word and raw.lower() == word:
            return None
        try:
            return field.parse(raw)
        except ValueError as problem:
            raise ValueError(f"must be {word or 'empty'} or " + str(problem).removeprefix("must be ")) from None

    def write(value: T | None) -> str:
        return "" if value is None or field.write is None else field.write(value)

    return Field(field.name, None, parse, write if field.write else None)


def allowance() -> Field[Allowance]:
    def read(raw: str) -> Allowance | None:
        percent = raw.endswith("%")
        number = parse_number(raw.removesuffix("%").rstrip())
        if number is None or (number > 100 if percent else number % 1):
            return None
        return Allowance(number, percent)

    kinds = "a whole number such as 2 or a percentage such as 5%"
    return Field("number or %", Allowance(0), _parser(read, kinds, parsing.percentage_meant))


def confidence() -> Field[float]:
    """Return a field for a confidence, written as `95%`, `95` or `0.95`; its value is a share."""
    low, high = CONFIDENCES

    def read(raw: str) -> float | None:
        number = parse_number(raw.removesuffix("%").rstrip())
        if number is None:
            return None
        percentage = number * 100 if number <= 1 and not raw.endswith("%") else number
        return percentage / 100 if low <= percentage <= high else None

    parse = _parser(read, f"a percentage from {low:g}% to {high:g}%", parsing.percentage_meant)
    return Field("percentage", 0.0, parse, lambda share: f"{share * 100:.10g}%")


def choice(*words: str) -> Field[str]:
    """Return a field for one of `words`, in any case."""

    def parse(raw: str) -> str:
        word = raw.lower()
        if word not in words:
            raise ValueError(f"must be one of: {', '.join(words)}; got {quoted(raw)}.")
        return word

    return Field(", ".join(f"`{word}`" for word in words), "", parse)


def flag() -> Field[bool]:
    """Return a field for true or false. It accepts no other word, so a typo is an error."""
    words, allowed = {"true": True, "false": False}, "true or false"
    return Field(allowed, False, _parser(lambda raw: words.get(raw.lower()), allowed))


def json_object(example: str, check: Callable[[dict[str, Any] | None], object] = bool) -> Field[dict[str, Any] | None]:
    def parse(raw: str) -> dict[str, Any] | None:
        value = read_object(raw, example)
        check(value)
        return value

    return Field("JSON object", None, parse)


def matrix() -> Field[Matrix]:
    """Return a field for the values of a job's matrix, as GitHub's toJSON writes them."""

    def parse(raw: str) -> Matrix:
        unfilled = raw.startswith(UNFILLED)  # not on GitHub: nothing evaluated the expression
        return matrix_of({} if unfilled else read_object(raw, '{"region": "eu"}') or {})

    return Field("JSON object", NO_MATRIX, parse)


class Age(NamedTuple):
    """A length of time, in hours, days or weeks."""

    number: float
    unit: str

    @property
    def seconds(self) -> float:
        return self.number * AGE_UNITS[self.unit]

    def __str__(self) -> str:
        return f"{self.number:g}{self.unit}"


def age() -> Field[Age]:
    def read(raw: str) -> Age | None:
        match = AGE.fullmatch(raw)
        number = float(match[1]) if match else 0.0
        return Age(number, match[2].lower()) if match and number > 0 else None

    allowed = "a number of hours, days or weeks such as 36h, 30d or 2w"
    return Field("age", Age(0.0, "d"), _parser(read, allowed, "{}d".format))


def baseline() -> Field[BaselineSource | None]:
    """Return a field for a baseline: `run:<id>`; `tag:<tag>` or `branch:<name>`, also with `last N`; or `base`."""

    def parse(raw: str) -> BaselineSource:
        if raw.lower() == "base":
            return BaselineSource(kind="base")
        kind, colon, rest = (part.strip() for part in raw.partition(":"))
        match = LAST_RUNS.fullmatch(rest)
        name, last = (match[1], int(match[2])) if match else (rest, 1)
        match kind.lower():
            case "run" if colon and not match:
                return BaselineSource(kind="run", name=parse_identifier(name))
            case "tag" | "branch" as several if colon and name:
                if not 1 <= last <= MOST_BASELINE_RUNS:
                    raise ValueError(f"must pool the last 1 to {MOST_BASELINE_RUNS} runs; got {last}.")
                if several == "tag" and name.lower().startswith(OWN_TAGS):
                    raise ValueError(f"must name a tag that does not begin with {OWN_TAGS}; got {quoted(raw)}.")
                return BaselineSource(kind="tag" if several == "tag" else "branch", name=name, last=last)
        ways = "run:<id>, tag:<tag>, branch:<name>, branch:<name> last <N> or base"
        raise ValueError(f"must be {ways}; got {quoted(raw)}.")

    return Field("baseline", None, parse)


def parse_identifier(raw: str) -> str:
    """Return `raw` if it is a Coval id. Raises ValueError."""
    if not IDENTIFIER.fullmatch(parsing.evaluated(raw)):
        meant = parsing.id_meant(raw)
        write = f" Write {meant}." if meant != raw and IDENTIFIER.fullmatch(meant) else parsing.about_id(raw)
        raise ValueError(f"must have 1 to 64 letters, digits, hyphens or underscores; got {quoted(raw)}.{write}")
    return raw


def invalid(allowed: str, raw: str, meant: str, read: Callable[[str], object]) -> str:
    """Return what is wrong with `raw`, and propose `meant` if `read` accepts it."""
    write = f" Write {meant}." if meant != raw and read(meant) is not None else ""
    return f"must be {allowed}; got {quoted(raw)}.{write}"


def _parser(read: Callable[[str], T | None], allowed: str, meant: Callable[[str], str] = str) -> Callable[[str], T]:
    """Return a parser. Its error names the allowed values, and the one that the user probably meant."""

    def parse(raw: str) -> T:
        value = read(raw)
        if value is None:
            raise ValueError(invalid(allowed, raw, meant(raw), read))
        return value

    return parse


def _list(name: str, most: int, item: Callable[[str], str]) -> Field[tuple[str, ...]]:
    """Return a field for a list without duplicates. Its error names the first problem and all invalid entries."""

    def parse(raw: str) -> tuple[str, ...]:
        if raw == NULL:
            return ()
        parsed: dict[str, None] = {}
        problems: dict[str, str] = {}
        for entry in entries(raw):
            try:
                parsed[item(entry)] = None
            except ValueError as problem:
                problems.setdefault(entry, str(problem))
        if problems:
            (_, first), *others = problems.items()
            also = in_words([quoted(entry) for entry, _ in others], most=MOST_QUOTED)
            raise ValueError(f"{first} Also invalid: {also}." if others else first)
        if len(parsed) > most:
            raise ValueError(f"must have at most {most} entries; got {len(parsed)}.")
        return tuple(parsed)

    return Field(name, (), parse)


def parse_number(raw: str) -> float | None:
    """Return a decimal number without a sign; None if `raw` is anything else."""
    return float(raw) if re.fullmatch(r"\d{1,15}(\.\d{1,15})?", raw, re.ASCII) else None
