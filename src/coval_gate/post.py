"""The action's post step: cancels runs that the main step left unfinished, because it was killed or could not.

It never fails the job: whatever goes wrong is a warning. Where the main step finished its work, it does nothing.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Final

from coval_gate.ci.context import with_unknown_commit
from coval_gate.ci.detect import detect_host
from coval_gate.clock import Interrupted
from coval_gate.config.inputs import key_in, parse_inputs, token_in
from coval_gate.coval.client import connect
from coval_gate.errors import GateError
from coval_gate.judge.judgement import UNFINISHED
from coval_gate.publish.publisher import CONCLUDED
from coval_gate.publish.pull_request import BUG, NAME, PullRequestPublisher
from coval_gate.report.model import Report
from coval_gate.report.wording.judgements import cancellation_text
from coval_gate.runs.guard import LEGS, RunGuard, read_state
from coval_gate.runs.leg import Leg
from coval_gate.runs.request import launch_request
from coval_gate.runs.schedule import run, together
from coval_gate.runs.tags import Tags

if TYPE_CHECKING:
    from coval_gate.ci.context import Context
    from coval_gate.ci.host import Host
    from coval_gate.config.inputs import Inputs
    from coval_gate.coval.client import Client
    from coval_gate.model.outcomes import Cancellation
    from coval_gate.runs.guard import LegState
    from coval_gate.runtime import Runtime
    from coval_gate.waiting import Procedure

PATIENCE: Final = 90.0  # s; the runner gives all post steps of a cancelled job five minutes


def post(runtime: Runtime) -> int:
    """Run the post step. Returns the exit code: always 0."""
    host = detect_host(runtime)
    states = [state for state in read_state(host.read_state(LEGS)) if state.needs_post_step]
    if not states:
        return 0
    try:
        _clean_up(runtime, host, states)
    except Interrupted:
        host.log("The post step was interrupted.")
    except Exception:  # noqa: BLE001 - a post step that fails would fail the job
        host.fold(BUG, traceback.format_exc().splitlines())
        host.annotate("warning", NAME, "The run could not be cancelled; the log has details for a bug report.")
    return 0


def _clean_up(runtime: Runtime, host: Host, states: list[LegState]) -> None:
    for secret in (key_in(runtime.environ), token_in(runtime.environ)):
        host.mask(secret)
    inputs, _ = parse_inputs(runtime.environ)
    context = host.context()
    context = with_unknown_commit(context) if inputs.mode == "wait" else context
    if inputs.api_key is None:
        runs = " and ".join(f"run {state.run_id}" if state.run_id else "a run" for state in states)
        host.annotate("warning", NAME, f"The main step may have left {runs} unfinished; cancelling needs the API key.")
        return
    try:
        _cancel(runtime, host, inputs, context, states)
    finally:
        if host.read_state(CONCLUDED) != "true":
            report = Report(judgement=UNFINISHED, context=context, inputs=inputs)
            PullRequestPublisher(host, runtime).close(report)


def _cancel(runtime: Runtime, host: Host, inputs: Inputs, context: Context, states: list[LegState]) -> None:
    clock = runtime.clock
    client = connect(inputs, runtime, host.quote)
    request = launch_request(inputs, context)
    until = clock.now() + PATIENCE
    guards = []
    for state in states:
        leg = Leg(name=state.name, request=request, tags=Tags(state.key), launched_again=state.launched_again)
        leg.identify(state.run_id, at=clock.now())
        guards.append(RunGuard(leg, clock, lambda: None))
    ends = (_end(guard, client, until, cancel=state.cancel) for guard, state in zip(guards, states, strict=True))
    results = run(together(ends, clock), clock)
    for guard, result in zip(guards, results, strict=True):
        if isinstance(result, GateError):
            told = (f"The run could not be cancelled: {result.what}", result.advice)
            host.annotate("warning", NAME, "\n".join(each for each in told if each))
        elif isinstance(result, Exception):
            raise result
        elif result:
            which = f" ({guard.leg.run_id})" if guard.leg.run_id else ""
            host.log(f"The main step left a run behind: {cancellation_text(result)}{which}.")


def _end(guard: RunGuard, client: Client, until: float, *, cancel: bool) -> Procedure[Cancellation | None]:
    """Cancel the run if the main step left that to the post step, and any second run. Raises CovalError."""
    cancellation = (yield from guard.cancel(client, until=until)) if cancel else None
    yield from guard.end_other_launches(client, until=until)
    return cancellation
