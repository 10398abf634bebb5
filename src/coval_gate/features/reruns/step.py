"""Decides what a later attempt of a job takes over: unfinished runs, and what earlier attempts measured.

If any leg lacks a completed run, the completed runs of the others are kept, and judged again. If none lacks one, all
launch anew: a person who re-runs a red check wants to know whether it was luck. Coval's list of runs shows all this.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile, zip_longest
from typing import Final

from coval_gate.base.text import plural
from coval_gate.ci.host import AGENT_TYPE
from coval_gate.coval.model import COMPLETED, Run
from coval_gate.features.reruns.earlier import UNNEEDED, end_earlier, launches_of, list_earlier, unfinished_of
from coval_gate.features.spending.step import already_decide
from coval_gate.history.search import Found
from coval_gate.history.tags import ATTACHED, UNANSWERED, Tags, is_marked, numbers_of, tags_of
from coval_gate.step.leg import Leg
from coval_gate.step.own_build import ANSWERED_BY_JOB
from coval_gate.step.step import Step, StepRun

Usable = Mapping[Leg, Sequence[Run | None]]  # a run of earlier attempts for each launch of a leg or base
Pair = tuple[Run, Run | None]  # of a leg and of its base, if it has one
HIDDEN: Final = (
    "Coval lists completed runs with neither tags nor metadata. The step does not know whether an earlier attempt "
    "launched them, so it keeps none: all launch anew."
)
KEPT: Final = "They are kept, and only the rest is launched. To launch all anew, set resume to false."
ALL_COMPLETED: Final = "Every leg completed in an earlier attempt, so all launch anew."


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
    session: StepRun,
    launches: Mapping[Leg, Sequence[Tags]],
    pairs: Mapping[Leg, Sequence[Pair]],
    runs: Sequence[Run],
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
