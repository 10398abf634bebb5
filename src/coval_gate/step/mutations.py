"""Checks that the mutations that the step names are mutations of the agents that it tests.

Each agent has its own, so a mutation of several agents is a mistake for all but one. A step with one agent
leaves that to Coval, and is launched at once.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from coval_gate.base.errors import CovalError, InputError
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import MOST_AT_ONCE, together
from coval_gate.base.text import in_words, one_line
from coval_gate.base.times import preparing
from coval_gate.coval.resources import mutations_of
from coval_gate.inputs.checks import placed_problems
from coval_gate.inputs.inputs import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from coval_gate.base.schedule import Procedure
    from coval_gate.coval.session import Session
    from coval_gate.inputs.inputs import Inputs
    from coval_gate.step.step import Step, StepRun

MOST_NAMED: Final = 5  # mutations


class Mutations(NamedTuple):
    """The ids of agents' mutations, and why those of other agents could not be read; both by the agents' ids."""

    of_agent: dict[str, frozenset[str]]
    unread: dict[str, str]


def check_mutations(session: StepRun) -> Procedure[None]:
    """Log what cannot be read. Those of a run template are each agent's own. Raises InputError."""
    step = session.step
    legs = [leg.inputs for leg in step.legs]
    if len(_agents(legs)) < 2 or is_of_template(step):
        return
    until = preparing(session.clock.now(), session.deadline)
    read = yield from read_mutations(session, legs, until=until)
    if problems := [*mutation_problems(step, read)]:
        raise InputError(problems)
    for agent_id, why in read.unread.items():
        session.log(f"Could not check whether agent {agent_id} has the mutations. {why}")


def is_of_template(step: Step) -> bool:
    """Return whether a run template names the mutations: those of other agents were left out."""
    template = step.template
    return template is not None and step.inputs.mutation_ids == template.mutation_ids != ()


def read_mutations(session: Session, legs: Iterable[Inputs], *, until: float) -> Procedure[Mutations]:
    """Return the mutations of each agent that is to run with some."""
    agents = _agents(inputs for inputs in legs if inputs.mutation_ids)
    calls = (session.client.list(mutations_of(agent_id), until=until) for agent_id in agents)
    results = yield from together(calls, session.clock, at_once=MOST_AT_ONCE)
    read = Mutations({}, {})
    for agent_id, result in zip(agents, results, strict=True):
        if isinstance(result, CovalError):
            read.unread[agent_id] = one_line(result.what)
        else:
            read.of_agent[agent_id] = frozenset(mutation.id for mutation in result)
    return read


def mutation_problems(step: Step, read: Mutations) -> Iterator[Problem]:
    """Yield a problem for each agent with mutations that are not its own, with its place if the file sets them."""
    return placed_problems(step.file, step.inputs, partial(_problems, of_agent=read.of_agent))


def _problems(inputs: Inputs, of_agent: Mapping[str, frozenset[str]]) -> Iterator[Problem]:
    for agent_id in inputs.agent_id:
        others = [id_ for id_ in inputs.mutation_ids if agent_id in of_agent and id_ not in of_agent[agent_id]]
        if others:
            what = f"names {in_words(others, most=MOST_NAMED)}, which agent {agent_id} does not have as "
            yield Problem("mutation_ids", f"{what}{'mutations' if len(others) > 1 else 'a mutation'}.")


def _agents(legs: Iterable[Inputs]) -> list[str]:
    return list(dict.fromkeys(agent_id for inputs in legs for agent_id in inputs.agent_id))
