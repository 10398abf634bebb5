"""Gives each leg of the plan the runs that mode wait was given: its first run, and repetitions of that.

A run's own metadata name its leg and its number. A run without them belongs to a leg only if both are alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from coval_gate.base.errors import GateError, InputError, NotFound
from coval_gate.base.schedule import Wait, all_or_first_error, together
from coval_gate.base.text import in_words, quoted
from coval_gate.ci.host import IS_BASE, REPETITION, SLICE
from coval_gate.coval.client import Session
from coval_gate.coval.model import Run
from coval_gate.features.given.newest import find_newest, found_text
from coval_gate.history.tags import PART_USES, origins, part_of, recorded_leg, tags_of
from coval_gate.inputs.fields import RunSource
from coval_gate.inputs.inputs import InvalidInput, ids_of, noun
from coval_gate.step.leg import MOST_NAMED, Leg, Phase, Trial
from coval_gate.step.step import LegRun, StepRun
from coval_gate.step.watch import NOT_FOUND_PAUSE, unknown_until

AS_LAUNCHED: Final = "Use the inputs and the configuration file of the launch."


Given = tuple[Trial, Run]  # what the step knows of a run that it was given, and what Coval shows of it


async def adopt_runs(session: StepRun) -> None:
    """Give each run that the inputs choose to its leg. Raises CovalError, RunnerError.

    Raises InputError if a run has no leg, or a leg no run; GateError if the newest run of a source is unclear.
    """
    step = session.step
    ids, source = session.inputs.run_id
    if source:
        await _adopt_newest(session, source)
        return
    legs = step.all_legs
    step.unplaced = Leg(session.inputs)
    holder = legs[0] if len(legs) == 1 and not step.left_out else step.unplaced
    trials = [_begin(session.of(holder), id_) for id_ in ids]
    if len(legs) > 1 or len(ids) > 1 or legs[0].name:
        await _place(session, trials)
        step.record_id(ids[0])
    for leg in legs:
        for trial in leg.trials:
            session.of(leg).log(f"Taking over run {trial.run_id}: {step.run_url(trial.run_id)}")


async def _place(session: StepRun, trials: Sequence[Trial]) -> None:
    """Give each run to the leg that it shows. Raises as `adopt_runs`."""
    step, legs = session.step, session.step.all_legs
    polls = [_poll_given(session, trial.run_id) for trial in trials]
    try:
        runs = all_or_first_error(await together(polls, session.clock))
        own_runs = _runs_of_legs(legs, _of_selected(session, [*zip(trials, runs, strict=True)]))
    except GateError as error:
        if isinstance(error, InputError) or (isinstance(error, NotFound) and error.by_coval):
            for leg in (*legs, step.unplaced):
                leg.take([])
        raise
    step.unplaced.take([])
    for leg, own in zip(legs, own_runs, strict=True):
        leg.take([trial for trial, _ in own])
        for trial, run in own:
            guard_given(leg, trial, run)


def _of_selected(session: StepRun, given: Sequence[Given]) -> list[Given]:
    """Return the runs of selected legs. The step leaves the others alone."""
    others = [(trial, run) for trial, run in given if recorded_leg(run) in session.step.left_out]
    for _, run in others:
        session.log(f"Leaving run {run.run_id} alone: its leg is not selected.")
    return [pair for pair in given if pair not in others]


async def _adopt_newest(session: StepRun, source: RunSource) -> None:
    step = session.step
    found: dict[str, Leg] = {}
    for leg in step.legs:
        own = session.of(leg)
        run = await find_newest(own, source, step.context)
        if twin := found.get(run.run_id):
            legs = in_words([quoted(twin.key), quoted(leg.key)])
            raise InputError([InvalidInput("run_id", f"finds the same run, {run.run_id}, for {legs}. Name each run.")])
        found[run.run_id] = leg
        _begin(own, run.run_id).guard(cancel=False)  # others may need the newest run of a source
        own.log(f"{found_text(run, source)}: {step.run_url(run.run_id)}")


def _begin(session: LegRun, run_id: str) -> Trial:
    trial = session.step.begin_trial(session.leg)
    trial.identify(run_id, at=session.clock.now())
    session.step.record_id(run_id)
    return trial


def guard_given(leg: Leg, trial: Trial, run: Run) -> None:
    """Guard a run that the user names, once Coval shows that it is the leg's. Raises RunnerError."""
    if trial.phase is not Phase.PLANNED or problems_of(leg, trial, run):
        return
    if run.is_over:
        trial.release()
    elif all(run.ids[name] for name, id_ in ids_of(leg.inputs).items() if id_):
        trial.guard(cancel=leg.inputs.cancel_on_interrupt)


async def _poll_given(session: Session, run_id: str) -> Run:
    """A run that was launched a moment ago gets some time; a wrong id is reported soon. Raises CovalError."""
    clock = session.clock
    unknown = min(session.deadline, unknown_until(session))
    while True:
        try:
            return await session.client.get_run(run_id, until=session.deadline)
        except NotFound:
            left = unknown - clock.now()
            if left <= 0:
                raise
        await Wait(min(NOT_FOUND_PAUSE, left))


def _repetition_of(run: Run) -> int:
    """Return which repetition a run is, by its metadata; 0 for a first run, or without them."""
    number = run.metadata.get(REPETITION)
    return number if type(number) is int else 0


def _runs_of_legs(legs: Sequence[Leg], given: Sequence[Given]) -> list[list[Given]]:
    """Return the runs of each leg: the first, and its repetitions in order. Raises InputError with every problem.

    A single leg that only its ids identify takes any run; its first poll compares them.
    """
    by_key = {leg.key: leg for leg in legs}
    unnamed = next((leg for leg in legs if not leg.name), None)
    own: dict[str, list[Given]] = {leg.key: [] for leg in legs}
    problems = [part_text(run.run_id, SLICE) for _, run in given if part_of(run) == SLICE]
    for trial, run in sorted(given, key=lambda pair: _repetition_of(pair[1])) if not problems else ():
        key = recorded_leg(run)
        leg = by_key.get(key) or (unnamed if key else legs[0] if len(legs) == len(given) == 1 else None)
        if leg:
            own[leg.key].append((trial, run))
        elif key:
            problems.append(
                f"names run {trial.run_id}, which is of {legs_in_words([key])}; the legs of this step are "
                f"{legs_in_words(by_key)}. {AS_LAUNCHED}"
            )
        else:
            problems.append(
                f"names run {trial.run_id}, but Coval does not show its leg. A step with one leg can wait for "
                "such a run, and for no other one beside it."
            )
    if not problems:
        problems = [
            problem for key, pairs in own.items() for problem in _problems_of_leg(key, [run for _, run in pairs])
        ]
    if not problems:
        problems = [problem for leg in legs for problem in _parts_of_others(leg, own)]
    if problems:
        raise InputError([InvalidInput("run_id", problem) for problem in problems])
    return list(own.values())


def _parts_of_others(leg: Leg, own: Mapping[str, Sequence[Given]]) -> Iterator[str]:
    """Yield the repetitions and bases that another step launched than the leg's first run, as ends of a sentence."""
    (_, first), *repetitions = own[leg.key]
    for _, run in (*repetitions, *(own[leg.base.key] if leg.base else ())):
        places, others = (
            {(origin.workflow_run, origin.place) for origin in origins(tags_of(one))} for one in (first, run)
        )
        if places and others and not places & others:
            what = PART_USES.get(part_of(run), "another run of its leg")
            yield (
                f"names run {run.run_id}, which is {what}. Another step launched it than run {first.run_id}. "
                f"{AS_LAUNCHED}"
            )


def _problems_of_leg(leg: str, runs: Sequence[Run]) -> Iterator[str]:
    """Yield what is wrong with the runs of a leg, each as the end of a sentence."""
    if not runs:
        yield f"names no run of {legs_in_words([leg])}, which is a leg of this step. {AS_LAUNCHED}"
    elif _repetition_of(runs[0]):
        yield part_text(runs[0].run_id, REPETITION)
    if len(recorded := dict.fromkeys(map(recorded_leg, runs))) > 1:
        yield f"names runs of {legs_in_words(recorded)}, but this step has one leg. {AS_LAUNCHED}"
        return
    for one, other in pairwise(runs):
        if (number := _repetition_of(one)) == _repetition_of(other):
            what = f"repetition {number}" if number else "the first run"
            ids = in_words([one.run_id, other.run_id])
            yield f"names two runs that are {what} of {legs_in_words([recorded_leg(one)])}: {ids}."


def problems_of(leg: Leg, trial: Trial, run: Run) -> list[InvalidInput]:
    """Return how a run that was launched elsewhere differs from what the leg would launch, as far as Coval shows."""
    part = part_of(run)
    if part and part != (IS_BASE if leg.is_base else REPETITION if trial.number else ""):
        return [InvalidInput("run_id", part_text(run.run_id, part))]
    given = ids_of(leg.inputs)
    problems = [
        InvalidInput(
            name,
            f"is {quoted(given[name])}, but run {run.run_id} has {quoted(id_)}; wait for a run with this {noun(name)}, "
            f"or leave {name} empty.",
        )
        for name, id_ in run.ids.items()
        if id_ and given[name] not in ("", id_)
    ]
    recorded = recorded_leg(run)
    by_ids = not leg.name and {*filter(None, run.ids.values())} <= {*recorded.split(" · ")}
    if not problems and recorded not in ("", leg.key) and not by_ids:
        what = f"names run {run.run_id}, which is of {legs_in_words([recorded])}. This step has no such leg."
        problems = [InvalidInput("run_id", f"{what} {AS_LAUNCHED}")]
    return problems


def part_text(run_id: str, part: str) -> str:
    """Return why no step judges a part as its run, as the end of a sentence."""
    todo = "Give all ids of that step's output run_ids, and its inputs"
    if part == SLICE:
        todo = (
            "No step can wait for slices: judge them in the step that launches them (mode: run), or leave spend empty."
        )
    return f"names run {run_id}, which is {PART_USES[part]}. {todo}."


def legs_in_words(legs: Iterable[str]) -> str:
    return in_words([*map(quoted, legs)], most=MOST_NAMED)
