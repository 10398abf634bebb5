"""The campaign with runs that are found: steps in mode wait judge the newest run of a tag, a branch or a scheduled run.

Earlier steps have launched one or two such runs, and perhaps one of another persona. Coval's own schedule has launched
runs of several personas and test sets at once. Nothing cancels a run that was
found: others may need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Final

from campaign import invariants
from campaign.generate import generate, with_inputs
from campaign.invariants import INVARIANTS, MAX_LOST_LAUNCHES, Violation, main_results
from campaign.legs import PERSONAS, is_plain
from campaign.oracle import has_data, is_good
from campaign.pool import Rules
from campaign.schedule import GATES, Event, Schedule, Step
from campaign.simulate import History, ProcessResult
from coval_sandbox.catalogue import SCHEDULES
from coval_sandbox.state import RunRecord
from support import IDS

TAG: Final = "nightly"
BRANCH: Final = "main"
(NIGHTLY,) = SCHEDULES
SOURCES: Final = (f"tag:{TAG}", f"branch:{BRANCH}", f"schedule:{NIGHTLY.id}", f"schedule:{NIGHTLY.id}")
LEFT_OUT: Final = (invariants.no_orphaned_run,)  # the step that waits owns no run
SHOWN_BY: Final = {  # identities that show a source
    "tag": ("both", "tags"),
    "branch": ("both", "tags", "metadata"),
    "schedule": ("both", "tags", "metadata"),
}
CERTAIN: Final = ("passed", "failed", "timed_out", "inconclusive")  # verdicts on a run


def newest(seed: int) -> Schedule:
    """Return a schedule whose last step judges the newest run of a source, and whose rest is that of a fitting seed."""
    place = 1000 * seed + 750
    while not _fits(schedule := generate(place)):
        place += 1
    rng = Random(f"newest/{seed}")
    (step,) = schedule.steps
    shared = with_inputs(step.inputs, tags=f"{TAG},smoke", supersede="false")
    personas = (*PERSONAS[:1] * rng.choice((1, 1, 2)), *PERSONAS[1:] * (rng.random() < 0.3))
    launches = tuple(
        Step(
            mode="launch",
            inputs=with_inputs(shared, persona_id=persona),
            branch=BRANCH,
            workflow_run=f"10000000{number}",
            pause=rng.choice((5.0, 50.0)),
        )
        for number, persona in enumerate(personas)
    )
    source = rng.choice(SOURCES)
    of_schedule = source.startswith("schedule:")
    template = NIGHTLY.template
    ids = {name: rng.choice(template[f"{name}s"]) for name in ("persona_id", "agent_id")} if of_schedule else {}
    inputs = with_inputs(shared, **({"persona_id": PERSONAS[0]} | ids), run_id=source)
    wait = replace(step, mode="wait", inputs=inputs, branch=BRANCH, pause=rng.choice((5.0, 50.0, 200.0)))
    schedule = replace(schedule, seed=seed, workflow="newest", steps=(*launches, wait), foreign_run="")
    return _with_nights(schedule, rng) if of_schedule else schedule


def _with_nights(schedule: Schedule, rng: Random) -> Schedule:
    """Let Coval's own schedule launch its runs, once or twice, or never; one may come when a step looks for them."""
    nights = tuple(
        Event(kind="run schedule", at=at)
        for at in sorted(rng.choice((0.0, 2.0, 30.0, 70.0)) for _ in range(rng.choice((0, 1, 1, 2))))
    )
    test_set = rng.choice(NIGHTLY.template["test_set_ids"])
    return replace(schedule, test_set=test_set, events=(*schedule.events, *nights))


def _fits(schedule: Schedule) -> bool:
    alone = not any(step.repetitions for step in schedule.steps)
    return schedule.workflow == "run" and is_plain(schedule) and alone and schedule.gate in GATES


def _waits(history: History) -> Iterator[tuple[ProcessResult, RunRecord | None]]:
    """Yield the steps that look for a run, each with the one that it must find, if there is any.

    That is the newest when the step began, or one that came while it looked, if it took that one.
    """
    for result in main_results(history):
        if result.step.mode == "wait":
            began, ended = history.coval_time(result.began), history.coval_time(result.ended)
            source = result.step.given["run_id"]
            given = {name: value for name, value in result.step.given.items() if name in IDS}
            ids = IDS | {"test_set_id": history.schedule.test_set} | given
            fitting = [
                record
                for record in history.runs.values()
                if _fits_search(record, began, ended, ids) and _is_of(source, record)
            ]
            due = [record for record in fitting if record.create_time <= began or record.run_id == result.run_id]
            yield result, max(due, key=lambda record: record.create_time, default=None)


def _fits_search(record: RunRecord, began: float, ended: float, ids: dict[str, str]) -> bool:
    there = record.create_time <= ended and (record.delete_time is None or record.delete_time > began)
    return there and all(record.body[name] == value for name, value in ids.items())


def _is_of(source: str, record: RunRecord) -> bool:
    """Return whether a run is of a source; steps have launched all others, with the tag and on the branch."""
    is_of_schedule = record.schedule_id == NIGHTLY.id
    return is_of_schedule == source.startswith("schedule:")


def newest_run_is_judged(history: History) -> Iterator[str]:
    """A step that has a verdict on a run judges the newest one of its source, if Coval listed that when it began."""
    hidden = max(history.schedule.quirks.list_lag, history.schedule.quirks.not_found_after_launch)
    for result, record in _waits(history):
        if result.verdict not in CERTAIN:
            continue
        listed = record is not None and record.create_time + hidden < history.coval_time(result.began)
        if record is None or (listed and result.run_id != record.run_id):
            expected = record.run_id if record else "none"
            yield f"step {result.number} is {result.verdict} by the run {result.run_id}, but the newest is {expected}"


def found_run_is_left_alone(history: History) -> Iterator[str]:
    """Neither the step that waits nor its post step cancels a run or launches one."""
    for result in history.results:
        changes = [request for request in result.requests if request.method in ("DELETE", "POST")]
        if result.step.mode == "wait" and changes:
            yield f"step {result.number} sent {changes[0].method} {changes[0].path}"


def found_run_has_its_verdict(history: History) -> Iterator[str]:
    """If all faults are transient, and Coval shows the newest run, the step has the verdict that it deserves."""
    lost = sum(request.method == "POST" and not request.answered for run in history.results for request in run.requests)
    if not history.schedule.recoverable or lost >= MAX_LOST_LAUNCHES:
        return
    for result, record in _waits(history):
        source = result.step.given["run_id"].partition(":")[0]
        quirks = history.schedule.quirks
        shown = {quirks.run_identity, quirks.list_identity} & {*SHOWN_BY[source]}
        expected = _expected(history, result, record) if record and shown else ("error",)
        if result.verdict not in expected:
            yield f"step {result.number} is {result.verdict} instead of {' or '.join(expected)}"


def _expected(history: History, result: ProcessResult, record: RunRecord) -> tuple[str, ...]:
    """Return the verdicts on a run that are right without permanent faults."""
    schedule, now = history.schedule, history.coval_time(result.ended)
    if record.status(now) != "COMPLETED":
        return {"FAILED": ("failed",), "ERROR": ("error",)}.get(record.status(now), ("cancelled",))
    if is_good(record, schedule.gate, schedule.quirks, now):
        return ("passed",)
    return ("failed",) if has_data(record, schedule.gate, schedule.quirks, now) else ("error", "failed")


OF_FOUND: Final = (newest_run_is_judged, found_run_is_left_alone, found_run_has_its_verdict)


def violations(history: History) -> list[Violation]:
    """Return what does not hold of runs that are found."""
    checked = [invariant for invariant in INVARIANTS if invariant not in LEFT_OUT]
    own = (*checked, *OF_FOUND)
    return [Violation(invariant.__name__, problem) for invariant in own for problem in invariant(history)]


NEWEST: Final = Rules(newest, violations, ".venv/bin/python tests/campaign --newest --seed {}")
