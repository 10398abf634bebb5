"""Counts the simulations that a step launches: of a single run without a limit, once it was launched."""

from collections.abc import Mapping, Sequence
from typing import Final

from coval_gate.base.errors import CovalError
from coval_gate.base.schedule import MOST_AT_ONCE, Procedure, all_or_first_error, together
from coval_gate.base.text import plural
from coval_gate.base.times import sizing
from coval_gate.coval.resources import TEST_SET
from coval_gate.inputs.inputs import UNTIL_CLEAR, Inputs, ids_of, noun
from coval_gate.step.leg import Leg, for_each_case
from coval_gate.step.step import Step, StepRun

SETS_PERMISSION: Final = "test-sets:read"


async def tell_size(session: StepRun, announcing: Procedure[None]) -> None:
    """Log how many simulations the run has that was just launched. Announce the run meanwhile.

    If one call does not show the number in a moment, log nothing. If the run was taken over, only record it.
    """
    (leg,) = session.step.legs
    was_known = bool(most_cases_of(leg))

    async def look_up() -> None:
        if until := sizing(session.clock.now(), session.deadline):
            cases, _ = await counted_cases(session, until, once=True)
            leg.planned = size_of(leg.inputs, cases)

    all_or_first_error(await together((announcing, look_up()), session.clock))
    if leg.planned is not None and not leg.first.resumed:
        session.log(plan_text(session.step, leg.planned))
        if session.inputs.mode == "run" and not was_known and leg.inputs.confidence is not None:
            from coval_gate.features.planning.decidable import warn_of_undecidable

            warn_of_undecidable(session.step)


def size_of(inputs: Inputs, cases: Mapping[str, int]) -> int | None:
    """Return None if the size of the test set is not among the `cases`, by its id."""
    count = len(inputs.test_case_ids) or cases.get(ids_of(inputs)["test_set_id"])
    if count is None:
        return None
    drawn = count if inputs.test_case_ids else min(count, inputs.sub_sample_size or count)
    return drawn * for_each_case(inputs)


async def counted_cases(
    session: StepRun, until: float, *, once: bool = False
) -> tuple[dict[str, int], dict[str, tuple[str, str]]]:
    """Return the sizes of test sets, and why others are unknown, with advice.

    Leave out legs that name test cases, and those whose slices are drawn.
    """
    legs = [leg.inputs for leg in session.step.all_legs]
    counted = [inputs for inputs in legs if not inputs.test_case_ids and inputs.spend != UNTIL_CLEAR]
    ids = list(dict.fromkeys(ids_of(inputs)["test_set_id"] for inputs in counted))
    calls = (session.client.get(TEST_SET, id_, until=until, once=once) for id_ in ids)
    test_sets = await together(calls, session.clock, at_once=MOST_AT_ONCE)
    cases, unknown = dict[str, int](), dict[str, tuple[str, str]]()
    for id_, test_set in zip(ids, test_sets, strict=True):
        if isinstance(test_set, CovalError):
            unknown[id_] = test_set.what, f"Give the API key the permission {SETS_PERMISSION}, or set test_case_ids."
        elif test_set.cases is None:
            unknown[id_] = "Coval does not count its test cases.", "Set test_case_ids."
        elif test_set.has_parameters:
            unknown[id_] = "It has parameters, which may multiply its test cases.", "Leave max_simulations empty."
        else:
            cases[id_] = test_set.cases
    return cases, unknown


def plan_text(step: Step, total: int) -> str:
    """Return how many simulations the step launches: those of the base agent and of repetitions are named apart."""
    most = "at most " if any(leg.slices for leg in step.legs) else ""
    if len(step.all_legs) > 1:
        where = f" in {most}{count_runs(step.all_legs)}"
    else:  # what the only run evaluates, as far as responses showed its name by now
        ids = ids_of(step.legs[0].inputs)
        named = [f"{noun(kind)} {name}" for kind, id_ in ids.items() if (name := step.name_of(kind, id_))]
        where = f" ({', '.join(named)})" if named else ""
    text = f"This step launches {most}{plural(total, 'simulation')}{where}"
    if on_bases := sum(base.to_launch or 0 for base in step.bases):
        text += f", {on_bases:,} of them of the base agent"
    if again := sum(leg.inputs.repeat_on_failure * (leg.planned or 0) for leg in step.all_legs):
        text += f". Repetitions of runs that fail may add up to {again:,}"
    if step.inputs.max_simulations:
        text += f". At most {step.inputs.max_simulations:,} are allowed"
    return f"{text}."


def count_runs(legs: Sequence[Leg]) -> str:
    return plural(sum(len(leg.left) for leg in legs), "run")


def most_cases_of(leg: Leg) -> int:
    """Return how many test cases a leg has at most; 0 if that is unknown."""
    inputs = leg.inputs
    return (leg.planned or 0) // for_each_case(inputs) or len(inputs.test_case_ids) or inputs.sub_sample_size or 0
