"""Baselines in the campaign: nights that compare their runs with earlier ones, and persons who accept a run."""

from dataclasses import replace
from random import Random
from typing import Any, Final

from campaign.schedule import (
    ALL_GATES,
    BASELINE_GATES,
    BY_HAND,
    ECHO,
    EVER,
    STABLE,
    Event,
    Fault,
    Schedule,
    Signal,
    Step,
)
from leaks import SPELLINGS

WORKFLOW: Final = "baseline"
TAGGING_SHARE: Final = 0.25  # of the schedules without earlier runs, if their runs may get a tag
ACCEPTED_SHARE: Final = 0.3  # of these two
LONG_AGO: Final = 4000.0  # s
SETTLED: Final = 400.0  # s after the launch; by then a run has ended, and all of its data are there
# What becomes of the earlier runs: all is well, or the step must not find them; or of the agent.
ABSENT: Final = ("none", "elsewhere", "elsewhere", "old", "lagging", "unreadable", "failed", "failed")
FATES: Final = ("there", "there", "regress", "regress", *ABSENT)
ECHOES: Final = tuple(f"{ECHO} 403 {spelling}" for spelling in SPELLINGS)
FAILURES: Final = ("401", "403", "404", "503", "reset-before", "html", "json {}", "body {}", "redirect https://x.test")
HICCUPS: Final = ("429 retry-after=7", "503", "500", "500 after", "reset-after", "cut", "hang 60 after")


def with_baseline(schedule: Schedule, rng: Random) -> Schedule:
    """Make the step compare its run with runs of earlier steps, and perhaps accept it or the last of them."""
    (step,) = schedule.steps
    fate, gate = rng.choice(FATES), rng.choice(list(BASELINE_GATES))
    by_tag = "tag" in gate
    if fate == "lagging" and schedule.severity != "benign":  # a launch whose response is lost needs the list
        fate = "elsewhere"
    step = step.without(*ALL_GATES[schedule.gate], "mutation_ids").having(**BASELINE_GATES[gate])
    step = step.having(tags="Nightly,smoke", supersede="false")
    step = step if schedule.severity == "rough" else step.having(max_wait_time="900")
    count = 0 if fate == "none" else rng.choice((1, 1, 2, 3))
    night = Step(
        mode="run" if by_tag or rng.random() < 0.3 else "launch",
        inputs=step.inputs,
        event="push",
        branch="main",
        pause=SETTLED,
    )
    if fate == "elsewhere":  # a tag may be on any branch, but on no pull request
        night = (
            replace(night, branch="other")
            if rng.random() < (0.2 if by_tag else 0.5)
            else replace(night, event="pull_request", branch="")
        )
    nights = [replace(night, workflow_run=f"10000000{number}") for number in range(count)]
    step = replace(step, event="push", branch="main", pause=LONG_AGO if fate == "old" else SETTLED)
    steps = [*nights, step]
    if rng.random() < ACCEPTED_SHARE:
        mode = rng.choice(("run", "wait")) if nights else "run"
        later = replace(step, workflow_run="200000000", signal=None, file_fault=None)
        steps = [*nights, _accepting(replace(step, mode=mode), rng), *([later] if rng.random() < 0.5 else [])]
    schedule = replace(schedule, workflow=WORKFLOW, gate=gate, fate=fate, steps=tuple(steps))
    schedule = replace(schedule, quirks=replace(schedule.quirks, **_quirks(rng)))
    if fate in ("elsewhere", "failed"):  # what a run is, and its mark, are tags
        schedule = replace(schedule, quirks=replace(schedule.quirks, run_identity="both"))
    at = SETTLED * count
    match fate:
        case "lagging":
            return replace(schedule, quirks=replace(schedule.quirks, list_lag=10_000.0))
        case "failed":  # the newest of them, before the step
            return replace(schedule, events=(*schedule.events, Event("fail newest", at - 20)))
        case "regress":
            return replace(schedule, events=(*schedule.events, Event(fate, at - 200)))
        case "unreadable":
            fault = Fault("GET", "/runs", 1, EVER, rng.choice((*FAILURES, rng.choice(ECHOES))))
            return replace(schedule, faults=(fault, *schedule.faults))
    return _with_trouble(schedule, rng)


def with_tag(schedule: Schedule, rng: Random) -> Schedule:
    """In some schedules without nights, make the runs fill the tag of a baseline, or have them accepted."""
    is_plain = not any(step.branch or step.repetitions for step in schedule.steps)
    judges = schedule.workflow in ("run", "launch-wait", "twice", "rerun", "supersede")
    if not (is_plain and judges) or rng.random() > TAGGING_SHARE:
        return schedule
    source = {"baseline": f"tag:{STABLE}{rng.choice(('', ' last 2'))}"}
    steps = [replace(step.having(**source), event="push", branch="main") for step in schedule.steps]
    if rng.random() < ACCEPTED_SHARE:
        steps = [_accepting(step, rng) for step in steps]
    # A run of a pull request may be judged in a workflow that a push or a person started.
    if schedule.workflow == "launch-wait" and rng.random() < 0.5:
        steps[0] = replace(steps[0], event="pull_request", branch="")
    # The older run is launched just before the steps, but stands for one of the night before.
    quirks = replace(schedule.quirks, not_found_after_launch=0.0, list_lag=0.0)
    schedule = replace(schedule, steps=tuple(steps), holder=rng.random() < 0.5, quirks=quirks)
    return _with_trouble(schedule, rng)


def _accepting(step: Step, rng: Random) -> Step:
    """Return a step that accepts its run; in some workflows that no person started, which is an error."""
    step = step.having(accept="true", **({"on_timeout": "pass"} if rng.random() < 0.2 else {}))
    return replace(step, workflow_run="1234567890", event="push" if rng.random() < 0.1 else BY_HAND)


def _with_trouble(schedule: Schedule, rng: Random) -> Schedule:
    """Disturb the last step of some schedules when it changes tags."""
    if schedule.severity == "benign" or rng.random() < 0.5:
        return schedule
    is_rough = schedule.severity == "rough"
    if is_rough and rng.random() < 0.4:
        kill, phase = rng.random() < 0.6, rng.choice(("before", "after"))
        aimed = Signal(kill=kill, method="PATCH", path="/runs/*", request=rng.randint(1, 3), phase=phase)
        *earlier, last = schedule.steps
        return replace(schedule, steps=(*earlier, replace(last, signal=aimed)))
    method, path = rng.choice((("PATCH", "/runs/*"), ("PATCH", "/runs/*"), ("GET", "/runs")))
    first = rng.randint(1, 5)
    fault = Fault(method, path, first, first + 2, rng.choice((*HICCUPS, *FAILURES) if is_rough else HICCUPS))
    return replace(schedule, faults=(*schedule.faults, fault))


def _quirks(rng: Random) -> dict[str, Any]:
    """Choose what sources about Coval disagree on, as far as it concerns baselines."""
    choices = (
        (0.2, "refuse_tag_filter", True),
        (0.3, "lower_case_tags", True),
        (0.2, "metric_versions", "null"),
        (0.2, "update_times", "null"),
    )
    return {name: value for share, name, value in choices if rng.random() < share}
