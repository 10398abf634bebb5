"""What all models of the document share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

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
