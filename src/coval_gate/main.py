"""The action's main step: parse, plan, one function for each mode, publish.

The start up to the launch is measured, so what is needed only afterwards is imported where it is needed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from coval_gate.base import titles
from coval_gate.base.clock import Interrupted
from coval_gate.base.errors import GateError, InputError, InternalError
from coval_gate.base.schedule import Wait, all_or_first_error, run, start, together
from coval_gate.ci.host import tolerant
from coval_gate.flow.launch import announce, launch, tell_launch
from coval_gate.flow.opening import foresee, legs_of, locate, read_inputs
from coval_gate.flow.progress import Progress
from coval_gate.inputs.checks import acts_as
from coval_gate.inputs.inputs import LAUNCHING_MODES
from coval_gate.report.formats import load
from coval_gate.runs.legs import Leg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coval_gate.base.runtime import Runtime
    from coval_gate.base.schedule import Procedure
    from coval_gate.gate.judgement import Judgement
    from coval_gate.inputs.file import ConfigFile
    from coval_gate.inputs.inputs import Inputs
    from coval_gate.report.model import Report
    from coval_gate.runs.legs import Session, Trial

    Work = Callable[[Session, Progress, Leg], Procedure[object]]

MOST_LAUNCHES: Final = 20  # legs that are launched side by side; each takes a connection of its own
TURN: Final = 0.2  # s between two looks whether it is a leg's turn


def main(runtime: Runtime) -> int:
    """Run the action, and return the exit code: 0 if the check may be green, else 1."""
    return 0 if run_step(runtime).judgement.lets_pass else 1


def run_step(runtime: Runtime, read: ConfigFile | None = None) -> Report:
    """Run a step, and return its report. `read`: the configuration file, if its inputs are in the environment."""
    progress = Progress(runtime, read)
    try:
        return run(evaluate(progress), runtime.clock)
    finally:
        progress.host.release()


def evaluate(progress: Progress) -> Procedure[Report]:
    """Take a step from its inputs to what it publishes, through every error and interruption."""
    try:
        judgement = yield from reach_judgement(progress)
        if any(trial.judgement for trial in progress.trials):
            from coval_gate.flow.standing import settle_standing

            with tolerant(progress.host, "A run could not be marked"):
                judgement = yield from settle_standing(progress, judgement)
        judgement = yield from _clean_up(progress, judgement)
        yield from _find_names(progress, judgement)
    except Interrupted:
        from coval_gate.gate.judgement import interrupted

        progress.hurry()
        start(load)  # while Coval cancels the runs
        judgement = yield from _clean_up(progress, interrupted())
    return (yield from publish(progress, judgement))


def _find_names(progress: Progress, judgement: Judgement) -> Procedure[None]:
    """Names only inform: a signal meanwhile changes no verdict."""
    mode = progress.inputs.mode
    if judgement.verdict is None or mode == "cancel" or not any(trial.run_id for trial in progress.trials):
        return
    from coval_gate.flow.names import find_names

    try:
        with tolerant(progress.host, "Names could not be looked up"):
            yield from find_names(progress)
    except Interrupted:
        progress.hurry()


def publish(progress: Progress, judgement: Judgement) -> Procedure[Report]:
    return progress.publisher.publish(progress.report(judgement), progress.times)


def reach_judgement(progress: Progress) -> Procedure[Judgement]:
    """Do what the inputs ask for; an error is a judgement, too. Raises Interrupted."""
    try:
        inputs = yield from _whole_inputs(progress)
        if inputs.mode == "plan":
            from coval_gate.flow.plan import plan_step

            yield from _plan_legs(progress)
            return (yield from plan_step(progress))
        if inputs.api_key is None:
            from coval_gate.gate.judgement import skipped

            return skipped(progress.context.secrets_withheld_from)
        yield from _plan_legs(progress)
        yield from locate(progress)
        return (yield from MODES[inputs.mode](progress.session(), progress))
    except GateError as error:
        problem = error
    except Exception as error:  # noqa: BLE001 - the outputs must show any error
        progress.report_bug()
        problem = InternalError(error)
    from coval_gate.gate.judgement import errored

    return errored(problem)


def _whole_inputs(progress: Progress) -> Procedure[Inputs]:
    """Raises InputError, CovalError, RunnerError."""
    try:
        inputs = read_inputs(progress)
        if inputs.run_template_id and inputs.api_key is not None:
            from coval_gate.flow.template import expand

            inputs = yield from expand(progress)
    except InputError as error:
        if progress.inputs.mode != "plan":
            raise
        from coval_gate.flow.plan import with_wrong_ids

        raise (yield from with_wrong_ids(progress, error)) from None
    return inputs


def _plan_legs(progress: Progress) -> Procedure[None]:
    """Leave each leg what is its own of a run template, if one is used."""
    launches = acts_as(progress.inputs) in LAUNCHING_MODES
    progress.legs = legs_of(progress.file.parts(progress.inputs))
    if progress.template:
        from coval_gate.flow.template import with_own_parts

        progress.legs = yield from with_own_parts(progress.session(), progress)
    if launches and progress.inputs.max_parallel_runs and len(progress.legs) == 1:
        progress.warn("max_parallel_runs has no effect: the step tests one agent with one persona and one test set.")


def launch_and_wait(session: Session, progress: Progress) -> Procedure[Judgement]:
    """Mode run."""
    yield from _check_mutations(session, progress)
    yield from _plan_sizes(session, progress)
    yield from _side_by_side(session, progress, progress.all_legs, _evaluate)
    return _gravest(progress)


def launch_only(session: Session, progress: Progress) -> Procedure[Judgement]:
    """Mode launch."""
    yield from _check_mutations(session, progress)
    yield from _plan_sizes(session, progress)
    yield from _side_by_side(session, progress, progress.all_legs, _launch_one)
    for leg in progress.legs:
        leg.error = leg.error or (leg.base.error if leg.base else None)
    launched = [leg for leg in progress.legs if not leg.error]
    bases = [base for base in progress.bases if base.trials and not base.error]
    if resumed := [leg for leg in (*launched, *bases) if leg.first.resumed]:
        from coval_gate.flow.follow import confirm

        yield from _side_by_side(session, progress, resumed, confirm)
    from coval_gate.gate.judgement import LAUNCH

    for leg in launched:
        leg.judgement = LAUNCH
    return _gravest(progress)


def wait(session: Session, progress: Progress) -> Procedure[Judgement]:
    """Mode wait: mode run without the launch."""
    from coval_gate.flow.adopt import adopt_runs

    yield from adopt_runs(session, progress)
    yield from _side_by_side(session, progress, progress.all_legs, _evaluate)
    return _gravest(progress)


def cancel(session: Session, progress: Progress) -> Procedure[Judgement]:
    """Mode cancel. Raises the first error after it tried all."""
    from coval_gate.flow.cancel import cancel_named
    from coval_gate.gate.judgement import runs_cancelled

    leg = Leg(inputs=session.inputs)
    progress.legs = [leg]
    return runs_cancelled((yield from cancel_named(session, progress, leg, session.inputs.run_id.ids)))


def _gravest(progress: Progress) -> Judgement:
    from coval_gate.gate.judgement import gravest

    return gravest([leg.outcome for leg in progress.legs if leg.outcome])


def _clean_up(progress: Progress, judgement: Judgement) -> Procedure[Judgement]:
    from coval_gate.flow.cancel import clean_up

    return clean_up(progress, judgement)


def _check_mutations(session: Session, progress: Progress) -> Procedure[None]:
    """Raises InputError for another agent's mutation. A step with a single leg begins sooner."""
    if len(progress.legs) > 1 and any(leg.inputs.mutation_ids for leg in progress.legs):
        from coval_gate.flow.mutations import check_mutations

        yield from check_mutations(session, progress)


def _plan_sizes(session: Session, progress: Progress) -> Procedure[None]:
    """Raises InputError. A single run without a limit begins sooner: the look at its test set follows."""
    if _is_counted_first(progress):
        from coval_gate.flow.size import plan_sizes

        yield from plan_sizes(session, progress)


def _is_counted_first(progress: Progress) -> bool:
    return progress.inputs.max_simulations is not None or len(progress.all_legs) > 1


def _launch_one(session: Session, progress: Progress, leg: Leg) -> Procedure[None]:
    """Launch the first run of a leg; a base once a leg was launched that is compared with it, and not without one."""
    tested = [other for other in progress.legs if leg.is_base and other.base is leg]
    while tested and not any(other.trials and other.first.run_id for other in tested):
        if all(other.is_done for other in tested):
            return
        yield Wait(TURN)
    yield from _launch(session, progress, leg)


def _clean_up_base(session: Session, progress: Progress, base: Leg) -> Procedure[None]:
    from coval_gate.flow.cancel import clean_up_base

    return clean_up_base(session, progress, base)


def _evaluate(session: Session, progress: Progress, leg: Leg) -> Procedure[None]:
    """A base is run, and not judged."""
    if leg.is_base:
        from coval_gate.flow.base import accompany

        yield from accompany(session, progress, leg, partial(_trial_of_base, session, progress, leg))
        yield from _clean_up_base(session, progress, leg)
        return
    if not leg.trials:
        yield from _launch(session, progress, leg)
    from coval_gate.flow.judge import judge_and_repeat

    yield from judge_and_repeat(session, progress, leg)


def _trial_of_base(session: Session, progress: Progress, base: Leg, number: int) -> Procedure[Trial]:
    """Launch the run unless the user names it."""
    if number < len(base.trials):
        return base.trials[number]
    if number:
        return (yield from launch(session, progress, base, repetition=number))
    yield from _launch(session, progress, base)
    return base.first


def _launch(session: Session, progress: Progress, leg: Leg) -> Procedure[None]:
    """Show the step's first launch."""
    while not _has_turn(session, progress, leg):
        yield Wait(TURN)
    progress.launching += 1
    try:
        if session.inputs.mode == "run" and not leg.is_base:
            foresee(session, leg, legs=len(progress.legs))
        trial = yield from launch(session, progress, leg, tells=_is_counted_first(progress))
    finally:
        progress.launching -= 1
    if not (progress.is_announced or leg.is_base):
        progress.is_announced = True
        start(load)  # while the run goes on
        yield from _show_launch(session, progress, trial)


def _show_launch(session: Session, progress: Progress, trial: Trial) -> Procedure[None]:
    """Find out how large the run is, too, unless that is known: the log has the plan before what was launched."""
    if _is_counted_first(progress):
        yield from announce(progress)
        return
    from coval_gate.flow.size import tell_size

    try:
        yield from tell_size(session, progress, announce(progress))
    finally:
        tell_launch(session, progress, trial)


def _has_turn(session: Session, progress: Progress, leg: Leg) -> bool:
    """Raises GateError if no time is left for the leg's turn."""
    most = session.inputs.max_parallel_runs
    if most is None or leg.is_base:
        return progress.launching < MOST_LAUNCHES
    if session.clock.now() >= session.deadline:
        raise GateError(
            titles.NO_TIME_LEFT,
            f"max_wait_time was over before this leg's turn came (max_parallel_runs: {most:,}).",
            advice="Raise max_wait_time, or max_parallel_runs.",
        )
    under_way = sum(bool(other.trials) and not other.is_done for other in progress.legs if other is not leg)
    return under_way < most and progress.launching < MOST_LAUNCHES


def _side_by_side(session: Session, progress: Progress, legs: Sequence[Leg], work: Work) -> Procedure[None]:
    """An error is the judgement of its leg, and the others go on."""
    works = [_with_own_error(progress.session_of(leg, session), progress, leg, work) for leg in legs]
    all_or_first_error((yield from together(works, session.clock)))


def _with_own_error(session: Session, progress: Progress, leg: Leg, work: Work) -> Procedure[None]:
    try:
        yield from work(session, progress, leg)
    except GateError as error:
        _fail(session, leg, error)
    except Exception as error:  # noqa: BLE001 - as in reach_judgement
        session.report_bug()
        _fail(session, leg, InternalError(error))
    leg.is_done = True
    if len(progress.all_legs) > 1:
        from coval_gate.flow.cancel import clean_up_leg

        yield from clean_up_leg(session, leg)


def _fail(session: Session, leg: Leg, error: GateError) -> None:
    from coval_gate.gate.judgement import errored

    if session.label:
        session.log(f"This leg ended in an error: {error.what}", *error.advice.splitlines())
    leg.error = errored(error)


MODES: Final[dict[str, Callable[[Session, Progress], Procedure[Judgement]]]] = {
    "run": launch_and_wait,
    "launch": launch_only,
    "wait": wait,
    "cancel": cancel,
}
