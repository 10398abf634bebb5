"""The command `doctor --launch` against the sandbox, on a virtual clock: what it launches, finds, writes and leaves."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from coval_cli.command import main
from coval_cli.doubts import ANOTHER, DOUBTS, JUDGES, NO_RUN, Evidence, Recorded
from coval_cli.proof import NO, prove
from coval_gate import __version__
from coval_gate.base.clock import Interrupted
from coval_gate.base.runtime import Runtime
from coval_gate.step.post import post
from coval_sandbox.catalogue import AGENT_ID, PERSONA_ID
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import LocalRunner
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.test_files import Killed, kill
from support import KEY, VirtualClock, runtime

ROOT = Path(__file__).parents[2]
IDS = {"INPUT_AGENT_ID": AGENT_ID, "INPUT_PERSONA_ID": PERSONA_ID, "INPUT_TEST_SET_ID": "passing1"}


class Proven(NamedTuple):
    code: int
    log: str
    world: World
    proof: dict[str, Any]

    @property
    def found(self) -> dict[str, str]:
        """What was found, by the number of the doubt."""
        return {row["doubt"]: row["found"] for row in self.proof["findings"] if row["doubt"]}


@pytest.fixture
def run_proof(clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Proven]:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)

    def run(
        *,
        yes: bool = True,
        path: str = "proof.json",
        worlds: list[World] | None = None,
        then: Callable[[Runtime], object] = lambda _: None,
        ask: Callable[[str, Sequence[str]], str] | None = None,
        faults: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        **given: Any,
    ) -> Proven:
        world = World(clock.time, **{"strict": True} | given)
        (worlds if worlds is not None else []).append(world)
        log = io.StringIO()
        with Server(world, faults=faults) as server:
            environ = {"COVAL_API_KEY": KEY, "INPUT_API_BASE_URL": server.url} | IDS | (env or {})
            given_runtime = runtime(clock, environ=environ, stdout=log)
            try:
                code = prove(given_runtime, path, yes=yes, ask=ask)
            finally:
                then(given_runtime)
        written = tmp_path / "proof.json"
        proof = json.loads(written.read_text(encoding="utf-8")) if written.exists() else {}
        return Proven(code, log.getvalue(), world, proof)

    return run


PLAYED: list[tuple[dict[str, Any], dict[str, str]]] = [  # quirks, and what is found of the doubts that they concern
    ({"status_spelling": "underscore"}, {"13": "with underscores"}),
    ({"status_spelling": "lower"}, {"13": "in lower case"}),
    ({"status_spelling": "running"}, {"13": "RUNNING"}),
    ({"canceled_spelling": "CANCELED"}, {"41": "CANCELED"}),
    ({"unknown_status": "WARMING_UP"}, {"14": "some"}),
    ({"error_status": "null"}, {"23": "null"}),
    ({"error_status": ""}, {"23": "empty"}),
    ({"error_status": "call to Anna failed"}, {"23": "something else"}),
    ({"metric_shape": "summary"}, {"25": "by name, with averages"}),
    ({"metrics_lag": 40.0}, {"27b": "later"}),
    ({"metrics_trickle": 40.0}, {"27c": "one after another"}),
    ({"metrics_trickle": 40.0, "outputs_trickle": True}, {"27d": "one after another"}),
    ({"missing_values": 0.5}, {"28": "some"}),
    ({"duplicate_values": True}, {"28b": "some"}),
    ({"simulations_api": "legacy-only", "superseded_outputs": True}, {"32": "older ones, too"}),
    ({"null_progress": True}, {"16": "not shown"}),
    ({"progress_counts": "simulations"}, {"16": "of simulations"}),
    ({"output_ids": "absent"}, {"29": "absent"}),
    ({"launch_response": "full"}, {"1": "a whole run"}),
    ({"launch_response": "name-only"}, {"1": "only a name"}),
    ({"launch_response": "id-field"}, {"1": "run.id"}),
    ({"launch_response": "top-level"}, {"1": "run_id outside run"}),
    ({"page_token_end": "absent"}, {"21": "absent"}),
    ({"page_token_end": "empty"}, {"21": "empty"}),
    ({"simulations_api": "legacy-only"}, {"31": "/simulations, the other is 404"}),
    ({"simulations_api": "canonical-forbidden"}, {"31": "/simulations, the other is 403"}),
    ({"simulations_trickle": 40.0}, {"27": "one after another"}),
    ({"simulations_trickle": 40.0, "trickle_by_case": True}, {"27": "later, all at once"}),
    ({"agent_metrics": "hidden"}, {"26b": "hidden"}),
    ({"agent_metrics": "forbidden"}, {"26b": "not readable"}),
    ({"ignore_tag_filter": True}, {"19": "ignored"}),
    ({"blind_tag_filter": True}, {"19": "finds nothing", "15c": "not within a minute"}),
    ({"refuse_tag_filter": True}, {"19": "refused"}),
    ({"lower_case_tags": True}, {"17c": "changed"}),
    ({"transcript": "seconds"}, {"34": "offsets in s"}),
    ({"transcript": "text"}, {"34": "a text of JSON"}),
    ({"transcript": "chat"}, {"34": "no times"}),
    ({"transcript": "absent"}, {"34": "absent"}),
    ({"metric_versions": "null"}, {"35": "absent"}),
    ({"not_found_after_launch": 10.0}, {"15": "later"}),
    ({"list_lag": 10.0}, {"15b": "later"}),
    ({"delete_running": "deleted"}, {"40": "DELETED"}),
    ({"delete_running": "gone"}, {"40": "404"}),
    ({"cancel_lag": 10.0}, {"40b": "later", "40c": "as before"}),
    ({"cancel_lag": 10.0, "cancelling_status": "CANCELLING"}, {"40c": "one of its own"}),
    ({"run_identity": "tags"}, {"17": "shown", "18": "absent"}),
    ({"run_identity": "metadata"}, {"17": "absent", "18": "the contents of customer"}),
    ({"run_identity": "neither"}, {"17": "absent", "18": "absent"}),
    ({"list_identity": "tags"}, {"17b": "shown", "18b": "absent"}),
    ({"list_identity": "metadata"}, {"17b": "absent", "18b": "the contents of customer"}),
    ({"list_identity": "neither"}, {"17b": "absent", "18b": "absent"}),
]
ALONE = {"run_identity", "list_identity", "metric_shape", "unknown_status", "metrics_trickle"}  # they hide others
ALONE |= {
    "canceled_spelling",
    "delete_running",
    "cancel_lag",
    "ignore_tag_filter",
    "blind_tag_filter",
    "refuse_tag_filter",
}


def played_together() -> list[tuple[dict[str, Any], dict[str, str]]]:
    """Return the variants in few groups, each of different quirks that concern different doubts."""
    groups: list[tuple[dict[str, Any], dict[str, str]]] = []
    for quirks, found in PLAYED:
        fitting = (
            group
            for group in groups
            if not (group[0].keys() & quirks or group[1].keys() & found or ALONE & {*group[0], *quirks})
        )
        all_quirks, all_found = next(fitting, ({}, {}))
        if not all_quirks:
            groups.append((all_quirks, all_found))
        all_quirks.update(quirks)
        all_found.update(found)
    return groups


NOT_PLAYED = {  # they need failing conversations, mutations or an agent's process; test cases are only read
    *("failed_values", "skipped_simulations", "mutation_fields", "same_mutation_names", "update_times"),
    *("attach_limit", "offer_life"),
}


def variants(proven: Proven) -> dict[str, str]:
    """What was found, without details."""
    return {
        doubt.number: next(
            (one for one in (*doubt.variants, ANOTHER) if proven.found[doubt.number].startswith(one)), ""
        )
        for doubt in DOUBTS
    }


def test_the_sandbox_shows_the_first_variant_of_each_doubt_that_a_launch_shows(
    run_proof: Callable[..., Proven], golden: Callable[[str, str], None]
) -> None:
    proven = run_proof()
    golden("doctor/launch.txt", proven.log)
    assert proven.code == 0
    assert {number: found for number, found in variants(proven).items() if found} == {
        doubt.number: doubt.variants[0] for doubt in DOUBTS if doubt.variants
    }
    assert set(JUDGES) == {doubt.number for doubt in DOUBTS if doubt.variants}
    assert {proven.found[doubt.number] for doubt in DOUBTS if not doubt.variants} == {"not tried"}


def test_each_quirk_is_played() -> None:
    options = TypeAdapter(Quirks).json_schema()["properties"]
    words = {
        (name, value) for name, field in options.items() for value in field.get("enum", ()) if value != field["default"]
    }
    others = {name for name, field in options.items() if "enum" not in field}
    played = {pair for quirks, _ in PLAYED for pair in quirks.items()}
    assert words - {pair for pair in words if pair[0] in NOT_PLAYED} <= played
    assert others - NOT_PLAYED <= {name for name, _ in played}


@pytest.mark.parametrize(("quirks", "expected"), played_together(), ids=str)
def test_each_variant_of_the_sandbox_is_distinguished(
    quirks: dict[str, Any], expected: dict[str, str], run_proof: Callable[..., Proven]
) -> None:
    proven = run_proof(quirks=Quirks(**quirks))
    found = variants(proven)
    assert {number: found[number] for number in expected} == expected
    defaults = {doubt.number: doubt.variants[0] for doubt in DOUBTS if doubt.variants}
    assert any(defaults[number] != variant for number, variant in expected.items())
    assert not proven.world.unfinished
    assert proven.code == 0


def posts(world: World) -> list[str]:
    return [str(record.body["metadata"]["customer"]["coval_gate_leg"]) for record in world.runs]


def test_the_launches_are_those_that_it_announces(run_proof: Callable[..., Proven], clock: VirtualClock) -> None:
    proven = run_proof()
    assert proven.log.startswith("This launches two runs of one test case, at most three conversations: one run is ")
    judged, cancelled = proven.world.runs
    assert [len(run.plan.simulations) for run in (judged, cancelled)] == [2, 1]
    assert [run.status(clock.time()) for run in (judged, cancelled)] == ["COMPLETED", "CANCELLED"]
    assert "coval-gate/failed" in judged.tags  # no later run is compared with it
    assert posts(proven.world) == ["judged", "cancelled"]
    assert clock.now() < 300


@pytest.mark.parametrize("answer", [None, NO])
def test_without_consent_nothing_is_launched(answer: str | None, run_proof: Callable[..., Proven]) -> None:
    proven = run_proof(yes=False, ask=answer and (lambda _, answers: answers[-1]))
    assert (proven.code, proven.world.runs, proven.proof) == (2, (), {})
    assert "Nothing was launched." in proven.log


def test_a_person_may_consent(run_proof: Callable[..., Proven]) -> None:
    assert run_proof(yes=False, ask=lambda _, answers: answers[0]).code == 0


@pytest.mark.parametrize(
    ("given", "failing"),
    [
        ({"env": {"COVAL_API_KEY": "coval_sk_of_another_company"}}, "Calls to Coval: API key rejected (HTTP 401)"),
        ({"api_keys": {KEY: ("*:read",)}}, "Calls to Coval: Permission missing (HTTP 403)"),
        ({"api_keys": {KEY: ("runs:*",)}}, "Permission simulated-conversations:read: missing"),
        ({"env": {"INPUT_TEST_SET_ID": "nosuch01"}}, "Calls to Coval: Not found (HTTP 404)"),
    ],
)
def test_a_key_that_may_not_launch_ends_with_1(
    given: dict[str, Any], failing: str, run_proof: Callable[..., Proven]
) -> None:
    proven = run_proof(**given)
    assert (proven.code, proven.world.runs) == (1, ())
    assert failing in proven.log.splitlines()
    topic, _, found = failing.partition(": ")
    assert [row["found"] for row in proven.proof["findings"] if row["mark"] == "fails"] == [found], topic


@pytest.mark.parametrize(
    ("env", "path", "says"),
    [
        ({"INPUT_AGENT_ID": ""}, "proof.json", "--agent-id must be one id."),
        ({}, "directory", '--json-path must be a regular file; got "directory".'),
        ({}, "../proof.json", '--json-path must be a file in the workspace, such as proof.json; got "../proof.json".'),
    ],
)
def test_what_cannot_be_used_is_found_before_anything_is_sent(
    env: dict[str, str], path: str, says: str, run_proof: Callable[..., Proven], tmp_path: Path
) -> None:
    (tmp_path / "directory").mkdir()
    proven = run_proof(env=env, path=path)
    assert (proven.code, proven.world.runs) == (2, ())
    assert says in proven.log


@pytest.mark.parametrize("moment", [0.0, 1.0, 9.0, 22.0, 30.0, 60.0, 90.0])
def test_an_interruption_leaves_no_run_and_a_whole_file(
    moment: float, run_proof: Callable[..., Proven], clock: VirtualClock, tmp_path: Path
) -> None:
    worlds: list[World] = []
    clock.at(moment, clock.interrupt)
    with pytest.raises(Interrupted):
        run_proof(worlds=worlds, quirks=Quirks(list_lag=20.0, metrics_lag=20.0))
    assert not worlds[0].unfinished
    proof = json.loads((tmp_path / "proof.json").read_text(encoding="utf-8"))
    assert not proof["is_complete"]
    assert {row["doubt"] for row in proof["findings"]} >= {doubt.number for doubt in DOUBTS}
    assert next(row["mark"] for row in proof["findings"] if row["doubt"] == "39b") == "unknown"


@pytest.mark.parametrize("moment", [2.0, 9.0, 30.0])
def test_post_ends_what_a_killed_command_left(
    moment: float, run_proof: Callable[..., Proven], clock: VirtualClock, tmp_path: Path
) -> None:
    worlds: list[World] = []
    clock.at(moment, kill)
    with pytest.raises(Killed):
        run_proof(worlds=worlds, then=post, quirks=Quirks(delete_running="deleted", cancel_lag=5.0))
    clock.sleep(10)
    assert worlds[0].runs
    assert not worlds[0].unfinished
    assert not json.loads((tmp_path / "proof.json").read_text(encoding="utf-8"))["is_complete"]


@pytest.mark.parametrize(
    "fault",
    [
        "GET /runs/* #3- -> 500",
        "DELETE /runs/* #1 -> reset-after",
        "POST /runs #1 -> reset-after",
        "PATCH /runs/* -> 403",
    ],
)
def test_errors_leave_no_run(fault: str, run_proof: Callable[..., Proven]) -> None:
    proven = run_proof(faults=(fault,), env={"INPUT_MAX_WAIT_TIME": "300"})
    still = proven.world.unfinished
    assert not still or "fails    Cancellation of the runs: incomplete." in proven.log
    assert proven.proof["is_complete"]


def test_a_lost_answer_is_not_replaced_by_another_launch(run_proof: Callable[..., Proven]) -> None:
    found = run_proof(faults=("POST /runs #1 -> reset-after",)).found
    assert {found[number] for number in ("1", "1b", "2", "15", "15b", "17c")} == {"not seen"}
    assert found["17"] == "shown"


def test_an_agent_that_cannot_be_read_delays_nothing(run_proof: Callable[..., Proven]) -> None:
    proven = run_proof(faults=("GET /agents/* -> 500",))
    assert (proven.found["15"], proven.found["39"]) == ("at once, after 0 s", "a whole run")


def test_after_an_interruption_the_log_names_the_command_that_ends_what_goes_on(
    run_proof: Callable[..., Proven], clock: VirtualClock
) -> None:
    logs: list[str] = []
    clock.at(9.0, clock.interrupt)
    with pytest.raises(Interrupted):
        run_proof(faults=("DELETE /runs/* -> 503",), then=lambda given: logs.append(given.stdout.getvalue()))
    assert "Run `coval-gate post` here with the same key and --api-base-url" in logs[0]


def test_an_agent_that_is_accepted_is_cancelled(run_proof: Callable[..., Proven]) -> None:
    proven = run_proof(strict=False)
    assert proven.found["9"] == "something else, Coval launched it"
    assert proven.found["10"] == "not seen"
    assert (len(proven.world.runs), proven.world.unfinished) == (3, ())


def test_what_is_published_has_no_ids_names_or_secrets(run_proof: Callable[..., Proven]) -> None:
    faults = (
        'PATCH /runs/* -> json {"run": {"run_id": "Anna", "name": "Anna"}}',
        'GET /metrics/* -> json {"metric": {"id": "Anna", "metric_name": "Anna", "metric_type": "Anna"}}',
        'POST /runs #3 -> json {"error": {"message": "Anna", "code": "Anna"}}',
        'GET /personas -> json {"personas": [{"id": 5, "name": "Anna"}]}',
    )
    proven = run_proof(faults=faults, quirks=Quirks(error_status="Anna failed", unknown_status="Anna calls"))
    published = proven.log.partition("secrets:\n")[2] + json.dumps(proven.proof)
    secret = [KEY, "Anna", "ANNA", AGENT_ID, PERSONA_ID, "passing1", "127.0.0.1", "sandbox-0", "coval-gate/", "Front"]
    for run in proven.world.runs:
        secret += [run.run_id, *(one.simulation_id for one in run.plan.simulations), *run.plan.metric_ids]
    assert not [word for word in secret if word in published]


def polled(**run: Any) -> Recorded:
    return Recorded(
        0.0, 0.0, "GET", "/runs/a", {}, None, 200, {}, {"run": {"run_id": "a", "status": "COMPLETED"} | run}
    )


@pytest.mark.parametrize(
    ("number", "run", "expected"),
    [
        ("16", {"progress": {"total_test_cases": 2}}, "of simulations"),
        ("16", {"progress": {"total_test_cases": 3}}, "something else"),
        ("16", {"progress": {"total_test_cases": 0}}, "something else"),
        ("16", {"progress": None}, "not shown"),
        ("25", {"results": {"metrics": {"Tone": {"metric_id": "m", "values": []}}}}, "by name, with values"),
        ("18", {"metadata": {"customer": {"coval_gate_leg": "x"}}}, "all that was launched"),
        ("39", {}, ""),
        ("13", {"status": "WARMING_UP"}, ""),
    ],
)
def test_variants_that_the_sandbox_does_not_play(number: str, run: dict[str, Any], expected: str) -> None:
    (doubt,) = (doubt for doubt in DOUBTS if doubt.number == number)
    launched = Recorded(0.0, 0.0, "POST", "/runs", {}, {"agent_id": "x"}, 200, {}, {"run": {"run_id": "a"}})
    assert doubt.variant(Evidence([launched, polled(**run)], "a", "b")) == expected


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (400, {"error": {"code": "INVALID_ARGUMENT"}}, ("400", "error with code", "none")),
        (403, {"error": "no", "timestamp": 5}, ("403", "error as a text", "none")),
        (422, {"message": "no"}, ("422", "message alone", "none")),
        (404, None, ("404", "no JSON", "none")),
        (404, {"detail": {"request_id": "x"}}, ("404", "something else", "request_id in the body")),
        (409, {}, ("something else", "something else", "none")),
    ],
)
def test_forms_of_a_refusal(status: int, content: Any, expected: tuple[str, ...]) -> None:
    sent = {"agent_id": NO_RUN}
    refused = Recorded(0.0, 0.0, "POST", "/runs", {}, sent, status, {}, content)
    judged = {doubt.number: doubt for doubt in DOUBTS}
    assert tuple(judged[number].variant(Evidence([refused])) for number in ("9", "10", "11")) == expected


@given(random=st.randoms(use_true_random=False))
def test_any_answer_gives_findings_in_our_words(random: Random) -> None:
    """Texts, numbers, lists and objects stand where others are expected."""
    shapes: list[Any] = [
        None,
        5,
        -1.5,
        True,
        "Anna",
        ["Anna"],
        {"Anna": "Anna"},
        {"run": "Anna"},
        {"runs": [{"run_id": 5}]},
    ]
    shapes += [{"run": {"run_id": "Anna", "status": "Anna", "results": {"metrics": {"Anna": {"values": "Anna"}}}}}]
    calls = [("POST", "/runs"), ("GET", "/runs"), ("GET", "/runs/a"), ("GET", "/runs/b"), ("DELETE", "/runs/b")]
    calls += [("PATCH", "/runs/a"), ("GET", "/agents/x"), ("GET", "/simulations"), ("GET", "/simulations/s/metrics")]
    calls += [("GET", "/simulations/s"), ("GET", "/metrics/m")]
    sent = {"agent_id": "x", "metadata": {"tags": ["t"]}, "options": {}}
    exchanges = [
        Recorded(
            at, at, *random.choice(calls), {"filter": 'run_id="a"'}, sent, 200, {"date": "Anna"}, random.choice(shapes)
        )
        for at in range(30)
    ]
    findings = [doubt.finding(Evidence(exchanges, "a", "b")) for doubt in DOUBTS]
    assert not [finding for finding in findings if "Anna" in str(finding)]


@pytest.mark.usefixtures("run_proof")
def test_the_command_launches_only_with_consent(clock: VirtualClock, tmp_path: Path) -> None:
    world, out = World(clock.time, strict=True), io.StringIO()
    with Server(world) as server:
        given = {"COVAL_API_KEY": KEY, "INPUT_API_BASE_URL": server.url, "PATH": ""} | IDS
        assert main(["doctor", "--launch", "--json-path", "one.json"], given, out, out, clock) == 2
        assert not world.runs
        assert main(["doctor", "--launch", "--yes", "--json-path", "two.json"], given, out, out, clock) == 0
        clock.at(clock.now() + 5, clock.interrupt)
        assert main(["doctor", "--launch", "--yes"], given, out, out, clock) == 130
    assert (tmp_path / "two.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["two.json"]
    assert not world.unfinished


def test_on_a_ci_system_the_run_stands_on_no_branch(run_proof: Callable[..., Proven], tmp_path: Path) -> None:
    (tmp_path / "runner").mkdir()
    environ = LocalRunner(tmp_path / "runner").environ({})
    env = {**environ, "GITHUB_EVENT_NAME": "push", "GITHUB_REF_NAME": "main", "GITHUB_REF": "refs/heads/main"}
    proven = run_proof(env={**env, "GITHUB_WORKSPACE": str(tmp_path)})
    assert proven.code == 0
    assert not [tag for run in proven.world.runs for tag in run.tags if "/branch/" in tag]
    assert KEY not in proven.log.replace(f"::add-mask::{KEY}", "")


def check(path: Path) -> tuple[int, str]:
    """Return the exit code and the output of `make sandbox-check`."""
    command = [sys.executable, str(ROOT / "scripts" / "proofs.py"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_sandbox_check_names_what_coval_does_otherwise(run_proof: Callable[..., Proven], tmp_path: Path) -> None:
    run_proof()
    shown = len([doubt for doubt in DOUBTS if doubt.variants])
    assert check(tmp_path / "proof.json") == (
        0,
        f"{shown} of {len(DOUBTS)} were seen; 0 differ from the sandbox.\n",
    )
    run_proof(quirks=Quirks(transcript="chat", cancel_lag=10.0))
    code, text = check(tmp_path / "proof.json")
    assert code == 1
    assert text.splitlines()[:-1] == [
        "34   Transcript: Coval: no times; the sandbox: offsets in ms",
        "40b  End of a cancelled run: Coval: later; the sandbox: at once",
        "40c  Status until then: Coval: as before; the sandbox: over at once",
    ]


def test_sandbox_check_shows_nothing_of_a_foreign_file(run_proof: Callable[..., Proven], tmp_path: Path) -> None:
    path = tmp_path / "proof.json"
    proof = run_proof().proof
    for row in proof["findings"]:
        row["found"] = row["topic"] = "Anna <script>"
    path.write_text(json.dumps(proof), encoding="utf-8")
    assert check(path) == (0, f"0 of {len(DOUBTS)} were seen; 0 differ from the sandbox.\n")
    path.write_text(json.dumps({**proof, "version": "Anna"}), encoding="utf-8")
    assert check(path)[0] == 2
    assert "Anna" not in check(path)[1]


def test_the_page_has_a_column_for_each_file(
    run_proof: Callable[..., Proven], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_proof()
    monkeypatch.syspath_prepend(ROOT / "scripts")
    proofs = import_module("proofs")
    monkeypatch.setattr(proofs, "PROOFS", tmp_path / "none")
    assert proofs.page() == "Nobody has sent one yet."
    monkeypatch.setattr(proofs, "PROOFS", tmp_path)
    header, _, first, *_ = proofs.page().splitlines()
    assert header.startswith(f"|  | 2026-01-01, {__version__}")
    assert first == "| Response to a launch | a short run |"
