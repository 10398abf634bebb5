"""A step finds the earlier runs that it compares with, and those that a report shows, whatever Coval's lists show."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from coval_gate.base.schedule import run
from coval_gate.base.times import COLLECTING, PREPARING
from coval_gate.ci.host import Context
from coval_gate.coval.client import Session
from coval_gate.coval.model import Run, RunResult
from coval_gate.features.comparisons.comparable import FINGERPRINT, Subject
from coval_gate.features.comparisons.find import baseline_of
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.measure import Baseline, NotFoundReason
from coval_gate.history.tags import ACCEPTED_TAG, FAILED_TAG
from coval_sandbox import catalogue
from coval_sandbox.server import Server
from road.nights import DAY, ON_MAIN, PUSH, Nights, RunStep, prolong
from support import IDS, StepResult, VirtualClock, new_client, new_session

HERE = Context(server_url="https://github.com", repository="acme/voice-agent", run_id="9999")
COMPARED = "Latency: avg <= baseline * 1.1"
CASES = [case.id for case in catalogue.test_cases("passing1", 10)]
OTHER_AGENT = "agent00000000000000002"
OTHER_PERSONA = "persona000000000000002"


class Past(Nights):
    """Nights whose runs are launched, and the baseline of one of them."""

    def launch(self, scenario: str = "passing", **given: Any) -> str:
        """Launch the run of one night, whose later comparisons have a baseline."""
        return super().launch(scenario, **{"baseline": "branch:main"} | given)

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
        inputs = {"baseline": source, "thresholds": thresholds}
        inputs |= {} if source.startswith("tag:") else {"baseline_max_age": f"{days}d"}
        with self._session(of, *faults, patience=patience, **inputs) as (session, judged, result):
            criteria = Criteria.from_inputs(session.inputs)
            subject = Subject(run=judged, result=result, request=None, context=context, criteria=criteria)
            assert session.inputs.baseline
            finding = baseline_of(session, session.inputs.baseline, subject, over_since=self.clock.now())
            return run(finding, self.clock)

    @contextmanager
    def _session(
        self, of: str, *faults: str, patience: float, **inputs: str
    ) -> Generator[tuple[Session, Run, RunResult]]:
        """Yield a session, and the newest run, or the one with the id `of`, as a step in mode wait sees it."""
        clock, run_id = self.clock, of or self.world.runs[-1].run_id
        with Server(self.world) as server:
            client = new_client(server.url, clock)
            shown = run(client.get_run(run_id, until=1e9), clock)
            simulations = run(client.list_simulations(run_id, until=1e9), clock)
            server.requests_seen.clear()
            for fault in faults:
                server.faults.add(fault)
            session = new_session(client, clock, deadline=clock.now() + patience, **inputs)
            yield session, shown, RunResult(run_id=run_id, simulations=simulations, metrics=shown.metrics)
            self.requests = [f"{request.method} {request.path.removeprefix('/v1')}" for request in server.requests_seen]

    def ids(self, source: str, *faults: str, **given: Any) -> list[str]:
        """Return the ids of the runs that are the baseline."""
        return [earlier.run.run_id for earlier in self.find(source, *faults, **given).runs]

    def missing(self, source: str, *faults: str, **given: Any) -> NotFoundReason:
        """Return why there is no baseline."""
        baseline = self.find(source, *faults, **given)
        assert baseline.runs == ()
        assert baseline.missing is not None
        return baseline.missing


@pytest.fixture
def past(run_step: RunStep, clock: VirtualClock) -> Past:
    return Past(run_step, clock)


NONE = NotFoundReason(kind="none")


def test_branch_stands_for_its_newest_runs_which_few_calls_read(past: Past) -> None:
    first, second, third = past.launch(), past.launch(), past.launch()
    past.launch(pull_request=True, iteration_count="3", concurrency="2")
    assert past.ids("branch:main last 2") == [third, second]
    baseline = past.find("branch:main last 5")
    assert [earlier.result.run_id for earlier in baseline.runs] == [third, second, first]
    assert (baseline.missing, baseline.fewer_than_asked) == (None, 2)
    for earlier in baseline.runs:
        assert (earlier.changed_options, earlier.changed_cases, earlier.unchecked) == ((), frozenset(), ())
        assert len(earlier.result.simulations) == len(earlier.result.find_metrics("Latency")[0].values) == 10
    asked = Counter("runs/*" if call.startswith("GET /runs/") else call.rpartition("/")[2] for call in past.requests)
    assert asked == {"runs": 1, "runs/*": 3, "simulated": 3, "metrics": 4}
    assert past.find("base").runs == ()
    assert past.requests == []


def test_run_that_does_not_fit_is_no_baseline(past: Past) -> None:
    for_pull_request = past.launch(pull_request=True, tags="nightly")
    for given in ({"agent_id": OTHER_AGENT}, {"persona_id": OTHER_PERSONA}, {"test_set_id": "passing2"}):
        past.launch(**given)
    past.launch("run-failed")
    past.launch(pull_request=True)
    assert [past.missing(source) for source in ("branch:main", "branch:other", "tag:night")] == [NONE] * 3
    assert past.missing("tag:nightly") == NotFoundReason(kind="pull_request", run_id=for_pull_request)
    assert past.ids(f"run:{for_pull_request}") == [for_pull_request]
    past.launch()
    past.launch()
    assert past.missing("branch:Main") == NONE


def test_later_run_and_one_of_other_repository_or_same_workflow_run_is_no_baseline_of_a_branch(past: Past) -> None:
    first, second, third = (past.launch(tags="stable") for _ in range(3))
    assert past.ids("branch:main", context=HERE._replace(run_id="1002")) == [first]
    assert past.ids("branch:main", context=HERE._replace(run_id="")) == [second]
    assert past.missing("branch:main", context=HERE._replace(repository="acme/other")) == NONE
    unknown = past.missing("branch:main", context=Context())
    assert (unknown.kind, past.requests) == ("unreadable", [])
    assert "repository of the branch is not known" in unknown.text
    assert past.missing("branch:main", of=first) == NONE
    assert past.ids("tag:stable", of=first) == [third]  # a tag stands still, whatever is compared with it


def test_old_runs_are_no_baseline_but_a_tag_does_not_age(past: Past) -> None:
    old = past.launch(days=8, tags="stable")
    past.launch()
    assert past.ids("tag:stable", days=7) == [old]
    assert past.missing("branch:main", days=7) == NotFoundReason(kind="too_old", run_id=old, age=8 * DAY)
    assert past.ids("branch:main", days=8) == [old]
    assert past.ids(f"run:{old}", days=1) == [old]


def test_age_of_a_baseline_ends_with_the_first_failure_since(past: Past) -> None:
    good, *failed = (past.launch(days=20) for _ in range(3))
    for run_id in failed:
        past.tag(run_id, FAILED_TAG)
    past.launch()
    assert past.ids("branch:main", days=30) == [good]
    assert past.missing("branch:main", days=19) == NotFoundReason(kind="too_old", run_id=good, age=60 * DAY)
    past.tag(good, FAILED_TAG)
    assert past.missing("branch:main") == NotFoundReason(kind="failed", run_id=failed[1])


def test_named_run_that_cannot_be_baseline_has_a_reason(past: Past) -> None:
    failed, deleted, empty, own = past.launch("run-failed"), past.launch(), past.launch("empty"), past.launch()
    past.world.delete_run(deleted)
    assert [past.missing(f"run:{run_id}") for run_id in (failed, deleted, own, empty)] == [
        NotFoundReason(kind="not_completed", run_id=failed, status="FAILED"),
        NotFoundReason(kind="gone", run_id=deleted),
        NotFoundReason(kind="itself", run_id=own),
        NotFoundReason(kind="unreadable", run_id=empty, text=f"Coval lists no simulation of run {empty}."),
    ]


@pytest.mark.parametrize(
    "quirks",
    [
        {"ignore_tag_filter": True, "list_identity": "metadata"},
        {"blind_tag_filter": True, "list_identity": "neither", "lower_case_tags": True, "page_token_end": "empty"},
        {"refuse_tag_filter": True, "run_identity": "neither", "simulations_api": "legacy-only"},
    ],
    ids=str,
)
def test_baseline_is_found_whatever_lists_show(quirks: dict[str, Any], run_step: RunStep, clock: VirtualClock) -> None:
    """It is the newest run that did not fail, and an accepted run is the last that is looked at."""
    past = Past(run_step, clock, **quirks)
    tags = "Nightly" if "lower_case_tags" in quirks else "nightly"
    first, second, failed = (past.launch(tags=tags) for _ in range(3))
    past.tag(failed, FAILED_TAG)
    past.launch(tags="nightly", agent_id=OTHER_AGENT)
    past.launch(pull_request=True, tags="nightly")
    for source in ("branch:main", "tag:nightly"):
        assert past.ids(f"{source} last 3") == [second, first]
    past.tag(second, ACCEPTED_TAG)
    assert past.ids("branch:main last 3") == [second]


PATHS = ("/runs", "/runs/*", "/conversations/simulated")


def test_hiccup_does_not_cost_the_baseline_an_outage_does_at_the_deadline_and_a_refusal_at_once(
    past: Past, clock: VirtualClock
) -> None:
    run_id = past.launch()
    past.launch()
    hiccups = [f"GET {path} #1-2 -> {fault}" for path, fault in zip(PATHS, ("503", "cut", "body {}"), strict=True)]
    for source in ("branch:main", f"run:{run_id}"):
        assert past.ids(source, *hiccups) == [run_id]
    for path in PATHS:
        began = clock.now()
        missing = past.missing("branch:main", f"GET {path} -> 503", patience=60)
        assert (missing.kind, missing.text[-1], clock.now() - began) == ("unreadable", ".", 60)
    older = "GET /simulations -> "  # the older address of the list of simulations
    for faults, expected_text in (
        (["GET /runs -> 403"], "runs:read"),
        (["GET /conversations/* -> 403", f"{older}403"], "simulated-conversations:read"),
        (["GET /conversations/* -> 404", f"{older}404"], "/simulations returned 404"),
    ):
        began = clock.now()
        missing = past.missing("branch:main", *faults)
        assert (missing.kind, expected_text in missing.text, clock.now()) == ("unreadable", True, began), missing.text


# What distinguishes the runs


def test_changes_since_the_baseline_are_found(past: Past) -> None:
    oldest = past.launch()
    change = past.world.edits.change
    change(CASES[2], input_str="Another question")
    change(CASES[3], description="Only another label")
    change(IDS["persona_id"], name="Only another name")
    past.world.edits.revise(catalogue.LATENCY.id)
    past.world.edits.revise(catalogue.TONE.id)
    past.launch(config_overrides='{"simulation_timeout_seconds": 60}')
    (earlier,) = past.find("branch:main").runs
    assert (earlier.changed_cases, earlier.changed_persona) == (frozenset({CASES[2]}), False)
    assert earlier.changed_metrics == frozenset({catalogue.LATENCY.id})
    assert (earlier.changed_options, earlier.unchecked) == (("config_overrides",), ())
    (earlier,) = past.find("branch:main", thresholds="Latency: avg < 9\nResolved: rate(YES) >= baseline").runs
    assert earlier.changed_metrics == frozenset(), "only metrics that are compared matter"
    (earlier,) = past.find("branch:main", thresholds="completed_rate >= baseline").runs
    assert (earlier.unchecked, [call for call in past.requests if call.endswith("/metrics")]) == ((), [])
    change(IDS["persona_id"], persona_prompt="Be brief.")
    past.launch()
    assert past.find("branch:main").runs[0].changed_persona
    past.launch(persona_id=OTHER_PERSONA)
    (earlier,) = past.find(f"run:{oldest}").runs
    assert (earlier.changed_persona, earlier.unchecked) == (True, ())


def test_what_coval_does_not_show_is_unchecked(run_step: RunStep, clock: VirtualClock) -> None:
    """Without a fingerprint, changes of test cases show in their times."""
    past = Past(run_step, clock, metric_versions="null", run_identity="tags", list_identity="tags")
    past.launch(baseline="")
    past.world.edits.change(CASES[2], description="Only another label")
    past.launch()
    (earlier,) = past.find("branch:main").runs
    assert (earlier.changed_cases, earlier.unchecked) == (frozenset({CASES[2]}), ("persona", "metrics"))
    (earlier,) = past.find("branch:main", "GET /test-cases -> 403").runs
    assert (earlier.changed_cases, earlier.unchecked) == (frozenset(), ("test_cases", "persona", "metrics"))
    began = clock.now()
    outages = ("GET /test-cases -> 503", "GET /conversations/simulated/*/metrics -> 503")
    (earlier,) = past.find("branch:main", *outages).runs
    assert earlier.unchecked == ("test_cases", "persona", "metrics")
    assert clock.now() - began <= 20


# Before the launch


def calls_before_launch(server: Server) -> list[str]:
    seen = [f"{request.method} {request.path.removeprefix('/v1')}" for request in server.requests_seen]
    return sorted(seen[: seen.index("POST /runs")])


@pytest.mark.parametrize(
    ("inputs", "calls", "searches"),
    [
        ({}, False, False),
        ({"baseline": "branch:main", "thresholds": "Latency: avg < 9"}, True, False),
        ({"baseline": "branch:main", "thresholds": "completed_rate >= baseline"}, True, True),
        ({"baseline": "tag:nightly", "mode": "launch"}, True, True),
    ],
    ids=str,
)
def test_step_reads_more_only_for_comparisons(inputs: dict[str, Any], calls: bool, searches: bool, past: Past) -> None:
    """A launch that is lost and repeated sends the same fingerprint."""
    lost = ["POST /runs #1 -> reset-before"] if searches else []
    past.night("passing", *lost, bare=True, **inputs)
    asked = [call for call in calls_before_launch(past.server) if "/personas/" in call or "/test-cases" in call]
    assert bool(asked) is (FINGERPRINT in past.world.runs[0].request.metadata.customer) is calls
    seen = [(request.method, request.path) for request in past.server.requests_seen]
    assert (("GET", "/v1/runs") in seen) is searches
    first, *again = (request.json for request in past.server.requests_seen if request.method == "POST")
    assert again == [first] * len(lost)


def test_launch_does_not_wait_long_for_what_cannot_be_read(past: Past, clock: VirtualClock) -> None:
    faults = [f"GET {path} -> 503" for path in ("/runs", "/test-cases", "/personas/*")]
    result = past.night("passing", *faults, mode="launch", baseline="branch:main", days=0)
    assert (result.exit_code, len(past.world.runs)) == (0, 1)
    assert clock.now() <= 7
    assert result.log.count("Could not look up the baseline before the launch: ") == 1
    assert len([line for line in result.log.splitlines() if "could not be read" in line]) == 1
    assert not [warning for warning in result.annotations("warning") if "no effect" in warning.data]


@pytest.mark.parametrize("mode", ["run", "launch"])
def test_named_run_that_cannot_be_a_baseline_costs_no_run(mode: str, past: Past) -> None:
    broken, own = past.launch("run-failed"), past.launch()
    inputs: dict[str, Any] = {"mode": mode, "thresholds": COMPARED if mode == "run" else ""}
    for named, reason in (
        ("a" * 22, f"baseline names the run {'a' * 22}, which Coval does not have."),
        (broken, f"baseline names the run {broken}, which did not complete: its status is FAILED."),
    ):
        result = past.night("passing", baseline=f"run:{named}", **inputs)
        assert (result.outputs["verdict"], result.outputs["reason"], len(past.world.runs)) == ("error", reason, 2)
    result = past.night("passing", mode="wait", run_id=own, baseline=f"run:{own}", thresholds=COMPARED)
    assert (result.outputs["verdict"], past.server.requests_seen) == ("error", [])
    assert result.outputs["reason"].startswith("baseline names the run that the step waits for")


def test_named_run_that_is_not_over_is_waited_for_until_the_deadline(past: Past, clock: VirtualClock) -> None:
    """The gate failed it meanwhile, which is reported."""
    inputs: dict[str, Any] = {"thresholds": COMPARED, "bare": True}
    named = past.launch(days=0)
    prolong(past.world, seconds=100)
    past.tag(named, FAILED_TAG)
    result = past.night("passing", baseline=f"run:{named}", max_wait_time="9000", **inputs)
    assert f"Waiting for the baseline: run {named} is IN PROGRESS.\n" in result.log
    assert f"Baseline run:{named}: run {named} of 2026-01-01, which the gate failed" in result.log
    (warning,) = warnings_of(result, "failed a comparison")
    assert named in warning
    stuck, began = past.launch("stuck", days=0), clock.now()
    result = past.night("passing", baseline=f"run:{stuck}", max_wait_time="200", days=0, **inputs)
    assert (result.outputs["verdict"], result.exit_code) == ("error", 1)
    assert f"run {stuck} had not ended when max_wait_time was over" in result.outputs["reason"]
    assert clock.now() - began <= 210


def warnings_of(result: StepResult, text: str) -> list[str]:
    return [warning.data for warning in result.annotations("warning") if text in warning.data]


@pytest.mark.parametrize(
    ("source", "quirks", "expected_text"),
    [
        ("tag:night", {}, "has the tag night, so {nothing}; did you mean nightly?"),
        ("branch:mian", {"refuse_tag_filter": True}, "is from the branch mian, so {nothing}; did you mean main?"),
        ("tag:zebra", {"blind_tag_filter": True}, "has the tag zebra, so {nothing}; tags that runs have: nightly."),
        ("tag:nightly", {}, ""),
    ],
    ids=str,
)
def test_name_that_no_run_has_is_a_warning_before_the_launch(
    source: str, quirks: dict[str, Any], expected_text: str, run_step: RunStep, clock: VirtualClock
) -> None:
    past = Past(run_step, clock, **quirks)
    past.launch(tags="nightly")
    past.launch(tags="nightlz", pull_request=True)
    result = past.night("passing", baseline=source, thresholds=COMPARED, bare=True)
    nothing = "there is nothing to compare this run with yet"
    expected = (
        [f"No earlier run of this agent, persona and test set {expected_text.format(nothing=nothing)}"]
        if expected_text
        else []
    )
    assert warnings_of(result, "No earlier run") == expected
    assert len(past.world.runs) == 3
    assert "GET /runs" in calls_before_launch(past.server)


def test_misspelt_tag_is_an_error_before_the_launch_and_never_given_to_a_run(past: Past) -> None:
    past.launch(tags="nightly")
    meant = "baseline names the tag nigthly, which no earlier run of this agent, persona and test set has; did you mean"
    given: list[dict[str, Any]] = [{}, {"mode": "launch"}, {"mode": "wait", "run_id": past.launch()}]
    for inputs in given:
        runs = len(past.world.runs)
        result = past.night("passing", baseline="tag:nigthly", **({"thresholds": COMPARED} | inputs))
        assert result.outputs["verdict"] == "error"
        assert result.outputs["reason"] == f"{meant} nightly?"
        assert len(past.world.runs) == runs
    assert not [record for record in past.world.runs if "nigthly" in record.tags]


# The end of a step


@pytest.mark.parametrize(("limit", "fault"), [(PREPARING + 61, "503"), (120, "403")])
def test_unreadable_baseline_is_no_pass_and_keeps_the_deadline(
    limit: float, fault: str, run_step: RunStep, clock: VirtualClock
) -> None:
    """A run that completes at the deadline leaves a moment for it."""
    inputs = {"baseline": "branch:main", "thresholds": COMPARED, "max_wait_time": f"{limit:g}"}
    result, _ = run_step(f"GET /runs -> {fault}", event=PUSH, env=ON_MAIN, bare=True, **inputs)
    assert result.outputs["verdict"] == "inconclusive"
    assert clock.now() <= max(limit, PREPARING + 61 + COLLECTING)
    if limit < 120:
        assert clock.now() > limit + COLLECTING - 3
