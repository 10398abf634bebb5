"""Plans a step without launching anything: what it would launch, how it would be judged, and every mistake at once.

It only reads. What Coval refuses to show is not checked, which is no mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from coval_gate.base.errors import InputError
from coval_gate.base.schedule import Procedure, all_or_first_error, together
from coval_gate.base.text import in_words, one_line, percent, plural
from coval_gate.coval.resources import TestSet
from coval_gate.gate.criteria import Criteria, undecidable_texts
from coval_gate.gate.judgement import Judgement, planned
from coval_gate.inputs.inputs import Problem, ids_of
from coval_gate.step.leg import Leg
from coval_gate.step.lookups import check_baseline, check_names
from coval_gate.step.size import PERMISSION, exceeded_text, for_each_case, size_of
from coval_gate.step.step import LegRun, Step, StepRun
from coval_gate.step.wrong_ids import Looked, look_up_mutations, prepared, read_named

MOST_LINES: Final = 100
MOST_NAMED: Final = 5  # legs
LONGEST_NAME: Final = 60  # characters


def plan_step(step: Step) -> Procedure[Judgement]:
    """Show the plan, and return a judgement without a verdict. Raises InputError with every mistake."""
    inputs = step.inputs
    looked = Looked({}, [], ["Nothing in Coval was looked up, because there is no API key."])
    if inputs.api_key is not None:
        looked = yield from _look_up(step.session())
    cases = _cases(looked)
    for leg in step.all_legs:
        leg.planned = size_of(leg.inputs, cases)
    total = _total(step)
    if inputs.api_key is None and total is None and inputs.max_simulations:
        looked.unchecked.append("max_simulations, because the size is unknown.")
    lines = [
        *_leg_lines(step, looked),
        *_threshold_lines(step),
        *(f"Not checked: {why}" for why in looked.unchecked),
    ]
    step.host.quote(*lines)
    problems = [*looked.problems, *_over_the_cap(step, total)]
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    for leg in step.legs:
        leg.judgement, leg.is_done = planned(_leg_summary(leg)), True
    return planned(_summary(step, total))


def _look_up(session: StepRun) -> Procedure[Looked]:
    step = session.step
    session = prepared(session)
    looked = yield from read_named(session, [leg.inputs for leg in step.legs])
    legs = step.all_legs
    works = (_checks_of(session.of(leg)) for leg in legs)
    checks = all_or_first_error((yield from together(works, session.clock)))
    for leg, problems in zip(legs, checks, strict=True):
        if leg.is_base:
            of_base = "(the run of base_agent_id)."
            problems = [problem._replace(what=f"{problem.what.rstrip('.')} {of_base}") for problem in problems]
        looked.problems.extend(problems)
    yield from look_up_mutations(session, [leg.inputs for leg in step.legs], looked)
    return looked


def _checks_of(session: LegRun) -> Procedure[list[Problem]]:
    """Return the mistakes that a launch of the leg would find: metrics that it will lack, a baseline that is none."""
    inputs, works = session.leg.inputs, [check_names(session)]
    if inputs.baseline and inputs.baseline.kind != "base":
        works.append(check_baseline(session, inputs.baseline, ids_of(inputs), session.step.context))
    found = all_or_first_error((yield from together(map(_problems_of, works), session.clock)))
    return [problem for problems in found for problem in problems]


def _problems_of(check: Procedure[None]) -> Procedure[list[Problem]]:
    try:
        yield from check
    except InputError as error:
        return [Problem(*pair) for pair in error.pairs]
    return []


def _cases(looked: Looked) -> dict[str, int]:
    """Return how many test cases the test sets have of which Coval shows it, by their ids."""
    return {
        id_: resource.cases
        for (_, id_), resource in looked.resources.items()
        if isinstance(resource, TestSet) and resource.cases is not None and not resource.has_parameters
    }


def _total(step: Step) -> int | None:
    if not step.legs:
        return None
    sizes = [leg.planned for leg in step.all_legs]
    return None if None in sizes else sum(size or 0 for size in sizes)


def _over_the_cap(step: Step, total: int | None) -> list[Problem]:
    most = step.inputs.max_simulations
    if most is None:
        return []
    if total is None and step.inputs.api_key is None:
        return []
    if total is None:
        what = (
            "cannot be kept: Coval does not say how many simulations this step has. Give the API key the permission "
            f"{PERMISSION}, or set test_case_ids."
        )
        return [Problem("max_simulations", what)]
    return [Problem("max_simulations", exceeded_text(step, total, most))] if total > most else []


def _leg_lines(step: Step, looked: Looked) -> list[str]:
    legs = step.all_legs
    if not legs:
        return ["Runs: unknown, because the run template was not looked up."]
    sizes = [_size_text(leg.planned) for leg in legs]
    width = max(map(len, sizes))
    lines = [f"  {size:>{width}}  {_what(leg, looked)}" for leg, size in zip(legs, sizes, strict=True)]
    more = len(lines) - MOST_LINES
    return ["Runs:", *lines[:MOST_LINES], *([f"  … {more:,} more"] if more > 0 else [])]


def _size_text(size: int | None) -> str:
    return "unknown size" if size is None else plural(size, "simulation")


def _what(leg: Leg, looked: Looked) -> str:
    parts = []
    for name, id_ in ids_of(leg.inputs).items():
        key = "base_agent_id" if leg.is_base and name == "agent_id" else name
        resource = looked.resources.get((key, id_))
        shown = f"{resource.name} ({id_})" if resource and resource.name else id_
        parts.append(f"{key.removesuffix('_id').replace('_', ' ')} {shown}")
    named = f"{one_line(leg.name, LONGEST_NAME)}: " if leg.is_listed and not leg.is_base else ""
    return named + ", ".join(parts)


def _threshold_lines(step: Step) -> list[str]:
    """Return the thresholds as understood, and what none can show at the size of the smallest run that has them."""
    groups: dict[tuple[object, ...], list[Leg]] = {}
    for leg in step.legs or [Leg(step.inputs)]:
        groups.setdefault((leg.inputs.thresholds, leg.inputs.confidence), []).append(leg)
    return [line for legs in groups.values() for line in _lines_of_group(step, legs, alone=len(groups) == 1)]


def _lines_of_group(step: Step, legs: Sequence[Leg], *, alone: bool) -> list[str]:
    smallest = min(legs, key=lambda leg: leg.planned or 0)
    inputs = smallest.inputs
    which = "" if alone else f" of {in_words([one_line(leg.name, LONGEST_NAME) for leg in legs], most=MOST_NAMED)}"
    if not inputs.thresholds:
        return [f"Thresholds{which}: none. A run passes if enough simulations complete."]
    how = f"with {percent(inputs.confidence)} confidence" if inputs.confidence is not None else "as counted"
    cases = (smallest.planned or 0) // for_each_case(inputs)
    criteria = Criteria.from_inputs(inputs, legs=len(step.legs))
    doubts = undecidable_texts(criteria, cases) if cases and inputs.confidence is not None else ()
    return [
        f"Thresholds{which}, decided {how}:",
        *(f"  {'? ' if threshold.advisory else ''}{threshold.text}" for threshold in inputs.thresholds),
        *doubts,
    ]


def _leg_summary(leg: Leg) -> str:
    beside = ", and one of the base agent beside it" if leg.base else ""
    return f"A run with {_size_text(leg.planned)}{beside} would be launched."


def _summary(step: Step, total: int | None) -> str:
    inputs = step.inputs
    if not step.legs:
        return "The runs of the run template would be launched. Nothing was."
    runs, bases = plural(len(step.legs), "run"), len(step.bases)
    beside = f" and {plural(bases, 'run')} of the base agent" if bases else ""
    size = f"with {plural(total, 'simulation')}" if total is not None else "of unknown size"
    most = inputs.repeat_on_failure
    again = f", and as many again for each of at most {plural(most, 'repetition')}" if most else ""
    return f"{runs}{beside} {size} would be launched{again}. Nothing was."


def foresee(session: LegRun, cases: int) -> None:
    """Warn of thresholds that a run of so many test cases, in a step with so many legs, cannot decide."""
    for text in undecidable_texts(Criteria.from_inputs(session.inputs, legs=len(session.step.legs)), cases):
        session.warn(text)
