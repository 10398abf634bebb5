"""The beginning of a step: reads its context and inputs, and plans its legs."""

from __future__ import annotations

from itertools import compress, product
from typing import TYPE_CHECKING

from coval_gate import __version__
from coval_gate.base.times import announcing
from coval_gate.ci.host import NAME, with_unknown_commit
from coval_gate.config.checks import check_inputs, warnings_about
from coval_gate.config.inputs import LAUNCH_IDS, key_in, parse_inputs, token_in
from coval_gate.runs.legs import Leg

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.base.schedule import Procedure
    from coval_gate.config.inputs import Inputs
    from coval_gate.flow.progress import Progress
    from coval_gate.runs.legs import Session

    Plan = Callable[[Inputs], list[Leg]]


def read_inputs(progress: Progress) -> Inputs:
    """Read the context and the inputs. Raises InputError, RunnerError."""
    environ, host, publisher = progress.runtime.environ, progress.host, progress.publisher
    for secret in (key_in(environ), token_in(environ)):
        host.mask(secret)
    host.log(f"{NAME} {__version__}")
    progress.context = host.context()
    progress.inputs, problems = parse_inputs(environ)
    progress.context = progress.context._replace(matrix=progress.inputs.matrix)
    progress.inputs, unusable = publisher.prepare(progress.inputs)
    problems += unusable
    if progress.inputs.mode == "wait":
        progress.context = with_unknown_commit(progress.context)
    # If the step is killed, the workflow sees this. Files that cannot be written show before the launch.
    publisher.write_unfinished()
    progress.save()
    inputs, context = progress.inputs, progress.context
    if inputs.promote or inputs.accept or inputs.drift:
        from coval_gate.runs.promote import promotion_problems

        problems += promotion_problems(inputs, context)
    problems += publisher.pages.problems(inputs, context)
    check_inputs(inputs, problems, environ, context.secrets_withheld_from)
    for warning in warnings_about(inputs, environ):
        progress.warn(warning)
    if inputs.mode == "run" and inputs.repeat_on_failure and inputs.api_key:
        progress.inputs = _with_seed(progress, inputs)
    return progress.inputs


def legs_of(inputs: Inputs) -> list[Leg]:
    """Plan the legs of a step: every combination of agents, personas and test sets, the last changing fastest.

    What differs is the leg's name. In mode wait, each run is a leg, named by its id until a poll shows its name.
    """
    if inputs.mode == "cancel":
        return [Leg(inputs=inputs)]
    if inputs.mode == "wait":
        several = len(inputs.run_id) > 1
        return [Leg(inputs=inputs._replace(run_id=(id_,)), name=id_ if several else "") for id_ in inputs.run_id]
    differing = [len(getattr(inputs, name)) > 1 for name in LAUNCH_IDS]
    return [
        Leg(
            inputs=inputs._replace(agent_id=(ids[0],), persona_id=(ids[1],), test_set_id=(ids[2],)),
            name=" · ".join(compress(ids, differing)),
        )
        for ids in product(inputs.agent_id, inputs.persona_id, inputs.test_set_id)
    ]


def locate(progress: Progress) -> Procedure[None]:
    """Find out which commit is tested, if pages need it and the event does not show it."""
    until = announcing(progress.clock.now(), progress.deadline)
    pages = progress.publisher.pages
    progress.context = yield from pages.locate(progress.context, progress.inputs, until=until)


def foresee(session: Session, leg: Leg) -> None:
    """Warn of thresholds that a run of this size cannot decide with the confidence."""
    inputs = leg.inputs
    cases = len(inputs.test_case_ids) or inputs.sub_sample_size or 0
    if inputs.confidence is None or not cases:  # how many a test set has is known only after the launch
        return
    from coval_gate.judge.criteria import Criteria
    from coval_gate.judge.doubts import undecidable
    from coval_gate.report.wording.comparisons import undecidable_text

    for criterion in undecidable(Criteria.from_inputs(inputs), cases):
        session.warn(undecidable_text(criterion, cases))


def _with_seed(progress: Progress, inputs: Inputs) -> Inputs:
    """Return inputs with a seed, so all runs draw the same test cases, if they draw any.

    The seed is chosen before anything is sent: it is a part of the request by which runs are found again.
    """
    if not inputs.sub_sample_size or inputs.sub_sample_seed is not None:
        return inputs
    from coval_gate.runs.tags import seed_for

    seed = seed_for(progress.context, progress.runtime.randomness.getrandbits(32))
    progress.host.log(f"All runs of this step draw their test cases with sub_sample_seed {seed}.")
    return inputs._replace(sub_sample_seed=seed)
