"""JSON of simulations and metric outputs, with the quirks applied."""

from __future__ import annotations

import json

from . import catalogue
from .catalogue import Json
from .catalogue_views import FIRST_VERSION, version_ulid
from .ids import rng, ulid
from .judges import answer, explanation
from .plan import PlannedSimulation
from .quirks import Quirks
from .state import RunRecord
from .views import json_value, spelled, timestamp, value_fate

TURN = 0.8  # s; the length of a turn. Turns start a second apart


def simulation(record: RunRecord, planned: PlannedSimulation, now: float, quirks: Quirks) -> Json:
    """As in lists."""
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
    """As in GET, with the transcript once the simulation has ended."""
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
    """Superseded outputs come first."""
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
    fate = value_fate(record, planned, metric_id, now, quirks)
    status, reason = {
        "there": ("COMPLETED", None),
        "late": ("IN PROGRESS", None),
        "skipped": ("SKIPPED", "The conversation failed"),
    }.get(fate, ("FAILED", "The judge gave no answer"))
    value = planned.values[metric_id] if fate == "there" else None
    metric = catalogue.metric_for(metric_id)
    case = catalogue.test_case(planned.test_case_id)
    said = None if value is None else explanation(metric, planned.values, case, planned.simulation_id)
    ended = record.create_time + min(planned.end, record.plan.end)
    return {
        "metric_output_id": ulid(ended, rng(planned.simulation_id, metric_id)),
        "metric_id": metric_id,
        "metric_version_ulid": _version(record, metric_id, quirks),
        "value": json_value(value),
        "status": spelled(status, quirks),
        "status_reason": reason,
        "explanation": said,
        "subvalues_by_timestamp": [],
        "result": {"llm": {"answer_explanation": said}} if said else None,
        "runtime_metadata": {"duration_seconds": 1.2} if said else None,
    }


def _version(record: RunRecord, metric_id: str, quirks: Quirks) -> str | None:
    if quirks.metric_versions == "null":
        return None
    return version_ulid(metric_id, record.metric_versions.get(metric_id, FIRST_VERSION))


def _superseded(record: RunRecord, planned: PlannedSimulation, output: Json) -> Json:
    older = ulid(record.create_time, rng("older", planned.simulation_id, output["metric_id"]))
    return output | {"metric_output_id": older, "value": None, "status": "FAILED", "status_reason": "Superseded"}
