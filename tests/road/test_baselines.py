"""A step finds the earlier runs that its thresholds compare with, whatever Coval's lists show."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from coval_gate.base.schedule import Procedure, run
from coval_gate.base.times import COLLECTING, PREPARING
from coval_gate.ci.host import Context
from coval_gate.coval.client import Client
from coval_gate.coval.model import Run, RunResult
from coval_gate.gate.compared import Baseline, NotFoundReason
from coval_gate.history.baseline import baseline_of
from coval_gate.history.comparable import NAME, Subject
from coval_gate.history.tags import ACCEPTED, FAILED
from coval_gate.inputs.fields import BaselineSource
from coval_gate.inputs.fields import baseline as baseline_field
from coval_sandbox import catalogue
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import KEY, StepResult, VirtualClock, new_client, new_session

RunStep = Callable[..., tuple[StepResult, Server]]


DAY = 86_400.0
PUSH = {"ref": "refs/heads/main"}
ON_MAIN = {"GITHUB_HEAD_REF": "", "GITHUB_REF": "refs/heads/main", "GITHUB_EVENT_NAME": "push"}
HERE = Context(server_url="https://github.com", repository="acme/voice-agent", run_id="9999")
COMPARED = "Latency: avg <= baseline * 1.1"
CASES = [case.id for case in catalogue.test_cases("passing1", 10)]
OTHER_AGENT = "agent00000000000000002"
OTHER_PERSONA = "persona000000000000002"


class Past:
    """A sandbox with runs that steps launched, each some time before the next."""

    def __init__(self, run_step: RunStep, clock: VirtualClock, **quirks: Any) -> None:
        self.world = World(clock.time, quirks=Quirks(**quirks))
        self.requests: list[str] = []
        self.log: list[str] = []
        self._run_step = run_step
        self._clock = clock

    def launch(self, *, days: float = 1.0, pull_request: bool = False, **given: str) -> str:
        """Launch a run in a workflow run of its own, and wait for so many days."""
        env = {"GITHUB_RUN_ID": str(1000 + len(self.world.runs))} | ({} if pull_request else ON_MAIN)
        inputs = {"mode": "launch", "baseline": "branch:main"} | given
        event = None if pull_request else PUSH
        result, _ = self._run_step(world=self.world, event=event, env=env, **inputs)
        self._clock.sleep(days * DAY)
        return result.outputs["run_id"]

    def find(
        self,
        source: str,
        *faults: str,
        of: str = "",
        days: float = 30,
        patience: float = 300,
        thresholds: str = COMPARED,
        context: Context = HERE,
    ) -> Baseline:
        """Find the baseline of the newest run, or `of` the one with that id."""
        clock = self._clock
        with Server(self.world) as server:
            client = new_client(server.url, clock, log=self.log.append)
            run_id = of or self.world.runs[-1].run_id
            judged, result = run(_judged(client, run_id), clock)
            server.requests_seen.clear()
            for fault in faults:
                server.faults.add(fault)
            ages = {} if source.startswith("tag:") else {"baseline_max_age": f"{days}d"}
            inputs = {"baseline": source, "thresholds": thresholds, **ages}
            session = new_session(client, clock, deadline=clock.now() + patience, **inputs)
            given = session.inputs.thresholds
            subject = Subject(run=judged, result=result, request=None, context=context, thresholds=given)
            baseline = run(baseline_of(session, subject, over_since=clock.now()), clock)
            assert baseline is not None
            self.requests = [f"{request.method} {request.path.removeprefix('/v1')}" for request in server.requests_seen]
        return baseline


def _judged(client: Client, run_id: str) -> Procedure[tuple[Run, RunResult]]:
    """Return a run as a step in mode wait sees it."""
    shown = yield from client.get_run(run_id, until=1e9)
    simulations = yield from client.list_simulations(run_id, until=1e9)
    return shown, RunResult(run_id=run_id, simulations=simulations, metrics=shown.metrics)


def source_of(text: str) -> BaselineSource:
    source = baseline_field().parse(text)
    assert source is not None
    return source


def ids_of(baseline: Baseline) -> list[str]:
    return [earlier.run.run_id for earlier in baseline.runs]


@pytest.fixture
def past(run_step: RunStep, clock: VirtualClock) -> Past:
    return Past(run_step, clock)


def test_branch_stands_for_its_newest_run(past: Past) -> None:
    _, newer, own = past.launch(), past.launch(), past.launch(pull_request=True)
    baseline = past.find("branch:main")
    assert (ids_of(baseline), baseline.missing, baseline.fewer_than_asked) == ([newer], None, 0)
    assert baseline.runs[0].result.run_id == newer != own
    assert len(baseline.runs[0].result.simulations) == 10
    assert len(baseline.runs[0].result.find_metrics("Latency")[0].values) == 10


def test_last_runs_are_pooled_newest_first(past: Past) -> None:
    first, second, third, _ = (past.launch() for _ in range(4))
    assert ids_of(past.find("branch:main last 2")) == [third, second]
    baseline = past.find("branch:main last 5")
    assert (ids_of(baseline), baseline.fewer_than_asked) == ([third, second, first], 2)


def test_baseline_of_run_needs_few_calls(past: Past) -> None:
    for _ in range(4):
        past.launch()
    past.find("branch:main last 3")
    asked = past.requests
    assert asked.count("GET /runs") == 1
    assert len([path for path in asked if path.startswith("GET /runs/")]) == 3
    assert asked.count("GET /conversations/simulated") == 3
    assert len([path for path in asked if path.endswith("/metrics")]) == 4
    assert len(asked) == 1 + 3 + 3 + 4


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ({"pull_request": True, "tags": "nightly"}, "branch:main"),
        ({"agent_id": OTHER_AGENT}, "branch:main"),
        ({"persona_id": OTHER_PERSONA}, "branch:main"),
        ({"test_set_id": "passing2"}, "branch:main"),
        ({"test_set_id": "runFails"}, "branch:main"),
        ({}, "branch:other"),
        ({}, "branch:Main"),
        ({}, "tag:nightly"),
        ({"tags": "nightly"}, "tag:night"),
    ],
)
def test_run_that_does_not_fit_is_no_baseline(given: dict[str, Any], source: str, past: Past) -> None:
    past.launch(**given)
    past.launch(pull_request=True)
    assert past.find(source) == Baseline(source=source_of(source), missing=NotFoundReason(kind="none"))


def test_run_of_other_repository_is_no_baseline_of_branch(past: Past) -> None:
    past.launch()
    past.launch()
    baseline = past.find("branch:main", context=HERE._replace(repository="acme/other"))
    assert baseline.missing == NotFoundReason(kind="none")


def test_branch_without_known_repository_says_so(past: Past) -> None:
    past.launch()
    past.launch()
    baseline = past.find("branch:main", context=Context())
    assert baseline.missing is not None
    assert (baseline.missing.kind, past.requests) == ("unreadable", [])
    assert "repository of the branch is not known" in baseline.missing.text


def test_later_run_and_run_itself_are_no_baseline_of_a_branch(past: Past) -> None:
    own = past.launch(tags="stable")
    later = past.launch(tags="stable")
    assert past.find("branch:main", of=own).missing == NotFoundReason(kind="none")
    assert ids_of(past.find("tag:stable", of=own)) == [later]  # a tag stands still, whatever is compared with it


def test_runs_of_same_workflow_run_are_no_baseline(past: Past) -> None:
    first, second, _ = past.launch(), past.launch(), past.launch()
    assert ids_of(past.find("branch:main", context=HERE._replace(run_id="1001"))) == [first]
    assert ids_of(past.find("branch:main", context=HERE._replace(run_id=""))) == [second]


def test_tag_stands_for_runs_in_any_case(run_step: RunStep, clock: VirtualClock) -> None:
    past = Past(run_step, clock, lower_case_tags=True)
    tagged = past.launch(tags="Release-Check")
    past.launch()
    assert ids_of(past.find("tag:Release-Check")) == [tagged]
    assert ids_of(past.find("tag:release-check")) == [tagged]


def test_only_runs_of_pull_requests_have_the_tag(past: Past) -> None:
    of_pull_request = past.launch(pull_request=True, tags="nightly")
    past.launch()
    assert past.find("tag:nightly").missing == NotFoundReason(kind="pull_request", run_id=of_pull_request)
    assert ids_of(past.find(f"run:{of_pull_request}")) == [of_pull_request]


def test_old_runs_are_no_baseline_but_a_tag_does_not_age(past: Past) -> None:
    old = past.launch(days=8, tags="stable")
    past.launch()
    assert ids_of(past.find("tag:stable", days=7)) == [old]
    baseline = past.find("branch:main", days=7)
    assert baseline.missing == NotFoundReason(kind="too_old", run_id=old, age=8 * DAY)
    assert ids_of(past.find("branch:main", days=8)) == [old]
    assert ids_of(past.find(f"run:{old}", days=1)) == [old]


def test_base_needs_no_call(past: Past) -> None:
    past.launch()
    assert past.find("base") == Baseline(source=source_of("base"))
    assert past.requests == []


def test_named_run_that_cannot_be_baseline_says_why(past: Past) -> None:
    failed, deleted, own = past.launch(test_set_id="runFails"), past.launch(), past.launch()
    past.world.delete_run(deleted)
    assert past.find(f"run:{failed}").missing == NotFoundReason(kind="not_completed", run_id=failed, status="FAILED")
    assert past.find(f"run:{deleted}").missing == NotFoundReason(kind="gone", run_id=deleted)
    assert past.find(f"run:{own}").missing == NotFoundReason(kind="itself", run_id=own)
    empty, _ = past.launch(test_set_id="empty001"), past.launch()
    assert past.find(f"run:{empty}").missing == NotFoundReason(
        kind="unreadable", run_id=empty, text=f"Coval lists no simulation of run {empty}."
    )


def test_next_run_is_taken_where_newest_cannot_be_used(past: Past) -> None:
    first, second, third, _ = (past.launch() for _ in range(4))
    baseline = past.find("branch:main last 2", f"GET /runs/{third} -> 404")
    assert ids_of(baseline) == [second, first]
    baseline = past.find("branch:main", f"GET /runs/{third} -> 404", f"GET /runs/{second} -> 403")
    assert ids_of(baseline) == [first]


def test_runs_that_were_deleted_meanwhile_are_gone(past: Past) -> None:
    first, second, _ = (past.launch() for _ in range(3))
    baseline = past.find("branch:main", f"GET /runs/{first} -> 404", f"GET /runs/{second} -> 404")
    assert baseline.missing == NotFoundReason(kind="gone", run_id=second)


LISTS = [
    {"ignore_tag_filter": True},
    {"blind_tag_filter": True},
    {"refuse_tag_filter": True},
    {"lower_case_tags": True},
    {"page_token_end": "empty"},
    *({"list_identity": place} for place in ("tags", "metadata", "neither")),
    *({"run_identity": place} for place in ("tags", "metadata", "neither")),
    {"blind_tag_filter": True, "list_identity": "neither"},
    {"simulations_api": "legacy-only", "superseded_outputs": True},
]


@pytest.mark.parametrize("quirks", LISTS)
@pytest.mark.parametrize("source", ["branch:main", "tag:nightly"])
def test_baseline_is_found_whatever_lists_show(
    source: str, quirks: dict[str, Any], run_step: RunStep, clock: VirtualClock
) -> None:
    past = Past(run_step, clock, **quirks)
    past.launch(tags="nightly")
    newest = past.launch(tags="nightly")
    past.launch(pull_request=True, tags="nightly")
    past.launch(tags="nightly", agent_id=OTHER_AGENT)
    past.launch(pull_request=True)
    assert ids_of(past.find(source)) == [newest]


def test_runs_that_show_nothing_are_no_baseline(run_step: RunStep, clock: VirtualClock) -> None:
    past = Past(run_step, clock, list_identity="neither", run_identity="neither")
    past.launch()
    past.launch()
    assert past.find("branch:main").missing == NotFoundReason(kind="none")


def test_branch_of_run_without_room_for_its_tag_is_found(run_step: RunStep, clock: VirtualClock) -> None:
    tags = ",".join(f"t{number}" for number in range(18))
    for shown in ("both", "tags"):
        past = Past(run_step, clock, list_identity=shown)
        full = past.launch(tags=tags)
        past.launch()
        assert ids_of(past.find("branch:main")) == [full]


@pytest.mark.parametrize("quirks", [{}, {"blind_tag_filter": True}, {"ignore_tag_filter": True}], ids=str)
def test_search_reads_on_where_other_branches_are_busy(
    quirks: dict[str, Any], run_step: RunStep, clock: VirtualClock
) -> None:
    past = Past(run_step, clock, **quirks)
    run_id = past.launch(days=0.1)
    body = past.world.runs[0].body
    others = body | {"metadata": {"tags": ["other"], "customer": {"a": "b"}}}
    for _ in range(250):
        past.world.launch(others)
        clock.sleep(60)
    past.launch()
    assert ids_of(past.find("branch:main")) == [run_id]
    baseline = past.find("branch:main", days=0.05)
    assert baseline.missing is not None
    assert baseline.missing.kind == "too_old"


@pytest.mark.parametrize("fault", ["503", "429", "reset-before", "html 502", "body {}", "cut"])
@pytest.mark.parametrize("path", ["/runs", "/runs/*", "/conversations/simulated"])
@pytest.mark.parametrize("source", ["branch:main", "run"])
def test_hiccup_does_not_cost_the_baseline(source: str, path: str, fault: str, past: Past) -> None:
    run_id = past.launch()
    past.launch()
    source = f"run:{run_id}" if source == "run" else source
    assert ids_of(past.find(source, f"GET {path} #1-2 -> {fault}")) == [run_id]


def test_list_that_lacks_simulations_with_values_is_no_baseline(run_step: RunStep, clock: VirtualClock) -> None:
    """The list names a part of what the metrics have values of, and Coval does not say how many there are."""
    past = Past(run_step, clock, output_ids="absent", null_progress=True)
    run_id = past.launch()
    past.launch()
    whole = past.find("branch:main").runs[0].result
    rows = [
        {"simulation_id": simulation.id, "status": "COMPLETED", "test_case_id": simulation.test_case_id}
        for simulation in whole.simulations[:4]
    ]
    baseline = past.find("branch:main", f"GET /conversations/simulated -> json {json.dumps({'simulations': rows})}")
    assert baseline.missing is not None
    assert baseline.missing.text == f"Coval lists 4 of the 10 simulations of run {run_id}."


@pytest.mark.parametrize("path", ["/runs", "/runs/*", "/conversations/simulated"])
@pytest.mark.parametrize("fault", ["503", "reset-before", "body {}"])
def test_lasting_failure_leaves_no_baseline_at_the_deadline(
    fault: str, path: str, past: Past, clock: VirtualClock
) -> None:
    past.launch()
    past.launch()
    began = clock.now()
    baseline = past.find("branch:main", f"GET {path} -> {fault}", patience=60)
    assert baseline.missing is not None
    assert (baseline.missing.kind, baseline.runs) == ("unreadable", ())
    assert baseline.missing.text.endswith(".")
    assert clock.now() - began == 60


def test_missing_permission_is_named(past: Past, clock: VirtualClock) -> None:
    past.launch()
    past.launch()
    began = clock.now()
    for path, permission in (("/runs", "runs:read"), ("/runs/*", "runs:read")):
        baseline = past.find("branch:main", f"GET {path} -> 403")
        assert baseline.missing is not None
        assert (baseline.missing.kind, permission in baseline.missing.text) == ("unreadable", True), (
            baseline.missing.text
        )
    baseline = past.find("branch:main", "GET /conversations/* -> 403", "GET /simulations -> 403")
    assert baseline.missing is not None
    assert "simulated-conversations:read" in baseline.missing.text
    assert clock.now() == began


@pytest.mark.parametrize("source", ["run", "branch:main"])
def test_list_of_simulations_that_is_not_found_is_no_run_that_is_gone(source: str, past: Past) -> None:
    run_id = past.launch()
    past.launch()
    source = f"run:{run_id}" if source == "run" else source
    baseline = past.find(source, "GET /conversations/* -> 404", "GET /simulations -> 404")
    assert baseline.missing is not None
    assert baseline.missing.kind == "unreadable"
    assert "/simulations returned 404" in baseline.missing.text


# What distinguishes the runs


def test_nothing_distinguishes_runs_of_the_same(past: Past) -> None:
    past.launch()
    past.launch(iteration_count="3", concurrency="2")
    (earlier,) = past.find("branch:main").runs
    assert (earlier.changed_cases, earlier.changed_metrics, earlier.changed_persona) == (
        frozenset(),
        frozenset(),
        False,
    )
    assert (earlier.changed_options, earlier.unchecked) == ((), ())


def test_changes_since_the_baseline_are_found(past: Past) -> None:
    past.launch()
    past.world.edits.change(CASES[2], input_str="Another question")
    past.world.edits.change(CASES[3], description="Only another label")
    past.world.edits.change(catalogue.PERSONA_ID, name="Only another name")
    past.world.edits.revise(catalogue.LATENCY.id)
    past.world.edits.revise(catalogue.TONE.id)
    past.launch(config_overrides='{"simulation_timeout_seconds": 60}')
    (earlier,) = past.find("branch:main").runs
    assert (earlier.changed_cases, earlier.changed_persona) == (frozenset({CASES[2]}), False)
    assert earlier.changed_metrics == frozenset({catalogue.LATENCY.id})
    assert (earlier.changed_options, earlier.unchecked) == (("config_overrides",), ())


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        (COMPARED, {catalogue.LATENCY.id}),
        ("Resolved: rate(YES) >= baseline - 5pp", set()),
        ("Latency: avg < 9\nResolved: rate(YES) >= baseline", set()),
    ],
)
def test_only_metrics_that_are_compared_matter(thresholds: str, expected: set[str], past: Past) -> None:
    past.launch()
    past.world.edits.revise(catalogue.LATENCY.id)
    past.launch()
    (earlier,) = past.find("branch:main", thresholds=thresholds).runs
    assert earlier.changed_metrics == expected


def test_metrics_need_no_calls_where_none_is_compared(past: Past) -> None:
    past.launch()
    past.launch()
    (earlier,) = past.find("branch:main", thresholds="completed_rate >= baseline").runs
    assert (earlier.unchecked, [request for request in past.requests if request.endswith("/metrics")]) == ((), [])


def test_changed_persona_is_found(past: Past) -> None:
    earlier = past.launch()
    past.world.edits.change("persona000000000000001", persona_prompt="Be brief.")
    past.launch()
    assert past.find("branch:main").runs[0].changed_persona
    past.launch(persona_id=OTHER_PERSONA)
    (baseline,) = past.find(f"run:{earlier}").runs
    assert (baseline.changed_persona, baseline.unchecked) == (True, ())


def test_without_fingerprint_changes_of_test_cases_show_in_their_times(past: Past) -> None:
    past.launch(baseline="")
    past.world.edits.change(CASES[2], description="Only another label")
    past.launch()
    (earlier,) = past.find("branch:main").runs
    assert (earlier.changed_cases, earlier.unchecked) == (frozenset({CASES[2]}), ("persona",))
    (earlier,) = past.find("branch:main", "GET /test-cases -> 403").runs
    assert (earlier.changed_cases, earlier.unchecked) == (frozenset(), ("test_cases", "persona"))


def test_what_coval_does_not_tell_is_unchecked(run_step: RunStep, clock: VirtualClock) -> None:
    past = Past(run_step, clock, metric_versions="null", run_identity="tags", list_identity="tags")
    past.launch()
    past.launch()
    (earlier,) = past.find("branch:main").runs
    assert earlier.unchecked == ("persona", "metrics")
    began = clock.now()
    (earlier,) = past.find(
        "branch:main", "GET /test-cases -> 503", "GET /conversations/simulated/*/metrics -> 503"
    ).runs
    assert earlier.unchecked == ("test_cases", "persona", "metrics")
    assert clock.now() - began <= 20


# The fingerprint at the launch


def requests_before_launch(server: Server) -> list[str]:
    seen = [f"{request.method} {request.path.removeprefix('/v1')}" for request in server.requests_seen]
    return sorted(seen[: seen.index("POST /runs")])


@pytest.mark.parametrize(
    ("inputs", "calls"),
    [
        ({}, False),
        ({"baseline": "base", "thresholds": "Latency: avg <= base", "mutation_id": catalogue.MUTATIONS[0].id}, False),
        ({"baseline": "branch:main", "thresholds": "completed_rate >= baseline"}, True),
        ({"baseline": "tag:nightly", "mode": "launch"}, True),
        ({"baseline": "tag:nightly"}, True),
    ],
)
def test_launch_reads_more_only_for_comparisons(inputs: dict[str, str], calls: bool, run_step: RunStep) -> None:
    env = {"GITHUB_EVENT_NAME": "push", "GITHUB_HEAD_REF": "", "GITHUB_REF": "refs/heads/main"}
    _, server = run_step(bare=True, event={"ref": "refs/heads/main"}, env=env, **inputs)
    asked = [call for call in requests_before_launch(server) if "/personas/" in call or "/test-cases" in call]
    assert bool(asked) is calls
    customer = server.world.runs[0].request.metadata.customer
    assert (NAME in customer) is calls


def test_baseline_has_an_effect_on_a_launch_alone(run_step: RunStep) -> None:
    result, _ = run_step(mode="launch", baseline="branch:main")
    assert not [annotation for annotation in result.annotations("warning") if "no effect" in annotation.data]


@pytest.mark.parametrize("fault", ["403", "503", "reset-before", "body {}"])
def test_launch_does_not_wait_long_for_what_cannot_be_read(fault: str, run_step: RunStep, clock: VirtualClock) -> None:
    faults = [f"GET /test-cases -> {fault}", f"GET /personas/* -> {fault}"]
    result, server = run_step(*faults, mode="launch", baseline="branch:main")
    assert result.exit_code == 0
    assert len(server.world.runs) == 1
    assert clock.now() <= 7
    lines = [line for line in result.log.splitlines() if "could not be read" in line]
    assert len(lines) == 1


def test_lost_and_repeated_launch_sends_same_fingerprint(run_step: RunStep) -> None:
    _, server = run_step("POST /runs #1 -> reset-before", mode="launch", baseline="branch:main")
    sent = [request.json["metadata"]["customer"] for request in server.requests_seen if request.method == "POST"]
    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert NAME in sent[0]


def test_fingerprint_of_large_test_set_is_small(run_step: RunStep) -> None:
    _, server = run_step(mode="launch", baseline="branch:main", test_set_id="large001")
    customer = server.world.runs[0].request.metadata.customer
    parts = [text for name, text in customer.items() if name.startswith(NAME)]
    assert all(len(part) <= 200 for part in parts)
    assert 1900 < sum(map(len, parts)) <= 2100


# Whole steps


def test_step_compares_with_its_baseline(run_step: RunStep, clock: VirtualClock) -> None:
    past = Past(run_step, clock)
    earlier = past.launch(days=3)
    result, _ = run_step(world=past.world, baseline="branch:main", thresholds=COMPARED, bare=True)
    assert result.log.count(f"Baseline branch:main: run {earlier} of ") == 1
    assert result.outputs["verdict"]


def test_step_in_mode_wait_compares_with_its_baseline(run_step: RunStep, clock: VirtualClock) -> None:
    past = Past(run_step, clock)
    earlier, own = past.launch(), past.launch(days=0.01)
    inputs = {"mode": "wait", "run_id": own, "agent_id": "", "persona_id": "", "test_set_id": ""}
    result, _ = run_step(world=past.world, baseline="branch:main", thresholds=COMPARED, bare=True, **inputs)
    assert result.log.count(f"Baseline branch:main: run {earlier} of ") == 1


def test_step_without_comparison_looks_for_no_baseline(run_step: RunStep) -> None:
    _, server = run_step(baseline="branch:main", thresholds="Latency: avg < 9")
    assert not [request for request in server.requests_seen if request.method == "GET" and request.path == "/v1/runs"]


def test_run_that_completes_at_the_deadline_leaves_a_moment_for_its_baseline(
    run_step: RunStep, clock: VirtualClock
) -> None:
    limit = PREPARING + 61
    inputs = {"baseline": "branch:main", "thresholds": COMPARED, "max_wait_time": f"{limit:g}"}
    result, _ = run_step("GET /runs -> 503", **inputs, bare=True)
    assert result.outputs["verdict"] == "inconclusive"
    assert limit + COLLECTING - 3 < clock.now() <= limit + COLLECTING


@pytest.mark.parametrize("fault", ["403", "503", "body {}", "reset-before"])
def test_unreadable_baseline_is_no_pass_and_keeps_the_deadline(
    fault: str, run_step: RunStep, clock: VirtualClock
) -> None:
    inputs = {"baseline": "branch:main", "thresholds": COMPARED, "max_wait_time": "120"}
    result, _ = run_step(f"GET /runs -> {fault}", bare=True, **inputs)
    assert result.outputs["verdict"] != "passed"
    assert clock.now() <= 121
    assert KEY not in result.log.replace(f"::add-mask::{KEY}", "")


# Before the launch


def test_named_run_that_does_not_exist_costs_no_run(run_step: RunStep) -> None:
    result, server = run_step(baseline="run:abcdefghijklmnopqrstuv", thresholds=COMPARED)
    assert (result.outputs["verdict"], server.world.runs) == ("error", ())
    assert result.outputs["reason"] == "baseline names the run abcdefghijklmnopqrstuv, which Coval does not have."


@pytest.mark.parametrize("mode", ["run", "launch"])
def test_named_run_that_failed_in_coval_costs_no_run(mode: str, past: Past, run_step: RunStep) -> None:
    broken = past.launch(test_set_id="runFails")
    inputs = {"thresholds": COMPARED} if mode == "run" else {}
    result, _ = run_step(world=past.world, baseline=f"run:{broken}", mode=mode, **inputs)
    assert (result.outputs["verdict"], len(past.world.runs)) == ("error", 1)
    assert result.outputs["reason"].endswith(f"{broken}, which did not complete: its status is FAILED.")


def test_named_run_that_is_not_over_is_waited_for(past: Past, run_step: RunStep) -> None:
    named = past.launch(test_set_id="slow0001", days=0.0)
    inputs = {"baseline": f"run:{named}", "thresholds": COMPARED, "max_wait_time": "9000"}
    result, _ = run_step(world=past.world, **inputs, bare=True)
    assert f"Waiting for the baseline: run {named} is IN QUEUE.\n" in result.log
    assert f"Baseline run:{named}: run {named} of 2026-01-01\n" in result.log


def test_named_run_that_is_not_over_by_the_deadline_is_an_error(
    past: Past, run_step: RunStep, clock: VirtualClock
) -> None:
    named, began = past.launch(test_set_id="stuck001", days=0.0), clock.now()
    result, _ = run_step(world=past.world, baseline=f"run:{named}", thresholds=COMPARED, max_wait_time="200")
    assert (result.outputs["verdict"], result.exit_code) == ("error", 1)
    assert f"run {named} had not ended when max_wait_time was over" in result.outputs["reason"]
    assert clock.now() - began <= 210


def test_run_cannot_be_its_own_baseline(past: Past, run_step: RunStep) -> None:
    own = past.launch()
    inputs = {"mode": "wait", "run_id": own, "baseline": f"run:{own}", "thresholds": COMPARED}
    result, server = run_step(world=past.world, **inputs)
    assert (result.outputs["verdict"], server.requests_seen) == ("error", [])
    assert result.outputs["reason"].startswith("baseline names the run that the step waits for")


def test_named_run_that_the_gate_failed_is_compared_with_a_warning(past: Past, run_step: RunStep) -> None:
    named = past.launch()
    past.world.update_run(named, {"tags": [FAILED]})
    result, _ = run_step(world=past.world, baseline=f"run:{named}", thresholds=COMPARED, bare=True)
    (warning,) = [
        annotation for annotation in result.annotations("warning") if "failed a comparison" in annotation.data
    ]
    assert named in warning.data
    assert f"Baseline run:{named}: run {named} of 2026-01-01, which the gate failed" in result.log


@pytest.mark.parametrize("quirks", [{}, {"refuse_tag_filter": True}, {"blind_tag_filter": True}])
@pytest.mark.parametrize("source", ["tag:nightli", "branch:mian", "tag:zebra"])
def test_name_that_no_run_has_is_a_warning_before_the_launch(
    source: str, quirks: dict[str, Any], run_step: RunStep, clock: VirtualClock
) -> None:
    told = {
        "tag:nightli": "has the tag nightli, so there is nothing to compare this run with yet; did you mean nightly?",
        "branch:mian": "is from the branch mian, so there is nothing to compare this run with yet; did you mean main?",
        "tag:zebra": "has the tag zebra, so there is nothing to compare this run with yet; "
        "tags that runs have: nightly.",
    }
    past = Past(run_step, clock, **quirks)
    past.launch(tags="nightly")
    past.launch(tags="nightlz", pull_request=True)
    result, server = run_step(world=past.world, baseline=source, thresholds=COMPARED, bare=True)
    (warning,) = [annotation for annotation in result.annotations("warning") if "No earlier run" in annotation.data]
    assert warning.data == f"No earlier run of this agent, persona and test set {told[source]}"
    assert len(past.world.runs) == 3
    before = [request.method for request in server.requests_seen].index("POST")
    assert any(request.path == "/v1/runs" for request in server.requests_seen[:before])


@pytest.mark.parametrize("source", ["tag:nightly", "branch:main"])
def test_name_that_a_run_has_is_no_warning(source: str, past: Past, run_step: RunStep) -> None:
    past.launch(tags="nightly")
    result, server = run_step(world=past.world, baseline=source, thresholds=COMPARED, bare=True)
    assert not [annotation for annotation in result.annotations("warning") if "No earlier run" in annotation.data]
    assert requests_before_launch(server).count("GET /runs") == 1


@pytest.mark.parametrize("fault", ["503", "403", "body {}", "reset-before"])
def test_look_up_before_the_launch_is_short_and_no_error(fault: str, run_step: RunStep, clock: VirtualClock) -> None:
    result, server = run_step(f"GET /runs -> {fault}", mode="launch", baseline="branch:main")
    assert (result.exit_code, len(server.world.runs)) == (0, 1)
    assert clock.now() <= 7
    assert result.log.count("Could not look up the baseline before the launch: ") == 1


def test_lists_that_hide_tags_cause_no_warning(run_step: RunStep, clock: VirtualClock) -> None:
    past = Past(run_step, clock, list_identity="neither")
    past.launch(tags="nightly")
    result, _ = run_step(world=past.world, baseline="tag:nightly", thresholds=COMPARED, bare=True)
    assert not [annotation for annotation in result.annotations("warning") if "No earlier run" in annotation.data]


# Nothing can be compared


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("metric", ": it used another version of Latency"),
        ("persona", ": it used another persona, or another version of it"),
        ("cases", ": no test case is still the same (left out: 10 with changed contents)"),
    ],
)
def test_reason_says_first_with_which_run_nothing_can_be_compared(
    change: str, why: str, past: Past, run_step: RunStep
) -> None:
    earlier = past.launch(tags="stable")
    match change:
        case "metric":
            past.world.edits.revise(catalogue.LATENCY.id)
        case "persona":
            past.world.edits.change("persona000000000000001", persona_prompt="Be brief.")
        case _:
            for case in CASES:
                past.world.edits.change(case, input_str="Another question")
    result, _ = run_step(world=past.world, event=PUSH, env=ON_MAIN, baseline="tag:stable", thresholds=COMPARED)
    start = f"Nothing can be compared with the baseline, run {earlier} of 2026-01-01{why}; "
    assert (result.outputs["verdict"], result.outputs["reason"]) == (
        "inconclusive",
        f"{start}run the workflow by hand with accept: true to start over.",
    )
    assert [record.run_id for record in past.world.runs if "stable" in record.tags] == [earlier]


# Marks


def marked(past: Past, run_id: str, *marks: str) -> str:
    """Give a run marks, as a step does."""
    (record,) = (launched for launched in past.world.runs if launched.run_id == run_id)
    past.world.update_run(run_id, {"tags": [*record.tags, *marks]})
    return run_id


MARK_LISTS = [{}, {"ignore_tag_filter": True}, {"blind_tag_filter": True}, {"list_identity": "metadata"}]


@pytest.mark.parametrize("quirks", [*MARK_LISTS, {"list_identity": "neither"}, {"lower_case_tags": True}])
@pytest.mark.parametrize("source", ["branch:main", "tag:nightly"])
def test_newest_run_that_did_not_fail_is_the_baseline(
    source: str, quirks: dict[str, Any], run_step: RunStep, clock: VirtualClock
) -> None:
    past = Past(run_step, clock, **quirks)
    first, second = past.launch(tags="nightly"), past.launch(tags="nightly")
    marked(past, past.launch(tags="nightly"), FAILED)
    past.launch(pull_request=True)
    assert ids_of(past.find(source)) == [second]
    assert ids_of(past.find(f"{source} last 3")) == [second, first]


def test_only_failed_runs_are_no_baseline(past: Past) -> None:
    failed = marked(past, past.launch(), FAILED)
    past.launch()
    assert past.find("branch:main").missing == NotFoundReason(kind="failed", run_id=failed)


@pytest.mark.parametrize("quirks", MARK_LISTS, ids=str)
def test_search_ends_at_the_newest_accepted_run(quirks: dict[str, Any], run_step: RunStep, clock: VirtualClock) -> None:
    past = Past(run_step, clock, **quirks)
    past.launch()
    accepted = marked(past, past.launch(), ACCEPTED)
    assert ids_of(past.find("branch:main last 5", of=past.launch())) == [accepted]
    newer = past.launch()
    baseline = past.find("branch:main last 5")
    assert (ids_of(baseline)[-1], newer in ids_of(baseline), baseline.fewer_than_asked) == (accepted, False, 3)


def test_age_of_a_baseline_ends_with_the_first_failure_since(past: Past) -> None:
    good = past.launch(days=20)
    marked(past, past.launch(days=20), FAILED)
    marked(past, past.launch(days=20), FAILED)
    past.launch()
    assert ids_of(past.find("branch:main", days=30)) == [good]
    assert past.find("branch:main", days=19).missing == NotFoundReason(kind="too_old", run_id=good, age=60 * DAY)
