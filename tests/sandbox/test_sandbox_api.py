"""What the sandbox's API answers: as the server does, in lists, and with each quirk."""

import json
from dataclasses import fields
from functools import cache
from itertools import pairwise
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints
from urllib.parse import quote

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from coval_sandbox.catalogue import AGENT_ID, LATENCY, MUTATIONS, PERSONA_ID
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.filters import listing, matches, ordered, parse_filter
from coval_sandbox.http import Api
from coval_sandbox.problems import Problem
from coval_sandbox.quirks import DEFAULT, Quirks, describe_quirks, parse_quirks
from coval_sandbox.server import Server
from coval_sandbox.world import DEFAULT_KEY, READ_ONLY_KEY, World

LAUNCH = json.dumps(
    {"agent_id": "agent00000000000000001", "persona_id": "persona000000000000001", "test_set_id": "passing1"}
)
REQUESTS = [
    ("POST", "/v1/runs", "", DEFAULT_KEY, LAUNCH),
    ("POST", "/v1/runs", "", DEFAULT_KEY, "{"),
    ("POST", "/v1/runs", "", READ_ONLY_KEY, LAUNCH),
    ("POST", "/v1/runs", "", "wrong", LAUNCH),
    ("POST", "/v1/runs", "", "", LAUNCH),
    ("GET", "/v1/runs", "page_size=1&filter=status%3D%22PENDING%22", DEFAULT_KEY, ""),
    ("GET", "/v1/runs", "filter=nonsense", DEFAULT_KEY, ""),
    ("GET", "/v1/runs/RUN", "", DEFAULT_KEY, ""),
    ("GET", "/v1/conversations/simulated", "filter=run_id%3D%22RUN%22", DEFAULT_KEY, ""),
    ("GET", "/v1/simulations", "filter=run_id%3D%22RUN%22", DEFAULT_KEY, ""),
    ("GET", "/v1/metrics", "", DEFAULT_KEY, ""),
    ("GET", "/v1/test-cases/case%2Fnone", "", DEFAULT_KEY, ""),
    ("GET", "/v1/nothing", "", DEFAULT_KEY, ""),
    ("PUT", "/v1/runs", "", DEFAULT_KEY, ""),
    ("PATCH", "/v1/runs/RUN", "", DEFAULT_KEY, '{"tags": ["a"]}'),
    ("DELETE", "/v1/runs/RUN", "", DEFAULT_KEY, ""),
]


@pytest.mark.parametrize("simulations", ["both", "legacy-only", "canonical-forbidden"])
def test_direct_and_server_responses_are_equal(simulations: str) -> None:
    quirks = Quirks(simulations_api=simulations)  # type: ignore[arg-type]
    behind_socket, direct = (World(ManualClock(), seed=7, quirks=quirks) for _ in range(2))
    interface = Api(direct)
    with Server(behind_socket) as server:
        root = server.url.removesuffix("/v1")
        for method, path, query, key, body in REQUESTS:
            run_id = direct.runs[0].run_id if direct.runs else ""
            path, query = path.replace("RUN", run_id), query.replace("RUN", run_id)
            headers = {"x-api-key": key} if key else {}
            from_server = requests.request(method, f"{root}{path}?{query}", headers=headers, data=body, timeout=10)
            from_direct = interface.answer(method, path, query, headers, body.encode())
            assert (from_direct.status, json.loads(from_direct.body)) == (
                from_server.status_code,
                from_server.json(),
            ), (method, path)
    assert direct.runs == behind_socket.runs


# Filters, order and pagination of lists

FIELDS = ("status", "agent_id", "tag", "create_time")
ROW = {
    "status": "IN PROGRESS",
    "agent_id": "a1",
    "tag": ("nightly", "a b"),
    "create_time": "2026-10-01T12:00:00.000Z",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ('agent_id="a1"', True),
        ('status="IN PROGRESS"', True),
        ('status="in_progress"', True),
        ('tag="nightly"', True),
        ('tag="night"', False),
        ('agent_id="a1" AND tag="other"', False),
        ('agent_id="a1" AND tag="nightly"', True),
    ],
)
def test_filter_matches(text: str, expected: bool) -> None:
    assert matches(ROW, parse_filter(text, FIELDS)) is expected


@pytest.mark.parametrize(
    "text",
    [
        "agent_id=a1", 'agent_id="a1" AND', 'AND agent_id="a1"', 'agent_id="a1" tag="nightly"',
        'agent_id="a1" AND OR tag="x"', 'agent_id="a1', 'agent_id=="a1"', 'secret="x"', '(agent_id="a1")',
        'agent_id!="a1"', 'agent_id="a1" OR tag="x"', 'agent_id="a\\\\"1"',
    ],
)  # fmt: skip
def test_invalid_filter_is_refused(text: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_filter(text, FIELDS)
    assert (caught.value.status, caught.value.details[0]["field"]) == (400, "filter")


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "create_time": "same", "status": number % 2} for number in range(count)]


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [(None, [3, 2, 1, 0]), ("create_time", [0, 1, 2, 3]), ("status", [0, 2, 1, 3]), ("-status", [3, 1, 2, 0])],
)
def test_order_by(order_by: str | None, expected: list[int]) -> None:
    in_order = ordered(rows(4), order_by, ("create_time", "status"))
    assert [row["id"] for row in in_order] == expected


@given(total=st.integers(0, 40), size=st.integers(1, 15))
def test_pages_have_every_row_once(total: int, size: int) -> None:
    items, token = [], ""
    for _ in range(total + 1):
        query = {"page_size": str(size)} | ({"page_token": token} if token else {})
        answer = listing("rows", rows(total), query, Quirks())
        items += answer["rows"]
        token = answer["next_page_token"]
        if token is None:
            break
    assert [row["id"] for row in items] == list(range(total))


@pytest.mark.parametrize(
    "query",
    [{"page_size": "0"}, {"page_size": "1001"}, {"page_size": "-1"}, {"page_size": "ten"},
        {"page_size": "1" * 5000}, {"page_size": "²"},
     {"page_token": "?"}, {"page_token": "e30="}, {"page_token": "eyJvZmZzZXQiOiAtMX0="}],
)  # fmt: skip
def test_invalid_page_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(Problem, match="400"):
        listing("rows", rows(3), query, Quirks())


# Each value of each quirk changes what the sandbox says

RUN: Final = {
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

    call("POST", "/runs", body=RUN)
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
    call("POST", "/runs", body=RUN)
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
    expected = Quirks(status_spelling="lower", metrics_lag=2.5, null_progress=True, error_status="")
    assert parse_quirks(settings) == expected
    assert parse_quirks(["null-progress=no"]) == parse_quirks([]) == Quirks()
    for setting, part in (
        ("spelling=lower", "status-spelling, canceled-spelling"),
        ("status_spelling=lower", "unknown quirk"),
        ("status-spelling=loud", r"documented\|underscore"),
        ("metrics-lag=soon", "<number>"),
        ("metrics-lag=nan", "<number>"),
        ("null-progress=maybe", r"true\|false"),
    ):
        with pytest.raises(ValueError, match=part):
            parse_quirks([setting])
    described = describe_quirks()
    assert len(described) == len(fields(Quirks))
    assert all(meaning.endswith(".") for meaning in described.values())
    assert described["metrics-lag=<number>"] == "Seconds from the run's end until the last value is available."
    assert described["offer-life=<number>"].endswith(" Default: 60.0.")
