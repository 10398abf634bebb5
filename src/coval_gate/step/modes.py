"""What a step does in the modes run, launch, wait and cancel. Its legs go side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from coval_gate.base.errors import GateError, InternalError
from coval_gate.base.schedule import Procedure, all_or_first_error, together
from coval_gate.step import later
from coval_gate.step.launch import launch_first, tell_launch
from coval_gate.step.leg import Base, Leg
from coval_gate.step.step import LegRun, Step, StepRun

if TYPE_CHECKING:
    from coval_gate.gate.judgement import Judgement

    Work = Callable[[LegRun], Procedure[object]]


def run(session: StepRun) -> Procedure[Judgement]:
    yield from _prepare(session)
    yield from _side_by_side(session, session.step.all_legs, _evaluate)
    return _gravest(session.step)


def launch(session: StepRun) -> Procedure[Judgement]:
    step = session.step
    yield from _prepare(session)
    yield from _side_by_side(session, step.all_legs, _launch)
    for leg in step.legs:
        leg.error = leg.error or (leg.base.error if leg.base else None)
    launched = [leg for leg in step.legs if not leg.error]
    bases = [base for base in step.bases if base.trials and not base.error]
    if resumed := [leg for leg in (*launched, *bases) if leg.first.resumed]:
        yield from _side_by_side(session, resumed, later.follow.confirm)
    for leg in launched:
        leg.judgement = later.judgement.LAUNCH
    return _gravest(step)


def wait(session: StepRun) -> Procedure[Judgement]:
    """Mode run without the launch."""
    yield from later.adopt.adopt_runs(session)
    yield from _side_by_side(session, session.step.all_legs, _evaluate)
    return _gravest(session.step)


def cancel(session: StepRun) -> Procedure[Judgement]:
    """Raises the first error after it tried all."""
    leg = Leg(inputs=session.inputs)
    session.step.legs = [leg]
    return later.judgement.runs_cancelled(
        (yield from later.cleanup.cancel_named(session.of(leg), session.inputs.run_id.ids))
    )


def _evaluate(session: LegRun) -> Procedure[None]:
    """A base is run, and not judged."""
    if isinstance(session.leg, Base):
        yield from later.base.accompany(session, session.leg)
        return
    if not session.leg.trials:
        yield from _launch_and_show(session)
    yield from later.evaluate.evaluate_leg(session)


def _launch(session: LegRun) -> Procedure[None]:
    """Launch the first run; a base's once a leg was launched that is compared with it, and not without one."""
    step, leg = session.step, session.leg
    tested = [other for other in step.legs if leg.is_base and other.base is leg]
    while tested and not any(other.trials and other.first.run_id for other in tested):
        if all(other.is_done for other in tested):
            return
        yield step.changed.wait()
    yield from _launch_and_show(session)


def _launch_and_show(session: LegRun) -> Procedure[None]:
    """Show the step's first launch. How large the run is comes before it in the log."""
    step, inputs = session.step, session.inputs
    cases = len(inputs.test_case_ids) or inputs.sub_sample_size  # of a whole test set, they are counted too late
    if inputs.mode == "run" and inputs.confidence is not None and cases and not session.leg.is_base:
        later.plan.foresee(session, cases)
    trial = yield from launch_first(session)
    if step.is_announced or session.leg.is_base:
        return
    step.is_announced = True
    later.begin()  # while the run goes on
    if step.is_counted_first:
        yield from later.report.announce(step)
        return
    try:
        yield from later.size.tell_size(session, later.report.announce(step))
    finally:
        tell_launch(session, trial)


def _prepare(session: StepRun) -> Procedure[None]:
    """Raises InputError. A single run without a limit begins sooner: the look at its test set follows."""
    step = session.step
    if len(step.legs) > 1 and any(leg.inputs.mutation_ids for leg in step.legs):
        yield from later.wrong_ids.check_mutations(session)
    if step.is_counted_first:
        yield from later.size.plan_sizes(session)


def _gravest(step: Step) -> Judgement:
    return later.judgement.gravest([leg.outcome for leg in step.legs if leg.outcome])


def _side_by_side(session: StepRun, legs: Sequence[Leg], work: Work) -> Procedure[None]:
    """An error is the judgement of its leg, and the others go on."""
    works = [_with_own_error(session.of(leg), work) for leg in legs]
    all_or_first_error((yield from together(works, session.clock)))


def _with_own_error(session: LegRun, work: Work) -> Procedure[None]:
    step, leg = session.step, session.leg
    try:
        yield from work(session)
    except GateError as error:
        _fail(session, error)
    except Exception as error:  # noqa: BLE001 - as in reach_judgement
        session.report_bug()
        _fail(session, InternalError(error))
    leg.is_done, leg.is_ending = True, len(step.all_legs) > 1
    step.changed.happen()
    if leg.is_ending:
        yield from later.cleanup.clean_up_leg(session)
        leg.is_ending = False
        step.changed.happen()


def _fail(session: LegRun, error: GateError) -> None:
    if session.label:
        session.log(f"This leg ended in an error: {error.what}", *error.advice.splitlines())
    session.leg.error = later.judgement.errored(error)


MODES: Final[dict[str, Callable[[StepRun], Procedure[Judgement]]]] = {
    "run": run,
    "launch": launch,
    "wait": wait,
    "cancel": cancel,
}
