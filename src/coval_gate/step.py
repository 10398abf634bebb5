"""One step: the record of what is known so far, and what the modes are made of.

What is known is written down the moment that it is known: a step may be killed at any time.
"""

from __future__ import annotations

import json
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from coval_gate import __version__
from coval_gate.ci.context import Context, with_run_metadata, with_unknown_commit
from coval_gate.ci.detect import detect_host
from coval_gate.config.checks import check_inputs, warnings_about
from coval_gate.config.inputs import key_in, parse_inputs, token_in
from coval_gate.coval.client import connect
from coval_gate.errors import CovalError, NotFound, RunnerError, Unavailable
from coval_gate.judge.judgement import LAUNCH, UNFINISHED, redacted, with_end_of_repetition
from coval_gate.judge.verdict import Verdict
from coval_gate.model.outcomes import Cancellation
from coval_gate.publish.publisher import Publisher
from coval_gate.publish.pull_request import BUG, NAME
from coval_gate.report.model import LegReport, Report, RunReport
from coval_gate.runs.guard import LEGS, RunGuard, write_state
from coval_gate.runs.leg import Leg
from coval_gate.runs.schedule import all_or_first_error, run, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.config.inputs import Inputs
    from coval_gate.coval.client import Client
    from coval_gate.judge.judgement import Judgement
    from coval_gate.judge.repetition import Together
    from coval_gate.model.baseline import Baseline
    from coval_gate.model.outcomes import Outcome
    from coval_gate.model.run import Run
    from coval_gate.runs.launch import Launcher
    from coval_gate.runtime import Runtime
    from coval_gate.waiting import Procedure

T = TypeVar("T")


class Step:
    """A step, from the environment to a report. It has legs; today always one."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.clock = runtime.clock
        self.host = detect_host(runtime)
        self.publisher = Publisher(self.host, runtime)
        self.began = self.clock.now()
        self.began_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.clock.time()))
        self.context = Context()
        self.inputs, _ = parse_inputs({})
        self.guards: list[RunGuard] = []
        self.launcher: Launcher | None = None
        self.unguarded: list[Leg] = []  # runs that mode cancel names

    @property
    def legs(self) -> list[Leg]:
        """The step's first run, and its repetitions; in mode cancel, the runs to cancel."""
        return [*(guard.leg for guard in self.guards), *self.unguarded]

    @property
    def deadline(self) -> float:
        """When the step has to be done, on the clock."""
        return self.began + self.inputs.max_wait_time

    def read_inputs(self) -> Inputs:
        """Read where the step runs and what it has to do. Raises InputError, RunnerError."""
        environ = self.runtime.environ
        for secret in (key_in(environ), token_in(environ)):
            self.host.mask(secret)
        self.host.log(f"Coval Gate {__version__}")
        self.context = self.host.context()
        self.inputs, problems = parse_inputs(environ)
        self.context = replace(self.context, matrix=self.inputs.matrix)
        problems += self.publisher.prepare(self.inputs)
        if self.inputs.mode == "wait":
            self.context = with_unknown_commit(self.context)
        # If the step is killed, the workflow sees this; and files that cannot be written show before the launch.
        self.publisher.write_outputs(self.report(UNFINISHED))
        self._save_state()
        if self.inputs.promote:
            from coval_gate.runs.promote import promotion_problems

            problems += promotion_problems(self.inputs, self.context)
        check_inputs(self.inputs, problems, environ, self.context.secrets_withheld_from)
        for warning in warnings_about(self.inputs, environ):
            self.warn(warning)
        return self.inputs

    def connect(self, *, hurried: bool = False) -> Client:
        """Make a client of Coval's API."""
        return connect(self.inputs, self.runtime, self.host.quote, hurried=hurried)

    def locate(self) -> None:
        """Find out which commit is tested, where the event does not say and it is needed."""
        self.context = self.publisher.pull_request.locate(self.context, self.inputs)

    def foresee(self) -> None:
        """Warn of thresholds that the run is too small to decide with the confidence."""
        inputs = self.inputs
        cases = len(inputs.test_case_ids) or inputs.sub_sample_size or 0
        if inputs.confidence is None or not cases:  # how many a test set has is known only after the launch
            return
        from coval_gate.judge.criteria import Criteria
        from coval_gate.judge.foresight import undecidable
        from coval_gate.report.wording.claims import undecidable_text

        for found in undecidable(Criteria.from_inputs(inputs), cases):
            self.warn(undecidable_text(found, cases))

    def launch(self, client: Client, *, repetition: int = 0) -> RunGuard:
        """Launch the leg, exactly once, and guard it from just before. Raises CovalError, RunnerError.

        `repetition`: which repetition of the step's first run it is, so that a later attempt resumes the right one.
        """
        from coval_gate.runs.launch import Launcher
        from coval_gate.runs.prepare import prepare
        from coval_gate.runs.request import launch_request
        from coval_gate.runs.tags import tags_for

        inputs = self.inputs
        # Repetitions follow failed runs only, so that as a part of the branch they would bias its baseline.
        context = replace(self.context, branch="") if repetition else self.context
        request = launch_request(inputs, context)
        own = (inputs.display_name, inputs.tags, inputs.metadata, *([repetition] if repetition else []))
        nonce = f"{self.runtime.randomness.getrandbits(32):08x}"
        tags = tags_for(context, request.body(), nonce, own)
        leg = Leg(request=request, tags=tags, repetition=repetition)
        launcher = Launcher(
            client=client,
            leg=leg,
            tags=tags,
            clock=self.clock,
            until=self.deadline,
            check=partial(prepare, client, leg, inputs, clock=self.clock, until=self.deadline, log=self.host.quote),
            record=self.record_id,
            log=self.host.quote,
            warn=self.warn,
        )
        self.launcher = launcher
        guard = self._guard(leg)
        supersede = inputs.supersede and not repetition  # the first run has superseded all older ones
        how = launcher.launch_guarded(
            guard, resume=inputs.resume, supersede=supersede, cancel=inputs.cancel_on_interrupt
        )
        resumed = run(how, self.clock)
        how_it_began = "Taking over the run of an earlier attempt," if resumed else "Launched run"
        self.host.log(f"{how_it_began} {leg.run_id}: {self.run_url(leg.run_id)}")
        return guard

    def take_over(self, run_id: str) -> RunGuard:
        """Guard a run that was launched elsewhere. Raises RunnerError."""
        leg = Leg()
        leg.identify(run_id, at=self.clock.now())
        guard = self._guard(leg)
        guard.arm(cancel=self.inputs.cancel_on_interrupt)
        self.record_id(run_id)
        self.host.log(f"Taking over run {run_id}: {self.run_url(run_id)}")
        return guard

    def announce(self) -> None:
        """Set the commit's status to pending."""
        self.publisher.pull_request.announce(self.report(LAUNCH), until=self.deadline)

    def judge(self, client: Client, leg: Leg) -> Judgement:
        """Watch the leg's run to its end, collect its result, and judge it. Raises CovalError, RunnerError."""
        # All that follows takes longer to import than the rest of the start, and nothing is lost by now.
        from coval_gate.judge.criteria import Criteria
        from coval_gate.judge.gate import judge_outcome
        from coval_gate.model.outcomes import Completed
        from coval_gate.report.formats.log import check_lines
        from coval_gate.runs.follow import follow
        from coval_gate.runs.progress import ProgressLog, waiting_title
        from coval_gate.runs.watch import Budgets

        criteria = Criteria.from_inputs(self.inputs)

        def follow_run() -> Procedure[Outcome]:
            return follow(
                client,
                leg.run_id,
                inputs=self.inputs,
                criteria=criteria,
                clock=self.clock,
                budgets=Budgets.from_inputs(self.inputs, began=self.began),
                progress=ProgressLog(self.clock, self.host.log, self.warn),
                log=self.host.quote,
                record=lambda seen: self._see(leg, seen),
            )

        left = max(0.0, self.deadline - self.clock.now()) if leg.repetition else self.inputs.max_wait_time
        with self.host.group(waiting_title(left)):
            outcome = self._unless_cancelled(leg, follow_run()) or run(follow_run(), self.clock)
        leg.judgement = judge_outcome(outcome, criteria, self._baseline(client, leg, outcome))
        if isinstance(outcome, Completed):
            leg.result = outcome.result
            if leg.repetition:  # only all runs together have a verdict
                self.host.quote(*check_lines(leg.judgement))
            else:
                self._explain(client, leg, leg.judgement)
        return leg.judgement

    def take_together(self, client: Client, leg: Leg, together: Together) -> None:
        """Record what the leg's run and its repetitions show together. Raises RunnerError."""
        from coval_gate.report.wording.repetition import all_runs_text

        leg.alone = leg.alone or leg.judgement
        leg.result, leg.judgement = together
        repetition = leg.judgement.repetition
        if repetition and not repetition.unusable:
            self.host.log(f"{all_runs_text(len(repetition.runs)).capitalize()} together:")
            self._explain(client, leg, leg.judgement)

    def promote(self, client: Client, leg: Leg) -> None:
        """Promote the leg's run if it passed and the inputs say so. Whatever comes of that, the verdict stays."""
        if not self.inputs.promote or leg.judgement is None or not leg.judgement.may_be_promoted:
            return
        from coval_gate.report.wording.promotion import log_text, warning_text
        from coval_gate.runs.promote import promote

        repository = self.context.repository
        promoting = promote(
            client, leg, self.inputs.promote, repository=repository, clock=self.clock, until=self.deadline
        )
        leg.promotion = run(promoting, self.clock)
        warning = warning_text(leg.promotion)
        if leg.promotion.promoted or not warning:
            self.host.quote(log_text(leg.promotion))
        if warning:
            self.warn(warning)

    def confirm(self, client: Client, leg: Leg) -> None:
        """Watch a run that was taken over briefly, and replace it if it is being cancelled. Raises as `launch`."""
        from coval_gate.runs.progress import ProgressLog
        from coval_gate.runs.takeover import confirm

        progress = ProgressLog(self.clock, self.host.log, self.warn)
        watching = confirm(
            client,
            leg.run_id,
            clock=self.clock,
            until=self.deadline,
            progress=progress,
            record=lambda seen: self._see(leg, seen),
        )
        try:
            self._unless_cancelled(leg, watching)
        except (NotFound, Unavailable):
            if not leg.run_id:
                raise  # the launch that was to replace it failed

    def clean_up(self, judgement: Judgement, *, hurried: bool) -> Judgement:
        """Leave no run behind that no step waits for. `hurried`: the step was interrupted."""
        from coval_gate.runs.cleanup import Cleanup

        for guard in self.guards:
            if guard.leg.is_over:
                guard.release()
        concerned = [guard for guard in self.guards if guard.is_active or guard.leg.launched_again]
        if concerned and hurried:  # the step may be killed while it cancels the runs
            with suppress(RunnerError):
                self.publisher.write_outputs(self.report(judgement))
        if concerned:
            client = self.connect(hurried=hurried)
            late = self.clock.now() >= self.deadline
            cleanups = (
                Cleanup(
                    guard=guard,
                    inputs=self.inputs,
                    client=client,
                    clock=self.clock,
                    hurried=hurried,
                    late=late,
                    log=self.host.quote,
                ).clean_up(_verdict_for(guard.leg, judgement))
                for guard in concerned
            )
            all_or_first_error(run(together(cleanups, self.clock), self.clock))
        for guard in self.guards:
            if guard.ended and _is_judged_apart(guard.leg, judgement):
                judgement = self.guards[0].leg.judgement = with_end_of_repetition(judgement, guard.ended)
            elif guard.ended:
                judgement = guard.leg.judgement = replace(judgement, cancellation=guard.ended)
        if hurried and self.inputs.mode != "cancel" and not any(guard.leg.run_id for guard in self.guards):
            judgement = replace(judgement, cancellation=judgement.cancellation or Cancellation(outcome="not_launched"))
        return judgement

    def publish(self, judgement: Judgement, *, hurried: bool) -> int:
        """Publish the report, and return the exit code. `hurried`: the runner is about to kill the step."""
        return self.publisher.publish(self.report(judgement), hurried=hurried).exit_code

    def cancel(self, client: Client, run_ids: Sequence[str]) -> list[Cancellation]:
        """Cancel runs side by side, and return what became of each. Once all were tried, raises the first error."""
        from coval_gate.report.wording.judgements import run_cancellation_text
        from coval_gate.runs.cancel import cancel_runs

        def report(run_id: str, ended: Cancellation | CovalError) -> None:
            text = f"Run {run_id}: {ended.what}" if isinstance(ended, CovalError) else run_cancellation_text(ended)
            self.host.quote(text)

        self.unguarded = [Leg(run_id=each) for each in run_ids]
        self.record_id(run_ids[0])
        procedure = cancel_runs(client, run_ids, clock=self.clock, until=self.deadline, report=report)
        return all_or_first_error(run(procedure, self.clock))

    def warn(self, message: str) -> None:
        """Show a warning."""
        self.host.annotate("warning", NAME, message)

    def report_bug(self) -> None:
        """Log the exception that is being handled."""
        self.host.fold(BUG, traceback.format_exc().splitlines())

    def record_id(self, run_id: str) -> None:
        """Write down the id of a run: the step's first, or one of a repetition. Raises RunnerError."""
        ids = [leg.run_id for leg in self.legs if leg.run_id] or [run_id]
        self.host.set_outputs({"run_id": ids[0], "run_url": self.run_url(ids[0]), "run_ids": json.dumps(ids)})
        self._save_state()

    def report(self, judgement: Judgement) -> Report:
        """Say what is known by now: of the step's first run and of its repetitions, as one leg."""
        legs = [leg for leg in self.legs if leg.run_id]
        # A secret in the text of an error can be recognised only before a format escapes it.
        judgement = redacted(judgement, self.host.redact)
        return Report(
            judgement=judgement,
            legs=(self._leg_report(legs[0], legs, judgement),) if legs else (),
            context=self.context,
            inputs=self.inputs,
            began=self.began_at,
            seconds=self.clock.now() - self.began,
        )

    def _leg_report(self, leg: Leg, runs: Sequence[Leg], judgement: Judgement) -> LegReport:
        own = leg.judgement  # what went wrong with the step afterwards outranks it
        return LegReport(
            judgement=redacted(own, self.host.redact) if own and own.verdict is judgement.verdict else judgement,
            name=leg.name,
            run_id=leg.run_id,
            run_url=self.run_url(leg.run_id),
            run=leg.run,
            result=leg.result,
            details=leg.details,
            single_runs=tuple(self._run_report(each, judgement) for each in runs),
            promotion=leg.promotion and leg.promotion.redacted(self.host.redact),
        )

    def _run_report(self, leg: Leg, judgement: Judgement) -> RunReport:
        alone = leg.alone or leg.judgement or judgement
        status = leg.run.status if leg.run else ""
        return RunReport(run_id=leg.run_id, run_url=self.run_url(leg.run_id), status=status, verdict=alone.verdict)

    def run_url(self, run_id: str) -> str:
        """Return the page of a run in Coval's dashboard; empty for no run."""
        return f"{self.inputs.dashboard_url}/runs/{run_id}" if run_id else ""

    def _unless_cancelled(self, leg: Leg, watching: Procedure[T]) -> T | None:
        """Return what `watching` the run returns; None if an earlier attempt had cancelled it, and it was replaced."""
        if self.launcher is None or not leg.resumed:
            return run(watching, self.clock)
        from coval_gate.runs.takeover import unless_cancelled

        (guard,) = (guard for guard in self.guards if guard.leg is leg)
        replace_run = partial(self.launcher.launch_instead, guard, cancel=self.inputs.cancel_on_interrupt)
        ended = run(unless_cancelled(watching, leg, replace_run, clock=self.clock), self.clock)
        if ended is None:
            self.host.log(f"Launched run {leg.run_id}: {self.run_url(leg.run_id)}")
            self.announce()
        return ended

    def _baseline(self, client: Client, leg: Leg, outcome: Outcome) -> Baseline | None:
        """Find the runs that thresholds compare with; a repetition is compared with those of the first run."""
        from coval_gate.runs.baseline import baseline_of

        first = self.guards[0].leg.judgement
        if leg.repetition and first:
            return first.baseline
        finding = baseline_of(
            client,
            leg,
            outcome,
            self.inputs,
            self.context,
            clock=self.clock,
            deadline=self.deadline,
            log=self.host.quote,
        )
        return run(finding, self.clock)

    def _guard(self, leg: Leg) -> RunGuard:
        guard = RunGuard(leg, self.clock, self._save_state)
        self.guards.append(guard)
        return guard

    def _save_state(self) -> None:
        self.host.save_state({LEGS: write_state(self.guards)})

    def _see(self, leg: Leg, run: Run) -> None:
        """Record what a poll showed."""
        leg.see(run, at=self.clock.now())
        if self.inputs.mode == "wait":
            from coval_gate.runs.tags import provenance_of

            self.context = with_run_metadata(self.context, provenance_of(run, self.context.repository))
            self.publisher.pull_request.owe(self.report(UNFINISHED))

    def _explain(self, client: Client, leg: Leg, judgement: Judgement) -> None:
        """Write the outputs, log every check, and fetch details about the simulations to look at.

        Raises RunnerError.
        """
        from coval_gate.report.formats.log import check_lines
        from coval_gate.report.simulations import leg_rows, to_look_at
        from coval_gate.runs.details import DETAILS_TIME, fetch_details

        report = self.report(judgement)
        self.publisher.write_outputs(report)
        self.host.quote(*check_lines(judgement))
        if leg.result and leg.run:
            rows = to_look_at(leg_rows(report, report.legs[0]))
            leg.details = run(
                fetch_details(
                    client,
                    leg.result,
                    [row.simulation.id for row in rows],
                    test_set_id=leg.run.test_set_id or self.inputs.test_set_id,
                    until=self.clock.now() + DETAILS_TIME,
                ),
                self.clock,
            )


def _is_judged_apart(leg: Leg, judgement: Judgement) -> bool:
    """Return whether a leg is a repetition whose own verdict is not that of the step, which goes on without it."""
    return bool(leg.repetition and leg.judgement) and judgement.verdict is not Verdict.CANCELLED


def _verdict_for(leg: Leg, judgement: Judgement) -> Verdict | None:
    """Return the verdict that decides what becomes of the leg's run."""
    own = leg.judgement if _is_judged_apart(leg, judgement) else None
    return (own or judgement).verdict
