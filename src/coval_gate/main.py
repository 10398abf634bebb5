"""The road, from the environment to the exit code."""

from __future__ import annotations

import sys
import time
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING

from coval_gate import __version__
from coval_gate.clock import SystemClock
from coval_gate.context import Context, context_of_run, read_context
from coval_gate.coval.client import Client
from coval_gate.coval.statuses import COMPLETED
from coval_gate.errors import GateError, InternalError
from coval_gate.feedback import BUG, NAME
from coval_gate.github.runner import Runner
from coval_gate.inputs import api_root, check_inputs, key_in, parse_inputs, token_in, warnings_about, why_no_key
from coval_gate.judge.verdict import (
    INTERRUPTED,
    UNFINISHED,
    errored,
    launched,
    not_completed,
    skipped,
    timed_out,
)
from coval_gate.launch import launch_request
from coval_gate.publish import Publisher
from coval_gate.report.model import Report
from coval_gate.result import Background

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from coval_gate.clock import Clock
    from coval_gate.collect import Needs
    from coval_gate.coval.models import Run
    from coval_gate.inputs import Inputs
    from coval_gate.judge.gate import Criteria
    from coval_gate.judge.verdict import Judgement
    from coval_gate.result import RunResult


def main(environ: Mapping[str, str], *, stdout: TextIO = sys.stdout, clock: Clock | None = None) -> int:
    """Run the action as `environ` says, and return the process's exit code."""
    step = Step(environ, stdout, clock or SystemClock())
    hurry = False
    try:
        judgement = step.travel()
    except GateError as error:
        judgement = errored(error)
    except KeyboardInterrupt:
        judgement, hurry = INTERRUPTED, True
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the outputs must say so
        step.runner.fold(BUG, traceback.format_exc().splitlines())
        judgement = errored(InternalError(error))
    return step.conclude(judgement, hurry=hurry)


class Step:
    """One step on its way: what is known so far, written down the moment it is known."""

    def __init__(self, environ: Mapping[str, str], stdout: TextIO, clock: Clock) -> None:
        self._environ = environ
        self._clock = clock
        self.runner = Runner(environ, stdout)
        self._publisher = Publisher(self.runner, environ, clock)
        self._began = clock.now()
        self._began_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock.time()))
        self._context = Context()
        self._inputs: Inputs | None = None
        self._run_id = ""
        self._run: Run | None = None
        self._result: RunResult | None = None
        self._background = Background()

    def travel(self) -> Judgement:
        """From the environment to a judgement. Raises GateError."""
        for secret in (key_in(self._environ), token_in(self._environ)):
            self.runner.mask(secret)
        self.runner.line(f"Coval Gate {__version__}")
        # Should the step be killed, this is what the workflow sees; and what cannot be written shows before it costs.
        self._publisher.write_outputs(self._report(UNFINISHED))
        self._context = read_context(self._environ, self.runner.event())
        inputs, problems = parse_inputs(self._environ)
        self._inputs = inputs
        problems += self._publisher.prepare(inputs)
        check_inputs(inputs, problems, self._environ, self._context)
        for warning in warnings_about(inputs, self._environ):
            self._warn(warning)
        if inputs.api_key is None:
            return skipped(why_no_key(self._context))
        self._context = self._publisher.feedback.locate(self._context, inputs)
        client = Client(
            api_root(inputs),
            inputs.api_key,
            clock=self._clock,
            log=self.runner.quote,
            workspace_id=inputs.workspace_id,
        )
        deadline = self._began + inputs.max_wait_time
        if inputs.mode == "wait":
            self._record(inputs.run_id)
            self.runner.line(f"Taking over run {self._run_id}: {self._run_url}")
            return self._wait(client, inputs, deadline)
        run = client.launch_run(launch_request(inputs, self._context).body(), until=deadline)
        self._record(run.run_id)
        self.runner.line(f"Launched run {run.run_id}: {self._run_url}")
        self._publisher.feedback.announce(self._report(launched()), until=deadline)
        return launched() if inputs.mode == "launch" else self._wait(client, inputs, deadline)

    def _wait(self, client: Client, inputs: Inputs, deadline: float) -> Judgement:
        # All that follows takes longer to import than the rest of the start, and nothing is lost by now.
        from coval_gate.collect import collect
        from coval_gate.judge.gate import judge
        from coval_gate.watch import Journal, waiting_title, watch

        launched_here = inputs.mode == "run"
        criteria, needs = _asked(inputs)
        journal = Journal(self._clock, self.runner.line, self._warn)
        with self.runner.group(waiting_title(inputs.max_wait_time)):
            run = self._run = watch(
                client,
                self._run_id,
                clock=self._clock,
                deadline=deadline,
                check_interval=inputs.check_interval,
                launched=launched_here,
                journal=journal,
            )
            if not launched_here:
                self._context = context_of_run(self._context, run.metadata)
            if not run.is_over:
                return timed_out(run, inputs.max_wait_time)
            if run.status != COMPLETED:
                return not_completed(run)
            result, self._run, lacking = collect(
                client,
                run,
                needs,
                clock=self._clock,
                deadline=deadline,
                grace=inputs.metrics_grace_time,
                log=self.runner.quote,
            )
        if self._run.status != COMPLETED:
            return not_completed(self._run) if self._run.is_over else timed_out(self._run, inputs.max_wait_time)
        self._result = result
        judgement = judge(result, criteria)
        if lacking and judgement.verdict == "error" and self._clock.now() >= deadline:
            late = timed_out(run, inputs.max_wait_time)
            judgement = replace(late, reasons=(*late.reasons, *judgement.reasons), checks=judgement.checks)
        self._publisher.write_outputs(self._report(judgement))
        self._explain(client, judgement)
        return judgement

    def _explain(self, client: Client, judgement: Judgement) -> None:
        """Log every check, find out more about the simulations, and log those that did not do well."""
        from coval_gate.collect import EXPLAIN_TIME, background
        from coval_gate.report.log import case_lines, check_lines

        with self.runner.quotation():
            for line in check_lines(judgement):
                self.runner.line(line)
        if self._result and self._run:
            test_set_id = self._run.test_set_id or (self._inputs.test_set_id if self._inputs else "")
            until = self._clock.now() + EXPLAIN_TIME
            offenders = judgement.offenders
            self._background = background(client, self._result, offenders, test_set_id=test_set_id, until=until)
            if offenders:
                lines = case_lines(self._report(judgement))
                self.runner.fold(f"Simulations to look at: {len(offenders)}", lines)

    def conclude(self, judgement: Judgement, *, hurry: bool) -> int:
        """Write the judgement down wherever it belongs, and return the exit code. `hurry`: the runner is to kill us."""
        redact = self.runner.redact
        judgement = replace(
            judgement, reasons=tuple(redact(reason) for reason in judgement.reasons), advice=redact(judgement.advice)
        )
        return self._publisher.publish(self._report(judgement), hurry=hurry).exit_code

    def _warn(self, message: str) -> None:
        self.runner.warning(NAME, message)

    def _record(self, run_id: str) -> None:
        self._run_id = run_id
        self.runner.set_outputs({"run_id": run_id, "run_url": self._run_url})
        self.runner.save_state({"run_id": run_id})

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


def _asked(inputs: Inputs) -> tuple[Criteria, Needs]:
    """What the run has to meet, and what has to be known of it for that.

    What a run that was launched elsewhere is made of, the inputs do not say.
    """
    from coval_gate.collect import Needs
    from coval_gate.judge.gate import Criteria, Forbidden

    launched_here = inputs.mode == "run"
    mutations = len(inputs.mutation_ids) + bool(inputs.mutation_id) if launched_here else 0
    criteria = Criteria(
        max_failed=inputs.max_failed_simulations,
        min_simulations=inputs.min_simulations,
        thresholds=inputs.thresholds,
        use_metric_targets=inputs.use_metric_targets,
        forbidden=Forbidden(metric=inputs.fail_on_metric_id, value=inputs.fail_on_metric_value)
        if inputs.fail_on_metric_id
        else None,
        metric_ids=inputs.metric_ids if launched_here else (),
        mutations=mutations,
    )
    needs = Needs(
        references=criteria.references,
        targets=criteria.needs_targets,
        simulations=max(1, launched_here * len(inputs.test_case_ids) * inputs.iteration_count * (1 + mutations)),
    )
    return criteria, needs
