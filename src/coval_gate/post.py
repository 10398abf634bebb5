"""The action's post step: ends a run that the main step left unfinished, because it was killed or could not.

It never fails the job: whatever goes wrong is a warning. Where the main step came to its end, it does nothing at all.
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Final

from coval_gate.ci.context import before_the_run_is_known, read_context
from coval_gate.ci.github.host import Runner
from coval_gate.clock import Interrupted, SystemClock
from coval_gate.config.inputs import key_in, parse_inputs, token_in
from coval_gate.errors import GateError
from coval_gate.judge.verdict import UNFINISHED
from coval_gate.publish.publisher import CONCLUDED
from coval_gate.publish.pull_request import BUG, NAME, Feedback
from coval_gate.report.model import Report
from coval_gate.runs.connection import connect
from coval_gate.runs.guard import HELD, KEY, RUN_ID, Hold
from coval_gate.runs.request import launch_request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from coval_gate.clock import Clock

PATIENCE: Final = 90.0  # s; the runner gives all post steps of a cancelled job five minutes


def post(environ: Mapping[str, str], *, stdout: TextIO = sys.stdout, clock: Clock | None = None) -> int:
    """Run the post step as `environ` says. Returns the process's exit code: always 0."""
    if environ.get(f"STATE_{HELD}") != "true":
        return 0
    runner = Runner(environ, stdout)
    try:
        _end(environ, runner, clock or SystemClock())
    except GateError as error:
        told = (f"The run could not be ended: {error.what}", error.advice)
        runner.warning(NAME, "\n".join(each for each in told if each))
    except Interrupted:
        runner.line("The post step was interrupted.")
    except Exception:  # noqa: BLE001 - a post step that fails would fail the job
        runner.fold(BUG, traceback.format_exc().splitlines())
        runner.warning(NAME, "The run could not be ended; the log has details for a bug report.")
    return 0


def _end(environ: Mapping[str, str], runner: Runner, clock: Clock) -> None:
    for secret in (key_in(environ), token_in(environ)):
        runner.mask(secret)
    inputs, _ = parse_inputs(environ)
    context = read_context(environ, runner.event())
    context = before_the_run_is_known(context) if inputs.mode == "wait" else context
    run_id = environ.get(f"STATE_{RUN_ID}", "")
    if inputs.api_key is None:
        runner.warning(NAME, f"The main step left run {run_id} behind, and without an API key nobody can end it.")
        return
    body = launch_request(inputs, context).body()
    hold = Hold(runner, clock, key=environ.get(f"STATE_{KEY}", ""), body=body, run_id=run_id)
    try:
        fate = hold.end(connect(inputs, runner, clock), until=clock.now() + PATIENCE)
        runner.line(f"The main step left a run behind: {fate}{f' ({hold.run_id})' if hold.run_id else ''}.")
    finally:
        if environ.get(f"STATE_{CONCLUDED}") != "true":
            Feedback(runner, environ, clock).close(Report(judgement=UNFINISHED, context=context, inputs=inputs))
