"""Plans a step: how many simulations it launches, and in mode plan, all that it would do and every mistake at once.

Several runs, or a limit, are counted before anything is spent. A single run without a limit is launched at once, and
counted afterwards. Mode plan only reads. What Coval refuses to show is not checked, which is no mistake.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from coval_gate.base.errors import CovalError, InputError
from coval_gate.base.schedule import MOST_AT_ONCE, Procedure, all_or_first_error, together
from coval_gate.base.text import in_words, one_line, percent, plural
from coval_gate.base.times import LOOKING_UP, preparing, sizing
from coval_gate.coval.resources import TEST_SET, TestSet
from coval_gate.gate.criteria import Criteria, undecidable_texts
from coval_gate.gate.judgement import Judgement, planned
from coval_gate.inputs.inputs import UNTIL_CLEAR, Inputs, InvalidInput, ids_of, noun
from coval_gate.report.wording import slices
from coval_gate.step.draw import draw_slices
from coval_gate.step.ids import Looked, look_up_mutations, prepared, read_named
from coval_gate.step.leg import Base, Leg, for_each_case
from coval_gate.step.lookups import check_baseline, check_names
from coval_gate.step.step import LegRun, Step, StepRun

MOST_LINES: Final = 100
MOST_NAMED: Final = 5  # legs
PERMISSION: Final = "test-sets:read"
LONGEST_NAME: Final = 60  # characters


def plan_step(step: Step) -> Procedure[Judgement]:
    """Show the plan, and return a judgement without a verdict. Raises InputError with every mistake."""
    inputs = step.inputs
    looked = Looked({}, [], ["Nothing in Coval was looked up, because there is no API key."])
    if inputs.api_key is not None:
        looked = yield from _look_up(step.session())
    cases = {  # by test set, as far as Coval shows their number
        id_: resource.cases
        for (_, id_), resource in looked.resources.items()
        if isinstance(resource, TestSet) and resource.cases is not None and not resource.has_parameters
    }
    for leg in step.all_legs:
        leg.planned = size_of(leg.inputs, cases)
    if inputs.api_key is not None:
        looked.problems.extend((yield from _problems_of(draw_slices(step.session()))))
    total = _total(step)
    _check_limit(step, total, looked)
    groups = _groups(step)
    lines = [
        *_leg_lines(step, looked),
        *(line for legs in groups for line in _lines_of_group(step, legs, alone=len(groups) == 1)),
        *(f"Not checked: {why}" for why in looked.unchecked),
    ]
    step.host.quote(*lines)
    if looked.problems:
        raise InputError(list(dict.fromkeys(looked.problems)))
    for leg in step.legs:
        beside = f", and one of the base agent beside {'each' if leg.slices else 'it'}" if leg.base else ""
        runs = f"At most {_runs_text([leg])}" if leg.slices else "A run"
        leg.judgement = planned(f"{runs} with {_size_text(leg)}{beside} would be launched.")
        leg.is_done = True
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


def _checks_of(session: LegRun) -> Procedure[list[InvalidInput]]:
    """Return the mistakes that a launch of the leg would find: missing metrics, and an unusable baseline."""
    works = [check_names(session), check_baseline(session)]
    found = all_or_first_error((yield from together(map(_problems_of, works), session.clock)))
    return [problem for problems in found for problem in problems]


def _problems_of(check: Procedure[None]) -> Procedure[list[InvalidInput]]:
    try:
        yield from check
    except InputError as error:
        return [InvalidInput(*pair) for pair in error.pairs]
    return []


def _total(step: Step) -> int | None:
    if not step.legs:
        return None
    sizes = [leg.planned for leg in step.all_legs]
    return None if None in sizes else sum(size or 0 for size in sizes)


def _check_limit(step: Step, total: int | None, looked: Looked) -> None:
    most = step.inputs.max_simulations
    if most is None:
        return
    if total is None and step.inputs.api_key is None:
        looked.unchecked.append("max_simulations, because the size is unknown.")
    elif total is None:
        what = (
            "cannot be kept: Coval does not say how many simulations this step has. Give the API key the permission "
            f"{PERMISSION}, or set test_case_ids."
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
    return ["Runs:", *lines[:MOST_LINES], *([f"  … {more:,} more"] if more > 0 else [])]


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
    named = f"{one_line(leg.name, LONGEST_NAME)}: " if leg.is_listed and not leg.is_base else ""
    return named + ", ".join(parts)


def _groups(step: Step) -> list[list[Leg]]:
    """Return the legs, those with the same thresholds together."""
    groups: dict[tuple[object, ...], list[Leg]] = {}
    for leg in step.legs or [Leg(step.inputs)]:
        groups.setdefault((leg.inputs.thresholds, leg.inputs.confidence, leg.inputs.spend), []).append(leg)
    return [*groups.values()]


def warn_of_undecidable(step: Step) -> None:
    """Warn of the thresholds that a run can never decide, as far as its size is known."""
    for line in dict.fromkeys(line for legs in _groups(step) for line in _undecidable(step, legs)):
        step.warn(line)


def _undecidable(step: Step, legs: Sequence[Leg]) -> Iterator[str]:
    counted = [leg for leg in legs if _cases(leg)]
    if counted and legs[0].inputs.confidence is not None:
        smallest = min(counted, key=_cases)
        criteria = Criteria.from_inputs(smallest.inputs, legs=len(step.legs))
        yield from undecidable_texts(criteria, _cases(smallest))


def _cases(leg: Leg) -> int:
    """Return how many test cases a leg has at most; 0 if that is unknown."""
    inputs = leg.inputs
    return (leg.planned or 0) // for_each_case(inputs) or len(inputs.test_case_ids) or inputs.sub_sample_size or 0


def _lines_of_group(step: Step, legs: Sequence[Leg], *, alone: bool) -> list[str]:
    smallest = min(legs, key=lambda leg: leg.planned or 0)
    inputs = smallest.inputs
    which = (
        ""
        if alone
        else f" of {in_words([one_line(step.title_of(leg), LONGEST_NAME) for leg in legs], most=MOST_NAMED)}"
    )
    if not inputs.thresholds:
        return [f"Thresholds{which}: none. A run passes if enough simulations complete."]
    how = f"with {percent(inputs.confidence)} confidence" if inputs.confidence is not None else "as counted"
    criteria = Criteria.from_inputs(inputs, legs=len(step.legs))
    return [
        f"Thresholds{which}, decided {how}:",
        *(f"  {'? ' if threshold.advisory else ''}{threshold.text}" for threshold in inputs.thresholds),
        *_undecidable(step, legs),
        *(slices.plan_lines(smallest.slices, criteria) if smallest.slices else ()),
    ]


def _runs_text(legs: Sequence[Leg]) -> str:
    return plural(sum(len(leg.slices) or 1 for leg in legs), "run")


def _summary(step: Step, total: int | None) -> str:
    if not step.legs:
        return "The runs of the run template would be launched. Nothing was."
    most = "at most " if any(leg.slices for leg in step.legs) else ""
    runs = f"{most.capitalize()}{_runs_text(step.legs)}"
    beside = f" and {_runs_text(step.bases)} of the base agent" if step.bases else ""
    size = f"with {most}{plural(total, 'simulation')}" if total is not None else "of unknown size"
    often = max(leg.inputs.repeat_on_failure for leg in step.legs)
    again = f", and as many again for each of at most {plural(often, 'repetition')}" if often else ""
    return f"{runs}{beside} {size} would be launched{again}. Nothing was."


def plan_sizes(session: StepRun) -> Procedure[None]:
    """Record how many simulations each leg launches, and say so. Draw the slices of those that have some.

    Raises InputError if they are more than max_simulations, or if an unknown size makes the limit impossible to keep.
    """
    step = session.step
    most = session.inputs.max_simulations
    now, deadline = session.clock.now(), session.deadline
    # Where a limit needs the sizes, a hiccup of Coval may not end the step.
    until = min(deadline, now + LOOKING_UP) if most else preparing(now, deadline)
    cases, unknown = yield from _counted_cases(session, until)
    if unknown:
        id_, (why, advice) = next(iter(unknown.items()))
        if most:
            what = f"cannot be kept: it is not known how many simulations a run on test set {id_} has."
            raise InputError([InvalidInput("max_simulations", f"{what} {why} {advice}")])
        session.log(f"Could not count the simulations on test set {id_}. {why}")
    for leg in step.all_legs:
        leg.planned = size_of(leg.inputs, cases)
    if any(leg.inputs.spend == UNTIL_CLEAR for leg in step.legs):
        yield from draw_slices(session)
    if unknown:
        return
    total = sum(leg.planned or 0 for leg in step.all_legs)
    if most and total > most:
        raise InputError([InvalidInput("max_simulations", exceeded_text(step, total, most))])
    session.log(_plan_text(step, total))


def tell_size(session: StepRun, announcing: Procedure[None]) -> Procedure[None]:
    """Say how many simulations the run has that was just launched. Announce the run meanwhile.

    If one call does not show the number in a moment, say nothing. If the run was taken over, only record it.
    """
    step = session.step
    was_known = bool(_cases(step.legs[0]))
    all_or_first_error((yield from together((announcing, _look_up_size(session)), session.clock)))
    (leg,) = step.legs
    if leg.planned is not None and not leg.first.resumed:
        session.log(_plan_text(step, leg.planned))
        if session.inputs.mode == "run" and not was_known:
            warn_of_undecidable(step)


def _look_up_size(session: StepRun) -> Procedure[None]:
    until = sizing(session.clock.now(), session.deadline)
    if until is None:
        return
    cases, _ = yield from _counted_cases(session, until, once=True)
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
    """Return how many simulations the leg launched, or may: one that waits for its turn has no trial yet."""
    if leg.slices:
        return leg.planned or 0
    wanted = leg.wanted if isinstance(leg, Base) else 1
    return (leg.planned or 0) * max(wanted, len(leg.trials))


def size_of(inputs: Inputs, cases: Mapping[str, int]) -> int | None:
    """Return None if the size of the test set is not among the `cases`, by its id."""
    count = len(inputs.test_case_ids) or cases.get(ids_of(inputs)["test_set_id"])
    if count is None:
        return None
    drawn = count if inputs.test_case_ids else min(count, inputs.sub_sample_size or count)
    return drawn * for_each_case(inputs)


def _counted_cases(
    session: StepRun, until: float, *, once: bool = False
) -> Procedure[tuple[dict[str, int], dict[str, tuple[str, str]]]]:
    """Return the sizes of test sets, and why others are unknown, with advice.

    Leave out legs that name test cases, and those whose slices are drawn.
    """
    legs = [leg.inputs for leg in session.step.all_legs]
    counted = [inputs for inputs in legs if not inputs.test_case_ids and inputs.spend != UNTIL_CLEAR]
    ids = list(dict.fromkeys(ids_of(inputs)["test_set_id"] for inputs in counted))
    calls = (session.client.get(TEST_SET, id_, until=until, once=once) for id_ in ids)
    test_sets = yield from together(calls, session.clock, at_once=MOST_AT_ONCE)
    cases, unknown = dict[str, int](), dict[str, tuple[str, str]]()
    for id_, test_set in zip(ids, test_sets, strict=True):
        if isinstance(test_set, CovalError):
            unknown[id_] = test_set.what, f"Give the API key the permission {PERMISSION}, or set test_case_ids."
        elif test_set.cases is None:
            unknown[id_] = "Coval does not count its test cases.", "Set test_case_ids."
        elif test_set.has_parameters:
            unknown[id_] = "It has parameters, which may multiply its test cases.", "Leave max_simulations empty."
        else:
            cases[id_] = test_set.cases
    return cases, unknown


def _plan_text(step: Step, total: int) -> str:
    """Return how many simulations the step launches: those of the base agent and of repetitions are named apart."""
    most = "at most " if any(leg.slices for leg in step.legs) else ""
    where = f" in {most}{_runs_text(step.all_legs)}" if len(step.all_legs) > 1 else _names_text(step)
    text = f"This step launches {most}{plural(total, 'simulation')}{where}"
    if of_bases := sum(base.planned or 0 for base in step.bases):
        text += f", {of_bases:,} of them of the base agent"
    if again := sum(leg.inputs.repeat_on_failure * (leg.planned or 0) for leg in step.all_legs):
        text += f". Repetitions of runs that fail may add up to {again:,}"
    if step.inputs.max_simulations:
        text += f". At most {step.inputs.max_simulations:,} are allowed"
    return f"{text}."


def _names_text(step: Step) -> str:
    """Return what the only run evaluates, as far as responses showed its name by now; empty where none did."""
    ids = ids_of(step.legs[0].inputs)
    named = [f"{noun(kind)} {name}" for kind, id_ in ids.items() if (name := step.name_of(kind, id_))]
    return f" ({', '.join(named)})" if named else ""


def exceeded_text(step: Step, total: int, most: int) -> str:
    legs = f" in {plural(len(step.all_legs), 'run')}" if len(step.all_legs) > 1 else ""
    return (
        f"allows {plural(most, 'simulation')}, but this step would launch {total:,}{legs}. Nothing was launched: raise "
        "it, or reduce them with sub_sample_size, test_case_ids or iteration_count."
    )
