"""Follows a run to its result: one that the step launched, took over from an earlier attempt, or was given.

Coval may show a run as in progress for a while after its cancellation. So the step watches a run that it took over, and
replaces it if the earlier attempt was still cancelling it. Coval itself reaches the agents of most runs: without the
tag of `coval-gate attach`, the agent's type says whether a job has to answer.

In mode wait, each leg of the plan is given its first run, and repetitions of that. A run's own metadata name its leg
and its number. A run without them belongs to a leg only if both are alone.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from itertools import pairwise
from typing import Final, NamedTuple, TypeVar

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError, InputError, NotFound, Unavailable
from coval_gate.base.schedule import Procedure, Wait, all_or_first_error, together
from coval_gate.base.text import duration, in_words, quoted
from coval_gate.ci.host import AGENT_TYPE, REPETITION, SLICE
from coval_gate.coval.client import Session
from coval_gate.coval.model import CANCELLED, Run
from coval_gate.gate.verdict import Aborted, NotCompleted, Outcome, TimedOut
from coval_gate.history.search import find_newest, found_text
from coval_gate.history.tags import ATTACHED, PARTS, UNANSWERED, is_marked, part_of, places_of
from coval_gate.inputs.fields import RunSource
from coval_gate.inputs.inputs import InvalidInput, ids_of
from coval_gate.step.cancel import AFTER_CANCELLING
from coval_gate.step.collect import collect, most_common_error
from coval_gate.step.launch import Launcher, log_launch
from coval_gate.step.leg import Leg, Trial
from coval_gate.step.lookups import ANSWERED_BY_JOB, UNSEEN, read_agent_type, unanswerable
from coval_gate.step.report import announce
from coval_gate.step.step import LegRun, Step, StepRun
from coval_gate.step.watch import (
    AS_LAUNCHED,
    NOT_FOUND_PAUSE,
    legs_in_words,
    part_text,
    recorded_leg,
    unknown_until,
    watch,
)

T = TypeVar("T")

DOUBT: Final = 180.0  # s after a takeover; a run that is cancelled later was cancelled while the step waited for it
CONFIRMING: Final = 30.0  # s for which a step that does not wait for its run watches one that it took over
READING: Final = 20.0  # s to read the type of the agent, on which the verdict may rest
TAG_LAG: Final = 30.0  # s for which attach in another job may still be about to tag a run that is over
PAUSE: Final = 5.0  # s between two looks for the tag


def follow_trial(session: LegRun, trial: Trial) -> Procedure[Outcome]:
    """Watch the trial's run to its end, and collect its result. Raises GateError."""
    yield from _refuse_unanswered(session, trial)
    left = max(0.0, session.deadline - session.clock.now()) if trial.number else session.inputs.max_wait_time
    with session.group(f"Waiting for the run, {duration(left)} at most"):
        try:
            outcome = yield from _unless_cancelled(session, trial, _follow(session, trial))
            outcome = outcome or (yield from _follow(session, trial))
        except NotFound as error:
            if not error.by_coval or trial.run is not None:
                raise
            if not trial.is_given:
                what = f"Coval launched run {trial.run_id}, but has not shown it since ({error.status} to each call)."
                advice = "The run may go on in Coval. Look there, and cancel it before you re-run the job."
                raise NotFound(error.status, titles.RUN_NOT_FOUND, what, advice=advice) from None
            trial.release()  # the id is wrong: there is no run to cancel
            raise
    trial.is_given_up = isinstance(outcome, Aborted)
    if trial.is_given and trial.run:
        unseen = [name for name, id_ in ids_of(session.leg.inputs).items() if id_ and not trial.run.ids[name]]
        if unseen:
            which = f"run {trial.run_id}, so these inputs cannot be checked: {', '.join(unseen)}"
            session.warn(f"Coval does not show every id of {which}.")
    yield from _find_attached(session, trial)
    return outcome


def _follow(session: LegRun, trial: Trial) -> Procedure[Outcome]:
    ended = yield from watch(session, trial)
    if isinstance(ended, TimedOut | NotCompleted):
        return ended
    if isinstance(ended, Aborted):
        return ended._replace(error=(yield from most_common_error(session, trial.run_id)))
    return (yield from collect(session, trial, ended))


def confirm(session: LegRun) -> Procedure[None]:
    """Briefly watch a run that was taken over, and replace it if it is being cancelled. Raises as `launch_trial`."""
    trial, briefly = session.leg.first, session.within(CONFIRMING)
    briefly.inputs = session.inputs._replace(
        max_wait_time=CONFIRMING, max_queue_time=None, check_interval=None, abort_after_failures=None
    )
    try:
        yield from _unless_cancelled(session, trial, watch(briefly, trial))
    except (NotFound, Unavailable):
        if not trial.run_id:
            raise  # the launch that was to replace it failed


def _unless_cancelled(session: LegRun, trial: Trial, watching: Procedure[T]) -> Procedure[T | None]:
    """Return None if an earlier attempt was cancelling the run, and another one replaces it."""
    if not trial.resumed:
        return (yield from watching)
    clock, doubtful_until = session.clock, trial.known_since + DOUBT
    try:
        ended = yield from watching
    except NotFound:
        if clock.now() <= doubtful_until and (yield from _replaced(session, trial, gone=True)):
            return None
        raise
    if not isinstance(ended, NotCompleted) or ended.run.status not in AFTER_CANCELLING or clock.now() > doubtful_until:
        return ended
    return None if (yield from _replaced(session, trial, gone=ended.run.status != CANCELLED)) else ended


def _replaced(session: LegRun, trial: Trial, *, gone: bool) -> Procedure[bool]:
    if not (yield from Launcher(session, trial).replace_cancelled(gone=gone)):
        return False
    log_launch(session, trial)
    yield from announce(session.step)
    return True


def _refuse_unanswered(session: LegRun, trial: Trial) -> Procedure[None]:
    """Raise GateError in mode run if a job has to answer a run that was taken over, or whose agent was unreadable."""
    if session.inputs.mode != "run":
        return
    yield from _read_type(session, trial)
    if trial.agent_type == ANSWERED_BY_JOB:
        trial.is_given_up = True
        raise unanswerable(trial.ids.get("agent_id", ""))


def _find_attached(session: LegRun, trial: Trial) -> Procedure[None]:
    """Note in the trial whether a job answered it, and its agent's type, unless `_refuse_unanswered` has read that."""
    run = trial.run
    if run is None or session.inputs.mode != "wait":
        return
    is_attached = is_marked(run, ATTACHED)
    if is_attached or is_marked(run, UNANSWERED):
        trial.attached = is_attached
        return
    noted = run.metadata.get(AGENT_TYPE)
    if isinstance(noted, str) and noted:
        trial.agent_type = noted
    yield from _read_type(session, trial)
    if trial.agent_type != ANSWERED_BY_JOB:
        return
    trial.attached = False
    patience = min(TAG_LAG, session.inputs.metrics_grace_time) if run.is_over else 0.0
    until = min(session.deadline, session.clock.now() + patience)
    while session.clock.now() + PAUSE <= until and not trial.attached:
        yield Wait(PAUSE)
        with suppress(CovalError):
            polled = yield from session.client.get_run(run.run_id, until=until, once=True)
            trial.attached = is_marked(polled, ATTACHED)


def _read_type(session: LegRun, trial: Trial) -> Procedure[None]:
    """Ask Coval unless the type is known. A key that may not read agents leaves it unknown."""
    shown = (trial.run.agent_id if trial.run else "") or trial.ids.get("agent_id")
    agent_id = shown or ids_of(session.inputs)["agent_id"]
    if trial.agent_type:
        return
    if not agent_id:
        session.warn(f"Coval does not show the agent of run {trial.run_id}. {UNSEEN} Set agent_id.")
        return
    until = session.times.informing(session.clock.now(), READING)
    trial.agent_type = yield from read_agent_type(session, agent_id, until=until)


class GivenRun(NamedTuple):
    """`leg` and `number` are those in the run's metadata; without them, "" and 0. `part`: as of `part_of`.

    `places`: the workflow run and the step that launched it; empty if it does not show them.
    """

    trial: Trial
    leg: str
    number: int
    part: str
    places: Set[tuple[str, str]]


def adopt_runs(session: StepRun) -> Procedure[None]:
    """Guard the runs that the inputs choose, and give each to its leg. Raises CovalError, RunnerError.

    Raises InputError if a run has no leg, or a leg no run; GateError if the newest run of a source is unclear.
    """
    step = session.step
    ids, source = session.inputs.run_id
    if source:
        yield from _adopt_newest(session, source)
        return
    legs = step.all_legs
    step.unplaced = Leg(session.inputs)
    trials = [_guard(session.of(_likely_leg(step, place, len(ids))), id_) for place, id_ in enumerate(ids)]
    if len(legs) > 1 or len(ids) > 1 or legs[0].name:
        try:
            runs = all_or_first_error((yield from together((_poll(session, id_) for id_ in ids), session.clock)))
            own_runs = _runs_of_legs(legs, [*map(_given, trials, runs)])
        except GateError as error:
            if isinstance(error, InputError) or (isinstance(error, NotFound) and error.by_coval):
                for trial in trials:  # the inputs are wrong, so they must not cancel a run either
                    trial.release()
                for leg in (*legs, step.unplaced):
                    leg.take([])
            raise
        step.unplaced.take([])
        for leg, own in zip(legs, own_runs, strict=True):
            leg.take([given.trial for given in own])
        step.record_id(ids[0])
    for leg in legs:
        for trial in leg.trials:
            own_session = session.of(leg)
            own_session.log(f"Taking over run {trial.run_id}: {step.run_url(trial.run_id)}")


def _likely_leg(step: Step, place: int, number: int) -> Leg:
    """Return the leg of the run at that place among so many, until the runs show theirs.

    They stand in the order of a launch's outputs: the first runs of all legs, and then repetitions, of any leg. With
    fewer ids than legs, the launch missed a leg, and no id says which.
    """
    legs = step.all_legs
    if len(legs) == 1:
        return legs[0]
    return legs[place] if place < len(legs) <= number else step.unplaced


def _adopt_newest(session: StepRun, source: RunSource) -> Procedure[None]:
    step = session.step
    found: dict[str, Leg] = {}
    for leg in step.legs:
        own = session.of(leg)
        run = yield from find_newest(own, source, step.context)
        if twin := found.get(run.run_id):
            legs = in_words([quoted(twin.key), quoted(leg.key)])
            raise InputError([InvalidInput("run_id", f"finds the same run, {run.run_id}, for {legs}. Name each run.")])
        found[run.run_id] = leg
        _guard(own, run.run_id)
        own.log(f"{found_text(run, source)}: {step.run_url(run.run_id)}")


def _guard(session: LegRun, run_id: str) -> Trial:
    """Nothing cancels the newest run of a source, because others may need it."""
    step = session.step
    trial = step.begin_trial(session.leg)
    trial.identify(run_id, at=session.clock.now())
    trial.guard(cancel=session.inputs.cancel_on_interrupt and not session.inputs.run_id.newest)
    step.record_id(run_id)
    return trial


def _poll(session: Session, run_id: str) -> Procedure[Run]:
    """A run that was launched a moment ago gets some time; a wrong id is reported soon. Raises CovalError."""
    clock = session.clock
    unknown = min(session.deadline, unknown_until(session))
    while True:
        try:
            return (yield from session.client.get_run(run_id, until=session.deadline))
        except NotFound:
            left = unknown - clock.now()
            if left <= 0:
                raise
        yield Wait(min(NOT_FOUND_PAUSE, left))


def _given(trial: Trial, run: Run) -> GivenRun:
    number = run.metadata.get(REPETITION)
    return GivenRun(trial, recorded_leg(run), number if type(number) is int else 0, part_of(run), places_of(run))


def _runs_of_legs(legs: Sequence[Leg], given: Sequence[GivenRun]) -> list[list[GivenRun]]:
    """Return the runs of each leg: the first, and its repetitions in order. Raises InputError with every problem.

    A single leg that only its ids identify takes any run; its first poll compares them.
    """
    by_key = {leg.key: leg for leg in legs}
    unnamed = next((leg for leg in legs if not leg.name), None)
    own: dict[str, list[GivenRun]] = {leg.key: [] for leg in legs}
    problems = [part_text(run.trial.run_id, SLICE) for run in given if run.part == SLICE]
    for run in sorted(given, key=lambda run: run.number) if not problems else ():
        leg = by_key.get(run.leg) or (unnamed if run.leg else legs[0] if len(legs) == len(given) == 1 else None)
        if leg:
            own[leg.key].append(run)
        elif run.leg:
            problems.append(
                f"names run {run.trial.run_id}, which is of {legs_in_words([run.leg])}; the legs of this step are "
                f"{legs_in_words(by_key)}. {AS_LAUNCHED}"
            )
        else:
            problems.append(
                f"names run {run.trial.run_id}, but Coval does not show its leg. A step with one leg can wait for "
                "such a run, and for no other one beside it."
            )
    if not problems:
        problems = [problem for leg, runs in own.items() for problem in _problems(leg, runs)]
    if not problems:
        problems = [problem for leg in legs for problem in _parts_of_others(leg, own)]
    if problems:
        raise InputError([InvalidInput("run_id", problem) for problem in problems])
    return list(own.values())


def _parts_of_others(leg: Leg, own: Mapping[str, Sequence[GivenRun]]) -> Iterator[str]:
    """Yield the repetitions and bases that another step launched than the leg's first run, as ends of a sentence."""
    first, *repetitions = own[leg.key]
    for run in (*repetitions, *(own[leg.base.key] if leg.base else ())):
        if first.places and run.places and not first.places & run.places:
            what = PARTS.get(run.part, "another run of its leg")
            yield (
                f"names run {run.trial.run_id}, which is {what}. Another step launched it than run "
                f"{first.trial.run_id}. {AS_LAUNCHED}"
            )


def _problems(leg: str, runs: Sequence[GivenRun]) -> Iterator[str]:
    """Yield what is wrong with the runs of a leg, each as the end of a sentence."""
    if not runs:
        yield f"names no run of {legs_in_words([leg])}, which is a leg of this step. {AS_LAUNCHED}"
    elif runs[0].number:
        yield part_text(runs[0].trial.run_id, REPETITION)
    if len(recorded := {run.leg: None for run in runs}) > 1:
        yield f"names runs of {legs_in_words(recorded)}, but this step has one leg. {AS_LAUNCHED}"
        return
    for one, other in pairwise(runs):
        if one.number == other.number:
            what = f"repetition {one.number}" if one.number else "the first run"
            ids = in_words([one.trial.run_id, other.trial.run_id])
            yield f"names two runs that are {what} of {legs_in_words([one.leg])}: {ids}."
