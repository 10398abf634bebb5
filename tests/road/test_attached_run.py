"""A run whose agent is the job's own process: whether that answered, and what that means for the verdict."""

import json
from typing import Any

import pytest

from coval_gate.ci.host import AGENT_TYPE, LEG
from coval_gate.history.tags import ATTACHED, UNANSWERED
from coval_sandbox.catalogue import AGENT_ID, PREVIEW_ID, SLOW_PREVIEW_ID, agent_for
from coval_sandbox.server import Server
from coval_sandbox.world import World
from own_build import with_own_builds
from road.legs import PERSONAS
from road.nights import ON_MAIN, PUSH, RunStep
from support import IDS, StepResult, VirtualClock

THRESHOLDS = "Resolved: rate(YES) >= 90%"
WAIT = {"mode": "wait", "agent_id": "", "persona_id": "", "test_set_id": "", "thresholds": THRESHOLDS}


class Job:
    """A job that launched a run of its own build, attached to it or not, and waits for it."""

    def __init__(self, run_step: RunStep, clock: VirtualClock) -> None:
        self.world: World = with_own_builds(World(clock.time))
        self.server: Server
        self.run_step = run_step
        self.clock = clock

    def launch(self, test_set: str = "passing1", *, note: str = "SDK_WEBSOCKET", agent: str = AGENT_ID) -> str:
        """Launch a run, as mode launch does, and return its id."""
        ids = IDS | {"agent_id": agent, "test_set_id": test_set}
        customer = {LEG: " · ".join(ids.values())} | ({AGENT_TYPE: note} if note else {})
        body = ids | {"metadata": {"customer": customer}}
        launched: str = self.world.launch(body)["run"]["run_id"]
        return launched

    def end(self) -> None:
        """Advance the time until all runs are over."""
        self.clock.sleep(200.0)

    def attach(self, run_id: str) -> None:
        """Tag the run, as a process does at its end that answered every simulation."""
        self.world.update_run(run_id, {"tags": [ATTACHED]})

    def wait(self, *run_ids: str, **inputs: str) -> StepResult:
        """Judge the runs."""
        paths = {"json_path": "reports/coval.json", "junit_path": "reports/junit.xml"}
        result, self.server = self.run_step(world=self.world, **WAIT | {"run_id": ",".join(run_ids)} | paths | inputs)
        return result

    def calls(self, path: str) -> int:
        """Return how often the step has read a path."""
        return sum(request.path.removeprefix("/v1").startswith(path) for request in self.server.requests_seen)


@pytest.fixture
def job(run_step: RunStep, clock: VirtualClock) -> Job:
    return Job(run_step, clock)


def leg_of(result: StepResult) -> dict[str, Any]:
    """Return the only leg of the JSON report."""
    (leg,) = json.loads(result.json)["legs"]
    assert isinstance(leg, dict)
    return leg


@pytest.mark.parametrize(("test_set", "verdict"), [("passing1", "passed"), ("runFails", "failed")])
def test_run_that_this_commit_answered_is_judged_and_reported_as_such(test_set: str, verdict: str, job: Job) -> None:
    run_id = job.launch(test_set)
    job.attach(run_id)
    result = job.wait(run_id)
    assert result.outputs["verdict"] == verdict
    assert "Tested: this commit (attached)" in result.summary.splitlines()[:5]
    assert leg_of(result)["tested"] == "this commit (attached)"
    assert job.calls("/agents") == 1, "the launch has noted the type: only the name is requested"


@pytest.mark.parametrize(("test_set", "noted"), [("passing1", ""), ("runFails", "SDK_WEBSOCKET")])
def test_run_without_the_tag_is_an_error_however_it_ended(test_set: str, noted: str, job: Job) -> None:
    """Without the launch's note, Coval shows what the agent is."""
    run_id = job.launch(test_set, note=noted)
    job.end()
    began = job.clock.now()
    result = job.wait(run_id)
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"].startswith("Nothing shows that a job answered every simulation: ")
    assert "Run coval-gate attach between" in result.summary
    assert leg_of(result)["tested"] == f"agent {agent_for(AGENT_ID).name} (not attached)"
    (error,) = result.annotations("error")
    assert error.properties["title"] == "Coval Gate: Run not answered"
    assert job.calls("/agents") == 1, "for the type or, where the launch has noted that, for the name"
    assert job.clock.now() - began < 60


def test_run_that_fails_at_once_without_the_tag_is_an_error(job: Job) -> None:
    """`abort_after_failures` gives up the run, but reports nothing about an agent that was not attached."""
    result = job.wait(job.launch("allFail1"), abort_after_failures="2")
    assert result.outputs["verdict"] == "error"
    assert "The run was cancelled." in result.summary


@pytest.mark.parametrize(
    ("tags", "verdict", "status", "ends"),
    [([UNANSWERED], "error", "CANCELLED", 80), ([UNANSWERED, ATTACHED], "timed_out", "IN PROGRESS", 120)],
    ids=["left", "answered by another job"],
)
def test_run_that_its_job_has_left_is_given_up_at_once_unless_another_answered_it(
    tags: list[str], verdict: str, status: str, ends: float, job: Job
) -> None:
    run_id = job.launch("slow0001")
    job.clock.at(40.0, lambda: job.world.update_run(run_id, {"tags": tags}) and None)
    assert job.wait(run_id, max_wait_time="120").outputs["verdict"] == verdict
    assert job.world.runs[0].status(job.clock.time()) == status
    assert job.clock.now() <= ends


@pytest.mark.parametrize("agent_id", [AGENT_ID, ""])
def test_run_that_does_not_show_its_agent_is_of_the_agent_that_the_step_names(agent_id: str, job: Job) -> None:
    """Coval's answers may leave the id out. Without any, the step reports what it cannot see."""
    run_id = job.launch(note="")
    job.end()
    run = job.world.get_run(run_id)["run"]
    shown = json.dumps({"run": {name: value for name, value in run.items() if name not in ("agent_id", "metadata")}})
    inputs = WAIT | {"agent_id": agent_id, "run_id": run_id}
    result, _ = job.run_step(f"GET /runs/* -> json {shown}", world=job.world, **inputs)
    warnings = [text for text in map(str, result.annotations("warning")) if "does not show the agent" in text]
    assert (result.outputs["verdict"], len(warnings)) == (("error", 0) if agent_id else ("passed", 1))


def test_type_of_the_agent_is_read_again_after_an_error_that_passes(job: Job) -> None:
    """Otherwise, an error of the network could make a run green that no process answered."""
    run_id = job.launch(note="")
    result, _ = job.run_step("GET /agents/* #1-2 -> 503", world=job.world, **WAIT | {"run_id": run_id})
    assert result.outputs["reason"].startswith("Nothing shows that a job answered")


def test_agent_that_the_key_may_not_read_is_not_called_deployed_and_the_step_warns(job: Job) -> None:
    launched, _ = job.run_step("GET /agents/* -> 403", world=job.world, mode="launch", agent_id=AGENT_ID)
    inputs = WAIT | {"run_id": launched.outputs["run_id"]}
    result, _ = job.run_step("GET /agents/* -> 403", world=job.world, json_path="reports/coval.json", **inputs)
    assert result.outputs["verdict"] == "passed"
    for step in (launched, result):
        (warning,) = [text for text in map(str, step.annotations("warning")) if "agents:read" in text]
        assert "a run that was not answered is not noticed" in warning
    assert leg_of(result)["tested"] == f"agent {AGENT_ID}"
    assert "as deployed" not in result.summary
    inputs = {"mode": "launch", "agent_id": AGENT_ID, "persona_id": PERSONAS}
    legs, _ = job.run_step("GET /agents/* -> 403", world=job.world, **inputs)
    assert sum("agents:read" in str(text) for text in legs.annotations("warning")) == 1, "one for all legs of an agent"


def test_agent_that_coval_reaches_is_judged_as_ever(job: Job) -> None:
    """Mode launch notes the type, so that mode wait requests nothing more but the agent's name."""
    job.world = World(job.clock.time)
    launched, server = job.run_step(world=job.world, mode="launch", agent_id=PREVIEW_ID)
    assert job.world.runs[0].body["metadata"]["customer"][AGENT_TYPE] == "VOICE"
    assert [request.path for request in server.requests_seen if "/agents/" in request.path] == [
        f"/v1/agents/{PREVIEW_ID}"
    ]
    result = job.wait(launched.outputs["run_id"])
    assert (result.outputs["verdict"], job.calls("/agents")) == ("passed", 1)
    assert leg_of(result)["tested"] == f"agent {agent_for(PREVIEW_ID).name} as deployed"


def test_mode_run_refuses_an_agent_that_a_job_answers_and_shows_what_to_do(job: Job) -> None:
    result, _ = job.run_step(world=job.world)
    assert (result.outputs["verdict"], job.world.runs) == ("error", ())
    assert "of type SDK_WEBSOCKET: a process of yours has to answer" in result.outputs["reason"]
    for step in ("mode: launch", "coval-gate attach MODULE:HANDLER --run RUN_ID", "mode: wait"):
        assert step in result.summary
    (error,) = result.annotations("error")
    assert error.properties["title"] == "Coval Gate: Run not answered"


def test_mode_run_ends_a_run_whose_agent_was_unreadable_before_the_launch(job: Job) -> None:
    result, _ = job.run_step("GET /agents/* #1-2 -> 503", world=job.world, cancel_on_interrupt="false")
    assert "of type SDK_WEBSOCKET" in result.outputs["reason"]
    (record,) = job.world.runs
    assert record.status(job.clock.time()) == "CANCELLED"


def test_mode_run_compares_with_no_base_agent_that_a_job_answers(run_step: RunStep, clock: VirtualClock) -> None:
    world = with_own_builds(World(clock.time), PREVIEW_ID)
    result, _ = run_step(world=world, base_agent_id=PREVIEW_ID, thresholds="Latency: avg <= base * 1.1")
    assert (result.outputs["verdict"], world.runs) == ("error", ())
    assert f"Agent {PREVIEW_ID} is of type SDK_WEBSOCKET" in result.outputs["reason"]


@pytest.mark.parametrize(("tags", "verdict"), [([ATTACHED], "passed"), ([], "error"), ([UNANSWERED], "error")], ids=str)
def test_run_of_the_base_has_to_be_answered_as_well(tags: list[str], verdict: str, job: Job) -> None:
    inputs = {"base_agent_id": PREVIEW_ID, "thresholds": "Latency: avg <= base * 1.5"}
    launched, _ = job.run_step(world=job.world, mode="launch", base_agent_id=PREVIEW_ID)
    own, base = json.loads(launched.outputs["run_ids"])
    job.attach(own)
    job.world.update_run(base, {"tags": tags})
    result = job.wait(own, base, **IDS | inputs, on_inconclusive="pass", on_timeout="pass")
    assert result.outputs["verdict"] == verdict, result.log


def test_own_build_is_not_repeated_because_nothing_would_answer(job: Job) -> None:
    launched, _ = job.run_step(world=job.world, mode="launch", test_set_id="someFail")
    job.attach(launched.outputs["run_id"])
    inputs = IDS | {"test_set_id": "someFail", "repeat_on_failure": "1", "thresholds": "Resolved: rate(YES) >= 99%"}
    result = job.wait(launched.outputs["run_id"], **inputs)
    assert (result.outputs["verdict"], len(job.world.runs)) == ("failed", 1)
    assert any("is not repeated" in text for text in map(str, result.annotations("warning")))


@pytest.mark.parametrize(
    ("late", "grace", "verdict"), [(20, "600", "passed"), (40, "600", "error"), (20, "0", "error")]
)
def test_tag_that_comes_after_the_end_is_awaited_shortly(late: int, grace: str, verdict: str, job: Job) -> None:
    run_id = job.launch()
    (record,) = job.world.runs
    job.clock.at(record.end_time - job.clock.time() + job.clock.now() + late, lambda: job.attach(run_id))
    assert job.wait(run_id, metrics_grace_time=grace).outputs["verdict"] == verdict


def test_each_of_several_legs_has_its_own_end(job: Job) -> None:
    good, left = job.launch(), job.launch(agent=PREVIEW_ID)
    alone = job.launch(agent=SLOW_PREVIEW_ID, note="VOICE")
    job.attach(good)
    job.end()
    agents = ",".join([AGENT_ID, PREVIEW_ID, SLOW_PREVIEW_ID])
    result = job.wait(good, left, alone, thresholds="Latency: avg < 9", **IDS | {"agent_id": agents})
    assert result.outputs["verdict"] == "error"
    legs = {leg["run"]["id"]: leg for leg in json.loads(result.json)["legs"]}
    assert [legs[run_id]["verdict"] for run_id in (good, left, alone)] == ["passed", "error", "passed"]
    assert legs[good]["tested"] == "this commit (attached)"
    assert legs[alone]["tested"] == f"agent {agent_for(SLOW_PREVIEW_ID).name} as deployed"
    tested = next(line for line in result.summary.splitlines() if line.startswith("Tested: "))
    assert tested.count("(attached") == 1


def test_run_that_no_job_answered_is_no_baseline(job: Job) -> None:
    launched, _ = job.run_step(world=job.world, mode="launch", event=PUSH, env=ON_MAIN)
    job.end()
    job.run_step(world=job.world, event=PUSH, env=ON_MAIN, **WAIT | {"run_id": launched.outputs["run_id"]})
    assert "coval-gate/failed" in job.world.runs[0].tags
