"""What the sandbox's API answers: as the server does, and in lists; and its quirks."""

import json
from dataclasses import fields

import pytest
import requests

from coval_sandbox.deterministic import ManualClock
from coval_sandbox.filters import listing, matches, parse_filter
from coval_sandbox.http import Api
from coval_sandbox.problems import Problem
from coval_sandbox.quirks import Quirks, describe_quirks, parse_quirks
from coval_sandbox.server import Server
from coval_sandbox.world import DEFAULT_KEY, World

LAUNCH = json.dumps(
    {"agent_id": "agent00000000000000001", "persona_id": "persona000000000000001", "test_set_id": "passing1"}
)
REQUESTS = [
    ("POST", "/v1/runs", "", DEFAULT_KEY, LAUNCH),
    ("POST", "/v1/runs", "", DEFAULT_KEY, "{"),
    ("POST", "/v1/runs", "", "wrong", LAUNCH),
    ("POST", "/v1/runs", "", "", LAUNCH),
    ("GET", "/v1/runs", "page_size=1&filter=status%3D%22PENDING%22", DEFAULT_KEY, ""),
    ("GET", "/v1/runs/RUN", "", DEFAULT_KEY, ""),
    ("GET", "/v1/simulations", "filter=run_id%3D%22RUN%22", DEFAULT_KEY, ""),
    ("GET", "/v1/test-cases/case%2Fnone", "", DEFAULT_KEY, ""),
    ("PUT", "/v1/runs", "", DEFAULT_KEY, ""),
    ("PATCH", "/v1/runs/RUN", "", DEFAULT_KEY, '{"tags": ["a"]}'),
    ("DELETE", "/v1/runs/RUN", "", DEFAULT_KEY, ""),
]


def test_direct_and_server_responses_are_equal() -> None:
    behind_socket, direct = (World(ManualClock(), seed=7) for _ in range(2))
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
        ('status="IN PROGRESS"', True),
        ('status="in_progress"', True),
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
        "agent_id=a1", 'agent_id="a1" AND', 'agent_id="a1" tag="nightly"', 'agent_id="a1', 'secret="x"',
        '(agent_id="a1")', 'agent_id!="a1"', 'agent_id="a1" OR tag="x"',
    ],
)  # fmt: skip
def test_invalid_filter_is_refused(text: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_filter(text, FIELDS)
    assert (caught.value.status, caught.value.details[0]["field"]) == (400, "filter")


@pytest.mark.parametrize(
    "query",
    [{"page_size": "0"}, {"page_size": "1001"}, {"page_size": "-1"}, {"page_size": "ten"},
        {"page_size": "1" * 5000}, {"page_size": "²"},
     {"page_token": "?"}, {"page_token": "e30="}, {"page_token": "eyJvZmZzZXQiOiAtMX0="}],
)  # fmt: skip
def test_invalid_page_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(Problem, match="400"):
        listing("rows", [], query, Quirks())


# Quirks


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
