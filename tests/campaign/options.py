"""Options of steps with several legs: a file, turns (`max_parallel_runs`), and runs that the step gives up.

What must hold of them, for each leg: it has one run or a reason, it is judged by its own thresholds, it waits for its
turn, and its run is ended once nothing can come of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any, Final

from campaign.generate import with_inputs
from campaign.invariants import (
    Violation,
    cancel_was_impossible,
    is_ended,
    is_hopeless,
    is_unknown,
    main_results,
    met_fault,
)
from campaign.network import SentRequest
from campaign.oracle import can_decide, has_data, is_good
from campaign.schedule import OWN_GATES, ListedLeg, Schedule, Step
from campaign.simulate import History, ProcessResult
from coval_gate.ci.host import LEG
from coval_sandbox.state import RunRecord

STEP_GATES: Final = ("default", "thresholds", "targets", "pass_rate", "forbidden")  # that thresholds can be added to
NAMES: Final = ("booking", "refunds · slow line", "Überweisung", "leg 4", '"quoted" | <b>')
STRICT: Final = "strict"  # at most one leg has this gate
LOUD_SET: Final = "allFail1"  # all of its simulations fail, one after another
LASTING: Final = {"iteration_count": "3", "concurrency": "1"}  # of a run that goes on for long
FILES: Final = ("evals/gate.json", "coval-gate.yml")  # JSON is YAML, too
ABORT_TIME: Final = 3.0  # s from the second poll that shows a run to give up until it is cancelled, at most
EFFECT: Final = 0.6  # share of the latency after which a poll reads the run; see `network`
ENDLESS: Final = ("timed_out", "error", "cancelled")  # verdicts of legs whose runs may go on
UNJUDGED: Final = ("error", "cancelled", "skipped", "")


def takes_file(schedule: Schedule) -> bool:
    """Return whether the thresholds of legs can be added to those of the schedule's steps."""
    return schedule.gate in STEP_GATES


def with_file(schedule: Schedule, rng: Random, personas: Sequence[str], test_sets: Sequence[str]) -> Schedule:
    """Let the legs of all steps stand in a file, with thresholds of their own; some differ in these only."""
    own = ("", *(gate for gate in OWN_GATES if gate != STRICT))
    kinds = [(persona, test_set, gate) for persona in personas for test_set in test_sets for gate in own]
    drawn = rng.sample(kinds, rng.randint(2, len(NAMES)))
    if rng.random() < 0.4:
        drawn[-1] = (*drawn[-1][:2], STRICT)
    rng.shuffle(drawn)
    legs = tuple(ListedLeg(name, *kind) for name, kind in zip(NAMES, drawn, strict=False))
    inputs = {"config_path": rng.choice(FILES), "persona_id": "", "test_set_id": ""}
    steps = tuple(replace(step, listed=legs, inputs=with_inputs(step.inputs, **inputs)) for step in schedule.steps)
    return replace(schedule, steps=steps)


def with_turns(schedule: Schedule, rng: Random) -> Schedule:
    """Let only one or two runs of each step be under way at a time."""
    most = rng.choice("112")
    # Faults aside, there is time for all of them.
    time = {} if schedule.severity == "rough" else {"max_wait_time": "7200"}
    steps = tuple(
        replace(step, inputs=with_inputs(step.inputs, max_parallel_runs=most, **time)) if step.mode == "run" else step
        for step in schedule.steps
    )
    return replace(schedule, steps=steps)


def with_aborts(schedule: Schedule, rng: Random) -> Schedule:
    """Let the steps give up runs whose simulations fail; half of the steps are not disturbed, and their runs last."""
    steps = tuple(
        replace(step, inputs=with_inputs(step.inputs, abort_after_failures=rng.choice("234")))
        for step in schedule.steps
    )
    if rng.random() < 0.5:
        calm = (replace(step, signal=None, file_fault=None) for step in steps)
        steps = tuple(replace(step, inputs=with_inputs(step.inputs, **LASTING)) for step in calm)
        schedule = replace(schedule, faults=(), outages=())
    return replace(schedule, steps=steps)


def name_of(record: RunRecord) -> str:
    """Return the name of the leg that a run was launched for."""
    return str((record.body["metadata"].get("customer") or {}).get(LEG, ""))


def own_gate(step: Step, record: RunRecord) -> str:
    """Return the gate that a run has beside the schedule's: that of its leg in the file; empty if it has none."""
    return next((leg.gate for leg in step.listed if leg.name == name_of(record)), "")


def meets_own(history: History, step: Step, record: RunRecord, now: float) -> bool:
    """Return whether a run meets the thresholds that only its leg has."""
    gate = own_gate(step, record)
    return not gate or is_good(record, gate, history.schedule.quirks, now)


def _judged(history: History, result: ProcessResult) -> list[tuple[dict[str, Any], RunRecord | None]]:
    """Return the entries of the output `legs`, with their runs; none of a step that has no outputs."""
    if result.killed is not None or not result.verdict or not result.outputs.get("legs"):
        return []
    legs = json.loads(result.outputs["legs"])
    return [(leg, history.runs.get(leg["run_id"])) for leg in legs]


def each_leg_of_file_is_told(history: History) -> Iterator[str]:
    """A step that launched names each leg in its file once, with its own run, or with the reason for having none."""
    for result in main_results(history):
        legs = _judged(history, result)
        if not result.step.listed or not legs:
            continue
        names = [leg["name"] for leg, _ in legs]
        if names != [leg.name for leg in result.step.listed]:
            yield f"step {result.number} names the legs {names}"
        if again := [id_ for id_, count in Counter(leg["run_id"] for leg, _ in legs).items() if id_ and count > 1]:
            yield f"step {result.number} has the run {again[0]} for several legs"
        planned = {leg.name for leg in result.step.listed}
        for leg, record in legs:
            if record is None and not (leg["verdict"] in UNJUDGED and leg["reason"]):
                yield f"step {result.number}: {leg['name']} is {leg['verdict']!r} without a run or a reason"
            elif record is not None and leg["name"] in planned - {name_of(record)}:
                yield f"step {result.number}: {leg['name']} has the run of {name_of(record)}"


def each_leg_meets_its_own_thresholds(history: History) -> Iterator[str]:
    """A leg passes only by the step's thresholds and its own; without faults that last, no other leg's fail it."""
    schedule = history.schedule
    for result in main_results(history):
        if not result.step.listed or result.step.mode not in ("run", "wait"):
            continue
        for leg, record in _judged(history, result):
            if record is None:
                continue
            now = history.coval_time(result.ended)
            whole = is_good(record, schedule.gate, schedule.quirks, now)
            good = whole and meets_own(history, result.step, record, now)
            if leg["verdict"] == "passed" and not good:
                yield f"step {result.number}: {leg['name']} passed, but its run is bad"
            expected = _expected(history, result, record) if schedule.recoverable else ()
            if expected and leg["verdict"] not in expected:
                yield f"step {result.number}: {leg['name']} is {leg['verdict']} instead of {' or '.join(expected)}"


def _expected(history: History, result: ProcessResult, record: RunRecord) -> tuple[str, ...]:
    """Return the verdicts of a leg that are right without permanent faults."""
    schedule, now = history.schedule, history.coval_time(result.ended)
    if is_unknown(history, result, record):
        return ("error",)
    own = own_gate(result.step, record)
    if _is_aborted(history, result, record):
        return ("failed",)
    if record.status(now) != "COMPLETED":
        return {"FAILED": ("failed",), "ERROR": ("error",)}.get(record.status(now), ("cancelled",))
    gates = [gate for gate in (schedule.gate, own) if gate]
    if all(is_good(record, gate, schedule.quirks, now) for gate in gates):
        return ("passed",)
    has_all = all(has_data(record, gate, schedule.quirks, now) for gate in gates)
    return (("failed",) if all(map(can_decide, gates)) else ("error",)) if has_all else ("error", "failed")


def _is_aborted(history: History, result: ProcessResult, record: RunRecord) -> bool:
    lag = history.schedule.quirks.cancel_lag  # s from the DELETE, which followed what a poll showed, to its effect
    return record.cancel_time is not None and is_hopeless(history, result.step, record, record.cancel_time - lag)


def no_leg_is_left_unjudged(history: History) -> Iterator[str]:
    """A green step has judged a run of each leg that it was to have."""
    for result in main_results(history):
        if result.exit_code != 0 or result.step.mode not in ("run", "wait") or not result.verdict:
            continue
        legs = _judged(history, result)
        planned = planned_legs(result.step)
        late = result.step.given.get("on_timeout") == "pass"
        open_legs = [leg["name"] for leg, record in legs if record is None or leg["verdict"] in UNJUDGED]
        if open_legs or (len(legs) != planned and not (late and not legs)):
            yield f"step {result.number} is green with {len(legs)} of {planned} legs, and without {open_legs}"


def planned_legs(step: Step) -> int:
    """Return how many legs a step that launches is to have."""
    if step.listed:
        return len(step.listed)
    personas, test_sets = (step.given[name].split(", ") for name in ("persona_id", "test_set_id"))
    return len(personas) * len(test_sets)


def few_runs_are_under_way(history: History) -> Iterator[str]:
    """A step launches no run while as many of its own are under way as it may have at a time, by Coval's clock.

    Those that it has given up do not count: their legs say so, or the response to their launch was lost.
    """
    for result in main_results(history):
        most = int(result.step.given.get("max_parallel_runs", "0"))
        if result.step.mode != "run" or not most:
            continue
        given_up = {leg["run_id"] for leg, _ in _judged(history, result) if leg["verdict"] in ENDLESS}
        unclear = result.killed is not None or result.verdict in UNJUDGED  # its outputs show no leg's own verdict
        if unclear and (met_fault(result.requests) or "max_queue_time" in result.step.given):
            continue
        launches = [request for request in result.requests if request.launched_run and request.answered]
        records = [history.runs[request.launched_run] for request in launches]
        for record in records:
            others = [other for other in records if other.create_time <= record.create_time and other is not record]
            active = [other for other in others if not is_ended(history, other, record.create_time)]
            if len([other for other in active if other.run_id not in given_up]) >= most:
                yield f"step {result.number} launched {record.run_id} beside {len(active)} others"


def hopeless_run_is_given_up(history: History) -> Iterator[str]:
    """A run that two polls in a row show to be hopeless is cancelled, and its leg fails; no other run is."""
    for result in main_results(history):
        if (
            "abort_after_failures" not in result.step.given
            or result.killed is not None
            or result.interrupted is not None
        ):
            continue
        for leg, record in _judged(history, result) if result.step.mode in ("run", "wait") else ():
            since = _shown_hopeless(history, result, record) if record else None
            if record is None or since is None or met_fault(result.requests):
                continue
            cancelled_by = since + ABORT_TIME + history.schedule.quirks.cancel_lag
            if min(record.end_time, history.coval_time(result.ended)) > cancelled_by:
                yield f"step {result.number}: {leg['name']} goes on with a run of which all simulations fail"
            if record.cancel_time is not None and leg["verdict"] not in ("failed", "timed_out"):
                yield f"step {result.number}: {leg['name']} is {leg['verdict']}, but its run was given up"


def _shown_hopeless(history: History, result: ProcessResult, record: RunRecord) -> float | None:
    """Return when the second of two polls in a row has shown that nothing can come of a run, by Coval's clock."""
    polls = [sent for sent in result.requests if (sent.method, sent.path) == ("GET", f"/runs/{record.run_id}")]
    for first, second in pairwise(polls):
        if all(_shows_hopeless(history, result, record, poll) for poll in (first, second)):
            return history.coval_time(second.ended_at)
    return None


def _shows_hopeless(history: History, result: ProcessResult, record: RunRecord, poll: SentRequest) -> bool:
    read_at = history.coval_time(poll.sent_at + EFFECT * history.schedule.latency)
    return poll.answered and poll.status == 200 and is_hopeless(history, result.step, record, read_at)


def judged_leg_leaves_no_run(history: History) -> Iterator[str]:
    """The run of a leg with a verdict about it is over once the step is; a step that gave it up has ended it."""
    for result in main_results(history):
        for leg, record in _judged(history, result):
            if record is None or leg["verdict"] not in ("passed", "failed", "inconclusive"):
                continue
            over = is_ended(history, record, history.coval_time(history.ended)) or record.run_id in history.deleted
            if not over and not cancel_was_impossible(history, result, record):
                yield f"step {result.number}: {leg['name']} is {leg['verdict']}, but its run goes on"


OF_OPTIONS: Final = (
    each_leg_of_file_is_told,
    each_leg_meets_its_own_thresholds,
    no_leg_is_left_unjudged,
    few_runs_are_under_way,
    hopeless_run_is_given_up,
    judged_leg_leaves_no_run,
)


def violations_of_options(history: History) -> list[Violation]:
    """Return what does not hold of the options of legs."""
    return [Violation(invariant.__name__, problem) for invariant in OF_OPTIONS for problem in invariant(history)]
