"""What the history of a schedule shows: whose run is whose, what is over, and what a step could not help.

Everything comes from the requests that Coval received, from its runs, and from the files written.
"""

import json
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, Final, NamedTuple

from campaign.network import SentRequest
from campaign.schedule import Step
from campaign.simulate import History, ProcessResult, Retagging
from coval_gate.ci.host import LEG
from coval_sandbox.catalogue import AGENT_ID
from coval_sandbox.plan import RunRecord

PAGES: Final = ("commit_status", "check_run")
UNJUDGED: Final = ("error", "cancelled", "skipped", "")
GRACE: Final = 180.0  # s, the default of metrics_grace_time
POST_PATIENCE: Final = 85.0  # s for which the post step must try to find and cancel a run
DEADLINE_SLACK: Final = 10.0  # s after the deadline, for all that a step does after its last poll
MAX_OPEN_TIME: Final = 280.0  # s for which a step must leave the connection of a launch open
COULD_NOT_CANCEL: Final = "Could not cancel run "  # of an earlier attempt
LAST_CALLS: Final = 4  # to cancel a run: a list with the filter for tags, one without, a poll and a DELETE
ROUNDING: Final = 1e-6  # s
STATUS_TIME: Final = 35.0  # s for the final commit status and check run, if GitHub does not respond
UNKNOWN_TIME: Final = 10.0  # s for which a step in mode wait must look for a run that Coval does not know
LAST_REQUESTS: Final = 5  # requests that include the last poll
NOT_ANSWERED: Final = "Nothing shows that a job answered every simulation"


class Leg(NamedTuple):
    """A leg as a step reports it: its entry of the output `legs`, its runs and its base's, the first ones first."""

    facts: dict[str, Any]
    runs: list[RunRecord]
    bases: list[RunRecord]

    @property
    def verdict(self) -> str:
        """Return the leg's own verdict."""
        return str(self.facts["verdict"])

    @property
    def name(self) -> str:
        """Return its name, which is empty if it is the only one."""
        return str(self.facts["name"])

    @property
    def bases_needed(self) -> list[RunRecord]:
        """Return the base's runs beside the leg's."""
        return list(self.bases[: len(self.runs)])


def legs_of(history: History, result: ProcessResult) -> list[Leg]:
    """Return the legs that a step reports; none if it was killed, or has no outputs."""
    if result.killed is not None or not result.verdict or not result.outputs.get("legs"):
        return []
    records = [history.runs[run_id] for run_id in result.run_ids if run_id in history.runs]
    legs = []
    for facts in json.loads(result.outputs["legs"]):
        first = history.runs.get(facts["run_id"])
        trial, base = (trial_of(first), base_of(result.step, first)) if first else (None, None)
        base_runs = [record for record in records if trial and base and trial_of(record)[:3] == base]
        legs.append(Leg(facts, [record for record in records if trial_of(record) == trial], base_runs))
    return legs


def only_leg(history: History, result: ProcessResult) -> Leg | None:
    """Return the leg of a step that has only one, with a run, and compares it with no base."""
    legs = legs_of(history, result)
    is_alone = len(legs) == planned_legs(result.step) == 1 and not has_base(result.step)
    return legs[0] if is_alone and legs[0].runs else None


def has_base(step: Step) -> bool:
    """Return whether a step compares its legs with a base agent."""
    return "base_agent_id" in step.inputs


def base_of(step: Step, record: RunRecord) -> tuple[str, ...] | None:
    """Return agent, persona and test set of the base's run beside a run, if the step has a base."""
    return (AGENT_ID, *trial_of(record)[1:3]) if has_base(step) else None


def trial_of(record: RunRecord) -> tuple[str, ...]:
    """Return what a run evaluates: agent, persona and test set, and the leg in a file that it was launched for."""
    ids = (record.body[name] for name in ("agent_id", "persona_id", "test_set_id"))
    return (*ids, str((record.body["metadata"].get("customer") or {}).get(LEG, "")))


def gates_of(history: History, step: Step, record: RunRecord) -> list[str]:
    """Return the gates that a run must meet: the schedule's, and its leg's in the file, if there is one."""
    return [history.schedule.gate, *(leg.gate for leg in step.listed if leg.gate and leg.name == trial_of(record)[3])]


def planned_legs(step: Step) -> int:
    """Return how many legs a step is to have."""
    ids = (step.inputs.get(name, "").split(", ") for name in ("agent_id", "persona_id", "test_set_id"))
    return len(step.listed) or prod(map(len, ids))


def own_runs(history: History, result: ProcessResult) -> list[RunRecord]:
    """Return the runs that a step launched or knows."""
    ids = dict.fromkeys((*result.launched_runs, *result.run_ids))
    return [history.runs[run_id] for run_id in ids if run_id in history.runs]


def was_over(history: History, record: RunRecord) -> bool:
    """Return whether a run was over in the end."""
    return is_ended(history, record, history.coval_time(history.ended))


def polls_of(result: ProcessResult, record: RunRecord) -> list[SentRequest]:
    """Return a process's requests for a run."""
    return [sent for sent in result.requests if (sent.method, sent.path) == ("GET", f"/runs/{record.run_id}")]


def main_results(history: History) -> Iterator[ProcessResult]:
    """Return the processes of main steps."""
    return (result for result in history.results if not result.is_post)


def step_name(result: ProcessResult) -> str:
    return f"{'post step of ' if result.is_post else ''}step {result.number} ({result.step.mode})"


def main_result(history: History, post: ProcessResult) -> ProcessResult:
    return next(main_result for main_result in main_results(history) if main_result.number == post.number)


def post_result(history: History, main: ProcessResult) -> ProcessResult | None:
    return next((result for result in history.results if result.is_post and result.number == main.number), None)


def earlier_runs(history: History, result: ProcessResult) -> list[str]:
    """Return the runs that earlier steps launched, in the same job of a matrix."""
    earlier = (main_result for main_result in main_results(history) if main_result.number < result.number)
    return [run_id for main in earlier if main.step.matrix == result.step.matrix for run_id in main.launched_runs]


def knows_events(history: History) -> bool:
    """Return whether the steps can know that they test the same pull request, which the event file says."""
    return not any(has_file_fault(main_result, "event") for main_result in main_results(history))


def was_prompt(history: History, request: SentRequest) -> bool:
    """Return whether the request launched a run so soon that the step must not have launched it again."""
    record = history.runs[request.launched_run]
    return record.create_time - history.coval_time(request.sent_at) <= MAX_OPEN_TIME


def met_fault(requests: Sequence[SentRequest]) -> bool:
    """Return whether any of these requests met a fault, or used a revoked key."""
    return any(request.fault or request.status in (401, 403) for request in requests)


def is_ended(history: History, record: RunRecord, now: float) -> bool:
    """Return whether a run has ended, or has been cancelled and will end."""
    cancelled = record.cancel_time is not None and record.cancel_time - history.schedule.quirks.cancel_lag <= now
    return cancelled or record.finished(now)


def has_file_fault(result: ProcessResult, file: str) -> bool:
    """Return whether a runner file has a fault at any time."""
    return result.step.file_fault is not None and result.step.file_fault.file == file


def given_tags(history: History, tag: str) -> Iterator[tuple[ProcessResult, Retagging, RunRecord]]:
    """Yield the changes by which a process gave a tag to a run, with the process and the run."""
    for change in history.retaggings:
        if change.process and tag in change.after - change.before:
            yield process_of(history, change), change, history.runs[change.run_id]


def process_of(history: History, change: Retagging) -> ProcessResult:
    return next(result for result in history.results if (result.number, result.is_post) == change.process)


def is_own(result: ProcessResult, record: RunRecord) -> bool:
    """Return whether a step launched the run, took it over, or got its id."""
    return record.run_id in (result.run_id, *result.run_ids, *result.launched_runs, *result.given_runs)


def page_name(result: ProcessResult, page: str) -> str:
    """Return the name of the step's commit_status or check_run, which differs between the jobs of a matrix."""
    name, matrix = result.step.inputs.get(page, ""), result.step.matrix
    return f"{name} ({matrix})" if name and matrix else name


def status_time(result: ProcessResult) -> float:
    return STATUS_TIME if {*PAGES} & result.step.inputs.keys() else 0.0


def is_unknown(history: History, result: ProcessResult, record: RunRecord) -> bool:
    """Return whether Coval hid the run that a step in mode wait was given, for as long as that must look for it.

    Another step launched it, so its id is more likely wrong than too new. A user who waits for a wrong id must not wait
    for the longest time that Coval may hide a new run.
    """
    polls = polls_of(result, record)
    if result.step.mode != "wait" or not polls:
        return False
    shown_at = record.create_time + history.schedule.quirks.not_found_after_launch
    last = polls[-1].sent_at
    return last - result.began >= UNKNOWN_TIME and history.coval_time(last) < shown_at


def cancel_was_impossible(history: History, main: ProcessResult, record: RunRecord) -> bool:
    """Return whether neither the step nor its post step could have cancelled the run."""
    post = post_result(history, main)
    if post is None:
        if main.killed is not None:
            return True  # no process was left
        since = main.interrupted if main.interrupted is not None else main.ended - DEADLINE_SLACK
        tried = [request for request in main.requests if request.sent_at >= since]
        end = main.ended
    else:
        # Once it has stopped looking for the run, it may still set the commit status.
        tried, end = post.requests, max((request.sent_at for request in post.requests), default=post.ended)
        if post.interrupted is not None or post.killed is not None:
            return True
        if has_file_fault(main, "state"):
            return True  # the post step does not know of the run
    quirks = history.schedule.quirks
    launch = next((request for request in main.requests if request.launched_run == record.run_id), None)
    knows_id = launch is not None and launch.answered and (main.killed is None or launch.ended_at < main.killed)
    hidden = max(quirks.not_found_after_launch, 0.0 if knows_id else quirks.list_lag)
    post_step_waits = post is not None and post.ended - post.began < POST_PATIENCE
    if not post_step_waits and record.create_time + hidden > history.coval_time(end) - 1:
        return True
    denied = any(request.fault == "404" and record.run_id in request.path for request in main.requests + tried)
    about_it = [request for request in tried if record.run_id in request.path]
    rejected = any(request.status in (401, 403) for request in about_it)  # which no retry changes
    return denied or rejected or met_fault(tried[-LAST_CALLS:])


def late_is_fine(step: Step) -> tuple[str, ...]:
    """Return the verdict of a run that is not over in time, if the step is green with it."""
    return ("timed_out",) if step.inputs.get("on_timeout") == "pass" else ()
