"""Each value of each quirk changes what the sandbox says."""

import json
from dataclasses import fields
from functools import cache
from itertools import pairwise
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints
from urllib.parse import quote

import pytest

from coval_sandbox.catalogue import AGENT_ID, LATENCY, MUTATIONS, PERSONA_ID
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.http import Api
from coval_sandbox.quirks import DEFAULT, Quirks, describe_quirks, parse_quirks
from coval_sandbox.world import DEFAULT_KEY, World

BODY: Final = {
    "agent_id": AGENT_ID,
    "persona_id": PERSONA_ID,
    "test_set_id": "someFail",
    "mutation_ids": [mutation.id for mutation in MUTATIONS[:2]],
    "options": {"iteration_count": 2, "concurrency": 20, "sub_sample_size": 3, "sub_sample_seed": 1},
    "metadata": {"tags": ["X"]},
}
BEFORE: Final = (0.0, 3.0, 11.0)  # s since the launch
AFTER: Final = (1.0, 7.0, 15.0, 100.0)  # s since the end of the run
OTHER: Final[dict[type, Any]] = {bool: True, float: 20.0, str: "ODD"}
BESIDE: Final[dict[str, dict[str, Any]]] = {  # quirks without which one has no effect
    "trickle_by_case": {"simulations_trickle": 40.0},
    "outputs_trickle": {"metrics_trickle": 40.0},
    "cancelling_status": {"cancel_lag": 20.0},
}
OF_RELAY: Final = ("attach_limit", "offer_life")  # the tests with the Agent SDK see these


def other_values() -> list[tuple[str, Any]]:
    """Return all quirks with a value that is not the default."""
    kinds = get_type_hints(Quirks)
    values = {
        name: get_args(kind) if get_origin(kind) is Literal else (OTHER[kind],)
        for name, kind in kinds.items()
        if name not in OF_RELAY
    }
    return [(name, value) for name in values for value in values[name] if value != getattr(DEFAULT, name)]


def everything(**quirks: Any) -> list[object]:
    """Return the responses about a run, from its launch to long after its end, and about one that is cancelled."""
    clock = ManualClock()
    world = World(clock, quirks=Quirks(**quirks))
    api, seen = Api(world), list[object]()

    def call(method: str, path: str, query: str = "", body: object = None) -> None:
        sent = b"" if body is None else json.dumps(body).encode()
        reply = api.answer(method, f"/v1{path}", query, {"x-api-key": DEFAULT_KEY}, sent)
        seen.append((reply.status, json.loads(reply.body)))

    call("POST", "/runs", body=BODY)
    if not world.runs:
        return seen
    record, simulation = world.runs[0], world.runs[0].plan.simulations[-1].simulation_id
    moments = [*BEFORE, *(record.plan.end + seconds for seconds in AFTER)]
    for before, moment in pairwise([0.0, *moments]):
        clock.advance(moment - before)
        call("GET", f"/runs/{record.run_id}")
        for query in (
            *(f"filter=tag%3D%22{tag}%22" for tag in "XY"),
            "filter=status%3DCOMPLETED",
            "include=metric_averages",
        ):
            call("GET", "/runs", query)
        for path in ("/conversations/simulated", "/simulations"):
            call("GET", path, "page_size=1000&filter=" + quote(f'run_id="{record.run_id}"'))
            call("GET", f"{path}/{simulation}")
            call("GET", f"{path}/{simulation}/metrics")
    for path in (f"/agents/{AGENT_ID}", "/test-cases", f"/metrics/{LATENCY.id}"):
        call("GET", path)
    call("POST", "/runs", body=BODY)
    cancelled = world.runs[-1].run_id
    for method, seconds in (("DELETE", 5), ("GET", 1), ("GET", 60)):
        clock.advance(seconds)
        call(method, f"/runs/{cancelled}")
    return seen


@cache
def usual(beside: tuple[tuple[str, Any], ...]) -> list[object]:
    return everything(**dict(beside))


@pytest.mark.parametrize(("name", "value"), other_values())
def test_quirk_changes_what_the_sandbox_says(name: str, value: object) -> None:
    beside = BESIDE.get(name, {})
    assert everything(**beside, **{name: value}) != usual(tuple(beside.items()))


def test_parse_quirks() -> None:
    settings = ["status-spelling=lower", "metrics-lag=2.5", "null-progress", "error-status="]
    assert parse_quirks(settings) == Quirks(
        status_spelling="lower", metrics_lag=2.5, null_progress=True, error_status=""
    )
    assert parse_quirks(["null-progress=no"]) == parse_quirks([]) == Quirks()


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("spelling=lower", "status-spelling, canceled-spelling"),
        ("status_spelling=lower", "unknown quirk"),
        ("status-spelling=loud", r"documented\|underscore"),
        ("metrics-lag=soon", "<number>"),
        ("metrics-lag=nan", "<number>"),
        ("null-progress=maybe", r"true\|false"),
    ],
)
def test_parse_invalid_quirk(setting: str, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        parse_quirks([setting])


def test_all_quirks_have_descriptions() -> None:
    described = describe_quirks()
    assert len(described) == len(fields(Quirks))
    assert all(meaning.endswith(".") for meaning in described.values())
    assert described["metrics-lag=<number>"] == "Seconds from the run's end until the last value is available."
    assert described["offer-life=<number>"].endswith(" Default: 60.0.")
