"""Baselines in the campaign: steps that compare their run with earlier runs, which may be missing or hidden."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from campaign.schedule import ALL_GATES, BASELINE_GATES, ECHO, FAILED, Event, Fault, Schedule, Step
from leaks import DISGUISES

if TYPE_CHECKING:
    from random import Random

    from campaign.simulate import History, ProcessResult
    from coval_sandbox.state import RunRecord

WORKFLOW: Final = "baseline"
SHARE: Final = 0.2  # of the schedules with one step
MAX_AGE: Final = 3600.0  # s, the input baseline_max_age
LONG_AGO: Final = 4000.0  # s
SETTLED: Final = 400.0  # s after the launch; by then a run has ended, and all of its data are there
# What becomes of the earlier runs: all is well, or the step must not find them.
ABSENT: Final = ("none", "elsewhere", "old", "lagging", "deleted", "unreadable", "failed", "failed")
FATES: Final = ("there", "there", "there", *ABSENT)
ECHOES: Final = tuple(f"{ECHO} 403 {disguise}" for disguise in DISGUISES)
FAILURES: Final = ("401", "403", "404", "503", "reset-before", "html", "json {}", "body {}", "redirect https://x.test")


def with_baseline(schedule: Schedule, rng: Random) -> Schedule:
    """Let the step of some schedules compare its run with those of earlier steps on a branch."""
    if schedule.workflow != "run" or rng.random() > SHARE:
        return schedule
    (step,) = schedule.steps
    fate = rng.choice(FATES)
    if fate == "lagging" and schedule.severity != "benign":  # a launch whose response is lost needs the list
        fate = "elsewhere"
    gate = rng.choice(list(BASELINE_GATES))
    inputs = {name: value for name, value in step.inputs if name not in ALL_GATES[schedule.gate]}
    inputs |= BASELINE_GATES[gate] | {"tags": "Nightly,smoke", "supersede": "false"}
    inputs["max_wait_time"] = inputs["max_wait_time"] if schedule.severity == "rough" else "900"
    count = 0 if fate == "none" else rng.choice((1, 1, 2))
    branch = "other" if fate == "elsewhere" else "main"
    earlier = tuple(
        Step(mode="launch", inputs=tuple(inputs.items()), workflow_run=f"10000000{number}", branch=branch)
        for number in range(count)
    )
    pause = LONG_AGO if fate == "old" else SETTLED
    changes: dict[str, Any] = {"steps": (*earlier, replace(step, inputs=tuple(inputs.items()), pause=pause))}
    quirks = replace(schedule.quirks, **_quirks(rng))
    match fate:
        case "lagging":
            quirks = replace(quirks, list_lag=10_000.0)
        case "deleted":
            changes["events"] = (*schedule.events, Event(kind="delete all", at=SETTLED + 20))
        case "failed":  # the newest of them
            quirks = replace(quirks, run_identity="both")  # a mark is a tag
            changes["events"] = (*schedule.events, Event(kind="fail newest", at=SETTLED + 20))
        case "unreadable":
            failure = Fault(
                method="GET", path="/runs", first=1, last=10_000, action=rng.choice((*FAILURES, rng.choice(ECHOES)))
            )
            changes["faults"] = (failure, *schedule.faults)
    return replace(schedule, workflow=WORKFLOW, gate=gate, fate=fate, quirks=quirks, **changes)


def _quirks(rng: Random) -> dict[str, Any]:
    """Choose what sources about Coval disagree on, as far as it concerns baselines."""
    choices = (
        (0.2, "refuse_tag_filter", True),
        (0.3, "lower_case_tags", True),
        (0.2, "metric_versions", "null"),
        (0.2, "update_times", "null"),
    )
    return {name: value for share, name, value in choices if rng.random() < share}


def possible_baselines(history: History, result: ProcessResult) -> list[RunRecord]:
    """Return the earlier runs that a step may compare its run with.

    They completed, the gate did not fail them, they are young enough, and were not deleted before.
    """
    own = history.runs.get(result.run_id)
    if own is None:
        return []
    branches = {
        run_id: process.step.branch
        for process in history.results
        if not process.is_post
        for run_id in process.launched_runs
    }
    return [
        record
        for record in history.world.runs
        if record.run_id != own.run_id
        and own.create_time - MAX_AGE <= record.create_time < own.create_time
        and branches.get(record.run_id) == "main"
        and record.status(history.coval_time(result.ended)) == "COMPLETED"
        and FAILED not in record.tags
        and (record.delete_time is None or record.delete_time > own.create_time)
    ]
