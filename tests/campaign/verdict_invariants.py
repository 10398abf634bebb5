"""Promises about verdicts: green rests on data, a hiccup changes nothing, and limits of time are kept."""

import re
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from campaign.facts import (
    DEADLINE_SLACK,
    LAST_REQUESTS,
    PAGES,
    ROUNDING,
    UNJUDGED,
    Leg,
    gates_of,
    has_base,
    has_file_fault,
    is_ended,
    late_is_fine,
    legs_of,
    main_results,
    met_fault,
    only_leg,
    page_name,
    planned_legs,
    status_time,
    step_name,
    trial_of,
)
from campaign.oracle import (
    BASE_THRESHOLD,
    knows_type,
    lacks_nothing,
    needs_verdict,
    newest_due,
    possible_baselines,
)
from campaign.schedule import BASELINE_GATES
from campaign.simulate import History, ProcessResult
from campaign.slices import is_sliced
from coval_sandbox.catalogue import AGENT_ID

INTERRUPT_TIME: Final = 6.0  # s from the interrupt to the end of the process
POST_TIME: Final = 120.0  # s for the post step, if it need not call GitHub
POST_TELLING: Final = 80.0  # s for it to call GitHub
NAME_PATHS: Final = re.compile("/(agents|personas|test-sets)/[^/]+")


def green_rests_on_good_runs(history: History) -> Iterator[str]:
    """A leg passes only if its runs completed and lack nothing, and so do those it is compared with."""
    for result in main_results(history):
        now = history.coval_time(result.ended)
        for leg in legs_of(history, result):
            if leg.verdict == "passed" or (leg.verdict == "inconclusive" and has_base(result.step)):
                for problem in _problems_of_green(history, result, leg, now):
                    yield f"{step_name(result)}: {leg.name or 'the leg'} is {leg.verdict}, but {problem}"


def _problems_of_green(history: History, result: ProcessResult, leg: Leg, now: float) -> Iterator[str]:
    schedule = history.schedule
    if not leg.runs:
        yield "it has no run of its own"
    elif not all(
        lacks_nothing(run, gate, schedule.quirks, now)
        for run in leg.runs
        for gate in gates_of(history, result.step, run)
    ):
        yield "its runs lack something"
    elif schedule.gate in BASELINE_GATES and not result.step.accepts and not possible_baselines(history, result):
        yield "there is no baseline"
    if has_base(result.step) and leg.runs:
        if leg.facts["base_run_id"] not in [base.run_id for base in leg.bases[:1]]:
            yield f"it is compared with {leg.facts['base_run_id']!r}"
        if len(leg.bases) < len(leg.runs):
            yield "a run of its base is missing"
        for base in leg.bases_needed:
            if not lacks_nothing(base, schedule.gate, schedule.quirks, now, BASE_THRESHOLD):
                yield f"its base's run {base.run_id} ({base.status(now)}) cannot be compared with"


def green_rests_on_everything(history: History) -> Iterator[str]:
    """A green step has judged each of its legs."""
    for result in main_results(history):
        if result.exit_code != 0 or result.step.mode not in ("run", "wait") or not result.verdict:
            continue
        legs, planned = legs_of(history, result), planned_legs(result.step)
        late = bool(late_is_fine(result.step))
        open_legs = [leg.name for leg in legs if not leg.runs or leg.verdict in UNJUDGED]
        if open_legs or (len({leg.facts["run_id"] for leg in legs}) != planned and not (late and not legs)):
            yield f"{step_name(result)} is green with {len(legs)} of {planned} legs, and without {open_legs}"


def no_verdict_on_the_agent_without_the_tag(history: History) -> Iterator[str]:
    """A step neither passes nor blames the agent if no process answered its run."""
    for result in main_results(history) if history.schedule.process else ():
        record = history.runs.get(result.run_id)
        if result.step.mode != "wait" or record is None or result.verdict not in ("passed", "failed"):
            continue
        if record.run_id not in history.tagged and knows_type(history, result, record):
            yield f"{step_name(result)} {result.verdict}, but no process answered the run {record.run_id}"


def legs_are_reported(history: History) -> Iterator[str]:
    """The output legs has each leg once, with its own run or a reason, and no run of a base."""
    for result in main_results(history):
        legs, listed = legs_of(history, result), result.step.listed
        if legs and listed and [leg.name for leg in legs] != [leg.name for leg in listed]:
            yield f"{step_name(result)} names the legs {[leg.name for leg in legs]}"
        for run_id, number in Counter(leg.facts["run_id"] for leg in legs).items():
            if run_id and number > 1:
                yield f"{step_name(result)} has the run {run_id} for several legs"
        for leg in legs:
            if not leg.runs and not (leg.verdict in UNJUDGED and leg.facts["reason"]):
                yield f"{step_name(result)}: {leg.name} is {leg.verdict!r} without a run or a reason"
            if leg.runs and listed and leg.name != trial_of(leg.runs[0])[3]:
                yield f"{step_name(result)}: {leg.name} has the run of {trial_of(leg.runs[0])[3]}"
            if leg.runs and has_base(result.step) and leg.runs[0].body["agent_id"] == AGENT_ID:
                yield f"{step_name(result)} judged the base's run {leg.runs[0].run_id}"


def given_runs_are_cancelled(history: History) -> Iterator[str]:
    """If all faults are transient, a step in mode cancel ends the runs that it was given."""
    for result in main_results(history) if history.schedule.recoverable else ():
        records = [history.runs[run_id] for run_id in result.given_runs if run_id in history.runs]
        ended = all(is_ended(history, record, history.coval_time(result.ended)) for record in records)
        may_cancel = records and result.step.mode == "cancel" and not _cancel_failed(result)
        if may_cancel and (result.exit_code != 0 or not ended):
            yield f"{step_name(result)} did not cancel the given run"


def transient_faults_are_no_error(history: History) -> Iterator[str]:
    """If all faults are transient, a leg whose runs lack nothing is judged."""
    for result in main_results(history) if history.schedule.recoverable else ():
        for leg in legs_of(history, result) or [Leg({"name": "", "verdict": result.verdict}, [], [])]:
            if leg.verdict in UNJUDGED and needs_verdict(history, result, leg):
                yield f"{step_name(result)}: {leg.name or 'the leg'} is {leg.verdict!r}, but its runs lack nothing"


def newest_run_is_judged(history: History) -> Iterator[str]:
    """A step that has a verdict on a run judges the newest one of its source, if Coval listed that when it began."""
    hidden = max(history.schedule.quirks.list_lag, history.schedule.quirks.not_found_after_launch)
    for result in main_results(history):
        if not result.step.finds or result.verdict not in ("passed", "failed", "timed_out", "inconclusive"):
            continue
        record = newest_due(history, result)
        listed = record is not None and record.create_time + hidden < history.coval_time(result.began)
        if record is None or (listed and result.run_id != record.run_id):
            expected = record.run_id if record else "none"
            yield f"{step_name(result)} is {result.verdict} by the run {result.run_id}, but the newest is {expected}"


def baseline_counts(history: History) -> Iterator[str]:
    """A step compares its run with what counts, and is not in error for want of a baseline."""
    for result in main_results(history) if history.schedule.gate in BASELINE_GATES else ():
        if result.step.mode == "launch" or result.step.accepts or not result.verdict:
            continue
        named = result.outputs["baseline_run_id"]
        if named and named not in [record.run_id for record in possible_baselines(history, result)]:
            yield f"{step_name(result)} compared its run with {named}, which does not count"
        if result.verdict == "error" and "baseline" in result.outputs["reason"]:
            yield f"{step_name(result)} is in error because of its baseline: {result.outputs['reason']}"


def last_poll_at_deadline(history: History) -> Iterator[str]:
    """A step whose verdict is timed_out has polled the run at the deadline."""
    for result in main_results(history):
        own = result.run_ids[-1] if is_sliced(result.step) and result.run_ids else result.run_id
        record = history.runs.get(own) if only_leg(history, result) else None
        if record is None or result.verdict != "timed_out":
            continue
        if any(words in result.outputs["reason"] for words in ("run completed", "max_wait_time left")):
            continue
        deletes = [request for request in result.requests if request.method == "DELETE"]
        if met_fault(deletes) or met_fault(result.requests[-LAST_REQUESTS:]):
            continue  # the run may have ended meanwhile
        after = LAST_REQUESTS * history.schedule.latency + 1 + status_time(result)
        last_poll = history.coval_time(result.ended - after)
        ended = record.create_time + record.plan.end
        cancelled = record.cancel_time is not None and record.cancel_time - history.schedule.quirks.cancel_lag < ended
        if ended < last_poll and not cancelled:  # one that is being cancelled shows no end
            yield f"{step_name(result)} timed out, but the run had ended before"


def interrupts_are_reported(history: History) -> Iterator[str]:
    """A step is cancelled if it was interrupted, and only if it or its run was."""
    for result in main_results(history):
        written = result.verdict and not has_file_fault(result, "output")
        publishes = any(page_name(result, page) for page in PAGES)
        ends = result.ended == result.interrupted  # what it does after the verdict takes no time on the clock
        asked = [request for request in result.requests if request.ended_at > (result.interrupted or 0.0)]
        # Then the verdict stood: it also does when a step with a run asks for names only.
        late = (publishes or ends) if not asked else all(NAME_PATHS.fullmatch(sent.path) for sent in asked)
        late = late and bool(result.run_id or not asked)
        if result.interrupted is not None and written and result.verdict != "cancelled" and not late:
            yield f"{step_name(result)} was interrupted, but its verdict is {result.verdict!r}"
        if result.verdict == "cancelled" and result.interrupted is None and result.step.mode != "cancel":
            records = filter(None, map(history.runs.get, result.run_ids))
            if not any(record.finished(history.coval_time(result.ended)) for record in records):
                yield f"{step_name(result)} is cancelled, but neither the step nor its run was"


def time_limits_are_kept(history: History) -> Iterator[str]:
    """Steps keep their deadline, end soon after an interrupt, and do not crash; post steps are limited, too."""
    for result in history.results:
        if result.crash:
            yield f"{step_name(result)} crashed: {result.crash.strip().splitlines()[-1]}"
        if result.interrupted is not None:
            end = result.killed if result.killed is not None else result.ended
            if end - result.interrupted > INTERRUPT_TIME + ROUNDING:
                yield f"{step_name(result)} took {end - result.interrupted:.1f} s to end after the interrupt"
        elif result.is_post:
            if result.ended - result.began > POST_TIME + (POST_TELLING if status_time(result) else 0.0):
                yield f"{step_name(result)} took {result.ended - result.began:.0f} s"
        elif result.killed is None:
            limit = float(result.step.inputs["max_wait_time"]) + DEADLINE_SLACK
            if result.ended - result.began > limit + ROUNDING:
                yield f"{step_name(result)} took {result.ended - result.began:.0f} s"


def _cancel_failed(result: ProcessResult) -> bool:
    """Return whether a step in mode cancel got a 404, or met faults for as long as it retries."""
    if any(request.status == HTTPStatus.NOT_FOUND for request in result.requests):
        return True
    is_late = result.ended - result.began >= float(result.step.inputs["max_wait_time"]) - 1
    return is_late and met_fault(result.requests[-1:])
