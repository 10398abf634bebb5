"""Generates the schedule of a seed: one run for each step, or more along one of the dimensions.

A dimension changes the first schedule of one run that fits it. A new dimension is a row of DIMENSIONS.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count, islice
from math import prod
from random import Random
from typing import Final, NamedTuple

from campaign.baselines import with_baseline
from campaign.facts import planned_legs
from campaign.reruns import CHANGED, fits_changes, with_changes
from campaign.schedule import (
    EVER,
    GATES,
    OWN_GATES,
    REPEATED_GATES,
    STABLE,
    TOO_FEW,
    Event,
    Fault,
    ListedLeg,
    Process,
    Schedule,
    Signal,
    Step,
)
from campaign.single import LOST_RESPONSES, SAFE_TO_RETRY, single
from campaign.slices import fits_slices, in_slices
from coval_sandbox.catalogue import AGENT_ID, PREVIEW_ID, SCHEDULES, SLOW_PREVIEW_ID
from coval_sandbox.quirks import Quirks
from support import IDS

SINGLE: Final = "single"  # each step has one run
# Legs
WORKFLOWS: Final = ("run", "launch", "rerun", "supersede", "twice")
PERSONAS: Final = ("persona000000000000001", "persona000000000000002")
TEST_SETS: Final = ("passing1", "flaky001", "unknown1", "noProgrs", "someFail")
SHAPES: Final = ((2, 2), (2, 2), (2, 1), (1, 2), (1, 3), (1, 5))  # personas and test sets
STEP_GATES: Final = ("default", "thresholds", "targets", "pass_rate", "forbidden")  # that thresholds can be added to
NAMES: Final = ("booking", "refunds · slow line", "Überweisung", "leg 4", '"quoted" | <b>')
STRICT: Final = "strict"  # at most one leg has this gate
FILES: Final = ("evals/gate.json", "coval-gate.yml")  # JSON is YAML, too
# A base
AGENTS: Final = (PREVIEW_ID, SLOW_PREVIEW_ID)  # that are tested
SHAPES_BESIDE: Final = ((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (2, 1, 2), (1, 2, 2), (2, 2, 1), (1, 1, 5))
BASE_THRESHOLD: Final = "Latency: avg <= base * 9"  # which any two agents meet
BASE_SETS: Final = ("runFails", "someFail", "allFail1", "cancels1", "deletes1", "dirty001", "empty001", "failing1")
ENDLESS_SETS: Final = ("stuck001", "queued01", "slow0001")
LAUNCHES: Final = (*LOST_RESPONSES, *SAFE_TO_RETRY, "403", "403", "slow 30", "late 97")
# The newest run of a source
TAG: Final = "nightly"
BRANCH: Final = "main"
NIGHTLY: Final = SCHEDULES[0]
SOURCES: Final = (f"tag:{TAG}", f"branch:{BRANCH}", f"schedule:{NIGHTLY.id}", f"schedule:{NIGHTLY.id}")


class Dimension(NamedTuple):
    """In how many of 100 schedules it is, which schedules of one run it can change, and how."""

    share: int
    fits: Callable[[Schedule], bool]
    change: Callable[[Schedule, Random], Schedule]


def generate(seed: int) -> Schedule:
    """Return the schedule of a seed."""
    name = dimension_of(seed)
    dimension, place = DIMENSIONS[name], seed if name == SINGLE else 1000 * seed
    found = next(schedule for schedule in map(single, count(place)) if dimension.fits(schedule))
    return replace(dimension.change(found, Random(f"{name}/{seed}")), seed=seed, dimension=name)


def dimension_of(seed: int) -> str:
    """Return the dimension of a seed's schedule."""
    names, shares = tuple(DIMENSIONS), [dimension.share for dimension in DIMENSIONS.values()]
    return Random(f"dimension/{seed}").choices(names, shares)[0]


def seeds_of(dimensions: Sequence[str], first: int, number: int) -> list[int]:
    """Return so many seeds from the first one on; only those of some dimensions, if there are any."""
    return [*islice((seed for seed in count(first) if not dimensions or dimension_of(seed) in dimensions), number)]


def _is_plain(schedule: Schedule) -> bool:
    """Return whether no step compares its run with earlier ones."""
    return not any(step.branch for step in schedule.steps)


def _repeats(schedule: Schedule) -> bool:
    return any(step.repetitions for step in schedule.steps)


def _limits(rng: Random, share: float, late_share: float) -> Callable[[Step], dict[str, str]]:
    """Return inputs of all legs: how many simulations they may have, and whether the step is green if one is late."""
    limit = {"max_simulations": rng.choice((TOO_FEW, "1000", "1000"))} if rng.random() < share else {}
    late = {"on_timeout": "pass"} if rng.random() < late_share else {}
    return lambda step: {"run": limit | late, "launch": limit, "wait": late}[step.mode]


# Several legs


def _fits_legs(schedule: Schedule) -> bool:
    waits = schedule.workflow == "launch-wait" and schedule.gate in STEP_GATES  # for legs in a file
    return (schedule.workflow in WORKFLOWS or waits) and _is_plain(schedule) and not _repeats(schedule)


def _several_legs(schedule: Schedule, rng: Random) -> Schedule:
    """Give the steps two to five legs.

    Some have their legs in a file, launch them in turns, limit their simulations, or are green although a run is not
    over in time.
    """
    has_file = schedule.gate in STEP_GATES and (schedule.workflow == "launch-wait" or rng.random() < 0.5)
    personas, test_sets = rng.choice(SHAPES)
    others = rng.sample([name for name in TEST_SETS if name != schedule.test_set], test_sets - 1)
    ids = {"persona_id": ", ".join(PERSONAS[:personas]), "test_set_id": ", ".join([schedule.test_set, *others])}
    limits = _limits(rng, 0.25, 0.3)
    # The simulated network sends one request after another, so responses are quick.
    schedule = schedule.each(lambda step: step.having(**ids, **limits(step)))
    schedule = replace(schedule, latency=0.02)
    schedule = _with_file(schedule, rng, PERSONAS, (schedule.test_set, *others)) if has_file else schedule
    return _with_turns(schedule, rng) if rng.random() < 0.3 else schedule


def _with_file(schedule: Schedule, rng: Random, personas: Sequence[str], test_sets: Sequence[str]) -> Schedule:
    """Put the legs of all steps into a file, with thresholds of their own; some differ in these only.

    In some, the file has one more leg, which only_legs leaves out.
    """
    own = ("", *(gate for gate in OWN_GATES if gate != STRICT))
    kinds = [(persona, test_set, gate) for persona in personas for test_set in test_sets for gate in own]
    drawn = rng.sample(kinds, rng.randint(2, min(len(NAMES), len(kinds))))
    if rng.random() < 0.4:
        drawn[-1] = (*drawn[-1][:2], STRICT)
    rng.shuffle(drawn)
    legs = tuple(ListedLeg(name, *kind) for name, kind in zip(NAMES, drawn, strict=False))
    inputs = {"config_path": rng.choice(FILES), "persona_id": "", "test_set_id": ""}
    if Random(repr(legs)).random() < 0.4:
        inputs["only_legs"] = json.dumps([leg.name.upper() for leg in legs])
    return schedule.each(lambda step: replace(step.having(**inputs), listed=legs))


def _with_turns(schedule: Schedule, rng: Random) -> Schedule:
    """Limit each step to one or two runs at a time."""
    # Faults aside, there is time for all of them.
    time = {} if schedule.severity == "rough" else {"max_wait_time": "7200"}
    turns = {"max_parallel_runs": rng.choice("112")} | time
    return schedule.each(lambda step: step.having(**turns) if step.mode == "run" else step)


# A base agent beside each leg


def _fits_base(schedule: Schedule) -> bool:
    is_judged = schedule.gate in GATES or schedule.gate in REPEATED_GATES
    return is_judged and _is_plain(schedule) and schedule.workflow in (*WORKFLOWS, "launch-wait")


def _beside_base(schedule: Schedule, rng: Random) -> Schedule:
    """Make the steps compare one to five legs with a base agent.

    Legs that differ in their agent only share a base; each persona and test set has its own.
    """
    agents, personas, test_sets = rng.choice(SHAPES_BESIDE)
    others = rng.sample([name for name in TEST_SETS if name != schedule.test_set], test_sets - 1)
    ids = {
        "agent_id": ", ".join(AGENTS[:agents]),
        "persona_id": ", ".join(PERSONAS[:personas]),
        "test_set_id": ", ".join([schedule.test_set, *others]),
        "base_agent_id": AGENT_ID,
    }
    limits, is_rough = _limits(rng, 0.15, 0.2), schedule.severity == "rough"
    # One after another, legs may take longer than a step without faults has.
    turns = {"max_parallel_runs": rng.choice("12")} if is_rough and rng.random() < 0.2 else {}

    def changed(step: Step) -> Step:
        thresholds = "\n".join(filter(None, (step.inputs.get("thresholds"), BASE_THRESHOLD)))
        compared = {"thresholds": thresholds} if step.mode != "launch" else {}
        return step.having(**ids, **limits(step), **compared, **(turns if step.mode == "run" else {}))

    schedule = schedule.each(lambda step: step.without("mutation_ids"))  # no base beside mutations
    schedule = replace(schedule.each(changed), latency=0.02)
    if rng.random() < 0.25:
        schedule = replace(schedule, base_test_set=rng.choice((*BASE_SETS, *ENDLESS_SETS) if is_rough else BASE_SETS))
    schedule = _with_pushes(schedule, rng)
    if schedule.severity == "mild" and rng.random() < 0.5:  # which matters where the simulations are limited
        action, last = rng.choice(("503", "429", "reset-before", "html 502", "body {}")), rng.choice((2, 6, 12))
        schedule = _with_fault(schedule, "GET", "/test-sets/*", 1, last, action)
    if rng.random() < 0.2:
        number = rng.randint(1, prod((agents, personas, test_sets)) + personas * test_sets + 1)
        rough = replace(schedule, severity="rough")
        schedule = _with_fault(rough, "POST", "/runs", number, number, rng.choice(LAUNCHES))
    if schedule.severity == "rough" and rng.random() < 0.35:
        return _with_left_leg(schedule, rng)
    return schedule


def _with_fault(schedule: Schedule, method: str, path: str, first: int, last: int, action: str) -> Schedule:
    return replace(schedule, faults=(Fault(method, path, first, last, action), *schedule.faults))


def _with_pushes(schedule: Schedule, rng: Random) -> Schedule:
    """Make pushes start the workflows of some schedules: their runs are baselines, and may get the tag of one."""
    if rng.random() < 0.6:
        return schedule
    more = {"baseline": f"tag:{STABLE}"} if rng.random() < 0.5 else {}
    return schedule.each(lambda step: replace(step.having(**more), event="push", branch=BRANCH))


def _with_left_leg(schedule: Schedule, rng: Random) -> Schedule:
    """Send a signal when one leg is done, with its runs left, and another leg still goes on."""
    first, *others = schedule.steps
    if first.mode != "run" or any(step.mode == "wait" for step in others):
        return schedule
    test_sets = {"test_set_id": f"queued01, {rng.choice(('slow0001', 'slow0001', 'stuck001', 'passing1'))}"}
    patient = {
        "max_queue_time": rng.choice(("20", "40")),
        "max_wait_time": "3600",
        "cancel_on_interrupt": "true",
        "cancel_on_timeout": rng.choice(("true", "false", "false")),
    }
    signal = Signal(kill=rng.random() < 0.3, at=round(rng.uniform(15, 90), 3))
    base_test_set = rng.choice(("", "", *ENDLESS_SETS))
    faults = schedule.faults if rng.random() < 0.5 else ()
    steps = (replace(first, signal=signal).having(**patient), *others)
    schedule = replace(schedule, steps=steps, faults=faults, base_test_set=base_test_set)
    return schedule.each(lambda step: step.without("max_simulations", "max_parallel_runs").having(**test_sets))


# A re-run that lacks a leg


def _fits_rerun(schedule: Schedule) -> bool:
    return schedule.workflow == "rerun" and _fits_legs(schedule)


def _lacking_a_leg(schedule: Schedule, rng: Random) -> Schedule:
    """Refuse a launch of the first attempt; mostly, begin the later ones when its other runs are over."""
    schedule = (_beside_base if rng.random() < 0.3 else _several_legs)(schedule, rng)
    first, *others = schedule.each(lambda step: step.without("max_simulations").having(resume="true")).steps
    others = [replace(step, pause=rng.choice((2.0, 200.0, 200.0))) for step in others]
    if rng.random() < 0.7:  # nothing else keeps the first attempt from its end
        first = replace(first.calm(), post=True).having(max_wait_time="3600")
        schedule = replace(schedule, outages=(), events=())
    number = rng.randint(1, 2)
    schedule = replace(schedule, severity="rough", steps=(first, *others), faults=schedule.faults[:1])
    return _with_fault(schedule, "POST", "/runs", number, number, rng.choice(("403", "403", "400")))


# A re-run that is cut short beside runs of an attempt that was killed outright


def _left_behind(schedule: Schedule, rng: Random) -> Schedule:
    """Kill the first attempt while its runs go on; interrupt, refuse or disturb the second at any point."""
    change = rng.choice((lambda plain, _: plain, _several_legs, _beside_base))
    schedule = change(replace(schedule, test_set=rng.choice(ENDLESS_SETS)), rng)
    patient = {"resume": "true", "cancel_on_interrupt": "true", "max_wait_time": "600"}
    schedule = schedule.each(lambda step: step.calm().without("max_simulations", "max_queue_time").having(**patient))
    first, *others = schedule.steps
    kill = Signal(kill=True, at=round(rng.uniform(5, 60), 3))
    first = replace(first, mode="run", signal=kill, post=False)
    others = [replace(step, post=True, post_signal=None, pause=rng.choice((1.0, 5.0))) for step in others]
    schedule = replace(schedule, severity="rough", faults=(), outages=(), events=(), steps=(first, *others))
    what = rng.random()
    if what < 0.6:
        is_kill, number = rng.random() < 0.3, rng.randint(1, 14)
        request = Signal(kill=is_kill, request=number, phase=rng.choice(("before", "after")))
        signal = rng.choice((request, Signal(kill=is_kill, check=number)))
        return replace(schedule, steps=(first, *(replace(step, signal=signal) for step in others)))
    if what < 0.75:
        others = [step.having(max_simulations=TOO_FEW) for step in others]
        return replace(schedule, steps=(first, *others))
    legs = planned_legs(first)
    if what < 0.9:
        return _with_fault(schedule, "POST", "/runs", legs + 1, legs + rng.randint(1, 3), rng.choice(("403", "400")))
    path = rng.choice(("/test-sets/*", "/runs/*", "/metrics"))
    return _with_fault(schedule, "GET", path, rng.randint(1, 20), EVER, rng.choice(("403", "503")))


# Earlier runs of a baseline, or the newest run of a source


def _fits_earlier(schedule: Schedule) -> bool:
    return schedule.workflow == "run" and _is_plain(schedule) and not _repeats(schedule) and schedule.gate in GATES


def _newest(schedule: Schedule, rng: Random) -> Schedule:
    """Make the last step judge the newest run of a tag, of a branch or of Coval's schedule.

    Earlier steps have launched one or two such runs, and perhaps one of another persona, or one beside which such a
    run is the base. Coval's own schedule has launched runs of several personas and test sets at once.
    """
    (step,) = schedule.steps
    step = step.having(tags=f"{TAG},smoke", supersede="false")
    personas = (*PERSONAS[:1] * rng.choice((1, 1, 2)), *PERSONAS[1:] * (rng.random() < 0.3))
    launches = tuple(
        Step(
            mode="launch",
            inputs=step.inputs | {"persona_id": persona},
            branch=BRANCH,
            workflow_run=f"10000000{number}",
            pause=rng.choice((5.0, 50.0)),
        )
        for number, persona in enumerate(personas)
    )
    if rng.random() < 0.3:
        beside = step.without("mutation_ids").having(agent_id=PREVIEW_ID, base_agent_id=IDS["agent_id"])
        pair = replace(launches[-1], inputs=beside.inputs, workflow_run=f"10000000{len(launches)}")
        launches = (*launches, pair)
    source = rng.choice(SOURCES)
    is_scheduled = source.startswith("schedule:")
    ids = {"persona_id": PERSONAS[0]}
    if is_scheduled:
        ids = {name: rng.choice(NIGHTLY.template[f"{name}s"]) for name in ("persona_id", "agent_id")}
    step = step.having(**ids, run_id=source)
    wait = replace(step, mode="wait", branch=BRANCH, pause=rng.choice((5.0, 50.0, 200.0)))
    schedule = replace(schedule, workflow="newest", steps=(*launches, wait))
    return _with_nights(schedule, rng) if is_scheduled else schedule


def _with_nights(schedule: Schedule, rng: Random) -> Schedule:
    """Make Coval's own schedule launch its runs, once, twice or never; one may come when a step looks for them."""
    times = sorted(rng.sample((0.0, 2.0, 30.0, 70.0), rng.choice((0, 1, 1, 2))))
    nights = tuple(Event("run schedule", at) for at in times)
    test_set = rng.choice(NIGHTLY.template["test_set_ids"])
    return replace(schedule, test_set=test_set, events=(*schedule.events, *nights))


# A process of the job that answers


def _fits_attach(schedule: Schedule) -> bool:
    return schedule.workflow == "launch-wait" and _is_plain(schedule) and schedule.gate in GATES


def _attached(schedule: Schedule, rng: Random) -> Schedule:
    """Make a process of the job answer the run, or not.

    The sandbox runs all conversations, so that only the tag shows whether a process answered them.
    """
    schedule = schedule.each(lambda step: step.without("mutation_ids").having(resume="true"))
    launch, wait = (replace(step, pause=rng.choice((1.0, 2.0, 30.0))) for step in schedule.steps)
    if rng.random() < 0.7:
        launch = launch.calm()
    if rng.random() < 0.2:
        wait = replace(wait, signal=Signal(kill=rng.random() < 0.4, at=round(rng.uniform(0, 150), 3)))
        schedule = replace(schedule, severity="rough")
    if rng.random() < 0.3:  # nothing else delays the verdict
        schedule = replace(schedule, faults=(), outages=(), quirks=Quirks())
    late = None if rng.random() < 0.3 else rng.choice((0.5, 8.0, 20.0, 20.0, 60.0))
    process = Process(late, waits=rng.random() < 0.4)
    return replace(schedule, workflow="attach", steps=(launch, wait), process=process)


DIMENSIONS: Final = {
    SINGLE: Dimension(40, lambda _: True, lambda schedule, _: schedule),
    "legs": Dimension(14, _fits_legs, _several_legs),
    "base": Dimension(14, _fits_base, _beside_base),
    "baseline": Dimension(14, _fits_earlier, with_baseline),
    "newest": Dimension(8, _fits_earlier, _newest),
    "attach": Dimension(10, _fits_attach, _attached),
    "slices": Dimension(12, fits_slices, in_slices),
    "rerun": Dimension(8, _fits_rerun, _lacking_a_leg),
    "left": Dimension(8, _fits_rerun, _left_behind),
    CHANGED: Dimension(8, fits_changes, with_changes),
}
