"""Tolerant models of Coval's responses: sources disagree on spellings and fields, and responses can be damaged.

Only the fields that decisions depend on are required. Other fields are dropped if they have the wrong shape.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from coval_gate.config.fields import IDENTIFIER
from coval_gate.coval.results import read_averages, read_metrics, read_status, read_text
from coval_gate.model.run import Progress, Run
from coval_gate.model.statuses import PENDING, normalize_status

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
    """Return any value as text, so that an unexpected shape still counts as a reported error."""
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value) if value else ""


class _Response(BaseModel):
    # An error message must not quote an invalid response, which is foreign text.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _Progress(_Response):
    total: Annotated[int, BeforeValidator(_count)] = Field(alias="total_test_cases")
    completed: Annotated[int, BeforeValidator(_count)] = Field(alias="completed_test_cases")
    failed: Annotated[int, BeforeValidator(_count_or_none)] = Field(0, alias="failed_test_cases")
    active: Annotated[int, BeforeValidator(_count_or_none)] = Field(0, alias="in_progress_test_cases")


class _Run(_Response):
    """The fields that decisions depend on."""

    run_id: Annotated[str, BeforeValidator(_identifier)]
    status: Annotated[str, BeforeValidator(normalize_status)]
    error: Annotated[str, BeforeValidator(_as_text)] = ""
    error_status: Annotated[str, BeforeValidator(_as_text)] = ""


def parse_run(body: bytes, *, launched: bool = False) -> Run:
    """Read the response to `GET /runs/{id}` or, with `launched`, to `POST /runs`, where only the id matters.

    Raises ValueError if it is not JSON or lacks a required field. The message does not quote the response.
    """
    content = parse_object(body)
    enveloped = content.get("run")
    return _read(enveloped if isinstance(enveloped, dict) else content, launched=launched)


def _read(fields: dict[str, Any], *, launched: bool) -> Run:
    results = fields.get("results")
    results = results if isinstance(results, dict) else {}
    status = fields.get("status")
    try:
        known = _Run.model_validate(
            fields | {"run_id": _run_id(fields), "status": read_status(status, PENDING) if launched else status}
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise ValueError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"[:200]) from None
    return Run(
        **known.model_dump(),
        progress=_progress(fields.get("progress")),
        **{name: _id_or_none(fields.get(name)) for name in ("agent_id", "persona_id", "test_set_id")},
        create_time=read_text(fields.get("create_time")),
        tags=_tags(fields),
        metadata=_metadata(fields.get("metadata")),
        output_ids=_texts_or_none(results.get("output_ids")),
        metrics=read_metrics(results.get("metrics")),
        averages=read_averages(fields.get("metric_averages")),
    )


def read_run(fields: dict[str, Any]) -> Run | None:
    """Read one entry of a list of runs; None if it is not a run."""
    try:
        return _read(fields, launched=False)
    except ValueError:
        return None


def parse_tags(body: bytes) -> tuple[str, ...]:
    """Read the tags in the response to `PATCH /runs/{id}`. Raises ValueError if there are none, or no list of them."""
    content = parse_object(body)
    enveloped = content.get("run")
    tags = _texts_or_none((enveloped if isinstance(enveloped, dict) else content).get("tags"))
    if tags is None:
        raise ValueError("tags: not a list of texts")
    return tags


def parse_object(body: bytes) -> dict[str, Any]:
    """Read the JSON object in a response. Raises ValueError if there is none.

    Damaged text (half a surrogate, an invalid byte) is tolerated.
    """
    try:
        content = json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def _run_id(fields: dict[str, Any]) -> object:
    """Return the first valid id among the fields that may have it; the resource name is "runs/<id>"."""
    name = fields.get("name")
    places = (fields.get("run_id"), fields.get("id"), name.rpartition("/")[2] if isinstance(name, str) else None)
    return next((each for each in places if isinstance(each, str) and IDENTIFIER.fullmatch(each)), places[0])


def _progress(value: object) -> Progress | None:
    try:
        return None if value is None else Progress(**_Progress.model_validate(value).model_dump())
    except ValidationError:
        return None


def _id_or_none(value: object) -> str:
    return value if isinstance(value, str) and IDENTIFIER.fullmatch(value) else ""


def _tags(fields: dict[str, Any]) -> tuple[str, ...]:
    """Return the tags of a run; some responses contain them in the metadata of the launch."""
    metadata = fields.get("metadata")
    inner = metadata.get("tags") if isinstance(metadata, dict) else None
    return _texts(fields.get("tags")) or _texts(inner)


def _metadata(value: object) -> dict[str, Any]:
    """Return the metadata of the launch. Live runs contain only its free-form part, other sources all of it."""
    whole = value if isinstance(value, dict) else {}
    inner = whole.get("customer")
    return inner if isinstance(inner, dict) else whole


def _texts_or_none(value: object) -> tuple[str, ...] | None:
    """Return the texts of a list, which may be empty; None if it is no list, or has none although it is not empty."""
    found = _texts(value)
    return found if found or value == [] else None


def _texts(value: object) -> tuple[str, ...]:
    found = value if isinstance(value, list) else []
    return tuple(dict.fromkeys(each for each in found if isinstance(each, str) and each))
