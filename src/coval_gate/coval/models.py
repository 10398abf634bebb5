"""What Coval says, read tolerantly: sources disagree about spellings and fields, and answers arrive damaged.

Only what a decision rests on is required. A field that merely informs is dropped when it has the wrong shape.
"""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003 - pydantic reads the annotations
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SkipValidation, ValidationError

from coval_gate.coval.statuses import PENDING, QUEUED, RUNNING, TERMINAL, normalize_status
from coval_gate.coval.values import read_metrics
from coval_gate.kinds import IDENTIFIER
from coval_gate.result import Metric  # noqa: TC001 - pydantic reads the annotation

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
    return 0 if value is None else _count(value)


def _as_text(value: object) -> str:
    """Any value as text, so that a shape nobody expected still counts as something that was said."""
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value) if value else ""


class _Answer(BaseModel):
    # An answer that breaks a rule must not be quoted in an error: it is foreign text.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Progress(_Answer):
    """How far a run is. Whether Coval counts test cases or simulations here is not documented: it only informs."""

    total: Annotated[int, BeforeValidator(_count)] = Field(alias="total_test_cases")
    completed: Annotated[int, BeforeValidator(_count)] = Field(alias="completed_test_cases")
    failed: Annotated[int, BeforeValidator(_count_or_none)] = Field(0, alias="failed_test_cases")
    active: Annotated[int, BeforeValidator(_count_or_none)] = Field(0, alias="in_progress_test_cases")

    @property
    def done(self) -> int:
        """How many have ended, well or badly."""
        return min(self.total, self.completed + self.failed)


class Run(_Answer):
    """One evaluation run, as one answer shows it. Outputs and metrics are there once it has completed."""

    run_id: Annotated[str, BeforeValidator(_identifier)]
    status: Annotated[str, BeforeValidator(normalize_status)]
    progress: Progress | None = None
    error: Annotated[str, BeforeValidator(_as_text)] = ""
    error_status: Annotated[str, BeforeValidator(_as_text)] = ""
    agent_id: str = ""
    persona_id: str = ""
    test_set_id: str = ""
    create_time: str = ""
    tags: SkipValidation[tuple[str, ...]] = ()
    metadata: SkipValidation[Mapping[str, Any]] = Field(default_factory=dict)
    output_ids: SkipValidation[tuple[str, ...]] = ()
    metrics: SkipValidation[tuple[Metric, ...]] = ()

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
        """How many simulations the run has at the least."""
        return max(len(self.output_ids), self.progress.total if self.progress else 0)


def parse_run(body: bytes, *, launched: bool = False) -> Run:
    """Read the answer of `GET /runs/{id}` or, with `launched`, of `POST /runs`, where only the id matters.

    Raises ValueError (never quoting the answer) where the answer is no JSON or lacks what is needed.
    """
    answer = parse_object(body)
    enveloped = answer.get("run")
    return _read(enveloped if isinstance(enveloped, dict) else answer, launched=launched)


def _read(fields: dict[str, Any], *, launched: bool) -> Run:
    results = fields.get("results")
    results = results if isinstance(results, dict) else {}
    try:
        return Run.model_validate(
            {
                "run_id": _run_id(fields),
                "status": _status_or_pending(fields.get("status")) if launched else fields.get("status"),
                "error": fields.get("error"),
                "error_status": fields.get("error_status"),
                "progress": _progress(fields.get("progress")),
                **{name: _id_or_none(fields.get(name)) for name in ("agent_id", "persona_id", "test_set_id")},
                "create_time": _text_or_empty(fields.get("create_time")),
                "tags": _texts(fields.get("tags")),
                "metadata": _metadata(fields.get("metadata")),
                "output_ids": _texts(results.get("output_ids")),
                "metrics": read_metrics(results.get("metrics")),
            }
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise ValueError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"[:200]) from None


def read_run(fields: dict[str, Any]) -> Run | None:
    """Read one run of a list; None where it is none."""
    try:
        return _read(fields, launched=False)
    except ValueError:
        return None


def parse_object(body: bytes) -> dict[str, Any]:
    """The object that an answer is. Raises ValueError where it is none.

    Damage inside a text (half a surrogate, a wrong byte) is no reason to refuse the rest.
    """
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


def _progress(value: object) -> Progress | None:
    try:
        return None if value is None else Progress.model_validate(value)
    except ValidationError:
        return None


def _id_or_none(value: object) -> str:
    return value if isinstance(value, str) and IDENTIFIER.fullmatch(value) else ""


def _text_or_empty(value: object) -> str:
    return value if isinstance(value, str) else ""


def _metadata(value: object) -> dict[str, Any]:
    """What the launch said of itself: live runs show the free-form part alone, other sources all of it."""
    whole = value if isinstance(value, dict) else {}
    inner = whole.get("customer")
    return inner if isinstance(inner, dict) else whole


def _texts(value: object) -> tuple[str, ...]:
    found = value if isinstance(value, list) else []
    return tuple(dict.fromkeys(each for each in found if isinstance(each, str) and each))
