"""The command `doctor` against the sandbox: what each variant of the API means to a reader, by calls that only read."""

import io
from collections.abc import Callable
from typing import Any

import pytest

from coval_cli.doctor import _line, doctor
from coval_cli.doubts import Finding
from coval_cli.init import reported
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import IDS, KEY, VirtualClock, runtime

HIDDEN = Quirks(list_identity="neither", run_identity="neither", simulations_api="legacy-only")
SUMMARY = Quirks(list_identity="neither", blind_tag_filter=True, metric_shape="summary", metric_versions="null")
OTHER_WORDS = Quirks(ignore_tag_filter=True, error_status="SOME_TIMEOUT")
FEW = {KEY: ("runs:*", "simulations:read", "metrics:read")}


@pytest.fixture
def run_doctor(clock: VirtualClock) -> Callable[..., tuple[int, str]]:
    """Return the function that runs `doctor`, and returns its exit code and log."""

    def run(
        *, behind: float = 0.0, faults: tuple[str, ...] = (), key: str = KEY, launched: bool = False, **world: Any
    ) -> tuple[int, str]:
        """`behind`: by how much this machine's clock is, in s. `launched`: a run is in progress."""
        organization = World(lambda: clock.time() + behind, **{"history": True} | world)
        if launched:
            organization.launch(IDS)
            clock.sleep(12)
        log = io.StringIO()
        with Server(organization, faults=faults) as server:
            environ = {"COVAL_API_KEY": key, "INPUT_API_BASE_URL": server.url}
            code = doctor(runtime(clock, environ=environ, stdout=log))
        assert {request.method for request in server.requests_seen} <= {"GET"}
        assert len(server.requests_seen) <= 30
        text = log.getvalue()
        if key:
            assert key not in text
        published = text.partition("secrets:\n")[2]
        secret = [record.run_id for record in organization.runs] + [
            tag for run in organization.runs for tag in run.tags
        ]
        assert not [word for word in [*secret, "sandbox-0", server.url] if word in published]
        return code, text

    return run


@pytest.mark.parametrize(
    ("name", "expected", "given"),
    [
        ("healthy", 0, {}),
        ("few-permissions", 0, {"api_keys": FEW}),
        ("no-simulations", 1, {"api_keys": {KEY: ("runs:read",)}}),
        ("hidden-tags", 0, {"quirks": HIDDEN}),
        ("only-summaries", 0, {"quirks": SUMMARY, "behind": 200.0}),
        ("ignored-filter", 0, {"quirks": OTHER_WORDS, "behind": -7200.0}),
        ("no-runs", 0, {"history": False}),
        ("unreadable-list", 1, {"faults": ('GET /runs * -> json {"runs": [{"run_id": "r1", "status": 5}]}',)}),
        ("rejected-key", 1, {"key": "coval_sk_of_another_company"}),
        ("no-key", 2, {"key": ""}),
    ],
)
def test_findings_explain_what_follows(
    name: str,
    expected: int,
    given: dict[str, Any],
    run_doctor: Callable[..., tuple[int, str]],
    golden: Callable[[str, str], None],
) -> None:
    code, text = run_doctor(**given)
    golden(f"doctor/{name}.txt", text)
    assert code == expected


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"quirks": Quirks(refuse_tag_filter=True)}, "Filter by tag: refused"),
        (
            {"quirks": Quirks(unknown_status="WARMING_UP"), "launched": True},
            "Unknown statuses: some, of COMPLETED, WARMING_UP",
        ),
        (
            {"quirks": Quirks(simulations_api="legacy-only")},
            "Simulations at: /simulations, the other is 404",
        ),
        (
            {"history": False, "faults": ("GET /conversations/simulated * -> 503",)},
            "The gate cannot work here; what fails: Call for simulated-conversations:read.",
        ),
        (
            {"faults": ('GET /runs/* #2- -> json {"run": {"run_id": "r1", "status": 5}}',)},
            "A run read alone: Unexpected response (status: not a short text), 4 of 5",
        ),
        ({"faults": ("GET /runs/* #1-5 -> 429",)}, "The gate can work here, if the key has runs:write."),
        (
            {"quirks": Quirks(error_status="call to Anna failed")},
            "error_status of a clean run: something else",
        ),
        (
            {"faults": ('GET /conversations/simulated * -> json {"simulations": []}',)},
            "The gate can work here, within the limits above, if the key has runs:write.",
        ),
        ({"faults": ("GET /* * -> 503",)}, "The gate cannot work here: Coval unavailable."),
    ],
)
def test_other_variants(given: dict[str, Any], line: str, run_doctor: Callable[..., tuple[int, str]]) -> None:
    code, text = run_doctor(**given)
    assert line in text.splitlines()
    assert code == ("cannot work here" in text)


def test_foreign_text_in_a_wrapped_line_starts_no_command(clock: VirtualClock) -> None:
    out = io.StringIO()
    error = " ".join(["::error::forged ##[error]forged"] * 20)

    def work(log: Callable[[str], None], _: object) -> int:
        log(_line(Finding("limited", "Call for personas:read", "Request rejected", error)))
        return 0

    assert reported(runtime(clock, stdout=out), work) == 0
    lines = out.getvalue().splitlines()
    assert len(lines) > 5
    assert not [line for line in lines if line.lstrip().startswith("::") or "##[" in line]
