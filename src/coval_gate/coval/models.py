"""What Coval says, read tolerantly: sources disagree about spellings and fields, and answers arrive damaged.

Only what a decision rests on is required. A field that merely informs is dropped when it has the wrong shape.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from coval_gate.coval.statuses import PENDING, QUEUED, RUNNING, TERMINAL, normalize_status
from coval_gate.kinds import IDENTIFIER
from coval_gate.text import one_line

CLEAN: Final = frozenset({"", "SUCCESS"})


def _or_none(value: object, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return None


def _identifier(value: object) -> str:
    if not isinstance(value, str) or not IDENTIFIER.fullmatch(value):
        raise ValueError("not an id")
    return value


def _as_text(value: object) -> str:
    """Any value as text, so that a shape nobody expected still counts as something that was said."""
    return one_line(value if isinstance(value, str) else "" if value is None else json.dumps(value))


class _Answer(BaseModel):
    # An answer that breaks a rule must not be quoted in an error: it is foreign text.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Progress(_Answer):
    """How far a run is. Whether Coval counts test cases or simulations here is not documented."""

    total: int = Field(ge=0, alias="total_test_cases")
    completed: int = Field(ge=0, alias="completed_test_cases")
    failed: int = Field(0, ge=0, alias="failed_test_cases")
    active: int = Field(0, ge=0, alias="in_progress_test_cases")

    @property
    def done(self) -> int:
        """How many have ended, well or badly."""
        return self.completed + self.failed


class Results(_Answer):
    """What a completed run produced."""

    output_ids: tuple[str, ...] = ()


class Run(_Answer):
    """One evaluation run, as one answer shows it."""

    run_id: Annotated[str, BeforeValidator(_identifier)] = Field(validation_alias=AliasChoices("run_id", "id"))
    status: Annotated[str, BeforeValidator(normalize_status)]
    progress: Annotated[Progress | None, WrapValidator(_or_none)] = None
    results: Annotated[Results | None, WrapValidator(_or_none)] = None
    error: Annotated[str, BeforeValidator(_as_text)] = ""
    error_status: Annotated[str, BeforeValidator(_as_text)] = ""

    @model_validator(mode="before")
    @classmethod
    def _id_from_name(cls, data: Any) -> Any:
        """Fall back on the resource name ("runs/<id>") where the id itself is missing."""
        if isinstance(data, dict) and not data.get("run_id") and not data.get("id"):
            name = data.get("name")
            if isinstance(name, str):
                return {**data, "run_id": name.rpartition("/")[2]}
        return data

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


class _Launched(Run):
    """The answer to a launch: only the id matters, the rest may be missing."""

    status: Annotated[str, BeforeValidator(normalize_status)] = PENDING


_JSON_OBJECT: Final = TypeAdapter(dict[str, Any])


def parse_run(body: bytes, *, launched: bool = False) -> Run:
    """Read the answer of `GET /runs/{id}` or, with `launched`, of `POST /runs`.

    Raises ValueError (never quoting the answer) where the answer is no JSON or lacks what is needed.
    """
    model = _Launched if launched else Run
    try:
        answer = _JSON_OBJECT.validate_json(body)
        enveloped = answer.get("run")
        return model.model_validate(enveloped if isinstance(enveloped, dict) else answer)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(one_line(f"{where}: {first['msg']}" if where else first["msg"], 200)) from None
