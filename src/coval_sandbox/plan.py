"""The course of a run: planned at its launch, (scenario, request, seed) -> Plan, and its state at any time.

The state is a pure function of the record: nothing runs in the background.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from random import Random
from typing import Any

from . import catalogue
from .deterministic import rng, short_id
from .problems import LaunchRequest, Options, invalid
from .scenarios import OTHER_METRIC, Scenario, Value

ERRORS = (
    "The call was not answered",
    "The agent closed the connection during the first turn",
    "No audio from the agent for 30 seconds",
)
UNRESOLVED = {catalogue.RESOLVED.id: "NO"}
# The shares of a value's spread due to the test case and to chance. As in reality, iterations of one case
# resemble each other. The squares add up to 1.
CASE_SHARE, CHANCE_SHARE = 0.6, 0.8
PENDING_SECONDS = 1.0


@dataclass(frozen=True)
class PlannedSimulation:
    """`number` is the position in the run, from 0.

    `start` and `end` are in seconds after the launch; infinite if it never starts or ends.
    """

    number: int
    simulation_id: str
    test_case_id: str
    mutation_id: str | None
    iteration: int
    start: float
    end: float
    failed: bool
    error_message: str | None
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Plan:
    """`queue` and `end` are in seconds after the launch; infinite means never."""

    scenario: Scenario
    metric_ids: tuple[str, ...]
    simulations: tuple[PlannedSimulation, ...]
    queue: float
    end: float


def make_plan(scenario: Scenario, request: LaunchRequest, seed: object) -> Plan:
    """Raises `Problem` (400) for test cases outside the set."""
    random = rng(seed, "plan")
    cases = choose_cases(scenario, request.test_set_id, request.options, random) if scenario.simulated else ()
    agent = catalogue.agent_for(request.agent_id)
    metric_ids = tuple(dict.fromkeys(request.metric_ids or (metric.id for metric in agent.metrics)))
    variants = (None, *request.mutations)
    places = list(product(range(request.options.iteration_count), variants, cases))
    times = schedule(scenario, len(places), request.options.concurrency, random)
    failed = _chosen(scenario.failed_share, len(places), random)
    unresolved = _chosen(scenario.first_unresolved, len(places), random)
    known = catalogue.test_cases(request.test_set_id, scenario.test_cases) if scenario.lost_case else ()
    lost = {case.id for case in known if case.label == scenario.lost_case}
    simulations = tuple(
        PlannedSimulation(
            number=number,
            simulation_id=short_id(random),
            test_case_id=case,
            mutation_id=mutation,
            iteration=iteration,
            start=start,
            end=end,
            failed=number in failed,
            error_message=ERRORS[number % len(ERRORS)] if number in failed else None,
            values={}
            if number in failed
            else _values(scenario, metric_ids, case, agent.shift + _shift(mutation), random)
            | (UNRESOLVED if number in unresolved or case in lost else {}),
        )
        for number, ((iteration, mutation, case), (start, end)) in enumerate(zip(places, times, strict=True))
    )
    queue = math.inf if scenario.stuck_status == "IN QUEUE" else scenario.queue
    return Plan(scenario, metric_ids, simulations, queue, end_of_run(scenario, queue, simulations))


def choose_cases(scenario: Scenario, test_set_id: str, options: Options, random: Random) -> tuple[str, ...]:
    """Return the whole set, the requested test cases or a random sample."""
    ids = tuple(case.id for case in catalogue.test_cases(test_set_id, scenario.test_cases))
    if options.test_case_ids is not None:
        unknown = [case for case in options.test_case_ids if case not in ids]
        if unknown:
            raise invalid(("options.test_case_ids", f"not in test set '{test_set_id}': {', '.join(unknown)}"))
        return tuple(dict.fromkeys(options.test_case_ids))
    if 0 < options.sub_sample_size < len(ids):
        chooser = random if options.sub_sample_seed is None else rng(test_set_id, options.sub_sample_seed)
        chosen = set(chooser.sample(ids, options.sub_sample_size))
        return tuple(case for case in ids if case in chosen)
    return ids


def schedule(scenario: Scenario, count: int, concurrency: int, random: Random) -> list[tuple[float, float]]:
    """Return starts and ends, with at most `concurrency` conversations at a time."""
    free = [math.inf if scenario.stuck_status == "IN QUEUE" else scenario.queue] * concurrency
    times = []
    for number, length in enumerate(_lengths(scenario, count, random), start=1):
        never_ends = scenario.stuck_status == "IN PROGRESS" and number == count
        start = heapq.heappop(free)
        end = math.inf if never_ends else start + length
        heapq.heappush(free, end)
        times.append((start, end))
    return times


def _lengths(scenario: Scenario, count: int, random: Random) -> Sequence[float]:
    # Draw one length from each of `count` equal slices: lengths vary, but their sum hardly depends on the seed.
    low, high = scenario.conversation
    lengths = [low + (high - low) * (place + random.random()) / count for place in range(count)]
    random.shuffle(lengths)
    return lengths


def _chosen(share: float, count: int, random: Random) -> frozenset[int]:
    """Choose at least one conversation unless the share is 0."""
    if not share or not count:
        return frozenset()
    return frozenset(random.sample(range(count), max(1, round(share * count))))


def _shift(mutation: str | None) -> float:
    return catalogue.mutation_for(mutation).shift if mutation else 0.0


def _values(scenario: Scenario, metric_ids: Sequence[str], case: str, shift: float, random: Random) -> dict[str, Value]:
    values = {}
    for metric_id in metric_ids:
        luck = CASE_SHARE * _difficulty(case, metric_id) + CHANCE_SHARE * random.gauss() + shift
        values[metric_id] = scenario.values.get(metric_id, OTHER_METRIC).at(luck, random)
    return values


@lru_cache(10_000)
def _difficulty(case: str, metric_id: str) -> float:
    return rng("difficulty", case, metric_id).gauss()


def end_of_run(scenario: Scenario, queue: float, simulations: Sequence[PlannedSimulation]) -> float:
    """Return when the run ends: with its last simulation, unless its scenario ends it earlier."""
    natural = max((simulation.end for simulation in simulations), default=queue + 5.0)
    return natural if scenario.breaks_after is None else min(natural, scenario.breaks_after)


@dataclass(frozen=True)
class RunRecord:
    """A launched run, even if it was deleted later. Times are seconds since the epoch.

    `metric_versions`: at the launch. `cancel_time`: when a DELETE of the unfinished run ends it. `delete_time`: when a
    DELETE of the finished run removed it. `schedule_id`: empty if no scheduled run launched it.
    """

    run_id: str
    create_time: float
    body: dict[str, Any]
    request: LaunchRequest
    plan: Plan
    tags: tuple[str, ...] = ()
    metric_versions: Mapping[str, int] = field(default_factory=dict)
    cancel_time: float | None = None
    delete_time: float | None = None
    schedule_id: str = ""

    @property
    def end_time(self) -> float:
        """The end of the run; infinite if it never ends."""
        return self.create_time + self.plan.end if self.cancel_time is None else self.cancel_time

    def status(self, now: float) -> str:
        """Return the status in the documented spelling; CANCELLED after a DELETE of the unfinished run."""
        if now >= self.end_time:
            return self.plan.scenario.end_status if self.cancel_time is None else "CANCELLED"
        elapsed = now - self.create_time
        if elapsed < min(PENDING_SECONDS, self.plan.queue):
            return "PENDING"
        return "IN QUEUE" if elapsed < self.plan.queue else "IN PROGRESS"

    def finished(self, now: float) -> bool:
        return now >= self.end_time

    def simulation_status(self, simulation: PlannedSimulation, now: float) -> str:
        """Return a simulation's status. The end of the run also ends its unfinished simulations."""
        moment = min(now, self.end_time)
        if moment >= self.create_time + simulation.end:
            return "FAILED" if simulation.failed else "COMPLETED"
        if self.finished(now):
            return "FAILED" if self.status(now) in {"FAILED", "ERROR"} else "CANCELLED"
        if moment >= self.create_time + simulation.start:
            return "IN PROGRESS"
        return "PENDING" if self.status(now) == "PENDING" else "IN QUEUE"

    def is_listed(self, simulation: PlannedSimulation, now: float, trickle: float, *, by_case: bool = False) -> bool:
        """Return whether lists show a simulation. With `trickle`, they appear during so many s after the run's end.

        Before its end, a run lists all. They appear by test case, one by one or (`by_case`) all of a test case at once.
        """
        if not trickle or not self.finished(now):
            return True
        total, cases = len(self.plan.simulations), len({planned.test_case_id for planned in self.plan.simulations})
        case, earlier = simulation.number % cases, total // cases - 1 if by_case else simulation.number // cases
        return now >= self.end_time + trickle * (case * (total // cases) + earlier + 1) / total

    def is_metric_listed(self, metric_id: str, now: float, trickle: float) -> bool:
        """Return whether a metric is listed. With `trickle`, metrics appear during so many s after the run's end."""
        ids = self.plan.metric_ids
        return now >= self.end_time + trickle * ids.index(metric_id) / max(1, len(ids) - 1)

    def update_time(self, now: float) -> float:
        """Return the time of the last change of the run or of a simulation."""
        if self.finished(now):
            return self.end_time
        offsets = [0.0, self.plan.queue, *(t for s in self.plan.simulations for t in (s.start, s.end))]
        return max(moment for offset in offsets if (moment := self.create_time + offset) <= max(now, self.create_time))

    def value_time(self, simulation: PlannedSimulation, lag: float) -> float:
        """Return when a simulation's values appear: without lag, at its end.

        Otherwise, they appear simulation by simulation during the `lag` seconds after the run's end, the last exactly
        at the end of the lag.
        """
        if not lag or math.isinf(self.end_time):
            return self.create_time + simulation.end
        return self.end_time + lag * (simulation.number + 1) / len(self.plan.simulations)
