"""Schedules whose later attempts launch other requests than the first, and their invariants.

The request changes as after an edit of a file or of a run template: the inputs of the workflow stay the same.
"""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Final

from campaign.facts import (
    COULD_NOT_CANCEL,
    earlier_runs,
    has_base,
    is_ended,
    knows_events,
    main_results,
    met_fault,
    planned_legs,
    step_name,
    trial_of,
)
from campaign.schedule import Schedule, Step
from campaign.simulate import History
from campaign.slices import is_sliced
from coval_sandbox.catalogue import IMPATIENT_PERSONA_ID, PERSONA_ID, PREVIEW_ID
from coval_sandbox.plan import RunRecord
from support import IDS

JUDGED: Final = ("passed", "failed", "inconclusive")
CHANGED: Final = "changed"  # the name of the dimension
FILE: Final = "coval-gate.json"
CHANGES: Final[tuple[dict[str, str], ...]] = (
    {"iteration_count": "2"},
    {"display_name": "Another attempt"},
    {"test_set_id": "flaky002"},
    {"agent_id": PREVIEW_ID},
    {"persona_id": IMPATIENT_PERSONA_ID},
    {"persona_id": f"{PERSONA_ID}, {IMPATIENT_PERSONA_ID}"},  # one fits
)


def fits_changes(schedule: Schedule) -> bool:
    is_plain = not any(step.branch or step.repetitions for step in schedule.steps)
    return is_plain and any(step.attempt > 1 for step in schedule.steps)


def with_changes(schedule: Schedule, rng: Random) -> Schedule:
    """In most schedules, the first attempts leave their runs, and the later ones launch something else."""
    change, leaves = rng.choice(CHANGES), rng.random() < 0.7

    def changed(step: Step) -> Step:
        own = IDS | {"test_set_id": schedule.test_set} | step.inputs
        filed = {name: own[name] for name in change if name in own} | (change if step.attempt > 1 else {})
        step = replace(step.having(config_path=FILE, **filed), filed=tuple(change))
        if step.attempt > 1:
            return step.having(resume="true")
        return replace(step, mode="launch") if leaves else step

    return schedule.each(changed)


def runs_whose_request_has_changed_are_ended(history: History) -> Iterator[str]:
    """A later attempt ends each unfinished run of an earlier one, before it launches, unless it takes the run over."""
    quirks = history.schedule.quirks
    for result in main_results(history):
        if not is_changed(history, result.step) or not result.launched_runs or not knows_events(history):
            continue
        launched = min(history.runs[run_id].create_time for run_id in result.launched_runs)
        for record in (history.runs[run_id] for run_id in earlier_runs(history, result)):
            hidden = max(quirks.list_lag, quirks.not_found_after_launch)
            is_shown = record.create_time + hidden < history.coval_time(result.began)
            is_shown &= not any(sent.fault and record.run_id in sent.path for sent in result.requests)
            is_reported = record.run_id in result.run_ids or f"{COULD_NOT_CANCEL}{record.run_id}" in result.log
            if is_shown and not is_reported and not is_ended(history, record, launched):
                yield f"{step_name(result)} launched a run beside {record.run_id} of an earlier attempt"


def completed_runs_are_kept_if_a_leg_lacks_one(history: History) -> Iterator[str]:
    """A later attempt keeps only completed runs, and only beside others; it pays for none of them twice."""
    for result in main_results(history):
        step, began = result.step, history.coval_time(result.began)
        if step.attempt < 2 or step.mode == "wait" or not step.flag("resume") or not knows_events(history):
            continue
        earlier = [history.runs[run_id] for run_id in earlier_runs(history, result)]
        over = [record for record in earlier if record.run_id in result.run_ids and record.finished(began)]
        yield from (
            f"{step_name(result)} kept {one.run_id}, a run without a result"
            for one in over
            if not _has_result(one, began)
        )
        if over and len(over) == len(result.run_ids) and result.verdict in JUDGED:
            yield f"{step_name(result)} kept all runs, although no leg lacked one"
        if step.repetitions or has_base(step) or is_sliced(step) or is_changed(history, step):
            continue
        shown = [one for one in earlier if one.create_time + history.schedule.quirks.list_lag < began]
        completed = {trial_of(one) for one in shown if _has_result(one, began)}
        again = {trial_of(history.runs[run_id]) for run_id in result.launched_runs} & completed
        is_reported = history.schedule.quirks.list_identity != "neither" and not met_fault(result.requests)
        if is_reported and again and len(completed) < planned_legs(step):
            yield f"{step_name(result)} launched {again} again, although other legs lacked a run"


def _has_result(record: RunRecord, now: float) -> bool:
    return record.status(now) == "COMPLETED" and record.delete_time is None


def is_changed(history: History, step: Step) -> bool:
    """Return whether the step is a later attempt that launches something else."""
    return history.schedule.dimension == CHANGED and step.attempt > 1 and step.flag("resume")
