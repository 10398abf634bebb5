"""The road, from the environment to the exit code."""

from __future__ import annotations

import secrets
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from coval_gate import __version__
from coval_gate.ci.context import Context, before_the_run_is_known, context_of_run, read_context
from coval_gate.ci.github.host import Runner
from coval_gate.clock import Interrupted, SystemClock
from coval_gate.config.checks import check_inputs, warnings_about, why_no_key
from coval_gate.config.inputs import key_in, parse_inputs, token_in
from coval_gate.errors import GateError, InternalError, RunnerError
from coval_gate.judge.verdict import (
    INTERRUPTED,
    UNFINISHED,
    ended,
    errored,
    interrupted,
    launched,
    not_completed,
    skipped,
    timed_out,
)
from coval_gate.model.outcomes import Limit
from coval_gate.model.results import Background
from coval_gate.model.statuses import COMPLETED
from coval_gate.publish.publisher import Publisher
from coval_gate.publish.pull_request import BUG, NAME
from coval_gate.report.model import Report
from coval_gate.runs.cancel import end_runs
from coval_gate.runs.cleanup import Settlement
from coval_gate.runs.connection import connect
from coval_gate.runs.guard import NONE, Hold
from coval_gate.runs.request import launch_request
from coval_gate.runs.tags import identify

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from coval_gate.clock import Clock
    from coval_gate.config.inputs import Inputs
    from coval_gate.coval.client import Client
    from coval_gate.judge.verdict import Judgement
    from coval_gate.model.results import RunResult
    from coval_gate.model.run import Run


def main(environ: Mapping[str, str], *, stdout: TextIO = sys.stdout, clock: Clock | None = None) -> int:
    """Run the action as `environ` says, and return the process's exit code."""
    step = Step(environ, stdout, clock or SystemClock())
    hurry = False
    try:
        judgement = step.settle(step.reach_judgement(), hurry=False)
    except Interrupted:
        hurry = True
        judgement = step.settle(INTERRUPTED, hurry=True)
    return step.conclude(judgement, hurry=hurry)


class Step:
    """One step on its way: what is known so far, written down the moment it is known."""

    def __init__(self, environ: Mapping[str, str], stdout: TextIO, clock: Clock) -> None:
        self._environ = environ
        self._clock = clock
        self._runner = Runner(environ, stdout)
        self._publisher = Publisher(self._runner, environ, clock)
        self._began = clock.now()
        self._began_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock.time()))
        self._context = Context()
        self._inputs: Inputs | None = None
        self._client: Client | None = None
        self._hold: Hold | None = None
        self._run_id = ""
        self._run: Run | None = None
        self._result: RunResult | None = None
        self._background = Background()

    def reach_judgement(self) -> Judgement:
        """Take the road; an error is a judgement, too. Raises Interrupted."""
        try:
            return self._travel()
        except GateError as error:
            return errored(error)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the outputs must say so
            self._runner.fold(BUG, traceback.format_exc().splitlines())
            return errored(InternalError(error))

    def _travel(self) -> Judgement:
        """From the environment to a judgement. Raises GateError."""
        for secret in (key_in(self._environ), token_in(self._environ)):
            self._runner.mask(secret)
        self._runner.line(f"Coval Gate {__version__}")
        self._context = read_context(self._environ, self._runner.event())
        inputs, problems = parse_inputs(self._environ)
        self._inputs = inputs
        problems += self._publisher.prepare(inputs)
        if inputs.mode == "wait":
            self._context = before_the_run_is_known(self._context)
        # Should the step be killed, this is what the workflow sees; and what cannot be written shows before it costs.
        self._publisher.write_outputs(self._report(UNFINISHED))
        check_inputs(inputs, problems, self._environ, self._context.secrets_withheld_from)
        for warning in warnings_about(inputs, self._environ):
            self._warn(warning)
        if inputs.api_key is None:
            return skipped(why_no_key(self._context.secrets_withheld_from))
        self._context = self._publisher.feedback.locate(self._context, inputs)
        client = self._client = connect(inputs, self._runner, self._clock)
        deadline = self._began + inputs.max_wait_time
        if inputs.mode == "cancel":
            self._record(inputs.run_id[0])
            return ended(end_runs(client, inputs.run_id, clock=self._clock, tell=self._runner.quote))
        if inputs.mode == "wait":
            self._take_over(inputs)
            return self._wait(client, inputs, deadline)
        self._launch(client, inputs, deadline)
        self._publisher.feedback.announce(self._report(launched()), until=deadline)
        return launched() if inputs.mode == "launch" else self._wait(client, inputs, deadline)

    def _take_over(self, inputs: Inputs) -> None:
        (run_id,) = inputs.run_id
        self._hold = Hold(self._runner, self._clock, run_id=run_id)
        self._hold.save(end=inputs.cancel_on_interrupt)
        self._record(run_id)
        self._runner.line(f"Taking over run {run_id}: {self._run_url}")

    def _launch(self, client: Client, inputs: Inputs, deadline: float) -> None:
        """Launch the run, exactly once, and hold it from just before on."""
        from coval_gate.runs.launch import Launcher

        request = launch_request(inputs, self._context)
        own = (inputs.display_name, inputs.tags, inputs.metadata)
        identity = identify(self._context, request.body(), secrets.token_hex(4), own)
        body = request.body(identity.tags)
        launcher = Launcher(
            client=client,
            body=body,
            identity=identity,
            clock=self._clock,
            until=deadline,
            log=self._runner.quote,
            warn=self._warn,
        )
        self._hold = Hold(self._runner, self._clock, key=identity.key, body=body)
        how = launcher.launch_into(
            self._hold, resume=inputs.resume, supersede=inputs.supersede, end=inputs.cancel_on_interrupt
        )
        self._record(self._hold.run_id)
        self._runner.line(f"{how} {self._run_id}: {self._run_url}")

    def _wait(self, client: Client, inputs: Inputs, deadline: float) -> Judgement:
        # All that follows takes longer to import than the rest of the start, and nothing is lost by now.
        from coval_gate.judge.criteria import Criteria
        from coval_gate.judge.gate import judge
        from coval_gate.runs.collect import collect
        from coval_gate.runs.watch import Budgets, Journal, waiting_title, watch

        criteria = Criteria.from_inputs(inputs)
        journal = Journal(self._clock, self._runner.line, self._warn)
        budgets = Budgets(
            deadline=deadline,
            max_wait_time=inputs.max_wait_time,
            max_queue_time=inputs.max_queue_time,
            stall_timeout=inputs.stall_timeout,
        )
        whole = Limit("max_wait_time", inputs.max_wait_time)
        with self._runner.group(waiting_title(inputs.max_wait_time)):
            run, limit = watch(
                client,
                self._run_id,
                clock=self._clock,
                budgets=budgets,
                check_interval=inputs.check_interval,
                journal=journal,
                look=self._see,
            )
            if limit:
                return timed_out(run, limit)
            if run.status != COMPLETED:
                return not_completed(run)
            result, self._run, lacking = collect(
                client,
                run,
                criteria,
                clock=self._clock,
                deadline=deadline,
                grace=inputs.metrics_grace_time,
                log=self._runner.quote,
            )
        if self._run.status != COMPLETED:
            return not_completed(self._run) if self._run.is_over else timed_out(self._run, whole)
        self._result = result
        judgement = judge(result, criteria)
        if lacking and judgement.verdict == "error" and self._clock.now() >= deadline:
            late = timed_out(run, whole)
            judgement = replace(late, reasons=(*late.reasons, *judgement.reasons), checks=judgement.checks)
        self._publisher.write_outputs(self._report(judgement))
        self._explain(client, judgement)
        return judgement

    def _see(self, run: Run) -> None:
        """Take down what a look at the run showed."""
        self._run = run
        if self._inputs and self._inputs.mode == "wait":
            self._context = context_of_run(self._context, run.metadata)

    def _explain(self, client: Client, judgement: Judgement) -> None:
        """Log every check, find out more about the simulations, and log those that did not do well."""
        from coval_gate.report.formats.log import case_lines, check_lines
        from coval_gate.runs.collect import EXPLAIN_TIME, background

        with self._runner.quotation():
            for line in check_lines(judgement):
                self._runner.line(line)
        if self._result and self._run:
            test_set_id = self._run.test_set_id or (self._inputs.test_set_id if self._inputs else "")
            until = self._clock.now() + EXPLAIN_TIME
            offenders = judgement.offenders
            self._background = background(client, self._result, offenders, test_set_id=test_set_id, until=until)
            if offenders:
                lines = case_lines(self._report(judgement))
                self._runner.fold(f"Simulations to look at: {len(offenders)}", lines)

    def settle(self, judgement: Judgement, *, hurry: bool) -> Judgement:
        """Leave no run behind that nobody waits for. `hurry`: the step was interrupted."""
        hold, inputs, client = self._hold, self._inputs, self._client
        if self._run and self._run.is_over:
            if hold:
                hold.release()
            return judgement
        if hold is None or inputs is None or client is None or hold.is_over:
            ending_others = inputs is not None and inputs.mode == "cancel"
            return interrupted(NONE) if hurry and not ending_others else judgement
        if hurry:  # the step may be killed while it ends the run
            with suppress(RunnerError):
                self._publisher.write_outputs(self._report(judgement))
        settlement = Settlement(
            hold=hold,
            inputs=inputs,
            clock=self._clock,
            hurry=hurry,
            late=self._clock.now() >= self._began + inputs.max_wait_time,
            new_client=partial(connect, inputs, self._runner, self._clock, hurry=hurry),
            launching=client,
        )
        judgement = settlement.settle(judgement)
        self._run_id = self._run_id or hold.run_id
        return judgement

    def conclude(self, judgement: Judgement, *, hurry: bool) -> int:
        """Write the judgement down wherever it belongs, and return the exit code. `hurry`: the runner is to kill us."""
        redact = self._runner.redact
        judgement = replace(
            judgement, reasons=tuple(redact(reason) for reason in judgement.reasons), advice=redact(judgement.advice)
        )
        return self._publisher.publish(self._report(judgement), hurry=hurry).exit_code

    def _warn(self, message: str) -> None:
        self._runner.warning(NAME, message)

    def _record(self, run_id: str) -> None:
        self._run_id = run_id
        self._runner.set_outputs({"run_id": run_id, "run_url": self._run_url})
        self._runner.save_state({"run_id": run_id})

    @property
    def _run_url(self) -> str:
        return f"{self._inputs.dashboard_url}/runs/{self._run_id}" if self._inputs and self._run_id else ""

    def _report(self, judgement: Judgement) -> Report:
        return Report(
            judgement=judgement,
            context=self._context,
            run_id=self._run_id,
            run_url=self._run_url,
            run=self._run,
            result=self._result,
            background=self._background,
            inputs=self._inputs,
            began=self._began_at,
            seconds=self._clock.now() - self._began,
        )
