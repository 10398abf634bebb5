"""What the parts of the document share: texts, marked sentences, and words of a few kinds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from coval_gate.base.text import one_line
from coval_gate.gate.verdict import Verdict

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core.core_schema import CoreSchema

Stability = Literal["flaky", "consistent"]
CauseWord = Literal["new", "old", "flaky"]  # in the order of reports
Outcome = Literal["passed", "failed", "inconclusive", "error", "timed_out", "cancelled", "skipped"]

AGENT: Final = "agent"  # the name of the agent itself among its mutations
SCHEMA_VERSION: Final = "4.0"
VERSIONS: Final = rf"^{SCHEMA_VERSION.partition('.')[0]}\.[0-9]+$"  # which the schema covers


def _encodable(value: object) -> object:
    """Return a text without lone surrogates, which a response may contain, but UTF-8 cannot encode."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", "replace").decode("utf-8")


Text = Annotated[str, BeforeValidator(_encodable)]


class Model(BaseModel):
    """A part of the report, described by the docstrings of its fields. A report has no other fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MayGrow:
    """Marks words to which a minor version may add: the schema lists them as examples."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of any text."""
        return {"type": "string", "examples": handler(core)["enum"]}


class Part(Model):
    """A stretch of a sentence; the texts of its parts, one after the other, are the sentence."""

    text: Text
    is_code: bool
    """Whether it is an id or something else that people copy."""
    is_title: bool
    url: Text
    """Where it leads; empty for most parts."""


class Link(Model):
    """A page with more."""

    text: Text
    url: Text
    of_run: bool
    """Whether it is the page of a run."""


def plain(parts: Sequence[Part]) -> str:
    """Return the sentence without marks and links."""
    return "".join(part.text for part in parts)


PLACE: Final = re.compile("\0([0-9]+)\0")  # of a part in a sentence; no text has this character on one line
MUTATION: Final = " (mutation)"  # distinguishes a mutation with the name of the agent itself


class Parts:
    """Makes parts of a sentence whose marks are given to it as functions."""

    def __init__(self) -> None:
        self._marked: list[Part] = []

    def code(self, text: object, url: str = "") -> str:
        return self._mark(Part(text=one_line(text), is_code=True, is_title=False, url=url))

    def title(self, text: str) -> str:
        return "".join(self._mark(part.model_copy(update={"is_title": True})) for part in self.of(text))

    def of(self, sentence: str) -> list[Part]:
        pieces = list(enumerate(PLACE.split(sentence)))
        plain = Part(text="", is_code=False, is_title=False, url="")
        return [
            self._marked[int(piece)] if place % 2 else plain.model_copy(update={"text": piece})
            for place, piece in pieces
            if piece
        ]

    def _mark(self, part: Part) -> str:
        self._marked.append(part)
        return f"\0{len(self._marked) - 1}\0"


def variant_key(variant: str) -> str:
    """Return a unique name for a variant, also for the agent itself."""
    taken = variant.startswith(AGENT) and not variant.removeprefix(AGENT).replace(MUTATION, "")
    return f"{variant}{MUTATION}" if taken else variant or AGENT


def outcome(verdict: Verdict | None) -> Outcome | None:
    return verdict.value if verdict else None
