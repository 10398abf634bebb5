"""Reads what the inputs of a step name in Coval, and reports every id that is wrong.

All wrong ids of a step that Coval rejects, or that is only planned, are reported together. Where a user wrote a name in
place of an id, the step suggests the id. Mutations are checked before a step with several agents launches anything:
each agent has its own. A step with one agent leaves that to Coval, and is launched at once.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

from coval_gate.base.errors import CovalError, GateError, InputError, Rejected
from coval_gate.base.schedule import MOST_AT_ONCE, all_or_first_error, together
from coval_gate.base.text import folded, in_words, one_line, quoted
from coval_gate.base.times import preparing
from coval_gate.coval.client import Session
from coval_gate.coval.resources import (
    AGENT,
    METRIC,
    RUN_RESOURCES,
    Agent,
    MetricDefinition,
    Persona,
    Resource,
    TestSet,
    mutations_of,
)
from coval_gate.features.templates.step import uses_template
from coval_gate.inputs.checks import placed_problems
from coval_gate.inputs.inputs import LAUNCH_IDS, Inputs, InvalidInput, declared
from coval_gate.step.leg import MOST_NAMED
from coval_gate.step.step import Step, StepRun

Named = Agent | Persona | TestSet | MetricDefinition

API_KEY: Final = "api_key"
# If one of these is wrong, the step asks Coval nothing.
CONNECTING: Final = frozenset({API_KEY, "api_base_url", "workspace_id", "config_path", "mode"})
NO_KEY_STATUS: Final = 401
NOT_FOUND_STATUS: Final = 404
WRONG: Final = (400, 422)  # Coval rejects the id itself
MOST_METRICS: Final = 50  # of metric_ids that are looked up
ID_INPUTS: Final = ("agent_id", "persona_id", "test_set_id", "metric_ids", "mutation_ids")
MOST_RESOURCES: Final = 500  # resources of a kind
MOST_IDS: Final = 3  # ids of one name

IdsByName = dict[str, list[str]]  # ids by folded name
BY_INPUT: Final[dict[str, Resource[Named]]] = {**RUN_RESOURCES, "base_agent_id": AGENT, "metric_ids": METRIC}


class Looked(NamedTuple):
    """What was looked up: resources by input and id, problems with inputs, and why something was not checked."""

    resources: dict[tuple[str, str], Named]
    problems: list[InvalidInput]
    unchecked: list[str]


async def with_wrong_ids(step: Step, error: InputError) -> InputError:
    """Return the error with the ids that Coval does not have among the inputs that are valid so far."""
    inputs, wrong = step.inputs, {name for name, _ in error.pairs}
    if inputs.api_key is None or wrong & {*CONNECTING, step.file.path}:
        return error
    legs = [inputs, *(leg.inputs for leg in step.file.legs)]
    return await _with_wrong_ids(step.session(), legs, error)


async def _with_wrong_ids(session: StepRun, legs: Sequence[Inputs], error: InputError) -> InputError:
    session, wrong = prepared(session), {name for name, _ in error.pairs}
    looked = await read_named(session, legs, without=wrong)
    if not wrong & {"mutation_id", "mutation_ids", "agent_id"}:
        await look_up_mutations(session, legs, looked)
    return InputError([*(InvalidInput(*pair) for pair in error.pairs), *looked.problems], advice=error.more_advice)


async def with_all_wrong_ids(session: StepRun, error: InputError | Rejected) -> GateError:
    """Add every wrong id of the leg to an error of its launch, or from before it. Coval names only the first."""
    if isinstance(error, InputError):
        return await _with_wrong_ids(session, [session.inputs], error)

    explained = await _with_advice_on_names(session, error)
    if explained is not error or not error.by_coval or error.status not in (NOT_FOUND_STATUS, *WRONG):
        return explained
    looked = await read_named(prepared(session), [session.inputs])
    return InputError(looked.problems) if len(looked.problems) > 1 else error


def prepared(session: StepRun) -> StepRun:
    return session.until(preparing(session.clock.now(), session.deadline))


async def look_up_mutations(session: StepRun, legs: Sequence[Inputs], looked: Looked) -> None:
    problems, unread = await _check_mutations(session, legs)
    looked.problems.extend(problems)
    looked.unchecked.extend(f"the mutations of agent {agent_id}: {why}" for agent_id, why in unread.items())


async def read_named(session: StepRun, legs: Sequence[Inputs], *, without: Container[str] = ()) -> Looked:
    """Read the resources that the legs name, each of them once, `without` those of some inputs."""
    named = dict.fromkeys(pair for own in legs for pair in _named_by(own) if pair[0] not in without)
    beyond = {*[pair for pair in named if pair[0] == "metric_ids"][MOST_METRICS:]}
    wanted = [pair for pair in named if pair not in beyond]
    client, until = session.client, session.deadline
    results = await together((client.get(BY_INPUT[name], id_, until=until) for name, id_ in wanted), session.clock)
    looked = Looked({}, [], [])
    mistakes: dict[tuple[str, str], InvalidInput] = {}
    for (name, id_), result in zip(wanted, results, strict=True):
        if isinstance(result, Rejected) and (problem := _mistake(name, id_, result)):
            mistakes[name, id_] = problem
        elif isinstance(result, CovalError):
            looked.unchecked.append(f"{name} {id_}: {one_line(result.what)}")
        else:
            looked.resources[name, id_] = result
    looked.problems.extend(_placed(session.step, mistakes))
    return looked


def _placed(step: Step, mistakes: Mapping[tuple[str, str], InvalidInput]) -> Iterator[InvalidInput]:
    """Yield the mistakes in ids, with their places if the file sets them."""
    inputs, file = step.inputs, step.file
    named = {pair for part in file.parts(inputs) for pair in _named_by(part.inputs)}
    placed = {pair for pair, problem in mistakes.items() if pair in named and problem.name != API_KEY}
    yield from dict.fromkeys(problem for pair, problem in mistakes.items() if pair not in placed)
    yield from placed_problems(file, inputs, lambda own: [mistakes[pair] for pair in _named_by(own) if pair in placed])


def _named_by(inputs: Inputs) -> list[tuple[str, str]]:
    ids = [(name, id_) for name in LAUNCH_IDS for id_ in getattr(inputs, name)]
    base = [("base_agent_id", inputs.base_agent_id)] if inputs.base_agent_id else []
    return [*ids, *base, *(("metric_ids", id_) for id_ in inputs.metric_ids)]


def _mistake(name: str, id_: str, error: Rejected) -> InvalidInput | None:
    """Return what is wrong with an input, if a rejected look-up shows it; None if the key merely may not read this."""
    if error.status == NOT_FOUND_STATUS:
        return InvalidInput(name, f"names {id_}, which Coval does not have.")
    if error.status in WRONG and error.by_coval:
        return InvalidInput(name, f"names {id_}, which is not valid: {one_line(error.what)}")
    if error.status == NO_KEY_STATUS and error.by_coval:
        return InvalidInput(API_KEY, "is not valid: Coval accepts no call with it. Check the secret.")
    return None


async def _with_advice_on_names(session: Session, error: Rejected) -> Rejected:
    """Add advice about ids of an unusual length, which are probably names. Without any, return the same error."""
    usual = {declaration.name: declaration.usual_length for declaration in declared() if declaration.name in ID_INPUTS}
    unusual = {name: [id_ for id_ in getattr(session.inputs, name) if len(id_) != usual[name]] for name in usual}
    doubtful = {name: texts for name, texts in unusual.items() if texts}
    if error.status not in (NOT_FOUND_STATUS, *WRONG) or not error.by_coval or not doubtful:
        return error
    until = preparing(session.clock.now(), session.deadline)
    reading = (_ids_by_name(session, name, until) for name in doubtful)
    names = all_or_first_error(await together(reading, session.clock))
    lines = []
    for (name, texts), listed in zip(doubtful.items(), names, strict=True):  # a warning named other texts that look odd
        known = {text: ids for text in texts if (ids := listed.get(folded(text)))}
        clauses = [f"{quoted(text)} is {in_words(ids, 'or', MOST_IDS)}" for text, ids in known.items()]
        lines.append(f"{name} needs ids, not names{f'; {in_words(clauses)}' if clauses else ''}.")
    advice = "\n".join([*lines, *filter(None, [error.advice])])
    return type(error)(error.status, error.title, error.what, by_coval=error.by_coval, advice=advice)


async def _ids_by_name(session: Session, name: str, until: float) -> IdsByName:
    """Return the names of what an input accepts; none if the key may not read them."""
    client, names = session.client, IdsByName()
    with suppress(CovalError):
        if kind := BY_INPUT.get(name):
            listed = await client.list(kind, until=until, go_on=lambda listed: len(listed) < MOST_RESOURCES)
            for resource in listed:
                names.setdefault(folded(resource.name), []).append(resource.id)
    return names


async def check_mutations(session: StepRun) -> None:
    """Log what cannot be read. Raises InputError."""
    legs = [leg.inputs for leg in session.step.legs]
    if len(_agents(legs)) < 2:
        return
    problems, unread = await _check_mutations(prepared(session), legs)
    if problems:
        raise InputError(problems)
    for agent_id, why in unread.items():
        session.log(f"Could not check whether agent {agent_id} has the mutations. {why}")


async def _check_mutations(session: StepRun, legs: Sequence[Inputs]) -> tuple[list[InvalidInput], dict[str, str]]:
    """Return a problem for each agent with mutations that are not its own, with its place if the file sets them.

    Also return why those of other agents could not be read, by agent. Those of a run template are each agent's own.
    """
    step, owned, unread = session.step, dict[str, set[str]](), dict[str, str]()
    if uses_template(step):
        return [], unread
    agents = _agents(inputs for inputs in legs if inputs.mutation_ids)
    calls = (session.client.list(mutations_of(agent_id), until=session.deadline) for agent_id in agents)
    results = await together(calls, session.clock, at_once=MOST_AT_ONCE)
    for agent_id, result in zip(agents, results, strict=True):
        if isinstance(result, CovalError):
            unread[agent_id] = one_line(result.what)
        else:
            owned[agent_id] = {mutation.id for mutation in result}
    return list(placed_problems(step.file, step.inputs, partial(_foreign_mutations, owned=owned))), unread


def _foreign_mutations(inputs: Inputs, owned: Mapping[str, set[str]]) -> Iterator[InvalidInput]:
    for agent_id in inputs.agent_id:
        others = [id_ for id_ in inputs.mutation_ids if agent_id in owned and id_ not in owned[agent_id]]
        if others:
            what = f"names {in_words(others, most=MOST_NAMED)}, which agent {agent_id} does not have as "
            yield InvalidInput("mutation_ids", f"{what}{'mutations' if len(others) > 1 else 'a mutation'}.")


def _agents(legs: Iterable[Inputs]) -> list[str]:
    return list(dict.fromkeys(agent_id for inputs in legs for agent_id in inputs.agent_id))
