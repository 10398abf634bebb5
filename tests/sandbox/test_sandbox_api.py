"""The API without a socket responds as the server does."""

import json

import pytest
import requests

from coval_sandbox.deterministic import ManualClock
from coval_sandbox.http import Api
from coval_sandbox.quirks import Quirks
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
