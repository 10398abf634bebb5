"""Promises about runs: each is launched once, and none is left, doubled, or cancelled without a reason."""

from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from campaign.facts import (
    LAST_REQUESTS,
    NOT_ANSWERED,
    UNJUDGED,
    Leg,
    base_of,
    cancel_was_impossible,
    earlier_runs,
    has_base,
    has_file_fault,
    is_ended,
    knows_events,
    legs_of,
    main_result,
    main_results,
    met_fault,
    own_runs,
    polls_of,
    step_name,
    trial_of,
    was_over,
    was_prompt,
)
from campaign.network import SentRequest
from campaign.reruns import is_changed
from campaign.schedule import BY_HAND, TOO_FEW
from campaign.simulate import History, ProcessResult
from campaign.slices import is_sliced, slice_of, trial_and_slice_of
from coval_sandbox.catalogue import AGENT_ID
from coval_sandbox.plan import RunRecord

END_TIME: Final = 3.0  # s before its end in which a step may look for second runs
RACE_TIME: Final = 3.0  # s between a poll and the DELETE after it; a run may end in between
LEFT_ALONE: Final = "continues in Coval, but this step does not judge it"
TIMED_OUT_LEG: Final = "⌛ Timed out "
ENDLESS: Final = ("timed_out", "error", "cancelled")  # verdicts of legs whose runs may go on


def one_launch_per_trial(history: History) -> Iterator[str]:
    """A step launches one run of each leg and of each base, and no more repetitions than it may.

    Launches that took effect too late do not count. A step without a run has a verdict that explains it.
    """
    for result in history.results:
        step, may_launch = result.step, not result.is_post and result.step.mode in ("run", "launch")
        launches = [sent for sent in result.requests if sent.launched_run and was_prompt(history, sent)]
        # A base's run belongs to all legs that are compared with it.
        records = [history.runs[sent.launched_run] for sent in launches]
        launched = Counter((trial_of(record)[: 4 if step.listed else 3], slice_of(record)) for record in records)
        for (trial, number), count in launched.items():
            if count > (1 + step.repetitions if may_launch else 0):
                yield f"{step_name(result)} launched {count} runs of {trial}{f', slice {number}' * bool(number)}"
        tested = [record for record in own_runs(history, result) if record.body["agent_id"] != AGENT_ID]
        bases, informed = {base_of(step, record) for record in tested}, not has_file_fault(result, "output")
        if has_base(step) and informed and (alone := {trial for trial, _ in launched if trial[0] == AGENT_ID} - bases):
            yield f"{step_name(result)} launched runs of the base, but none to compare with {alone}"
        if may_launch and not result.launched_runs and result.killed is None:
            resumed = result.run_id and result.run_id in earlier_runs(history, result)
            if not resumed and informed and result.verdict not in ("error", "cancelled", "skipped"):
                yield f"{step_name(result)} launched no run, but its verdict is {result.verdict!r}"


def rerun_resumes(history: History) -> Iterator[str]:
    """A later attempt launches no run of a leg, or of a base, while the earlier attempt's is unfinished."""
    for result in main_results(history):
        if result.step.attempt < 2 or not result.step.flag("resume") or not knows_events(history):
            continue
        if is_changed(history, result.step):
            continue
        before, now = (
            # the first of each
            {trial_and_slice_of(history.runs[run_id]): history.runs[run_id] for run_id in reversed(run_ids)}
            for run_ids in (earlier_runs(history, result), result.launched_runs)
        )
        for trial, first in before.items():
            listed = first.create_time + history.schedule.quirks.list_lag < history.coval_time(result.began)
            second = now.get(trial)
            if second and listed and not is_ended(history, first, second.create_time):
                yield f"{step_name(result)} launched {second.run_id} while {first.run_id} of attempt 1 was unfinished"


def doomed_step_costs_nothing(history: History) -> Iterator[str]:
    """A step launches nothing if its inputs show that this is in vain, and sends nothing if they alone show it."""
    for result in main_results(history):
        step, sent = result.step, len(result.requests)
        if sent and step.accepts and step.event != BY_HAND:
            yield f"{step_name(result)} sent {sent} requests to accept a run, but no person started it"
        if result.launched_runs and step.inputs.get("max_simulations") == TOO_FEW:
            yield f"{step_name(result)} launched a run, although it is too large"


def few_runs_are_under_way(history: History) -> Iterator[str]:
    """A step launches no run while as many of its own are under way as it may have at a time, by Coval's clock.

    Runs that it has given up do not count: their legs report that, or the response to their launch was lost.
    """
    for result in main_results(history):
        most = int(result.step.inputs.get("max_parallel_runs", "0"))
        if result.step.mode != "run" or not most or has_base(result.step):
            continue
        given_up = {leg.facts["run_id"] for leg in legs_of(history, result) if leg.verdict in ENDLESS}
        unclear = result.killed is not None or result.verdict in UNJUDGED  # its outputs show no leg's own verdict
        if unclear and (met_fault(result.requests) or "max_queue_time" in result.step.inputs):
            continue
        launches = [request for request in result.requests if request.launched_run and request.answered]
        records = [history.runs[request.launched_run] for request in launches]
        for record in records:
            others = [other for other in records if other.create_time <= record.create_time and other is not record]
            active = [other for other in others if not is_ended(history, other, record.create_time)]
            if len([other for other in active if other.run_id not in given_up]) >= most:
                yield f"{step_name(result)} launched {record.run_id} beside {len(active)} others"


def no_orphaned_run(history: History) -> Iterator[str]:
    """Once a step and its post step are over, no run of theirs goes on, unless they may leave it or cannot end it."""
    for result in main_results(history):
        if result.step.mode not in ("run", "wait") or result.step.finds:
            continue
        for record in _runs_to_end(history, result):
            is_excused = cancel_was_impossible(history, result, record) or _came_too_late(history, result, record)
            if not was_over(history, record) and not is_excused:
                yield f"{step_name(result)} left the run {record.run_id} of {trial_of(record)} unfinished"


def _came_too_late(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether a launch took effect so late that its step had replaced it and looked for its run a last time."""
    launch = next((sent for sent in result.requests if sent.launched_run == record.run_id), None)
    if launch is None or was_prompt(history, launch):
        return False
    later = [sent for sent in result.requests if sent.launched_run and sent.answered and sent.sent_at > launch.sent_at]
    is_replaced = any(trial_of(history.runs[sent.launched_run]) == trial_of(record) for sent in later)
    return is_replaced and record.create_time >= history.coval_time(result.ended - END_TIME)


def _runs_to_end(history: History, result: ProcessResult) -> list[RunRecord]:
    """Return the runs of a step that have to be over: after a signal, all if it may cancel; else, by their verdicts."""
    early = result.killed is not None or (result.interrupted is not None and result.verdict == "cancelled")
    late = result.reported == "error" and TIMED_OUT_LEG in result.log and not result.step.flag("cancel_on_timeout")
    left = result.reported == "timed_out" or (result.killed is not None and (late or LEFT_ALONE in result.log))
    if early and not left:
        runs = own_runs(history, result) if result.step.flag("cancel_on_interrupt") else []
        return [record for record in runs if result.step.mode != "wait" or _was_seen(result, record)]
    return [record for record in own_runs(history, result) if _is_done(history, result, record)]


def _is_done(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether the verdicts of a step's legs leave no reason for the run to go on."""
    trial = trial_of(record)
    legs = [leg for leg in legs_of(history, result) if leg.runs]
    launching = [
        leg for leg in legs if trial == trial_of(leg.runs[0]) or trial[:3] == base_of(result.step, leg.runs[0])
    ]
    return bool(launching) and not any(_may_be_left(history, result, leg, record) for leg in launching)


def _may_be_left(history: History, result: ProcessResult, leg: Leg, record: RunRecord) -> bool:
    """Return whether a leg's verdict allows its run, or its base's run, to go on."""
    is_base = has_base(result.step) and record.body["agent_id"] == AGENT_ID
    # After an error, the run may be left. No step will use a run that no process answered.
    is_left = leg.verdict == "error" or (leg.verdict == "timed_out" and not result.step.flag("cancel_on_timeout"))
    is_left &= NOT_ANSWERED not in leg.facts["reason"]
    repeats = not is_base and len(leg.runs) > 1 and record is not leg.runs[0] and not is_sliced(result.step)
    is_over = is_base and _was_seen_to_end(history, result, leg.runs[0])
    return is_left and not (repeats or is_over)


def _was_seen(result: ProcessResult, record: RunRecord) -> bool:
    """Return whether a step in mode wait has read a run: before, it may be another one's that was given by mistake."""
    return any(poll.answered and poll.status == HTTPStatus.OK for poll in polls_of(result, record))


def _was_seen_to_end(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether a poll of the step has shown that the run is over, and not only that Coval hides it."""
    polls = [poll for poll in polls_of(result, record) if poll.answered and poll.status == HTTPStatus.OK]
    return any(record.finished(history.coval_time(poll.sent_at)) for poll in polls)


def run_belongs_to_step(history: History) -> Iterator[str]:
    """The run_id output names a run that the step launched, or one that it may resume."""
    for result in main_results(history):
        if not result.run_id or result.step.mode not in ("run", "launch"):
            continue
        if result.run_id in result.launched_runs:
            continue
        record, began = history.runs.get(result.run_id), history.coval_time(result.began)
        if record is None:
            yield f"{step_name(result)} names the run {result.run_id}, which does not exist"
        elif result.run_id not in earlier_runs(history, result):
            yield f"{step_name(result)} resumed a run of another workflow"
        elif not result.step.flag("resume") or result.step.attempt < 2:
            yield f"{step_name(result)} resumed an earlier run, which is not allowed"
        elif record.finished(began) and record.status(began) != "COMPLETED":
            yield f"{step_name(result)} resumed a run that had ended"
        elif result.verdict == "cancelled" and result.interrupted is None and is_ended(history, record, began):
            yield f"{step_name(result)} stayed with a run that an earlier step had cancelled"


def no_run_of_an_earlier_attempt_is_lost(history: History) -> Iterator[str]:
    """A later attempt ends each run of an earlier one that Coval's list showed to it, unless it reports the run.

    After a signal it ends those that it reports, too, if it may.
    """
    for result in main_results(history):
        step = result.step
        if step.attempt < 2 or step.mode != "run" or not step.flag("resume") or not knows_events(history):
            continue
        early = result.killed is not None or (result.interrupted is not None and result.verdict == "cancelled")
        ends = step.flag("cancel_on_interrupt") and (early or step.flag("cancel_on_timeout"))
        if result.reported == "timed_out" or not ends:
            continue
        for record in _shown_of_earlier_attempts(history, result):
            is_excused = (record.run_id in result.run_ids and not early) or cancel_was_impossible(
                history, result, record
            )
            if not was_over(history, record) and not is_excused:
                yield f"{step_name(result)} left {record.run_id} of an earlier attempt unfinished"


def _shown_of_earlier_attempts(history: History, result: ProcessResult) -> list[RunRecord]:
    """Return the runs of earlier attempts that a list showed before a signal came."""
    stop = min(time for time in (result.interrupted, result.killed, result.ended) if time is not None)
    lists = [
        sent.sent_at
        for sent in result.requests
        if (sent.method, sent.path, sent.status) == ("GET", "/runs", HTTPStatus.OK)
        if sent.answered and not sent.fault and sent.ended_at < stop
    ]
    quirks = history.schedule.quirks
    if not lists or quirks.list_identity == "neither":
        return []
    shown = history.coval_time(lists[0]) - max(quirks.list_lag, quirks.not_found_after_launch)
    earlier = [history.runs[run_id] for run_id in earlier_runs(history, result)]
    return [record for record in earlier if record.create_time < shown]


def second_runs_are_ended(history: History) -> Iterator[str]:
    """A run that a launch began after it was given up for lost is cancelled."""
    for result in main_results(history):
        if len(result.launched_runs) < 2 or not result.run_id:
            continue
        for run_id in result.launched_runs:
            record = history.runs[run_id]
            began_in_time = record.create_time < history.coval_time(result.ended - END_TIME)
            if run_id in result.run_ids or not began_in_time or met_fault(result.requests[-LAST_REQUESTS:]):
                continue
            if not was_over(history, record) and not cancel_was_impossible(history, result, record):
                yield f"{step_name(result)} left its second run {run_id} unfinished"


def superseded_runs_are_cancelled(history: History) -> Iterator[str]:
    """With `supersede`, earlier runs of the same concurrency group are cancelled."""
    for result in main_results(history):
        if history.schedule.workflow != "supersede" or result.number == 0 or not knows_events(history):
            continue
        first = history.schedule.steps[0]
        if first.workflow_run == result.step.workflow_run:
            continue
        expected = result.step.flag("supersede") and result.verdict in ("passed", "failed", "timed_out")
        for record in (history.runs[run_id] for run_id in earlier_runs(history, result) if expected):
            listed = record.create_time + history.schedule.quirks.list_lag < history.coval_time(result.began)
            if listed and not was_over(history, record) and not met_fault(result.requests):
                yield f"{step_name(result)} left the run unfinished that it supersedes"


def only_own_runs_are_cancelled(history: History) -> Iterator[str]:
    """A step cancels no runs except those that it launched, was given, resumes or supersedes."""
    for result in history.results:
        allowed = {*main_result(history, result).launched_runs, *result.given_runs}
        if result.step.flag("supersede") or result.step.attempt > 1:
            allowed |= set(earlier_runs(history, result))
        main = main_result(history, result)
        for run_id in (sent.path.rpartition("/")[2] for sent in result.requests if sent.method == "DELETE"):
            is_unseen = main.step.mode == "wait" and not _was_seen(main, history.runs[run_id])
            if run_id not in allowed or is_unseen:
                yield f"{step_name(result)} cancelled the run {run_id}, which is not known to be its own"


def finished_runs_are_kept(history: History) -> Iterator[str]:
    """A finished run is never deleted."""
    for record in history.runs.values():
        if record.delete_time is not None and not any(
            _ended_before_delete(history, result, record) for result in history.results
        ):
            yield f"the run {record.run_id} was deleted after it had ended"


def no_cancel_without_reason(history: History) -> Iterator[str]:
    """A run is cancelled only for a reason: an interrupt, a kill, an error, a timeout, or `supersede`."""
    for result in history.results:
        # The interrupt may arrive while the step cancels its run because of a timeout.
        is_both = result.interrupted is not None and result.step.flag("cancel_on_timeout")
        deletes = any(request.method == "DELETE" for request in result.requests)
        if deletes and not is_both and not _may_cancel(history, result):
            yield f"{step_name(result)} cancelled a run without a reason"


def _may_cancel(history: History, result: ProcessResult) -> bool:
    """Return whether the process has a reason to cancel a run."""
    main = main_result(history, result)
    step = main.step
    interrupted = (main.killed is not None or main.interrupted is not None) and step.flag("cancel_on_interrupt")
    timed_out = main.ended - main.began >= float(step.inputs["max_wait_time"]) or main.verdict == "timed_out"
    timed_out |= any(leg.verdict == "timed_out" for leg in legs_of(history, main))
    timed_out = timed_out and step.flag("cancel_on_timeout")
    second = len(main.launched_runs) > 1 or (
        (step.repetitions or is_sliced(step)) and step.attempt > 1 and step.flag("resume")
    )
    failed = main.verdict in ("", "error") and main.exit_code != 0
    state_lost = result.is_post and has_file_fault(main, "state")  # the post step cannot know that the run ended
    return bool(
        interrupted
        or timed_out
        or failed
        or state_lost
        or second
        or is_changed(history, step)
        or step.mode == "cancel"
        or step.flag("supersede")
    )


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
