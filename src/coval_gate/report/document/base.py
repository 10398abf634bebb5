"""What the parts of the document share: texts, marked sentences, and a verdict with reasons and figures."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core.core_schema import CoreSchema

from coval_gate.base.text import one_line, printable, shortened_at_word

Stability = Literal["flaky", "consistent"]
CauseWord = Literal["new", "flaky"]  # in the order of reports
VerdictWord = Literal["passed", "failed", "inconclusive", "error", "timed_out", "cancelled", "skipped"]

ITSELF: Final = "agent"  # the name of the agent itself among its mutations
SCHEMA_VERSION: Final = "8.0"
VERSIONS: Final = rf"^{SCHEMA_VERSION.partition('.')[0]}\.[0-9]+$"  # which the schema covers


# Without lone surrogates, which UTF-8 cannot encode.
Text = Annotated[
    str, BeforeValidator(lambda value: value if not isinstance(value, str) or value.isprintable() else printable(value))
]


class Model(BaseModel):
    """A part of the report, described by the docstrings of its fields. A report has no other fields."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")


class MayGrow:
    """Marks words to which a minor version may add: the schema lists them as examples."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of any text."""
        return {"type": "string", "examples": handler(core)["enum"]}


class SentencePart(Model):
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
    is_run: bool
    """Whether it is the page of a run."""
    is_html_report: bool
    """Whether it is the HTML report, which does not link to itself."""


class SingleRunFacts(Model):
    """One of the runs of a leg, judged alone."""

    id: Text
    url: Text
    status: Text
    """The last status that Coval reported."""
    verdict: VerdictWord | None
    """Null for a slice, which decides nothing alone."""
    kept_from: int | None
    """The attempt that launched it, if a later one of the same job kept it; null otherwise."""

    @property
    def kept_text(self) -> str:
        return f"kept from attempt {self.kept_from}" if self.kept_from else ""


def plain(parts: Sequence[SentencePart]) -> str:
    return "".join(part.text for part in parts)


PLACE: Final = re.compile("\0([0-9]+)\0")  # of a part in a sentence; no text has this character on one line
MUTATION: Final = " (mutation)"  # distinguishes a mutation with the name of the agent itself


class Parts:
    """Makes parts of a sentence whose marks are given to it as functions."""

    def __init__(self) -> None:
        self._marked: list[SentencePart] = []

    def code(self, text: object, url: str = "") -> str:
        return self._mark(SentencePart(text=one_line(text), is_code=True, is_title=False, url=url))

    def title(self, text: str) -> str:
        return "".join(self._mark(part.model_copy(update={"is_title": True})) for part in self.of(text))

    def of(self, sentence: str) -> list[SentencePart]:
        return [
            self._marked[int(piece)] if place % 2 else SentencePart(text=piece, is_code=False, is_title=False, url="")
            for place, piece in enumerate(PLACE.split(sentence))
            if piece
        ]

    def _mark(self, part: SentencePart) -> str:
        self._marked.append(part)
        return f"\0{len(self._marked) - 1}\0"


def variant_key(variant: str) -> str:
    """Return a unique name for a variant, also for the agent itself."""
    taken = variant.startswith(ITSELF) and not variant.removeprefix(ITSELF).replace(MUTATION, "")
    return f"{variant}{MUTATION}" if taken else variant or ITSELF


class JudgedFacts(Model):
    """What a step and each of its legs have in common: a verdict, why, and a few figures."""

    verdict: VerdictWord | None
    """Null with mode launch, which asks for none."""
    passes: bool
    """Whether the step may succeed: the verdict is passed or skipped, there is none, or the inputs tolerate it."""
    heading: Text
    """The verdict with a mark, such as "❌ Failed"; without a verdict, what the step did."""
    status: Text
    """As in the output `status`."""
    reason: Text
    """The gravest reason, and how many others there are."""
    others_text: Text
    """The end of `reason`: how many others there are, and how many known failures are left out; empty without any."""
    reasons: list[Text]
    """The reasons, the gravest first."""
    advice: Text
    is_doubtful: bool
    """Whether a criterion that was judged looks like a mistake."""
    link: Text
    total_simulations: int | None
    """Also those that Coval does not list."""
    completed_simulations: int | None
    unpassed_simulations: int | None
    """How many did not complete or, where targets count, missed one; null if nothing was judged."""
    pass_rate: float | None = Field(ge=0, le=1)
    """The share of the others."""
    missed_text: Text
    """How many criteria that decide are missed, such as "1 of 3 missed"."""
    flips_text: Text
    """How many test cases flipped since the baseline; empty without any."""
    causes_text: Text
    """How many of the simulations to look at have each cause; empty where no cause is known."""
    failing_causes_text: Text
    """The same of the simulations that explain a failure."""

    @property
    def is_tolerated(self) -> bool:
        """Whether it passes although its verdict is neither passed nor skipped."""
        return self.passes and self.verdict not in (None, "passed", "skipped")

    def headline(self, limit: int) -> str:
        beginning = f"{self.heading}{' (passes)' if self.is_tolerated else ''}: "
        return f"{beginning}{self.short_reason(limit - len(beginning))}"

    def short_reason(self, limit: int) -> str:
        """Return the reason in at most `limit` characters; how many others there are stays."""
        others = self.others_text
        return shortened_at_word(self.reason.removesuffix(others), limit - len(others)) + others
