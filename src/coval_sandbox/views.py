"""JSON of runs, simulations and metric outputs in the documented formats, with the quirks applied."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from . import catalogue
from .catalogue import FIRST_VERSION, Json, Metric, version_ulid
from .deterministic import rng, ulid
from .judges import answer, explanation
from .plan import PlannedSimulation, RunRecord
from .quirks import Quirks
from .scenarios import Value, for_test_set

UNKNOWN_STATUS_SECONDS = 15.0
TURN = 0.8  # s; the length of a turn. Turns start a second apart


def timestamp(seconds: float) -> str:
    """Format as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def spelled(status: str, quirks: Quirks) -> str:
    status = status.replace("CANCELLED", quirks.canceled_spelling)
    match quirks.status_spelling:
        case "underscore":
            return status.replace(" ", "_")
        case "lower":
            return status.lower()
        case "running":
            return "RUNNING" if status == "IN PROGRESS" else status.replace(" ", "_")
        case "documented":
            return status


def shown_status(record: RunRecord, now: float, quirks: Quirks) -> str:
    status = record.status(now)
    if status == "CANCELLED" and record.cancel_time is not None and quirks.delete_running == "deleted":
        status = "DELETED"
    if record.cancel_time is not None and quirks.cancelling_status and not record.finished(now):
        return quirks.cancelling_status
    unknown = quirks.unknown_status or record.plan.scenario.unknown_status
    in_progress_for = now - record.create_time - record.plan.queue
    if unknown and status == "IN PROGRESS" and in_progress_for < UNKNOWN_STATUS_SECONDS:
        return unknown
    return spelled(status, quirks)


def scheduled_run(record: RunRecord, now: float, quirks: Quirks) -> Json:
    """The list of a schedule does not show the persona."""
    test_set_id, agent_id = record.request.test_set_id, record.request.agent_id
    return {
        "name": f"runs/{record.run_id}",
        "id": record.run_id,
        "display_name": display_name(record),
        "status": shown_status(record, now, quirks),
        "test_set_id": test_set_id,
        "test_set_name": for_test_set(test_set_id).name,
        "agent_id": agent_id,
        "model_type": catalogue.agent_for(agent_id).model_type,
        "is_public": False,
        "create_time": timestamp(record.create_time),
    }


def launched_run(record: RunRecord, now: float, quirks: Quirks) -> Json:
    name = f"runs/{record.run_id}"
    match quirks.launch_response:
        case "full":
            return {"run": run(record, now, quirks)}
        case "name-only":
            return {"run": {"name": name}}
        case "id-field":
            return {"run": {"id": record.run_id}}
        case "top-level":
            return {"run_id": record.run_id}
        case "minimal":
            status = shown_status(record, now, quirks)
            create_time = timestamp(record.create_time)
            return {"run": {"name": name, "run_id": record.run_id, "status": status, "create_time": create_time}}


def run(record: RunRecord, now: float, quirks: Quirks, *, listed: bool = False) -> Json:
    request, scenario = record.request, record.plan.scenario
    status = record.status(now)
    finished = record.finished(now)
    return {
        "name": f"runs/{record.run_id}",
        "run_id": record.run_id,
        "display_name": display_name(record),
        "is_public": False,
        "status": shown_status(record, now, quirks),
        "create_time": timestamp(record.create_time),
        "update_time": timestamp(record.update_time(now)),
        "agent_id": request.agent_id,
        "persona_id": request.persona_id,
        "test_set_id": request.test_set_id,
        "progress": None if quirks.null_progress or scenario.null_progress else progress(record, now, quirks),
        "results": results(record, now, quirks) if status == "COMPLETED" else None,
        "error": scenario.error if status == "FAILED" else None,
        "error_status": _error_status(record, quirks) if finished else None,
        **_identity(record, quirks.list_identity if listed else quirks.run_identity),
    }


def _identity(record: RunRecord, shown: str) -> Json:
    whole = {"tags": list(record.tags), "metadata": record.request.metadata.customer}
    return {name: value for name, value in whole.items() if shown in ("both", name)}


def display_name(record: RunRecord) -> str:
    """Return the name from the launch, or one with the time."""
    return record.request.metadata.display_name or f"Simulation Run {timestamp(record.create_time)[:16]}"


def _error_status(record: RunRecord, quirks: Quirks) -> str | None:
    if quirks.error_status == "scenario":
        return record.plan.scenario.error_status if record.cancel_time is None else None
    return None if quirks.error_status == "null" else quirks.error_status


def progress(record: RunRecord, now: float, quirks: Quirks) -> Json:
    """Return the counts of test cases, each of which ends with its last simulation."""
    groups: dict[str, list[str]] = {}
    for simulation in record.plan.simulations:
        by_case = quirks.progress_counts == "test-cases"
        group = simulation.test_case_id if by_case else simulation.simulation_id
        groups.setdefault(group, []).append(record.simulation_status(simulation, now))
    open_ = {"PENDING", "IN QUEUE", "IN PROGRESS"}
    ended = [statuses for statuses in groups.values() if not open_.intersection(statuses)]
    running = sum("IN PROGRESS" in statuses for statuses in groups.values())
    completed = sum(set(statuses) == {"COMPLETED"} for statuses in ended)
    failed = sum("FAILED" in statuses for statuses in ended)
    return {
        "total_test_cases": len(groups),
        "completed_test_cases": completed,
        "failed_test_cases": failed,
        "in_progress_test_cases": running,
    }


def results(record: RunRecord, now: float, quirks: Quirks) -> Json:
    simulations = record.plan.simulations
    ids = (
        listed_id
        for listed_id in record.plan.metric_ids
        if record.is_metric_listed(listed_id, now, quirks.metrics_trickle)
    )
    metrics = [catalogue.metric_for(metric_id) for metric_id in ids]
    entries = {metric.id: metric_values(record, metric, now, quirks) for metric in metrics}
    if quirks.metric_shape == "summary":
        shown = {metric.name: summary(entries[metric.id]) for metric in metrics}
        shown = {name: numbers for name, numbers in shown.items() if numbers}
    else:
        shown = {
            metric.id: {
                "metric_id": metric.id,
                "metric_name": metric.name,
                "output_type": metric.output_type,
                "values": entries[metric.id],
            }
            for metric in metrics
        }
    output_ids = {"output_ids": [simulation.simulation_id for simulation in simulations]}
    return {
        **(output_ids if quirks.output_ids == "shown" else {}),
        "call_sids": {s.simulation_id: f"CA{s.simulation_id.lower()}" for s in simulations if not s.failed},
        "metrics": shown,
    }


def metric_values(record: RunRecord, metric: Metric, now: float, quirks: Quirks) -> list[Json]:
    values = []
    for simulation in record.plan.simulations:
        if not record.is_listed(simulation, now, quirks.simulations_trickle, by_case=quirks.trickle_by_case):
            continue
        state = value_state(record, simulation, metric.id, now, quirks)
        if state in {"there", "null"} or (state == "skipped" and quirks.failed_values == "null"):
            value = simulation.values[metric.id] if state == "there" else None
            values.append({"simulation_output_id": simulation.simulation_id, "value": json_value(value)})
    return values[:1] + values if quirks.duplicate_values else values


def value_state(record: RunRecord, simulation: PlannedSimulation, metric_id: str, now: float, quirks: Quirks) -> str:
    """Return there, late, skipped (failed conversation), or missing (null or absent)."""
    if simulation.failed:
        return "skipped"
    if now < record.value_time(simulation, quirks.metrics_lag):
        return "late"
    if not quirks.missing_values:
        return "there"
    random = rng("missing", simulation.simulation_id, metric_id)
    return random.choice(("null", "absent")) if random.random() < quirks.missing_values else "there"


def summary(entries: Sequence[Json]) -> Json:
    """Summarize values. YES counts as 1, NO as 0. Empty without numbers."""
    numbers = [number for entry in entries if (number := _number(entry["value"])) is not None]
    return {"mean": fmean(numbers), "min": min(numbers), "max": max(numbers)} if numbers else {}


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return {"YES": 1.0, "NO": 0.0}.get(value)
    return value if isinstance(value, float) else None


def json_value(value: Value | None) -> float | str | list[str] | None:
    return list(value) if isinstance(value, tuple) else value


def simulation(record: RunRecord, planned: PlannedSimulation, now: float, quirks: Quirks) -> Json:
    """Return a simulation as lists show it."""
    status = record.simulation_status(planned, now)
    status = "SKIPPED" if quirks.skipped_simulations and status == "FAILED" else status
    mutation = catalogue.mutation_for(planned.mutation_id) if planned.mutation_id else None
    name = catalogue.MUTATIONS[0].name if quirks.same_mutation_names or not mutation else mutation.name
    return {
        "name": f"conversations/simulated/{planned.simulation_id}",
        "simulation_id": planned.simulation_id,
        "run_id": record.run_id,
        "status": spelled(status, quirks),
        "create_time": timestamp(simulation_create_time(record, planned)),
        "agent_id": record.request.agent_id,
        "persona_id": record.request.persona_id,
        "test_set_id": record.request.test_set_id,
        "test_case_id": planned.test_case_id,
        "has_audio": status == "COMPLETED",
        "source": {"type": "phone", "value": "+15550100123"},
        "destination": {"type": "phone", "value": "+15550100456"},
        "error_message": planned.error_message if status == "FAILED" else None,
        "mutation_id": mutation.id if mutation and quirks.mutation_fields != "name-only" else None,
        "mutation_name": name if mutation and quirks.mutation_fields != "id-only" else None,
        "notes": None,
        "is_public": False,
    }


def simulation_create_time(record: RunRecord, planned: PlannedSimulation) -> float:
    """Simulations appear at the launch, a millisecond apart, in order of iterations."""
    return record.create_time + planned.number / 1000


def simulation_in_full(record: RunRecord, planned: PlannedSimulation, now: float, quirks: Quirks) -> Json:
    """Return a simulation as GET shows it, with the transcript after its end."""
    ended = record.simulation_status(planned, now) in {"COMPLETED", "FAILED"}
    return simulation(record, planned, now, quirks) | {
        "call_sid": None if planned.failed else f"CA{planned.simulation_id.lower()}",
        "transcript": _transcript(record, planned, quirks) if ended else None,
    }


def _transcript(record: RunRecord, planned: PlannedSimulation, quirks: Quirks) -> list[Json] | str | None:
    start = record.create_time + planned.start
    spoken = list(enumerate(_spoken(planned)))
    match quirks.transcript:
        case "documented":
            return [
                {
                    "role": role,
                    "content": content,
                    "start_timestamp": f"{start + place:.3f}",
                    "end_timestamp": f"{start + place + TURN:.3f}",
                    "start_offset": place * 1000,
                    "end_offset": place * 1000 + round(TURN * 1000),
                }
                for place, (role, content) in spoken
            ]
        case "seconds":
            turns: list[Json] = [
                {"role": role, "content": content, "start_offset": float(place), "end_offset": place + TURN}
                for place, (role, content) in spoken
            ]
            end = float(len(turns))
            hang_up = {
                "role": "tool",
                "content": '{"name": "end_conversation"}',
                "start_offset": end,
                "end_offset": end,
            }
            return [*turns, {"role": "assistant", "content": None}, hang_up]
        case "text":
            messages: list[Json] = [
                {"role": role, "content": content, "start_time": place + TURN, "end_time": place + 2 * TURN}
                for place, (role, content) in spoken
            ]
            tool = {"role": "assistant", "name": "look_up", "content": "+15550100123", "is_tool_call": True}
            return json.dumps([*messages, tool])
        case "chat":
            return [{"role": role, "content": content} for _, (role, content) in spoken]
        case "absent":
            return None


def _spoken(planned: PlannedSimulation) -> list[tuple[str, str]]:
    """Return the role and text of each turn."""
    case = catalogue.test_case(planned.test_case_id)
    turns = [("assistant", "Front desk, how can I help you?"), ("user", case.text)]
    if not planned.failed:
        turns += [("assistant", answer(planned.values, case)), ("user", "Thank you, bye.")]
    return turns


def metric_outputs(record: RunRecord, planned: PlannedSimulation, now: float, quirks: Quirks) -> list[Json]:
    """Return the metric outputs of a simulation, superseded ones first."""
    if record.simulation_status(planned, now) not in {"COMPLETED", "FAILED"}:
        return []
    trickle = quirks.metrics_trickle if quirks.outputs_trickle else 0.0
    ids = (
        listed_id
        for listed_id in record.plan.metric_ids
        if not trickle or record.is_metric_listed(listed_id, now, trickle)
    )
    newest = [_output(record, planned, metric_id, now, quirks) for metric_id in ids]
    older = [_superseded(record, planned, output) for output in newest] if quirks.superseded_outputs else []
    return older + newest


def _output(record: RunRecord, planned: PlannedSimulation, metric_id: str, now: float, quirks: Quirks) -> Json:
    state = value_state(record, planned, metric_id, now, quirks)
    status, reason = {
        "there": ("COMPLETED", None),
        "late": ("IN PROGRESS", None),
        "skipped": ("SKIPPED", "The conversation failed"),
    }.get(state, ("FAILED", "The judge gave no answer"))
    value = planned.values[metric_id] if state == "there" else None
    metric = catalogue.metric_for(metric_id)
    case = catalogue.test_case(planned.test_case_id)
    explained = None if value is None else explanation(metric, planned.values, case)
    ended = record.create_time + min(planned.end, record.plan.end)
    return {
        "metric_output_id": ulid(ended, rng(planned.simulation_id, metric_id)),
        "metric_id": metric_id,
        "metric_version_ulid": _version(record, metric_id, quirks),
        "value": json_value(value),
        "status": spelled(status, quirks),
        "status_reason": reason,
        "explanation": explained,
        "subvalues_by_timestamp": [],
        "result": {"llm": {"answer_explanation": explained}} if explained else None,
        "runtime_metadata": {"duration_seconds": 1.2} if explained else None,
    }


def _version(record: RunRecord, metric_id: str, quirks: Quirks) -> str | None:
    if quirks.metric_versions == "null":
        return None
    return version_ulid(metric_id, record.metric_versions.get(metric_id, FIRST_VERSION))


def _superseded(record: RunRecord, planned: PlannedSimulation, output: Json) -> Json:
    older = ulid(record.create_time, rng("older", planned.simulation_id, output["metric_id"]))
    return output | {"metric_output_id": older, "value": None, "status": "FAILED", "status_reason": "Superseded"}
