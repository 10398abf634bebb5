"""Schedules whose steps pay until the answer is clear, with faults and signals in each slice, and their invariants.

The test sets have ten test cases, so a slice has two.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Final

from campaign.facts import earlier_runs, is_ended, knows_events, legs_of, main_results, step_name, trial_of
from campaign.schedule import GATES, SLICED, Event, Fault, Schedule, Signal, Step
from campaign.simulate import History
from campaign.single import LOST_RESPONSES, SAFE_TO_RETRY
from coval_gate.ci.host import SLICE
from coval_sandbox.plan import RunRecord

SLICES: Final = 5
ONE_EACH: Final = ("iteration_count", "concurrency", "sub_sample_size", "sub_sample_seed", "mutation_ids")
SETS: Final = ("passing1", "passing1", "flaky001", "flaky001", "failing1", "someFail", "flaky002")
LAUNCHES: Final = (*LOST_RESPONSES, *SAFE_TO_RETRY, "403", "slow 30", "late 97")


def fits_slices(schedule: Schedule) -> bool:
    """Return whether each step may launch its run in slices."""
    is_plain = schedule.workflow in ("run", "rerun", "supersede") and schedule.gate in GATES
    return is_plain and not any(step.branch or step.repetitions for step in schedule.steps)


def in_slices(schedule: Schedule, rng: Random) -> Schedule:
    """Make all steps wait for their slices. In rough schedules, most faults and signals meet a later one."""
    schedule = schedule.with_gate(SLICED)
    time = {} if schedule.severity == "rough" else {"max_wait_time": "7200"}
    schedule = schedule.each(lambda step: replace(step.without(*ONE_EACH).having(**time), mode="run"))
    if schedule.severity != "rough":
        return replace(schedule, test_set=rng.choice(SETS))
    if rng.random() < 0.25:
        return schedule
    faults = (_lost_slice(rng),) if rng.random() < 0.6 else ()
    stalls = (Event("stall", round(rng.uniform(20, 150), 3)),) if rng.random() < 0.2 else ()
    time = {"max_wait_time": rng.choice(("120", "300", "3600"))}
    schedule = schedule.each(lambda step: replace(step.without("max_queue_time").having(**time), signal=None))
    first, *others = schedule.steps
    first = replace(first.calm(), signal=_signal(rng)) if rng.random() < 0.7 or others else first
    if rng.random() < 0.7:  # the first attempt leaves a slice unfinished
        first = replace(first, post=not others)
        others = [replace(other.having(resume="true"), pause=rng.choice((1.0, 5.0))) for other in others]
    return replace(
        schedule,
        test_set=rng.choice(SETS),
        steps=(first, *others),
        faults=faults,
        outages=schedule.outages if rng.random() < 0.3 else (),
        events=(*schedule.events, *stalls),
    )


def _lost_slice(rng: Random) -> Fault:
    number = rng.randint(1, SLICES)
    return Fault("POST", "/runs", number, number, rng.choice(LAUNCHES))


def _signal(rng: Random) -> Signal:
    """Interrupt or kill a step while a slice is launched, or goes on."""
    kill, number = rng.random() < 0.5, rng.randint(2, SLICES)
    if rng.random() < 0.5:
        return Signal(kill=kill, method="POST", path="/runs", request=number, phase=rng.choice(("before", "after")))
    return Signal(kill=kill, at=round(rng.uniform(10, 170), 3))


def is_sliced(step: Step) -> bool:
    return "spend" in step.inputs


def slice_of(record: RunRecord) -> int:
    """Return the number of a slice, from 1; 0 for any other run."""
    return int((record.body["metadata"].get("customer") or {}).get(SLICE, 0))


def slices_are_parts_of_one_run(history: History) -> Iterator[str]:
    """A leg's slices follow one another, and none of its test cases is called twice."""
    for result in main_results(history):
        for leg in legs_of(history, result) if is_sliced(result.step) else ():
            cases = Counter(planned.test_case_id for record in leg.runs for planned in record.plan.simulations)
            if twice := [case for case, times in cases.items() if times > 1]:
                yield f"{step_name(result)} called {twice} twice"
            numbers = [slice_of(record) for record in leg.runs]
            if numbers != [*range(1, len(numbers) + 1)]:
                yield f"{step_name(result)} has the slices {numbers}"
            for one, next_ in pairwise(leg.runs):
                if not one.finished(next_.create_time) or one.status(next_.create_time) != "COMPLETED":
                    yield f"{step_name(result)} launched slice {slice_of(next_)} before slice {slice_of(one)} completed"
            tags = [tag for record in leg.runs for tag in record.tags if tag.startswith("coval-gate/branch/")]
            if tags:
                yield f"{step_name(result)} made slices a baseline: {tags}"


def rerun_pays_for_no_slice_twice(history: History) -> Iterator[str]:
    """A re-run that takes over an unfinished slice takes over those before it, and launches none of them again."""
    for result in main_results(history):
        if not is_sliced(result.step) or result.step.attempt < 2 or not knows_events(history):
            continue
        taken = {*result.run_ids} & {*earlier_runs(history, result)}
        began = history.coval_time(result.began)
        going = [history.runs[id_] for id_ in taken if not is_ended(history, history.runs[id_], began)]
        if not going or result.killed is not None:
            continue
        last = max(map(slice_of, going))
        again = [id_ for id_ in result.launched_runs if slice_of(history.runs[id_]) < last]
        if again:
            yield f"{step_name(result)} launched {again} again, although it took slice {last} over"


def trial_and_slice_of(record: RunRecord) -> tuple[object, ...]:
    """Return what only one launch of a step may have: what the run evaluates, and which slice of it."""
    return (*trial_of(record), slice_of(record))
