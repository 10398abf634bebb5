"""Plans of legs that change between two attempts at a step, and what must hold of the runs of a leg that left."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Final

from campaign.generate import with_inputs
from campaign.invariants import main_results, met_fault
from coval_gate.ci.host import LEG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from campaign.schedule import Schedule, Step
    from campaign.simulate import History, ProcessResult
    from coval_sandbox.state import RunRecord

    Leg = tuple[str, ...]

ENDED: Final = re.compile(r"Cancelled run (\S+): attempt \d+ launched it for ")

PROMPT: Final = 15.0  # s from a step's start until it has seen what left the plan


def with_fewer_legs(schedule: Schedule, rng: Random) -> Schedule:
    """Let a leg, or the legs of a test set, be in the first attempt only; not in each schedule."""
    *earlier, last = schedule.steps
    if schedule.workflow != "rerun" or rng.random() < 0.4:
        return schedule
    if len(last.suite) > 1:
        last = replace(last, suite=last.suite[:-1])
    elif not last.suite and ", " in last.given["test_set_id"]:
        last = replace(last, inputs=with_inputs(last.inputs, test_set_id=last.given["test_set_id"].rpartition(", ")[0]))
    return replace(schedule, steps=(*earlier, last))


def planned(step: Step) -> set[Leg]:
    """Return the legs that a step is to have."""
    if step.suite:
        return {(leg.name,) for leg in step.suite}
    return set(product(*(step.given[name].split(", ") for name in ("persona_id", "test_set_id"))))


def _leg_of(step: Step, record: RunRecord) -> Leg:
    if step.suite:
        return (str((record.body["metadata"].get("customer") or {}).get(LEG, "")),)
    return record.body["persona_id"], record.body["test_set_id"]


def left_legs_are_ended(history: History) -> Iterator[str]:
    """A later attempt that was not disturbed ends the runs of legs that it does not have."""
    quirks = history.schedule.quirks
    finds = quirks.list_identity != "neither" and not quirks.refuse_tag_filter
    finds = finds and not quirks.unknown_status  # such a run may be over
    for result in main_results(history):
        if not (finds and _has_looked(result)) or met_fault(result.requests):
            continue
        legs, earlier = planned(result.step), _seen(history, result)
        if not any(_leg_of(result.step, record) in legs for record in earlier):
            continue
        for record in earlier:
            at = min(result.began + PROMPT, result.ended)  # a run may end by itself, later
            cancelled = record.cancel_time is not None or record.run_id in history.deleted
            over = cancelled or record.finished(history.coval_time(at))
            if _leg_of(result.step, record) not in legs and not over:
                yield f"step {result.number} left the run {record.run_id} of a leg that it does not have"


def only_left_legs_are_ended(history: History) -> Iterator[str]:
    """A step ends no run as that of a leg that left, if it has this leg."""
    for result in main_results(history):
        for run_id in ENDED.findall(result.log):
            if _leg_of(result.step, history.runs[run_id]) in planned(result.step):
                yield f"step {result.number} ended the run {run_id}, whose leg it has"


def _has_looked(result: ProcessResult) -> bool:
    step = result.step
    is_whole = result.killed is None and result.interrupted is None and bool(result.run_ids)
    return is_whole and step.attempt > 1 and step.flag("resume") and step.mode == "run"


def _seen(history: History, result: ProcessResult) -> list[RunRecord]:
    """Return the runs of earlier attempts that Coval listed when the step began."""
    lag, began = history.schedule.quirks.list_lag, history.coval_time(result.began)
    launched = (
        history.runs[run_id]
        for other in main_results(history)
        if other.step.attempt < result.step.attempt
        for run_id in other.launched_runs
    )
    return [record for record in launched if record.create_time + lag < began]


OF_PLANS: Final = (left_legs_are_ended, only_left_legs_are_ended)
