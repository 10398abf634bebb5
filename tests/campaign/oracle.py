"""The test oracle: which runs may decide, from what really became of them, without code of the action.

What they amount to is the business of unit tests.
"""

from collections.abc import Sequence
from http import HTTPStatus
from itertools import product
from statistics import fmean
from typing import Final

from campaign.facts import GRACE, Leg, gates_of, has_base, is_unknown
from campaign.network import SentRequest
from campaign.schedule import (
    ACCEPTED,
    BASELINE_GATES,
    BY_HAND,
    CONNECTION_FAULTS,
    FAILED,
    GATES,
    IMPOSSIBLE_GATES,
    OWN_GATES,
    REPEATED_GATES,
    SLICED,
    SLICED_GATES,
    STABLE,
    TOO_FEW,
    UNREADABLE_GATES,
)
from campaign.simulate import History, ProcessResult
from coval_gate.ci.host import AGENT_TYPE, IS_BASE
from coval_sandbox import catalogue
from coval_sandbox.catalogue import SCHEDULES
from coval_sandbox.plan import PlannedSimulation, RunRecord
from coval_sandbox.quirks import Quirks
from coval_sandbox.views import value_fate
from support import IDS

Simulations = tuple[PlannedSimulation, ...]
GATE_METRICS: Final[dict[str, tuple[catalogue.Metric, ...]]] = {
    "thresholds": (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE),
    "mixed": (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE),
    "kept": (catalogue.RESOLVED, catalogue.COMPLIANCE),
    **dict.fromkeys(
        ("targets", "pass_rate"), (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE, catalogue.TONE)
    ),
    **dict.fromkeys(("strict", "loose", "word among numbers"), (catalogue.LATENCY,)),
    **dict.fromkeys(("rate", "no doubt", "number among words", "misspelt value"), (catalogue.RESOLVED,)),
    **dict.fromkeys(("forbidden", "forbidden other word"), (catalogue.COMPLIANCE,)),
    SLICED: (catalogue.RESOLVED,),
    **dict.fromkeys(BASELINE_GATES, (catalogue.LATENCY, catalogue.COMPLIANCE)),
}
BASE_THRESHOLD: Final = catalogue.LATENCY  # the metric of thresholds on a base
SIMULATION_ERRORS: Final = frozenset({None, "SUCCESS", "EXECUTION_FAILURE"})
MAX_LOST_LAUNCHES: Final = 3  # launches without a response after which a step gives up
SHOWN_LATE: Final = 25.0  # s from the end of the run in which the tag may still come
FEWEST_CASES: Final = 2  # test cases that can be compared
MAX_AGE: Final = 3600.0  # s, the input baseline_max_age
LEAST_RATE: Final = 0.6  # of SLICED
MUCH: Final = 1.4  # times the latency of the baseline; see BASELINE_GATES


# Legs


def needs_verdict(history: History, result: ProcessResult, leg: Leg) -> bool:
    """Return whether a leg has, without permanent faults, a run and all that is needed to judge its agent."""
    schedule, now = history.schedule, history.coval_time(result.ended)
    if _cannot_tell(history, result) or result.step.mode == "launch" or _lacks_run(history, result, leg):
        return False
    if not leg.runs:
        return True
    if (
        has_base(result.step)
        or result.step.accepts
        or (schedule.process and not shows_tag(history, result, leg.runs[0]))
    ):
        return False
    gates = gates_of(history, result.step, leg.runs[0])
    return all(lacks_nothing(record, gate, schedule.quirks, now) for record in leg.runs for gate in gates)


def _lacks_run(history: History, result: ProcessResult, leg: Leg) -> bool:
    """Return whether a leg must have no run, or one that the step cannot see."""
    schedule, quirks, step = history.schedule, history.schedule.quirks, result.step
    if schedule.gate in UNREADABLE_GATES or (step.accepts and step.event != BY_HAND):
        return True
    if step.finds:
        shows = {"both", "tags"} if step.finds == "tag" else {"both", "tags", "metadata"}
        if newest_due(history, result) is None or not shows & {quirks.run_identity, quirks.list_identity}:
            return True
    given = [history.runs[run_id] for run_id in result.given_runs]
    which = len(given) > 1 and quirks.run_identity == "tags"  # nothing shows which of them is that of which leg
    concerned = given if len(given) > 1 else [*leg.runs[:1], *leg.bases]
    if which or any(is_unknown(history, result, record) for record in concerned):
        return True
    return not leg.runs and schedule.gate in IMPOSSIBLE_GATES


def _cannot_tell(history: History, result: ProcessResult) -> bool:
    """Return whether a step may have had no way to its runs, or has none of its own."""
    step, schedule = result.step, history.schedule
    unanswered = sum(sent.method == "POST" and not sent.answered and not is_safe(sent) for sent in result.requests)
    # The step gives up at once if a run without metadata could be its own, and in the end if no list can be read.
    cannot_find = schedule.foreign_run == "bare" or schedule.fate == "unreadable"
    lost = unanswered >= (1 if cannot_find else MAX_LOST_LAUNCHES)
    without_run = step.mode == "wait" and not (result.given_runs or step.finds)
    return lost or without_run or step.mode == "cancel" or step.inputs.get("max_simulations") == TOO_FEW


def newest_due(history: History, result: ProcessResult) -> RunRecord | None:
    """Return the run that a step must find: the newest when it began, or one that came while it looked."""
    began, ended, source = history.coval_time(result.began), history.coval_time(result.ended), result.step.finds
    given = {name: value for name, value in result.step.inputs.items() if name in IDS}
    ids = IDS | {"test_set_id": history.schedule.test_set} | given
    due = [
        record
        for record in history.runs.values()
        if (record.create_time <= began or (record.run_id == result.run_id and record.create_time <= ended))
        and (record.delete_time is None or record.delete_time > began)
        and all(record.body[name] == value for name, value in ids.items())
        and (record.schedule_id == SCHEDULES[0].id) == (source == "schedule")
        and IS_BASE not in record.body.get("metadata", {}).get("customer", {})
    ]
    return max(due, key=lambda record: record.create_time, default=None)


def shows_tag(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether the run shows the tag of the process that answered it while the step looks for it."""
    now, tagged = history.coval_time(result.ended), history.tagged.get(record.run_id)
    until = result.began + float(result.step.inputs["max_wait_time"])
    if tagged is None or not record.finished(now) or result.ended >= until:
        return False
    patience = min(SHOWN_LATE, float(result.step.inputs.get("metrics_grace_time", GRACE)) - 5)
    latest = max(result.began, record.end_time - now + result.ended) + patience
    return history.schedule.quirks.run_identity in ("both", "tags") and tagged <= latest


def possible_baselines(history: History, result: ProcessResult) -> list[RunRecord]:
    """Return the runs that a step may compare its run with.

    They completed with all of their simulations and with each value that is compared (which matters where Coval hides
    tags, so that no step could mark a run that lacks some), have the tag or are on the branch, no comparison failed
    them, and they are not older than one that a person accepted; on a branch, they are also older than the step's run,
    and young.
    """
    schedule, own, began = history.schedule, history.runs.get(result.run_id), history.coval_time(result.began)
    ended = history.coval_time(result.ended)  # by which the step has looked at their values
    if own is None:
        return []
    branches = {
        run_id: process.step.branch
        for process in history.results
        if not process.is_post
        for run_id in process.launched_runs
    }

    def matches_source(record: RunRecord) -> bool:
        if result.step.holders:
            return STABLE in history.tags(record, began)
        is_young = own.create_time - MAX_AGE <= record.create_time < own.create_time
        return is_young and branches.get(record.run_id) == "main"

    there = [
        record
        for record in others_alike(history, own)
        if matches_source(record) and (record.delete_time is None or record.delete_time > own.create_time)
    ]
    return [
        record
        for record in baseline_candidates(history, began, there)
        if not any(simulation.failed for simulation in record.plan.simulations)
        and is_comparable(record, schedule.gate, schedule.quirks, ended)
    ]


def others_alike(history: History, own: RunRecord) -> list[RunRecord]:
    """Return the other runs of the same agent, persona and test set."""
    ids = {name: own.body[name] for name in IDS}
    same = [record for record in history.world.runs if ids == {name: record.body[name] for name in IDS}]
    return [record for record in same if record.run_id != own.run_id]


def baseline_candidates(history: History, at: float, records: list[RunRecord]) -> list[RunRecord]:
    """Return which runs of a source count at a time on Coval's clock."""
    tags = {record.run_id: history.tags(record, at) for record in records}
    since = max((record.create_time for record in records if ACCEPTED in tags[record.run_id]), default=0.0)
    completed = [record for record in records if record.status(at) == "COMPLETED" and record.create_time >= since]
    return [record for record in completed if FAILED not in tags[record.run_id]]


def is_much_worse(history: History, result: ProcessResult) -> bool:
    """Return whether a comparison with its baseline, if it has any, fails the run of a step."""
    most = int(result.step.inputs["baseline"].partition(" last ")[2] or 1)
    baselines = possible_baselines(history, result)[-most:]
    return bool(baselines) and _latency(history.runs[result.run_id]) > MUCH * fmean(map(_latency, baselines))


def _latency(record: RunRecord) -> float:
    completed = (planned.values[catalogue.LATENCY.id] for planned in record.plan.simulations if not planned.failed)
    return fmean(float(str(latency)) for latency in completed)


def knows_type(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether the step could know that a process has to answer: by the launch's note, or the agent."""
    noted = record.body.get("metadata", {}).get("customer", {}).get(AGENT_TYPE) is not None
    shown = history.schedule.quirks.run_identity in ("both", "metadata")
    asked = [sent for sent in result.requests if sent.path.startswith("/agents/") and sent.answered and not sent.fault]
    return (noted and shown) or any(sent.status == HTTPStatus.OK for sent in asked)


def may_accept(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether tags of a run can change, and lists show which runs were accepted before."""
    schedule = history.schedule
    can_see = schedule.quirks.run_identity in ("both", "tags") and schedule.fate != "unreadable"
    return can_see and is_own_branch_run(history, result, record)


def is_own_branch_run(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether a step may accept a run: as the holder of a tag, of any branch; for `branch:main`, of main."""
    launchers = [process for process in history.results if record.run_id in process.launched_runs]
    only_main = all(process.step.branch in ("", "main") for process in launchers)
    return is_branch_run(history, record) and (only_main or bool(result.step.holders))


def is_branch_run(history: History, record: RunRecord, *results: ProcessResult) -> bool:
    """Return whether no pull request started these steps, nor the one that launched the run."""
    launchers = [process for process in history.results if record.run_id in process.launched_runs]
    return not any(
        process.step.event == "pull_request" and not process.step.branch for process in (*results, *launchers)
    )


def is_safe(request: SentRequest) -> bool:
    """Return whether a request surely had no effect: it never arrived, or Coval said so."""
    return request.fault.partition(" ")[0] in ("429", "503", *CONNECTION_FAULTS)


# Runs


def can_decide(gate: str) -> bool:
    """Return whether any run can meet or miss the gate."""
    return any(gate in gates for gates in (GATES, REPEATED_GATES, BASELINE_GATES, OWN_GATES, SLICED_GATES))


def is_usable(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    """Return whether a base's run has what a comparison needs, whatever its values are."""
    return lacks_nothing(record, gate, quirks, now) and is_comparable(record, gate, quirks, now)


def lacks_nothing(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    """Return whether a run completed, and has all data that its gate needs, whatever its values are."""
    if record.status(now) != "COMPLETED" or record.cancel_time is not None or not record.plan.simulations:
        return False
    failed = sum(simulation.failed for simulation in record.plan.simulations)
    few = all(
        sum(simulation.failed for simulation in variant) <= _allowed(variant, gate) for variant in _variants(record)
    )
    has_all = few and can_decide(gate) and _has_values(record, GATE_METRICS.get(gate, ()), gate, quirks, now)
    return has_all and not _reports_error(record, quirks, failed)


def is_comparable(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    """Return whether a run has enough values of what is compared with a base, in addition to those of its gate."""
    return _has_values(record, (BASE_THRESHOLD,), gate, quirks, now)


def _variants(record: RunRecord) -> tuple[Simulations, ...]:
    """Return the simulations of the agent itself and of each mutation, which are all judged apart."""
    variants: dict[str | None, list[PlannedSimulation]] = {}
    for simulation in record.plan.simulations:
        variants.setdefault(simulation.mutation_id, []).append(simulation)
    return tuple(map(tuple, variants.values())) or ((),)


def _reports_error(record: RunRecord, quirks: Quirks, failed: int) -> bool:
    """Return whether Coval reports an error other than failed simulations."""
    status = record.plan.scenario.error_status
    if quirks.error_status != "scenario":
        status = None if quirks.error_status == "null" else quirks.error_status
    return status not in SIMULATION_ERRORS or (status == "EXECUTION_FAILURE" and not failed)


def _has_values(record: RunRecord, metrics: Sequence[catalogue.Metric], gate: str, quirks: Quirks, now: float) -> bool:
    """Return whether enough completed simulations have values: failed ones use the allowance up first."""
    for variant, metric in product(_variants(record), metrics):
        completed = [simulation for simulation in variant if not simulation.failed]
        lacking = sum(value_fate(record, planned, metric.id, now, quirks) != "there" for planned in completed)
        if lacking > max(0, _allowed(variant, gate) - (len(variant) - len(completed))):
            return False
    return True


def _allowed(simulations: Simulations, gate: str) -> int:
    """Return how many simulations may fail or lack a value."""
    return len(simulations) // 2 if gate == "half" else 0


def pool_of(records: Sequence[RunRecord]) -> list[PlannedSimulation]:
    """Return the simulations of all runs."""
    return [simulation for record in records for simulation in record.plan.simulations]
