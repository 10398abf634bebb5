"""Launches the runs of a step in their turn, and each exactly once.

A run whose response was lost is adopted, and the run of an earlier attempt is resumed. A launch starts phone calls that
cost money, so it is sent again only if it certainly had no effect: if it never left, if Coval itself said so, or if
Coval has not listed the run for a while after the connection was closed without a response.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from coval_gate.base import titles
from coval_gate.base.errors import (
    CovalError,
    GateError,
    InputError,
    LaunchUncertain,
    Rejected,
    RunnerError,
    Unavailable,
)
from coval_gate.base.schedule import MOST_AT_ONCE, Procedure
from coval_gate.base.text import duration
from coval_gate.coval.client import SERVERS_SKEW
from coval_gate.coval.model import LaunchRequest, Run
from coval_gate.history.tags import Tags
from coval_gate.inputs.inputs import Inputs
from coval_gate.step.cancel import end_other_launches, find_launched
from coval_gate.step.earlier import EarlierRuns, Launches
from coval_gate.step.ids import with_all_wrong_ids
from coval_gate.step.leg import Duty, Leg, Trial
from coval_gate.step.lookups import prepare
from coval_gate.step.request import request_of
from coval_gate.step.step import LegRun, StepRun

SETTLING: Final = 60.0  # s after the end of a launch; a run that Coval does not list by then was not launched
CHECKING: Final = 30.0  # s to check for a second run right after the launch; the step checks again at its end
MOST_TRIES: Final = 3  # to launch one run, each of which was lost without a trace


def launch_trial(session: LegRun, *, number: int = 0) -> Procedure[Trial]:
    """Launch a run of the leg. Raises CovalError, RunnerError, InputError.

    `number`: as of a trial. By it, a later attempt resumes the right run. The log names the run, unless its simulations
    are still to be counted: their number comes first.
    """
    step = session.step
    for earlier in session.leg.trials:
        yield from Launcher(session, earlier).end_other_launches()
    request, tags = request_of(session, number)
    trial = step.begin_trial(session.leg, request=request, tags=tags, number=number)
    try:
        yield from Launcher(session, trial).begin()
    except Unavailable as error:
        if error.is_limit:
            error.advice = _limit_advice(session.inputs, legs=len(step.legs))
        raise
    if number or step.is_counted_first:
        log_launch(session, trial)
    return trial


def launch_in_turn(session: LegRun) -> Procedure[Trial]:
    """Launch the first run of a leg in its turn. If Coval rejects it, report every wrong id."""
    step = session.step
    while not _has_turn(session):
        yield step.changed.wait(session.deadline - session.clock.now())
    step.launching += 1
    try:
        trial = yield from launch_trial(session)
    except (InputError, Rejected) as error:
        raise (yield from with_all_wrong_ids(session, error)) from None
    finally:
        step.launching -= 1
        step.changed.happen()
    return trial


def _has_turn(session: LegRun) -> bool:
    """Raises GateError if no time is left for the leg's turn."""
    step, leg = session.step, session.leg
    most = session.inputs.max_parallel_runs
    if most is None or leg.is_base:
        return step.launching < MOST_AT_ONCE
    if session.clock.now() >= session.deadline:
        raise GateError(
            titles.NO_TIME_LEFT,
            f"max_wait_time was over before this leg's turn came (max_parallel_runs: {most:,}).",
            advice="Raise max_wait_time, or max_parallel_runs.",
        )
    others = [other for other in step.legs if other is not leg and other.trials]
    under_way = sum(not other.is_done or other.is_ending for other in others)
    return under_way < most and step.launching < MOST_AT_ONCE


def log_launch(session: StepRun, trial: Trial) -> None:
    how_it_began = "Taking over the run of an earlier attempt," if trial.resumed else "Launched run"
    session.log(f"{how_it_began} {trial.run_id}: {session.step.run_url(trial.run_id)}")


def _limit_advice(inputs: Inputs, *, legs: int) -> str:
    """Return what to lower if Coval does not let so much run at a time."""
    most = min(inputs.max_parallel_runs or legs, legs)
    ways = [f"lower concurrency ({inputs.concurrency:,})"] if inputs.concurrency > 1 else []
    ways += [f"set max_parallel_runs below {most:,}"] if most > 1 else []
    todo = f"{' or '.join(ways)}, and re-run the job later." if ways else "re-run the job later."
    plan = (
        "If a quota of the plan is used up, such as a monthly one, extend the plan in Coval, or wait until it renews."
    )
    return f"Coval limits how much runs at a time. {todo[:1].upper()}{todo[1:]}\n{plan}"


class Launcher(NamedTuple):
    """Launches the run of a trial that has tags."""

    session: LegRun
    trial: Trial

    def begin(self, *, instead: bool = False) -> Procedure[None]:
        """Launch the run, or take over that of an earlier attempt, unless it stands `instead` of such a run.

        Raises as `send`, RunnerError, InputError.
        """
        trial, clock, inputs = self.trial, self.session.clock, self.session.inputs
        cancel = inputs.cancel_on_interrupt
        resumes = inputs.resume and not instead and self.trial.tags.has_earlier_attempt
        earlier = (yield from self._to_resume()) if resumes else None
        if earlier:
            trial.identify(earlier.run_id, at=clock.now())
            trial.resumed = True
            trial.guard(cancel=cancel)
            if until_now := self.session.leg.leftovers.get(earlier.run_id):
                until_now.release()
            self.session.step.record_id(earlier.run_id)
        else:
            yield from self._prepare()
        if inputs.supersede and not (instead or trial.number):  # the first run has superseded all older ones
            yield from self._earlier_runs().supersede(keep=earlier.run_id if earlier else "")
        if earlier:
            return
        try:
            trial.guard(cancel=cancel)
        except RunnerError:
            trial.release()  # nothing was launched
            raise
        try:
            run = yield from self.send()
        except LaunchUncertain:
            raise
        except CovalError:
            trial.release()  # nothing was launched
            raise
        trial.identify(run.run_id, at=clock.now())
        self.session.step.record_id(run.run_id)
        yield from self.end_other_launches()

    def replace_cancelled(self, *, gone: bool) -> Procedure[bool]:
        """Launch a run in place of one that was taken over, and turned out to be cancelled. Raises as `begin`.

        `gone`: Coval answers 404. Returns False, without a launch, if it lists that run as unfinished all the same.
        """
        if gone and (listed := (yield from self._to_resume_alone())) and listed.run_id == self.trial.run_id:
            return False
        self.session.log(f"An earlier attempt had cancelled run {self.trial.run_id}, so the step launches another.")
        self.trial.forget()
        yield from self.begin(instead=True)
        return True

    def send(self) -> Procedure[Run]:
        """Raises Rejected, Unavailable (no run exists), RunnerError or LaunchUncertain (one may)."""
        session, trial = self.session, self.trial
        began = session.clock.now()
        for left in reversed(range(MOST_TRIES)):
            try:
                launching = session.client.launch_run(self._request, until=session.deadline, sent=trial.launches.append)
                return (yield from launching)
            except LaunchUncertain as lost:
                session.log(f"{lost.what} {self._what_to_check()}")
                if run := (yield from self._find_lost(lost, partial(self._created_since, began))):
                    session.log("The run began, so the step takes it over.")
                    return run
                if lost.rejection:
                    raise lost.rejection from None
                if not left:
                    raise
                session.log("The run did not begin, so the step launches it again.")
                trial.owe(Duty.CANCEL_OTHERS)
        raise AssertionError  # the last round returns or raises

    @property
    def _request(self) -> LaunchRequest:
        if self.trial.request is None:
            raise ValueError("the run was launched elsewhere")
        return self.trial.request

    def _prepare(self) -> Procedure[None]:
        """A later trial needs no preparation: the first run was checked, and the later one is never a baseline."""
        if self.trial.number:
            return
        try:
            self.trial.request = yield from prepare(self.session, self._request)
        except GateError:
            self.trial.release()  # nothing was launched
            raise

    def _to_resume(self) -> Procedure[Run | None]:
        """Return the run of an earlier attempt. The slices before an unfinished one are not paid for again."""
        session, leg, number = self.session, self.session.leg, self.trial.number
        if not leg.slices:
            return (yield from self._to_resume_alone())
        if number == 0:
            leg.taken_over = yield from self._slices_to_resume()
            for run in leg.taken_over[1:] if session.inputs.cancel_on_interrupt else ():
                if run and not run.is_over:  # its turn comes when those before it were judged
                    session.step.guard_leftover(leg, run.run_id)
        return leg.taken_over[number] if number < len(leg.taken_over) else None

    def _to_resume_alone(self) -> Procedure[Run | None]:
        found = yield from self._earlier_runs().to_resume([Launches([self.trial.tags])])
        return next(iter(found), None)

    def _slices_to_resume(self) -> Procedure[list[Run | None]]:
        """A base's slices are found with those of the legs beside it: they are taken over together."""
        session, leg = self.session, self.session.leg

        def launches_of(one: Leg | None) -> list[Tags]:
            return [request_of(session.of(one), place)[1] for place in range(len(one.slices))] if one else []

        beside = [one for one in session.step.legs if one.base is leg] if leg.is_base else [leg]
        launches = [Launches(launches_of(one), launches_of(one.base)) for one in beside]
        ids = {name: id_ for name, id_ in self.trial.ids.items() if name != "agent_id" or not (leg.base or leg.is_base)}
        return (yield from self._earlier_runs()._replace(ids=ids).to_resume(launches, base=leg.is_base))

    def end_other_launches(self) -> Procedure[None]:
        """Look again for runs of launches that were given up for lost. A failure shows in the log only."""
        if Duty.CANCEL_OTHERS not in self.trial.duties:
            return
        session = self.session
        try:
            until = min(session.deadline, session.clock.now() + CHECKING)
            yield from end_other_launches(session.until(until), self.trial)
        except CovalError as error:
            session.log(
                f"Could not check whether another launch began a run: {error.what} The step checks again later."
            )

    def _earlier_runs(self) -> EarlierRuns:
        return EarlierRuns(session=self.session, tags=self.trial.tags, ids=self.trial.ids)

    def _what_to_check(self) -> str:
        if self.trial.open_calls:
            return "The connection stays open. Checking meanwhile whether the run began."
        left = self.session.deadline - self.session.clock.now()
        return f"Checking for up to {duration(min(SETTLING, left))} whether the run began."

    def _created_since(self, began: float) -> float:
        """Return the earliest time of the launch on Coval's clock; -inf while no response has shown that clock."""
        shown = self.session.client.server_time(began)
        return -math.inf if shown is None else shown - SERVERS_SKEW

    def _find_lost(self, lost: LaunchUncertain, since: Callable[[], float]) -> Procedure[Run | None]:
        """Return None if the launch certainly had no effect. Raises LaunchUncertain, or the launch's rejection."""
        try:
            return (yield from find_launched(self.session, self.trial, settling=SETTLING, since=since))
        except LaunchUncertain as error:
            rejected, search = lost.rejection, error.rejection
            if rejected and search and rejected.status == search.status:
                raise rejected from None
            what = f"{lost.what} {error.what}"
            advice = "\n".join(text for text in (lost.advice, error.advice) if text)
            raise LaunchUncertain(lost.title, what, advice=advice) from None


def ensure_trial(session: LegRun, number: int) -> Procedure[Trial]:
    """Launch the leg's run with that number, unless it was launched or the user names it. Its base runs beside it."""
    leg = session.leg
    if leg.base:
        session.step.want(leg.base, number)
    if number < len(leg.trials):
        return leg.trials[number]
    return (yield from launch_trial(session, number=number) if number else launch_in_turn(session))
