"""Launches the runs of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base import titles
from coval_gate.base.errors import GateError, InputError, Rejected, Unavailable
from coval_gate.step.launcher import Launcher
from coval_gate.step.request import request_of

if TYPE_CHECKING:
    from coval_gate.base.schedule import Procedure
    from coval_gate.inputs.inputs import Inputs
    from coval_gate.step.step import LegRun, StepRun
    from coval_gate.step.trial import Trial

MOST_LAUNCHES: Final = 20  # legs that are launched side by side; each takes a connection of its own


def launch(session: LegRun, *, repetition: int = 0, tells: bool = True) -> Procedure[Trial]:
    """Raises CovalError, RunnerError, InputError.

    `repetition`: 0 for the leg's first run, 1 for its first repetition: by it, a later attempt resumes the right one.
    Unless it `tells`, the caller says what was launched.
    """
    step = session.step
    inputs = session.inputs
    request, tags = request_of(session, repetition)
    trial = step.begin_trial(session.leg, request=request, tags=tags, repetition=repetition)
    launcher = Launcher(session, trial)
    supersede = inputs.supersede and not repetition  # the first run has superseded all older ones
    try:
        yield from launcher.launch_guarded(resume=inputs.resume, supersede=supersede, cancel=inputs.cancel_on_interrupt)
    except (InputError, Rejected) as error:
        from coval_gate.step.wrong_ids import with_all_wrong_ids

        raise (yield from with_all_wrong_ids(session, error)) from None
    except Unavailable as error:
        if error.is_limit:
            error.advice = _limit_advice(inputs, legs=len(step.legs))
        raise
    if tells:
        tell_launch(session, trial)
    return trial


def launch_first(session: LegRun) -> Procedure[Trial]:
    """Launch the first run of a leg in its turn."""
    step = session.step
    while not _has_turn(session):
        yield step.changed.wait(session.deadline - session.clock.now())
    step.launching += 1
    try:
        trial = yield from launch(session, tells=step.is_counted_first)
    finally:
        step.launching -= 1
        step.changed.happen()
    return trial


def _has_turn(session: LegRun) -> bool:
    """Raises GateError if no time is left for the leg's turn."""
    step, leg = session.step, session.leg
    most = session.inputs.max_parallel_runs
    if most is None or leg.is_base:
        return step.launching < MOST_LAUNCHES
    if session.clock.now() >= session.deadline:
        raise GateError(
            titles.NO_TIME_LEFT,
            f"max_wait_time was over before this leg's turn came (max_parallel_runs: {most:,}).",
            advice="Raise max_wait_time, or max_parallel_runs.",
        )
    under_way = sum(bool(other.trials) and not other.is_done for other in step.legs if other is not leg)
    return under_way < most and step.launching < MOST_LAUNCHES


def tell_launch(session: StepRun, trial: Trial) -> None:
    how_it_began = "Taking over the run of an earlier attempt," if trial.resumed else "Launched run"
    session.log(f"{how_it_began} {trial.run_id}: {session.step.run_url(trial.run_id)}")


def _limit_advice(inputs: Inputs, *, legs: int) -> str:
    """Return what to lower if Coval does not let so much run at a time."""
    most = min(inputs.max_parallel_runs or legs, legs)
    ways = [f"lower concurrency ({inputs.concurrency:,})"] if inputs.concurrency > 1 else []
    ways += [f"set max_parallel_runs below {most:,}"] if most > 1 else []
    todo = f"{' or '.join(ways)}, and re-run the job later." if ways else "re-run the job later."
    return f"Coval limits how much runs at a time. {todo[:1].upper()}{todo[1:]}"
