"""The whole road, from the environment to the files, against the sandbox on a clock that only sleeping moves."""

from __future__ import annotations

import io
import json
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from coval_gate.main import main
from coval_gate.runtime import Runtime
from coval_sandbox.quirks import Quirks
from coval_sandbox.runner import LocalRunner, as_people_see_it, read_log
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.trips import THRESHOLDS, TRIPS, trip_of
from support import DEFAULTS, IDS, KEY, Trip, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def told(trip: Trip) -> str:
    """A trip as people and workflows see it."""
    outputs = "\n".join(f"{name}={value}" for name, value in trip.outputs.items())
    end = f"--- exit code {trip.exit_code}\n\n--- outputs\n{outputs}\n\n--- summary\n{trip.summary}"
    whole = f"{as_people_see_it(trip.log)}\n{end}"
    return re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1", whole)  # a free port, another one each time


def seconds(stopwatch: str) -> int:
    minutes, rest = stopwatch.split(":")
    return int(minutes) * 60 + int(rest)


@pytest.mark.parametrize("name", TRIPS)
def test_what_people_see(
    name: str, ride: Callable[..., tuple[Trip, Server]], golden: Callable[[str, str], None]
) -> None:
    trip, _ = ride(**trip_of(name))
    golden(f"road/{name}.txt", told(trip))


@pytest.mark.parametrize("name", TRIPS)
def test_one_step_launches_at_most_one_run(name: str, ride: Callable[..., tuple[Trip, Server]]) -> None:
    trip, server = ride(**trip_of(name))
    assert len(server.world.runs) == (1 if trip.outputs["run_id"] else 0) or trip.outputs["run_id"].startswith(
        "nowhere"
    )
    if server.world.runs:
        (leg,) = json.loads(trip.state["legs"])
        assert leg["run_id"] == trip.outputs["run_id"] == server.world.runs[0].run_id


@pytest.mark.parametrize("name", ["launched", "gate-passed", "gate-failed"])
def test_a_terminal_shows_it_all_in_its_log(name: str, clock: VirtualClock, golden: Callable[[str, str], None]) -> None:
    with Server(World(clock.time)) as server:
        inputs = DEFAULTS | IDS | {"api_key": KEY, "api_base_url": server.url} | trip_of(name)
        environ = {f"INPUT_{name.upper()}": value for name, value in inputs.items()}
        log = io.StringIO()
        exit_code = main(Runtime(environ=environ, stdout=log, clock=clock))
    assert not read_log(log.getvalue()), "no command of GitHub's"
    assert KEY not in log.getvalue()
    golden(f"terminal/{name}.txt", f"{log.getvalue()}\n--- exit code {exit_code}\n")


QUIRKS = {
    "underscore": Quirks(status_spelling="underscore"),
    "lower": Quirks(status_spelling="lower"),
    "running": Quirks(status_spelling="running"),
    "summary": Quirks(metric_shape="summary"),
    "null-progress": Quirks(null_progress=True),
    "full-answer": Quirks(launch_response="full"),
    "name-only": Quirks(launch_response="name-only"),
    "id-field": Quirks(launch_response="id-field"),
    "top-level": Quirks(launch_response="top-level"),
    "not-found-yet": Quirks(not_found_after_launch=20),
    "counts-simulations": Quirks(progress_counts="simulations"),
    "counts-test-cases": Quirks(progress_counts="test-cases"),
    "unknown-status": Quirks(unknown_status="WARMING_UP"),
    "metrics-lag": Quirks(metrics_lag=20),
}


@pytest.mark.parametrize("name", QUIRKS)
def test_no_peculiarity_of_the_api_turns_a_good_run_red(name: str, ride: Callable[..., tuple[Trip, Server]]) -> None:
    trip, _ = ride(quirks=QUIRKS[name], iteration_count="2")
    assert trip.outputs["verdict"] == "passed", trip.log


@pytest.mark.parametrize("name", QUIRKS)
def test_no_peculiarity_of_the_api_turns_a_bad_run_green(name: str, ride: Callable[..., tuple[Trip, Server]]) -> None:
    trip, _ = ride(quirks=QUIRKS[name], test_set_id="someFail", iteration_count="2")
    assert trip.outputs["verdict"] == "failed", trip.log


@pytest.mark.parametrize("quirks", [Quirks(canceled_spelling="CANCELED"), Quirks(canceled_spelling="CANCELLED")])
def test_cancelled_has_two_spellings(quirks: Quirks, ride: Callable[..., tuple[Trip, Server]]) -> None:
    trip, _ = ride(quirks=quirks, test_set_id="cancels1")
    assert (trip.outputs["verdict"], trip.outputs["status"]) == ("cancelled", "CANCELLED")


FAULTS = ["408", "429 retry-after=20", "500", "502", "503", "504", "reset-before", "reset-after", "cut 20", "html 502",
          "html 200", "body {", "json {\"run\": null}", "json {\"run\": {\"status\": 7}}"]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_hiccup_never_turns_a_good_run_red(fault: str, ride: Callable[..., tuple[Trip, Server]]) -> None:
    trip, _ = ride(f"GET /runs/* #2-4 -> {fault}")
    assert trip.outputs["verdict"] == "passed", trip.log


@pytest.mark.parametrize("fault", FAULTS)
def test_no_answer_by_the_deadline_is_an_error_and_kept_to_the_second(
    fault: str, ride: Callable[..., tuple[Trip, Server]]
) -> None:
    trip, _ = ride(f"GET /runs/* #2- -> {fault}", max_wait_time="300")
    assert (trip.outputs["verdict"], trip.outputs["status"]) == ("error", "ERROR")
    assert trip.outputs["duration_seconds"] == "300"
    assert trip.outputs["run_id"]


def test_a_redirect_is_an_error_at_once_where_coval_has_not_answered_yet(
    ride: Callable[..., tuple[Trip, Server]], clock: VirtualClock
) -> None:
    trip, _ = ride("GET /runs/* -> redirect https://elsewhere.example/", mode="wait", run_id="r1")
    assert trip.outputs["verdict"] == "error"
    assert "redirect" in trip.outputs["reason"]
    assert clock.slept == []


def test_a_run_that_ends_in_the_last_pause_is_not_timed_out(
    ride: Callable[..., tuple[Trip, Server]], clock: VirtualClock
) -> None:
    """The run takes about a minute; the only look after the first is the one at the deadline."""
    trip, _ = ride(max_wait_time="75", check_interval="1000", quirks=Quirks(null_progress=True))
    assert trip.outputs["verdict"] == "passed"
    assert clock.now() <= 75


def test_the_deadline_holds_while_nothing_comes_of_the_run(
    ride: Callable[..., tuple[Trip, Server]], clock: VirtualClock
) -> None:
    trip, _ = ride(test_set_id="stuck001", max_wait_time="1234")
    assert trip.outputs["verdict"] == "timed_out"
    assert clock.now() == 1234


def test_check_interval_bounds_every_pause(ride: Callable[..., tuple[Trip, Server]], clock: VirtualClock) -> None:
    ride(test_set_id="slow0001", check_interval="7", max_wait_time="4000")
    assert max(clock.slept) <= 7


def test_the_log_has_a_heartbeat_a_minute_and_otherwise_changes_only(ride: Callable[..., tuple[Trip, Server]]) -> None:
    trip, server = ride(test_set_id="stuck001", max_wait_time="1800")
    group = trip.log.split("::group::")[1].split("::endgroup::")[0].splitlines()[1:]
    assert 20 <= len(group) < len(server.requests_seen)
    for before, after in pairwise(line.split(maxsplit=1) for line in group):
        changed = before[1].split("about")[0] != after[1].split("about")[0]
        assert changed or seconds(after[0]) - seconds(before[0]) >= 60


def test_run_id_is_written_before_anything_else_is_asked(ride: Callable[..., tuple[Trip, Server]]) -> None:
    trip, server = ride("GET /runs/* -> 401")
    assert trip.outputs["verdict"] == "error"
    assert trip.outputs["run_id"] == server.world.runs[0].run_id
    assert trip.outputs["run_url"] == f"https://app.coval.dev/runs/{trip.outputs['run_id']}"


def test_wait_takes_over_a_run_and_never_launches(ride: Callable[..., tuple[Trip, Server]]) -> None:
    def launch_elsewhere(world: World) -> dict[str, str]:
        body = {"agent_id": "a" * 22, "persona_id": "p" * 22, "test_set_id": "passing1"}
        return {"mode": "wait", "run_id": world.launch(body)["run"]["run_id"], "agent_id": ""}

    trip, server = ride(prepare=launch_elsewhere)
    assert trip.outputs["verdict"] == "passed"
    assert not any(request.method == "POST" for request in server.requests_seen)


def test_a_run_that_somebody_deletes_meanwhile_is_deleted(ride: Callable[..., tuple[Trip, Server]]) -> None:
    trip, _ = ride("GET /runs/* #2- -> 404")
    assert (trip.outputs["verdict"], trip.outputs["status"]) == ("cancelled", "DELETED")


def test_a_404_that_passes_is_a_hiccup(ride: Callable[..., tuple[Trip, Server]]) -> None:
    trip, _ = ride("GET /runs/* #2-4 -> 404")
    assert trip.outputs["verdict"] == "passed"


def test_simulations_that_lag_behind_the_status_are_waited_for(ride: Callable[..., tuple[Trip, Server]]) -> None:
    empty = '{"simulated_conversations": [], "next_page_token": null}'
    trip, _ = ride(f"GET /conversations/simulated #1-3 -> json {empty}")
    assert trip.outputs["verdict"] == "passed", trip.log
    assert "waiting for 10 simulations" in trip.log
    never, _ = ride(f"GET /conversations/simulated -> json {empty}", metrics_grace_time="60")
    assert never.outputs["verdict"] == "error"
    assert "Coval lists 0 of 10 simulations" in never.outputs["reason"]


@pytest.mark.parametrize(
    ("quirks", "verdict"),
    [
        (Quirks(metrics_lag=100), "passed"),
        (Quirks(metrics_lag=400), "error"),
        (Quirks(missing_values=0.3), "error"),
        (Quirks(duplicate_values=True), "passed"),
        (Quirks(failed_values="null"), "passed"),
        (Quirks(superseded_outputs=True), "passed"),
        (Quirks(metric_shape="summary"), "error"),
        (Quirks(simulations_api="legacy-only"), "passed"),
        (Quirks(simulations_api="canonical-forbidden"), "passed"),
        (Quirks(page_token_end="absent"), "passed"),
        (Quirks(page_token_end="empty"), "passed"),
    ],
)
def test_metrics_as_they_come(quirks: Quirks, verdict: str, ride: Callable[..., tuple[Trip, Server]]) -> None:
    trip, _ = ride(quirks=quirks, thresholds=THRESHOLDS)
    assert trip.outputs["verdict"] == verdict, trip.log


def test_values_that_lag_at_the_deadline_are_nobodys_fault(ride: Callable[..., tuple[Trip, Server]]) -> None:
    trip, _ = ride(quirks=Quirks(metrics_lag=400), thresholds=THRESHOLDS, max_wait_time="120")
    assert (trip.outputs["verdict"], trip.outputs["duration_seconds"]) == ("timed_out", "120")


def test_the_fewest_calls(ride: Callable[..., tuple[Trip, Server]]) -> None:
    """Beside the looks at the run: a page of simulations, one of test cases' names, and the targets that count."""

    def others(server: Server) -> list[str]:
        paths = (request.path.removeprefix("/v1") for request in server.requests_seen)
        return [path for path in paths if not path.startswith("/runs")]

    assert others(ride(thresholds=THRESHOLDS)[1]) == ["/conversations/simulated", "/test-cases"]
    with_targets = others(ride(thresholds=THRESHOLDS, use_metric_targets="true")[1])
    assert len(with_targets) == 7
    assert sum(path.startswith("/metrics/") for path in with_targets) == 5


def test_a_filter_that_is_not_heeded_brings_in_nobody_elses_simulations(
    ride: Callable[..., tuple[Trip, Server]],
) -> None:
    _, server = ride(mode="launch")
    listed = server.world.list_simulations({})["simulated_conversations"]
    mine = [each | {"status": "COMPLETED"} for each in listed]
    theirs = [{"simulation_id": f"t{n}", "run_id": "other", "status": "FAILED"} for n in range(10)]
    answer = json.dumps({"simulated_conversations": theirs + mine})
    trip, _ = ride(f"GET /conversations/simulated -> json {answer}")
    assert (trip.outputs["verdict"], trip.outputs["total_simulations"]) == ("passed", "10")


def completed(world: World, **changes: Any) -> str:
    """The only run of a world as an answer, completed, with two simulations' worth of values, and `changes`."""
    ids = [each["simulation_id"] for each in world.list_simulations({})["simulated_conversations"]][:2]
    values = [{"simulation_output_id": each, "value": 1.0} for each in ids]
    results = {"output_ids": ids, "metrics": {"m": {"metric_id": "m", "metric_name": "Latency", "values": values}}}
    run = {"run_id": world.runs[0].run_id, "status": "COMPLETED", "results": results}
    return json.dumps({"run": run | changes})


def listing(world: World, count: int) -> str:
    listed = world.list_simulations({})["simulated_conversations"][:count]
    return json.dumps({"simulated_conversations": [each | {"status": "COMPLETED"} for each in listed]})


@pytest.mark.parametrize(
    ("first", "then", "verdict"),
    [
        ({"results": None}, {}, "passed"),
        ({"results": None}, {"status": "CANCELLED"}, "cancelled"),
        ({"results": None}, {"status": "FAILED"}, "failed"),
        ({"results": None}, {"status": "IN PROGRESS"}, "timed_out"),
    ],
)
def test_the_status_counts_for_as_long_as_data_are_waited_for(
    first: dict[str, Any], then: dict[str, Any], verdict: str, ride: Callable[..., tuple[Trip, Server]]
) -> None:
    world = ride(mode="launch")[1].world
    trip, _ = ride(
        f"GET /runs/* #1 -> json {completed(world, **first)}",
        f"GET /runs/* -> json {completed(world, **then)}",
        f"GET /conversations/simulated -> json {listing(world, 2)}",
        thresholds="Latency: avg < 2",
        max_wait_time="600",
    )
    assert trip.outputs["verdict"] == verdict, trip.log


def test_values_name_simulations_that_the_list_lacks(ride: Callable[..., tuple[Trip, Server]]) -> None:
    world = ride(mode="launch")[1].world
    trip, _ = ride(
        f"GET /runs/* -> json {completed(world)}",
        f"GET /conversations/simulated -> json {listing(world, 1)}",
        thresholds="Latency: avg < 2",
        metrics_grace_time="10",
    )
    assert trip.outputs["verdict"] == "error"
    assert trip.outputs["reason"].startswith("Coval lists 1 of 2 simulations")


def test_a_404_while_data_are_waited_for_is_a_hiccup(ride: Callable[..., tuple[Trip, Server]]) -> None:
    world = ride(mode="launch")[1].world
    trip, _ = ride(
        f"GET /runs/* #1 -> json {completed(world, results=None)}",
        "GET /runs/* #2-4 -> 404",
        f"GET /runs/* -> json {completed(world)}",
        f"GET /conversations/simulated -> json {listing(world, 2)}",
        thresholds="Latency: avg < 2",
    )
    assert trip.outputs["verdict"] == "passed", trip.log


def test_a_page_that_fails_is_asked_for_again_and_no_other(
    ride: Callable[..., tuple[Trip, Server]], clock: VirtualClock
) -> None:
    del clock
    trip, server = ride("GET /conversations/simulated #2-3 -> 500", test_set_id="large001", concurrency="50",
                        iteration_count="9", max_wait_time="7200")  # fmt: skip
    pages = [each.query.get("page_token") for each in server.requests_seen if each.path.endswith("/simulated")]
    assert trip.outputs["total_simulations"] == "2250"
    assert len(pages) == 5
    assert pages[1] == pages[2] == pages[3]


def test_what_was_launched_is_expected(ride: Callable[..., tuple[Trip, Server]]) -> None:
    _, server = ride(mode="launch")
    world = server.world
    answers = (
        f"GET /runs/* -> json {completed(world)}",
        f"GET /conversations/simulated -> json {listing(world, 2)}",
    )
    mutations, _ = ride(*answers, mutation_ids="u" * 26, metrics_grace_time="5")
    assert mutations.outputs["reason"].startswith(
        "The run was launched with 1 mutation, but Coval lists simulations of 0"
    )
    cases, _ = ride(*answers, test_case_ids="a,b,c", metrics_grace_time="5")
    assert cases.outputs["verdict"] == "error"
    metrics, _ = ride(*answers, metric_ids="m" * 22, use_metric_targets="true", metrics_grace_time="5")
    assert metrics.outputs["verdict"] == "error"


def test_pages_that_never_end_are_an_error(ride: Callable[..., tuple[Trip, Server]]) -> None:
    trip, _ = ride(quirks=Quirks(repeat_page_token=True), test_set_id="large001", concurrency="50", max_wait_time="600",
                   iteration_count="5")  # fmt: skip
    assert trip.outputs["verdict"] == "error"
    assert "same page" in trip.outputs["reason"]


@pytest.mark.parametrize("path", ["/test-cases/*", "/conversations/simulated/*"])
@pytest.mark.parametrize("fault", ["403", "500", "html 502", "json []", "429 retry-after=5"])
def test_explanations_only_inform(
    path: str, fault: str, ride: Callable[..., tuple[Trip, Server]], clock: VirtualClock
) -> None:
    trip, _ = ride(f"GET {path} -> {fault}", test_set_id="failing1", thresholds=THRESHOLDS)
    assert trip.outputs["verdict"] == "failed"
    assert clock.now() <= 60 + 25, "what only informs is not waited for long"


def test_no_phone_number_is_ever_told(ride: Callable[..., tuple[Trip, Server]]) -> None:
    trip, server = ride(test_set_id="someFail", thresholds=THRESHOLDS)
    listed = server.world.list_simulations({"page_size": "1"})["simulated_conversations"][0]
    number = (listed.get("destination") or listed.get("source"))["value"]
    assert number not in f"{trip.log}{trip.outputs}{trip.summary}"


def test_what_the_workflow_knows_goes_with_the_run(ride: Callable[..., tuple[Trip, Server]]) -> None:
    _, server = ride(mode="launch", metadata='{"team": "voice"}', tags="nightly")
    metadata = server.requests_seen[0].json["metadata"]
    tags = metadata["tags"][1:]
    assert metadata == {
        "display_name": "acme/voice-agent #42 · 5d1c1b0 · Voice gate",
        "tags": ["nightly", *tags],
        "created_by": "mona",
        "customer": {
            "github_repository": "acme/voice-agent",
            "github_commit": "5d1c1b0a8f0e4c2f9a7b6c5d4e3f2a1b0c9d8e7f",
            "github_pull_request": 42,
            "github_run_url": "https://github.com/acme/voice-agent/actions/runs/1234567890/attempts/1",
            "github_run_attempt": "1",
            "github_actor": "mona",
            "team": "voice",
            "coval_gate_0": tags[0],
            "coval_gate_1": tags[1],
        },
    }
    assert re.fullmatch(r"coval-gate/1234567890\.1/[0-9a-f]{12}/[0-9a-f]{8}", tags[0])
    assert re.fullmatch(r"coval-gate/line/[0-9a-f]{24}", tags[1])


def test_text_from_coval_forges_nothing(ride: Callable[..., tuple[Trip, Server]]) -> None:
    run_id = ride(mode="launch")[1].world.runs[0].run_id
    evil = "x\n::set-output name=passed::true\r##[error]y | <b> @mona [a](http://evil.example) `z`"
    answer = json.dumps({"run": {"run_id": run_id, "status": "FAILED", "error": evil}})
    trip, _ = ride(f"GET /runs/* -> json {answer}")
    assert trip.outputs["passed"] == "false"
    assert {command.name for command in trip.commands} <= {"add-mask", "group", "endgroup", "error"}
    assert "[a](http" not in trip.summary
    assert "<b>" not in trip.summary
    assert "@mona" not in trip.summary


def test_a_key_that_the_api_repeats_is_not_passed_on(ride: Callable[..., tuple[Trip, Server]]) -> None:
    answer = json.dumps({"error": {"code": "INTERNAL", "message": f"cannot serve {KEY}"}})
    trip, _ = ride(f"GET /runs/* #2- -> body {answer}", max_wait_time="100")
    assert trip.outputs["verdict"] == "error"


ODD = ["html 404", "404 cut 3", "redirect https://captive.example/", "409", "304", "html 403"]


@pytest.mark.parametrize("fault", ODD)
def test_an_answer_that_is_not_covals_is_a_hiccup_once_coval_has_answered(
    fault: str, ride: Callable[..., tuple[Trip, Server]]
) -> None:
    trip, _ = ride(f"GET /runs/* #2-4 -> {fault}")
    assert trip.outputs["verdict"] == "passed", trip.log


@pytest.mark.parametrize("agent_id", [f"x{KEY}", KEY * 5, f"{KEY}!", f"a_{KEY}_b*c"])
def test_a_key_in_the_wrong_place_is_blotted_out(agent_id: str, ride: Callable[..., tuple[Trip, Server]]) -> None:
    key = "coval_sk_prod_ab_-cdEF0123_"
    trip, _ = ride(api_key=key, agent_id=agent_id.replace(KEY, key), mode="launch")
    written = f"{trip.log.partition(chr(10))[2]}{trip.outputs}{trip.summary}".replace("\\", "")
    assert key[:9] not in written


def test_a_key_that_the_api_echoes_is_blotted_out_of_markdown_too(ride: Callable[..., tuple[Trip, Server]]) -> None:
    key = "coval_sk_prod_ab_*cdEF0123_"
    answer = json.dumps({"error": f"invalid API key: {key}"})
    trip, _ = ride(f"POST /runs -> json {answer}", api_key=key)
    assert "cdEF0123" not in f"{trip.log.partition(chr(10))[2]}{trip.outputs}{trip.summary}"


@pytest.mark.parametrize("variable", ["GITHUB_OUTPUT", "GITHUB_STATE"])
def test_what_cannot_be_written_shows_before_it_costs_anything(
    variable: str, tmp_path: Path, clock: VirtualClock
) -> None:
    with Server(World(clock.time)) as server:
        runner, log = LocalRunner(tmp_path), io.StringIO()
        environ = runner.environ(DEFAULTS | IDS | {"api_key": KEY, "api_base_url": server.url})
        assert main(Runtime(environ=environ | {variable: str(tmp_path / "no" / "where")}, stdout=log, clock=clock)) == 1
        assert server.requests_seen == []
    assert variable in log.getvalue()


def test_a_summary_that_cannot_be_written_is_only_a_pity(tmp_path: Path, clock: VirtualClock) -> None:
    with Server(World(clock.time)) as server:
        runner, log = LocalRunner(tmp_path), io.StringIO()
        environ = runner.environ(DEFAULTS | IDS | {"api_key": KEY, "api_base_url": server.url})
        assert main(Runtime(environ=environ | {"GITHUB_STEP_SUMMARY": str(tmp_path)}, stdout=log, clock=clock)) == 0
    assert runner.outputs["verdict"] == "passed"
    assert "::warning" in log.getvalue()
