"""The size of a step: how many simulations it launches, and their limit.

Several runs, or a limit, are counted before anything is spent. A single run without a limit is launched at once, and
counted afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from coval_gate.base.errors import CovalError, InputError
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import MOST_AT_ONCE, Procedure, all_or_first_error, together
from coval_gate.base.text import one_line, plural
from coval_gate.base.times import preparing, sizing
from coval_gate.coval.client import Session
from coval_gate.coval.resources import TEST_SET, TestSet
from coval_gate.inputs.inputs import Inputs, Problem, ids_of
from coval_gate.step.leg import Base, Leg
from coval_gate.step.step import LegRun, Step, StepRun

PERMISSION: Final = "test-sets:read"
PATIENCE: Final = 300.0  # s during which a size is asked for that a limit needs
LONGEST_NAME: Final = 60  # characters
WORDS: Final = {"agent_id": "agent", "persona_id": "persona", "test_set_id": "test set"}  # by the inputs of the ids


class Unknown(NamedTuple):
    """Why it is not known how many test cases a test set has, and what a user can do about it."""

    what: str
    advice: str


def plan_sizes(session: StepRun) -> Procedure[None]:
    """Record how many simulations each leg launches, and say so.

    Raises InputError if they are more than max_simulations, or if an unknown size makes the limit impossible to keep.
    """
    step = session.step
    most = session.inputs.max_simulations
    cases, unknown = yield from _cases(session, partial(_test_set, session))
    if unknown and most:
        id_, why = next(iter(unknown.items()))
        what = f"cannot be kept: it is not known how many simulations a run on test set {id_} has."
        raise InputError([Problem("max_simulations", f"{what} {why.what} {why.advice}")])
    if unknown:
        id_, why = next(iter(unknown.items()))
        session.log(f"Could not count the simulations on test set {id_}. {why.what}")
    for leg in step.all_legs:
        leg.planned = size_of(leg.inputs, cases)
    if unknown:
        return
    total = sum(leg.planned or 0 for leg in step.all_legs)
    if most and total > most:
        raise InputError([Problem("max_simulations", exceeded_text(step, total, most))])
    session.log(_plan_text(step, total))


def tell_size(session: StepRun, announcing: Procedure[None]) -> Procedure[None]:
    """Say how many simulations the single run has that was just launched, beside `announcing` it.

    What one call does not show in a moment stays untold. The size of a run that was taken over is only recorded.
    """
    step = session.step
    all_or_first_error((yield from together((announcing, _look_up_size(session)), session.clock)))
    (leg,) = step.legs
    if leg.planned is not None and not leg.first.resumed:
        session.log(_plan_text(step, leg.planned))


def _look_up_size(session: StepRun) -> Procedure[None]:
    until = sizing(session.clock.now(), session.deadline)
    if until is None:
        return
    read = partial(session.client.get, TEST_SET, until=until, once=True)
    cases, _ = yield from _cases(session, read)
    (leg,) = session.step.legs
    leg.planned = size_of(leg.inputs, cases)


def fits(session: LegRun) -> bool:
    """Return whether another run keeps to the limit. If not, say so in the log."""
    step, leg = session.step, session.leg
    most = session.inputs.max_simulations
    if most is None or leg.planned is None:
        return True
    launched = sum(map(_launched, step.all_legs))
    base = leg.base
    more = leg.planned + (base.planned or 0 if base and base.wanted <= len(leg.trials) else 0)
    if launched + more <= most:
        return True
    session.log(
        f"The run failed, but running it again would take the step to {launched + more:,} simulations, more "
        f"than max_simulations ({most:,}), so it does not run again."
    )
    return False


def _launched(leg: Leg) -> int:
    """Return how many simulations the leg launched, or will: one that waits for its turn has no trial yet."""
    wanted = leg.wanted if isinstance(leg, Base) else 1
    return (leg.planned or 0) * max(wanted, len(leg.trials))


def for_each_case(inputs: Inputs) -> int:
    """Return how many simulations each test case has: those of the agent and of its mutations."""
    mutations = set(inputs.mutation_ids)
    return inputs.iteration_count * (1 + len(mutations))


def size_of(inputs: Inputs, cases: Mapping[str, int]) -> int | None:
    """Return None if the size of the test set is not among the `cases`, by its id."""
    count = len(inputs.test_case_ids) or cases.get(ids_of(inputs)["test_set_id"])
    if count is None:
        return None
    drawn = count if inputs.test_case_ids else min(count, inputs.sub_sample_size or count)
    return drawn * for_each_case(inputs)


def _cases(
    session: StepRun, read: Callable[[str], Procedure[TestSet]]
) -> Procedure[tuple[dict[str, int], dict[str, Unknown]]]:
    """Return sizes by test set, and the unknown; none where test cases are named. `read` may raise CovalError."""
    counted = [leg.inputs for leg in session.step.all_legs if not leg.inputs.test_case_ids]
    ids = list(dict.fromkeys(ids_of(inputs)["test_set_id"] for inputs in counted))
    test_sets = yield from together(map(read, ids), session.clock, at_once=MOST_AT_ONCE)
    cases, unknown = dict[str, int](), dict[str, Unknown]()
    for id_, test_set in zip(ids, test_sets, strict=True):
        if isinstance(test_set, CovalError):
            unknown[id_] = Unknown(
                test_set.what, f"Give the API key the permission {PERMISSION}, or set test_case_ids."
            )
        elif test_set.cases is None:
            unknown[id_] = Unknown("Coval does not count its test cases.", "Set test_case_ids.")
        elif test_set.has_parameters:
            unknown[id_] = Unknown(
                "It has parameters, which may multiply its test cases.", "Leave max_simulations empty."
            )
        else:
            cases[id_] = test_set.cases
    return cases, unknown


def _test_set(session: Session, id_: str) -> Procedure[TestSet]:
    """Return a test set. Where a limit needs its size, a hiccup of Coval may not end the step. Raises CovalError."""
    now, deadline = session.clock.now(), session.deadline
    until = min(deadline, now + PATIENCE) if session.inputs.max_simulations else preparing(now, deadline)
    return session.client.get(TEST_SET, id_, until=until)


def _plan_text(step: Step, total: int) -> str:
    """Return how many simulations the step launches: those of the base agent and of repetitions are named apart."""
    most, runs = step.inputs.max_simulations, len(step.all_legs)
    of_bases = sum(base.planned or 0 for base in step.bases)
    parts = [f"This step launches {plural(total, 'simulation')}"]
    if runs > 1:
        parts.append(f" in {plural(runs, 'run')}")
    else:
        parts.append(_names_text(step))
    if of_bases:
        parts.append(f", {of_bases:,} of them of the base agent")
    parts.append(".")
    if again := sum(leg.inputs.repeat_on_failure * (leg.planned or 0) for leg in step.all_legs):
        parts.append(f" Repetitions of runs that fail may add up to {again:,}.")
    if most:
        parts.append(f" At most {most:,} are allowed.")
    return "".join(parts)


def _names_text(step: Step) -> str:
    """Return what the only run evaluates, as far as responses showed its name by now; empty where none did."""
    ids = ids_of(step.legs[0].inputs)
    names = {word: step.name_of(kind, ids[kind]) for kind, word in WORDS.items()}
    named = [f"{word} {one_line(name, LONGEST_NAME)}" for word, name in names.items() if name]
    return f" ({', '.join(named)})" if named else ""


def exceeded_text(step: Step, total: int, most: int) -> str:
    legs = f" in {plural(len(step.all_legs), 'run')}" if len(step.all_legs) > 1 else ""
    return (
        f"allows {plural(most, 'simulation')}, but this step would launch {total:,}{legs}. Nothing was launched: raise "
        "it, or reduce them with sub_sample_size, test_case_ids or iteration_count."
    )
