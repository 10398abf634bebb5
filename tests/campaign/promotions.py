"""Promotions in the campaign: steps that give the run their baseline's tag, or whose run a person accepts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from campaign.baselines import SETTLED
from campaign.oracle import is_much_better
from campaign.schedule import (
    ALL_GATES,
    BETTER,
    BY_HAND,
    FAILED,
    PROMOTED_GATES,
    STABLE,
    Event,
    FileFault,
    Schedule,
    Signal,
    Step,
)
from coval_sandbox.quirks import DEFAULT

if TYPE_CHECKING:
    from random import Random

    from campaign.simulate import History, ProcessResult

WORKFLOW: Final = "nights"
SHARE: Final = 0.25  # of the schedules with one step
ACCEPTED_SHARE: Final = 0.07  # of all others that may have a run that a person accepts
BY_PERSON: Final = 0.3  # of the schedules with nights
ACCEPTABLE: Final = ("run", "launch-wait", "twice", "rerun", "supersede", "baseline")  # workflows


class Story(NamedTuple):
    """What comes before the last step: the `earlier` steps, the first of whose runs has the tag, and events."""

    earlier: tuple[str, ...] = ("launch",)  # modes
    events: tuple[tuple[str, float], ...] = ()
    last: str = "run"  # mode


RISING: Final = (("regress", 0.0), ("recover", 200.0))  # all runs are much better than the first one
STORIES: Final = {
    "ordinary": Story(),
    "better": Story(events=RISING),
    "confirmed": Story(("launch", "run"), RISING),
    "confirmed elsewhere": Story(("launch", "launch"), (*RISING, ("confirm newest", 600.0))),
    "confirmed by a failed run": Story(
        ("launch", "launch"), (*RISING, ("confirm newest", 600.0), ("fail newest", 610.0))
    ),
    "worse": Story(events=(("regress", 200.0),)),
    "broken": Story(events=(("break", 200.0),)),
    "failed holder": Story(events=(("fail newest", 300.0),)),
    "accepted holder": Story(events=(("accept newest", 300.0),)),
    "failed elsewhere": Story(("launch", "launch"), (("fail newest", 600.0),), last="wait"),
    "newer holder": Story(("launch", "launch"), (("promote newer", 600.0),), last="wait"),
    "no holder": Story(()),
}


def with_nights(schedule: Schedule, rng: Random) -> Schedule:
    """Let the step of some schedules promote its run beside a baseline with that tag, after earlier steps."""
    if schedule.workflow != "run" or schedule.steps[0].repetitions or rng.random() > SHARE:
        return schedule
    (step,) = schedule.steps
    gate, name = rng.choice(list(PROMOTED_GATES)), rng.choice(list(STORIES))
    story = STORIES[name]
    dropped = {*ALL_GATES[schedule.gate], "mutation_ids"}
    inputs = {key: value for key, value in step.inputs if key not in dropped} | PROMOTED_GATES[gate]
    inputs |= {"tags": "nightly", "promote": STABLE, "supersede": "false"}
    inputs["max_wait_time"] = rng.choice(("120", "600", "3600")) if schedule.severity == "rough" else "900"
    earlier = [
        Step(
            mode=mode,
            inputs=tuple((inputs | ({"tags": f"nightly,{STABLE}"} if not number else {})).items()),
            workflow_run=f"10000000{number}",
            branch="main",
            event="push",
            pause=SETTLED,
        )
        for number, mode in enumerate(story.earlier)
    ]
    step = replace(_with_trouble(step, schedule, rng), event="push", branch="main", pause=SETTLED, mode=story.last)
    if story.last == "wait":
        step = replace(step, workflow_run=earlier[-1].workflow_run, action="__acme_coval-gate_2")
    inputs |= {"junit_path": "reports/junit.xml"} if step.file_fault else {}
    step = replace(step, inputs=tuple(inputs.items()))
    is_accepted = name == "no holder" or rng.random() < BY_PERSON  # nothing else promotes a run without a baseline
    schedule = replace(
        schedule,
        workflow=WORKFLOW,
        test_set="passing1",
        gate=gate,
        fate=name,
        foreign_run="",
        steps=(*earlier, _accepting(step, rng) if is_accepted else step),
        events=(*schedule.events, *(Event(kind=kind, at=at) for kind, at in story.events)),
    )
    changes: dict[str, Any] = {"not_found_after_launch": DEFAULT.not_found_after_launch, "list_lag": 0.0}
    changes |= {"run_identity": "both"} if rng.random() < 0.8 else {}
    return replace(schedule, quirks=replace(schedule.quirks, missing_values=0.0, **changes))


def with_acceptance(schedule: Schedule, rng: Random) -> Schedule:
    """Let a person accept the runs of some schedules that have no nights."""
    if schedule.workflow not in ACCEPTABLE or rng.random() > ACCEPTED_SHARE:
        return schedule
    if schedule.workflow == "baseline":
        *earlier, step = schedule.steps
        return replace(schedule, steps=(*earlier, _accepting(replace(step, branch="main"), rng)))
    accepting = [_accepting(step, rng) for step in schedule.steps]
    # A run of a pull request may be judged in a workflow that a person started.
    if schedule.workflow == "launch-wait" and rng.random() < 0.15:
        accepting[0] = replace(accepting[0], event="pull_request")
    return replace(schedule, steps=tuple(accepting))


def is_unconfirmed(history: History, result: ProcessResult) -> bool:
    """Return whether the run of a step is much better than its baseline, and no run in between confirms it."""
    record, baseline = history.runs.get(result.run_id), history.runs.get(baseline_of(result))
    if record is None or baseline is None or result.step.accepts or not is_much_better(record, baseline):
        return False
    return not any(
        baseline.create_time < run.create_time < record.create_time and BETTER in run.tags and FAILED not in run.tags
        for run in history.runs.values()
    )


def baseline_of(result: ProcessResult) -> str:
    """Return the run that a step compared its run with; empty if it compared with none, or with several."""
    try:
        named = result.outputs.get("baseline_run_id", "")
    except (KeyError, ValueError):
        return ""
    return "" if "," in named else named


def _accepting(step: Step, rng: Random) -> Step:
    """Return a step whose run a person accepts; in some workflows that no person started, which is an error."""
    inputs = step.given | {"accept": "true"}
    return replace(step, inputs=tuple(inputs.items()), event="push" if rng.random() < 0.1 else BY_HAND)


def _with_trouble(step: Step, schedule: Schedule, rng: Random) -> Step:
    """Let a rough schedule disturb the step when it changes tags, or writes its reports."""
    if schedule.severity != "rough":
        return step
    kind = rng.random()
    if kind < 0.3:
        kill, phase = rng.random() < 0.6, rng.choice(("before", "after"))
        aimed = Signal(kill=kill, method="PATCH", path="/runs/*", request=rng.randint(1, 3), phase=phase)
        return replace(step, signal=aimed, file_fault=None)
    if kind < 0.6:
        return replace(step, signal=None, file_fault=FileFault(file="reports", kind="full", at=20.0))
    return replace(step, file_fault=None)
