"""Launches the runs of a step in their turn, and each exactly once.

A run whose response was lost is adopted, and the run of an earlier attempt is resumed. A launch starts phone calls that
cost money, so it is sent again only if it certainly had no effect: if it never left, if Coval itself confirms that, or
if Coval has not listed the run for a while after the connection was closed without a response.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from coval_gate.base import titles
from coval_gate.base.errors import (
    CovalError,
    GateError,
    InputError,
    LaunchUncertain,
    Rejected,
    RunnerError,
    Unavailable,
)
from coval_gate.base.schedule import MOST_AT_ONCE
from coval_gate.base.text import duration
from coval_gate.ci.host import COMMIT, IS_BASE, LEG, MATRIX, PULL_REQUEST, REPETITION, REPOSITORY, SLICE, Context
from coval_gate.coval.client import SERVERS_SKEW
from coval_gate.coval.model import LaunchRequest, Run
from coval_gate.history.tags import IN_METADATA, Tags, tags_as_metadata, tags_for
from coval_gate.inputs.inputs import Inputs, ids_of
from coval_gate.inputs.parsing import MOST_RUN_TAGS, RunMetadata, read_metadata
from coval_gate.step.cancel import end_other_launches, find_launched
from coval_gate.step.leg import Duty, Trial
from coval_gate.step.lookups import prepare
from coval_gate.step.step import LegRun, StepRun

LAUNCH_SETTLING: Final = 60.0  # s after the end of a launch; a run that Coval does not list by then was not launched
CHECKING: Final = 30.0  # s to check for a second run right after the launch; the step checks again at its end
MOST_TRIES: Final = 3  # to launch one run, each of which was lost without a trace


async def ensure_trial(session: LegRun, number: int) -> Trial:
    """Launch the leg's run with that number, unless it was launched or the user names it. Its base runs beside it."""
    leg = session.leg
    if leg.base:
        session.step.want(leg.base, number)
    if number < len(leg.trials):
        return leg.trials[number]
    return await (launch_trial(session, number=number) if number else launch_in_turn(session))


async def launch_in_turn(session: LegRun) -> Trial:
    """Launch the first run of a leg in its turn. If Coval rejects it, report every wrong id."""
    step = session.step
    while not _has_turn(session):
        await step.changed.wait(session.deadline - session.clock.now())
    step.launching += 1
    try:
        trial = await launch_trial(session)
    except (InputError, Rejected) as error:
        from coval_gate.features.advice.ids import with_all_wrong_ids

        raise await with_all_wrong_ids(session, error) from None
    finally:
        step.launching -= 1
        step.changed.happen()
    return trial


def _has_turn(session: LegRun) -> bool:
    """Raises GateError if no time is left for the leg's turn."""
    step, leg = session.step, session.leg
    most = session.inputs.max_parallel_runs
    if most is None or leg.is_base or leg.is_kept:
        return step.launching < MOST_AT_ONCE
    if session.clock.now() >= session.deadline:
        raise GateError(
            titles.NO_TIME_LEFT,
            f"max_wait_time was over before this leg's turn came (max_parallel_runs: {most:,}).",
            advice="Raise max_wait_time, or max_parallel_runs.",
        )
    others = [other for other in step.legs if other is not leg and other.trials and not other.is_kept]
    under_way = sum(not other.is_done or other.is_ending for other in others)
    return under_way < most and step.launching < MOST_AT_ONCE


async def launch_trial(session: LegRun, *, number: int = 0) -> Trial:
    """Launch a run of the leg. Raises CovalError, RunnerError, InputError.

    `number`: as of a trial. By it, a later attempt resumes the right run. The log names the run, unless its simulations
    are still to be counted: their number comes first.
    """
    step = session.step
    for earlier in session.leg.trials:
        await _end_lost_launches(session, earlier)
    request, tags = request_of(session, number)
    trial = step.begin_trial(session.leg, request=request, tags=tags, number=number)
    try:
        await take_over_or_launch(session, trial)
    except Unavailable as error:
        if error.is_limit:
            error.advice = _limit_advice(session.inputs, legs=len(step.legs))
        raise
    if number or step.is_counted_first:
        log_launch(session, trial)
    return trial


def log_launch(session: StepRun, trial: Trial) -> None:
    run = f"Launched run {trial.run_id}"
    if trial.resumed:
        run = f"Taking over the run of an earlier attempt, {trial.run_id}"
    if trial.kept_from:
        run = f"Run {trial.run_id}, kept from attempt {trial.kept_from}"
    session.log(f"{run}: {session.step.run_url(trial.run_id)}")


async def take_over_or_launch(session: LegRun, trial: Trial, *, instead: bool = False) -> None:
    """Launch the run, or take over that of an earlier attempt, unless it stands `instead` of such a run.

    Raises as `send_launch`, RunnerError, InputError.
    """
    step, inputs, request = session.step, session.inputs, trial.request
    if request is None:
        raise ValueError("the run was launched elsewhere")
    earlier = None
    if (session.leg.taken_over or step.unidentified) and not instead:
        from coval_gate.features.reruns.takeover import take_over

        earlier = take_over(session, trial)
    if not (earlier or trial.number):  # a later run is never a baseline, and its metrics were checked with the first
        try:
            trial.request = request = await prepare(session, request)
        except GateError:
            trial.release()  # nothing was launched
            raise
    if inputs.supersede and not (instead or trial.number):  # the first run has superseded all older ones
        from coval_gate.features.reruns.step import supersede

        await supersede(session, trial, keep=earlier.run_id if earlier else "")
    if earlier:
        return
    try:
        trial.guard(cancel=inputs.cancel_on_interrupt)
    except RunnerError:
        trial.release()  # nothing was launched
        raise
    try:
        run = await send_launch(session, trial, request)
    except LaunchUncertain:
        raise
    except CovalError:
        trial.release()  # nothing was launched
        raise
    trial.identify(run.run_id, at=session.clock.now())
    step.record_id(run.run_id)
    await _end_lost_launches(session, trial)


async def send_launch(session: LegRun, trial: Trial, request: LaunchRequest) -> Run:
    """Raises Rejected, Unavailable (no run exists), RunnerError or LaunchUncertain (one may)."""
    client, clock, began = session.client, session.clock, session.clock.now()

    def created_since() -> float:
        """Return the earliest time of the launch on Coval's clock; -inf while no response has shown that clock."""
        shown = client.server_time(began)
        return -math.inf if shown is None else shown - SERVERS_SKEW

    for left in reversed(range(MOST_TRIES)):
        try:
            return await client.launch_run(request, until=session.deadline, sent=trial.launches.append)
        except LaunchUncertain as lost:
            patience = duration(min(LAUNCH_SETTLING, session.deadline - clock.now()))
            check = f"Checking for up to {patience} whether the run began."
            if trial.open_calls:
                check = "The connection stays open. Checking meanwhile whether the run began."
            session.log(f"{lost.what} {check}")
            if run := await _find_lost(session, trial, lost, created_since):
                session.log("The run began, so the step takes it over.")
                return run
            if lost.rejection:
                raise lost.rejection from None
            if not left:
                raise
            session.log("The run did not begin, so the step launches it again.")
            trial.owe(Duty.CANCEL_OTHERS)
    raise AssertionError  # the last round returns or raises


async def _find_lost(session: LegRun, trial: Trial, lost: LaunchUncertain, since: Callable[[], float]) -> Run | None:
    """Return None if the launch certainly had no effect. Raises LaunchUncertain, or the launch's rejection."""
    try:
        return await find_launched(session, trial, settling=LAUNCH_SETTLING, since=since)
    except LaunchUncertain as error:
        rejected, search = lost.rejection, error.rejection
        if rejected and search and rejected.status == search.status:
            raise rejected from None
        what = f"{lost.what} {error.what}"
        advice = "\n".join(text for text in (lost.advice, error.advice) if text)
        raise LaunchUncertain(lost.title, what, advice=advice) from None


async def _end_lost_launches(session: LegRun, trial: Trial) -> None:
    """Look again for runs of launches that were given up for lost. A failure shows in the log only."""
    if Duty.CANCEL_OTHERS not in trial.duties:
        return
    try:
        await end_other_launches(session.within(CHECKING), trial)
    except CovalError as error:
        session.log(f"Could not check whether another launch began a run: {error.what} The step checks again later.")


def _limit_advice(inputs: Inputs, *, legs: int) -> str:
    """Return what to lower if Coval does not allow so much to run at a time."""
    most = min(inputs.max_parallel_runs or legs, legs)
    ways = [f"lower concurrency ({inputs.concurrency:,})"] if inputs.concurrency > 1 else []
    ways += [f"set max_parallel_runs below {most:,}"] if most > 1 else []
    todo = f"{' or '.join(ways)}, and re-run the job later." if ways else "re-run the job later."
    plan = (
        "If a quota of the plan is used up, such as a monthly one, extend the plan in Coval, or wait until it renews."
    )
    return f"Coval limits how much runs at a time. {todo[:1].upper()}{todo[1:]}\n{plan}"


def request_of(session: LegRun, number: int) -> tuple[LaunchRequest, Tags]:
    """`number`: as of a trial."""
    context, leg, inputs = session.step.context, session.leg, session.leg.inputs
    nonce = f"{session.randomness.getrandbits(32):08x}"
    # Only a whole run stands on a branch. A part's key shows what it is.
    if part := IS_BASE if leg.is_base else SLICE if leg.slices else REPETITION if number else "":
        context, nonce = context._replace(branch=""), f"{nonce}-{part.removeprefix(f'{IN_METADATA}_')}"
    if leg.slices:
        inputs = inputs._replace(test_case_ids=leg.slices[number])
    request = launch_request(inputs, context)
    # Only names in a file identify the run, which may list two legs that run the same. Others may change by a re-run.
    name = leg.name if leg.is_listed else "base" if leg.is_base else ""
    own = [inputs.display_name, inputs.tags, inputs.metadata, *filter(None, (number, name))]
    tags = tags_for(context, request, nonce, own)
    # A step in mode wait must know the leg, and the number of a repetition.
    customer: dict[str, Any] = {**request.metadata.customer, LEG: leg.key}
    if leg.is_base:
        customer[IS_BASE] = True
    if leg.slices:
        customer[SLICE] = number + 1
    elif number:
        customer[REPETITION] = number
    request = request._replace(metadata=request.metadata._replace(customer=customer))
    return with_tags(request, tags.to_send), tags


def launch_request(inputs: Inputs, context: Context) -> LaunchRequest:
    """Return the request, with the provenance in `context` as metadata."""
    return LaunchRequest(
        **ids_of(inputs),
        metric_ids=inputs.metric_ids,
        persona_metrics=inputs.persona_metrics,
        mutation_ids=inputs.mutation_ids,
        iteration_count=inputs.iteration_count,
        concurrency=inputs.concurrency,
        sub_sample_size=inputs.sub_sample_size,
        sub_sample_seed=inputs.sub_sample_seed,
        test_case_ids=inputs.test_case_ids,
        config_overrides=inputs.config_overrides,
        metadata=_metadata(inputs, context),
    )


def with_tags(request: LaunchRequest, tags: Sequence[str]) -> LaunchRequest:
    """Add tags, the most important first. Tags without room stand only in the customer's metadata."""
    metadata = request.metadata
    own = (*metadata.tags, *tags)[:MOST_RUN_TAGS]
    customer = {**metadata.customer, **tags_as_metadata(tags)}
    return request._replace(metadata=metadata._replace(tags=own, customer=customer))


def _metadata(inputs: Inputs, context: Context) -> RunMetadata:
    metadata = read_metadata(inputs.metadata)
    sha = context.sha if context.sha_is_known else ""
    pull_request = f"#{context.pull_request}" if context.pull_request else ""
    where = " ".join(filter(None, (context.repository, pull_request)))
    workflow = context.matrix.after(context.workflow)
    provenance = {  # a prefix distinguishes these from the user's own
        REPOSITORY: context.repository,
        COMMIT: sha,
        PULL_REQUEST: context.pull_request,
        MATRIX: context.matrix.label,
        "github_run_url": context.run_url,
        "github_run_attempt": context.run_attempt,
        "github_actor": context.actor,
    }
    shown = {name: value for name, value in provenance.items() if value}
    name = " · ".join(filter(None, (where, sha[:7], workflow)))[:200]
    return RunMetadata(
        display_name=inputs.display_name or metadata.display_name or name,
        created_by=inputs.created_by or metadata.created_by or context.actor or "coval-gate",
        template_name=metadata.template_name,
        tags=inputs.tags or metadata.tags,
        customer={**shown, **metadata.customer},  # the user's override the provenance
    )
