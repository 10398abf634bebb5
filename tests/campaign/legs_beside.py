"""The campaign with several legs that are each compared with a base agent: its schedules, and what must hold then.

Legs that differ in their agent only share a base; each persona and test set has its own. What holds of legs and of a
base alone holds of both together, for each run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http import HTTPStatus
from math import prod
from random import Random
from typing import Any, Final, NamedTuple

from campaign import invariants
from campaign.generate import LOST_RESPONSES, SAFE_TO_RETRY, generate, with_inputs
from campaign.invariants import (
    INVARIANTS,
    MAX_LOST_LAUNCHES,
    Violation,
    cancel_was_impossible,
    is_ended,
    is_unknown,
    is_unmarked,
    knows_events,
    main_results,
    reported_verdict,
    was_prompt,
)
from campaign.legs import (
    OF_BASE,
    OF_ONE_RUN,
    PERSONAS,
    TEST_SETS,
    TOO_FEW,
    WORKFLOWS,
    is_plain,
    leg_of,
    legs_agree_with_outputs,
    too_large_step_launches_nothing,
)
from campaign.oracle import (
    are_good_together,
    cannot_recover,
    cases_to_compare,
    has_data,
    is_comparable,
    is_good,
    is_usable,
    pool_of,
)
from campaign.pool import Rules
from campaign.schedule import (
    ACCEPTED,
    FAILED,
    GATES,
    REPEATED_GATES,
    STABLE,
    Fault,
    Schedule,
    Signal,
    Step,
)
from campaign.simulate import History, ProcessResult
from coval_sandbox.catalogue import AGENT_ID, PREVIEW_ID, SLOW_PREVIEW_ID
from coval_sandbox.state import RunRecord

Leg = tuple[str, ...]  # agent, persona and test set


AGENTS: Final = (PREVIEW_ID, SLOW_PREVIEW_ID)  # that are tested
# Agents, personas and sets
SHAPES: Final = ((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (2, 1, 2), (1, 2, 2), (2, 2, 1), (1, 1, 5))
BASE_SETS: Final = ("runFails", "someFail", "allFail1", "cancels1", "deletes1", "dirty001", "empty001", "failing1")
ENDLESS_SETS: Final = ("stuck001", "queued01", "slow0001")
LAUNCHES: Final = (*LOST_RESPONSES, *SAFE_TO_RETRY, "403", "403", "slow 30", "late 97")
BRANCH_TAG: Final = "coval-gate/branch/"  # prefix of the tag of all runs of a branch
FEWEST_CASES: Final = 2  # test cases that can be compared
LATE: Final = ("timed_out", "error")  # verdicts of legs whose runs may be left to a later step
GRAVEST_FIRST: Final = ("error", "failed", "cancelled", "timed_out", "inconclusive", "passed")
LEFT_OUT: Final = (
    *OF_ONE_RUN,
    invariants.no_repetition_in_vain,
    invariants.left_repetitions_are_ended,
    invariants.no_orphaned_run,
    invariants.no_pass_without_data,
    invariants.pass_rests_on_everything,
    invariants.certain_ends_come_soon,
)


class Judged(NamedTuple):
    """A leg that a step judged: its entry of the output `legs`, and its runs and its base's, the first ones first."""

    facts: dict[str, Any]
    runs: list[RunRecord]
    bases: list[RunRecord]

    @property
    def verdict(self) -> str:
        """Return the leg's own verdict."""
        return str(self.facts["verdict"])

    @property
    def bases_needed(self) -> list[RunRecord]:
        """Return the base's runs beside those of the leg; one that a repetition replaces as a whole needs none."""
        pairs = list(zip(self.runs, self.bases, strict=False))
        is_replaced = [all(simulation.failed for simulation in run.plan.simulations) for run, _ in pairs[:-1]]
        return [base for (_, base), replaced in zip(pairs, [*is_replaced, False], strict=False) if not replaced]


def legs_beside(seed: int) -> Schedule:
    """Return a schedule whose steps compare two to five legs with a base, and whose rest is that of a fitting seed."""
    place = 1000 * seed + 250
    while not _fits(schedule := generate(place)):
        place += 1
    rng = Random(f"legs beside/{seed}")
    agents, personas, test_sets = rng.choice(SHAPES)
    others = rng.sample([name for name in TEST_SETS if name != schedule.test_set], test_sets - 1)
    ids = {
        "agent_id": ", ".join(AGENTS[:agents]),
        "persona_id": ", ".join(PERSONAS[:personas]),
        "test_set_id": ", ".join([schedule.test_set, *others]),
    }
    given = _drawn_inputs(schedule, rng)
    steps = tuple(replace(step, inputs=_inputs(step, ids, given)) for step in schedule.steps)
    # The simulated network sends one request after another, so responses are quick.
    schedule = replace(schedule, seed=seed, steps=steps, foreign_run="", latency=0.02)
    if rng.random() < 0.25:
        rough = schedule.severity == "rough"
        schedule = replace(schedule, base_test_set=rng.choice((*BASE_SETS, *ENDLESS_SETS) if rough else BASE_SETS))
    schedule = _with_pushes(schedule, rng)
    if schedule.severity == "mild" and rng.random() < 0.5:  # which matters where the simulations are limited
        action, last = rng.choice(("503", "429", "reset-before", "html 502", "body {}")), rng.choice((2, 6, 12))
        hiccup = Fault(method="GET", path="/test-sets/*", first=1, last=last, action=action)
        schedule = replace(schedule, faults=(hiccup, *schedule.faults))
    if rng.random() < 0.2:
        number = rng.randint(1, prod((agents, personas, test_sets)) + personas * test_sets + 1)
        fault = Fault(method="POST", path="/runs", first=number, last=number, action=rng.choice(LAUNCHES))
        schedule = replace(schedule, severity="rough", faults=(fault, *schedule.faults))
    if schedule.severity == "rough" and rng.random() < 0.35:
        return _with_late_base(_with_left_leg(schedule, rng), Random(f"late base/{seed}"))
    return _with_clock_ahead(schedule, Random(f"clock ahead/{seed}"))


def _with_clock_ahead(schedule: Schedule, rng: Random) -> Schedule:
    """Lose the response to a launch while the steps' clock is far ahead, and Coval's lists show no tags or metadata."""
    if schedule.severity != "rough" or rng.random() > 0.1:
        return schedule
    lost = Fault(method="POST", path="/runs", first=1, last=1, action=rng.choice(LOST_RESPONSES))
    hidden = replace(schedule.quirks, list_identity="neither", run_identity=rng.choice(("both", "tags", "metadata")))
    calm = (replace(step, signal=None, file_fault=None) for step in schedule.steps)
    steps = tuple(replace(step, inputs=with_inputs(step.inputs, max_wait_time="600")) for step in calm)
    skew = rng.choice((-119.0, -121.0, -3600.0))
    return replace(schedule, steps=steps, faults=(lost,), quirks=hidden, skew=skew, outages=())


def _fits(schedule: Schedule) -> bool:
    is_judged = schedule.gate in GATES or schedule.gate in REPEATED_GATES
    return is_judged and is_plain(schedule) and schedule.workflow in (*WORKFLOWS, "launch-wait")


def _drawn_inputs(schedule: Schedule, rng: Random) -> dict[str, dict[str, str]]:
    """Return inputs of each mode that the steps have in addition."""
    late = {"on_timeout": "pass"} if rng.random() < 0.2 else {}
    limit = {"max_simulations": rng.choice((TOO_FEW, "1000", "1000"))} if rng.random() < 0.15 else {}
    # One after another, legs may take longer than a step without faults has.
    turns = {"max_parallel_runs": rng.choice("12")} if schedule.severity == "rough" and rng.random() < 0.2 else {}
    return {"run": limit | late | turns, "launch": limit, "wait": late}


def _inputs(step: Step, ids: dict[str, str], given: dict[str, dict[str, str]]) -> tuple[tuple[str, str], ...]:
    inputs = {name: value for name, value in step.inputs if name != "mutation_ids"}  # no base beside mutations
    inputs |= given[step.mode]
    if step.mode != "launch":
        inputs["thresholds"] = "\n".join(filter(None, (inputs.get("thresholds"), OF_BASE)))
    return with_inputs(tuple(inputs.items()), **ids, base_agent_id=AGENT_ID)


def _with_pushes(schedule: Schedule, rng: Random) -> Schedule:
    """Let pushes start the workflows of some schedules: their runs are baselines, and may take the tag of one."""
    if rng.random() < 0.6:
        return schedule
    more = {"baseline": f"tag:{STABLE}"} if rng.random() < 0.5 else {}
    steps = (
        replace(step, event="push", branch="main", inputs=with_inputs(step.inputs, **more)) for step in schedule.steps
    )
    return replace(schedule, steps=tuple(steps))


def _with_left_leg(schedule: Schedule, rng: Random) -> Schedule:
    """Let a leg be done, and its runs be left, when a signal comes while another leg goes on."""
    first, *others = schedule.steps
    if first.mode != "run" or any(step.mode == "wait" for step in others):
        return schedule
    test_sets = f"queued01, {rng.choice(('slow0001', 'slow0001', 'stuck001', 'passing1'))}"
    inputs = with_inputs(
        first.inputs,
        test_set_id=test_sets,
        max_queue_time=rng.choice(("20", "40")),
        max_wait_time="3600",
        cancel_on_interrupt="true",
        cancel_on_timeout=rng.choice(("true", "false", "false")),
    )
    inputs = tuple((name, value) for name, value in inputs if name not in ("max_parallel_runs", "max_simulations"))
    signal = Signal(kill=rng.random() < 0.3, at=round(rng.uniform(15, 90), 3))
    step = replace(first, inputs=inputs, signal=signal)
    base_test_set = rng.choice(("", "", *ENDLESS_SETS))
    faults = schedule.faults if rng.random() < 0.5 else ()
    others = [replace(other, inputs=with_inputs(other.inputs, test_set_id=test_sets)) for other in others]
    return replace(schedule, steps=(step, *others), faults=faults, base_test_set=base_test_set)


def _with_late_base(schedule: Schedule, rng: Random) -> Schedule:
    """Let the response to a base's launch come about when its legs have waited in the queue for too long."""
    given = schedule.steps[0].given
    if "max_queue_time" not in given or rng.random() > 0.3:
        return schedule
    first = prod(len(given[name].split(", ")) for name in ("agent_id", "persona_id", "test_set_id")) + 1
    delay = float(given["max_queue_time"]) + rng.choice((-1.5, 0.0, 1.0, 30.0))
    late = Fault(method="POST", path="/runs", first=first, last=first, action=f"slow {delay:g}")
    calm = [replace(step, signal=None) if rng.random() < 0.5 else step for step in schedule.steps]
    return replace(schedule, steps=tuple(calm), faults=(late, *schedule.faults))


def judged_legs(history: History, result: ProcessResult) -> list[Judged]:
    """Return the legs that a step has judged; none if it was killed, or has no outputs."""
    if result.killed is not None or not result.verdict or not result.outputs.get("legs"):
        return []
    records = [history.runs[run_id] for run_id in result.run_ids if run_id in history.runs]
    judged = []
    for facts in json.loads(result.outputs["legs"]):
        first = history.runs.get(facts["run_id"])
        of_leg = [record for record in records if first and leg_of(record) == leg_of(first)]
        of_base = [record for record in records if first and leg_of(record) == _base_of(leg_of(first))]
        judged.append(Judged(facts, of_leg, of_base))
    return judged


def _base_of(leg: Leg) -> Leg:
    return AGENT_ID, *leg[1:]


def one_launch_per_trial(history: History) -> Iterator[str]:
    """A step launches one run of each leg and of each base, and no more repetitions than it may.

    Launches that took effect too late do not count. A base runs no more often than a leg that is compared with it.
    """
    for result in main_results(history):
        launched = Counter(
            leg_of(history.runs[request.launched_run])
            for request in result.requests
            if request.launched_run and was_prompt(history, request)
        )
        for leg, count in launched.items():
            if count > (1 + result.step.repetitions if result.step.mode in ("run", "launch") else 0):
                yield f"step {result.number} launched {count} runs of {leg}"
            beside = {_base_of(record): record for record in map(leg_of, _own_runs(history, result))}
            if leg[0] == AGENT_ID and leg not in beside:
                yield f"step {result.number} launched the base's run of {leg}, but no run to compare with it"


def _own_runs(history: History, result: ProcessResult) -> list[RunRecord]:
    """Return the runs of the tested agents that a step launched or knows."""
    ids = dict.fromkeys((*result.launched_runs, *result.run_ids))
    records = [history.runs[run_id] for run_id in ids if run_id in history.runs]
    return [record for record in records if record.body["agent_id"] != AGENT_ID]


def each_leg_needs_its_base(history: History) -> Iterator[str]:
    """A leg passes, or is inconclusive, only if its runs are good, and as many of its base can be compared with."""
    schedule, now = history.schedule, history.coval_time(history.ended)
    for result in main_results(history):
        for leg in judged_legs(history, result):
            if leg.verdict not in ("passed", "inconclusive"):
                continue
            name = f"step {result.number}: {leg.facts['name']} is {leg.verdict}"
            if not leg.runs or leg.runs[0].body["agent_id"] == AGENT_ID:
                yield f"{name}, but it has no run of its own"
            elif leg.facts["base_run_id"] not in [base.run_id for base in leg.bases[:1]]:
                yield f"{name}, but is compared with {leg.facts['base_run_id']!r}"
            elif len(leg.bases) < len(leg.runs):
                yield f"{name}, but a run of its base is missing"
            elif not _is_good(history, leg, now):
                yield f"{name}, but its runs are bad"
            for base in leg.bases_needed:
                if not is_usable(base, schedule.gate, schedule.quirks, now):
                    yield f"{name}, but its base's run {base.run_id} ({base.status(now)}) cannot be compared with"


def _is_good(history: History, leg: Judged, now: float) -> bool:
    """Return whether the leg's runs meet the gate together, or its only run does."""
    gate, quirks = history.schedule.gate, history.schedule.quirks
    first = leg.runs[0]
    alone = is_good(first, gate, quirks, now) and is_comparable(first, gate, quirks, now)
    together = len(leg.runs) > 1 and are_good_together(leg.runs, gate, quirks, now)
    return alone or (together and all(is_comparable(run, gate, quirks, now) for run in leg.runs))


def passes_with_all_legs(history: History) -> Iterator[str]:
    """A step passes only with a leg of each combination, on every simulation of the tested agents' runs."""
    for result in main_results(history):
        if result.verdict != "passed":
            continue
        legs = judged_legs(history, result)
        ids = ("agent_id", "persona_id", "test_set_id")
        planned = prod(len(result.step.given[name].split(", ")) for name in ids)
        if len({leg_of(leg.runs[0]) for leg in legs if leg.runs}) != planned:
            yield f"step {result.number} passed without a run of each leg"
        total = sum(len(pool_of(leg.runs)) for leg in legs if leg.runs)
        if int(result.outputs["total_simulations"]) != total:
            yield f"step {result.number} passed on {result.outputs['total_simulations']} of {total} simulations"


def gravest_leg_decides(history: History) -> Iterator[str]:
    """A step that judged its legs has the verdict of the gravest of them."""
    for result in main_results(history):
        verdicts = [leg.verdict for leg in judged_legs(history, result)]
        whole = result.interrupted is not None and result.verdict == "cancelled"
        if not verdicts or whole or result.step.mode not in ("run", "wait"):
            continue
        gravest = min(verdicts, key=GRAVEST_FIRST.index)
        if gravest != result.verdict:
            yield f"step {result.number} is {result.verdict}, but its legs are {verdicts}"


def each_leg_has_its_verdict(history: History) -> Iterator[str]:
    """If all faults are transient, each leg has the verdict that its runs and its base's deserve."""
    if not history.schedule.recoverable:
        return
    for result in main_results(history):
        lost = sum(request.method == "POST" and not request.answered for request in result.requests)
        too_large = result.step.given.get("max_simulations") == TOO_FEW
        if lost >= MAX_LOST_LAUNCHES or too_large or result.step.mode not in ("run", "wait"):
            continue
        for leg in judged_legs(history, result):
            expected = _expected(history, result, leg)
            if leg.verdict not in expected:
                yield f"step {result.number}: {leg.facts['name']} is {leg.verdict} instead of {' or '.join(expected)}"


def _expected(history: History, result: ProcessResult, leg: Judged) -> tuple[str, ...]:
    """Return the verdicts of a leg that are right without permanent faults."""
    schedule, now = history.schedule, history.coval_time(result.ended)
    given = [history.runs[run_id] for run_id in result.given_runs]
    hidden = schedule.quirks.run_identity == "tags"  # which run is that of which leg
    if given and (hidden or any(is_unknown(history, result, record) for record in given)):
        return ("error",)
    if not leg.runs:
        return ("a verdict on a run",)
    first = leg.runs[0]
    if any(is_unknown(history, result, record) for record in (first, *leg.bases)):
        return ("error",)
    if first.status(now) != "COMPLETED":
        return {"FAILED": ("failed",), "ERROR": ("error",)}.get(first.status(now), ("cancelled",))
    usable = [is_usable(base, schedule.gate, schedule.quirks, now) for base in leg.bases_needed]
    if len(leg.runs) > 1:  # the first one failed
        together = len(leg.bases) >= len(leg.runs) and all(usable) and _is_good(history, leg, now)
        return ("passed",) if together else ("failed",)
    has_all = has_data(first, schedule.gate, schedule.quirks, now)
    has_all &= is_comparable(first, schedule.gate, schedule.quirks, now)
    meets = _is_good(history, leg, now)
    shared = cases_to_compare(first, schedule.quirks, now)
    if leg.bases:
        shared &= cases_to_compare(leg.bases[0], schedule.quirks, now)
    if usable == [True] and len(shared) >= FEWEST_CASES:
        return ("passed",) if meets else ("failed",) if has_all else ("error", "failed")
    return ("error",) if meets else ("error", "failed")


def no_run_is_left(history: History) -> Iterator[str]:
    """After a signal or a kill that is to end them, no run of any leg or base goes on, whenever its leg was done.

    Otherwise, a leg's verdict says so.
    """
    for result in main_results(history):
        if result.step.mode not in ("run", "wait"):
            continue
        known = dict.fromkeys((*result.launched_runs, *result.run_ids))
        of_step = [history.runs[run_id] for run_id in known if run_id in history.runs]
        ended_early = result.killed is not None or (result.interrupted is not None and result.verdict == "cancelled")
        if not ended_early or reported_verdict(result) == "timed_out":
            due = [record for record in of_step if _is_done(history, result, record)]
        else:
            due = of_step if result.step.flag("cancel_on_interrupt") else []
        for record in due:
            is_over = is_ended(history, record, history.coval_time(history.ended)) or record.run_id in history.deleted
            if not is_over and not cancel_was_impossible(history, result, record):
                yield f"step {result.number} left the run {record.run_id} of {leg_of(record)} unfinished"


def _is_done(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether the verdicts of a step's legs leave no reason for the run to go on."""
    legs = [leg for leg in judged_legs(history, result) if leg.runs]
    of_run = [leg for leg in legs if leg_of(record) in (leg_of(leg.runs[0]), _base_of(leg_of(leg.runs[0])))]
    return bool(of_run) and not any(_may_be_left(history, result, leg, record) for leg in of_run)


def _may_be_left(history: History, result: ProcessResult, leg: Judged, record: RunRecord) -> bool:
    """Return whether a leg's verdict lets its run, or its base's run, go on."""
    is_base = record.body["agent_id"] == AGENT_ID
    cancels = result.step.flag("cancel_on_timeout")
    is_left = leg.verdict in (("error",) if cancels else LATE)  # after an error, as far as its inputs say so
    repeats = not is_base and len(leg.runs) > 1 and record is not leg.runs[0]
    is_over = is_base and _was_seen_to_end(history, result, leg.runs[0])
    return is_left and not (repeats or is_over)


def _was_seen_to_end(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether a poll of the step has shown that the run is over, and not only that Coval hides it."""
    polls = [request for request in result.requests if request.path == f"/runs/{record.run_id}" and request.answered]
    return any(poll.status == HTTPStatus.OK and record.finished(history.coval_time(poll.sent_at)) for poll in polls)


def rerun_resumes_each_run(history: History) -> Iterator[str]:
    """A later attempt launches no run of a leg, or of a base, while that of the earlier attempt is unfinished."""
    for result in main_results(history):
        if result.step.attempt < 2 or not result.step.flag("resume") or not knows_events(history):
            continue
        earlier = _first_launches(history, main_results(history), before=result.number)
        for leg, again in _first_launches(history, [result]).items():
            first = earlier.get(leg)
            if first is None:
                continue
            listed = first.create_time + history.schedule.quirks.list_lag < history.coval_time(result.began)
            if listed and not is_ended(history, first, again.create_time):
                yield f"step {result.number} launched {again.run_id} while {first.run_id} of attempt 1 was unfinished"


def _first_launches(
    history: History, results: Sequence[ProcessResult] | Iterator[ProcessResult], before: int | None = None
) -> dict[Leg, RunRecord]:
    """Return the first run that these steps launched of each leg and each base."""
    first: dict[Leg, RunRecord] = {}
    for result in results:
        for run_id in result.launched_runs if before is None or result.number < before else ():
            first.setdefault(leg_of(history.runs[run_id]), history.runs[run_id])
    return first


def no_leg_is_repeated_in_vain(history: History) -> Iterator[str]:
    """A step repeats no run of a leg that breaks a count, or of which Coval reports an error."""
    schedule = history.schedule
    for result in main_results(history):
        for leg in judged_legs(history, result) if result.step.repetitions else ():
            for record, again in zip(leg.runs, leg.runs[1:], strict=False):
                if again.run_id in result.launched_runs and cannot_recover(record, schedule.gate, schedule.quirks):
                    yield f"step {result.number} launched {again.run_id}, but {record.run_id} cannot be made up for"


def base_is_nothing_else(history: History) -> Iterator[str]:
    """A base's run has no mark and no tag of baselines, never has the tag of a branch, and decides no leg."""
    for record in history.runs.values():
        if record.body["agent_id"] != AGENT_ID:
            continue
        tags = {*map(str.lower, record.tags)}
        if wrong := tags & {STABLE, ACCEPTED, FAILED}:
            yield f"the base's run {record.run_id} has the tags {sorted(wrong)}"
        if any(tag.startswith(BRANCH_TAG) for tag in (*tags, *map(str, record.body["metadata"]["customer"].values()))):
            yield f"the base's run {record.run_id} has the tag of a branch"
    for result in main_results(history):
        for leg in judged_legs(history, result):
            decided = leg.verdict in ("passed", "failed", "inconclusive")
            if leg.runs and leg.runs[0].body["agent_id"] == AGENT_ID and decided:
                yield f"step {result.number} judged the base's run {leg.runs[0].run_id}"


def failed_legs_are_marked(history: History) -> Iterator[str]:
    """The only run of a leg that failed for want of data has a mark."""
    for result in main_results(history):
        for leg in judged_legs(history, result):
            if leg.verdict == "failed" and len(leg.runs) == 1 and is_unmarked(history, result, leg.runs[0].run_id):
                yield f"step {result.number}: {leg.facts['name']} failed, but its run has no mark"


OF_BOTH: Final = (
    one_launch_per_trial,
    too_large_step_launches_nothing,
    each_leg_needs_its_base,
    passes_with_all_legs,
    gravest_leg_decides,
    each_leg_has_its_verdict,
    no_run_is_left,
    rerun_resumes_each_run,
    no_leg_is_repeated_in_vain,
    base_is_nothing_else,
    failed_legs_are_marked,
    legs_agree_with_outputs,
)


def violations(history: History) -> list[Violation]:
    """Return what does not hold of several legs and their bases."""
    checked = [invariant for invariant in INVARIANTS if invariant not in LEFT_OUT]
    return [
        Violation(invariant.__name__, problem) for invariant in (*checked, *OF_BOTH) for problem in invariant(history)
    ]


LEGS_BESIDE: Final = Rules(legs_beside, violations, ".venv/bin/python tests/campaign --base --seed {}")
