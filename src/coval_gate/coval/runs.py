"""Builds the filters of Coval's lists of runs, and reads runs from its JSON. Pure.

Sources disagree on spellings and fields, and responses can be damaged. Only the fields that decisions depend on are
required. Other fields are dropped if they have the wrong shape. An error message does not quote a response, which is
foreign text.
"""

from __future__ import annotations

import json
from typing import Any, Final

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import json_in
from coval_gate.config.fields import IDENTIFIER
from coval_gate.coval.calls import enveloped, parse_object
from coval_gate.coval.results import read_averages, read_metrics, read_status, read_text
from coval_gate.model.run import Run, RunProgress
from coval_gate.model.statuses import PENDING, normalize_status

MOST: Final = 10**9  # simulations
SCHEDULED: Final = ("runs", "scheduled_run_runs")  # possible names of the list of a scheduled run's runs


class RunFilter(NamedTuple):
    """The runs to list: those with all of the values that are not empty.

    `created_until`: the latest time of creation, in ISO 8601.
    """

    tag: str = ""
    agent_id: str = ""
    persona_id: str = ""
    test_set_id: str = ""
    status: str = ""
    created_until: str = ""

    @classmethod
    def like(cls, run: Run) -> RunFilter:
        """Return the filter for runs of the same agent, persona and test set."""
        return cls(agent_id=run.agent_id, persona_id=run.persona_id, test_set_id=run.test_set_id)

    @property
    def can_be_sent(self) -> bool:
        """Whether all values can be written without escapes, because Coval documents none."""
        return all(value.isprintable() and not set('"\\') & set(value) for value in self)

    def __str__(self) -> str:
        """Return the filter as Coval's parameter `filter`."""
        equal = self._replace(created_until="")._asdict().items()
        terms = [f'{name}="{value}"' for name, value in equal if value]
        return " AND ".join([*terms, *([f'create_time<="{self.created_until}"'] if self.created_until else [])])


class ScheduledRun(NamedTuple):
    """A run that a scheduled run has launched, as their list shows it: without persona. Unknown fields are empty."""

    run_id: str
    agent_id: str = ""
    test_set_id: str = ""
    create_time: str = ""


def parse_scheduled_runs(body: bytes) -> tuple[ScheduledRun, ...]:
    """Parse the response to `GET /scheduled-runs/{id}/runs`, without unreadable entries.

    Raises ValueError if it contains no list.
    """
    content = json_in(body.decode("utf-8-sig", "replace"))
    if isinstance(content, dict):
        content = next((content[key] for key in SCHEDULED if key in content), None)
    if not isinstance(content, list):
        raise ValueError("runs: not a list")
    entries = (enveloped(entry, "run") for entry in content if isinstance(entry, dict))
    return tuple(run for run in map(_scheduled_run, entries) if run)


def _scheduled_run(fields: dict[str, Any]) -> ScheduledRun | None:
    try:
        run_id = _run_id(fields)
    except ValueError:
        return None
    ids = {name: _id_or_none(fields.get(name)) for name in ("agent_id", "test_set_id")}
    return ScheduledRun(run_id, **ids, create_time=read_text(fields.get("create_time")))


def parse_run(body: bytes, *, launched: bool = False) -> Run:
    """Parse the response to `GET /runs/{id}` or, with `launched`, to `POST /runs`, where only the id matters.

    Raises ValueError if it is not JSON or lacks a required field.
    """
    return _read(enveloped(parse_object(body), "run"), launched=launched)


def read_run(fields: dict[str, Any]) -> Run | None:
    """Parse an entry of a list of runs; None if it is not a run."""
    try:
        return _read(fields, launched=False)
    except ValueError:
        return None


def parse_tags(body: bytes) -> tuple[str, ...]:
    """Parse the tags in the response to `PATCH /runs/{id}`. Raises ValueError without a valid list of tags."""
    tags = _texts_or_none(enveloped(parse_object(body), "run").get("tags"))
    if tags is None:
        raise ValueError("tags: not a list of texts")
    return tags


def _read(fields: dict[str, Any], *, launched: bool) -> Run:
    results = fields.get("results")
    results = results if isinstance(results, dict) else {}
    return Run(
        run_id=_run_id(fields),
        status=_status(fields.get("status"), launched=launched),
        error=_as_text(fields.get("error")),
        error_status=_as_text(fields.get("error_status")),
        progress=_progress(fields.get("progress")),
        **{name: _id_or_none(fields.get(name)) for name in ("agent_id", "persona_id", "test_set_id")},
        create_time=read_text(fields.get("create_time")),
        tags=_tags(fields),
        metadata=_metadata(fields.get("metadata")),
        output_ids=_texts_or_none(results.get("output_ids")),
        metrics=read_metrics(results.get("metrics")),
        averages=read_averages(fields.get("metric_averages")),
    )


def _run_id(fields: dict[str, Any]) -> str:
    """Return the first valid id among the fields that may contain it; the resource name is "runs/<id>"."""
    places = (fields.get("run_id"), fields.get("id"), read_text(fields.get("name")).rpartition("/")[2])
    run_id = next(filter(None, map(_id_or_none, places)), "")
    if not run_id:
        raise ValueError("run_id: not an id")
    return run_id


def _status(raw: object, *, launched: bool) -> str:
    try:
        return read_status(raw, PENDING) if launched else normalize_status(raw)
    except ValueError as error:
        raise ValueError(f"status: {error}") from None


def _as_text(value: object) -> str:
    """Return any value as text: an error of an unexpected type still counts as an error."""
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value) if value else ""


def _progress(value: object) -> RunProgress | None:
    fields = value if isinstance(value, dict) else {}
    total, completed = _count(fields.get("total_test_cases")), _count(fields.get("completed_test_cases"))
    failed = _count(fields.get("failed_test_cases"), missing=0)
    active = _count(fields.get("in_progress_test_cases"), missing=0)
    if total is None or completed is None or failed is None or active is None:
        return None
    return RunProgress(total=total, completed=completed, failed=failed, active=active)


def _count(value: object, *, missing: int | None = None) -> int | None:
    if value is None:
        return missing
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST or value % 1:
        return None
    return int(value)


def _id_or_none(value: object) -> str:
    return value if isinstance(value, str) and IDENTIFIER.fullmatch(value) else ""


def _tags(fields: dict[str, Any]) -> tuple[str, ...]:
    """Return the tags of a run. Some responses have them in the metadata of the launch."""
    metadata = fields.get("metadata")
    inner = metadata.get("tags") if isinstance(metadata, dict) else None
    return _texts(fields.get("tags")) or _texts(inner)


def _metadata(value: object) -> dict[str, Any]:
    """Return the free-form metadata of the launch. Live runs contain only this part, other sources all metadata."""
    whole = value if isinstance(value, dict) else {}
    inner = whole.get("customer")
    return inner if isinstance(inner, dict) else whole


def _texts_or_none(value: object) -> tuple[str, ...] | None:
    """Return the texts of a list, which may be empty; None if it is not a list, or not empty but without texts."""
    texts = _texts(value)
    return texts if texts or value == [] else None


def _texts(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else []
    return tuple(dict.fromkeys(item for item in items if isinstance(item, str) and item))
