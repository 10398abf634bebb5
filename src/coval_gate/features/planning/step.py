"""Shows in mode plan all that the step would do, and every mistake at once.

Mode plan only reads. What Coval refuses to show is skipped; that is not an error.
"""

from collections.abc import Sequence
from typing import Final

from coval_gate.base.errors import InputError
from coval_gate.base.schedule import Procedure, all_or_first_error, together
from coval_gate.base.text import in_words, one_line, percent, plural
from coval_gate.coval.resources import TestSet
from coval_gate.features.advice.ids import Looked, look_up_mutations, prepared, read_named
from coval_gate.features.comparisons.step import check_baseline
from coval_gate.features.known_failures.step import give_known, known_lines
from coval_gate.features.planning.decidable import legs_by_thresholds, power_lines, undecidable_lines
from coval_gate.features.planning.replay import replay
from coval_gate.features.planning.sizes import exceeded_text
from coval_gate.features.spending import words as slices
from coval_gate.features.spending.step import draw_slices
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.verdict import PLANNED_ONLY, OnlyRead
from coval_gate.inputs.inputs import UNTIL_CLEAR, InvalidInput, ids_of
from coval_gate.step.leg import MOST_NAMED, Leg
from coval_gate.step.lookups import check_names
from coval_gate.step.sizes import SETS_PERMISSION, count_runs, size_of
from coval_gate.step.step import Step, StepRun

MOST_LINES: Final = 100
LONGEST_SHOWN_NAME: Final = 60  # characters


async def plan_step(step: Step) -> Judgement:
    """Show the plan, and return a judgement without a verdict. Raises InputError with every mistake."""
    inputs = step.inputs
    looked = Looked({}, [], ["Nothing in Coval was looked up, because there is no API key."])
    if inputs.api_key is not None:
        looked = await _look_up_all(step.session())
    cases = {  # by test set, as far as Coval shows their number
        id_: resource.cases
        for (_, id_), resource in looked.resources.items()
        if isinstance(resource, TestSet) and resource.cases is not None and not resource.has_parameters
    }
    for leg in step.all_legs:
        leg.planned = size_of(leg.inputs, cases)
    if inputs.api_key is not None:
        looked.problems.extend(await _problems_of(give_known(step.session())))
    if inputs.api_key is not None:
        looked.problems.extend(await _problems_of(draw_slices(step.session())))
    is_fine = inputs.api_key is not None and not looked.problems
    replayed = await replay(step.session(), looked) if is_fine else []
    total = step.planned_simulations
    _check_limit(step, total, looked)
    groups = legs_by_thresholds(step)
    lines = [
        *_leg_lines(step, looked),
        *(line for legs in groups for line in _lines_of_group(step, legs, alone=len(groups) == 1)),
        *known_lines(step),
        *replayed,
        *(f"Not checked: {why}" for why in looked.unchecked),
    ]
    step.host.quote(*lines)
    if looked.problems:
        raise InputError(list(dict.fromkeys(looked.problems)))
    for leg in step.legs:
        beside = f", and one of the base agent beside {'each' if leg.slices else 'it'}" if leg.base else ""
        runs = f"At most {count_runs([leg])}" if leg.slices else "A run"
        what = f"{runs} with {_size_text(leg)}{beside} would be launched."
        leg.judgement = Judgement(None, PLANNED_ONLY, OnlyRead(what))
        leg.is_done = True
    return Judgement(None, PLANNED_ONLY, OnlyRead(_plan_summary(step, total)))


async def _look_up_all(session: StepRun) -> Looked:
    step = session.step
    session = prepared(session)
    looked = await read_named(session, [leg.inputs for leg in step.legs])
    legs = step.all_legs
    # The mistakes that a launch of a leg would find: missing metrics, and an unusable baseline.
    checks = [(leg, check(session.of(leg))) for leg in legs for check in (check_names, check_baseline)]
    works = [_problems_of(check) for _, check in checks]
    found = all_or_first_error(await together(works, session.clock))
    for (leg, _), problems in zip(checks, found, strict=True):
        if leg.is_base:
            about_base = "(the run of base_agent_id)."
            problems = [problem._replace(what=f"{problem.what.rstrip('.')} {about_base}") for problem in problems]
        looked.problems.extend(problems)
    await look_up_mutations(session, [leg.inputs for leg in step.legs], looked)
    return looked


async def _problems_of(check: Procedure[None]) -> list[InvalidInput]:
    try:
        await check
    except InputError as error:
        return [InvalidInput(*pair) for pair in error.pairs]
    return []


def _check_limit(step: Step, total: int | None, looked: Looked) -> None:
    most = step.inputs.max_simulations
    if most is None:
        return
    if total is None and step.inputs.api_key is None:
        looked.unchecked.append("max_simulations, because the size is unknown.")
    elif total is None:
        what = (
            "cannot be kept: Coval does not show how many simulations this step has. Give the API key the permission "
            f"{SETS_PERMISSION}, or set test_case_ids."
        )
        looked.problems.append(InvalidInput("max_simulations", what))
    elif total > most:
        looked.problems.append(InvalidInput("max_simulations", exceeded_text(step, total, most)))


def _leg_lines(step: Step, looked: Looked) -> list[str]:
    legs = step.all_legs
    if not legs:
        return ["Runs: unknown, because the run template was not looked up."]
    sizes = [_size_text(leg) for leg in legs]
    width = max(map(len, sizes))
    lines = [f"  {size:>{width}}  {_what(leg, looked)}" for leg, size in zip(legs, sizes, strict=True)]
    more = len(lines) - MOST_LINES
    title = f"Runs of {step.selected}:" if step.selected else "Runs:"
    return [title, *lines[:MOST_LINES], *([f"  … {more:,} more"] if more > 0 else [])]


def _size_text(leg: Leg) -> str:
    if leg.planned is None:
        return "unknown size"
    return f"{'at most ' if leg.inputs.spend == UNTIL_CLEAR else ''}{plural(leg.planned, 'simulation')}"


def _what(leg: Leg, looked: Looked) -> str:
    parts = []
    for name, id_ in ids_of(leg.inputs).items():
        key = "base_agent_id" if leg.is_base and name == "agent_id" else name
        resource = looked.resources.get((key, id_))
        shown = f"{resource.name} ({id_})" if resource and resource.name else id_
        parts.append(f"{key.removesuffix('_id').replace('_', ' ')} {shown}")
    named = f"{one_line(leg.name, LONGEST_SHOWN_NAME)}: " if leg.is_listed and not leg.is_base else ""
    return named + ", ".join(parts)


def _lines_of_group(step: Step, legs: Sequence[Leg], *, alone: bool) -> list[str]:
    smallest = min(legs, key=lambda leg: leg.planned or 0)
    inputs = smallest.inputs
    which = (
        ""
        if alone
        else f" of {in_words([one_line(step.title_of(leg), LONGEST_SHOWN_NAME) for leg in legs], most=MOST_NAMED)}"
    )
    if not inputs.thresholds:
        return [f"Thresholds{which}: none. A run passes if enough simulations complete."]
    how = f"with {percent(inputs.confidence)} confidence" if inputs.confidence is not None else "as counted"
    criteria = Criteria.from_inputs(inputs, legs=len(step.legs))
    return [
        f"Thresholds{which}, decided {how}:",
        *(f"  {'? ' if threshold.advisory else ''}{threshold.text}" for threshold in inputs.thresholds),
        *undecidable_lines(step, legs),
        *power_lines(step, legs),
        *(slices.plan_lines(smallest.slices, criteria) if smallest.slices else ()),
    ]


def _plan_summary(step: Step, total: int | None) -> str:
    if not step.legs:
        return "The runs of the run template would be launched. Nothing was."
    most = "at most " if any(leg.slices for leg in step.legs) else ""
    runs = f"{most.capitalize()}{count_runs(step.legs)}"
    beside = f" and {count_runs(step.bases)} of the base agent" if step.bases else ""
    size = f"with {most}{plural(total, 'simulation')}" if total is not None else "of unknown size"
    is_repeated = any(leg.inputs.repeat_on_failure for leg in step.legs)
    again = ", and as many again for each run that fails" if is_repeated else ""
    selected = f", for {step.selected}" if step.selected else ""
    return f"{runs}{beside} {size} would be launched{again}{selected}. Nothing was."
