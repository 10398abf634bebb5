"""Follows a run to its end, and replaces one that an earlier attempt had cancelled."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from coval_gate.base.errors import InputError, NotFound, Unavailable
from coval_gate.base.schedule import Wait, together
from coval_gate.base.text import in_words, one_line, quoted
from coval_gate.ci.host import BASE, BASE_LEG, LEG, REPETITION, ROLE, TESTED, with_run_metadata
from coval_gate.config.inputs import Problem
from coval_gate.flow.launch import announce, launcher_of
from coval_gate.flow.size import check_size
from coval_gate.judge.judgement import UNFINISHED
from coval_gate.model.run import Aborted, Run
from coval_gate.runs import earlier
from coval_gate.runs.cancel import FRESH_TIME
from coval_gate.runs.collect import follow
from coval_gate.runs.launch import differences, not_shown
from coval_gate.runs.tags import provenance_of
from coval_gate.runs.watch import NOT_FOUND_PAUSE, ProgressLog, unknown_until, waiting_title

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from coval_gate.base.schedule import Procedure
    from coval_gate.flow.progress import Progress
    from coval_gate.judge.criteria import Criteria
    from coval_gate.model.run import Outcome
    from coval_gate.runs.legs import Leg, Session, Trial

T = TypeVar("T")
LONGEST_LEG_NAME: Final = 200  # characters
MOST_NAMED: Final = 5  # legs in an error


def follow_trial(
    session: Session, progress: Progress, trial: Trial, criteria: Callable[[], Criteria]
) -> Procedure[Outcome]:
    """Watch the trial's run to its end, and collect its result. Raises CovalError, RunnerError, InputError.

    `criteria` returns those that count once the run was polled.
    """

    def follow_run() -> Procedure[Outcome]:
        return follow(
            session,
            trial.run_id,
            criteria=criteria,
            progress=ProgressLog(session, progress.unknown_statuses),
            record=partial(see, progress, trial),
        )

    left = max(0.0, session.deadline - session.clock.now()) if trial.repetition else session.inputs.max_wait_time
    with session.group(waiting_title(left)):
        watching = _unless_cancelled(session, progress, trial, follow_run())
        try:
            outcome = (yield from watching) or (yield from follow_run())
        except NotFound as error:
            if error.by_coval and trial.run is None and session.inputs.mode == "wait":
                trial.release()  # the id is wrong: there is no run to cancel
            raise
    trial.is_hopeless = isinstance(outcome, Aborted)
    if session.inputs.mode == "wait" and trial.run and (text := not_shown(session.inputs, trial.run)):
        session.warn(text)
    return outcome


def recognize_legs(session: Session, progress: Progress) -> Procedure[None]:
    """Find out in mode wait what each run is: its leg's name, whether it repeats another, and is the base of others.

    What Coval does not show stays unknown: the leg keeps its id as its name, and a threshold that compares with the
    base has none, so that it is an error.
    """
    compares = any(threshold.bound.reference == "base" for threshold in progress.inputs.thresholds)
    if len(progress.legs) == 1 and not compares and not progress.file.legs:
        return
    polls = (_first_poll(session, leg.first.run_id) for leg in progress.legs)
    results = yield from together(polls, session.clock)
    for leg, result in zip(progress.legs, results, strict=True):
        # What a run is must not be guessed if it shows up later: it may be the base of others.
        leg.unknown = result if isinstance(result, NotFound) and result.by_coval else None
    runs = {id(leg): run for leg, run in zip(progress.legs, results, strict=True) if isinstance(run, Run)}
    progress.legs = _with_repetitions(progress.legs, runs)
    _name(progress.legs, runs)
    if progress.file.legs:
        _judge_by_file(progress)
    _pair(progress, runs)
    if len(progress.legs) == 1 and not progress.file.legs:
        progress.legs[0].name = ""


def _judge_by_file(progress: Progress) -> None:
    """Give the runs the inputs of the file's legs of the same names. A run that is none of them is an error."""
    by_name = {given.name: given.inputs for given in progress.file.legs}
    for leg in progress.legs:
        leg.is_listed = leg.name in by_name
        if leg.is_listed:
            leg.inputs = by_name[leg.name]._replace(run_id=leg.inputs.run_id)
        else:
            what = f"has no leg {quoted(leg.name)}; its legs are {in_words([*map(quoted, by_name)], most=MOST_NAMED)}."
            leg.unknown = leg.unknown or InputError([Problem(progress.file.path, what)])


def _first_poll(session: Session, run_id: str) -> Procedure[Run]:
    """Poll a run that was perhaps launched a moment ago. Raises CovalError.

    A wrong id is reported soon. If Coval does not respond, the step does not guess the legs of the run.
    """
    clock = session.clock
    until = min(session.deadline, clock.now() + FRESH_TIME)
    unknown = min(session.deadline, unknown_until(session))
    while True:
        try:
            return (yield from session.client.get_run(run_id, until=until))
        except NotFound:
            left = unknown - clock.now()
            if left <= 0:
                raise
        yield Wait(min(NOT_FOUND_PAUSE, left))


def _with_repetitions(legs: Sequence[Leg], runs: Mapping[int, Run]) -> list[Leg]:
    """Return the legs without those that are repetitions of others, which get their trials, in order."""
    numbers = {id(leg): number for leg in legs if (number := _repetition_of(runs.get(id(leg))))}
    firsts = [leg for leg in legs if id(leg) not in numbers]
    kept = list(firsts)
    for leg in sorted((leg for leg in legs if id(leg) in numbers), key=lambda leg: numbers[id(leg)]):
        repeated = [first for first in firsts if id(first) in runs and _is_repeated(runs[id(first)], runs[id(leg)])]
        if len(repeated) == 1:
            leg.first.repetition = numbers[id(leg)]
            repeated[0].trials.append(leg.first)
        else:
            kept.append(leg)
    return kept


def _repetition_of(run: Run | None) -> int:
    number = run.metadata.get(REPETITION) if run else None
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else 0


def _is_repeated(first: Run, later: Run) -> bool:
    same = ("agent_id", "persona_id", "test_set_id")
    return all(getattr(first, name) == getattr(later, name) for name in same) and _name_in(first) == _name_in(later)


def _name(legs: Sequence[Leg], runs: Mapping[int, Run]) -> None:
    """Give the legs the names with which their runs were launched."""
    names = [_name_in(runs[id(leg)]) if id(leg) in runs else "" for leg in legs]
    taken = {*names, *(leg.name for leg in legs)}
    for leg, name in zip(legs, names, strict=True):
        if name and names.count(name) == 1 and len(taken) == 2 * len(names):
            leg.name = name


def _pair(progress: Progress, runs: Mapping[int, Run]) -> None:
    """Give each tested leg its base, which has the same persona and test set."""

    def have_role(role: str) -> list[Leg]:
        return [leg for leg in progress.legs if (run := runs.get(id(leg))) and run.metadata.get(ROLE) == role]

    bases, tested = have_role(BASE), have_role(TESTED)
    if not tested:
        return
    for leg in bases:
        leg.is_base = True
        for trial in leg.trials:
            trial.is_base = True
    progress.legs = [leg for leg in progress.legs if not leg.is_base]
    for leg in tested:
        leg.inputs = leg.inputs._replace(base_agent_id=BASE)  # thresholds on `base` are about it, even if it is missing
        run = runs[id(leg)]
        named = [base for base in bases if _name_in(runs[id(base)]) == run.metadata.get(BASE_LEG)]
        alike = named or [base for base in bases if _are_alike(runs[id(base)], run)]
        leg.base = alike[0] if len(alike) == 1 else None
    progress.unpaired = [base for base in bases if base not in progress.bases]
    for base in bases:
        base.wanted = len(base.trials)
        base.name = base.name if base.name.startswith(BASE) else BASE
        own = next((leg.inputs for leg in tested if leg.base is base), base.inputs)
        base.inputs = own._replace(agent_id=(runs[id(base)].agent_id,), base_agent_id="", baseline=None)


def _are_alike(run: Run, other: Run) -> bool:
    """Return whether two runs have the same persona and test set, as far as Coval shows them."""
    pairs = ((run.persona_id, other.persona_id), (run.test_set_id, other.test_set_id))
    return all(one == another or not (one and another) for one, another in pairs)


def _name_in(run: Run) -> str:
    """Return the name of the leg that a run was launched with; empty if it shows none."""
    name = run.metadata.get(LEG)
    return one_line(name, LONGEST_LEG_NAME).strip() if isinstance(name, str) else ""


def warn_of_other_legs(session: Session, progress: Progress) -> None:
    """Warn in mode wait if the step that launched the runs launched others, too, which this step does not judge."""
    most = progress.planned_legs
    if most > len(progress.legs):
        session.warn(
            f"These runs are legs of a step that has {most:,}, and this step judges {len(progress.legs):,} of them. To "
            "judge all, pass the output run_ids of that step; a leg that is not in it was not launched."
        )


def confirm(session: Session, progress: Progress, leg: Leg) -> Procedure[None]:
    """Briefly watch a run that was taken over, and replace it if it is being cancelled. Raises as `launch`."""
    trial = leg.first
    watching = earlier.confirm(
        session,
        trial.run_id,
        progress=ProgressLog(session, progress.unknown_statuses),
        record=partial(see, progress, trial),
    )
    try:
        yield from _unless_cancelled(session, progress, trial, watching)
    except (NotFound, Unavailable):
        if not trial.run_id:
            raise  # the launch that was to replace it failed


def see(progress: Progress, trial: Trial, run: Run) -> None:
    """Record what a poll showed.

    Raises InputError if the inputs of mode wait name another run, and GateError if it is larger than planned.
    """
    trial.see(run, at=progress.clock.now())
    leg = next(leg for leg in progress.all_legs if trial in leg.trials)
    check_size(leg, run)
    if progress.inputs.mode == "wait":
        _check_is_meant(leg, trial, run)
        progress.context = with_run_metadata(progress.context, provenance_of(run, progress.context.repository))
        progress.publisher.pages.owe(progress.report(UNFINISHED))


def _unless_cancelled(
    session: Session, progress: Progress, trial: Trial, watching: Procedure[T]
) -> Procedure[T | None]:
    """Return what `watching` the run returns; None if an earlier attempt had cancelled it, and it was replaced."""
    if trial.tags is None or not trial.resumed:
        return (yield from watching)
    launcher = launcher_of(session, progress, trial, trial.tags)
    replace_run = partial(launcher.launch_instead, cancel=session.inputs.cancel_on_interrupt)
    ended = yield from earlier.unless_cancelled(session, trial, watching, replace_run)
    if ended is None:
        session.log(f"Launched run {trial.run_id}: {progress.run_url(trial.run_id)}")
        yield from announce(progress)
    return ended


def _check_is_meant(leg: Leg, trial: Trial, run: Run) -> None:
    """Raise InputError if the inputs name another run, and leave this one alone then."""
    inputs = leg.inputs._replace(agent_id=()) if leg.is_base else leg.inputs
    if problems := differences(inputs, run):
        trial.release()
        raise InputError(problems)
