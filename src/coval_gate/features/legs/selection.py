"""Selects the legs of a step that only_legs names. The step leaves the others out, and no report shows them."""

from coval_gate.base.errors import InputError
from coval_gate.base.text import in_words, quoted
from coval_gate.inputs.fields import fits
from coval_gate.inputs.inputs import FromFile, Inputs, InvalidInput, SelectedLegs
from coval_gate.inputs.naming import NAME_SHOWN
from coval_gate.step.leg import MOST_NAMED, Leg, legs_of
from coval_gate.step.step import Step


def leave_out_others(step: Step) -> None:
    """Give the step those of its legs that it evaluates. Raises InputError with the patterns that fit none."""
    patterns, planned = step.inputs.only_legs or (), step.legs
    step.legs = [leg for leg in planned if _is_selected(leg, step.inputs)]
    if patterns and not planned:  # a plan without a key does not know the legs of a template
        return
    if unfit := [pattern for pattern in patterns if not any(_fits(leg, pattern) for leg in planned)]:
        legs = [quoted(name, NAME_SHOWN) for leg in planned if (name := _name_of(leg))]
        what = f"names {in_words([*map(quoted, unfit)])}, but this step has no such leg. "
        raise InputError([InvalidInput("only_legs", f"{what}Its legs are {in_words(legs)}." if legs else what.strip())])
    step.selected = SelectedLegs(len(step.legs), len(planned))
    own = {leg.key for leg in step.all_legs}
    step.left_out = frozenset(one.key for leg in planned for one in (leg, leg.base) if one and one.key not in own)
    if step.legs:
        names = in_words([quoted(_name_of(leg), NAME_SHOWN) for leg in step.legs], most=MOST_NAMED)
        step.host.log(f"Selected {step.selected}: {names}.")


def selected_parts(file: FromFile, inputs: Inputs) -> FromFile:
    """Return the file with the legs of which a step evaluates some combination of ids."""
    return file._replace(legs=[part for part in file.legs if any(_is_selected(leg, inputs) for leg in legs_of([part]))])


def _is_selected(leg: Leg, inputs: Inputs) -> bool:
    return any(_fits(leg, pattern) for pattern in inputs.only_legs or ())


def _fits(leg: Leg, pattern: str) -> bool:
    """A leg's name in the file stands for all combinations of its ids."""
    return fits(_name_of(leg), pattern) or bool(leg.beginning and fits(leg.beginning, pattern))


def _name_of(leg: Leg) -> str:
    """Return all ids of a leg that is alone; empty for a run that is given without them."""
    return leg.name or leg.key
