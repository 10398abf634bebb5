"""What Coval says, read tolerantly: sources disagree about spellings and fields, and answers arrive damaged.

Only what a decision rests on is required. A field that merely informs is dropped when it has the wrong shape; one
that a decision rests on is then known to be unreadable, which is not the same as absent.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from coval_gate.coval.statuses import PENDING, QUEUED, RUNNING, TERMINAL, normalize_status
from coval_gate.kinds import IDENTIFIER

CLEAN: Final = frozenset({"", "SUCCESS"})
MOST: Final = 10**9  # simulations


def _identifier(value: object) -> str:
    if not isinstance(value, str) or not IDENTIFIER.fullmatch(value):
        raise ValueError("not an id")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST or value % 1:
        raise ValueError("not a count")
    return int(value)


def _count_or_none(value: object) -> int:
    """A count that only informs, or that Coval leaves out where it is 0."""
    return 0 if value is None else _count(value)


def _active(value: object) -> int:
    try:
        return _count_or_none(value)
    except ValueError:
        return 0


def _as_text(value: object) -> str:
    """Any value as text, so that a shape nobody expected still counts as something that was said."""
    return "" if value is None else value.strip() if isinstance(value, str) else json.dumps(value)


def _distinct(value: object) -> Any:
    return tuple(dict.fromkeys(each for each in value if each)) if isinstance(value, list) else ()


class _Answer(BaseModel):
    # An answer that breaks a rule must not be quoted in an error: it is foreign text.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Progress(_Answer):
    """How far a run is. Whether Coval counts test cases or simulations here is not documented."""

    total: Annotated[int, BeforeValidator(_count)] = Field(alias="total_test_cases")
    completed: Annotated[int, BeforeValidator(_count)] = Field(alias="completed_test_cases")
    failed: Annotated[int, BeforeValidator(_count_or_none)] = Field(0, alias="failed_test_cases")
    active: Annotated[int, BeforeValidator(_active)] = Field(0, alias="in_progress_test_cases")

    @model_validator(mode="after")
    def _consistent(self) -> Progress:
        if max(self.completed, self.failed) > self.total:
            raise ValueError("more than all")
        return self

    @property
    def done(self) -> int:
        """How many have ended, well or badly."""
        return self.completed + self.failed


class Results(_Answer):
    """What a completed run produced."""

    output_ids: Annotated[tuple[str, ...], BeforeValidator(_distinct)] = ()


class Run(_Answer):
    """One evaluation run, as one answer shows it. `unreadable`: it has counts, but they make no sense."""

    run_id: Annotated[str, BeforeValidator(_identifier)]
    status: Annotated[str, BeforeValidator(normalize_status)]
    progress: Progress | None = None
    results: Results | None = None
    error: Annotated[str, BeforeValidator(_as_text)] = ""
    error_status: Annotated[str, BeforeValidator(_as_text)] = ""
    unreadable: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the run has reached a status that it will not leave."""
        return self.status in TERMINAL

    @property
    def is_queued(self) -> bool:
        return self.status in QUEUED

    @property
    def has_known_status(self) -> bool:
        return self.status in QUEUED | RUNNING | TERMINAL

    @property
    def is_clean(self) -> bool:
        """Whether `error_status` reports nothing; live runs say "SUCCESS" there, or leave it out."""
        return self.error_status.upper() in CLEAN

    @property
    def simulations(self) -> int:
        """How many simulations the run is known to have; failed ones are among them."""
        counted = self.progress.total if self.progress else 0
        return max(counted, len(self.results.output_ids) if self.results else 0)

    @property
    def says_all(self) -> bool:
        """Whether the counts are there, make sense, and account for every simulation."""
        if self.unreadable or self.simulations == 0:
            return False
        return self.progress is None or 0 < self.progress.total <= self.progress.done


def parse_run(body: bytes, *, launched: bool = False) -> Run:
    """Read the answer of `GET /runs/{id}` or, with `launched`, of `POST /runs`, where only the id matters.

    Raises ValueError (never quoting the answer) where the answer is no JSON or lacks what is needed.
    """
    answer = _json(body)
    enveloped = answer.get("run")
    fields = enveloped if isinstance(enveloped, dict) else answer
    try:
        return Run.model_validate(
            {
                "run_id": _run_id(fields),
                "status": _status_or_pending(fields.get("status")) if launched else fields.get("status"),
                "error": fields.get("error"),
                "error_status": fields.get("error_status"),
                "progress": (progress := _readable(Progress, fields.get("progress"))),
                "results": _readable(Results, fields.get("results")),
                "unreadable": progress is None and fields.get("progress") is not None,
            }
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise ValueError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"[:200]) from None


def _json(body: bytes) -> dict[str, Any]:
    """The answer's object. Damage inside a text (half a surrogate, a wrong byte) is no reason to refuse the rest."""
    try:
        answer = json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(answer, dict):
        raise ValueError("not a JSON object")
    return answer


def _run_id(fields: dict[str, Any]) -> object:
    """The first usable of the id's places; the resource name is "runs/<id>"."""
    name = fields.get("name")
    places = (fields.get("run_id"), fields.get("id"), name.rpartition("/")[2] if isinstance(name, str) else None)
    return next((each for each in places if isinstance(each, str) and IDENTIFIER.fullmatch(each)), places[0])


def _status_or_pending(status: object) -> str:
    try:
        return normalize_status(status)
    except ValueError:
        return PENDING


def _readable(model: type[_Answer], value: object) -> Any:
    try:
        return None if value is None else model.model_validate(value)
    except ValidationError:
        return None
