"""The beginning of a step: reads its context and inputs, and plans its legs."""

from __future__ import annotations

from itertools import compress, product
from typing import TYPE_CHECKING

from coval_gate import __version__
from coval_gate.base.times import announcing
from coval_gate.ci.host import NAME, with_unknown_commit
from coval_gate.inputs.checks import acts_as, check_inputs, warnings_about
from coval_gate.inputs.inputs import (
    FILE,
    LABELS,
    LAUNCH_IDS,
    LAUNCHING_MODES,
    WHAT,
    LegInputs,
    Problem,
    effective,
    key_in,
    parse_inputs,
    stray_keys_in,
    token_in,
)
from coval_gate.report.formats import Surface, formats
from coval_gate.runs.legs import Leg

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coval_gate.base.schedule import Procedure
    from coval_gate.flow.progress import Progress
    from coval_gate.inputs.inputs import Inputs
    from coval_gate.runs.legs import Session


def read_inputs(progress: Progress) -> Inputs:
    """Raises InputError, RunnerError."""
    environ, host, publisher = progress.runtime.environ, progress.host, progress.publisher
    for secret in (key_in(environ), token_in(environ)):
        host.mask(secret)
    host.log(f"{NAME} {__version__}")
    progress.context = host.context()
    problems = read_file(progress)
    environ = progress.runtime.environ
    for key in stray_keys_in(environ):
        if host.redact(key) == key:
            host.mask(key)
    progress.inputs, of_inputs = parse_inputs(environ)
    progress.wrong = {name: text for name, _ in of_inputs if (text := environ.get(f"INPUT_{name.upper()}", ""))}
    problems += of_inputs
    if progress.read:
        from coval_gate.inputs.file import with_file

        host.log(f"Read inputs from {progress.read.path}.")
        progress.inputs, progress.file, mistakes = with_file(progress.inputs, progress.read)
        problems += [*progress.read.problems, *mistakes]
    progress.context = progress.context._replace(matrix=progress.inputs.matrix)
    problems += publisher.prepare(progress.inputs)
    if progress.inputs.mode == "wait":
        progress.context = with_unknown_commit(progress.context)
    # If the step is killed, the workflow sees this. Files that cannot be written show before the launch.
    publisher.write_unfinished()
    progress.save()
    inputs, context, file = progress.inputs, progress.context, progress.file
    if inputs.accept:
        from coval_gate.runs.standing import acceptance_problems

        problems += acceptance_problems(context)
    problems += publisher.pages.problems(inputs, context)
    check_inputs(inputs, problems, environ, context.secrets_withheld_from, file, context.variables)
    for warning in (*warnings_about(inputs, environ, file), *_without_effect(progress)):
        progress.warn(warning)
    if inputs.api_key:
        _add_seeds(progress)
    return progress.inputs


def _without_effect(progress: Progress) -> Iterator[str]:
    """Yield a sentence about each input that can have no effect on this host, or in a plan."""
    inputs = progress.inputs
    if inputs.mode == "plan":
        asked = [file.input for file in formats(Surface.FILE) if getattr(inputs, file.input)]
        yield from (f"{name} has no effect in mode plan, which has no run to report." for name in asked)
        return
    if inputs.supersede and inputs.mode in LAUNCHING_MODES:
        from coval_gate.runs.tags import is_identified

        if not is_identified(progress.context):
            yield "supersede has no effect here: nothing tells which earlier runs are of this step."


def read_file(progress: Progress) -> list[Problem]:
    """Let the file's inputs stand beside the step's own. Return why it cannot be read."""
    environ = progress.runtime.environ
    path = environ.get(f"INPUT_{FILE.upper()}", "").strip()
    if progress.read or not path:
        return []
    from coval_gate.inputs import file, nodes  # a step without a file needs none of it

    workspace = progress.host.workspace
    try:
        place = workspace.find(path)
        read = file.read_file(workspace.read(place, nodes.LARGEST), place, key_in(environ))
    except ValueError as problem:
        return [Problem(FILE, str(problem))]
    environ, progress.read = file.beside_file(environ, read, defaults_count=False)
    progress.runtime = progress.runtime._replace(environ={**environ, f"INPUT_{FILE.upper()}": place})
    return []


def legs_of(parts: Sequence[LegInputs]) -> list[Leg]:
    """Plan each combination of agents, personas and test sets, the last changing fastest.

    A leg's name is the one in the file, and the ids that differ. Legs whose bases run the same share one. Where runs
    are given, ids may be missing; a plan without them has no legs.
    """
    legs: list[Leg] = []
    bases: list[tuple[list[object], Leg]] = []
    for given in parts:
        differing = [len(getattr(given.inputs, name)) > 1 for name in LAUNCH_IDS]
        missing = () if acts_as(given.inputs) in LAUNCHING_MODES else ("",)
        for ids in product(*(getattr(given.inputs, name) or missing for name in LAUNCH_IDS)):
            name = _named(given.name, *compress(ids, differing))
            leg = Leg(inputs=_of_ids(given.inputs, ids), name=name, key=name if given.name else _named(*ids))
            leg.is_listed = bool(given.name)
            if base_agent_id := given.inputs.base_agent_id:
                of_base = (base_agent_id, *ids[1:])
                name = _named(given.name, *compress(ids[1:], differing[1:]))
                own = base_leg(_of_ids(given.inputs, of_base), name, key=name if given.name else _named(*of_base))
                runs = _what_runs(own.inputs)
                leg.base = next((base for others, base in bases if others == runs), own)
                bases.append((runs, leg.base))
            legs.append(leg)
    return legs


def base_leg(inputs: Inputs, name: str = "", key: str = "") -> Leg:
    """Its run is compared with no other, and never becomes a baseline. `name`: if the step has several bases."""
    inputs = inputs._replace(base_agent_id="", baseline=None, accept=False)
    leg = Leg(inputs=inputs, name=_named("base", name), key=_named("base", key))
    leg.is_base = True
    return leg


def _named(*parts: str) -> str:
    return " · ".join(filter(None, parts))


def _of_ids(inputs: Inputs, ids: tuple[str, ...]) -> Inputs:
    agent_id, persona_id, test_set_id = ((id_,) if id_ else () for id_ in ids)
    return inputs._replace(agent_id=agent_id, persona_id=persona_id, test_set_id=test_set_id)


def _what_runs(inputs: Inputs) -> list[object]:
    """Return what distinguishes the run of a base, and whether it can be used, from those of others."""
    names = [declaration.name for declaration in effective() if declaration.group == WHAT]
    return [getattr(inputs, name) for name in (*names, "max_failed_simulations") if name not in LABELS]


def locate(progress: Progress) -> Procedure[None]:
    """Find out which commit is tested, if pages need it and the event does not show it."""
    until = announcing(progress.clock.now(), progress.deadline)
    pages = progress.publisher.pages
    progress.context = yield from pages.locate(progress.context, progress.inputs, until=until)


def foresee(session: Session, leg: Leg, *, legs: int) -> None:
    """Warn of thresholds that a run of this size, in a step with so many legs, cannot decide with the confidence."""
    inputs = leg.inputs
    cases = len(inputs.test_case_ids) or inputs.sub_sample_size or 0
    if inputs.confidence is None or not cases:  # how many a test set has is known only after the launch
        return
    from coval_gate.gate.claims import undecidable_text
    from coval_gate.gate.criteria import Criteria
    from coval_gate.gate.doubts import undecidable

    for criterion in undecidable(Criteria.from_inputs(inputs, legs=legs), cases):
        session.warn(undecidable_text(criterion, cases))


def _add_seeds(progress: Progress) -> None:
    """Choose seeds before anything is sent: they are a part of the request by which runs are found again."""
    legs = progress.file.legs
    if not any(_needs_seed(inputs) for inputs in (progress.inputs, *(leg.inputs for leg in legs))):
        return
    from coval_gate.runs.tags import seed_for

    seed = seed_for(progress.context, progress.runtime.randomness.getrandbits(32))
    progress.host.log(f"All runs of this step draw their test cases with sub_sample_seed {seed}.")

    def seeded(inputs: Inputs) -> Inputs:
        return inputs._replace(sub_sample_seed=seed) if _needs_seed(inputs) else inputs

    progress.inputs = seeded(progress.inputs)
    progress.file = progress.file._replace(legs=[leg._replace(inputs=seeded(leg.inputs)) for leg in legs])


def _needs_seed(inputs: Inputs) -> bool:
    """Return whether runs draw test cases, and must draw the same ones, without a seed of the user's."""
    have_others = inputs.mode in LAUNCHING_MODES and (inputs.base_agent_id or inputs.repeat_on_failure)
    return bool(have_others and inputs.sub_sample_size) and inputs.sub_sample_seed is None
