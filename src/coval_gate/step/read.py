"""Reads the inputs of a step, checks them, and plans the legs."""

from collections.abc import Iterator

from coval_gate import __version__
from coval_gate.base.errors import InputError
from coval_gate.base.text import day_at
from coval_gate.ci.host import GATE_NAME, with_unknown_commit
from coval_gate.history.tags import is_identified, seed_for
from coval_gate.inputs.checks import acts_as, check_inputs, warnings_about
from coval_gate.inputs.inputs import (
    LAUNCHING_MODES,
    FromFile,
    Inputs,
    key_in,
    parse_inputs,
    stray_keys_in,
    token_in,
    what_is_given,
)
from coval_gate.report.formats.outputs import FILES, unfinished
from coval_gate.step.leg import legs_of
from coval_gate.step.step import Step


async def read_inputs(step: Step) -> Inputs:
    """Read the inputs, with those of a run template. Mode plan reports wrong ids beside other mistakes.

    Raises InputError, CovalError, RunnerError.
    """
    try:
        _read_and_check(step)
        if step.inputs.run_template_id and step.inputs.api_key is not None:
            from coval_gate.features.templates.step import expand

            await expand(step)
    except InputError as error:
        if step.inputs.mode != "plan":
            raise
        from coval_gate.features.advice.ids import with_wrong_ids

        raise await with_wrong_ids(step, error) from None
    return step.inputs


def _read_and_check(step: Step) -> None:
    """Raises InputError, RunnerError."""
    environ, host, publisher = step.runtime.environ, step.host, step.publisher
    for secret in (key_in(environ), token_in(environ)):
        host.mask(secret)
    host.log(f"{GATE_NAME} {__version__}")
    step.context = host.context()
    given = what_is_given(environ)
    problems = step.read_file()
    environ = step.runtime.environ
    for key in stray_keys_in(environ):
        if host.redact(key) == key:
            host.mask(key)
    step.inputs, input_problems = parse_inputs(environ)
    step.wrong = {name: text for name, _ in input_problems if (text := environ.get(f"INPUT_{name.upper()}", ""))}
    problems += input_problems
    if step.read:
        from coval_gate.features.legs.file import with_file

        host.log(f"Read inputs from {step.read.path}.")
        step.inputs, step.file, mistakes = with_file(step.inputs, step.read, day_at(step.clock.time()))
        problems += [*step.read.problems, *mistakes]
    step.context = step.context._replace(matrix=step.inputs.matrix, given=given)
    problems += publisher.prepare(step.inputs)
    if step.inputs.mode == "wait" and step.inputs.only_legs != ():  # without a run, the event names the commit
        step.context = with_unknown_commit(step.context)
    # If the step is killed, the workflow sees this. Files that cannot be written show before the launch.
    host.set_outputs(unfinished())
    step.save()
    inputs, context, file = step.inputs, step.context, step.file
    if inputs.accept:
        from coval_gate.features.comparisons.step import acceptance_problems

        problems += acceptance_problems(context)
    if pages := publisher.pages(inputs):
        problems += pages.problems(inputs, context)
    check_inputs(inputs, problems, environ, context.secrets_withheld_from, file, context.variables)
    for warning in (*warnings_about(inputs, environ, _selected_parts(step)), *_effectless_inputs(step)):
        step.warn(warning)
    if inputs.api_key:
        _add_seeds(step)


def _effectless_inputs(step: Step) -> Iterator[str]:
    """Yield a sentence about each input that can have no effect on this host, in a plan or in a history."""
    inputs = step.inputs
    asked = [file.input for file in FILES if getattr(inputs, file.input) and not file.is_written_in(inputs.mode)]
    yield from (f"{name} has no effect in mode {inputs.mode}, which has no run to report." for name in asked)
    if inputs.supersede and inputs.mode in LAUNCHING_MODES and not is_identified(step.context):
        yield "supersede has no effect here: nothing identifies the earlier runs of this step."


def _add_seeds(step: Step) -> None:
    """Choose seeds before anything is sent: they are a part of the request by which runs are found again."""
    legs = step.file.legs
    if not any(_needs_seed(inputs) for inputs in (step.inputs, *(leg.inputs for leg in legs))):
        return
    seed = seed_for(step.context, step.runtime.randomness.getrandbits(32))
    step.host.log(f"All runs of this step draw their test cases with sub_sample_seed {seed}.")

    def seeded(inputs: Inputs) -> Inputs:
        return inputs._replace(sub_sample_seed=seed) if _needs_seed(inputs) else inputs

    step.inputs = seeded(step.inputs)
    step.file = step.file._replace(legs=[leg._replace(inputs=seeded(leg.inputs)) for leg in legs])


def _needs_seed(inputs: Inputs) -> bool:
    """Return whether several runs must draw the same test cases, and the user set no seed."""
    have_others = inputs.mode in LAUNCHING_MODES and (inputs.base_agent_id or inputs.repeat_on_failure)
    return bool(have_others and inputs.sub_sample_size) and inputs.sub_sample_seed is None


async def plan_legs(step: Step) -> None:
    """Plan the legs. Of a run template, each leg keeps the parts that are its own."""
    launches = acts_as(step.inputs) in LAUNCHING_MODES
    step.legs = legs_of(step.file.parts(step.inputs))
    if step.template:
        from coval_gate.features.templates.step import with_own_parts

        step.legs = await with_own_parts(step.session())
    select_legs(step)
    if launches and step.inputs.max_parallel_runs and len(step.legs) == 1 and not step.left_out:
        step.warn("max_parallel_runs has no effect: the step tests one agent with one persona and one test set.")


def select_legs(step: Step) -> None:
    if step.inputs.only_legs is not None:
        from coval_gate.features.legs.selection import leave_out_others

        leave_out_others(step)


def _selected_parts(step: Step) -> FromFile:
    if step.inputs.only_legs is None:
        return step.file
    from coval_gate.features.legs.selection import selected_parts

    return selected_parts(step.file, step.inputs)
