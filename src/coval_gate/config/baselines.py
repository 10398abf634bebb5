"""Fields of inputs about baselines: a baseline, an age and a tag.

`fields` has the other fields."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from coval_gate.base.text import quoted
from coval_gate.config.fields import Field, invalid, parse_identifier
from coval_gate.model.baseline import BaselineSource

AGE: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*([hdw])", re.ASCII | re.IGNORECASE)
AGE_UNITS: Final = {"h": 3600.0, "d": 86_400.0, "w": 604_800.0}  # s
LAST: Final = re.compile(r"(.*\S)\s+last\s+(\d{1,4})", re.ASCII | re.IGNORECASE)
MOST_BASELINE_RUNS: Final = 20  # to pool; each costs API calls
TAG: Final = re.compile("[a-z0-9._:/-]+")
OWN_TAGS: Final = "coval-gate/"  # prefix of the tags that identify runs


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
    """Return a field for an age such as `30d`."""

    def read(raw: str) -> Age | None:
        match = AGE.fullmatch(raw)
        number = float(match[1]) if match else 0.0
        return Age(number, match[2].lower()) if match and number > 0 else None

    def parse(raw: str) -> Age:
        if (match := read(raw)) is None:
            allowed = "a number of hours, days or weeks such as 36h, 30d or 2w"
            raise ValueError(invalid(allowed, raw, f"{raw}d", read))
        return match

    return Field("age", Age(0.0, "d"), parse)


def baseline() -> Field[BaselineSource | None]:
    """Return a field for a baseline: `run:<id>`; `tag:<tag>` or `branch:<name>`, also with `last N`; or `base`."""

    def parse(raw: str) -> BaselineSource:
        if raw.lower() == "base":
            return BaselineSource(kind="base")
        kind, colon, rest = (part.strip() for part in raw.partition(":"))
        match = LAST.fullmatch(rest)
        name, last = (match[1], int(match[2])) if match else (rest, 1)
        match kind.lower():
            case "run" if colon and not match:
                return BaselineSource(kind="run", name=parse_identifier(name))
            case "tag" | "branch" as several if colon and name:
                if not 1 <= last <= MOST_BASELINE_RUNS:
                    raise ValueError(f"must pool the last 1 to {MOST_BASELINE_RUNS} runs; got {last}.")
                return BaselineSource(kind="tag" if several == "tag" else "branch", name=name, last=last)
        ways = "run:<id>, tag:<tag>, branch:<name>, branch:<name> last <N> or base"
        meant = f" Write branch:{raw}." if not colon and raw.lower() in ("main", "master") else ""
        raise ValueError(f"must be {ways}; got {quoted(raw)}.{meant}")

    return Field("baseline", None, parse)


def tagged(longest: int) -> Field[BaselineSource | None]:
    """Return a field for `tag:<tag>`, with a tag that the step may set on a run."""

    def parse(raw: str) -> BaselineSource:
        kind, colon, name = (part.strip() for part in raw.partition(":"))
        if kind.lower() != "tag" or not colon or not name:
            meant = f" Write tag:{raw}." if not colon and TAG.fullmatch(raw.lower()) else ""
            raise ValueError(f"must be tag:<tag>; got {quoted(raw)}.{meant}")
        return BaselineSource(kind="tag", name=tag(longest).parse(name))

    return Field("reference", None, parse)


def tag(longest: int) -> Field[str]:
    """Return a field for one tag of a run, in lower case, because Coval may return it so."""

    def parse(raw: str) -> str:
        if len(raw) > longest or not TAG.fullmatch(raw.lower()) or raw.lower().startswith(OWN_TAGS):
            kinds = f"a tag of at most {longest} letters, digits and . _ : / -, which does not begin with {OWN_TAGS}"
            raise ValueError(f"must be {kinds}; got {quoted(raw)}.")
        return raw.lower()

    return Field("tag", "", parse)
