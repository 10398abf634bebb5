"""The action's post step: does what the main step could not do, because it was killed or a server did not respond.

It cancels the runs that the main step left unfinished, marks those that failed, and completes the commit's pages. It
never fails the job: whatever goes wrong is a warning. Where the main step finished its work, it does nothing.
"""

from __future__ import annotations

import traceback
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from coval_gate.ci.context import with_run_metadata, with_unknown_commit
from coval_gate.ci.detect import detect_host
from coval_gate.ci.host import BUG, NAME
from coval_gate.clock import Interrupted
from coval_gate.config.inputs import key_in, parse_inputs, token_in
from coval_gate.coval.client import connect
from coval_gate.errors import CovalError, GateError
from coval_gate.judge.judgement import UNFINISHED
from coval_gate.publish.pages import PagePublisher
from coval_gate.report.model import Report
from coval_gate.report.wording.judgements import cancellation_text
from coval_gate.report.wording.promotion import not_marked_text
from coval_gate.runs.guard import LEGS, RunGuard, read_state
from coval_gate.runs.leg import Leg
from coval_gate.runs.request import launch_request
from coval_gate.runs.retag import mark
from coval_gate.runs.schedule import run, together
from coval_gate.runs.tags import FAILED, Tags, provenance_of
from coval_gate.times import POST_CANCELLING, POST_LOCATING, Times

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.ci.context import Context
    from coval_gate.ci.host import Host
    from coval_gate.clock import Clock
    from coval_gate.config.inputs import Inputs
    from coval_gate.coval.client import Client
    from coval_gate.runs.guard import LegState
    from coval_gate.runtime import Runtime
    from coval_gate.waiting import Procedure


def post(runtime: Runtime) -> int:
    """Run the post step. Returns the exit code: always 0."""
    host = detect_host(runtime)
    saved = host.read_state(LEGS)
    inputs, _ = parse_inputs(runtime.environ)
    pages = PagePublisher(host, runtime)
    left = [state for state in read_state(saved) if state.needs_post_step]
    # Without any state, the main step never began, or the runner passes none to post steps, as is the case with act.
    is_open = bool(saved) and pages.is_open(inputs, host.context())
    if not (left or is_open):
        return 0
    for secret in (key_in(runtime.environ), token_in(runtime.environ)):
        host.mask(secret)
    context = replace(host.context(), matrix=inputs.matrix)
    context = with_unknown_commit(context) if inputs.mode == "wait" else context
    hurried = bool(left) and _attempt(host, partial(_cancel, runtime, host, inputs, context, left))
    if is_open:
        _attempt(host, partial(_close, runtime, host, inputs, context, pages, hurried=hurried))
    return 0


def _attempt(host: Host, work: Callable[[], None]) -> bool:
    """Do a part of the work, and turn any failure into a warning. Returns whether it was interrupted."""
    try:
        work()
    except Interrupted:
        host.log("The post step was interrupted.")
        return True
    except Exception:  # noqa: BLE001 - a post step that fails would fail the job
        host.fold(BUG, traceback.format_exc().splitlines())
        host.annotate("warning", NAME, "The post step could not finish; the log has details for a bug report.")
    return False


def _close(
    runtime: Runtime, host: Host, inputs: Inputs, context: Context, pages: PagePublisher, *, hurried: bool
) -> None:
    """Complete the commit's pages. `hurried`: the runner is about to kill the step."""
    clock = runtime.clock
    if not pages.are_saved:  # so find the commit here
        if inputs.mode == "wait":
            context = _with_commit_of_run(runtime, host, inputs, context)
        context = pages.locate(context, inputs, until=clock.now() + POST_LOCATING)
    now = clock.now()
    times = Times.of_interrupted(now) if hurried else Times.of_post_step(now)
    pages.close(Report(judgement=UNFINISHED, context=context, inputs=inputs), times)


def _with_commit_of_run(runtime: Runtime, host: Host, inputs: Inputs, context: Context) -> Context:
    """Return `context` with the commit that the run tests, if Coval tells it."""
    if inputs.api_key is None or not inputs.run_id:
        return context
    client = connect(inputs, runtime, host.quote)
    try:
        found = run(client.get_run(inputs.run_id[0], until=runtime.clock.now() + POST_LOCATING), runtime.clock)
    except CovalError:
        return context
    return with_run_metadata(context, provenance_of(found, context.repository))


def _cancel(runtime: Runtime, host: Host, inputs: Inputs, context: Context, states: list[LegState]) -> None:
    """Cancel the runs that the main step left unfinished, and mark those that failed."""
    if inputs.api_key is None:
        left = [state for state in states if state.cancel or state.launched_again]
        if left:
            runs = " and ".join(f"run {state.run_id}" if state.run_id else "a run" for state in left)
            text = f"The main step may have left {runs} unfinished; cancelling needs the API key."
            host.annotate("warning", NAME, text)
        if failed := [state.run_id for state in states if state.failed]:
            host.annotate("warning", NAME, not_marked_text(failed, "there is no API key.", ""))
        return
    clock = runtime.clock
    client = connect(inputs, runtime, host.quote)
    request = launch_request(inputs, context)
    until = clock.now() + POST_CANCELLING
    guards = []
    for state in states:
        leg = Leg(name=state.name, request=request, tags=Tags(state.key), launched_again=state.launched_again)
        leg.identify(state.run_id, at=clock.now())
        guards.append(RunGuard(leg, clock, lambda: None))
    ends = (_end(guard, client, clock, until, host.quote, state) for guard, state in zip(guards, states, strict=True))
    results = run(together(ends, clock), clock)
    for guard, state, result in zip(guards, states, results, strict=True):
        if guard.ended:
            which = f" ({guard.leg.run_id})" if guard.leg.run_id else ""
            host.log(f"The main step left a run behind: {cancellation_text(guard.ended)}{which}.")
        if isinstance(result, GateError):
            host.annotate("warning", NAME, _undone_text(guard, state, result))
        elif result:
            raise result


def _undone_text(guard: RunGuard, state: LegState, error: GateError) -> str:
    """Return what the post step could not do, and why."""
    if guard.owes_mark:
        return not_marked_text([state.run_id], error.what, error.advice)
    missed = state.cancel and not guard.ended
    undone = "The run could not be cancelled" if missed else "Could not check for a second run"
    return "\n".join(filter(None, (f"{undone}: {error.what}", error.advice)))


def _end(
    guard: RunGuard, client: Client, clock: Clock, until: float, log: Callable[[str], None], state: LegState
) -> Procedure[None]:
    """Do what the main step left: cancel the run, and any second run, and mark one that failed. Raises CovalError."""
    if state.cancel:
        guard.ended = yield from guard.cancel(client, until=until)
    yield from guard.end_other_launches(client, until=until, log=log)
    if state.failed:
        guard.owes_mark = True
        sent = (state.key,) if state.key else ()
        if (yield from mark(client, state.run_id, FAILED, sent=sent, clock=clock, until=until)):
            log(f"Marked run {state.run_id} as failed: it will not be a baseline.")
        guard.owes_mark = False
