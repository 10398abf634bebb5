"""Mutation testing of the campaign: each mutant breaks the code on purpose, and the campaign must catch it.

Each mutant changes a function or a constant in a separate process (`python tests/campaign --mutant NAME`). There the
campaign runs until an invariant is violated.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import threading
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).parent.parent))

from campaign.sabotage import RemoveCall, ReplaceFunction, SetCondition, SetConstant, SetValue, returns
from coval_gate import main
from coval_gate.base import schedule, secret, times, transport
from coval_gate.base.clock import Interrupted
from coval_gate.base.errors import CovalError
from coval_gate.base.transport import Server
from coval_gate.ci.github import host as github_host
from coval_gate.ci.github import pages as github_pages
from coval_gate.ci.host import Console
from coval_gate.config import aggregates as config_values
from coval_gate.config import checks as input_checks
from coval_gate.config import thresholds
from coval_gate.coval import calls, client, errors
from coval_gate.coval.calls import Calls
from coval_gate.coval.client import Client
from coval_gate.coval.errors import response_problem
from coval_gate.coval.results import read_simulation, told_apart
from coval_gate.flow import attached as flow_attached
from coval_gate.flow import cancel as flow_cancel
from coval_gate.flow import launch as flow_launch
from coval_gate.flow import opening
from coval_gate.flow.cancel import _Work
from coval_gate.flow.progress import Progress
from coval_gate.judge import aggregates, checks, gate, judgement, repetition
from coval_gate.judge import baseline as judge_baseline
from coval_gate.judge.checks import Check
from coval_gate.judge.criteria import ThresholdHolds
from coval_gate.judge.judgement import UNFINISHED, Judgement, not_completed
from coval_gate.judge.values import Kinds, Vocabulary
from coval_gate.judge.verdict import Verdict
from coval_gate.model import results, statuses
from coval_gate.model.matrix import NO_MATRIX, matrix_of
from coval_gate.model.results import Details
from coval_gate.model.run import NotCompleted, Run
from coval_gate.post import finish, post
from coval_gate.publish.pages import KeptPage, PagePublisher
from coval_gate.publish.publisher import Publisher
from coval_gate.report.formats import check, digest, html, outputs
from coval_gate.report.formats.log import Closing
from coval_gate.runs import (
    baseline,
    cancel,
    collect,
    definitions,
    details,
    earlier,
    find,
    history,
    launch,
    lookups,
    newest,
    retag,
    watch,
)
from coval_gate.runs.cancel import Cleanup, cancel_run
from coval_gate.runs.earlier import EarlierRuns
from coval_gate.runs.history import Found, Sought, has_tag
from coval_gate.runs.launch import Launcher
from coval_gate.runs.legs import Trial
from coval_gate.runs.tags import tags_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from campaign.sabotage import Break
    from coval_gate.base.clock import Clock
    from coval_gate.base.schedule import Procedure, Wait
    from coval_gate.config.inputs import Inputs, LegInputs
    from coval_gate.judge.judgement import SingleRun
    from coval_gate.model.results import Simulation
    from coval_gate.runs.legs import Leg, Session

MAX_SCHEDULES: Final = 1000  # schedules that a mutant may survive, as many as `make long` runs
VIOLATION: Final = re.compile(r"^seed (\d+): (\w+): ", re.MULTILINE)
SCHEDULES: Final = re.compile(r"^campaign: ([\d,]+) schedules", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """One way to break the code, and the invariants that are expected to catch it.

    A mutant has two breaks if the code is protected twice.

    `campaign` selects other schedules: "--legs", "--base", both, "--newest", or "--attach".
    """

    name: str
    invariants: tuple[str, ...]
    breaks: tuple[Break, ...]
    campaign: str = ""

    def apply(self) -> None:
        """Break the code of this process. Raises LookupError if a break does not apply."""
        for install in [change.prepare() for change in self.breaks]:
            install()


@dataclass(frozen=True)
class MutantOutcome:
    """The outcome of a mutant: the invariants that caught it, the seed and the number of schedules, or an error."""

    mutant: Mutant
    invariants: tuple[str, ...] = ()
    seed: str = ""
    schedules: str = ""
    error: str = ""

    @property
    def is_caught(self) -> bool:
        """Return whether one of the expected invariants caught it."""
        return not self.error and any(invariant in self.mutant.invariants for invariant in self.invariants)

    def __str__(self) -> str:
        detail = self.error or f"{', '.join(self.invariants)} (seed {self.seed}, schedule {self.schedules})"
        mark = "caught  " if self.is_caught else "SURVIVED" if not self.invariants else "BY CHANCE"
        return f"{mark} {self.mutant.name:<58} {detail}"


def mutant(name: str, *breaks: Break, caught_by: str, campaign: str = "") -> Mutant:
    """Build a row of the table below; `caught_by` names invariants."""
    return Mutant(name, tuple(caught_by.split()), breaks, campaign)


def pass_unlisted(original: Callable[..., Judgement], *args: object, **kwargs: object) -> Judgement:
    """Judge a run as if Coval listed all of its simulations."""
    judged = original(*args, **kwargs)
    return judged._replace(totals=judged.totals and replace(judged.totals, unlisted=0))


def find_nothing(*_: object, **__: object) -> Procedure[list[object]]:
    """Find no check run, as if a list had none."""
    yield from ()
    return []


def wait_without_signal_checks(original: Callable[[Wait, Clock], None], wait: Wait, clock: Clock) -> None:
    """Wait for calls, and notice a signal only when one of them has ended."""
    if not wait.calls:
        original(wait, clock)
        return
    due, ended = clock.now() + wait.seconds, threading.Event()
    signals: list[Interrupted] = []
    for call in wait.calls:
        call.start(ended)
    while clock.now() < due and not ended.is_set():
        try:
            clock.wait(ended, due)
        except Interrupted as signal:
            signals.append(signal)
    if signals:
        raise signals[0]


def launch_all_the_same(
    original: Callable[..., Procedure[Found]], self: EarlierRuns, trouble: str, *, way_out: str
) -> Procedure[Found]:
    """Take a failed look-up for one that found nothing."""
    try:
        return (yield from original(self, trouble, way_out=way_out))
    except CovalError:
        return Found()


def transcripts_or_error(_: object, session: Session, spoken: Sequence[Simulation]) -> Procedure[Details]:
    """Fetch transcripts, and raise the first error."""
    fetched = yield from schedule.together(
        (session.client.get_transcript(simulation.id, until=session.deadline) for simulation in spoken), session.clock
    )
    turns = schedule.all_or_first_error(fetched)
    return Details(transcripts={simulation.id: said for simulation, said in zip(spoken, turns, strict=True)})


def keep_what_first_run_met(
    original: Callable[..., Iterator[Check]], runs: Sequence[SingleRun], *args: object
) -> Iterator[Check]:
    """Decide by all runs only what the first one failed."""
    met = {(check.criterion, check.variant): check for check in runs[0].judgement.checks if check.passed}
    return (met.get((check.criterion, check.variant), check) for check in original(runs, *args))


def take_for_done(page: str) -> Callable[..., Procedure[bool]]:
    """Show the report on all pages, and say that one of them needs no later attempt."""

    def show(
        original: Callable[..., Procedure[bool]], self: PagePublisher, kept: KeptPage, *args: object, **rest: object
    ) -> Procedure[bool]:
        return (yield from original(self, kept, *args, **rest)) or kept.page.input == page

    return show


def do_twice(original: Callable[..., Procedure[object]], *args: object) -> Procedure[object]:
    """Do it, and do it again."""
    yield from original(*args)
    return (yield from original(*args))


def do_twice_by_name(original: Callable[..., Procedure[object]], *args: object, **kwargs: object) -> Procedure[object]:
    """Do it, and do it again."""
    yield from original(*args, **kwargs)
    return (yield from original(*args, **kwargs))


def launch_repetitions_twice(
    original: Callable[..., Procedure[object]], *args: object, repetition: int = 0
) -> Procedure[object]:
    """Launch a trial, and a repetition once more."""
    trial = yield from original(*args, repetition=repetition)
    return (yield from original(*args, repetition=repetition)) if repetition else trial


def guard_tested(original: Callable[..., None], self: Trial, **kwargs: bool) -> None:
    """Guard a run unless it is the base's."""
    if not self.is_base:
        original(self, **kwargs)


def leave_after_limit(original: Callable[..., bool], self: Cleanup, verdict: Verdict | None) -> bool:
    """Leave any run after a limit if its user wants that, whether or not its id is known."""
    wanted = verdict is Verdict.TIMED_OUT and not self.session.inputs.cancel_on_timeout
    return wanted or original(self, verdict)


def let_go_of_bases(
    original: Callable[..., Procedure[None]], session: Session, progress: Progress, base: Leg
) -> Procedure[None]:
    """Cancel or leave the runs of a base, and guard none of them any more."""
    yield from original(session, progress, base)
    for trial in base.trials:
        trial.release()


def may_cancel_found(original: Callable[[Inputs], list[Leg]], inputs: Inputs) -> list[Leg]:
    """Let the inputs say whether a run is cancelled that the step has found."""
    legs = original(inputs)
    for leg in legs if inputs.run_id.newest else ():
        leg.inputs = inputs
    return legs


def legs_like_the_first(original: Callable[..., list[Leg]], inputs: Inputs, listed: Sequence[LegInputs]) -> list[Leg]:
    """Judge each leg of a file by the thresholds of the first one."""
    thresholds = listed[0].inputs.thresholds if listed else ()
    return original(inputs, [given._replace(inputs=given.inputs._replace(thresholds=thresholds)) for given in listed])


def gravest_of_launched(original: Callable[..., Judgement], progress: Progress) -> Judgement:
    """Return the gravest judgement of the legs that have a run, if any has."""
    outcomes = [leg.outcome for leg in progress.legs if leg.outcome and leg.trials and leg.first.run_id]
    return judgement.gravest(outcomes) if outcomes else original(progress)


def raise_instead(_: object, error: CovalError) -> None:
    """Raise the error."""
    raise error


MUTANTS: Final = (
    mutant(
        "retry a launch without a search for its run",
        ReplaceFunction(Launcher._find_lost, returns(None)),
        caught_by="one_launch_per_step no_orphaned_run run_belongs_to_step",
    ),
    mutant(
        "take any listed run for the step's own",
        ReplaceFunction(has_tag, returns(value=True)),
        caught_by="run_belongs_to_step only_own_runs_are_cancelled",
    ),
    mutant(
        "trust the tag filter alone",
        ReplaceFunction(Sought.filters, lambda original, self: original(self)[:1]),
        caught_by="one_launch_per_step no_orphaned_run rerun_resumes run_belongs_to_step verdict_matches_run "
        "left_repetitions_are_ended",
    ),
    mutant(
        "launch although the look-up failed",
        ReplaceFunction(EarlierRuns._unfinished, launch_all_the_same),
        caught_by="rerun_resumes",
    ),
    mutant(
        "give up on a look-up after half a minute",
        SetConstant(earlier, "LOOKUP_PATIENCE", 30.0),
        caught_by="look_ups_are_patient",
    ),
    mutant(
        "stay with a run that an earlier attempt cancelled",
        SetConstant(earlier, "DOUBT", -1.0),
        caught_by="run_belongs_to_step",
    ),
    mutant(
        "read the identity of a run from its tags only",
        ReplaceFunction(tags_of, lambda _, run: run.tags),
        caught_by="one_launch_per_step no_orphaned_run rerun_resumes superseded_runs_are_cancelled verdict_matches_run",
    ),
    mutant(
        "do not fetch the runs whose identity a list does not show",
        SetConstant(history, "MOST_READ", 0),
        caught_by="rerun_resumes superseded_runs_are_cancelled no_orphaned_run verdict_matches_run",
    ),
    mutant(
        "take a run without identity for another's",
        ReplaceFunction(earlier._unknown, returns("")),
        caught_by="rerun_resumes superseded_runs_are_cancelled",
    ),
    mutant(
        "retry a launch after any error",
        SetValue(Calls.backoff, "arrived", value=False),
        caught_by="one_launch_per_step",
    ),
    mutant(
        "take any 503 for a response of Coval",
        SetValue(response_problem, "is_coval", value=True, which=1),
        caught_by="one_launch_per_step",
    ),
    mutant(
        "take any rejection of a launch for one of Coval",
        SetValue(Client.launch_run, "by_coval", value=True),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "take an interim response to a launch for a rejection",
        ReplaceFunction(
            response_problem,
            lambda original, request, response, **rest: original(
                request,
                response._replace(status=400, body=b'{"error": {"code": "X"}}') if response.status < 200 else response,
                **rest,
            ),
        ),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "close the connection of a launch as soon as its response is late",
        SetConstant(client, "LAUNCH_OPEN", 0.0),
        caught_by="one_launch_per_step",
    ),
    mutant(
        "launch again while the connection of a launch is open",
        ReplaceFunction(
            find.find_launched,
            lambda original, session, trial, *, settling=math.inf, **rest: original(
                session._replace(deadline=min(session.deadline, session.clock.now() + settling)),
                trial,
                settling=settling,
                **rest,
            ),
        ),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "leave the run of a launch that was given up for lost",
        ReplaceFunction(cancel.end_other_launches, lambda *_, **__: iter(())),
        caught_by="second_runs_are_ended",
    ),
    mutant(
        "give up a launch after five minutes",
        ReplaceFunction(
            Client.launch_run,
            lambda original, self, wanted, *, until, sent: original(
                self, wanted, until=min(until, self._clock.now() + 300), sent=sent
            ),
        ),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "search for a lost launch only once",
        SetConstant(launch, "SETTLING", 0.0),
        caught_by="one_launch_per_step",
    ),
    mutant(
        "resume a finished run",
        SetValue(EarlierRuns.to_resume, "is_over", value=False),
        caught_by="run_belongs_to_step",
    ),
    mutant(
        "never resume",
        ReplaceFunction(EarlierRuns.to_resume, returns(None)),
        caught_by="rerun_resumes",
    ),
    mutant(
        "take the jobs of a matrix for one",
        ReplaceFunction(matrix_of, returns(NO_MATRIX)),
        caught_by="run_belongs_to_step rerun_resumes only_own_runs_are_cancelled check_run_is_final",
    ),
    mutant(
        "never supersede",
        ReplaceFunction(EarlierRuns.supersede, returns(None)),
        caught_by="superseded_runs_are_cancelled",
    ),
    mutant(
        "delete without a poll",
        SetCondition(cancel_run, mentions="is_over", value=False),
        caught_by="finished_runs_are_kept",
    ),
    mutant(
        "cancel for half a minute, whatever max_wait_time says",
        ReplaceFunction(
            cancel.cancel_runs,
            lambda original, session, run_ids, *, report: original(
                session._replace(deadline=min(session.deadline, session.clock.now() + 30)), run_ids, report=report
            ),
        ),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "trust an outdated poll",
        SetConstant(cancel, "MAX_POLL_AGE", 1e9),
        caught_by="finished_runs_are_kept",
    ),
    mutant(
        "take a 404 for the end of a new run",
        SetConstant(cancel, "FRESH_TIME", -1.0),
        caught_by="no_orphaned_run",
    ),
    mutant(
        "save the state only after the launch",
        RemoveCall(Launcher.launch_guarded, call="arm", which=2),
        caught_by="no_orphaned_run",
    ),
    mutant(
        "do not cancel the run after an interrupt",
        ReplaceFunction(
            Cleanup.leaves, lambda original, self, verdict: verdict == "cancelled" or original(self, verdict)
        ),
        caught_by="no_orphaned_run",
    ),
    mutant(
        "do not cancel the run after a timeout",
        ReplaceFunction(
            Cleanup.leaves, lambda original, self, verdict: verdict == "timed_out" or original(self, verdict)
        ),
        caught_by="no_orphaned_run",
    ),
    mutant(
        "cancel the run after every timeout",
        ReplaceFunction(
            Cleanup.leaves, lambda original, self, verdict: verdict != "timed_out" and original(self, verdict)
        ),
        caught_by="no_cancel_without_reason",
    ),
    mutant(
        "skip the post step",
        ReplaceFunction(post, returns(0)),
        caught_by="no_orphaned_run",
    ),
    mutant(
        "cancel in every post step",
        SetValue(finish, "needs_post_step", value=True),
        SetValue(_Work.do, "post_cancels", value=True),
        caught_by="post_step_is_quiet no_cancel_without_reason",
    ),
    mutant(
        "take as long after an interrupt as without one",
        SetConstant(times, "HURRIED_CALLING", times.CANCELLING),
        caught_by="time_limits_are_kept",
    ),
    mutant(
        "call Coval for as long after the deadline as it takes",
        SetConstant(times, "CALLING", 60.0),
        caught_by="time_limits_are_kept",
    ),
    mutant(
        "tell GitHub for as long after the deadline as it takes",
        SetConstant(times, "LAST", 60.0),
        caught_by="time_limits_are_kept",
    ),
    mutant(
        "write a verdict without leaving it to the post step",
        ReplaceFunction(Publisher.write_verdict, lambda _, self, report: self.write_outputs(report)),
        caught_by="status_is_final check_run_is_final",
    ),
    mutant(
        "wait for simulations that were skipped",
        SetConstant(results, "ENDED", statuses.TERMINAL),
        caught_by="verdict_matches_run late_values_are_waited_for",
    ),
    mutant(
        "take a response that is not valid HTTP for an invalid address",
        SetConstant(transport, "DAMAGED", ()),
        caught_by="verdict_matches_run no_orphaned_run one_launch_per_step hanging_poll_is_not_the_last",
    ),
    mutant(
        "ignore signals while a request is outstanding",
        ReplaceFunction(schedule._pass, wait_without_signal_checks),
        caught_by="time_limits_are_kept",
    ),
    mutant(
        "skip the last poll",
        ReplaceFunction(
            watch._poll,
            lambda original, session, run_id, *, last, **rest: (
                returns(last)(original)
                if last and session.clock.now() >= session.deadline
                else original(session, run_id, last=last, **rest)
            ),
        ),
        caught_by="last_poll_at_deadline hanging_poll_is_not_the_last",
    ),
    mutant(
        "let a poll that hangs replace the last one",
        SetConstant(calls, "CLOSE", math.inf),
        caught_by="hanging_poll_is_not_the_last",
    ),
    mutant(
        "wait past the deadline",
        ReplaceFunction(
            watch.watch,
            lambda original, session, run_id, **rest: original(
                session._replace(deadline=session.deadline + session.inputs.max_wait_time + 60), run_id, **rest
            ),
        ),
        caught_by="time_limits_are_kept",
    ),
    mutant(
        "take a 5xx for a 400",
        ReplaceFunction(
            response_problem,
            lambda original, request, response, **rest: original(
                request, response._replace(status=400) if response.status >= 500 else response, **rest
            ),
        ),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "fail on the first 404 of a new run",
        SetConstant(watch, "NOT_FOUND_PATIENCE", 0.0),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "launch without a check of names",
        ReplaceFunction(lookups.check_names, returns(None)),
        caught_by="misnamed_gate_costs_nothing",
    ),
    mutant(
        "launch nothing where names cannot be checked",
        SetConstant(lookups, "CovalError", ()),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "take metrics that are announced for ones that never come",
        ReplaceFunction(definitions.find_never, returns(definitions.Never(no_more_metrics=True))),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "take values in progress for ones that never come",
        ReplaceFunction(definitions._ended_without_value, returns(value=True)),
        caught_by="late_values_are_waited_for",
    ),
    mutant(
        "wait the whole time for what never comes",
        ReplaceFunction(definitions.find_never, returns(definitions.Never())),
        caught_by="certain_ends_come_soon",
    ),
    mutant(
        "take a run that lists no simulation yet for an empty one",
        SetConstant(collect, "EMPTY_SETTLING", 0.0),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "wait for the simulations of an empty run",
        ReplaceFunction(Run.is_empty, returns(value=False)),
        SetConstant(collect, "EMPTY_SETTLING", math.inf),
        caught_by="certain_ends_come_soon",
    ),
    mutant(
        "take an impossible comparison for one that did not occur",
        ReplaceFunction(Kinds.impossible, returns(())),
        caught_by="no_pass_without_data",
    ),
    mutant(
        "take an unseen value for zero hits",
        ReplaceFunction(Vocabulary.impossible, returns(())),
        caught_by="no_pass_without_data",
    ),
    mutant(
        "launch a run for a value that its metric never has",
        ReplaceFunction(lookups._Check._impossible, returns(())),
        caught_by="misnamed_gate_costs_nothing",
    ),
    mutant(
        "take a list of values for one value",
        SetConstant(thresholds, "VALUE", re.compile("""[^,)#"']++""")),
        SetCondition(config_values.parse_value, mentions="LISTED", value=False),
        caught_by="unreadable_gate_costs_nothing",
    ),
    mutant(
        "ignore an input with a misspelt name",
        ReplaceFunction(input_checks._unknown, returns(())),
        caught_by="unreadable_gate_costs_nothing",
    ),
    mutant(
        "take curly quotes for a part of a value",
        SetConstant(thresholds, "CURLY", " "),
        caught_by="unreadable_gate_costs_nothing",
    ),
    mutant(
        "count missing values against < and <= only",
        ReplaceFunction(
            aggregates._assumed,
            lambda original, threshold, *numbers: (
                original(threshold, *numbers) if threshold.operator in ("<", "<=") else 0
            ),
        ),
        caught_by="no_pass_without_data",
    ),
    mutant(
        "try only the ends of what missing values may be",
        SetValue(aggregates._assumed, "closest", value=0),
        caught_by="no_pass_without_data",
    ),
    mutant(
        "tell mutations apart by name",
        ReplaceFunction(told_apart, lambda _, simulations: tuple(simulations)),
        caught_by="mutations_are_told_apart verdict_matches_run",
    ),
    mutant(
        "take a mutation without a name for the agent",
        SetValue(read_simulation, "mutation_id", value="", which=1),
        caught_by="mutations_are_told_apart verdict_matches_run",
    ),
    mutant(
        "ignore missing values",
        ReplaceFunction(gate._gaps, returns(None)),
        caught_by="no_pass_without_data",
    ),
    mutant(
        "do not wait for late values",
        ReplaceFunction(
            collect.collect,
            lambda original, session, *args, **rest: original(
                session._replace(inputs=replace(session.inputs, metrics_grace_time=0.0)), *args, **rest
            ),
        ),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "take the listed simulations for all",
        ReplaceFunction(
            checks.population,
            lambda original, run, simulations, criteria: checks.Population(len(simulations), certain=True),  # noqa: ARG005
        ),
        caught_by="pass_rests_on_everything verdict_matches_run",
    ),
    mutant(
        "take progress for the number of simulations",
        SetValue(checks.population, "counts_cases", value=False, which=1),
        caught_by="pass_rests_on_everything",
    ),
    mutant(
        "take the listed metrics for all",
        ReplaceFunction(definitions.Announced.certain, lambda _, self: True),  # noqa: ARG005
        caught_by="pass_rests_on_everything",
    ),
    mutant(
        "judge the first look without a second one",
        SetConstant(collect, "SETTLING", 0.0),
        caught_by="pass_rests_on_everything verdict_matches_run",
    ),
    mutant(
        "believe the first unreadable list",
        ReplaceFunction(
            Client.list_simulations,
            lambda _, self, run_id, *, until: self._simulations(self._simulation_path, run_id, until),
        ),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "pause for as long as Coval asks",
        SetConstant(errors, "LONGEST_WAIT", 1e7),
        caught_by="verdict_matches_run time_limits_are_kept",
    ),
    mutant(
        "ignore errors that Coval reports",
        SetCondition(gate._population, mentions="reported_error", value=False),
        caught_by="no_pass_without_data",
    ),
    mutant(
        "pass a step that timed out",
        ReplaceFunction(Judgement.lets_pass, lambda original, self: self.verdict == "timed_out" or original(self)),
        caught_by="outputs_are_complete",
    ),
    mutant(
        "write the run id only at the end",
        RemoveCall(Progress.record_id, call="set_outputs"),
        caught_by="outputs_are_complete",
    ),
    mutant(
        "repeat an API key in a response",
        ReplaceFunction(Console.redact, lambda _, self, text: text),  # noqa: ARG005
        ReplaceFunction(Server.without_credential, lambda _, self, body: body),  # noqa: ARG005
        caught_by="api_key_does_not_leak",
    ),
    mutant(
        "leave the commit status to the main step",
        ReplaceFunction(
            KeptPage.restore,
            lambda original, self, saved: original(
                self, saved | {"is_done": saved.get("is_done") or self.page.input == "commit_status"}
            ),
        ),
        caught_by="status_is_final",
    ),
    mutant(
        "conclude without the final commit status",
        ReplaceFunction(PagePublisher._set, take_for_done("commit_status")),
        caught_by="status_is_final",
    ),
    mutant(
        "owe the commit a success before there is a verdict",
        SetConstant(judgement, "UNFINISHED", UNFINISHED._replace(verdict=Verdict.PASSED)),
        caught_by="status_is_final check_run_is_final",
    ),
    mutant(
        "leave the check run to the main step",
        ReplaceFunction(
            KeptPage.restore,
            lambda original, self, saved: original(
                self, saved | {"is_done": saved.get("is_done") or self.page.input == "check_run"}
            ),
        ),
        caught_by="check_run_is_final check_runs_are_completed",
    ),
    mutant(
        "conclude without the final check run",
        ReplaceFunction(PagePublisher._set, take_for_done("check_run")),
        caught_by="check_run_is_final check_runs_are_completed",
    ),
    mutant(
        "create a check run without looking for it",
        ReplaceFunction(github_pages._find, find_nothing),
        caught_by="one_check_run_per_launch check_runs_are_completed",
    ),
    mutant(
        "find a check run by another id",
        ReplaceFunction(
            check._references, lambda original, report: tuple(f"{id_}/{report.began}" for id_ in original(report))
        ),
        caught_by="one_check_run_per_launch check_runs_are_completed",
    ),
    mutant(
        "find a check run by the first leg's run only",
        ReplaceFunction(check._references, lambda original, report: original(report)[-1:]),
        caught_by="one_check_run_per_launch check_runs_are_completed",
        campaign="--legs",
    ),
    mutant(
        "let an error satisfy a branch",
        SetConstant(github_pages, "CONCLUSIONS", github_pages.CONCLUSIONS | {"error": "neutral"}),
        caught_by="check_run_is_final",
    ),
    mutant(
        "lose the tags that Coval does not show",
        ReplaceFunction(retag.hides_tags, returns(value=False)),
        caught_by="other_tags_are_kept",
    ),
    mutant(
        "mark no failed run",
        ReplaceFunction(Judgement.is_barred, returns(value=False)),
        caught_by="failed_run_is_marked",
    ),
    mutant(
        "drop the other tags of a failed run",
        ReplaceFunction(retag.changed_tags, lambda _, *__, add=(), **___: add),
        caught_by="other_tags_are_kept",
    ),
    mutant(
        "take a failed run for a baseline",
        SetConstant(baseline, "FAILED", ""),
        caught_by="failed_run_is_no_baseline verdict_matches_run",
    ),
    mutant(
        "mask an API key only as it is written",
        SetConstant(secret, "_in_any_form", re.escape),
        caught_by="api_key_does_not_leak",
    ),
    mutant(
        "write half of the HTML report",
        ReplaceFunction(html.render, lambda original, report: original(report)[:20_000]),
        caught_by="outputs_are_complete",
    ),
    mutant(
        "tell no failed criteria of the first leg",
        ReplaceFunction(outputs._failed_criteria, lambda original, legs: original(legs[1:])),
        caught_by="outputs_are_complete",
    ),
    mutant(
        "write a digest of failures only",
        ReplaceFunction(digest.render, lambda original, report: "" if report.judgement.lets_pass else original(report)),
        caught_by="outputs_are_complete",
    ),
    mutant(
        "let a baseline that cannot be read fail the step",
        ReplaceFunction(baseline._unreadable, raise_instead),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "take a threshold without a baseline as met",
        ReplaceFunction(
            judge_baseline._unknown,
            lambda original, *args: original(*args[:-1], Verdict.PASSED),
        ),
        caught_by="baseline_decides_nothing_alone verdict_matches_run",
    ),
    mutant(
        "let advisory thresholds decide",
        ReplaceFunction(Check.decides, returns(value=True)),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "tell the verdict of a failing step in a warning, too",
        ReplaceFunction(Closing.annotations, lambda original, self, most: [*original(self, most), self.verdict]),
        caught_by="annotations_tell_once",
    ),
    mutant(
        "annotate more simulations than GitHub shows",
        SetConstant(github_host, "MOST_WARNINGS", 99),
        caught_by="annotations_tell_once",
    ),
    mutant(
        "mask no API key that is wrapped",
        SetConstant(secret, "UNSEEN", r"(?:[^ -~\t\n\r…])*+"),
        caught_by="api_key_does_not_leak",
    ),
    mutant(
        "count simulations that are not listed as passed",
        ReplaceFunction(gate.judge, pass_unlisted),
        caught_by="pass_rate_counts_everything",
    ),
    mutant(
        "mask an API key in no base64",
        SetConstant(secret, "_base64", lambda secret, offset: f"{secret}{offset}"),
        caught_by="api_key_does_not_leak",
    ),
    mutant(
        "soften a threshold that is decided as counted",
        ReplaceFunction(ThresholdHolds.is_sampled, returns(value=True)),
        caught_by="no_pass_without_data verdict_matches_run",
    ),
    mutant(
        "keep the first run's ✓",
        ReplaceFunction(repetition.decide, keep_what_first_run_met),
        caught_by="no_pass_without_data verdict_matches_run",
    ),
    mutant(
        "repeat a run that nothing can make up for",
        ReplaceFunction(repetition.beyond_saving, returns(value=None)),
        caught_by="no_repetition_in_vain",
    ),
    mutant(
        "leave the repetitions of an earlier attempt",
        ReplaceFunction(flow_cancel._may_have_leftovers, returns(value=False)),
        caught_by="left_repetitions_are_ended",
    ),
    mutant(
        "judge the last repetition alone",
        ReplaceFunction(repetition.pool_of, lambda original, results: original(results[-1:])),
        caught_by="no_pass_without_data pass_rests_on_everything mutations_are_told_apart verdict_matches_run",
    ),
    mutant(
        "launch each repetition twice",
        ReplaceFunction(flow_launch.launch, launch_repetitions_twice),
        caught_by="one_launch_per_step",
    ),
    mutant(
        "let a lost transcript be an error",
        ReplaceFunction(details._transcripts, transcripts_or_error),
        caught_by="verdict_matches_run",
    ),
    mutant(
        "let the first leg decide",
        ReplaceFunction(main._gravest, lambda original, progress: progress.legs[0].outcome or original(progress)),
        caught_by="green_only_if_all_legs_are_good legs_agree_with_outputs",
        campaign="--legs",
    ),
    mutant(
        "launch more simulations than the inputs allow",
        ReplaceFunction(main._plan_sizes, returns(None)),
        caught_by="too_large_step_launches_nothing",
        campaign="--legs",
    ),
    mutant(
        "launch each leg twice",
        ReplaceFunction(flow_launch.launch, do_twice_by_name),
        caught_by="one_launch_per_leg",
        campaign="--legs",
    ),
    mutant(
        "pass without the base",
        ReplaceFunction(judge_baseline._verdict_without, returns(Verdict.INCONCLUSIVE)),
        caught_by="green_only_with_base",
        campaign="--base",
    ),
    mutant(
        "leave a base that nothing needs any more",
        SetCondition(Cleanup.leaves, mentions="is_base", value=False),
        caught_by="base_ends_with_the_step",
        campaign="--base",
    ),
    mutant(
        "guard the runs of the tested agent only",
        ReplaceFunction(Trial.arm, guard_tested),
        caught_by="no_orphaned_run",
        campaign="--base",
    ),
    mutant(
        "let go of a base that is left before the step ends",
        ReplaceFunction(flow_cancel.clean_up_base, let_go_of_bases),
        caught_by="no_run_is_left",
        campaign="--legs --base",
    ),
    mutant(
        "leave a base whose id no later step can know",
        ReplaceFunction(Cleanup.look_for_left, returns(value=None)),
        ReplaceFunction(Cleanup.leaves, leave_after_limit),
        caught_by="second_runs_are_ended",
        campaign="--legs --base",
    ),
    mutant(
        "take the oldest run of a source for the newest",
        ReplaceFunction(history._newest_first, lambda original, runs: original(runs)[::-1]),
        caught_by="newest_run_is_judged",
        campaign="--newest",
    ),
    mutant(
        "take any run of a scheduled run",
        SetCondition(newest._scheduled, mentions="is_of", value=True),
        caught_by="newest_run_is_judged found_run_has_its_verdict",
        campaign="--newest",
    ),
    mutant(
        "cancel a run that was found as if it were the step's own",
        ReplaceFunction(opening.given_legs, may_cancel_found),
        SetCondition(Cleanup.leaves, mentions="newest", value=False),
        caught_by="found_run_is_left_alone",
        campaign="--newest",
    ),
    mutant(
        "leave a repetition that the step gave up",
        SetCondition(cancel.Cleanup.leaves, mentions="repetition", value=False),
        caught_by="no_orphaned_run",
    ),
    mutant(
        "take our own clock for Coval's",
        ReplaceFunction(transport.Transport.server_time, returns(value=None)),
        caught_by="one_launch_per_trial",
        campaign="--legs --base",
    ),
    # Options of legs
    mutant(
        "judge all legs of a file by the thresholds of the first",
        ReplaceFunction(opening.legs_of, legs_like_the_first),
        caught_by="each_leg_meets_its_own_thresholds green_only_if_all_legs_are_good",
        campaign="--legs",
    ),
    mutant(
        "drop the last leg of a file",
        ReplaceFunction(opening.legs_of, lambda original, inputs, listed: original(inputs, listed[:-1])),
        caught_by="each_leg_of_suite_is_told no_leg_is_left_unjudged",
        campaign="--legs",
    ),
    mutant(
        "let legs without a run decide nothing",
        ReplaceFunction(main._gravest, gravest_of_launched),
        caught_by="no_leg_is_left_unjudged legs_agree_with_outputs",
        campaign="--legs",
    ),
    mutant(
        "launch all legs at once, whatever max_parallel_runs says",
        SetValue(main._has_turn, "most", value=None, which=1),
        caught_by="few_runs_are_under_way",
        campaign="--legs",
    ),
    mutant(
        "take the turn of a leg whose run goes on",
        SetValue(main._has_turn, "under_way", value=0),
        caught_by="few_runs_are_under_way",
        campaign="--legs",
    ),
    mutant(
        "leave a run that the step gave up",
        SetCondition(Cleanup.leaves, mentions="is_hopeless", value=False),
        caught_by="judged_leg_leaves_no_run hopeless_run_is_given_up",
        campaign="--legs",
    ),
    mutant(
        "go on with a run of which all simulations fail",
        ReplaceFunction(watch._is_hopeless, returns(value=False)),
        caught_by="hopeless_run_is_given_up",
        campaign="--legs",
    ),
    mutant(
        "give up a run although simulations of it completed",
        SetValue(watch._is_hopeless, "completed", value=0),
        caught_by="no_cancel_without_reason each_leg_meets_its_own_thresholds",
        campaign="--legs",
    ),
    # Own builds: whether a process answered the simulations
    mutant(
        "judge a run that failed without its process",
        ReplaceFunction(judgement.unanswered, lambda _, run: not_completed(NotCompleted(run))),
        caught_by="set_up_is_to_blame",
        campaign="--attach",
    ),
    mutant(
        "judge before the tag comes",
        SetConstant(flow_attached, "TAG_LAG", 0.0),
        caught_by="answered_run_is_judged answered_run_has_its_verdict",
        campaign="--attach",
    ),
    mutant(
        "look for the agent's type only once",
        SetConstant(flow_attached, "READING", 0.0),
        caught_by="green_only_if_all_were_answered set_up_is_to_blame",
        campaign="--attach",
    ),
    mutant(
        "believe only the launch's note of the agent's type",
        ReplaceFunction(flow_attached._is_answered_by_job, returns(False)),
        caught_by="green_only_if_all_were_answered set_up_is_to_blame",
        campaign="--attach",
    ),
)


def run(arguments: list[str]) -> int:
    """Run the mutants; return 1 if one survives."""
    parser = ArgumentParser(prog="python tests/campaign/mutants.py", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of mutants to run (all)")
    parser.add_argument(
        "--schedules", type=int, default=MAX_SCHEDULES, help=f"schedules that a mutant may survive ({MAX_SCHEDULES:,})"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="parallel mutants (one for each core)")
    options = parser.parse_args(arguments)
    chosen = [row for row in MUTANTS if not options.names or any(word in row.name for word in options.names)]
    outcomes = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(lambda row: run_mutant(row, options.schedules), chosen):
            outcomes.append(outcome)
            sys.stdout.write(f"{outcome}\n")
            sys.stdout.flush()
    caught = sum(outcome.is_caught for outcome in outcomes)
    sys.stdout.write(f"mutants: {caught} of {len(outcomes)} caught\n")
    return 0 if outcomes and caught == len(outcomes) else 1


def run_mutant(mutant: Mutant, schedules: int) -> MutantOutcome:
    """Run the campaign against a mutant until it is caught."""
    command = [
        sys.executable,
        str(Path(__file__).parent),
        "--mutant",
        mutant.name,
        "--stop",
        "--schedules",
        str(schedules),
        *mutant.campaign.split(),
    ]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    return _outcome(mutant, process)


def _outcome(mutant: Mutant, process: subprocess.CompletedProcess[str]) -> MutantOutcome:
    checked = SCHEDULES.search(process.stdout)
    if not checked:
        return MutantOutcome(mutant, error=f"the campaign failed: {process.stderr.strip().splitlines()[-1:]}")
    violations = VIOLATION.findall(process.stdout)
    if not violations:
        return MutantOutcome(mutant, error=f"survived {checked[1]} schedules")
    invariants = tuple(dict.fromkeys(invariant for _, invariant in violations))
    return MutantOutcome(mutant, invariants, violations[0][0], checked[1])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
