"""Builds the filters of Coval's lists of runs, and reads runs from its JSON, on whose fields sources disagree. Pure."""

from __future__ import annotations

import json
from typing import Any, Final

from coval_gate.base.records import NamedTuple
from coval_gate.coval.model import PENDING, Run, RunProgress, normalize_status
from coval_gate.coval.results import read_averages, read_metrics
from coval_gate.coval.shapes import (
    as_object,
    count_in,
    enveloped,
    id_in,
    list_in,
    needed_id,
    object_in,
    parse_object,
    text_in,
    texts_in,
)

SCHEDULED: Final = ("runs", "scheduled_run_runs")  # possible names of the list of a scheduled run's runs


class RunFilter(NamedTuple):
    """A run matches if it has all of the values that are not empty."""

    tag: str = ""
    agent_id: str = ""
    persona_id: str = ""
    test_set_id: str = ""
    status: str = ""

    @property
    def can_be_sent(self) -> bool:
        """Whether all values can be written without escapes, because Coval documents none."""
        return all(value.isprintable() and not set('"\\') & set(value) for value in self)

    def __str__(self) -> str:
        return " AND ".join(f'{name}="{value}"' for name, value in self._asdict().items() if value)


def parse_scheduled_runs(body: bytes) -> tuple[Run, ...]:
    """Entries show no status of theirs."""
    content = parse_object(body)
    entries = list_in(content, next((key for key in SCHEDULED if key in content), SCHEDULED[0]))
    runs = [enveloped(as_object(entry, "run"), "run") for entry in entries]
    return tuple(Run(_run_id(run), status="", create_time=text_in(run, "create_time")) for run in runs)


def parse_run(body: bytes) -> Run:
    return read_run(enveloped(parse_object(body), "run"))


def parse_launched(body: bytes) -> Run:
    return Run(run_id=_run_id(enveloped(parse_object(body), "run")), status=PENDING)


def read_run(fields: dict[str, Any]) -> Run:
    results, metadata = object_in(fields, "results"), object_in(fields, "metadata")
    return Run(
        run_id=_run_id(fields),
        status=normalize_status(fields.get("status")),
        error=_as_text(fields.get("error")),
        error_status=_as_text(fields.get("error_status")),
        progress=_progress(object_in(fields, "progress")),
        **{name: id_in(fields, name) for name in ("agent_id", "persona_id", "test_set_id")},
        create_time=text_in(fields, "create_time"),
        # Some responses have the tags in the metadata of the launch.
        tags=texts_in(fields, "tags") or texts_in(metadata, "tags"),
        # Live runs contain only the free-form part of that metadata, other sources all of it.
        metadata=object_in(metadata, "customer") or metadata,
        output_ids=None if results.get("output_ids") is None else texts_in(results, "output_ids"),
        metrics=read_metrics(object_in(results, "metrics")),
        averages=read_averages(object_in(fields, "metric_averages")),
    )


def _run_id(fields: dict[str, Any]) -> str:
    """The resource name is "runs/<id>"."""
    return needed_id(fields | {"name": text_in(fields, "name").rpartition("/")[2]}, "run_id", "id", "name")


def _as_text(value: object) -> str:
    """An error of an unexpected type still counts as an error."""
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value) if value else ""


def _progress(fields: dict[str, Any]) -> RunProgress | None:
    total, completed = count_in(fields, "total_test_cases"), count_in(fields, "completed_test_cases")
    if total is None or completed is None:
        return None
    return RunProgress(total=total, completed=completed, failed=count_in(fields, "failed_test_cases"))
