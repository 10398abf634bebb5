"""The test oracle: which runs may decide, from what really became of them, without code of the action.

What they amount to is the business of unit tests.
"""

from http import HTTPStatus
from typing import Final

from campaign.facts import GRACE, Leg, gates_of, has_base, is_unknown
from campaign.network import SentRequest
from campaign.schedule import (
    ACCEPTED,
    BASELINE_GATES,
    BY_HAND,
    CONNECTION_FAULTS,
    FAILED,
    SLICED,
    STABLE,
    TOO_FEW,
)
from campaign.simulate import History, ProcessResult
from coval_gate.ci.host import AGENT_TYPE, IS_BASE
from coval_sandbox import catalogue
from coval_sandbox.catalogue import SCHEDULES
from coval_sandbox.plan import RunRecord
from coval_sandbox.quirks import Quirks
from coval_sandbox.views import value_state
from support import IDS

GATE_METRICS: Final[dict[str, tuple[catalogue.Metric, ...]]] = {
    "thresholds": (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE),
    "mixed": (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE),
    **dict.fromkeys(
        ("targets", "pass_rate"), (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE, catalogue.TONE)
    ),
    **dict.fromkeys(("strict", "loose", *BASELINE_GATES), (catalogue.LATENCY,)),
    **dict.fromkeys(("rate", SLICED), (catalogue.RESOLVED,)),
    "forbidden": (catalogue.COMPLIANCE,),
}
BASE_THRESHOLD: Final = catalogue.LATENCY  # the metric of thresholds on a base
MAX_LOST_LAUNCHES: Final = 3  # launches without a response after which a step gives up
SHOWN_LATE: Final = 25.0  # s from the end of the run in which the tag may still come
MAX_AGE: Final = 3600.0  # s, the input baseline_max_age


# Legs


def needs_verdict(history: History, result: ProcessResult, leg: Leg) -> bool:
    """Return whether a leg has, without permanent faults, a run and all that is needed to judge its agent."""
    schedule, now = history.schedule, history.coval_time(result.ended)
    if _is_undecidable(history, result) or result.step.mode == "launch" or _lacks_run(history, result, leg):
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
    quirks, step = history.schedule.quirks, result.step
    if step.accepts and step.event != BY_HAND:
        return True
    if step.finds:
        shows = {"both", "tags"} if step.finds == "tag" else {"both", "tags", "metadata"}
        if newest_due(history, result) is None or not shows & {quirks.run_identity, quirks.list_identity}:
            return True
    given = [history.runs[run_id] for run_id in result.given_runs]
    which = len(given) > 1 and quirks.run_identity == "tags"  # nothing shows which of them belongs to which leg
    concerned = given if len(given) > 1 else [*leg.runs[:1], *leg.bases]
    return which or any(is_unknown(history, result, record) for record in concerned)


def _is_undecidable(history: History, result: ProcessResult) -> bool:
    """Return whether a step may have had no way to its runs, or has none of its own."""
    step, schedule = result.step, history.schedule
    unanswered = sum(sent.method == "POST" and not sent.answered and not is_safe(sent) for sent in result.requests)
    # The step gives up in the end if no list can be read.
    lost = unanswered >= (1 if schedule.fate == "unreadable" else MAX_LOST_LAUNCHES)
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

    They completed, have the tag or are on the branch, have no mark of a failure, and are not older than one that a
    person accepted; on a branch, they are also older than the step's run, and young.
    """
    own, began = history.runs.get(result.run_id), history.coval_time(result.began)
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
    return baseline_candidates(history, began, there)


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
    """Return whether a request surely had no effect: it never arrived, or Coval reported that."""
    return request.fault.partition(" ")[0] in ("429", "503", *CONNECTION_FAULTS)


# Runs


def lacks_nothing(record: RunRecord, gate: str, quirks: Quirks, now: float, *more_metrics: catalogue.Metric) -> bool:
    """Return whether a run completed, and has all data that its gate needs, whatever its values are."""
    simulations = record.plan.simulations
    if record.status(now) != "COMPLETED" or record.cancel_time is not None or not simulations:
        return False
    shown = record.plan.scenario.error_status
    if quirks.error_status != "scenario":
        shown = None if quirks.error_status == "null" else quirks.error_status
    if shown not in (None, "SUCCESS") or any(simulation.failed for simulation in simulations):
        return False
    metrics = (*GATE_METRICS.get(gate, ()), *more_metrics)
    return all(
        value_state(record, planned, metric.id, now, quirks) == "there" for planned in simulations for metric in metrics
    )
