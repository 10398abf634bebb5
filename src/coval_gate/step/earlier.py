"""Finds the runs of earlier attempts and steps: takes them over, supersedes them, or ends what nothing needs now.

A step that cannot look for earlier runs does not launch. A step that cannot tell who launched a run leaves it alone. If
that run could be from its own earlier attempt, the step does not launch another beside it.
"""

from collections.abc import Mapping, Sequence
from itertools import compress, zip_longest
from typing import Final

from coval_gate.base import titles
from coval_gate.base.errors import CovalError
from coval_gate.base.schedule import MOST_AT_ONCE, Procedure, all_or_first_error, together
from coval_gate.base.times import CANCELLING, LOOKING_UP
from coval_gate.coval.client import Session
from coval_gate.coval.model import COMPLETED, Run
from coval_gate.history.search import Found, Sought, search
from coval_gate.history.tags import Tags, tags_of
from coval_gate.step.cancel import cancel_run
from coval_gate.step.given import recorded_leg
from coval_gate.step.leg import Trial
from coval_gate.step.request import request_of
from coval_gate.step.step import LegRun, StepRun

RESUMING: Final = (  # what a search does not find, and how to do without it
    "Could not check for a run from an earlier attempt",
    "To launch without this check, set resume to false.",
)
SUPERSEDING: Final = ("Could not look for older runs", "To leave older runs alone, set supersede to false.")


# What a leg launches in turn, and its base beside it, if it has one and their runs depend on each other.
Launches = tuple[Sequence[Tags], Sequence[Tags]]


def find_to_resume(session: LegRun, trial: Trial) -> Procedure[Run | None]:
    """Return the run of an earlier attempt that stands for the trial. Raises CovalError if a run may be hidden.

    The slices before an unfinished one are not paid for again. A base's slices are found with those of the legs beside
    it: they are taken over together.
    """
    step, leg, number = session.step, session.leg, trial.number
    if not leg.slices:
        return (yield from find_same(session, trial))
    if number == 0:
        beside = [one for one in step.legs if one.base is leg] if leg.is_base else [leg]
        launches = [
            (_launches_of(session.of(one)), _launches_of(session.of(one.base)) if one.base else []) for one in beside
        ]
        is_shared = leg.base or leg.is_base
        ids = {name: id_ for name, id_ in trial.ids.items() if name != "agent_id" or not is_shared}
        leg.taken_over = yield from runs_to_resume(session, trial.tags, ids, launches, base=leg.is_base)
        for run in leg.taken_over[1:] if session.inputs.cancel_on_interrupt else ():
            if run and not run.is_over:  # its turn comes when those before it were judged
                step.guard_leftover(leg, run.run_id)
    return leg.taken_over[number] if number < len(leg.taken_over) else None


def find_same(session: LegRun, trial: Trial) -> Procedure[Run | None]:
    """Return the run that an earlier attempt launched for this very request. Raises as `runs_to_resume`."""
    found = yield from runs_to_resume(session, trial.tags, trial.ids, [([trial.tags], [])])
    return next(iter(found), None)


def runs_to_resume(
    session: Session, tags: Tags, ids: Mapping[str, str], legs: Sequence[Launches], *, base: bool = False
) -> Procedure[list[Run | None]]:
    """Return the runs that earlier attempts launched for the first launches of a leg, up to an unfinished one.

    All before that completed; without it, there are none. A run whose base's run is unfinished counts as such.
    `base`: return the base's runs instead, beside those that any of the `legs` takes over; it may lack some.
    Raises CovalError if a run may be hidden.
    """
    unfinished = yield from _find_unfinished(session, tags, ids, *RESUMING)
    resumed: list[Run | None] = []
    for launches in legs:
        leg_runs, base_runs = (
            [_newest_usable(session, launch, unfinished.runs) for launch in side] for side in launches
        )
        pairs = [*zip_longest(leg_runs, base_runs)]
        while pairs and not (pairs[-1][0] and any(run and not run.is_over for run in pairs[-1])):
            pairs.pop()
        if all(run for run, _ in pairs) and len(pairs) > len(resumed):
            resumed = [pair[base] for pair in pairs]
    if any(resumed):
        return resumed
    if unknown := _unknown(unfinished):
        raise CovalError(
            titles.NOT_LAUNCHED,
            f"Coval shows neither tags nor metadata, so the step cannot tell whether {unknown}, which is not over, "
            "is from an earlier attempt.",
            advice="Wait until it is over, or set resume to false to launch another run.",
        )
    return []


def _newest_usable(session: Session, tags: Tags, runs: Sequence[Run]) -> Run | None:
    """Return the newest run of a launch that goes on, or else that completed."""
    own = [run for run in runs if tags.continues(tags_of(run))]
    for run in own:
        if run.is_ending and not run.is_over:
            session.log(
                f"Run {run.run_id} of an earlier attempt is being cancelled, so the step does not take it over."
            )
    going = (run for run in own if not (run.is_over or run.is_ending))
    return next(going, next((run for run in own if run.status == COMPLETED), None))


def supersede(session: LegRun, trial: Trial, *, keep: str) -> Procedure[None]:
    """Cancel the unfinished runs that the trial's supersedes, except `keep`. Raises CovalError."""
    unfinished = yield from _find_unfinished(session, trial.tags, trial.ids, *SUPERSEDING)
    others = [run for run in unfinished.runs if not (run.is_over or run.run_id == keep)]
    own = [run for run in others if recorded_leg(run) not in session.step.left_out]
    superseded = [run.run_id for run in own if trial.tags.supersedes(tags_of(run))]
    yield from _cancel_earlier(session, superseded, "superseded by this run")
    if unknown := _unknown(unfinished):
        session.warn(
            f"Coval shows neither tags nor metadata, so the step cannot tell whether this run supersedes {unknown}."
        )


def end_changed(session: StepRun) -> Procedure[None]:
    """End the unfinished runs of earlier attempts that no launch of this one takes over: their requests have changed.

    Those with other inputs go on, because they may be of another call of the workflow. Raises CovalError if Coval lists
    no runs.
    """
    step = session.step
    launches = [tags for leg in step.all_legs for tags in _launches_of(session.of(leg))]
    listed = yield from _find_unfinished(session, launches[0], {}, *RESUMING)
    own, others = (
        [run for run in runs if not (run.is_over or run.is_ending)] for runs in launches[0].earlier_of(listed.runs)
    )
    kept = {next((run.run_id for run in (*own, *others) if tags.continues(tags_of(run))), "") for tags in launches}
    for run in others:
        if run.run_id not in kept:
            session.log(
                f"Run {run.run_id} goes on: an earlier attempt launched it with other inputs, perhaps in another call "
                "of this workflow."
            )
    # Without metadata, it may be of a leg that this attempt leaves out, and which another one may want.
    left_out = {*step.left_out, ""} if step.left_out else ()
    changed = [run.run_id for run in own if run.run_id not in kept and recorded_leg(run) not in left_out]
    yield from _end_earlier(session.of(step.legs[0]), changed, "its request has changed since it was launched")


def end_leftovers(session: LegRun) -> Procedure[None]:
    """Cancel the repetitions or slices that an earlier attempt left unfinished and this one did not take over."""
    leg = session.leg
    what = "slice" if leg.slices else "repetition"
    request, own = request_of(session, 0)
    try:
        listed = yield from _find_in_group(session, own, request.ids, CANCELLING)
    except CovalError as error:
        session.warn(f"Could not check for {what}s that an earlier attempt left unfinished: {error.what}")
        return
    launches = _launches_of(session)[0 if leg.slices else 1 :]
    taken = {trial.run_id for trial in leg.trials}
    left = [
        run.run_id
        for run in listed.runs
        if not (run.is_over or run.run_id in taken) and any(tags.continues(tags_of(run)) for tags in launches)
    ]
    yield from _end_earlier(session, left, f"a {what} of an earlier attempt, which nothing needs now")


def _launches_of(session: LegRun) -> list[Tags]:
    """Return the tags of all runs that a leg may launch."""
    slices, inputs = session.leg.slices, session.leg.inputs
    return [request_of(session, number)[1] for number in range(len(slices) or 1 + inputs.repeat_on_failure)]


def _find_unfinished(
    session: Session, tags: Tags, ids: Mapping[str, str], trouble: str, way_out: str
) -> Procedure[Found]:
    """Return the runs of the group of `tags`, and unfinished ones that may belong to it. Raises CovalError."""
    try:
        return (yield from _find_in_group(session, tags, ids, LOOKING_UP))
    except CovalError as error:
        advice = "\n".join(text for text in (error.advice, way_out) if text)
        raise CovalError(titles.NOT_LAUNCHED, f"{trouble}: {error.what}", advice=advice) from None


def _find_in_group(session: Session, tags: Tags, ids: Mapping[str, str], patience: float) -> Procedure[Found]:
    if not tags.group:
        return Found()
    sought = Sought(ids, tags.group, may_be=lambda run: not run.is_over, parts=True)
    return (yield from search(session.within(patience), sought))


def _unknown(unfinished: Found) -> str:
    return " or ".join(f"run {run.run_id}" for run in unfinished.hidden)


def _end_earlier(session: LegRun, run_ids: Sequence[str], why: str) -> Procedure[None]:
    """The post step cancels what fails here."""
    left = [session.step.guard_leftover(session.leg, run_id) for run_id in run_ids]
    for trial in compress(left, (yield from _cancel_earlier(session, run_ids, why))):
        trial.release()


def _cancel_earlier(session: Session, run_ids: Sequence[str], why: str) -> Procedure[list[bool]]:
    """Cancel runs. Return for each whether it is over now. `why` ends a line in the log."""

    def cancel_one(run_id: str) -> Procedure[bool]:
        briefly = session.within(CANCELLING)
        try:  # it is listed, so a 404 means that Coval does not know it yet
            ended = yield from cancel_run(briefly, run_id, fresh_until=briefly.deadline)
        except CovalError as error:
            session.warn(f"Could not cancel run {run_id} ({why}): {error.what}")
            return False
        if ended.outcome == "cancelled":
            session.log(f"Cancelled run {run_id}: {why}.")
        return True

    return all_or_first_error((yield from together(map(cancel_one, run_ids), session.clock, at_once=MOST_AT_ONCE)))
