"""Counts the simulations of several runs, or for a limit (max_simulations), before anything is spent."""

from coval_gate.base.errors import InputError
from coval_gate.base.text import plural
from coval_gate.base.times import LOOKING_UP, preparing
from coval_gate.features.spending.step import draw_slices
from coval_gate.inputs.inputs import UNTIL_CLEAR, InvalidInput
from coval_gate.step.sizes import counted_cases, plan_text, size_of
from coval_gate.step.step import Step, StepRun


async def plan_sizes(session: StepRun) -> None:
    """Record how many simulations each leg has. Draw the slices of those that have some.

    Raises InputError if an unknown size makes max_simulations impossible to keep.
    """
    step = session.step
    most = session.inputs.max_simulations
    now, deadline = session.clock.now(), session.deadline
    # Where a limit needs the sizes, a hiccup of Coval may not end the step.
    until = min(deadline, now + LOOKING_UP) if most else preparing(now, deadline)
    cases, unknown = await counted_cases(session, until)
    if unknown:
        id_, (why, advice) = next(iter(unknown.items()))
        if most:
            what = f"cannot be kept: it is not known how many simulations a run on test set {id_} has."
            raise InputError([InvalidInput("max_simulations", f"{what} {why} {advice}")])
        session.log(f"Could not count the simulations on test set {id_}. {why}")
    for leg in step.all_legs:
        leg.planned = size_of(leg.inputs, cases)
    if any(leg.inputs.spend == UNTIL_CLEAR for leg in step.legs):
        await draw_slices(session)


def check_sizes(session: StepRun) -> None:
    """Log how many simulations are launched now. Raises InputError if they are more than max_simulations."""
    step, most = session.step, session.inputs.max_simulations
    total = step.planned_simulations
    if total is None:
        return
    if most and total > most:
        raise InputError([InvalidInput("max_simulations", exceeded_text(step, total, most))])
    session.log(plan_text(step, total))


def exceeded_text(step: Step, total: int, most: int) -> str:
    legs = f" in {plural(len(step.all_legs), 'run')}" if len(step.all_legs) > 1 else ""
    return (
        f"allows {plural(most, 'simulation')}, but this step would launch {total:,}{legs}. Nothing was launched: raise "
        "it, or reduce them with sub_sample_size, test_case_ids or iteration_count."
    )
