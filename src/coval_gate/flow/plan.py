"""Plans a step without launching anything: what it would launch, how it would be judged, and every mistake at once.

It only reads. What Coval refuses to show is not checked, which is no mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.errors import CovalError, GateError, InputError, Rejected
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import all_or_first_error, together
from coval_gate.base.text import in_words, one_line, percent, plural
from coval_gate.base.times import preparing
from coval_gate.coval.resources import TestSet
from coval_gate.flow.mutations import is_of_template, mutation_problems, read_mutations
from coval_gate.flow.size import PERMISSION, exceeded_text, for_each_case, size_of
from coval_gate.gate.claims import undecidable_text
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.doubts import undecidable
from coval_gate.gate.judgement import planned
from coval_gate.inputs.checks import placed_problems
from coval_gate.inputs.inputs import LAUNCH_IDS, Problem, ids_of
from coval_gate.runs.legs import Leg

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

    from coval_gate.base.schedule import Procedure
    from coval_gate.coval.resources import Agent, MetricDefinition, Persona
    from coval_gate.flow.progress import Progress
    from coval_gate.gate.judgement import Judgement
    from coval_gate.inputs.inputs import Inputs
    from coval_gate.runs.legs import Session

    Named = Agent | Persona | TestSet | MetricDefinition

KEY: Final = "api_key"
CONNECTING: Final = frozenset({KEY, "api_base_url", "workspace_id", "config_path", "mode"})  # wrong: ask Coval nothing
NO_KEY: Final = 401
NOT_FOUND: Final = 404
WRONG: Final = (400, 422)  # Coval rejects the id itself
MOST_LINES: Final = 100
MOST_NAMED: Final = 5  # legs
LONGEST_NAME: Final = 60  # characters
MOST_METRICS: Final = 50  # of metric_ids that are looked up


class Looked(NamedTuple):
    """What was looked up: resources by input and id, problems with inputs, and why something was not checked."""

    resources: dict[tuple[str, str], Named]
    problems: list[Problem]
    unchecked: list[str]


def plan_step(progress: Progress) -> Procedure[Judgement]:
    """Show the plan, and return a judgement without a verdict. Raises InputError with every mistake."""
    inputs = progress.inputs
    looked = Looked({}, [], ["Nothing in Coval was looked up, because there is no API key."])
    if inputs.api_key is not None:
        looked = yield from _look_up(progress.session(), progress)
    cases = _cases(looked)
    for leg in progress.all_legs:
        leg.planned = size_of(leg.inputs, cases)
    total = _total(progress)
    if inputs.api_key is None and total is None and inputs.max_simulations:
        looked.unchecked.append("max_simulations, because the size is unknown.")
    lines = [
        *_leg_lines(progress, looked),
        *_threshold_lines(progress),
        *(f"Not checked: {why}" for why in looked.unchecked),
    ]
    progress.host.quote(*lines)
    problems = [*looked.problems, *_over_the_cap(progress, total)]
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    for leg in progress.legs:
        leg.judgement, leg.is_done = planned(_leg_summary(leg)), True
    return planned(_summary(progress, total))


def with_wrong_ids(progress: Progress, error: InputError) -> Procedure[InputError]:
    """Return the error with the ids that Coval does not have among the inputs that are valid so far."""
    inputs, wrong = progress.inputs, {name for name, _ in error.pairs}
    if inputs.api_key is None or wrong & {*CONNECTING, progress.file.path}:
        return error
    legs = [inputs, *(leg.inputs for leg in progress.file.legs)]
    return (yield from _with_wrong_ids(progress.session(), progress, legs, error))


def _with_wrong_ids(
    session: Session, progress: Progress, legs: Sequence[Inputs], error: InputError
) -> Procedure[InputError]:
    session, wrong = _prepared(session), {name for name, _ in error.pairs}
    looked = yield from _read(session, progress, legs, without=wrong)
    if not wrong & {"mutation_id", "mutation_ids", "agent_id"}:
        yield from _check_mutations(session, progress, legs, looked)
    return InputError([*(Problem(*pair) for pair in error.pairs), *looked.problems], advice=error.more_advice)


def with_all_wrong_ids(session: Session, progress: Progress, error: InputError | Rejected) -> Procedure[GateError]:
    """Return an error before or of a launch with every wrong id of the leg. Coval names only the first."""
    if isinstance(error, InputError):
        return (yield from _with_wrong_ids(session, progress, [session.inputs], error))
    from coval_gate.runs.names import with_ids_of_names

    explained = yield from with_ids_of_names(session, error)
    if explained is not error or not error.by_coval or error.status not in (NOT_FOUND, *WRONG):
        return explained
    looked = yield from _read(_prepared(session), progress, [session.inputs])
    return InputError(looked.problems) if len(looked.problems) > 1 else error


def _prepared(session: Session) -> Session:
    return session._replace(deadline=preparing(session.clock.now(), session.deadline))


def _look_up(session: Session, progress: Progress) -> Procedure[Looked]:
    session = _prepared(session)
    looked = yield from _read(session, progress, [leg.inputs for leg in progress.legs])
    legs = progress.all_legs
    works = (_checks_of(progress.session_of(leg, session), progress, leg) for leg in legs)
    checks = all_or_first_error((yield from together(works, session.clock)))
    for leg, problems in zip(legs, checks, strict=True):
        if leg.is_base:
            of_base = "(the run of base_agent_id)."
            problems = [problem._replace(what=f"{problem.what.rstrip('.')} {of_base}") for problem in problems]
        looked.problems.extend(problems)
    yield from _check_mutations(session, progress, [leg.inputs for leg in progress.legs], looked)
    return looked


def _check_mutations(session: Session, progress: Progress, legs: Sequence[Inputs], looked: Looked) -> Procedure[None]:
    if is_of_template(progress):
        return
    read = yield from read_mutations(session, legs, until=session.deadline)
    looked.problems.extend(mutation_problems(progress, read))
    looked.unchecked.extend(f"the mutations of agent {agent_id}: {why}" for agent_id, why in read.unread.items())


def _read(
    session: Session, progress: Progress, legs: Sequence[Inputs], *, without: Container[str] = ()
) -> Procedure[Looked]:
    """Read the resources that the legs name, each of them once, `without` those of some inputs."""
    named = dict.fromkeys(pair for own in legs for pair in _named_by(own) if pair[0] not in without)
    beyond = {*[pair for pair in named if pair[0] == "metric_ids"][MOST_METRICS:]}
    wanted = [pair for pair in named if pair not in beyond]
    client, until = session.client, session.deadline
    calls: dict[str, Callable[..., Procedure[Named]]] = {
        "agent_id": client.get_agent,
        "base_agent_id": client.get_agent,
        "persona_id": client.get_persona,
        "test_set_id": client.get_test_set,
        "metric_ids": client.get_metric,
    }
    results = yield from together((calls[name](id_, until=until) for name, id_ in wanted), session.clock)
    looked = Looked({}, [], [])
    mistakes: dict[tuple[str, str], Problem] = {}
    for (name, id_), result in zip(wanted, results, strict=True):
        if isinstance(result, Rejected) and (problem := _mistake(name, id_, result)):
            mistakes[name, id_] = problem
        elif isinstance(result, CovalError):
            looked.unchecked.append(f"{name} {id_}: {one_line(result.what)}")
        else:
            looked.resources[name, id_] = result
    looked.problems.extend(_placed(progress, mistakes))
    return looked


def _placed(progress: Progress, mistakes: Mapping[tuple[str, str], Problem]) -> Iterator[Problem]:
    """Yield the mistakes in ids, with their places if the file sets them."""
    inputs, file = progress.inputs, progress.file
    named = {pair for part in file.parts(inputs) for pair in _named_by(part.inputs)}
    placed = {pair for pair, problem in mistakes.items() if pair in named and problem.name != KEY}
    yield from dict.fromkeys(problem for pair, problem in mistakes.items() if pair not in placed)
    yield from placed_problems(file, inputs, lambda own: [mistakes[pair] for pair in _named_by(own) if pair in placed])


def _named_by(inputs: Inputs) -> list[tuple[str, str]]:
    """Return what inputs name, each with its input."""
    ids = [(name, id_) for name in LAUNCH_IDS for id_ in getattr(inputs, name)]
    base = [("base_agent_id", inputs.base_agent_id)] if inputs.base_agent_id else []
    return [*ids, *base, *(("metric_ids", id_) for id_ in inputs.metric_ids)]


def _mistake(name: str, id_: str, error: Rejected) -> Problem | None:
    """Return what is wrong with an input, if a rejected look-up shows it; None if the key may only not read this."""
    if error.status == NOT_FOUND:
        return Problem(name, f"names {id_}, which Coval does not have.")
    if error.status in WRONG and error.by_coval:
        return Problem(name, f"names {id_}, which is not valid: {one_line(error.what)}")
    if error.status == NO_KEY and error.by_coval:
        return Problem(KEY, "is not valid: Coval accepts no call with it. Check the secret.")
    return None


def _checks_of(session: Session, progress: Progress, leg: Leg) -> Procedure[list[Problem]]:
    """Return the mistakes that a launch of the leg would find: metrics that it will lack, a baseline that is none."""
    from coval_gate.runs.lookups import check_baseline, check_names

    inputs, works = leg.inputs, [check_names(session)]
    if inputs.baseline and inputs.baseline.kind != "base":
        works.append(check_baseline(session, inputs.baseline, ids_of(inputs), progress.context))
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


def _total(progress: Progress) -> int | None:
    if not progress.legs:
        return None
    sizes = [leg.planned for leg in progress.all_legs]
    return None if None in sizes else sum(size or 0 for size in sizes)


def _over_the_cap(progress: Progress, total: int | None) -> list[Problem]:
    most = progress.inputs.max_simulations
    if most is None:
        return []
    if total is None and progress.inputs.api_key is None:
        return []
    if total is None:
        what = (
            "cannot be kept: Coval does not say how many simulations this step has. Give the API key the permission "
            f"{PERMISSION}, or set test_case_ids."
        )
        return [Problem("max_simulations", what)]
    return [Problem("max_simulations", exceeded_text(progress, total, most))] if total > most else []


def _leg_lines(progress: Progress, looked: Looked) -> list[str]:
    legs = progress.all_legs
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


def _threshold_lines(progress: Progress) -> list[str]:
    """Return the thresholds as understood, and what none can show at the size of the smallest run that has them."""
    groups: dict[tuple[object, ...], list[Leg]] = {}
    for leg in progress.legs or [Leg(progress.inputs)]:
        groups.setdefault((leg.inputs.thresholds, leg.inputs.confidence), []).append(leg)
    return [line for legs in groups.values() for line in _lines_of_group(progress, legs, alone=len(groups) == 1)]


def _lines_of_group(progress: Progress, legs: Sequence[Leg], *, alone: bool) -> list[str]:
    smallest = min(legs, key=lambda leg: leg.planned or 0)
    inputs = smallest.inputs
    which = "" if alone else f" of {in_words([one_line(leg.name, LONGEST_NAME) for leg in legs], most=MOST_NAMED)}"
    if not inputs.thresholds:
        return [f"Thresholds{which}: none. A run passes if enough simulations complete."]
    how = f"with {percent(inputs.confidence)} confidence" if inputs.confidence is not None else "as counted"
    cases = (smallest.planned or 0) // for_each_case(inputs)
    criteria = Criteria.from_inputs(inputs, legs=len(progress.legs))
    doubts = undecidable(criteria, cases) if cases and inputs.confidence is not None else ()
    return [
        f"Thresholds{which}, decided {how}:",
        *(f"  {'? ' if threshold.advisory else ''}{threshold.text}" for threshold in inputs.thresholds),
        *(undecidable_text(doubt, cases) for doubt in doubts),
    ]


def _leg_summary(leg: Leg) -> str:
    beside = ", and one of the base agent beside it" if leg.base else ""
    return f"A run with {_size_text(leg.planned)}{beside} would be launched."


def _summary(progress: Progress, total: int | None) -> str:
    inputs = progress.inputs
    if not progress.legs:
        return "The runs of the run template would be launched. Nothing was."
    runs, bases = plural(len(progress.legs), "run"), len(progress.bases)
    beside = f" and {plural(bases, 'run')} of the base agent" if bases else ""
    size = f"with {plural(total, 'simulation')}" if total is not None else "of unknown size"
    most = inputs.repeat_on_failure
    again = f", and as many again for each of at most {plural(most, 'repetition')}" if most else ""
    return f"{runs}{beside} {size} would be launched{again}. Nothing was."
