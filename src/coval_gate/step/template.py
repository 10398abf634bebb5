"""Expands a run template of Coval: its values stand where the step's inputs are empty.

A template may name mutations of several agents, and test cases of several test sets. Each leg takes those of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from coval_gate.base.errors import InputError, Rejected
from coval_gate.base.schedule import Procedure, all_or_first_error, together
from coval_gate.base.text import plural
from coval_gate.base.times import preparing
from coval_gate.coval.resources import RUN_TEMPLATE, Identified, RunTemplate, cases_of, mutations_of
from coval_gate.inputs.checks import check_inputs
from coval_gate.inputs.fields import Unset
from coval_gate.inputs.inputs import LAUNCH_IDS, Inputs, Problem, ids_of
from coval_gate.step.leg import Leg
from coval_gate.step.step import Step, StepRun
from coval_gate.step.wrong_ids import is_of_template

NOT_FOUND: Final = 404


def expand(step: Step) -> Procedure[Inputs]:
    """Raises InputError, CovalError."""
    inputs, session = step.inputs, step.session()
    until = preparing(session.clock.now(), session.deadline)
    template_id = inputs.run_template_id
    try:
        template = yield from session.client.get(RUN_TEMPLATE, template_id, until=until)
    except Rejected as error:
        if error.status == NOT_FOUND:
            text = f"names {template_id}, which Coval does not have."
            raise InputError([Problem("run_template_id", text)]) from None
        raise
    step.inputs = inputs = expanded(inputs, template)
    step.template = template
    session.log(f"Using run template {template_id}{f' ({template.name})' if template.name else ''}.")
    if inputs.base_agent_id and template.mutation_ids:
        session.log(
            f"The step leaves out {plural(len(template.mutation_ids), 'mutation')} of the template: base_agent_id "
            "compares with another agent instead."
        )
    missing = [
        Problem(name, f"is required: run template {template_id} names none.")
        for name in LAUNCH_IDS
        if not getattr(inputs, name)
    ]
    withheld = step.context.secrets_withheld_from
    check_inputs(inputs, missing, step.runtime.environ, withheld, step.file)
    return inputs


def _ids(resources: Iterable[Identified]) -> set[str]:
    return {resource.id for resource in resources}


def expanded(inputs: Inputs, template: RunTemplate) -> Inputs:
    """Return the inputs with the template's values where they are empty. Tags add up."""
    own_sample = inputs.sub_sample_size is not None or bool(inputs.test_case_ids)
    size = inputs.sub_sample_size if own_sample else template.sub_sample_size or None
    seed = template.sub_sample_seed if size and inputs.sub_sample_seed is None else inputs.sub_sample_seed
    own_mutations = bool(inputs.mutation_ids or inputs.base_agent_id)
    return inputs._replace(
        agent_id=inputs.agent_id or template.agent_ids,
        persona_id=inputs.persona_id or template.persona_ids,
        test_set_id=inputs.test_set_id or template.test_set_ids,
        metric_ids=inputs.metric_ids or template.metric_ids,
        mutation_ids=inputs.mutation_ids if own_mutations else template.mutation_ids,
        iteration_count=_written(inputs.iteration_count, template.iteration_count),
        concurrency=_written(inputs.concurrency, template.concurrency),
        sub_sample_size=size,
        sub_sample_seed=seed,
        test_case_ids=inputs.test_case_ids if own_sample or size else template.test_case_ids,
        tags=tuple(dict.fromkeys((*inputs.tags, *template.tags))),
        metadata=_metadata(inputs.metadata, template),
    )


def _written(own: int, of_template: int | None) -> int:
    return of_template if isinstance(own, Unset) and of_template is not None else own


def _metadata(own: Mapping[str, object] | None, template: RunTemplate) -> dict[str, object] | None:
    """Return the metadata with the template's own under the user's, and its name."""
    added = {**template.customer, **({"template_name": template.name} if template.name else {})}
    return {**added, **(own or {})} or None


def with_own_parts(session: StepRun) -> Procedure[list[Leg]]:
    """Give each leg the template's own mutations and test cases; leave out legs without any of these cases.

    The log says what is left out. Raises CovalError, and InputError if no leg is left.
    """
    step = session.step
    inputs, legs = session.inputs, step.legs
    until = preparing(session.clock.now(), session.deadline)
    template = step.template
    if template is None:
        return legs
    takes_mutations = is_of_template(step)
    takes_cases = inputs.test_case_ids == template.test_case_ids != ()
    agents = list(dict.fromkeys(ids_of(leg.inputs)["agent_id"] for leg in legs)) if takes_mutations else []
    sets = list(dict.fromkeys(ids_of(leg.inputs)["test_set_id"] for leg in legs)) if takes_cases else []
    clock = session.clock
    reading = (session.client.list(mutations_of(agent), until=until) for agent in agents)
    mutations = yield from together(reading, clock)
    cases = yield from together((session.client.list(cases_of(test_set), until=until) for test_set in sets), clock)
    of_agent = dict(zip(agents, map(_ids, all_or_first_error(mutations)), strict=True))
    of_set = dict(zip(sets, map(_ids, all_or_first_error(cases)), strict=True))
    kept: list[Leg] = []
    for leg in step.all_legs:
        ids = ids_of(leg.inputs)
        if ids["agent_id"] in of_agent:
            own = tuple(id_ for id_ in inputs.mutation_ids if id_ in of_agent[ids["agent_id"]])
            _log_left_out(session, leg, "mutation", len(inputs.mutation_ids) - len(own), "of another agent")
            leg.inputs = leg.inputs._replace(mutation_ids=own)
        if ids["test_set_id"] in of_set:
            own = tuple(id_ for id_ in inputs.test_case_ids if id_ in of_set[ids["test_set_id"]])
            _log_left_out(session, leg, "test case", len(inputs.test_case_ids) - len(own), "of another test set")
            leg.inputs = leg.inputs._replace(test_case_ids=own)
            if not own:
                session.log(f"{leg.name or 'The run'} is left out: the template names no test case of its test set.")
                continue
        if not leg.is_base:
            kept.append(leg)
    if not kept:
        raise InputError([Problem("run_template_id", "names no test case of any of the test sets.")])
    return kept


def _log_left_out(session: StepRun, leg: Leg, noun: str, count: int, why: str) -> None:
    if count:
        session.log(f"{leg.name or 'The run'} leaves out {plural(count, noun)} of the template: {why}.")
