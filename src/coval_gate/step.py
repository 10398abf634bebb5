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
from typing import TYPE_CHECKING, Final, TypeVar

from coval_gate import __version__
from coval_gate.ci.context import Context, with_run_metadata, with_unknown_commit
from coval_gate.ci.detect import detect_host
from coval_gate.ci.host import BUG, NAME
from coval_gate.config.checks import check_inputs, warnings_about
from coval_gate.config.inputs import key_in, parse_inputs, token_in
from coval_gate.coval.client import connect
from coval_gate.errors import CovalError, InputError, NotFound, RunnerError, Unavailable
from coval_gate.judge.judgement import LAUNCH, UNFINISHED, redacted
from coval_gate.model.outcomes import Cancellation
from coval_gate.publish.legs import leg_report
from coval_gate.publish.publisher import Publisher
from coval_gate.report.model import Report
from coval_gate.runs.guard import LEGS, RunGuard, write_state
from coval_gate.runs.leg import Leg
from coval_gate.runs.schedule import all_or_first_error, run, together
from coval_gate.times import Times, announcing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.config.inputs import Inputs, Problem
    from coval_gate.coval.client import Client
    from coval_gate.judge.judgement import Judgement
    from coval_gate.model.run import Run
    from coval_gate.runs.launch import Launcher
    from coval_gate.runs.request import LaunchRequest
    from coval_gate.runs.tags import Tags
    from coval_gate.runtime import Runtime
    from coval_gate.waiting import Procedure

T = TypeVar("T")
CALL_TIME: Final = 10.0  # s for a call that a verdict needs after the deadline


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
        self.leftovers: dict[str, RunGuard] = {}  # repetitions of earlier attempts that nothing needs, by their ids
        self.launcher: Launcher | None = None
        self.unguarded: list[Leg] = []  # runs that mode cancel names
        self.has_earlier_repetitions = False  # an earlier attempt may have left some that nothing needs now
        self._interrupted: Times | None = None  # the times of a step that received a signal
        self._differences: tuple[Problem, ...] = ()  # of the run that mode wait names, as its last poll showed them

    @property
    def legs(self) -> list[Leg]:
        """The step's first run, and its repetitions; in mode cancel, the runs to cancel."""
        return [*(guard.leg for guard in self.guards), *self.unguarded]

    @property
    def deadline(self) -> float:
        """When the step has to be done, on the clock."""
        return self.began + self.inputs.max_wait_time

    @property
    def times(self) -> Times:
        """How long each part of the step may take."""
        return self._interrupted or Times.of_step(self.began, self.inputs.max_wait_time)

    @property
    def is_hurried(self) -> bool:
        """Whether the step received a signal."""
        return self._interrupted is not None

    def hurry(self) -> None:
        """Note that the step received a signal, and will be killed."""
        self._interrupted = Times.of_interrupted(self.clock.now())

    def read_inputs(self) -> Inputs:
        """Read where the step runs and what it has to do. Raises InputError, RunnerError."""
        environ = self.runtime.environ
        for secret in (key_in(environ), token_in(environ)):
            self.host.mask(secret)
        self.host.log(f"Coval Gate {__version__}")
        self.context = self.host.context()
        self.inputs, problems = parse_inputs(environ)
        self.context = replace(self.context, matrix=self.inputs.matrix)
        self.inputs, unusable = self.publisher.prepare(self.inputs)
        problems += unusable
        if self.inputs.mode == "wait":
            self.context = with_unknown_commit(self.context)
        # If the step is killed, the workflow sees this; and files that cannot be written show before the launch.
        self.publisher.write_outputs(self.report(UNFINISHED))
        self._save_state()
        if self.inputs.promote or self.inputs.accept or self.inputs.drift:
            from coval_gate.runs.promotion_checks import promotion_problems

            problems += promotion_problems(self.inputs, self.context)
        problems += self.publisher.pages.problems(self.inputs, self.context)
        check_inputs(self.inputs, problems, environ, self.context.secrets_withheld_from)
        for warning in warnings_about(self.inputs, environ):
            self.warn(warning)
        if self.inputs.mode == "run" and self.inputs.repeat_on_failure and self.inputs.api_key:
            self._expect_repetitions(self.inputs)
        return self.inputs

    def connect(self, *, hurried: bool = False) -> Client:
        """Make a client of Coval's API."""
        return connect(self.inputs, self.runtime, self.host.quote, hurried=hurried, ends=self.times.coval_ends)

    def locate(self) -> None:
        """Find out which commit is tested, where the event does not say and it is needed."""
        until = announcing(self.clock.now(), self.deadline)
        self.context = self.publisher.pages.locate(self.context, self.inputs, until=until)

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

        inputs = self.inputs
        request, tags = self._request(repetition)
        leg = Leg(request=request, tags=tags, repetition=repetition)
        launcher = Launcher(
            client=client,
            leg=leg,
            tags=tags,
            clock=self.clock,
            until=self.deadline,
            check=partial(
                prepare,
                client,
                leg,
                inputs,
                self.context,
                clock=self.clock,
                until=self.deadline,
                log=self.host.quote,
                warn=self.warn,
            ),
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

    def _expect_repetitions(self, inputs: Inputs) -> None:
        """Choose the seed with which all runs draw the same test cases, and note what earlier attempts may have left.

        The seed is chosen before anything is sent, because it is a part of the request by which runs are found again.
        """
        self.has_earlier_repetitions = inputs.resume and self.context.run_attempt not in ("", "1")
        if not inputs.sub_sample_size or inputs.sub_sample_seed is not None:
            return
        from coval_gate.runs.tags import seed_for

        seed = seed_for(self.context, self.runtime.randomness.getrandbits(32))
        self.inputs = replace(inputs, sub_sample_seed=seed)
        self.host.log(f"All runs of this step draw their test cases with sub_sample_seed {seed}.")

    def _end_unneeded_repetitions(self, client: Client) -> Procedure[None]:
        """Cancel the repetitions that an earlier attempt left unfinished, and that this one did not take over."""
        from coval_gate.runs.earlier import EarlierRuns

        request, own = self._request(0)
        earlier = EarlierRuns(
            client=client,
            tags=own,
            body=request.body(),
            clock=self.clock,
            until=self.times.cancelling(self.clock.now()),
            log=self.host.quote,
            warn=self.warn,
        )
        repetitions = [self._request(number)[1] for number in range(1, self.inputs.repeat_on_failure + 1)]
        taken = {leg.run_id for leg in self.legs}
        return earlier.end_repetitions(repetitions, taken=taken, guarded=self._guard_leftover)

    def _guard_leftover(self, run_id: str) -> RunGuard:
        """Guard a run that is none of the step's own, until it is cancelled. Raises RunnerError."""
        guard = self.leftovers.setdefault(run_id, RunGuard(Leg(run_id=run_id), self.clock, self._save_state))
        guard.arm(cancel=True)
        return guard

    def _request(self, repetition: int) -> tuple[LaunchRequest, Tags]:
        """Return what the launch of the first run, or of one of its repetitions, sends, and the tags in it."""
        from coval_gate.runs.request import launch_request
        from coval_gate.runs.tags import tags_for

        inputs = self.inputs
        # Repetitions follow failed runs only, so that as a part of the branch they would bias its baseline.
        context = replace(self.context, branch="") if repetition else self.context
        request = launch_request(inputs, context)
        own = (inputs.display_name, inputs.tags, inputs.metadata, *([repetition] if repetition else []))
        nonce = f"{self.runtime.randomness.getrandbits(32):08x}"
        return request, tags_for(context, request.body(), nonce, own)

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
        """Show on the commit's pages that the run is in progress."""
        self.publisher.pages.announce(self.report(LAUNCH), until=announcing(self.clock.now(), self.deadline))

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
            record=lambda seen: self.see(leg, seen),
        )
        try:
            self.unless_cancelled(leg, watching)
        except (NotFound, Unavailable):
            if not leg.run_id:
                raise  # the launch that was to replace it failed

    def clean_up(self, judgement: Judgement, *, hurried: bool) -> Judgement:
        """Leave no run behind that no step waits for. `hurried`: the step was interrupted."""
        from coval_gate.runs.cleanup import Cleanup, with_cancellations

        for guard in self.guards:
            if guard.leg.is_over:
                guard.release()
        concerned = [guard for guard in self.guards if guard.is_active or guard.leg.launched_again]
        # A job that may not cancel its runs leaves those of earlier attempts alone, too.
        ends_others = self.has_earlier_repetitions and (self.inputs.cancel_on_interrupt or not hurried)
        if concerned and hurried:  # the step may be killed while it cancels the runs
            with suppress(RunnerError):
                self.publisher.write_verdict(self.report(judgement))
        if concerned or ends_others:
            client = self.connect(hurried=hurried)
            late = self.clock.now() >= self.deadline
            cleanups = [
                Cleanup(
                    guard=guard,
                    inputs=self.inputs,
                    client=client,
                    clock=self.clock,
                    until=self.times.cancelling(self.clock.now()),
                    late=late,
                    log=self.host.quote,
                ).clean_up(judgement.verdict)
                for guard in concerned
            ]
            if ends_others:
                cleanups.append(self._end_unneeded_repetitions(client))
            all_or_first_error(run(together(cleanups, self.clock), self.clock))
        judgement = with_cancellations(judgement, self.guards)
        if hurried and self.inputs.mode != "cancel" and not any(guard.leg.run_id for guard in self.guards):
            judgement = replace(judgement, cancellation=judgement.cancellation or Cancellation(outcome="not_launched"))
        return judgement

    def publish(self, judgement: Judgement) -> Report:
        """Publish the report, and return it with what came of that."""
        return self.publisher.publish(self.report(judgement), self.times)

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
        """Say what is known by now."""
        legs = [leg for leg in self.legs if leg.run_id]
        # A secret in the text of an error can be recognised only before a format escapes it.
        judgement = redacted(judgement, self.host.redact)
        home = self.inputs.dashboard_url
        return Report(
            judgement=judgement,
            legs=(leg_report(legs, judgement, page=self.run_url, redact=self.host.redact, home=home),) if legs else (),
            context=self.context,
            inputs=self.inputs,
            began=self.began_at,
            seconds=self.clock.now() - self.began,
        )

    def run_url(self, run_id: str) -> str:
        """Return the page of a run in Coval's dashboard; empty for no run."""
        return f"{self.inputs.dashboard_url}/runs/{run_id}" if run_id else ""

    def unless_cancelled(self, leg: Leg, watching: Procedure[T]) -> T | None:
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

    def check_selection(self, client: Client, leg: Leg) -> None:
        """Check in mode wait that the run has the agent, persona and test set that the inputs name.

        Raises InputError, CovalError. A poll may be damaged, so that another one has to show the same.
        """
        from coval_gate.runs.selection import not_shown

        if self.inputs.mode != "wait" or leg.run is None:
            return
        if self._differences:
            until = max(self.deadline, self.clock.now() + CALL_TIME)
            self.see(leg, run(client.get_run(leg.run_id, until=until), self.clock))
        if told := not_shown(self.inputs, leg.run):
            self.warn(told)

    def _is_meant(self, leg: Leg, seen: Run) -> bool:
        """Return whether this is the run that the inputs name. Raises InputError if it was not at two polls in a row.

        A run that is not meant is left alone.
        """
        from coval_gate.runs.selection import differences

        last, self._differences = self._differences, differences(self.inputs, seen)
        if self._differences and self._differences == last:
            next(guard for guard in self.guards if guard.leg is leg).release()
            raise InputError(self._differences)
        return not self._differences

    def _guard(self, leg: Leg) -> RunGuard:
        guard = RunGuard(leg, self.clock, self._save_state)
        self.guards.append(guard)
        return guard

    def _save_state(self) -> None:
        self.host.save_state({LEGS: write_state([*self.guards, *self.leftovers.values()])})

    def see(self, leg: Leg, run: Run) -> None:
        """Record what a poll showed."""
        leg.see(run, at=self.clock.now())
        if self.inputs.mode == "wait" and self._is_meant(leg, run):
            from coval_gate.runs.tags import provenance_of

            self.context = with_run_metadata(self.context, provenance_of(run, self.context.repository))
            self.publisher.pages.owe(self.report(UNFINISHED))
