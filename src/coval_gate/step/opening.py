"""The beginning of a step: reads its context and inputs, and plans its legs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress, product
from typing import Final

from coval_gate import __version__
from coval_gate.base.schedule import Procedure
from coval_gate.base.times import announcing
from coval_gate.ci.host import NAME, Context, with_unknown_commit
from coval_gate.history.tags import ACCEPTED, FAILED, is_identified, seed_for
from coval_gate.inputs.checks import acts_as, check_inputs, warnings_about
from coval_gate.inputs.inputs import (
    FILE,
    LABELS,
    LAUNCH_IDS,
    LAUNCHING_MODES,
    WHAT,
    Inputs,
    LegInputs,
    Problem,
    effective,
    key_in,
    parse_inputs,
    stray_keys_in,
    token_in,
)
from coval_gate.report.formats import FILES
from coval_gate.step import later
from coval_gate.step.leg import Base, Leg
from coval_gate.step.step import Step

HOW_TO_ACCEPT: Final = """Let the workflow have that input, and pass it on:
    on:
      workflow_dispatch:
        inputs:
          accept:
            type: boolean
    ...
        accept: ${{ inputs.accept }}"""


def read_inputs(step: Step) -> Inputs:
    """Raises InputError, RunnerError."""
    environ, host, publisher = step.runtime.environ, step.host, step.publisher
    for secret in (key_in(environ), token_in(environ)):
        host.mask(secret)
    host.log(f"{NAME} {__version__}")
    step.context = host.context()
    problems = read_file(step)
    environ = step.runtime.environ
    for key in stray_keys_in(environ):
        if host.redact(key) == key:
            host.mask(key)
    step.inputs, of_inputs = parse_inputs(environ)
    step.wrong = {name: text for name, _ in of_inputs if (text := environ.get(f"INPUT_{name.upper()}", ""))}
    problems += of_inputs
    if step.read:
        host.log(f"Read inputs from {step.read.path}.")
        step.inputs, step.file, mistakes = later.file.with_file(step.inputs, step.read)
        problems += [*step.read.problems, *mistakes]
    step.context = step.context._replace(matrix=step.inputs.matrix)
    problems += publisher.prepare(step.inputs)
    if step.inputs.mode == "wait":
        step.context = with_unknown_commit(step.context)
    # If the step is killed, the workflow sees this. Files that cannot be written show before the launch.
    publisher.write_unfinished()
    step.save()
    inputs, context, file = step.inputs, step.context, step.file
    if inputs.accept:
        problems += acceptance_problems(context)
    problems += publisher.pages.problems(inputs, context)
    check_inputs(inputs, problems, environ, context.secrets_withheld_from, file, context.variables)
    for warning in (*warnings_about(inputs, environ, file), *_without_effect(step)):
        step.warn(warning)
    if inputs.api_key:
        _add_seeds(step)
    return step.inputs


def acceptance_problems(context: Context) -> list[Problem]:
    """Return the problem that rules out that this step accepts a run, before anything is launched."""
    if context.started_by_person and not context.of_pull_request:  # a manual job of a pull request is its author's
        return []
    of_workflow = context.start_by_hand is None
    if context.is_local:
        why = "only the runs of a CI system are compared with later ones."
    elif context.of_pull_request and (context.started_by_person or not of_workflow):
        why = "only a run of a branch can be accepted."
    elif context.start_by_hand == "":
        why = (
            "only a person accepts a run, and this CI system does not tell whether one started the job.\n"
            f"In Coval, add {ACCEPTED} and the baseline's tag to the run instead, and remove {FAILED} from it."
        )
    else:
        what = "the workflow by hand (workflow_dispatch)" if of_workflow else "the job by hand"
        started = f", but {context.event} started it" if context.event else ""
        why = f"a person accepts a run by starting {what}{started}.\n{context.start_by_hand or HOW_TO_ACCEPT}"
    return [Problem("accept", f"must be false here: {why}")]


def _without_effect(step: Step) -> Iterator[str]:
    """Yield a sentence about each input that can have no effect on this host, or in a plan."""
    inputs = step.inputs
    if inputs.mode == "plan":
        asked = [file.input for file in FILES if getattr(inputs, file.input)]
        yield from (f"{name} has no effect in mode plan, which has no run to report." for name in asked)
        return
    if inputs.supersede and inputs.mode in LAUNCHING_MODES and not is_identified(step.context):
        yield "supersede has no effect here: nothing tells which earlier runs are of this step."


def read_file(step: Step) -> list[Problem]:
    """Let the file's inputs stand beside the step's own. Return why it cannot be read."""
    environ = step.runtime.environ
    path = environ.get(f"INPUT_{FILE.upper()}", "").strip()
    if step.read or not path:
        return []
    workspace = step.host.workspace
    try:
        place, contents = workspace.read(path, later.nodes.LARGEST)
        read = later.file.read_file(contents, place, key_in(environ))
    except ValueError as problem:
        return [Problem(FILE, str(problem))]
    environ, step.read = later.file.beside_file(environ, read, defaults_count=False)
    step.runtime = step.runtime._replace(environ={**environ, f"INPUT_{FILE.upper()}": place})
    return []


def legs_of(parts: Sequence[LegInputs]) -> list[Leg]:
    """Plan each combination of agents, personas and test sets, the last changing fastest.

    A leg's name is the one in the file, and the ids that differ. Legs whose bases run the same share one. Where runs
    are given, ids may be missing; a plan without them has no legs.
    """
    legs: list[Leg] = []
    bases: list[tuple[list[object], Base]] = []
    for given in parts:
        differing = [len(getattr(given.inputs, name)) > 1 for name in LAUNCH_IDS]
        missing = () if acts_as(given.inputs) in LAUNCHING_MODES else ("",)
        for ids in product(*(getattr(given.inputs, name) or missing for name in LAUNCH_IDS)):
            name = _named(given.name, *compress(ids, differing))
            base = None
            if base_agent_id := given.inputs.base_agent_id:
                of_base = (base_agent_id, *ids[1:])
                name = _named(given.name, *compress(ids[1:], differing[1:]))
                own = base_of(_of_ids(given.inputs, of_base), name, key=name if given.name else _named(*of_base))
                runs = _what_runs(own.inputs)
                base = next((base for others, base in bases if others == runs), own)
                bases.append((runs, base))
            name = _named(given.name, *compress(ids, differing))
            key = name if given.name else _named(*ids)
            legs.append(Leg(_of_ids(given.inputs, ids), name, key, is_listed=bool(given.name), base=base))
    return legs


def base_of(inputs: Inputs, name: str = "", key: str = "") -> Base:
    """`name`: if the step has several bases."""
    inputs = inputs._replace(base_agent_id="", baseline=None, accept=False)
    return Base(inputs, _named("base", name), _named("base", key))


def _named(*parts: str) -> str:
    return " · ".join(filter(None, parts))


def _of_ids(inputs: Inputs, ids: tuple[str, ...]) -> Inputs:
    agent_id, persona_id, test_set_id = ((id_,) if id_ else () for id_ in ids)
    return inputs._replace(agent_id=agent_id, persona_id=persona_id, test_set_id=test_set_id)


def _what_runs(inputs: Inputs) -> list[object]:
    """Return what distinguishes the run of a base, and whether it can be used, from those of others."""
    names = [declaration.name for declaration in effective() if declaration.group == WHAT]
    return [getattr(inputs, name) for name in (*names, "max_failed_simulations") if name not in LABELS]


def locate(step: Step) -> Procedure[None]:
    """Find out which commit is tested, if pages need it and the event does not show it."""
    until = announcing(step.clock.now(), step.deadline)
    pages = step.publisher.pages
    step.context = yield from pages.locate(step.context, step.inputs, until=until)


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
    """Return whether runs draw test cases, and must draw the same ones, without a seed of the user's."""
    have_others = inputs.mode in LAUNCHING_MODES and (inputs.base_agent_id or inputs.repeat_on_failure)
    return bool(have_others and inputs.sub_sample_size) and inputs.sub_sample_seed is None
