"""Promises about what a step reports: it is whole and true on every path, and contains no key."""

import json
from collections.abc import Iterator
from http import HTTPStatus
from itertools import product
from typing import Final

from campaign.facts import (
    COULD_NOT_CANCEL,
    PAGES,
    has_base,
    has_file_fault,
    knows_events,
    late_is_fine,
    main_result,
    main_results,
    page_name,
    post_result,
    step_name,
)
from campaign.schedule import ECHO
from campaign.simulate import History, ProcessResult
from coval_gate.report.formats.outputs import OUTPUTS
from leaks import has_secret
from support import KEY

VERDICTS: Final = ("passed", "failed", "inconclusive", "error", "timed_out", "cancelled", "skipped", "")
PASSING_VERDICTS: Final = ("passed", "skipped", "")
RESPONSE_TIME: Final = 30.0  # s for which a step waits for a response before it looks for the run
GITHUB_RETURNS: Final = 12.0  # s; GitHub has to be back so soon after the beginning of a step that sets the status
# Others: error.
STATES: Final = {"passed": "success", "failed": "failure", "inconclusive": "failure", "skipped": "pending"}
CONCLUSIONS: Final = {"passed": "success", "timed_out": "timed_out", "cancelled": "cancelled"}  # others: failure
SATISFYING: Final = ("success", "neutral", "skipped")  # conclusions with which a branch can be merged
# Nothing was left of the time of the step, whose post step does the rest.
LATE_FOR_GITHUB: Final = "Too late for GitHub"
WHOLE: Final = {  # how a report begins and ends
    "junit_path": (b"<testsuites ", b"</testsuites>"),
    "json_path": (b"{", b"}"),
    "html_path": (b"<!DOCTYPE html>", b"</html>"),
    "digest_path": (b"# Coval evaluation: ", b""),
}


def outputs_are_complete(history: History) -> Iterator[str]:
    """Outputs, summary and reports exist and are whole; the exit code matches the verdict."""
    for result in main_results(history):
        who, file_fault = step_name(result), result.step.file_fault
        try:
            outputs = result.outputs
        except (ValueError, KeyError) as error:
            if not (file_fault and file_fault.file == "output" and isinstance(error, KeyError)):
                yield f"{who} wrote malformed outputs: {error!r}"
            continue
        if result.killed is not None:
            yield from _run_id_is_known(result, outputs)
            continue
        if file_fault and file_fault.file == "output":
            if result.exit_code == 0 and file_fault.at == 0 and file_fault.kind != "missing":
                yield f"{who} passed without outputs"
            continue
        if list(outputs) != list(OUTPUTS):
            yield f"{who} lacks outputs: {sorted(set(OUTPUTS) - set(outputs))}"
            continue
        yield from (f"{who} {problem}" for problem in _outputs_agree(result, outputs))
        yield from (f"{who} {problem}" for problem in _reports_exist(result, outputs))


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
            if KEY.encode() in content or (echoes and has_secret(content.decode("utf-8", "replace"), KEY)):
                yield f"{step_name(result)} put the API key into {place}"
    if has_secret(json.dumps(history.statuses), KEY):
        yield "the API key is in a commit status"
    if has_secret(json.dumps([check_run.view("") for check_run in history.check_runs]), KEY):
        yield "the API key is in a check run"


def pages_are_final(history: History) -> Iterator[str]:
    """A commit status and a check run end with the step's verdict, and are green for no step but one that passed."""
    for result, page in product(main_results(history), PAGES):
        users, states = users_of(history, result, page), _states(history, result, page)
        if not users or result.step.mode == "cancel":
            continue
        # Without its output file, a step reports its verdict in the log.
        readable = not any(has_file_fault(user, "output") for user in users)
        # A later status replaces an earlier one; the check run of any launch may allow a merge.
        greens = {*states} & {*SATISFYING} if page == "check_run" else {*states[-1:]} & {"success"}
        if greens and readable and not any(_passes_gate(user) for user in users):
            yield f"{step_name(result)} did not pass, but its {page} is {greens}"
        if result is not users[-1] or result.step.mode == "launch" or not could_set_status(history, result):
            continue
        if any(user.killed is not None for user in users[:-1]):
            continue  # the post step of the killed one comes last, and reports it
        # A killed step has reported its verdict everywhere or nowhere.
        verdict = result.reported
        if page == "commit_status":
            expected = "success" if _passes_gate(result) else STATES.get(verdict, "error")
        else:
            is_late = _passes_gate(result) and verdict == "timed_out"
            expected = "neutral" if is_late else CONCLUSIONS.get(verdict, "failure")
        if states[-1:] != [expected]:
            yield f"{step_name(result)} has the verdict {verdict!r}, but its {page} is {states[-1:]}"


def check_runs_are_completed(history: History) -> Iterator[str]:
    """No check run is left in progress, unless it waits for a later step, or no process could complete it."""
    for check in (check_run for check_run in history.check_runs if check_run.status != "completed"):
        users = [user for user in main_results(history) if page_name(user, "check_run") == check.name]
        if not users:
            yield f"no step has the name of the check run {check.name}"
            continue
        concerned = [user for user in users if check.external_id in (user.run_id, *user.given_runs)] or users
        waits = concerned[-1].step.mode == "launch"
        if not waits and all(could_set_status(history, user) for user in users):
            yield f"the check run {check.name} of {check.external_id or 'no run'} is left in progress"


def post_step_is_quiet(history: History) -> Iterator[str]:
    """The post step never fails the job, and sends no requests after a step that passed."""
    for result in (process for process in history.results if process.is_post):
        main = main_result(history, result)
        if result.exit_code not in (0, None):
            yield f"{step_name(result)} failed"
        ended = main.killed is None and main.interrupted is None and not has_file_fault(main, "state")
        ended &= COULD_NOT_CANCEL not in main.log
        if result.requests and ended and main.verdict in ("passed", "skipped"):
            yield f"{step_name(result)} called Coval, but the main step had left nothing to do"


def _passes_gate(result: ProcessResult) -> bool:
    """Return whether a step is green: it passed, or nothing had failed by its limit, and it passes then."""
    verdict = result.reported
    return verdict == "passed" or (verdict in late_is_fine(result.step) and result.exit_code != 1)


def users_of(history: History, result: ProcessResult, page: str) -> list[ProcessResult]:
    """Return the steps that have a page of that name, in their order; none if the step has none."""
    name = page_name(result, page)
    return [user for user in main_results(history) if page_name(user, page) == name] if name else []


def _states(history: History, result: ProcessResult, page: str) -> list[str | None]:
    """Return the states of a step's commit status, or the conclusions of its check runs, in their order."""
    name = page_name(result, page)
    if page == "commit_status":
        return [status["state"] for status in history.statuses if status["context"] == name]
    return [check_run.conclusion for check_run in history.check_runs if check_run.name == name]


def could_set_status(history: History, main: ProcessResult) -> bool:
    """Return whether nothing kept the step's last process from setting the commit status."""
    post = post_result(history, main)
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
    shown = [sent for sent in main.requests if sent.answered and sent.status == HTTPStatus.OK]
    has_seen = main.step.event == "pull_request" or any(sent.path.startswith("/runs") for sent in shown)
    knows_commit = main.step.mode != "wait" or (bool(main.given_runs) and has_seen)
    files = any(has_file_fault(main, file) for file in ("state", "output"))
    return began and knows_commit and knows_events(history) and not (down or ended_early or files)


def _run_id_is_known(result: ProcessResult, outputs: dict[str, str]) -> Iterator[str]:
    """A killed step has written its run id if it had received the response to the launch, and not cancelled the run.

    The response to a base's launch may come when its legs are done already; the post step finds that run.
    """
    if result.step.file_fault:
        return
    cancelled = {request.path for request in result.requests if request.method == "DELETE"}
    for request in result.requests:
        received = request.launched_run and request.answered and (result.killed or 0.0) > request.ended_at
        is_late = has_base(result.step) and request.ended_at - request.sent_at > RESPONSE_TIME
        needless = is_late or f"/runs/{request.launched_run}" in cancelled
        if received and not needless and request.launched_run not in json.loads(outputs.get("run_ids") or "[]"):
            yield f"{step_name(result)} was killed without its run in the outputs: {request.launched_run}"


def _outputs_agree(result: ProcessResult, outputs: dict[str, str]) -> Iterator[str]:
    """The outputs agree with each other and with the exit code."""
    verdict, status = outputs["verdict"], outputs["status"]
    if verdict not in VERDICTS or (verdict == "" and status != "LAUNCHED" and result.step.mode != "cancel"):
        yield f"has the verdict {verdict!r} with the status {status!r}"
    decides = result.step.mode != "cancel" and verdict not in late_is_fine(result.step)
    if decides and result.exit_code != (0 if verdict in PASSING_VERDICTS else 1):
        yield f"exits with {result.exit_code} and the verdict {verdict!r}"
    if not outputs["reason"]:
        yield "gives no reason"


def _reports_exist(result: ProcessResult, outputs: dict[str, str]) -> Iterator[str]:
    """The summary, the JUnit, JSON and HTML reports and the digest exist and are whole."""
    inputs, file_fault = result.step.inputs, result.step.file_fault
    expected = inputs.get("summary") != "false" and not (file_fault and file_fault.file == "summary")
    if expected and not result.files["summary.md"].startswith(b"### "):
        yield "has no summary"
    for name, (begin, end) in WHOLE.items():
        path = inputs.get(name, "")
        if path and result.verdict and (outputs[name] or not file_fault):
            content = result.files.get(f"workspace/{path}", b"").strip()
            if not (content.startswith(begin) and content.endswith(end)):
                yield f"has no whole {path}: {content[:80]!r}"
