"""A step of Bitbucket Pipelines writes a report on its commit, through the proxy, and never depends on it."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from coval_gate.step.main import main
from coval_gate.step.post import post
from coval_sandbox.server import Server
from coval_sandbox.world import World
from fake_bitbucket import FakeBitbucket, Report, Session, session_with
from road.test_reports import Killed, kill
from support import DEFAULTS, IDS, KEY, VirtualClock, runtime

RunStep = Callable[..., "Step"]


SHA = "5be3a1b0c9d8e7f60718293a4b5c6d7e8f901234"
BITBUCKET = {
    "CI": "true",
    "BITBUCKET_BUILD_NUMBER": "17",
    "BITBUCKET_STEP_RUN_NUMBER": "1",
    "BITBUCKET_STEP_UUID": "{5a50dd52-5ab7-4225-831c-4db9451375a2}",
    "BITBUCKET_COMMIT": SHA,
    "BITBUCKET_BRANCH": "main",
    "BITBUCKET_WORKSPACE": "acme",
    "BITBUCKET_REPO_SLUG": "voice-agent",
    "BITBUCKET_REPO_FULL_NAME": "acme/voice-agent",
    "BITBUCKET_GIT_HTTP_ORIGIN": "http://bitbucket.org/acme/voice-agent",
}


class Step(NamedTuple):
    """The exit code and the log of a step, and what it sent to Coval."""

    exit_code: int
    log: str
    server: Server

    @property
    def complaints(self) -> list[str]:
        """The lines about the report."""
        return [line for line in self.log.splitlines() if "No report in Bitbucket" in line]


@pytest.fixture
def run_step(tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> RunStep:
    """Return a function that runs a step in Bitbucket's environment, in a checkout."""
    monkeypatch.chdir(tmp_path)

    def run(
        session: type[Session],
        env: dict[str, str] | None = None,
        world: World | None = None,
        faults: tuple[str, ...] = (),
        **inputs: str,
    ) -> Step:
        log = io.StringIO()
        with Server(world or World(clock.time), faults=faults) as server:
            given = DEFAULTS | IDS | {"api_base_url": server.url} | inputs
            environ = BITBUCKET | {f"INPUT_{name.upper()}": value for name, value in given.items()}
            environ |= {"COVAL_API_KEY": KEY} | (env or {})
            code = main(runtime(clock, environ=environ, stdout=log, new_session=session))
        return Step(code, log.getvalue(), server)

    return run


def only(bitbucket: FakeBitbucket) -> Report:
    """Return the only report, which is on the tested commit."""
    (((sha, _), report),) = bitbucket.reports.items()
    assert sha == SHA
    return report


def test_passing_step_reports_on_its_commit(run_step: RunStep) -> None:
    with FakeBitbucket() as bitbucket:
        step = run_step(session_with(localhost=bitbucket.url))
    assert step.exit_code == 0
    assert bitbucket.results == ["PENDING", "PASSED"]
    report = only(bitbucket)
    assert report.fields["title"] == "Coval Gate: Front desk, Passing, Plain caller"
    assert report.fields["details"].startswith("✅ Passed\nAll 10 simulations completed.")
    assert report.fields["link"].startswith("https://app.coval.dev/")
    assert report.fields["data"][:3] == [
        {"title": "Pass rate", "type": "PERCENTAGE", "value": 100.0},
        {"title": "Simulations", "type": "NUMBER", "value": 10},
        {"title": "Completed", "type": "NUMBER", "value": 10},
    ]
    assert report.annotations == {}
    assert step.complaints == []


def test_later_attempt_replaces_the_report_and_its_annotations(run_step: RunStep) -> None:
    with FakeBitbucket() as bitbucket:
        session = session_with(localhost=bitbucket.url)
        assert run_step(session, test_set_id="someFail").exit_code == 1
        assert bitbucket.results == ["PENDING", "FAILED"]
        annotations = [*only(bitbucket).annotations.values()]
        assert {one["result"] for one in annotations} == {"FAILED"}
        assert all(one["summary"].startswith("Coval: ") and one["details"] for one in annotations)
        again = {"BITBUCKET_STEP_RUN_NUMBER": "2"}
        run_step(session, env=again, test_set_id="someFail", max_failed_simulations="100%")
        report = only(bitbucket)
        assert (report.fields["result"], report.annotations) == ("PASSED", {})
        run_step(session, env={"BITBUCKET_PARALLEL_STEP": "1"}, thresholds="pass_rate >= many")
        assert "thresholds" in list(bitbucket.reports.values())[1].fields["details"]
        assert len(bitbucket.reports) == 2, "another step has its own"


def test_container_reaches_the_proxy_by_another_name(run_step: RunStep) -> None:
    with FakeBitbucket() as bitbucket:
        session = session_with(host_docker_internal=bitbucket.url)
        step = run_step(session)
    assert bitbucket.results == ["PENDING", "PASSED"]
    assert step.complaints == []
    assert session.proxies_used[0] == "http://localhost:29418"
    assert set(session.proxies_used[1:]) == {"http://host.docker.internal:29418"}


def test_proxy_gets_no_credential_and_only_requests_to_bitbucket(
    run_step: RunStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coval's API is reached without it, and no other proxy gets the report."""
    with FakeBitbucket() as bitbucket, FakeBitbucket() as other:
        monkeypatch.setenv("HTTP_PROXY", other.url)
        monkeypatch.setenv("NO_PROXY", "api.bitbucket.org")
        step = run_step(session_with(localhost=bitbucket.url), test_set_id="someFail")
    assert [request.method for request in bitbucket.requests_seen] == ["DELETE", "PUT", "PUT", "POST"]
    assert other.requests_seen == []
    for request in bitbucket.requests_seen:
        assert request.path.startswith("http://api.bitbucket.org/2.0/repositories/acme/voice-agent/commit/")
        assert request.headers["host"] == "api.bitbucket.org"
        assert not {"authorization", "x-api-key", "cookie"} & set(request.headers)
        assert KEY.encode() not in request.body
        assert KEY not in str(request.headers)
    assert any(request.method == "POST" for request in step.server.requests_seen)


def test_step_without_the_proxy_says_so_once(run_step: RunStep) -> None:
    healthy = run_step(session_with())
    assert healthy.exit_code == 0
    assert healthy.complaints == ["Notice: No report in Bitbucket"]
    assert healthy.log.splitlines()[-1].startswith("\x1b[1;32m✅ Passed: ")


def test_proxy_that_refuses_changes_no_verdict(run_step: RunStep) -> None:
    with FakeBitbucket(PUT=302) as bitbucket:
        step = run_step(session_with(localhost=bitbucket.url), comment="always", commit_status="Voice")
    assert step.exit_code == 0
    assert len(step.complaints) == 1
    assert "returned 302" in step.log
    assert "Skipping comment and commit status: the job has no GitHub repository." in step.log
    assert not [line for line in step.log.splitlines() if line.startswith("::")]


def test_proxy_that_takes_no_annotations_still_has_the_report(run_step: RunStep) -> None:
    with FakeBitbucket(POST=500, DELETE=405) as bitbucket:
        step = run_step(session_with(localhost=bitbucket.url), test_set_id="someFail")
    assert bitbucket.results == ["PENDING", "FAILED"]
    assert "The report in Bitbucket lacks its annotations: POST " in step.log
    assert step.complaints == []


def test_killed_step_leaves_its_report_to_the_post_step(run_step: RunStep, clock: VirtualClock) -> None:
    world = World(clock.time)
    with FakeBitbucket() as bitbucket:
        session = session_with(localhost=bitbucket.url)
        clock.at(30, kill)
        with pytest.raises(Killed):
            run_step(session, world=world)
        assert bitbucket.results == ["PENDING"]
        with Server(world) as server:
            environ = BITBUCKET | {"INPUT_API_BASE_URL": server.url, "COVAL_API_KEY": KEY}
            environ |= {f"INPUT_{name.upper()}": value for name, value in IDS.items()}
            log = io.StringIO()
            assert post(runtime(clock, environ=environ, stdout=log, new_session=session)) == 0
        assert [record.status(clock.time()) for record in world.runs] == ["CANCELLED"]
        assert bitbucket.results == ["PENDING", "FAILED"]
        assert only(bitbucket).fields["details"] == "⚠️ Error: The step ended before it could reach a verdict."
        before = list(bitbucket.requests_seen)
        assert post(runtime(clock, environ=environ, stdout=log, new_session=session)) == 0
        assert bitbucket.requests_seen == before


def test_post_step_shows_the_verdict_that_the_step_could_not(run_step: RunStep, clock: VirtualClock) -> None:
    world = World(clock.time)
    with FakeBitbucket(PUT=503) as bitbucket:
        session = session_with(localhost=bitbucket.url)
        run_step(session, world=world)
        bitbucket.faults.clear()
        with Server(world) as server:
            environ = BITBUCKET | {"INPUT_API_BASE_URL": server.url, "COVAL_API_KEY": KEY}
            post(runtime(clock, environ=environ, stdout=io.StringIO(), new_session=session))
        assert bitbucket.results == ["PASSED"]


def test_odd_names_of_the_repository_are_not_sent(run_step: RunStep) -> None:
    with FakeBitbucket() as bitbucket:
        step = run_step(session_with(localhost=bitbucket.url), env={"BITBUCKET_WORKSPACE": "../../evil"})
    assert (step.exit_code, bitbucket.requests_seen) == (0, [])
    assert "Skipping code insights: BITBUCKET_WORKSPACE and BITBUCKET_REPO_SLUG do not name a repository." in step.log


def test_step_that_waits_reports_on_the_commit_of_its_run(run_step: RunStep, clock: VirtualClock) -> None:
    world = World(clock.time)
    with FakeBitbucket() as bitbucket:
        session = session_with(localhost=bitbucket.url)
        run_step(session, world=world, mode="launch")
        assert bitbucket.requests_seen == [], "without a verdict, there is no report"
        (record,) = world.runs
        later = {"BITBUCKET_BUILD_NUMBER": "18", "BITBUCKET_COMMIT": "6" * 40}
        step = run_step(session, world=world, env=later, mode="wait", run_id=record.run_id)
    assert step.exit_code == 0
    assert only(bitbucket).fields["result"] == "PASSED"
