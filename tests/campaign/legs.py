"""The campaign with several runs in a step: its schedules, and what must hold in addition for each run.

They are legs that differ in persona and test set, or an agent and the one beside which it is tested.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Final

from campaign import invariants
from campaign.generate import generate, with_inputs
from campaign.invariants import INVARIANTS, Violation, late_is_fine, main_results, was_prompt
from campaign.options import (
    LOUD_SET,
    meets_own,
    name_of,
    planned_legs,
    takes_file,
    violations_of_options,
    with_aborts,
    with_file,
    with_turns,
)
from campaign.oracle import is_good
from campaign.pool import Rules
from campaign.schedule import Schedule
from campaign.simulate import History
from coval_sandbox.state import RunRecord

WORKFLOWS: Final = ("run", "launch", "rerun", "supersede", "twice")
OF_BASE: Final = "Latency: avg <= base * 9"  # which any two agents meet
PERSONAS: Final = ("persona000000000000001", "persona000000000000002")
TEST_SETS: Final = ("passing1", "flaky001", "unknown1", "noProgrs", "someFail")
SHAPES: Final = ((2, 2), (2, 2), (2, 1), (1, 2), (1, 3), (1, 5))  # personas and test sets
TOO_FEW: Final = "1"  # simulations; no leg has so few
OF_ONE_RUN: Final = (  # invariants that take the step's verdict for its first run's; those below stand in their place
    invariants.one_launch_per_step,
    invariants.mutations_are_told_apart,
    invariants.pass_rests_on_everything,
    invariants.rerun_resumes,
    invariants.pass_rate_counts_everything,
    invariants.verdict_matches_run,
    invariants.last_poll_at_deadline,
    invariants.hanging_poll_is_not_the_last,
    invariants.failed_run_is_marked,
)


def several_legs(seed: int) -> Schedule:
    """Return a schedule whose steps have two to five legs, and whose rest is that of the first fitting seed.

    Some have their legs in a file, launch them in turns, give up runs, limit their simulations, or are green although a
    run is not over in time.
    """
    options = Random(f"options of legs/{seed}")
    has_file, aborts, has_turns = (options.random() < share for share in (0.4, 0.25, 0.25))
    place = 1000 * seed
    while not (_fits_file if has_file else _fits)(schedule := generate(place)):
        place += 1
    rng = Random(f"legs/{seed}")
    personas, test_sets = rng.choice([shape for shape in SHAPES if shape[1] > 1] if aborts else SHAPES)
    others = rng.sample([name for name in TEST_SETS if name != schedule.test_set], test_sets - 1)
    if aborts:
        others[0] = LOUD_SET
    more = {"persona_id": ", ".join(PERSONAS[:personas]), "test_set_id": ", ".join([schedule.test_set, *others])}
    limit = {"max_simulations": rng.choice((TOO_FEW, "1000", "1000"))} if rng.random() < 0.25 else {}
    late = {"on_timeout": "pass"} if rng.random() < 0.3 else {}
    of_mode = {"run": limit | late, "launch": limit, "wait": late}
    steps = tuple(
        replace(step, inputs=with_inputs(step.inputs, **more, **of_mode.get(step.mode, {}))) for step in schedule.steps
    )
    # The simulated network sends one request after another, so responses are quick.
    schedule = replace(schedule, seed=seed, steps=steps, foreign_run="", latency=0.02)
    schedule = with_file(schedule, options, PERSONAS, (schedule.test_set, *others)) if has_file else schedule
    schedule = with_aborts(schedule, options) if aborts else schedule
    return with_turns(schedule, options) if has_turns else schedule


def _fits_file(schedule: Schedule) -> bool:
    return takes_file(schedule) and (
        _fits(schedule) or (_fits(replace(schedule, workflow="run")) and schedule.workflow == "launch-wait")
    )


def _fits(schedule: Schedule) -> bool:
    repeats = any(step.repetitions for step in schedule.steps)
    return schedule.workflow in WORKFLOWS and is_plain(schedule) and not repeats


def is_plain(schedule: Schedule) -> bool:
    """Return whether no step compares its run with earlier ones."""
    return not (schedule.fate or any(step.branch for step in schedule.steps))


def violations(history: History) -> list[Violation]:
    """Return what does not hold."""
    checked = [invariant for invariant in INVARIANTS if invariant not in OF_ONE_RUN]
    own = (
        one_launch_per_leg,
        too_large_step_launches_nothing,
        green_only_if_all_legs_are_good,
        legs_agree_with_outputs,
    )
    found = [Violation(invariant.__name__, problem) for invariant in (*checked, *own) for problem in invariant(history)]
    return found + violations_of_options(history)


def one_launch_per_leg(history: History) -> Iterator[str]:
    """A step launches one run of each leg; launches that took effect too late do not count."""
    for result in main_results(history):
        launched = Counter(
            (*leg_of(record), name_of(record))
            for request in result.requests
            if request.launched_run and was_prompt(history, request)
            for record in [history.runs[request.launched_run]]
        )
        for leg, count in launched.items():
            if count > (1 if result.step.mode in ("run", "launch") else 0):
                yield f"step {result.number} launched {count} runs of the leg {leg}"


def too_large_step_launches_nothing(history: History) -> Iterator[str]:
    """A step with more simulations than it may launch sends no launch, and is an error, if it can tell."""
    for result in main_results(history):
        if result.step.given.get("max_simulations") != TOO_FEW:
            continue
        if any(request.launched_run for request in result.requests):
            yield f"step {result.number} launched a run, although it is too large"
        if result.killed is None and result.verdict not in ("error", "cancelled", ""):
            yield f"step {result.number} is {result.verdict!r}, although it is too large"


def green_only_if_all_legs_are_good(history: History) -> Iterator[str]:
    """A step passes only if each of its legs has a run of its own that meets the gate."""
    schedule, now = history.schedule, history.coval_time(history.ended)
    for result in main_results(history):
        if result.verdict != "passed":
            continue
        runs = [history.runs.get(leg["run_id"]) for leg in json.loads(result.outputs["legs"])]
        if None in runs or len({run.run_id for run in runs if run}) != planned_legs(result.step):
            yield f"step {result.number} passed without a run of each leg"
        good = (run and is_good(run, schedule.gate, schedule.quirks, now) for run in runs)
        own = all(run and meets_own(history, result.step, run, now) for run in runs)
        if not (all(good) and own):
            yield f"step {result.number} passed although a leg is bad"


def legs_agree_with_outputs(history: History) -> Iterator[str]:
    """The output legs names the runs of run_ids, and a step fails if a leg does."""
    for result in main_results(history):
        if result.killed is not None or not result.outputs.get("legs"):
            continue
        legs = json.loads(result.outputs["legs"])
        runs = [leg["run_id"] for leg in legs] + [leg["base_run_id"] for leg in legs]
        ids = list(dict.fromkeys(filter(None, runs)))  # legs may share a base
        told = json.loads(result.outputs["run_ids"] or "[]")
        if told[: len(ids)] != ids or (told[len(ids) :] and not result.step.repetitions):
            yield f"step {result.number} has the runs {result.outputs['run_ids']}, but its legs have {ids}"
        fine = ("passed", "", "inconclusive", "skipped", *late_is_fine(result.step))
        bad = [leg["name"] for leg in legs if leg["verdict"] not in fine]
        if bad and result.exit_code == 0:
            yield f"step {result.number} is green, but not its legs {bad}"


def leg_of(record: RunRecord) -> tuple[str, ...]:
    """Return what a run evaluates: agent, persona and test set."""
    return tuple(record.body[name] for name in ("agent_id", "persona_id", "test_set_id"))


SEVERAL_LEGS: Final = Rules(several_legs, violations, ".venv/bin/python tests/campaign --legs --seed {}")
OF_LEGS: Final = (
    one_launch_per_leg,
    too_large_step_launches_nothing,
    green_only_if_all_legs_are_good,
    legs_agree_with_outputs,
)
