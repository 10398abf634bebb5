"""The road, from the environment to the exit code."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from coval_gate import __version__
from coval_gate.clock import SystemClock
from coval_gate.context import read_context
from coval_gate.coval.client import Client
from coval_gate.coval.statuses import COMPLETED
from coval_gate.errors import GateError, InternalError, RunnerError
from coval_gate.github.runner import Runner
from coval_gate.inputs import api_root, key_in, read_inputs, warnings_about, why_no_key
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
from coval_gate.report.log import annotation, closing_line
from coval_gate.report.model import Report
from coval_gate.report.outputs import outputs
from coval_gate.report.summary import summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TextIO

    from coval_gate.clock import Clock
    from coval_gate.coval.models import Run
    from coval_gate.inputs import Inputs
    from coval_gate.judge.verdict import Judgement
    from coval_gate.result import RunResult


def main(environ: Mapping[str, str], *, stdout: TextIO = sys.stdout, clock: Clock | None = None) -> int:
    """Run the action as `environ` says, and return the process's exit code."""
    step = Step(environ, stdout, clock or SystemClock())
    try:
        judgement = step.travel()
    except GateError as error:
        judgement = errored(error)
    except KeyboardInterrupt:
        judgement = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the outputs must say so
        step.show(traceback.format_exc().splitlines())
        judgement = errored(InternalError(error))
    return step.conclude(judgement)


class Step:
    """One step on its way: what is known so far, written down the moment it is known."""

    def __init__(self, environ: Mapping[str, str], stdout: TextIO, clock: Clock) -> None:
        self._environ = environ
        self._clock = clock
        self._runner = Runner(environ, stdout)
        self._began = clock.now()
        self._inputs: Inputs | None = None
        self._run_id = ""
        self._run: Run | None = None
        self._result: RunResult | None = None

    def travel(self) -> Judgement:
        """From the environment to a judgement. Raises GateError."""
        if key := key_in(self._environ):
            self._runner.mask(key)
        self._runner.line(f"Coval Gate {__version__}")
        # Should the step be killed, this is what the workflow sees; and what cannot be written shows before it costs.
        self._write(UNFINISHED)
        context = read_context(self._environ, self._runner.event())
        inputs = self._inputs = read_inputs(self._environ, context)
        for warning in warnings_about(inputs, self._environ):
            self._warn(warning)
        if inputs.api_key is None:
            return skipped(why_no_key(context))
        client = Client(
            api_root(inputs),
            inputs.api_key,
            clock=self._clock,
            log=self._runner.line,
            workspace_id=inputs.workspace_id,
        )
        deadline = self._began + inputs.max_wait_time
        if inputs.mode == "wait":
            self._record(inputs.run_id)
            self._runner.line(f"Taking over run {self._run_id}: {self._run_url}")
        else:
            run = client.launch_run(launch_request(inputs, context).body(), until=deadline)
            self._record(run.run_id)
            self._runner.line(f"Launched run {run.run_id}: {self._run_url}")
        return launched() if inputs.mode == "launch" else self._wait(client, inputs, deadline)

    def _wait(self, client: Client, inputs: Inputs, deadline: float) -> Judgement:
        # All that follows takes longer to import than the rest of the start, and nothing is lost by now.
        from coval_gate.collect import Needs, collect
        from coval_gate.judge.gate import Criteria, Forbidden, judge
        from coval_gate.watch import Journal, waiting_title, watch

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
        journal = Journal(self._clock, self._runner.line, self._warn)
        with self._runner.group(waiting_title(inputs.max_wait_time)):
            run = self._run = watch(
                client,
                self._run_id,
                clock=self._clock,
                deadline=deadline,
                check_interval=inputs.check_interval,
                launched=launched_here,
                journal=journal,
            )
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
                log=self._runner.line,
            )
        if self._run.status != COMPLETED:
            return not_completed(self._run) if self._run.is_over else timed_out(self._run, inputs.max_wait_time)
        self._result = result
        judgement = judge(result, criteria)
        if lacking and judgement.verdict == "error" and self._clock.now() >= deadline:
            late = timed_out(run, inputs.max_wait_time)
            judgement = replace(late, reasons=(*late.reasons, *judgement.reasons), checks=judgement.checks)
        self._write(judgement)
        self._tell(client, result, judgement)
        return judgement

    def _tell(self, client: Client, result: RunResult, judgement: Judgement) -> None:
        """Log every check, and what is known of the simulations that did not do well."""
        from coval_gate.collect import EXPLAIN_TIME, explain
        from coval_gate.report.log import check_lines, offender_lines

        for line in check_lines(judgement):
            self._runner.line(line)
        if judgement.offenders:
            until = self._clock.now() + EXPLAIN_TIME
            explanations = explain(client, result, judgement.offenders, until=until)
            self.show(
                offender_lines(judgement, explanations), title=f"Simulations to look at: {len(judgement.offenders)}"
            )

    def conclude(self, judgement: Judgement) -> int:
        """Write the judgement down wherever it belongs, and return the exit code."""
        redact = self._runner.redact
        judgement = replace(
            judgement, reasons=tuple(redact(reason) for reason in judgement.reasons), advice=redact(judgement.advice)
        )
        try:
            self._write(judgement)
        except RunnerError as error:
            # A verdict that cannot be handed on is no verdict; one error is enough, and the first says more.
            judgement = errored(error) if judgement.lets_pass else judgement
            with suppress(RunnerError):
                self._write(judgement)
        report = self._report(judgement)
        try:
            self._runner.add_summary(summary(report))
        except RunnerError as error:
            self._warn(error.what)
        if not judgement.lets_pass:
            self._runner.error(*annotation(report))
        elif judgement.verdict == "skipped":
            self._runner.notice(*annotation(report))
        else:
            self._runner.line(closing_line(report))
        if not self._runner.has_output_file:
            self.show((f"{name}={value}" for name, value in outputs(report).items()), title="Outputs")
        return report.exit_code

    def _write(self, judgement: Judgement) -> None:
        self._runner.set_outputs(outputs(self._report(judgement)))
        self._runner.save_state({"verdict": judgement.verdict or "none"})

    def show(self, lines: Iterable[str], title: str = "Details for a bug report") -> None:
        """Fold several lines away in the log."""
        with self._runner.group(title):
            for line in lines:
                self._runner.line(line)

    def _warn(self, message: str) -> None:
        self._runner.warning("Coval Gate", message)

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
            run_id=self._run_id,
            run_url=self._run_url,
            run=self._run,
            result=self._result,
            inputs=self._inputs,
            seconds=self._clock.now() - self._began,
        )
