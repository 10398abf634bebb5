"""What each call to Coval needs and is about, so that an error can say what to check."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.config.inputs import declared

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coval_gate.transport import Request

SIMULATIONS: Final = "simulated-conversations:read"
OTHER_NAMES: Final = {"customer": "metadata", "template_name": "metadata"}  # fields that an input of another name sets


class Operation(NamedTuple):
    """The `permission` that a call needs, and the `inputs` that may name what it does not find."""

    permission: str = ""
    inputs: tuple[str, ...] = ()


RESOURCES: Final = {  # that are read one at a time, by the first part of the path
    "runs": Operation("runs:read", ("run_id",)),
    "metrics": Operation("metrics:read", ("metric_ids", "thresholds", "fail_on_metric_id")),
    "agents": Operation("agents:read", ("agent_id",)),
    "personas": Operation("personas:read", ("persona_id",)),
}
LAUNCH: Final = Operation("runs:write", ("agent_id", "persona_id", "test_set_id", "metric_ids", "mutation_ids"))


def operation_of(request: Request) -> Operation:
    """Return the operation that a request asks for."""
    match request.method, request.path.strip("/").split("/"):
        case "POST", ["runs"]:
            return LAUNCH
        case "GET", ["runs"]:
            return Operation("runs:read")
        case "DELETE" | "PATCH", ["runs", _]:
            return Operation("runs:write", ("run_id",))
        case "GET", [kind, _] if kind in RESOURCES:
            return RESOURCES[kind]
        case "GET", ["test-cases", *more]:
            return Operation("test-cases:read", ("test_case_ids",) if more else ())
        case "GET", ["conversations", "simulated", *_]:
            return Operation(SIMULATIONS)
        case "GET", ["simulations", *_]:
            return Operation("simulations:read")
    return Operation()


def shown(field: str) -> str:
    """Return a field as a user knows it: `iteration_count` for `options.iteration_count`."""
    names = {each.name for each in declared()}
    inner = field.partition(".")[2]
    return inner if inner.partition(".")[0] in names else field


def inputs_of(fields: Iterable[str]) -> tuple[str, ...]:
    """Return the inputs that set fields of a request, such as `options.iteration_count` or `metric_ids[0]`."""
    names = {each.name for each in declared()}
    found = []
    for field in fields:
        parts = [OTHER_NAMES.get(part, part) for part in re.split(r"[.\[\]/]+", field)]
        found += [next((part for part in reversed(parts) if part in names), "")]
    return tuple(dict.fromkeys(filter(None, found)))
