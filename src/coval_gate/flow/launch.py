"""Launches the runs of a step."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from coval_gate.base.errors import InputError, Rejected, Unavailable
from coval_gate.base.times import announcing

if TYPE_CHECKING:
    from coval_gate.base.schedule import Procedure
    from coval_gate.ci.host import Context
    from coval_gate.coval.launch import LaunchRequest
    from coval_gate.flow.progress import Progress
    from coval_gate.inputs.inputs import Inputs
    from coval_gate.runs.launch import Launcher
    from coval_gate.runs.legs import Leg, Session, Trial
    from coval_gate.runs.tags import Tags


def launch(
    session: Session, progress: Progress, leg: Leg, *, repetition: int = 0, tells: bool = True
) -> Procedure[Trial]:
    """Raises CovalError, RunnerError, InputError.

    `repetition`: 0 for the leg's first run, 1 for its first repetition: by it, a later attempt resumes the right one.
    Unless it `tells`, the caller says what was launched.
    """
    inputs = session.inputs
    request, tags = request_of(session, progress, leg, repetition)
    trial = progress.begin_trial(leg, request=request, tags=tags, repetition=repetition)
    launcher = launcher_of(session, progress, trial, tags)
    supersede = inputs.supersede and not repetition  # the first run has superseded all older ones
    try:
        yield from launcher.launch_guarded(resume=inputs.resume, supersede=supersede, cancel=inputs.cancel_on_interrupt)
    except (InputError, Rejected) as error:
        from coval_gate.flow.plan import with_all_wrong_ids

        raise (yield from with_all_wrong_ids(session, progress, error)) from None
    except Unavailable as error:
        if error.is_limit:
            error.advice = _limit_advice(inputs, legs=len(progress.legs))
        raise
    if tells:
        tell_launch(session, progress, trial)
    return trial


def tell_launch(session: Session, progress: Progress, trial: Trial) -> None:
    how_it_began = "Taking over the run of an earlier attempt," if trial.resumed else "Launched run"
    session.log(f"{how_it_began} {trial.run_id}: {progress.run_url(trial.run_id)}")


def _limit_advice(inputs: Inputs, *, legs: int) -> str:
    """Return what to lower if Coval does not let so much run at a time."""
    most = min(inputs.max_parallel_runs or legs, legs)
    ways = [f"lower concurrency ({inputs.concurrency:,})"] if inputs.concurrency > 1 else []
    ways += [f"set max_parallel_runs below {most:,}"] if most > 1 else []
    todo = f"{' or '.join(ways)}, and re-run the job later." if ways else "re-run the job later."
    return f"Coval limits how much runs at a time. {todo[:1].upper()}{todo[1:]}"


def launcher_of(session: Session, progress: Progress, trial: Trial, tags: Tags) -> Launcher:
    from coval_gate.runs.launch import Launcher, prepare

    return Launcher(
        session=session,
        trial=trial,
        tags=tags,
        check=partial(prepare, session, trial, progress.context),
        record=progress.record_id,
    )


def request_of(session: Session, progress: Progress, leg: Leg, repetition: int) -> tuple[LaunchRequest, Tags]:
    from coval_gate.runs.launch import with_leg, with_tags
    from coval_gate.runs.tags import tags_for

    # Repetitions follow failed runs only, so they would bias the branch's baseline.
    # Runs of the base agent are none of the branch's.
    context = progress.context._replace(branch="") if repetition or leg.is_base else progress.context
    request, own = _identity(context, leg, repetition)
    nonce = f"{session.randomness.getrandbits(32):08x}"
    tags = tags_for(context, request, nonce, own)
    branch = "" if leg.is_base else tags_for(progress.context, request, nonce, own).branch
    return with_tags(with_leg(request, leg, repetition, branch), tags.to_send), tags


def _identity(context: Context, leg: Leg, repetition: int) -> tuple[LaunchRequest, list[object]]:
    """Return the request without tags, and what else identifies the run within the step.

    Only names in a file count, which may list two legs that run the same. Other names may change in the next attempt.
    """
    from coval_gate.runs.launch import launch_request

    inputs = leg.inputs
    name = leg.name if leg.is_listed else "base" if leg.is_base else ""
    own = [inputs.display_name, inputs.tags, inputs.metadata, *filter(None, (repetition, name))]
    return launch_request(inputs, context), own


def announce(progress: Progress) -> Procedure[None]:
    """Show on the commit's pages that the run is in progress."""
    from coval_gate.gate.judgement import LAUNCH

    until = announcing(progress.clock.now(), progress.deadline)
    return progress.publisher.pages.announce(progress.report(LAUNCH), until=until)
