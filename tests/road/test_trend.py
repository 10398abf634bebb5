"""The last runs of a branch, as a report shows them: at most two calls, and no verdict rests on them."""

from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest

from coval_gate.base.schedule import run
from coval_gate.base.times import TREND
from coval_gate.coval.model import Metric, RunResult, TrendRun
from coval_gate.history.tags import FAILED
from coval_gate.step.report import MOST_EARLIER, fetch_trend
from coval_sandbox import catalogue
from coval_sandbox.quirks import Quirks
from coval_sandbox.server import Server
from coval_sandbox.views import timestamp
from coval_sandbox.world import World
from support import StepResult, VirtualClock, new_client, new_session

RunStep = Callable[..., tuple[StepResult, Server]]


HOUR = 3600.0
LATENCY = catalogue.LATENCY.id


class Past:
    """A sandbox with runs that steps launched, an hour apart."""

    def __init__(self, run_step: RunStep, clock: VirtualClock, **quirks: Any) -> None:
        self.world = World(clock.time, quirks=Quirks(**quirks))
        self.calls: list[dict[str, str]] = []
        self._run_step = run_step
        self._clock = clock

    def launch(self, branch: str = "main", **inputs: str) -> str:
        """Launch a run of a branch, or of a pull request where that is empty, and wait for an hour."""
        env = {"GITHUB_RUN_ID": str(1000 + len(self.world.runs))}
        if branch:
            env |= {"GITHUB_HEAD_REF": "", "GITHUB_REF": f"refs/heads/{branch}", "GITHUB_EVENT_NAME": "push"}
        event = {"ref": f"refs/heads/{branch}"} if branch else None
        result, _ = self._run_step(world=self.world, event=event, env=env, mode="launch", **inputs)
        self._clock.sleep(HOUR)
        return result.outputs["run_id"]

    def trend(self, *faults: str, of: str = "", tag: str = "") -> tuple[TrendRun, ...]:
        """Return the runs before the newest one, or before the run with the id `of`."""
        clock = self._clock
        with Server(self.world) as server:
            client = new_client(server.url, clock)
            newest = run(client.get_run(of or self.world.runs[-1].run_id, until=clock.now() + 60), clock)
            server.requests_seen.clear()
            for fault in faults:
                server.faults.add(fault)
            inputs = {"baseline": f"tag:{tag}"} if tag else {}
            session = new_session(client, clock, deadline=clock.now() + TREND, **inputs)
            result = RunResult(newest.run_id, (), metrics=(Metric(LATENCY, "Latency"),))
            fetching = fetch_trend(session, newest, result)
            trend = run(fetching, clock)
            client.close()
        self.calls = [dict(request.query) for request in server.requests_seen]
        assert {request.path for request in server.requests_seen} <= {"/v1/runs"}
        return trend


@pytest.fixture
def past(run_step: RunStep, clock: VirtualClock) -> Callable[..., Past]:
    return lambda **quirks: Past(run_step, clock, **quirks)


def ids(found: tuple[TrendRun, ...]) -> list[str]:
    return [trend_run.run_id for trend_run in found]


def test_trend_has_averages_and_marks_of_earlier_runs_newest_first(past: Callable[..., Past]) -> None:
    branch = past()
    earlier = [branch.launch() for _ in range(3)]
    branch.launch()
    for record, tag in zip(branch.world.runs[:2], ("stable", FAILED), strict=False):
        branch.world.update_run(record.run_id, {"tags": [*record.tags, tag]})
    trend = branch.trend(tag="Stable")
    assert ids(trend) == earlier[::-1]
    for trend_run, record in zip(trend, branch.world.runs[2::-1], strict=True):
        assert trend_run.created == timestamp(record.create_time)
        values = [planned.values[LATENCY] for planned in record.plan.simulations]
        assert trend_run.averages == {LATENCY: pytest.approx(fmean(map(float, values)))}  # type: ignore[arg-type]
    assert [(trend_run.is_baseline, trend_run.failed) for trend_run in trend] == [
        (False, False),
        (False, True),
        (True, False),
    ]
    assert len(branch.calls) == 1


@pytest.mark.parametrize("identity", ["tags", "metadata"])
def test_trend_is_of_branch(identity: str, past: Callable[..., Past]) -> None:
    branch = past(list_identity=identity)
    expected = [branch.launch() for _ in range(2)]
    branch.launch("other")
    branch.launch("")
    branch.launch()
    assert ids(branch.trend()) == expected[::-1]
    assert len(branch.calls) == 1


def test_trend_of_pull_request_is_of_all_runs_alike(past: Callable[..., Past]) -> None:
    runs = past()
    expected = [runs.launch(name) for name in ("main", "other", "")]
    runs.launch("")
    assert ids(runs.trend()) == expected[::-1]
    assert len(runs.calls) == 1


def test_trend_leaves_out_later_and_other_runs(past: Callable[..., Past]) -> None:
    branch = past()
    first = branch.launch()
    for other in (
        {"test_set_id": "runFails"},
        {"persona_id": "persona000000000000002"},
        {"agent_id": "agent00000000000000002"},
    ):
        branch.launch(**other)
    own = branch.launch()
    branch.launch()
    assert ids(branch.trend(of=own)) == [first]


def test_trend_has_limited_length(past: Callable[..., Past]) -> None:
    branch = past()
    runs = [branch.launch() for _ in range(MOST_EARLIER + 2)]
    assert ids(branch.trend()) == runs[-2:0:-1]


@pytest.mark.parametrize(
    "quirks", [{"averages": "absent"}, {"averages": "refused"}, {"list_identity": "neither"}], ids=str
)
def test_trend_is_empty_where_coval_hides_averages_or_the_branch(
    quirks: dict[str, Any], past: Callable[..., Past]
) -> None:
    branch = past(**quirks)
    branch.launch()
    branch.launch()
    assert branch.trend() == ()


@pytest.mark.parametrize("fault", ["403", "503"])
def test_failed_call_leaves_no_trend(fault: str, past: Callable[..., Past], clock: VirtualClock) -> None:
    branch = past()
    branch.launch()
    branch.launch()
    began = clock.now()
    assert branch.trend(f"GET /runs -> {fault}") == ()
    assert clock.now() - began <= TREND


def test_trend_is_read_for_html_report_and_changes_no_verdict(run_step: RunStep) -> None:
    plain, server = run_step(test_set_id="failing1", resume="false")
    assert not [request for request in server.requests_seen if "include" in request.query]
    shown, server = run_step(
        "GET /runs -> 503", world=server.world, test_set_id="failing1", resume="false", html_path="report.html"
    )
    assert len([request for request in server.requests_seen if "include" in request.query]) >= 1
    assert [shown.outputs[name] for name in ("verdict", "reason")] == [
        plain.outputs[name] for name in ("verdict", "reason")
    ]
