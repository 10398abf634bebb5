"""The invariants that must hold after every schedule: one function each, which yields its violations.

They know nothing of the implementation: they check the requests that Coval received, its runs, and the files written.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from http import HTTPStatus
from math import ceil
from typing import Any, Final, NamedTuple

from campaign.baselines import counting, is_much_worse, others_alike, possible_baselines
from campaign.network import SentRequest
from campaign.oracle import (
    GATE_METRICS,
    are_good_together,
    can_decide,
    cannot_recover,
    has_data,
    is_good,
    lacks_nothing,
    pool_of,
)
from campaign.schedule import (
    ACCEPTED,
    BASELINE_GATES,
    BY_HAND,
    CONNECTION_FAULTS,
    ECHO,
    FAILED,
    MARKS,
    MISNAMED_GATES,
    STABLE,
    UNREADABLE_GATES,
    Step,
)
from campaign.simulate import History, ProcessResult, Retagging
from coval_gate.report.formats.outputs import OUTPUTS
from coval_sandbox import views
from coval_sandbox.runner import read_log
from coval_sandbox.state import RunRecord
from fake_check_runs import CheckRun
from leaks import holds
from support import KEY

ANNOTATIONS: Final = ("error", "warning", "notice")
MOST_ANNOTATIONS: Final = 10  # of a level and a step, which GitHub shows
VERDICTS: Final = ("passed", "failed", "inconclusive", "error", "timed_out", "cancelled", "skipped", "")
PASSING_VERDICTS: Final = ("passed", "skipped", "")
DEADLINE_SLACK: Final = 10.0  # s after the deadline, for all that a step does after its last poll
INTERRUPT_TIME: Final = 6.0  # s from the interrupt to the end of the process
MAX_HIDDEN_TIME: Final = 50.0  # s for which Coval may hide a new run; up to that, the post step must wait for it
MOST_AT_ONCE: Final = 20  # runs that mode cancel may cancel side by side
POST_PATIENCE: Final = 85.0  # s for which the post step must try to find and cancel a run
POST_TIME: Final = 120.0  # s for the post step, if it need not call GitHub
POST_TELLING: Final = 80.0  # s for it to call GitHub
END_TIME: Final = 3.0  # s before its end in which a step may look for second runs
ROUNDING: Final = 1e-6  # s
RACE_TIME: Final = 3.0  # s between a poll and the DELETE after it; a run may end in between
MAX_OPEN_TIME: Final = 280.0  # s for which a step must leave the connection of a launch open
MAX_LOST_LAUNCHES: Final = 3  # launches without a response after which a step gives up
CLOSE: Final = 0.1  # s around the deadline within which a poll is one at the deadline
LAST_POLL_TIME: Final = 2.0  # s for the response to a poll at the deadline
LAST_REQUESTS: Final = 5  # requests that include the last poll
LAST_CALLS: Final = 4  # to cancel a run: a list with the filter for tags, one without, a poll and a DELETE
GITHUB_RETURNS: Final = 12.0  # s; GitHub has to be back so soon after the beginning of a step that sets the status
STATES: Final = {
    "passed": "success",
    "failed": "failure",
    "inconclusive": "failure",
    "skipped": "pending",
}  # others: error
CONCLUSIONS: Final = {"passed": "success", "timed_out": "timed_out", "cancelled": "cancelled"}  # others: failure
SATISFYING: Final = ("success", "neutral", "skipped")  # conclusions with which a branch can be merged
STATUS_TIME: Final = 35.0  # s for the final commit status and check run, if GitHub does not respond
LOOK_UP_TIME: Final = 300.0  # s for which a step must look for earlier runs
CHECK_TIME: Final = 7.0  # s for the check of names before the launch
UNKNOWN_TIME: Final = 10.0  # s for which a step in mode wait must look for a run that Coval does not know
SETTLED: Final = 45.0  # s from the last change of the data of a run to the look that sees that no more will come
UNNAMED_SETTLED: Final = 85.0  # s; where nothing names the metrics of the run
GRACE: Final = 180.0  # s, the default of metrics_grace_time
ATTACHED: Final = "coval-gate/attached"  # the tag that a process adds, which answered the run
EMPTY_TEST_SET: Final = "empty001"
TRANSIENT: Final = (408, 429, *range(500, 600))
LATE_FOR_GITHUB: Final = (
    "Too late for GitHub"  # nothing was left of the time of the step, whose post step does the rest
)
LEFT_ALONE: Final = "continues in Coval, but this step does not judge it"
TOO_LATE: Final = "was not sent: the deadline has passed"
OF_NAMES: Final = re.compile("/(agents|personas|test-sets)/[^/]+")
OF_DETAILS: Final = re.compile("/(conversations/simulated|simulations)/[^/]+")  # of one simulation, after the verdict
LIMITS: Final = re.compile("max_wait_time|max_queue_time")


class Violation(NamedTuple):
    """A violated invariant, and how it was violated."""

    invariant: str
    problem: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.problem}"


def violations(history: History) -> list[Violation]:
    """Return all violations of a schedule."""
    return [Violation(invariant.__name__, problem) for invariant in INVARIANTS for problem in invariant(history)]


def one_launch_per_step(history: History) -> Iterator[str]:
    """A step launches one run, or none if its verdict says why; launches that took effect too late do not count.

    With `repeat_on_failure`, it launches no more than that many others.
    """
    for result in history.results:
        launched = sum(was_prompt(history, request) for request in result.requests if request.launched_run)
        may_launch = not result.is_post and result.step.mode in ("run", "launch")
        if launched > (1 + result.step.repetitions if may_launch else 0):
            yield f"{_name(result)} launched {launched} runs"
        if may_launch and not result.launched_runs and result.killed is None:
            resumed = result.run_id and result.run_id in _earlier_runs(history, result)
            informed = not _has_file_fault(result, "output")
            if not resumed and informed and result.verdict not in ("error", "cancelled", "skipped"):
                yield f"{_name(result)} launched no run, but its verdict is {result.verdict!r}"


def no_repetition_in_vain(history: History) -> Iterator[str]:
    """A step repeats no run that breaks a count, or of which Coval reports an error: the verdict could not change."""
    for result in main_results(history):
        if not result.step.repetitions:
            continue
        for run_id in result.run_ids[:-1]:
            record = history.runs.get(run_id)
            if record and cannot_recover(record, history.schedule.gate, history.schedule.quirks):
                yield f"{_name(result)} launched another run, although {run_id} cannot be made up for"


def left_repetitions_are_ended(history: History) -> Iterator[str]:
    """A later attempt ends the repetitions that an earlier one left unfinished, unless it takes them over.

    An interrupt that may not cancel the step's own run leaves them alone, too.
    """
    for result in main_results(history):
        step = result.step
        if not step.repetitions or step.attempt < 2 or not step.flag("resume") or result.killed is not None:
            continue
        if result.interrupted is not None and not (step.flag("cancel_on_interrupt") and result.verdict == "cancelled"):
            continue
        reads = [request for request in result.requests if request.method != "POST"]
        disturbed = any(read.fault or not read.answered or read.status in (401, 403) for read in reads)
        if not reads or disturbed or not knows_events(history):
            continue
        for run_id in _earlier_runs(history, result):
            record = history.runs[run_id]
            hidden = max(history.schedule.quirks.list_lag, history.schedule.quirks.not_found_after_launch)
            listed = record.create_time + hidden < history.coval_time(result.began)
            mine = run_id in result.run_ids or _is_first_run(history, run_id)
            attempted = any(
                run_id in process.launched_runs and _is_attempt(process, result) for process in history.results
            )
            if listed and attempted and not mine and not is_ended(history, record, history.coval_time(result.ended)):
                yield f"{_name(result)} left the repetition {run_id} of an earlier attempt unfinished"


def second_runs_are_ended(history: History) -> Iterator[str]:
    """A run that a launch began after it was given up for lost is cancelled."""
    for result in main_results(history):
        if len(result.launched_runs) < 2 or not result.run_id:
            continue
        for run_id in result.launched_runs:
            record = history.runs[run_id]
            began_in_time = record.create_time < history.coval_time(result.ended - END_TIME)
            is_over = is_ended(history, record, history.coval_time(history.ended)) or run_id in history.deleted
            if run_id in result.run_ids or is_over or not began_in_time or met_fault(result.requests[-LAST_REQUESTS:]):
                continue
            if not cancel_was_impossible(history, result, record):
                yield f"{_name(result)} left its second run {run_id} unfinished"


def run_belongs_to_step(history: History) -> Iterator[str]:
    """The run_id output names a run that the step launched, or one that it may resume."""
    for result in main_results(history):
        if not result.run_id or result.step.mode not in ("run", "launch"):
            continue
        if result.run_id in result.launched_runs:
            continue
        record = history.runs.get(result.run_id)
        if record is None:
            yield f"{_name(result)} names the run {result.run_id}, which does not exist"
        elif result.run_id not in _earlier_runs(history, result):
            yield f"{_name(result)} resumed a run of another workflow"
        elif not result.step.flag("resume") or result.step.attempt < 2:
            yield f"{_name(result)} resumed an earlier run, which is not allowed"
        elif record.finished(history.coval_time(result.began)):
            yield f"{_name(result)} resumed a run that had ended"
        elif result.verdict == "cancelled" and result.interrupted is None and _was_cancelled_before(history, result):
            yield f"{_name(result)} stayed with a run that an earlier step had cancelled"


def rerun_resumes(history: History) -> Iterator[str]:
    """A later attempt launches no run while the run of the earlier attempt is unfinished."""
    for result in main_results(history):
        if result.step.attempt < 2 or not result.step.flag("resume") or not result.launched_runs:
            continue
        launched_at = history.runs[result.launched_runs[0]].create_time
        for run_id in _earlier_runs(history, result):
            if result.step.repetitions and not _is_first_run(history, run_id):
                continue  # the step resumes it in its turn, if its own first run fails as well
            record = history.runs[run_id]
            listed = record.create_time + history.schedule.quirks.list_lag < history.coval_time(result.began)
            if not is_ended(history, record, launched_at) and listed and knows_events(history):
                yield f"{_name(result)} launched a second run while that of attempt 1 was unfinished"


def look_ups_are_patient(history: History) -> Iterator[str]:
    """A step that has to look for earlier runs gives up only after five minutes, or if Coval rejects the question."""
    for result in main_results(history):
        last = result.requests[-1] if result.requests else None
        if result.verdict != "error" or last is None or (last.method, last.path) != ("GET", "/runs"):
            continue
        if any(request.method == "POST" for request in result.requests):
            continue
        is_transient = last.status == 0 or last.status in TRANSIENT or (last.status == HTTPStatus.OK and last.fault)
        patience = min(LOOK_UP_TIME, float(result.step.given["max_wait_time"]))
        if is_transient and result.ended - result.began < patience - 1:
            yield f"{_name(result)} gave up on its look-up after {result.ended - result.began:.0f} s"


def superseded_runs_are_cancelled(history: History) -> Iterator[str]:
    """With `supersede`, earlier runs of the same concurrency group are cancelled."""
    for result in main_results(history):
        if history.schedule.workflow != "supersede" or result.number == 0 or not knows_events(history):
            continue
        for earlier in (process for process in history.results if process.number == 0 and not process.is_post):
            for run_id in earlier.launched_runs:
                record, now = history.runs[run_id], history.coval_time(history.ended)
                listed = record.create_time + history.schedule.quirks.list_lag < history.coval_time(result.began)
                expected = result.step.flag("supersede") and result.verdict in ("passed", "failed", "timed_out")
                if expected and listed and not is_ended(history, record, now) and not met_fault(result.requests):
                    yield f"{_name(result)} left the run unfinished that it supersedes"


def only_own_runs_are_cancelled(history: History) -> Iterator[str]:
    """A step cancels no runs except those that it launched, was given, resumes or supersedes."""
    for result in history.results:
        allowed = {*_runs_of_step(history, result), *result.given_runs}
        if result.step.flag("supersede") or result.step.attempt > 1:
            allowed |= set(_earlier_runs(history, result))
        for request in result.requests:
            if request.method == "DELETE" and request.path.rpartition("/")[2] not in allowed:
                yield f"{_name(result)} cancelled the run {request.path.rpartition('/')[2]}, which is not its own"


def no_orphaned_run(history: History) -> Iterator[str]:
    """No run stays unfinished if the inputs say to cancel it, unless cancelling was impossible."""
    now = history.coval_time(history.ended)
    for result in main_results(history):
        if result.step.mode not in ("run", "wait") or not _must_cancel(result):
            continue
        for run_id in {*result.launched_runs, *(own_id for own_id in result.run_ids if own_id in history.runs)}:
            record = history.runs[run_id]
            unfinished = not is_ended(history, record, now) and run_id not in history.deleted
            if unfinished and not cancel_was_impossible(history, result, record):
                yield f"{_name(result)} left its run {run_id} unfinished"


def finished_runs_are_kept(history: History) -> Iterator[str]:
    """A finished run is never deleted."""
    for record in history.runs.values():
        if record.delete_time is None or record.run_id in history.deleted:
            continue
        if not any(_ended_before_delete(history, result, record) for result in history.results):
            yield f"the run {record.run_id} was deleted after it had ended"


def no_cancel_without_reason(history: History) -> Iterator[str]:
    """A run is cancelled only for a reason: an interrupt, a kill, an error, a timeout, or `supersede`."""
    for result in history.results:
        deletes = [request for request in result.requests if request.method == "DELETE"]
        # The interrupt may arrive while the step cancels its run because of a timeout.
        if result.interrupted is not None and result.step.flag("cancel_on_timeout"):
            continue
        if deletes and not _may_cancel(history, result):
            yield f"{_name(result)} cancelled a run without a reason"


def unreadable_gate_costs_nothing(history: History) -> Iterator[str]:
    """A step whose criteria are syntax errors sends no request."""
    for result in main_results(history):
        if history.schedule.gate in UNREADABLE_GATES and result.step.mode == "run" and result.requests:
            yield f"{_name(result)} sent {len(result.requests)} requests with an unreadable gate"


def misnamed_gate_costs_nothing(history: History) -> Iterator[str]:
    """A step whose criteria name metrics or values that its run cannot have launches nothing, if Coval says so."""
    schedule = history.schedule
    if schedule.severity != "benign" or schedule.gate not in MISNAMED_GATES or schedule.latency > CHECK_TIME / 20:
        return
    for result in main_results(history):
        if result.step.mode != "run" or schedule.quirks.agent_metrics != "shown":
            continue
        if result.launched_runs:
            yield f"{_name(result)} launched a run for a metric or a value that it will not have"
        if not result.run_id and result.ended - result.began > CHECK_TIME + _status_time(result):
            yield f"{_name(result)} took {result.ended - result.began:.0f} s to see that a name is wrong"


def certain_ends_come_soon(history: History) -> Iterator[str]:
    """A step does not wait for a metric that no run has, nor for the simulations of a run that has none."""
    schedule, quirks = history.schedule, history.schedule.quirks
    hopeless = schedule.gate in MISNAMED_GATES or schedule.test_set == EMPTY_TEST_SET
    if schedule.severity != "benign" or not hopeless or quirks.missing_values:
        return
    lag = max(quirks.metrics_lag, quirks.metrics_trickle, quirks.simulations_trickle)
    for result in main_results(history):
        record = history.runs.get(result.run_id)
        if record is None or result.step.mode not in ("run", "wait") or result.verdict == "cancelled":
            continue
        if record.status(history.coval_time(result.ended)) != "COMPLETED":
            continue
        seen = float(result.step.given.get("check_interval", "15"))
        runs = [history.runs[run_id] for run_id in result.run_ids if run_id in history.runs]  # of all legs
        last = max(run.end_time for run in runs)
        complete = max(last - history.coval_time(0.0), result.began) + lag
        named = result.step.mode == "run" and quirks.agent_metrics == "shown"
        # Of several legs, only some may be of the empty test set.
        empty = all(run.body["test_set_id"] == EMPTY_TEST_SET for run in runs)
        settled = SETTLED if named or empty else UNNAMED_SETTLED
        if result.ended - complete > settled + seen + _status_time(result):
            yield f"{_name(result)} waited {result.ended - complete:.0f} s for what will never come"


def late_values_are_waited_for(history: History) -> Iterator[str]:
    """A step does not give up values that are in progress before metrics_grace_time is over."""
    schedule = history.schedule
    for result in main_results(history) if schedule.recoverable else ():
        record, now = history.runs.get(result.run_id), history.coval_time(result.ended)
        if record is None or result.verdict != "error" or is_good(record, schedule.gate, schedule.quirks, now):
            continue
        waited = now - max(record.end_time, history.coval_time(result.began))
        comes = is_good(record, schedule.gate, schedule.quirks, now + schedule.quirks.metrics_lag)
        if comes and 0 <= waited < GRACE - 1:  # before its end, a run has no values to give up
            yield f"{_name(result)} gave up values after {waited:.0f} s that were still to come"


def no_pass_without_data(history: History) -> Iterator[str]:
    """A step passes only if its run completed, all required data exist, and all criteria are met.

    With repetitions, all runs together must meet what a sample can show, and each of them what is counted.
    """
    for result in main_results(history):
        if result.verdict != "passed":
            continue
        record = history.runs.get(result.run_id)
        if record is None:
            yield f"{_name(result)} passed without a run"
        elif not _is_good(history, result, history.coval_time(result.ended)):
            yield f"{_name(result)} passed, but its runs did not meet the criteria"


def pass_rests_on_everything(history: History) -> Iterator[str]:
    """A step that passes has counted every simulation of its run, and seen every metric that matters."""
    for result in main_results(history):
        record = history.runs.get(result.run_id)
        if result.verdict != "passed" or record is None:
            continue
        total = len(pool_of([history.runs[run_id] for run_id in result.run_ids]))
        counted = int(result.outputs["total_simulations"])
        if counted != total:
            yield f"{_name(result)} passed on {counted} of {total} simulations"
        seen = {entry["id"] for entry in json.loads(result.outputs["metrics"]).values()}
        if unseen := {metric.id for metric in GATE_METRICS.get(history.schedule.gate, ())} - seen:
            yield f"{_name(result)} passed without {', '.join(sorted(unseen))}"


def pass_rate_counts_everything(history: History) -> Iterator[str]:
    """No more simulations pass than completed, of all that the run must have."""
    for result in main_results(history):
        if share := result.outputs.get("pass_rate"):
            total, completed = (int(result.outputs[f"{group}_simulations"]) for group in ("total", "completed"))
            if float(share) * total > completed + ROUNDING * total:
                yield f"{_name(result)} says pass_rate={share}, but {completed} of {total} completed"


def baseline_decides_nothing_alone(history: History) -> Iterator[str]:
    """A step compares its run with what counts, passes only if there is any, and is not in error for want of it."""
    if history.schedule.gate not in BASELINE_GATES:
        return
    for result in main_results(history):
        if result.step.mode == "launch" or result.step.accepts:
            continue
        possible = [record.run_id for record in possible_baselines(history, result)]
        if result.verdict == "passed" and not possible:
            yield f"{_name(result)} passed without a baseline"
        if (named := result.outputs.get("baseline_run_id") if result.verdict else "") and named not in possible:
            yield f"{_name(result)} compared its run with {named}, which does not count"
        if result.verdict == "error" and "baseline" in result.outputs["reason"]:
            yield f"{_name(result)} is in error because of its baseline: {result.outputs['reason']}"


def failed_run_is_marked(history: History) -> Iterator[str]:
    """A run that lacks data, or that a comparison failed, has a mark once its step is over; no other run has it."""
    schedule = history.schedule
    for result, change, record in _given(history, FAILED):
        if schedule.recoverable and _may_count(history, result, record, change.at):
            yield f"{_name(result)} marked the run {record.run_id} as failed, which lacks nothing and is not worse"
    for result in main_results(history):
        if result.verdict == "failed" and len(result.run_ids) == 1 and is_unmarked(history, result, result.run_id):
            yield f"{_name(result)} failed, but its run has no mark"


def is_unmarked(history: History, result: ProcessResult, run_id: str) -> bool:
    """Return whether a run never got a mark, although it does not count, and nothing hindered the step.

    A person who accepts the run later takes the mark away.
    """
    now, record = history.coval_time(result.ended), history.runs.get(run_id)
    was_marked = any(marked is record for _, _, marked in _given(history, FAILED))
    if record is None or not _could_retag(history, result, record) or FAILED in record.tags or was_marked:
        return False
    return not _may_count(history, _main_result(history, result), record, now)


def _may_count(history: History, result: ProcessResult, record: RunRecord, now: float) -> bool:
    """Return whether a step's run completed, lacks nothing, and no comparison failed it."""
    schedule, main = history.schedule, _main_result(history, result)
    if not lacks_nothing(record, schedule.gate, schedule.quirks, now):
        return False
    return main.step.accepts or schedule.gate not in BASELINE_GATES or not is_much_worse(history, main)


def _could_retag(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether nothing hindered a step from changing the tags of a run, which may be a baseline."""
    schedule = history.schedule
    if record.run_id in history.deleted or record.status(history.coval_time(result.ended)) != "COMPLETED":
        return False
    ended = record.end_time - history.coval_time(0.0)
    is_calm = schedule.recoverable and result.interrupted is None and not result.step.file_fault
    is_calm &= not met_fault(tuple(request for request in result.requests if request.sent_at >= ended))
    return is_calm and schedule.quirks.run_identity in ("both", "tags") and _is_of_branch(history, record, result)


def _is_of_branch(history: History, record: RunRecord, *results: ProcessResult) -> bool:
    """Return whether no pull request started these steps, nor the one that launched the run."""
    launchers = [process for process in history.results if record.run_id in process.launched_runs]
    return not any(
        process.step.event == "pull_request" and not process.step.branch for process in (*results, *launchers)
    )


def mutations_are_told_apart(history: History) -> Iterator[str]:
    """A step that judged its run counts the simulations of the agent and of each mutation apart, and all of them."""
    for result in main_results(history):
        record = history.runs.get(result.run_id)
        if result.verdict not in ("passed", "failed") or record is None or not result.outputs["metrics"]:
            continue
        runs = [history.runs[run_id] for run_id in result.run_ids]
        pools = [pool_of(judged) for judged in (runs, runs[:-1]) if judged]  # the last repetition may be unusable
        dealt = [sorted(Counter(simulation.mutation_id for simulation in pool).values()) for pool in pools]
        for name, metric in json.loads(result.outputs["metrics"]).items():
            counted = [variant["count"] + variant["missing"] for variant in metric["variants"].values()]
            if sorted(counted) not in dealt:
                yield f"{_name(result)} counted {counted} simulations of {name} instead of {dealt}"


def verdict_matches_run(history: History) -> Iterator[str]:
    """If all faults are transient, the step has the verdict that its run deserves."""
    schedule = history.schedule
    if not schedule.recoverable:
        return
    for result in main_results(history):
        records = [history.runs[run_id] for run_id in result.given_runs if run_id in history.runs]
        may_cancel = records and result.step.mode == "cancel" and not _cancel_failed(result)
        ended = all(is_ended(history, record, history.coval_time(result.ended)) for record in records)
        if may_cancel and (result.exit_code != 0 or not ended):
            yield f"{_name(result)} did not cancel the given run"
        expected = _expected_verdicts(history, result)
        if expected is not None and result.verdict not in expected:
            yield f"{_name(result)} has the verdict {result.verdict!r} instead of {' or '.join(map(repr, expected))}"


def last_poll_at_deadline(history: History) -> Iterator[str]:
    """A step whose verdict is timed_out has polled the run at the deadline."""
    for result in main_results(history):
        record = history.runs.get(result.run_id)
        timed_out = result.verdict == "timed_out" and "run completed" not in result.outputs["reason"]
        if record is None or not timed_out or result.run_id in history.deleted:
            continue
        repeated = any(
            request.method == "DELETE" and request.fault for request in result.requests
        )  # the run may end meanwhile
        if repeated or met_fault(result.requests[-LAST_REQUESTS:]):
            continue
        after = LAST_REQUESTS * history.schedule.latency + 1 + _status_time(result)
        last_poll = history.coval_time(result.ended - after)
        ended = record.create_time + record.plan.end
        cancelled = record.cancel_time is not None and record.cancel_time - history.schedule.quirks.cancel_lag < ended
        if ended < last_poll and not cancelled:  # one that is being cancelled shows no end
            yield f"{_name(result)} timed out, but the run had ended before"


def hanging_poll_is_not_the_last(history: History) -> Iterator[str]:
    """A step does not end in a timeout or for want of a response, if a poll at the deadline shows that its run is over.

    Polls that cancel the run count, too, if they are sent by max_wait_time and answered soon enough: what they show, a
    last poll would have shown. After another limit, they may be sent long after that poll.
    """
    for result in main_results(history):
        path, record = f"/runs/{result.run_id}", history.runs.get(result.run_id)
        if result.step.mode not in ("run", "wait") or record is None or result.interrupted is not None:
            continue
        if record.cancel_time is not None:
            continue
        polls = [request for request in result.requests if (request.method, request.path) == ("GET", path)]
        ended = record.end_time - history.coval_time(0.0)
        collected = any(request.path.startswith(("/conversations", "/simulations")) for request in result.requests)
        reason = result.outputs.get("reason", "") if result.verdict else ""
        lasting = any(poll.status not in (0, HTTPStatus.OK, *TRANSIENT) for poll in polls)
        unanswered = result.verdict == "error" and reason.startswith(f"GET {path} ") and not lasting
        timed_out = result.verdict == "timed_out" and "run completed" not in reason and "max_wait_time" in reason
        deadline = result.began + float(result.step.given["max_wait_time"])
        over = any(
            ended < poll.sent_at <= deadline + CLOSE
            and poll.ended_at <= deadline + LAST_POLL_TIME
            and poll.answered
            and poll.status == HTTPStatus.OK
            for poll in polls
        )
        last = [poll for poll in polls if poll.sent_at > deadline - CLOSE]
        last_failed = any(last_poll.fault for last_poll in last)
        if unanswered and not collected and not last:
            yield f"{_name(result)} gave up without a poll at the deadline"
        if over and not (collected or last_failed) and (unanswered or timed_out):
            yield f"{_name(result)} has the verdict {result.verdict}, but a poll has shown that its run was over"


def reason_matches_verdict(history: History) -> Iterator[str]:
    """A timeout names its limit; a step is cancelled only if it was interrupted or its run was cancelled."""
    for result in main_results(history):
        reason = result.outputs.get("reason", "") if result.verdict else ""
        if result.verdict == "timed_out" and not LIMITS.search(reason):
            yield f"{_name(result)} timed out, but its reason names no limit: {reason}"
        deciding = tuple(request for request in result.requests if not OF_DETAILS.fullmatch(request.path))
        if TOO_LATE in reason and met_fault(deciding[-1:]):
            yield f"{_name(result)} met a fault until its end, but its reason is only that it was late: {reason}"
        written = result.verdict and not _has_file_fault(result, "output")
        tells_github = _status_name(result) or _check_name(result)
        ends = result.ended == result.interrupted  # what it does after the verdict takes no time on the clock
        late = (tells_github or ends) and not _is_asking_coval(result)  # the verdict stood
        late |= _was_looking_names_up(result)
        if result.interrupted is not None and written and result.verdict != "cancelled" and not late:
            yield f"{_name(result)} was interrupted, but its verdict is {result.verdict!r}"
        if result.verdict == "cancelled" and result.interrupted is None and result.step.mode != "cancel":
            ids = set(json.loads(result.outputs["run_ids"] or "[]"))
            records = filter(None, map(history.runs.get, ids))
            ended = any(record.finished(history.coval_time(result.ended)) for record in records)
            if not ended and not ids & set(history.deleted):
                yield f"{_name(result)} is cancelled, but neither the step nor its run was"


def tag_is_taken_by_rule(history: History) -> Iterator[str]:
    """A run takes the tag only by its own step, only if it counts, and only while too few others have it."""
    for result, change, record in _given(history, STABLE):
        step, name = result.step, f"{_name(result)} gave the run {record.run_id} the tag"
        if result.is_post or not (step.holders and _is_own(result, record)):
            yield f"{name}, which is not its own"
        if not _is_of_branch(history, record):
            yield f"{name}, which tests a pull request"
        # Repetitions complete what a run lacks.
        if FAILED in change.after or not (step.repetitions or _may_count(history, result, record, change.at)):
            yield f"{name}, which does not count"
        if not step.accepts and len(_holders(history, record, change.at)) >= step.holders:
            yield f"{name}, although enough have it"


def _holders(history: History, record: RunRecord, at: float) -> list[RunRecord]:
    """Return the runs like this one that count and have the tag, if Coval lists them."""
    alike = [other for other in others_alike(history, record) if STABLE in history.tags(other, at)]
    listed = [other for other in alike if other.create_time + history.schedule.quirks.list_lag < record.end_time]
    there = [other for other in listed if other.delete_time is None and other.end_time < record.end_time]
    return counting(history, at, there)


def only_acceptance_takes_tag_away(history: History) -> Iterator[str]:
    """No run loses the tag but to one that a person accepted, and that has it by then."""
    for change in history.retaggings:
        if change.process is None or STABLE not in change.before - change.after:
            continue
        result = _process(history, change)
        accepted = history.runs.get(result.run_id)
        if not (accepted and result.step.accepts and {STABLE, ACCEPTED} <= history.tags(accepted, change.at)):
            yield f"{_name(result)} took the tag away from {change.run_id}"


def accepted_run_stands_alone(history: History) -> Iterator[str]:
    """After an acceptance that met no faults, the run has the mark, is the only one with the tag, and no failed one."""
    for result in main_results(history):
        now, record = history.coval_time(result.ended), history.runs.get(result.run_id)
        if record is None or not _must_accept(history, result):
            continue
        tags = history.tags(record, now)
        if not {ACCEPTED, *([STABLE] if result.step.holders else [])} <= tags or FAILED in tags:
            yield f"{_name(result)} had to accept its run, which has the tags {sorted(tags)}"
        if result.step.holders and (others := _holders(history, record, now)):
            yield f"{_name(result)} accepted its run, but {others[0].run_id} has the tag as well"


def _must_accept(history: History, result: ProcessResult) -> bool:
    """Return whether a step has to accept its run, and nothing hinders it."""
    schedule, record = history.schedule, history.runs.get(result.run_id)
    if record is None or not result.step.accepts or result.step.event != BY_HAND:
        return False
    now = history.coval_time(result.ended)
    could = _could_retag(history, result, record) and _is_of_its_branch(history, result, record)
    return could and lacks_nothing(record, schedule.gate, schedule.quirks, now)


def _may_accept(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether tags of a run can change, and lists show which runs were accepted before."""
    schedule = history.schedule
    can_see = schedule.quirks.run_identity in ("both", "tags") and schedule.fate != "unreadable"
    return can_see and _is_of_its_branch(history, result, record)


def _is_of_its_branch(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether a step may accept a run: as the holder of a tag, of any branch; for `branch:main`, of main."""
    launchers = [process for process in history.results if record.run_id in process.launched_runs]
    is_of_main = all(process.step.branch in ("", "main") for process in launchers)
    return _is_of_branch(history, record) and (is_of_main or bool(result.step.holders))


def step_without_acceptance_is_red(history: History) -> Iterator[str]:
    """A step that is to accept its run is green only if it has done so."""
    for result in main_results(history):
        record = history.runs.get(result.run_id)
        if not result.step.accepts or result.exit_code != 0 or _has_file_fault(result, "output"):
            continue
        if record is None or ACCEPTED not in history.tags(record, history.coval_time(result.ended)):
            yield f"{_name(result)} is {result.verdict!r}, but did not accept {result.run_id}"


def acceptance_without_person_costs_nothing(history: History) -> Iterator[str]:
    """A step that is to accept a run in a workflow that no person started sends no request."""
    for result in main_results(history):
        if result.step.accepts and result.step.event != BY_HAND and result.requests:
            yield f"{_name(result)} sent {len(result.requests)} requests, but no person started it"


def only_own_runs_are_marked(history: History) -> Iterator[str]:
    """A step and its post step mark no run of another step, and accept one only if a person asked for it."""
    for mark in (FAILED, ACCEPTED):
        for result, change, record in _given(history, mark):
            main = _main_result(history, result)
            may_accept = main.step.accepts and not result.is_post and FAILED not in change.after
            if not _is_own(main, record) or (mark == ACCEPTED and not may_accept):
                yield f"{_name(result)} gave {record.run_id} the mark {mark}"


def other_tags_are_kept(history: History) -> Iterator[str]:
    """Steps change no other tags."""
    for record in history.runs.values():
        # Coval may store tags in lower case.
        both = (record.request.metadata.tags or (), record.tags)
        before, now = ({*map(str.lower, tags)} - {*MARKS} for tags in both)
        now = {tag for tag in now if tag != ATTACHED}
        if before != now:
            yield f"the run {record.run_id} had the tags {sorted(before)}, and has {sorted(now)}"


def outputs_are_complete(history: History) -> Iterator[str]:
    """Outputs, summary and reports exist and are well-formed; the exit code matches the verdict."""
    for result in main_results(history):
        name, file_fault = _name(result), result.step.file_fault
        try:
            outputs = result.outputs
        except (ValueError, KeyError) as error:
            if not (file_fault and file_fault.file == "output" and isinstance(error, KeyError)):
                yield f"{name} wrote malformed outputs: {error!r}"
            continue
        if result.killed is not None:
            yield from _run_id_is_known(result, outputs)
            continue
        if file_fault and file_fault.file == "output":
            if result.exit_code == 0 and file_fault.at == 0 and file_fault.kind != "missing":
                yield f"{name} passed without outputs"
            continue
        if list(outputs) != list(OUTPUTS):
            yield f"{name} lacks outputs: {sorted(set(OUTPUTS) - set(outputs))}"
            continue
        yield from (f"{name} {problem}" for problem in _outputs_agree(result, outputs))
        yield from (f"{name} {problem}" for problem in _reports_exist(result, outputs))


def annotations_tell_once(history: History) -> Iterator[str]:
    """A failing step has one error, others have none; no annotation repeats it, and GitHub drops none."""
    for result in main_results(history):
        if result.killed is not None or result.step.given.get("annotations") == "false":
            continue
        annotations = [command for command in read_log(result.log) if command.name in ANNOTATIONS]
        errors = [annotation for annotation in annotations if annotation.name == "error"]
        if len(errors) != (result.exit_code != 0):
            yield f"{_name(result)} ended with {result.exit_code} and {len(errors)} errors"
        lines = {line for error in errors for line in error.data.split("\n")}
        if repeated := [
            annotation.data
            for annotation in annotations
            if annotation not in errors and lines & {*annotation.data.split("\n")}
        ]:
            yield f"{_name(result)} repeats its error in {repeated[0][:80]}"
        for level in ANNOTATIONS:
            if (count := sum(annotation.name == level for annotation in annotations)) > MOST_ANNOTATIONS:
                yield f"{_name(result)} has {count} annotations of the level {level}"


def api_key_does_not_leak(history: History) -> Iterator[str]:
    """The API key is in nothing that a process wrote or sent, except its request header; neither in a disguise."""
    echoes = any(fault.action.startswith(ECHO) for fault in history.schedule.faults)  # decoding takes long
    for result in history.results:
        log = "\n".join(line for line in result.log.splitlines() if not line.startswith("::add-mask::"))
        written = {"the log": log.encode(), **result.files}
        sent = {
            f"{request.method} {request.path}": f"{request.path}{request.query}".encode() + request.body
            for request in result.requests
        }
        for place, content in (written | sent).items():
            if KEY.encode() in content or (echoes and holds(content.decode("utf-8", "replace"), KEY)):
                yield f"{_name(result)} put the API key into {place}"
    if holds(json.dumps(history.statuses), KEY):
        yield "the API key is in a commit status"
    if holds(json.dumps([check_run.json for check_run in history.check_runs]), KEY):
        yield "the API key is in a check run"


def status_is_final(history: History) -> Iterator[str]:
    """A commit status ends with the step's verdict, and is a success for no other step than one that passed."""
    for result in main_results(history):
        name = _status_name(result)
        if not name or result.step.mode == "cancel":
            continue
        states = [status["state"] for status in history.statuses if status["context"] == name]
        state = states[-1] if states else ""
        users = [main_result for main_result in main_results(history) if _status_name(main_result) == name]
        # Without its output file, a step reports its verdict in the log.
        readable = not any(_has_file_fault(user, "output") for user in users)
        if state == "success" and readable and not any(_lets_pass(user) for user in users):
            yield f"{_name(result)} did not pass, but its commit status is {state}"
        if result is not users[-1] or result.step.mode == "launch" or not _could_set_status(history, result):
            continue
        if any(user.killed is not None for user in users[:-1]):
            continue  # the post step of the killed one comes last, and reports it
        # A killed step has reported its verdict everywhere or nowhere.
        expected = "success" if _lets_pass(result) else STATES.get(reported_verdict(result), "error")
        if state != expected:
            yield f"{_name(result)} has the verdict {reported_verdict(result)!r}, but the commit status {state!r}"


def check_run_is_final(history: History) -> Iterator[str]:
    """A check run ends with the step's verdict, and satisfies a branch only after a step that passed."""
    for result in main_results(history):
        users, check_runs = _users_of_check_run(history, result), _check_runs(history, result)
        if not users or result.step.mode == "cancel":
            continue
        readable = not any(_has_file_fault(user, "output") for user in users)
        satisfies = any(check_run.conclusion in SATISFYING for check_run in check_runs)
        if satisfies and readable and not any(_lets_pass(user) for user in users):
            yield f"{_name(result)} did not pass, but its check run would let a branch be merged"
        if result is not users[-1] or result.step.mode == "launch" or not _could_set_status(history, result):
            continue
        if any(user.killed is not None for user in users[:-1]):
            continue  # the post step of the killed one comes last, and reports it
        is_late = _lets_pass(result) and reported_verdict(result) == "timed_out"
        expected = "neutral" if is_late else CONCLUSIONS.get(reported_verdict(result), "failure")
        last = check_runs[-1].conclusion if check_runs else None
        if last != expected:
            yield f"{_name(result)} has the verdict {reported_verdict(result)!r}, but its check run {last!r}"


def check_runs_are_completed(history: History) -> Iterator[str]:
    """No check run is left in progress, unless it waits for a later step, or no process could complete it."""
    for check in (check_run for check_run in history.check_runs if check_run.status != "completed"):
        users = [main_result for main_result in main_results(history) if _check_name(main_result) == check.name]
        concerned = [user for user in users if check.external_id in (user.run_id, user.given_run)] or users
        waits = concerned[-1].step.mode == "launch"
        if not waits and all(_could_set_status(history, user) for user in users):
            yield f"the check run {check.name} of {check.external_id or 'no run'} is left in progress"


def one_check_run_per_launch(history: History) -> Iterator[str]:
    """A step makes at most one check run, and a step that waits makes none if the launch made one."""
    for result in main_results(history):
        users, check_runs = _users_of_check_run(history, result), _check_runs(history, result)
        if not users or result is not users[-1]:
            continue
        if any(_has_file_fault(user, "state") for user in users):
            continue  # the post step knows no verdict, so it may show an error beside the completed one
        launches = [user for user in users if user.step.mode == "launch" and user.killed is None]
        hands_over = len(users) == 2 and result.given_run and any(launch.exit_code == 0 for launch in launches)
        most = 1 if hands_over and result.step.mode == "wait" else len(users)
        if len(check_runs) > most:
            yield f"{_name(result)} and those before it made {len(check_runs)} check runs of one name"


def time_limits_are_kept(history: History) -> Iterator[str]:
    """Steps keep their deadline, end soon after an interrupt, and do not crash; post steps are limited, too."""
    for result in history.results:
        if result.crash:
            yield f"{_name(result)} crashed: {result.crash.strip().splitlines()[-1]}"
        if result.interrupted is not None:
            end = result.killed if result.killed is not None else result.ended
            if end - result.interrupted > INTERRUPT_TIME + ROUNDING:
                yield f"{_name(result)} took {end - result.interrupted:.1f} s to end after the interrupt"
        elif result.is_post:
            if result.ended - result.began > POST_TIME + (POST_TELLING if _status_time(result) else 0.0):
                yield f"{_name(result)} took {result.ended - result.began:.0f} s"
        elif result.killed is None:
            limit = float(result.step.given["max_wait_time"]) + DEADLINE_SLACK
            if result.ended - result.began > limit + ROUNDING:
                yield f"{_name(result)} took {result.ended - result.began:.0f} s"


def post_step_is_quiet(history: History) -> Iterator[str]:
    """The post step never fails the job, and sends no requests if the main step left nothing to do.

    A step in mode launch that repeated a lost launch leaves the check for a second run to it, and a failed step the
    mark of its run, if Coval did not take it in time.
    """
    for result in (process for process in history.results if process.is_post):
        main = _main_result(history, result)
        if result.exit_code not in (0, None):
            yield f"{_name(result)} failed"
        concluded = main.killed is None and main.interrupted is None and main.verdict in ("passed", "failed", "skipped")
        concluded = concluded and not _may_have_left_repetition(history, main)
        launches = [request for request in main.requests if request.method == "POST" and request.path == "/runs"]
        repeated = len(launches) > 1 and not all(launch.answered for launch in launches)
        launched = main.step.mode == "launch" and main.killed is None and main.exit_code == 0 and not repeated
        marked = {request.path for request in main.requests if request.method == "PATCH" and request.answered}
        failed = main.run_ids if main.verdict == "failed" else ()
        owed = {f"/runs/{run_id}" for run_id in failed} - marked
        asked = [request for request in result.requests if request.path not in owed]
        if asked and (concluded or launched) and not _has_file_fault(main, "state"):
            yield f"{_name(result)} called Coval, but the main step had left nothing to do"


INVARIANTS: Final[tuple[Callable[[History], Iterator[str]], ...]] = (
    one_launch_per_step,
    no_repetition_in_vain,
    left_repetitions_are_ended,
    second_runs_are_ended,
    run_belongs_to_step,
    rerun_resumes,
    look_ups_are_patient,
    superseded_runs_are_cancelled,
    only_own_runs_are_cancelled,
    no_orphaned_run,
    finished_runs_are_kept,
    no_cancel_without_reason,
    unreadable_gate_costs_nothing,
    misnamed_gate_costs_nothing,
    certain_ends_come_soon,
    late_values_are_waited_for,
    no_pass_without_data,
    pass_rests_on_everything,
    pass_rate_counts_everything,
    baseline_decides_nothing_alone,
    failed_run_is_marked,
    mutations_are_told_apart,
    verdict_matches_run,
    last_poll_at_deadline,
    hanging_poll_is_not_the_last,
    reason_matches_verdict,
    tag_is_taken_by_rule,
    only_acceptance_takes_tag_away,
    accepted_run_stands_alone,
    step_without_acceptance_is_red,
    acceptance_without_person_costs_nothing,
    only_own_runs_are_marked,
    other_tags_are_kept,
    outputs_are_complete,
    annotations_tell_once,
    api_key_does_not_leak,
    status_is_final,
    check_run_is_final,
    check_runs_are_completed,
    one_check_run_per_launch,
    time_limits_are_kept,
    post_step_is_quiet,
)


def was_prompt(history: History, request: SentRequest) -> bool:
    """Return whether the request launched a run so soon that the step must not have launched it again."""
    record = history.runs[request.launched_run]
    in_time = record.create_time - history.coval_time(request.sent_at) <= MAX_OPEN_TIME
    return in_time and request.launched_run not in history.deleted


def _name(result: ProcessResult) -> str:
    return f"{'post step of ' if result.is_post else ''}step {result.number} ({result.step.mode})"


def main_results(history: History) -> Iterator[ProcessResult]:
    """Return the processes of main steps."""
    return (result for result in history.results if not result.is_post)


def _main_result(history: History, post: ProcessResult) -> ProcessResult:
    return next(main_result for main_result in main_results(history) if main_result.number == post.number)


def _post_result(history: History, main: ProcessResult) -> ProcessResult | None:
    return next((result for result in history.results if result.is_post and result.number == main.number), None)


def _earlier_runs(history: History, result: ProcessResult) -> list[str]:
    """Return the runs that earlier steps launched, in the same job of a matrix."""
    earlier = (main_result for main_result in main_results(history) if main_result.number < result.number)
    return [run_id for main in earlier if main.step.matrix == result.step.matrix for run_id in main.launched_runs]


def _runs_of_step(history: History, result: ProcessResult) -> tuple[str, ...]:
    """Return the runs that the step of this process launched."""
    return _main_result(history, result).launched_runs


def knows_events(history: History) -> bool:
    """Return whether the steps can know that they test the same pull request, which the event file says."""
    return not any(_has_file_fault(main_result, "event") for main_result in main_results(history))


def _is_asking_coval(result: ProcessResult) -> bool:
    """Return whether the step called Coval when it was interrupted, or afterwards."""
    return any(request.ended_at > (result.interrupted or 0.0) for request in result.requests)


def _was_looking_names_up(result: ProcessResult) -> bool:
    """Return whether an interrupted step only asked for names: if it has a run, its verdict stands by then."""
    asked = [request for request in result.requests if request.ended_at > (result.interrupted or 0.0)]
    return bool(result.run_id and asked) and all(OF_NAMES.fullmatch(request.path) for request in asked)


def _status_name(result: ProcessResult) -> str:
    """Return the name of the step's commit status, which differs between the jobs of a matrix."""
    name, matrix = result.step.given.get("commit_status", ""), result.step.matrix
    return f"{name} ({matrix})" if name and matrix else name


def _check_name(result: ProcessResult) -> str:
    """Return the name of the step's check run, which differs between the jobs of a matrix."""
    name, matrix = result.step.given.get("check_run", ""), result.step.matrix
    return f"{name} ({matrix})" if name and matrix else name


def _users_of_check_run(history: History, result: ProcessResult) -> list[ProcessResult]:
    """Return the steps that have a check run of that name, in their order; none if the step has no check run."""
    name = _check_name(result)
    return [main_result for main_result in main_results(history) if _check_name(main_result) == name] if name else []


def _check_runs(history: History, result: ProcessResult) -> list[CheckRun]:
    return [check_run for check_run in history.check_runs if check_run.name == _check_name(result)]


def _status_time(result: ProcessResult) -> float:
    return STATUS_TIME if {"commit_status", "check_run"} & result.step.given.keys() else 0.0


def reported_verdict(result: ProcessResult) -> str:
    """Return the verdict in the outputs, also of a killed step."""
    try:
        return result.outputs.get("verdict", "")
    except (ValueError, KeyError):
        return ""


def _could_set_status(history: History, main: ProcessResult) -> bool:
    """Return whether nothing kept the step's last process from setting the commit status."""
    post = _post_result(history, main)
    if post is None and LATE_FOR_GITHUB in main.log:
        return False
    last = post or main
    # A step that is not in a hurry tries for half a minute.
    down = any(
        outage.begin < last.ended and last.began + GITHUB_RETURNS < outage.end
        for outage in history.schedule.github_outages
    )
    began = "legs" in main.files["state"].decode(errors="replace")
    ended_early = last.killed is not None or last.interrupted is not None
    # In mode wait, the step reads the commit from the run.
    knows_commit = main.step.mode != "wait" or bool(main.given_run and main.given_run not in history.deleted)
    knows_commit &= main.step.event == "pull_request" or main.step.mode != "wait" or _has_seen_runs(main)
    files = any(_has_file_fault(main, file) for file in ("state", "output"))
    return began and knows_commit and knows_events(history) and not (down or ended_early or files)


def _has_seen_runs(result: ProcessResult) -> bool:
    """Return whether Coval has shown the step a run, or a list of runs."""
    shown = (request for request in result.requests if request.answered and request.status == HTTPStatus.OK)
    return any(request.path.startswith("/runs") for request in shown)


def _given(history: History, tag: str) -> Iterator[tuple[ProcessResult, Retagging, RunRecord]]:
    """Yield the changes by which a process gave a tag to a run, with the process and the run."""
    for change in history.retaggings:
        if change.process and tag in change.after - change.before:
            yield _process(history, change), change, history.runs[change.run_id]


def _process(history: History, change: Retagging) -> ProcessResult:
    return next(result for result in history.results if (result.number, result.is_post) == change.process)


def _is_own(result: ProcessResult, record: RunRecord) -> bool:
    """Return whether a step launched the run, took it over or was given it."""
    return record.run_id in (result.run_id, *result.run_ids, *result.launched_runs, *result.given_runs)


def is_ended(history: History, record: RunRecord, now: float) -> bool:
    """Return whether a run has ended, or has been cancelled and will end."""
    cancelled = record.cancel_time is not None and record.cancel_time - history.schedule.quirks.cancel_lag <= now
    return cancelled or record.finished(now)


def _is_good(history: History, result: ProcessResult, now: float) -> bool:
    """Return whether the step's run meets the gate, or all of its runs do together."""
    schedule = history.schedule
    runs = [history.runs[run_id] for run_id in result.run_ids if run_id in history.runs]
    if is_good(runs[0], schedule.gate, schedule.quirks, now):
        return True
    return len(runs) > 1 and are_good_together(runs, schedule.gate, schedule.quirks, now)


def _is_first_run(history: History, run_id: str) -> bool:
    """Return whether a step launched the run as its first one, and not as a repetition."""
    return any(result.run_id == run_id for result in main_results(history))


def _is_attempt(earlier: ProcessResult, result: ProcessResult) -> bool:
    """Return whether a process is an earlier attempt at the same step."""
    ours, theirs = result.step, earlier.step
    same = (ours.workflow_run, ours.action, ours.matrix) == (theirs.workflow_run, theirs.action, theirs.matrix)
    return same and theirs.attempt < ours.attempt


def _was_cancelled_before(history: History, result: ProcessResult) -> bool:
    """Return whether the run of a step was cancelled before the step began."""
    requests = (request for process in history.results if process.began < result.began for request in process.requests)
    return any(
        request.method == "DELETE" and request.path.endswith(result.run_id) and request.took_effect
        for request in requests
    )


def _has_file_fault(result: ProcessResult, file: str) -> bool:
    """Return whether a runner file has a fault at any time."""
    return result.step.file_fault is not None and result.step.file_fault.file == file


def _must_cancel(result: ProcessResult) -> bool:
    """Return whether the step must cancel its run. It may be killed after it decided to leave the run alone."""
    if reported_verdict(result) == "timed_out" or (result.killed is not None and LEFT_ALONE in result.log):
        return result.step.flag("cancel_on_timeout")
    if result.step.repetitions and result.killed is None and reported_verdict(result) in ("passed", "failed"):
        return True  # nothing can use a repetition that the step gave up
    interrupted = result.killed is not None or (result.interrupted is not None and result.verdict == "cancelled")
    return interrupted and result.step.flag("cancel_on_interrupt")


def _may_cancel(history: History, result: ProcessResult) -> bool:
    """Return whether the process has a reason to cancel a run."""
    main = _main_result(history, result)
    step = main.step
    interrupted = (main.killed is not None or main.interrupted is not None) and step.flag("cancel_on_interrupt")
    timed_out = main.ended - main.began >= float(step.given["max_wait_time"]) or main.verdict == "timed_out"
    timed_out = timed_out and step.flag("cancel_on_timeout")
    several = len(main.launched_runs) > 1 or len(main.given_runs) > 1 or _has_other_plan(history, step)
    second = several or (step.repetitions and step.attempt > 1 and step.flag("resume"))
    failed = main.verdict in ("", "error") and main.exit_code != 0
    given_up = any(is_hopeless(history, step, history.runs[run_id], at) for run_id, at in _deletes(history, result))
    state_lost = result.is_post and _has_file_fault(main, "state")  # the post step cannot know that the run ended
    return bool(
        interrupted
        or timed_out
        or failed
        or given_up
        or state_lost
        or second
        or step.mode == "cancel"
        or step.flag("supersede")
    )


def _has_other_plan(history: History, step: Step) -> bool:
    """Return whether an earlier attempt had legs that the step does not have."""
    earlier = (other for other in history.schedule.steps if step.flag("resume") and other.attempt < step.attempt)
    return any(
        (other.listed, other.given.get("test_set_id")) != (step.listed, step.given.get("test_set_id"))
        for other in earlier
    )


def is_hopeless(history: History, step: Step, record: RunRecord, at: float) -> bool:
    """Return whether Coval shows then, by its clock, that so many simulations failed, and none passed, that it ends."""
    quirks, scenario = history.schedule.quirks, record.plan.scenario
    most = step.given.get("abort_after_failures")
    if most is None or quirks.null_progress or scenario.null_progress or record.finished(at - ROUNDING):
        return False
    shown = views.progress(record, at - ROUNDING, quirks)
    return bool(shown["failed_test_cases"] >= int(most) and not shown["completed_test_cases"])


def _deletes(history: History, result: ProcessResult) -> Iterator[tuple[str, float]]:
    """Yield the runs that a process cancelled, and when, by Coval's clock."""
    for request in result.requests:
        run_id = request.path.rpartition("/")[2]
        if request.method == "DELETE" and run_id in history.runs:
            yield run_id, history.coval_time(request.sent_at)


def _may_have_left_repetition(history: History, main: ProcessResult) -> bool:
    """Return whether a repetition may have been unfinished when the step ended: its first run decides then."""
    if not main.step.repetitions or main.verdict != "failed":
        return False
    lost = any(request.method == "POST" and not request.answered for request in main.requests)
    own = [history.runs[run_id] for run_id in {*main.launched_runs, *main.run_ids} if run_id in history.runs]
    ended = all(record.finished(history.coval_time(main.ended)) for record in own)
    return lost or not ended or met_fault(main.requests[-LAST_REQUESTS:])


def _cancel_failed(result: ProcessResult) -> bool:
    """Return whether a step in mode cancel got a 404, or met faults for as long as it retries."""
    if any(request.status == HTTPStatus.NOT_FOUND for request in result.requests):
        return True
    share = float(result.step.given["max_wait_time"]) / ceil(len(result.given_runs) / MOST_AT_ONCE)
    return result.ended - result.began >= share - 1 and met_fault(result.requests[-1:])


def cancel_was_impossible(history: History, main: ProcessResult, record: RunRecord) -> bool:
    """Return whether neither the step nor its post step could have cancelled the run."""
    post = _post_result(history, main)
    if post is None:
        if main.killed is not None:
            return True  # no process was left
        since = main.interrupted if main.interrupted is not None else main.ended - DEADLINE_SLACK
        tried = tuple(request for request in main.requests if request.sent_at >= since)
        end = main.ended
    else:
        # Once it has stopped looking for the run, it may still set the commit status.
        tried, end = post.requests, max((request.sent_at for request in post.requests), default=post.ended)
        if post.interrupted is not None or post.killed is not None:
            return True
        if _has_file_fault(main, "state"):
            return True  # the post step does not know of the run
    quirks = history.schedule.quirks
    launch = next((request for request in main.requests if request.launched_run == record.run_id), None)
    knows_id = launch is not None and launch.answered and (main.killed is None or launch.ended_at < main.killed)
    hidden = max(quirks.not_found_after_launch, 0.0 if knows_id else quirks.list_lag)
    post_step_waits = post is not None and hidden < MAX_HIDDEN_TIME and post.ended - post.began < POST_PATIENCE
    if not post_step_waits and record.create_time + hidden > history.coval_time(end) - 1:
        return True
    denied = any(request.fault == "404" and record.run_id in request.path for request in main.requests + tried)
    about_it = tuple(request for request in tried if record.run_id in request.path)
    rejected = any(request.status in (401, 403) for request in about_it)  # which no retry changes
    return denied or rejected or met_fault(tried[-LAST_CALLS:])


def _is_safe(request: SentRequest) -> bool:
    """Return whether a request surely had no effect: it never arrived, or Coval said so."""
    return request.fault.partition(" ")[0] in ("429", "503", *CONNECTION_FAULTS)


def met_fault(requests: tuple[SentRequest, ...]) -> bool:
    """Return whether any of these requests met a fault, or used a revoked key."""
    return any(request.fault or request.status in (401, 403) for request in requests)


def _ended_before_delete(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether the run ended between the last poll and the DELETE."""
    end = record.end_time - history.coval_time(0.0)
    poll: SentRequest | None = None  # others may be between them, about other runs
    for request in result.requests:
        if request.method == "GET" and request.path.endswith(record.run_id):
            poll = request
        if request.method == "DELETE" and request.path.endswith(record.run_id) and request.took_effect and poll:
            return poll.answered and poll.sent_at <= end and request.sent_at - poll.sent_at < RACE_TIME
    return False


def _expected_verdicts(history: History, result: ProcessResult) -> tuple[str, ...] | None:
    """Return the verdicts that are right without permanent faults; None if any is."""
    schedule, record = history.schedule, history.runs.get(result.run_id)
    unanswered = sum(
        request.method == "POST" and not request.answered and not _is_safe(request) for request in result.requests
    )
    # The step gives up at once if a run without metadata could be its own, and in the end if no list can be read.
    cannot_find = schedule.foreign_run == "bare" or schedule.fate == "unreadable"
    lost = unanswered >= (1 if cannot_find else MAX_LOST_LAUNCHES)
    if result.step.mode == "cancel" or (result.step.mode == "wait" and not result.given_run) or lost:
        return None
    if result.step.mode == "launch":
        return ("",)
    if schedule.gate in UNREADABLE_GATES or (result.step.accepts and result.step.event != BY_HAND):
        return ("error",)
    if is_unknown(history, result, record) if record else schedule.gate in MISNAMED_GATES:
        return ("error",)
    now = history.coval_time(result.ended)
    if record and record.run_id in history.deleted and (record.delete_time or now) <= now:
        return ("passed", "failed", "error", "cancelled")  # other invariants say when it may pass
    if record is None or not record.finished(now):
        return ("passed", "failed")
    if record.status(now) != "COMPLETED":
        return {"FAILED": ("failed",), "ERROR": ("error",)}.get(record.status(now), ("cancelled",))
    refused = result.step.accepts and not _may_accept(history, result, record)
    if _is_good(history, result, now):
        return ("error",) if refused else _of_good(history, result)
    if refused or not has_data(record, schedule.gate, schedule.quirks, now):
        return ("error", "failed")
    return ("failed",) if can_decide(schedule.gate) else ("error",)


def is_unknown(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether Coval hid the run that a step in mode wait was given, for as long as that must look for it.

    Another step launched it, so its id is more likely wrong than too new. A user who waits for a wrong id must not wait
    for the longest time that Coval may hide a new run.
    """
    path = f"/runs/{record.run_id}"
    polls = [request for request in result.requests if (request.method, request.path) == ("GET", path)]
    if result.step.mode != "wait" or not polls:
        return False
    shown_at = record.create_time + history.schedule.quirks.not_found_after_launch
    last = polls[-1].sent_at
    return last - result.began >= UNKNOWN_TIME and history.coval_time(last) < shown_at


def _of_good(history: History, result: ProcessResult) -> tuple[str, ...]:
    """Return the verdicts on a good run, or on a run that is good together with its repetitions.

    Where a run is compared with a baseline, it needs one to pass.
    """
    if len(result.run_ids) > 1:
        return ("passed",)
    fate = history.schedule.fate
    if history.schedule.gate not in BASELINE_GATES or result.step.accepts:
        return ("passed",)
    if fate in ("lagging", "unreadable") or not possible_baselines(history, result):
        return ("inconclusive",)
    if is_much_worse(history, result):
        return ("failed",)
    return ("passed", "inconclusive") if fate == "deleted" else ("passed",)  # perhaps during the search


def _run_id_is_known(result: ProcessResult, outputs: dict[str, str]) -> Iterator[str]:
    """A killed step has written its run id if it had received the response to the launch."""
    if result.step.file_fault:
        return
    for request in result.requests:
        received = request.launched_run and request.answered and (result.killed or 0.0) > request.ended_at
        if received and request.launched_run not in json.loads(outputs.get("run_ids") or "[]"):
            yield f"{_name(result)} was killed without its run in the outputs: {request.launched_run}"


def _lets_pass(result: ProcessResult) -> bool:
    """Return whether a step is green: it passed, or nothing had failed by its limit, and it passes then."""
    verdict = reported_verdict(result)
    return verdict == "passed" or (verdict in late_is_fine(result.step) and result.exit_code != 1)


def late_is_fine(step: Step) -> tuple[str, ...]:
    """Return the verdict of a run that is not over in time, if the step is green with it."""
    return ("timed_out",) if step.given.get("on_timeout") == "pass" else ()


def _outputs_agree(result: ProcessResult, outputs: dict[str, str]) -> Iterator[str]:
    """The outputs agree with each other and with the exit code."""
    verdict, status = outputs["verdict"], outputs["status"]
    if verdict not in VERDICTS or (verdict == "" and status != "LAUNCHED" and result.step.mode != "cancel"):
        yield f"has the verdict {verdict!r} with the status {status!r}"
    if outputs["passed"] != ("true" if verdict == "passed" else "false"):
        yield f"says passed={outputs['passed']} with the verdict {verdict!r}"
    decides = result.step.mode != "cancel" and verdict not in late_is_fine(result.step)
    if decides and result.exit_code != (0 if verdict in PASSING_VERDICTS else 1):
        yield f"exits with {result.exit_code} and the verdict {verdict!r}"
    if not outputs["reason"]:
        yield "gives no reason"
    for name in ("failed_simulations", "failed_criteria", "metric_failures", "metrics"):
        if outputs[name]:
            try:
                json.loads(outputs[name])
            except ValueError:
                yield f"has malformed JSON in {name}: {outputs[name][:80]}"
                return
    missed = {entry["verdict"] for entry in json.loads(outputs["failed_criteria"] or "[]")}
    if (verdict == "passed" and outputs["failed_criteria"] != "[]") or (
        status == "COMPLETED_WITH_FAILURES" and not missed & {"failed", "inconclusive"}
    ):
        yield f"has the verdict {verdict!r} with failed_criteria={outputs['failed_criteria'][:80]}"


def _reports_exist(result: ProcessResult, outputs: dict[str, str]) -> Iterator[str]:
    """The summary, the JUnit, JSON and HTML reports and the digest exist and are well-formed."""
    inputs, file_fault = result.step.given, result.step.file_fault
    expected = inputs.get("summary") != "false" and not (file_fault and file_fault.file == "summary")
    if expected and not result.files["summary.md"].startswith(b"### "):
        yield "has no summary"
    readers: dict[str, Callable[[Any], object]] = {
        "junit_path": ET.fromstring,
        "json_path": json.loads,
        "html_path": _whole_page,
        "digest_path": _read_digest,
    }
    for name, parse in readers.items():
        path = inputs.get(name, "")
        if path and result.verdict and (outputs[name] or not file_fault):
            try:
                _parse(parse, result.files[f"workspace/{path}"])
            except (KeyError, ValueError, ET.ParseError) as error:
                yield f"has no well-formed {path}: {error!r}"


def _read_digest(content: bytes) -> None:
    """Raise ValueError unless `content` is a digest within its limit."""
    if not content.decode().startswith("# Coval evaluation: ") or len(content) > 16 * 1024:
        raise ValueError(content[:80])


def _whole_page(content: bytes) -> None:
    """Raise ValueError unless the content is a whole HTML page."""
    if not (content.startswith(b"<!DOCTYPE html>") and content.endswith(b"</html>\n")):
        raise ValueError("the page is not whole")


def _parse(parse: Callable[[Any], object], content: bytes) -> None:
    parse(content)
