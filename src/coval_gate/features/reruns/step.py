"""Decides what a later attempt of a job takes over: unfinished runs, and what earlier attempts measured.

If any leg lacks a completed run, the completed runs of the others are kept, and judged again. If none lacks one, all
launch anew: a person who re-runs a red check wants to know whether it was luck. Coval's list of runs shows all this.

A step that cannot look for earlier runs does not launch. A step that does not know who launched a run leaves it alone.
If that run could be from its own earlier attempt, the step does not launch another beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile, zip_longest
from typing import Final

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, RunnerError
from coval_gate.base.schedule import MOST_AT_ONCE, all_or_first_error, together
from coval_gate.base.text import plural
from coval_gate.base.times import CANCELLING, LOOKING_UP
from coval_gate.ci.host import AGENT_TYPE
from coval_gate.coval.client import Session
from coval_gate.coval.model import COMPLETED, Run
from coval_gate.features.spending.step import already_decide
from coval_gate.gate.verdict import Cancellation, Verdict
from coval_gate.history.search import Found, Sought, search
from coval_gate.history.tags import ATTACHED, UNANSWERED, Tags, is_marked, numbers_of, recorded_leg, tags_of
from coval_gate.step.cancel import cancel_run
from coval_gate.step.cleanup import leaves
from coval_gate.step.launch import request_of
from coval_gate.step.leg import Leg, Trial
from coval_gate.step.own_build import ANSWERED_BY_JOB
from coval_gate.step.step import LegRun, Step, StepRun

Usable = Mapping[Leg, Sequence[Run | None]]  # a run of earlier attempts for each launch of a leg or base
Pair = tuple[Run, Run | None]  # of a leg and of its base, if it has one
HIDDEN: Final = (
    "Coval lists completed runs with neither tags nor metadata. The step does not know whether an earlier attempt "
    "launched them, so it keeps none: all launch anew."
)
KEPT: Final = "They are kept, and only the rest is launched. To launch all anew, set resume to false."
ALL_COMPLETED: Final = "Every leg completed in an earlier attempt, so all launch anew."
RESUMING: Final = (  # what a search does not find, and how to do without it
    "Could not check for a run from an earlier attempt",
    "To launch without this check, set resume to false.",
)
SUPERSEDING: Final = ("Could not look for older runs", "To leave older runs alone, set supersede to false.")
UNNEEDED: Final = "a run of an earlier attempt, which nothing needs now"


async def look_back(session: StepRun) -> None:
    """Give each leg the runs of earlier attempts that it takes over. End those that nothing needs now.

    Raises CovalError if Coval lists no runs.
    """
    step = session.step
    listed = await list_earlier(session)
    step.unidentified = listed.hidden
    launches = {leg: launches_of(session.of(leg)) for leg in step.all_legs}
    own, others = launches[step.legs[0]][0].earlier_of(listed.runs)
    step.attempts = numbers_of((*own, *others), step.context)
    usable = {leg: [_newest_usable(session, tags, listed) for tags in each] for leg, each in launches.items()}
    pairs = {leg: _pairs(leg, usable) for leg in step.legs}
    repeated, changed, of_others = unfinished_of(session, launches, listed)
    step.guard_leftovers(repeated | changed)
    keeps = await _lack_a_run(session, launches, pairs, listed.runs)
    if keeps:
        _take_over(step, pairs, usable)
    taken = {run.run_id: leg for leg in step.all_legs for run in leg.taken_over if run and not run.is_over}
    step.guard_leftovers(taken)
    over = [run for run in listed.seen if run.is_over]
    if over and not any(run.tags or run.metadata for run in over):
        session.log(HIDDEN)
    elif kept := sum(bool(own) and _is_complete(own[0]) for own in pairs.values()):
        which = f" of {kept:,} of {plural(len(step.legs), 'leg')}" if len(step.legs) > 1 else ""
        session.log(f"Earlier attempts completed runs{which}. {KEPT}" if keeps else ALL_COMPLETED)
    for run_id in of_others:
        if run_id not in taken:
            session.log(
                f"Run {run_id} goes on: an earlier attempt launched it with other inputs, perhaps in another call of "
                "this workflow."
            )
    await end_earlier(session, [*changed], "its request has changed since it was launched")
    await end_earlier(session, [run_id for run_id in repeated if run_id not in taken], UNNEEDED)


async def _lack_a_run(
    session: StepRun, launches: Mapping[Leg, Sequence[Tags]], pairs: Mapping[Leg, Sequence[Pair]], runs: Sequence[Run]
) -> bool:
    """Return whether any leg lacks a completed run, or a repetition that was launched, or slices that decide."""
    in_doubt: list[Leg] = []
    for leg, own in pairs.items():
        launched = [tags for tags in launches[leg][1:] if any(tags.continues(tags_of(run)) for run in runs)]
        completed = [*takewhile(_is_complete, own)]
        if len(completed) < (len(leg.slices) or 1 + len(launched)):
            if not leg.slices or not own or completed != own:
                return True
            in_doubt.append(leg)
    for leg in in_doubt:
        if not await already_decide(session.of(leg), pairs[leg]):
            return True
    return False


def _newest_usable(session: StepRun, tags: Tags, listed: Found) -> Run | None:
    """Return the newest run of a launch that goes on, or else that completed and may be kept."""
    own = [run for run in listed.runs if tags.continues(tags_of(run))]
    for run in own:
        if run.is_ending and not run.is_over:
            session.log(
                f"Run {run.run_id} of an earlier attempt is being cancelled, so the step does not take it over."
            )
    going = (run for run in own if not (run.is_over or run.is_ending))
    return next(going, next((run for run in own if _may_be_kept(session, run)), None))


def _may_be_kept(session: StepRun, run: Run) -> bool:
    """Return whether a run completed, is not too old, and was not left unanswered by the job's own build."""
    now, created = session.client.server_time(session.clock.now()), run.created
    if run.status != COMPLETED or now is None or created is None:
        return False
    is_hidden = session.inputs.mode == "launch" and not run.metadata
    waits_for_job = is_hidden or run.metadata.get(AGENT_TYPE) == ANSWERED_BY_JOB or is_marked(run, UNANSWERED)
    return now - created <= session.inputs.run_max_age.seconds and (not waits_for_job or is_marked(run, ATTACHED))


def _pairs(leg: Leg, usable: Usable) -> list[Pair]:
    """Return what a leg may take over, up to the first launch without. A completed run without its base's is none."""
    pairs: list[Pair] = []
    for run, base in zip_longest(usable[leg], usable[leg.base] if leg.base else ()):
        if run is None or (leg.base and base is None and run.is_over):
            break
        pairs.append((run, base))
    return pairs


def _is_complete(pair: Pair) -> bool:
    return all(run is None or run.is_over for run in pair)


def _take_over(step: Step, pairs: Mapping[Leg, Sequence[Pair]], usable: Usable) -> None:
    """Keep a base's run only beside a leg's, unless it goes on."""
    for leg, own in pairs.items():
        leg.taken_over = [run for run, _ in own]
    for base in step.bases:
        beside = max(len(own) for leg, own in pairs.items() if leg.base is base)
        first, *others = usable[base]
        is_needed = beside or (first and not first.is_over)
        base.taken_over = [first if is_needed else None, *others[: max(0, beside - 1)]]


async def list_earlier(session: StepRun) -> Found:
    """Return the runs of the step's concurrency group. Raises CovalError if Coval lists none.

    The first page is enough for a single leg, before which no response may have shown the time.
    """
    now = session.client.server_time(session.clock.now())
    since = None if now is None else now - session.inputs.run_max_age.seconds
    tags = launches_of(session.of(session.step.legs[0]))[0]
    return await find_unfinished(session, tags, {}, *RESUMING, since=since)


async def supersede(session: LegRun, trial: Trial, *, keep: str) -> None:
    """Cancel the unfinished runs that the trial's supersedes, except `keep`. Raises CovalError."""
    unfinished = await find_unfinished(session, trial.tags, trial.ids, *SUPERSEDING)
    others = [run for run in unfinished.runs if not (run.is_over or run.run_id == keep)]
    older = [run for run in others if trial.tags.supersedes(tags_of(run))]
    superseded = [run.run_id for run in older if not may_be_left_out(session.step, run)]
    await _cancel_earlier(session, superseded, "superseded by this run")
    unclear = [
        (unfinished.hidden, "neither tags nor metadata"),
        ([run for run in older if not recorded_leg(run)], "no metadata"),
    ]
    for runs, what in unclear:
        if unknown := unknown_text(run for run in runs if run.run_id not in superseded):
            session.warn(f"Coval shows {what}, so the step does not know whether this run supersedes {unknown}.")


def unfinished_of(
    session: StepRun, launches: Mapping[Leg, Sequence[Tags]], listed: Found
) -> tuple[dict[str, Leg], dict[str, Leg], list[str]]:
    """Return the ids of unfinished runs of earlier attempts, but for legs that this attempt leaves out.

    The first are of launches that this attempt has, too, and the second of requests that have changed since, both with
    legs. The third were launched with other inputs, perhaps in another call of the workflow.
    """
    step = session.step
    own, others = (
        [run for run in runs if not (run.is_over or run.is_ending)]
        for runs in launches[step.legs[0]][0].earlier_of(listed.runs)
    )
    legs = [(tags, leg) for leg, own_tags in launches.items() for tags in own_tags]
    repeated = {run.run_id: leg for run in own for tags, leg in legs if tags.continues(tags_of(run))}
    changed = [run.run_id for run in own if run.run_id not in repeated and not may_be_left_out(step, run)]
    return repeated, dict.fromkeys(changed, step.legs[0]), [run.run_id for run in others]


def may_be_left_out(step: Step, run: Run) -> bool:
    """Return whether a run may be of a leg that this step leaves out: without metadata, no run shows its leg."""
    return bool(step.left_out) and recorded_leg(run) in (*step.left_out, "")


def launches_of(session: LegRun) -> list[Tags]:
    """Return the tags of all runs that a leg may launch."""
    slices, inputs = session.leg.slices, session.leg.inputs
    return [request_of(session, number)[1] for number in range(len(slices) or 1 + inputs.repeat_on_failure)]


async def find_unfinished(
    session: Session, tags: Tags, ids: Mapping[str, str], trouble: str, way_out: str, *, since: float | None = None
) -> Found:
    """Return the runs of the group of `tags`, and unfinished ones that may belong to it. Raises CovalError."""
    if not tags.group:
        return Found()
    sought = Sought(ids, tags.group, since=since, may_be=lambda run: not run.is_over, parts=True)
    try:
        return await search(session.within(LOOKING_UP), sought)
    except CovalError as error:
        advice = "\n".join(text for text in (error.advice, way_out) if text)
        raise CovalError(titles.NOT_LAUNCHED, f"{trouble}: {error.what}", advice=advice) from None


def unknown_text(hidden: Iterable[Run]) -> str:
    return " or ".join(f"run {run.run_id}" for run in hidden)


async def end_leftovers(session: LegRun, verdict: Verdict | None) -> None:
    """Cancel the runs of earlier attempts that the leg did not take over, unless its own would be left, too."""
    left = session.step.leftovers
    for number, run in enumerate(session.leg.taken_over):
        if run and run.run_id in left:
            left[run.run_id].number = number
    own = (trial for trial in left.values() if trial.leg == session.leg.name and trial.is_active)
    # The post step tries again to end those that could not be ended.
    ids = [trial.run_id for trial in own if not (trial.ended or leaves(session, trial, verdict))]
    await end_earlier(session, ids, UNNEEDED)


async def end_earlier(session: StepRun, run_ids: Sequence[str], why: str) -> None:
    """Cancel guarded runs of earlier attempts. The post step cancels what fails here."""
    left = [session.step.leftovers[run_id] for run_id in run_ids]
    for trial in left:
        with suppress(RunnerError):  # the run ends all the same
            trial.guard(cancel=True)
    for trial, ended in zip(left, await _cancel_earlier(session, run_ids, why), strict=True):
        trial.ended = ended
        if ended.outcome != "failed":
            trial.release()


async def _cancel_earlier(session: Session, run_ids: Sequence[str], why: str) -> list[Cancellation]:
    """Cancel runs, and return what became of each. `why` ends a line in the log."""

    async def cancel_one(run_id: str) -> Cancellation:
        briefly = session.within(CANCELLING)
        try:  # it is listed, so a 404 means that Coval does not know it yet
            ended = await cancel_run(briefly, run_id, fresh_until=briefly.deadline)
        except CovalError as error:
            session.warn(f"Could not cancel run {run_id} ({why}): {error.what}")
            return Cancellation(outcome="failed", run_id=run_id, reason=error.what)
        if ended.outcome == "cancelled":
            session.log(f"Cancelled run {run_id}: {why}.")
        return ended

    return all_or_first_error(await together(map(cancel_one, run_ids), session.clock, at_once=MOST_AT_ONCE))
