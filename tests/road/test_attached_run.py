"""A run whose agent is the job's own process: who answered its simulations, and what that means for the verdict."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from junitparser import JUnitXml

from coval_gate.ci.host import AGENT_TYPE
from coval_gate.model.attachment import STALE, Attachment, AttachRecord, Outcome, as_json, path_of, tag_of
from coval_sandbox.catalogue import AGENT_ID, PREVIEW_ID, agent_for
from coval_sandbox.catalogue_api import CatalogueApi
from coval_sandbox.world import World
from support import EPOCH, IDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coval_sandbox.server import Server
    from support import StepResult, VirtualClock

    RunStep = Callable[..., tuple[StepResult, Server]]

THRESHOLDS = "Resolved: rate(YES) >= 90%"
LINE = "ZeroDivisionError: division by zero"
WAIT = {"mode": "wait", "agent_id": "", "persona_id": "", "test_set_id": "", "thresholds": THRESHOLDS}


class OwnBuild(World):
    """A world whose agents are processes of the user's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.catalogue = OwnAgents(self.scenario_for, self.quirks, self.edits)


class OwnAgents(CatalogueApi):
    """The sandbox's catalogue, with another type of agents."""

    def get_agent(self, agent_id: str) -> dict[str, Any]:
        """Return an agent as the sandbox shows it, but for its type."""
        shown = super().get_agent(agent_id)
        return {"agent": {**shown["agent"], "model_type": "MODEL_TYPE_SDK_WEBSOCKET"}}


class Job:
    """A job that launched a run of its own build, attached to it or not, and waits for it."""

    def __init__(self, run_step: RunStep, clock: VirtualClock, directory: Path) -> None:
        self.world: World = OwnBuild(clock.time)
        self.server: Server
        self.run_step = run_step
        self.clock = clock
        self.workspace = directory / "workspace"

    def launch(self, test_set: str = "passing1", *, note: str = "SDK_WEBSOCKET", agent: str = AGENT_ID) -> str:
        """Launch a run, as mode launch does, and return its id."""
        customer = {AGENT_TYPE: note} if note else {}
        body = {**IDS, "agent_id": agent, "test_set_id": test_set, "metadata": {"customer": customer}}
        launched: str = self.world.launch(body)["run"]["run_id"]
        return launched

    def simulations(self, run_id: str) -> list[str]:
        """Return the ids of the run's simulations."""
        (record,) = [record for record in self.world.runs if record.run_id == run_id]
        return [planned.simulation_id for planned in record.plan.simulations]

    def attach(
        self, run_id: str, *others: Outcome, done: bool = True, problem: str = "", more: int = 0, skew: float = 0.0
    ) -> None:
        """Write the record of a process that answered the simulations, but for the first ones.

        `skew`: how many seconds its clock is ahead.
        """
        ids = [*self.simulations(run_id), *(f"madeUp{number}" for number in range(more))]
        simulations = {id_: Attachment("answered", log=f".coval-gate/logs/{id_}.log") for id_ in ids}
        for id_, outcome in zip(ids, others, strict=False):
            error = LINE if outcome == "crashed" else ""
            simulations[id_] = Attachment(outcome, error=error, log=f".coval-gate/logs/{id_}.log")
        now = self.clock.time() + skew
        self.write(AttachRecord(run_id, "agent:handle", now, now, done, problem, simulations))

    def write(self, record: AttachRecord) -> None:
        """Write a record to the workspace."""
        file = self.workspace / path_of(record.run_id)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(as_json(record), encoding="utf-8")

    def end(self) -> None:
        """Let all runs come to their end."""
        self.clock.sleep(200.0)

    def tag(self, run_id: str, answered: int, total: int) -> None:
        """Tag the run, as a process in another job does at its end."""
        self.world.update_run(run_id, {"tags": [tag_of(answered, total)]})

    def wait(self, *run_ids: str, **inputs: str) -> StepResult:
        """Judge the runs."""
        paths = {"json_path": "reports/coval.json", "junit_path": "reports/junit.xml"}
        result, self.server = self.run_step(world=self.world, **WAIT | {"run_id": ",".join(run_ids)} | paths | inputs)
        return result

    def calls(self, path: str) -> int:
        """Return how often the step has read a path."""
        return sum(request.path.removeprefix("/v1").startswith(path) for request in self.server.requests_seen)

    def status(self, run_id: str) -> str:
        """Return the status of a run."""
        (record,) = [record for record in self.world.runs if record.run_id == run_id]
        return record.status(self.clock.time())


@pytest.fixture
def job(run_step: RunStep, clock: VirtualClock, tmp_path: Path) -> Job:
    return Job(run_step, clock, tmp_path)


def leg_of(result: StepResult) -> dict[str, Any]:
    """Return the only leg of the JSON report."""
    (leg,) = json.loads(result.json)["legs"]
    assert isinstance(leg, dict)
    return leg


def test_run_that_this_commit_answered_is_judged_and_said_to_be_so(job: Job) -> None:
    run_id = job.launch()
    job.attach(run_id)
    result = job.wait(run_id)
    assert result.outputs["verdict"] == "passed"
    assert "Tested: this commit (attached)" in result.summary.splitlines()[:5]
    assert (leg_of(result)["tested"], leg_of(result)["answered_simulations"]) == ("this commit (attached)", 10)
    assert "this job answered every simulation" in result.summary
    assert job.calls("/agents") == 1, "the launch has noted the type: only the name is asked for"


def test_bad_agent_of_this_commit_is_a_failure(job: Job) -> None:
    run_id = job.launch("failing1")
    job.attach(run_id)
    result = job.wait(run_id)
    assert result.outputs["verdict"] == "failed"
    assert leg_of(result)["tested"] == "this commit (attached)"


@pytest.mark.parametrize("test_set", ["passing1", "someFail", "allFail1", "runFails"])
def test_crash_is_an_error_of_the_set_up_however_the_run_ended(test_set: str, job: Job) -> None:
    run_id = job.launch(test_set)
    job.attach(run_id, "crashed", "missed")
    first = job.simulations(run_id)[0]
    job.end()
    result = job.wait(run_id)
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"].startswith(
        "2 of 10 simulations were not answered by this job: a process crashed with "
        f"{LINE} (log: .coval-gate/logs/{first}.log)"
    )
    assert "upload that directory" in result.summary
    assert leg_of(result)["answered_simulations"] == 8
    assert leg_of(result)["tested"] == f"agent {agent_for(AGENT_ID).name} (attached to 8 of 10 simulations)"
    (error,) = result.annotations("error")
    assert error.properties["title"] == "Coval Gate: Run not answered"
    junit = JUnitXml.fromstring(result.junit)
    errors = [case for suite in junit for case in suite for outcome in case.result if LINE in (outcome.message or "")]
    # The simulation shows it, too, unless it completed nevertheless.
    assert len(errors) == (2 if test_set == "allFail1" else 1)


@pytest.mark.parametrize("noted", ["SDK_WEBSOCKET", ""])
def test_run_without_a_record_and_a_tag_is_an_error(noted: str, job: Job) -> None:
    """Without the launch's note, Coval says what the agent is."""
    run_id = job.launch(note=noted)
    result = job.wait(run_id)
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"].startswith("Nothing shows that a job answered the simulations: ")
    assert "`coval-gate attach`" in result.outputs["reason"] or "coval-gate attach" in result.summary
    assert "if: always()" in result.summary
    tested = f"agent {agent_for(AGENT_ID).name} (not attached)"
    assert (leg_of(result)["tested"], leg_of(result)["answered_simulations"]) == (tested, 0)
    assert job.calls("/agents") == 1, "for the type or, where the launch has noted that, for the name"


def test_type_of_the_agent_is_read_again_after_an_error_that_passes(job: Job) -> None:
    """Otherwise, an error of the network could make a run green that no process answered."""
    run_id = job.launch(note="")
    result, _ = job.run_step("GET /agents/* #1-2 -> 503", world=job.world, **WAIT | {"run_id": run_id})
    assert result.outputs["reason"].startswith("Nothing shows that a job answered")


def test_agent_that_the_key_may_not_read_changes_nothing(job: Job) -> None:
    run_id = job.launch(note="")
    result, _ = job.run_step("GET /agents/* -> 403", world=job.world, **WAIT | {"run_id": run_id})
    assert result.outputs["verdict"] == "passed"
    assert f"Tested: agent {AGENT_ID} as deployed" in result.summary


@pytest.mark.parametrize("agent", [AGENT_ID, PREVIEW_ID])
def test_agent_that_coval_reaches_is_judged_as_ever(agent: str, job: Job) -> None:
    """Mode launch notes the type, so that mode wait asks for nothing more but the agent's name."""
    job.world = World(job.clock.time)
    launched, server = job.run_step(world=job.world, mode="launch", agent_id=agent)
    assert job.world.runs[0].body["metadata"]["customer"][AGENT_TYPE] == "VOICE"
    assert [request.path for request in server.requests_seen if "/agents/" in request.path] == [f"/v1/agents/{agent}"]
    result = job.wait(launched.outputs["run_id"])
    assert (result.outputs["verdict"], job.calls("/agents")) == ("passed", 1)
    tested = f"agent {agent_for(agent).name} as deployed"
    assert (leg_of(result)["tested"], leg_of(result)["answered_simulations"]) == (tested, None)


def test_mode_run_asks_for_no_type(run_step: RunStep) -> None:
    result, server = run_step()
    assert result.outputs["verdict"] == "passed"
    calls = [(request.method, request.path) for request in server.requests_seen]
    assert calls[0] == ("POST", "/v1/runs"), "the start is measured"
    assert AGENT_TYPE not in server.world.runs[0].body["metadata"]["customer"]


@pytest.mark.parametrize(
    "fault",
    ["GET /agents/* -> 403", "GET /agents/* -> 500", "GET /agents/* -> hang 60"],
)
def test_launch_does_not_depend_on_the_type(fault: str, job: Job) -> None:
    result, _ = job.run_step(fault, world=job.world, mode="launch")
    assert result.exit_code == 0
    assert AGENT_TYPE not in job.world.runs[0].body["metadata"]["customer"]


def test_note_and_fingerprint_are_both_in_the_metadata(job: Job) -> None:
    job.run_step(world=job.world, mode="launch", baseline="branch:main")
    customer = job.world.runs[0].body["metadata"]["customer"]
    assert customer[AGENT_TYPE] == "SDK_WEBSOCKET"
    assert "coval_gate_fingerprint" in customer


def test_tag_of_another_job_is_enough(job: Job) -> None:
    run_id = job.launch()
    job.tag(run_id, 10, 10)
    result = job.wait(run_id)
    assert result.outputs["verdict"] == "passed"
    assert leg_of(result)["tested"] == "this commit (attached)"


def test_tag_that_comes_after_the_end_is_awaited(job: Job) -> None:
    run_id = job.launch()
    job.clock.at(100.0, lambda: job.tag(run_id, 10, 10))
    result = job.wait(run_id)
    assert result.outputs["verdict"] == "passed"
    assert 100 < job.clock.now() < 120


@pytest.mark.parametrize(("answered", "total", "shown"), [(8, 10, "2 of 10"), (8, 8, "2 of 10"), (0, 10, "10 of 10")])
def test_tag_with_fewer_is_an_error(answered: int, total: int, shown: str, job: Job) -> None:
    """Coval's own count is compared, too."""
    run_id = job.launch()
    job.tag(run_id, answered, total)
    result = job.wait(run_id)
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"] == f"{shown} simulations were not answered by this job."


def test_tag_of_a_process_that_saw_a_crash_outranks_a_later_record(job: Job) -> None:
    """A re-run on another runner attaches to a run that is over, and only sees that Coval had a process each."""
    run_id = job.launch()
    job.end()
    job.tag(run_id, 9, 10)
    job.attach(run_id, *["before"] * 10)  # type: ignore[arg-type]
    result = job.wait(run_id)
    assert result.outputs["verdict"] == "error"
    assert result.outputs["reason"] == "1 of 10 simulations was not answered by this job."
    job.attach(run_id, "crashed", "crashed")
    assert job.wait(run_id).outputs["reason"].startswith("2 of 10 simulations were not answered by this job: ")


@pytest.mark.parametrize("end", ["done with a problem", "done", "gone", "gone before the first"])
def test_run_that_nobody_answers_any_more_is_ended(end: str, job: Job) -> None:
    run_id = job.launch("slow0001")
    if end == "gone before the first":
        now = job.clock.time()
        job.write(AttachRecord(run_id, "agent:handle", now, now))
    else:
        problem = "It received the signal SIGTERM." if "problem" in end else ""
        job.attach(run_id, "waiting", "attached", done=end != "gone", problem=problem)
    result = job.wait(run_id, max_wait_time="7200")
    assert (result.outputs["verdict"], job.status(run_id)) == ("error", "CANCELLED")
    assert "not answered by this job: " in result.outputs["reason"]
    assert "The run was cancelled." in result.summary
    assert job.clock.now() < (30 if "done" in end else STALE + 60)
    expected = {"done with a problem": "SIGTERM", "done": "coval-gate attach ended while"}.get(end, "attach is gone")
    assert expected in result.outputs["reason"]


def test_run_whose_process_lives_is_awaited(job: Job) -> None:
    """A record that is written again and again is that of a process that lives, whatever it shows so far."""
    run_id = job.launch()
    for second in range(0, 100, 20):
        job.clock.at(second, lambda: job.attach(run_id, "crashed", "attached", done=False))
    job.clock.at(105.0, lambda: job.attach(run_id))
    job.attach(run_id, "waiting", done=False)
    result = job.wait(run_id)
    assert result.outputs["verdict"] == "passed"


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_clocks_of_the_step_and_the_process_may_differ(skew: float, job: Job) -> None:
    run_id = job.launch()
    for second in range(0, 100, 20):
        job.clock.at(second, lambda: job.attach(run_id, "waiting", done=False, skew=skew))
    job.clock.at(105.0, lambda: job.attach(run_id, skew=skew))
    job.attach(run_id, "waiting", done=False, skew=skew)
    assert job.wait(run_id).outputs["verdict"] == "passed"

    left = job.launch("slow0001")
    job.attach(left, "waiting", done=False, skew=skew)
    began = job.clock.now()
    result = job.wait(left, max_wait_time="7200")
    assert (result.outputs["verdict"], job.status(left)) == ("error", "CANCELLED")
    assert "attach is gone" in result.outputs["reason"]
    assert job.clock.now() - began < STALE + 60


def test_clock_that_is_set_makes_no_process_gone(job: Job) -> None:
    """The record then looks old until the process writes it again."""
    run_id = job.launch()

    def write(changed: float) -> None:
        job.write(AttachRecord(run_id, "agent:handle", EPOCH, changed, simulations={"one": Attachment("attached")}))

    for second in range(0, 40, 10):
        job.clock.at(second, lambda: write(job.clock.time() - 300.0))
    job.clock.at(40.0, lambda: job.attach(run_id))
    assert job.wait(run_id).outputs["verdict"] == "passed"


def test_record_that_is_finished_after_the_end_of_the_run_is_awaited(job: Job) -> None:
    run_id = job.launch()
    job.clock.at(100.0, lambda: job.attach(run_id))
    job.clock.at(60.0, lambda: job.attach(run_id, "attached", done=False))
    job.attach(run_id, "attached", done=False)
    assert job.wait(run_id).outputs["verdict"] == "passed"


@pytest.mark.parametrize(
    ("test_set", "verdict"), [("someFail", "failed"), ("failing1", "failed"), ("runFails", "failed")]
)
def test_forged_record_turns_no_red_into_green(test_set: str, verdict: str, job: Job) -> None:
    """It claims that all were answered; what Coval shows is judged all the same."""
    run_id = job.launch(test_set)
    job.attach(run_id)
    assert job.wait(run_id).outputs["verdict"] == verdict


def test_made_up_simulations_do_not_make_up_for_others(job: Job) -> None:
    run_id = job.launch()
    job.attach(run_id, "missed", "missed", more=10)
    job.end()
    result = job.wait(run_id)
    assert (result.outputs["verdict"], result.outputs["reason"][:7]) == ("error", "2 of 20")


@pytest.mark.parametrize(
    "contents", ["", "{", "[]", '{"version": 2}', "\xff" * 10, '{"version": 1, "run_id": "another"}', " " * 9_000_000]
)
def test_unreadable_record_is_none(contents: str, job: Job) -> None:
    run_id = job.launch()
    file = job.workspace / path_of(run_id)
    file.parent.mkdir(parents=True)
    file.write_text(contents, encoding="latin-1")
    assert job.wait(run_id).outputs["reason"].startswith("Nothing shows that a job answered")
    job.tag(run_id, 10, 10)
    assert job.wait(run_id).outputs["verdict"] == "passed"


def test_link_in_place_of_a_record_is_not_followed(job: Job, tmp_path: Path) -> None:
    run_id = job.launch()
    job.attach(run_id)
    file = job.workspace / path_of(run_id)
    file.rename(tmp_path / "elsewhere.json")
    file.symlink_to(tmp_path / "elsewhere.json")
    assert job.wait(run_id).outputs["verdict"] == "error"


def test_handler_that_ends_early_or_is_quiet_is_told(job: Job) -> None:
    run_id = job.launch()
    job.attach(run_id, "ended_early", "before")
    record = AttachRecord(
        run_id,
        "agent:handle",
        EPOCH,
        EPOCH,
        done=True,
        simulations={
            id_: Attachment("ended_early" if number < 2 else "answered", quiet=number == 5)
            for number, id_ in enumerate(job.simulations(run_id))
        },
    )
    job.write(record)
    result = job.wait(run_id)
    assert result.outputs["verdict"] == "passed"
    told = [warning.data for warning in result.annotations("warning")]
    assert any("before the conversation ended in 2 simulations" in text for text in told)
    assert any("no audio for a while in 1 simulation." in text for text in told)


def test_each_of_several_legs_has_its_own_end(job: Job) -> None:
    good, crashed, alone = job.launch(), job.launch("passing1", agent=PREVIEW_ID), job.launch("flaky001", note="VOICE")
    job.attach(good)
    job.attach(crashed, "crashed")
    job.end()
    result = job.wait(good, crashed, alone, thresholds="Latency: avg < 9")
    assert result.outputs["verdict"] == "error"
    legs = {leg["run"]["id"]: leg for leg in json.loads(result.json)["legs"]}
    assert [legs[run_id]["verdict"] for run_id in (good, crashed, alone)] == ["passed", "error", "passed"]
    assert legs[good]["tested"] == "this commit (attached)"
    assert legs[alone]["tested"] == f"agent {agent_for(AGENT_ID).name} as deployed"
    assert LINE in result.outputs["reason"]
    tested = next(line for line in result.summary.splitlines() if line.startswith("Tested: "))
    assert tested.count("(attached") == 2


def test_hostile_line_of_a_traceback_stays_text(job: Job) -> None:
    run_id = job.launch()
    evil = "::error::pwned\n::set-output name=verdict::passed <!-- coval_sk_test_sandbox --> [x](javascript:1)"
    simulations = {id_: Attachment("crashed", error=evil, log="../../etc/passwd") for id_ in job.simulations(run_id)}
    job.write(AttachRecord(run_id, "agent:handle", EPOCH, EPOCH, done=True, simulations=simulations))
    result = job.wait(run_id)
    assert result.outputs["verdict"] == "error"
    assert "coval_sk_test_sandbox" not in result.outputs["reason"]
    assert "\n" not in result.outputs["reason"]


@pytest.mark.parametrize("attached", [True, False])
def test_time_out_of_a_run_that_is_not_answered_never_passes(attached: bool, job: Job) -> None:
    run_id = job.launch("slow0001")
    if attached:
        for second in range(0, 60, 10):
            job.clock.at(second, lambda: job.attach(run_id, "waiting", done=False))
        job.attach(run_id, "waiting", done=False)
    result = job.wait(run_id, max_wait_time="60", on_timeout="pass")
    assert (result.outputs["verdict"], result.exit_code) == ("timed_out", 1)


def test_run_that_nobody_answered_is_no_baseline(job: Job) -> None:
    on_main = {"GITHUB_HEAD_REF": "", "GITHUB_REF": "refs/heads/main", "GITHUB_EVENT_NAME": "push"}
    event = {"ref": "refs/heads/main"}
    launched, _ = job.run_step(world=job.world, mode="launch", event=event, env=on_main)
    run_id = launched.outputs["run_id"]
    job.attach(run_id, "crashed")
    job.end()
    job.run_step(world=job.world, event=event, env=on_main, **WAIT | {"run_id": run_id})
    assert "coval-gate/failed" in job.world.runs[0].tags
