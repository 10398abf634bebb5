"""Reads the run template of a step. Its values stand where the step's inputs are empty.

It may name mutations of several agents, and test cases of several test sets: each leg gets those of its own.
"""

from collections.abc import Callable
from typing import TypeVar

from coval_gate.base.errors import InputError, NotFound
from coval_gate.base.schedule import all_or_first_error, together
from coval_gate.base.text import plural
from coval_gate.base.times import preparing
from coval_gate.coval.resources import RUN_TEMPLATE, Identified, Resource, RunTemplate, cases_of, mutations_of
from coval_gate.inputs.checks import check_inputs
from coval_gate.inputs.fields import Unset
from coval_gate.inputs.inputs import LAUNCH_IDS, Inputs, InvalidInput, ids_of
from coval_gate.step.leg import Leg
from coval_gate.step.step import Step, StepRun

Part = TypeVar("Part", bound=Identified)


async def expand(step: Step) -> None:
    """Fill in the step's inputs from the run template. Raises InputError, CovalError."""
    inputs, session = step.inputs, step.session()
    until = preparing(session.clock.now(), session.deadline)
    template_id = inputs.run_template_id
    try:
        template = await session.client.get(RUN_TEMPLATE, template_id, until=until)
    except NotFound:
        raise InputError(
            [InvalidInput("run_template_id", f"names {template_id}, which Coval does not have.")]
        ) from None
    step.inputs = inputs = expanded(inputs, template)
    step.template = template
    session.log(f"Using run template {template_id}{f' ({template.name})' if template.name else ''}.")
    if inputs.base_agent_id and template.mutation_ids:
        session.log(
            f"The step leaves out {plural(len(template.mutation_ids), 'mutation')} of the template: base_agent_id "
            "compares with another agent instead."
        )
    missing = [
        InvalidInput(name, f"is required: run template {template_id} names none.")
        for name in LAUNCH_IDS
        if not getattr(inputs, name)
    ]
    withheld = step.context.secrets_withheld_from
    check_inputs(inputs, missing, step.runtime.environ, withheld, step.file)


def expanded(inputs: Inputs, template: RunTemplate) -> Inputs:
    """Return the inputs with the template's values where they are empty. Tags add up."""
    own_sample = inputs.sub_sample_size is not None or bool(inputs.test_case_ids)
    size = inputs.sub_sample_size if own_sample else template.sub_sample_size or None
    seed = template.sub_sample_seed if size and inputs.sub_sample_seed is None else inputs.sub_sample_seed
    own_mutations = bool(inputs.mutation_ids or inputs.base_agent_id)
    from_template = {**template.customer, **({"template_name": template.name} if template.name else {})}
    return inputs._replace(
        agent_id=inputs.agent_id or template.agent_ids,
        persona_id=inputs.persona_id or template.persona_ids,
        test_set_id=inputs.test_set_id or template.test_set_ids,
        metric_ids=inputs.metric_ids or template.metric_ids,
        mutation_ids=inputs.mutation_ids if own_mutations else template.mutation_ids,
        iteration_count=_own_or_template(inputs.iteration_count, template.iteration_count),
        concurrency=_own_or_template(inputs.concurrency, template.concurrency),
        sub_sample_size=size,
        sub_sample_seed=seed,
        test_case_ids=inputs.test_case_ids if own_sample or size else template.test_case_ids,
        tags=tuple(dict.fromkeys((*inputs.tags, *template.tags))),
        metadata={**from_template, **(inputs.metadata or {})} or None,
    )


def _own_or_template(own: int, template_value: int | None) -> int:
    return (template_value or int(own)) if isinstance(own, Unset) else own


async def with_own_parts(session: StepRun) -> list[Leg]:
    """Give each leg the template's own mutations and test cases; leave out legs without any of these cases.

    The log names what is left out. Raises CovalError, and InputError if no leg is left.
    """
    step, inputs = session.step, session.inputs
    own_mutations, own_cases = {}, {}
    if uses_template(step):
        own_mutations = await _ids_in(session, mutations_of, "agent_id")
    if step.template and inputs.test_case_ids == step.template.test_case_ids != ():
        own_cases = await _ids_in(session, cases_of, "test_set_id")
    kept: list[Leg] = []
    for leg in step.all_legs:
        ids = ids_of(leg.inputs)
        if ids["agent_id"] in own_mutations:
            own = tuple(id_ for id_ in inputs.mutation_ids if id_ in own_mutations[ids["agent_id"]])
            _log_left_out(session, leg, "mutation", len(inputs.mutation_ids) - len(own), "of another agent")
            leg.inputs = leg.inputs._replace(mutation_ids=own)
        if ids["test_set_id"] in own_cases:
            own = tuple(id_ for id_ in inputs.test_case_ids if id_ in own_cases[ids["test_set_id"]])
            _log_left_out(session, leg, "test case", len(inputs.test_case_ids) - len(own), "of another test set")
            leg.inputs = leg.inputs._replace(test_case_ids=own)
            if not own:
                session.log(
                    f"{step.title_of(leg) or 'The run'} is left out: the template names no test case of its test set."
                )
                continue
        if not leg.is_base:
            kept.append(leg)
    if not kept:
        raise InputError([InvalidInput("run_template_id", "names no test case of any of the test sets.")])
    return kept


async def _ids_in(session: StepRun, kind_of: Callable[[str], Resource[Part]], owner: str) -> dict[str, set[str]]:
    """Return the ids of the mutations of each agent, or of the test cases of each test set. Raises CovalError."""
    owners = list(dict.fromkeys(ids_of(leg.inputs)[owner] for leg in session.step.legs))
    until = preparing(session.clock.now(), session.deadline)
    calls = (session.client.list(kind_of(id_), until=until) for id_ in owners)
    listed = all_or_first_error(await together(calls, session.clock))
    return {id_: {part.id for part in parts} for id_, parts in zip(owners, listed, strict=True)}


def _log_left_out(session: StepRun, leg: Leg, noun: str, count: int, why: str) -> None:
    if count:
        session.log(
            f"{session.step.title_of(leg) or 'The run'} leaves out {plural(count, noun)} of the template: {why}."
        )


def uses_template(step: Step) -> bool:
    """Return whether a run template names the mutations: those of other agents were left out."""
    template = step.template
    return template is not None and step.inputs.mutation_ids == template.mutation_ids != ()
