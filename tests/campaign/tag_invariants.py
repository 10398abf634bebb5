"""Promises about tags: a baseline is what stands on a branch or what a person accepted, and nothing else moves it."""

from collections.abc import Iterator
from typing import Final

from campaign.facts import (
    given_tags,
    has_file_fault,
    is_own,
    legs_of,
    main_result,
    main_results,
    met_fault,
    only_leg,
    process_of,
    step_name,
)
from campaign.oracle import (
    baseline_candidates,
    is_branch_run,
    is_own_branch_run,
    lacks_nothing,
    others_alike,
)
from campaign.schedule import ACCEPTED, ATTACHED, BASELINE_GATES, BY_HAND, FAILED, MARKS, STABLE
from campaign.simulate import History, ProcessResult
from coval_gate.ci.host import IS_BASE
from coval_sandbox.plan import RunRecord

BRANCH_TAG: Final = "coval-gate/branch/"  # prefix of the tag of all runs of a branch


def failed_run_is_marked(history: History) -> Iterator[str]:
    """A run that lacks data, or that a comparison failed, has a mark once its step is over; no other run has it."""
    schedule = history.schedule
    for result, change, record in given_tags(history, FAILED):
        judged_alone = only_leg(history, main_result(history, result)) and schedule.recoverable
        if judged_alone and _may_count(history, result, record, change.at):
            yield f"{step_name(result)} marked the run {record.run_id} as failed, which lacks nothing and is not worse"
    for result in main_results(history):
        for leg in legs_of(history, result):
            if leg.verdict == "failed" and len(leg.runs) == 1 and is_unmarked(history, result, leg.runs[0].run_id):
                yield f"{step_name(result)} failed, but its run {leg.runs[0].run_id} has no mark"


def other_tags_are_kept(history: History) -> Iterator[str]:
    """Steps change no other tags, keep the one of a process, and give a base's run none of theirs."""
    for record in history.runs.values():
        # Coval may store tags in lower case.
        both = (record.request.metadata.tags or (), record.tags)
        before, now = ({*map(str.lower, tags)} - {*MARKS} for tags in both)
        shown = history.schedule.quirks.run_identity != "metadata"
        before |= {ATTACHED} if shown and record.run_id in history.tagged else now & {ATTACHED}
        if before != now:
            yield f"the run {record.run_id} had the tags {sorted(before)}, and has {sorted(now)}"
        customer = record.body.get("metadata", {}).get("customer") or {}
        if IS_BASE not in customer:
            continue
        texts = (*record.tags, *map(str, customer.values()))
        if wrong := {*MARKS} & {*record.tags} or any(tag.startswith(BRANCH_TAG) for tag in texts):
            yield f"the base's run {record.run_id} has the tag {wrong}"


def tag_is_given_by_rule(history: History) -> Iterator[str]:
    """A run gets the tag only from its own step, only if it counts, and only while too few others have it."""
    for result, change, record in given_tags(history, STABLE):
        step, name = result.step, f"{step_name(result)} gave the run {record.run_id} the tag"
        if result.is_post or not (step.holders and is_own(result, record)):
            yield f"{name}, which is not its own"
        if not is_branch_run(history, record):
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
    return baseline_candidates(history, at, there)


def only_acceptance_removes_tag(history: History) -> Iterator[str]:
    """No run loses the tag but to one that a person accepted, and that has it by then."""
    for change in history.retaggings:
        if change.process is None or STABLE not in change.before - change.after:
            continue
        result = process_of(history, change)
        accepted = history.runs.get(result.run_id)
        if not (accepted and result.step.accepts and {STABLE, ACCEPTED} <= history.tags(accepted, change.at)):
            yield f"{step_name(result)} removed the tag from {change.run_id}"


def accepted_run_stands_alone(history: History) -> Iterator[str]:
    """After an acceptance that met no faults, the run has the mark, is the only one with the tag, and no failed one."""
    for result in main_results(history):
        now, record = history.coval_time(result.ended), history.runs.get(result.run_id)
        if record is None or not _must_accept(history, result):
            continue
        tags = history.tags(record, now)
        if not {ACCEPTED, *([STABLE] if result.step.holders else [])} <= tags or FAILED in tags:
            yield f"{step_name(result)} had to accept its run, which has the tags {sorted(tags)}"
        if result.step.holders and (others := _holders(history, record, now)):
            yield f"{step_name(result)} accepted its run, but {others[0].run_id} has the tag as well"


def step_without_acceptance_is_red(history: History) -> Iterator[str]:
    """A step that is to accept its run is green only if it has done so."""
    for result in main_results(history):
        record = history.runs.get(result.run_id)
        if not result.step.accepts or result.exit_code != 0 or has_file_fault(result, "output"):
            continue
        if record is None or ACCEPTED not in history.tags(record, history.coval_time(result.ended)):
            yield f"{step_name(result)} is {result.verdict!r}, but did not accept {result.run_id}"


def only_own_runs_are_marked(history: History) -> Iterator[str]:
    """A step and its post step mark no run of another step, and accept one only if a person asked for it."""
    for mark in (FAILED, ACCEPTED):
        for result, change, record in given_tags(history, mark):
            main = main_result(history, result)
            if main.step.finds and has_file_fault(main, "output"):
                continue  # nothing shows which run it found
            may_accept = main.step.accepts and not result.is_post and FAILED not in change.after
            if not is_own(main, record) or (mark == ACCEPTED and not may_accept):
                yield f"{step_name(result)} gave {record.run_id} the mark {mark}"


def is_unmarked(history: History, result: ProcessResult, run_id: str) -> bool:
    """Return whether a run never got a mark, although it does not count, and nothing hindered the step.

    A person who accepts the run later removes the mark.
    """
    now, record = history.coval_time(result.ended), history.runs.get(run_id)
    was_marked = any(marked is record for _, _, marked in given_tags(history, FAILED))
    if record is None or not _could_retag(history, result, record) or FAILED in record.tags or was_marked:
        return False
    return not _may_count(history, main_result(history, result), record, now)


def _may_count(history: History, result: ProcessResult, record: RunRecord, now: float) -> bool:
    """Return whether a step's run completed, lacks nothing, and no comparison failed it."""
    schedule, main = history.schedule, main_result(history, result)
    was_worse = main.verdict == "failed" and schedule.gate in BASELINE_GATES and not main.step.accepts
    return lacks_nothing(record, schedule.gate, schedule.quirks, now) and not was_worse


def _could_retag(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether nothing hindered a step from changing the tags of a run, which may be a baseline."""
    schedule = history.schedule
    if record.status(history.coval_time(result.ended)) != "COMPLETED":
        return False
    ended = record.end_time - history.coval_time(0.0)
    is_calm = schedule.recoverable and result.interrupted is None and not result.step.file_fault
    is_calm &= not met_fault([request for request in result.requests if request.sent_at >= ended])
    return is_calm and schedule.quirks.run_identity in ("both", "tags") and is_branch_run(history, record, result)


def _must_accept(history: History, result: ProcessResult) -> bool:
    """Return whether a step has to accept its run, and nothing hinders it."""
    schedule, record = history.schedule, history.runs.get(result.run_id)
    if record is None or not result.step.accepts or result.step.event != BY_HAND:
        return False
    now = history.coval_time(result.ended)
    could = _could_retag(history, result, record) and is_own_branch_run(history, result, record)
    return could and lacks_nothing(record, schedule.gate, schedule.quirks, now)
