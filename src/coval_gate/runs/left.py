"""Ends the runs of legs that left a step's plan between two attempts.

The place of a step does not identify it: calls of one reusable workflow share it, and so do the jobs of a matrix if the
input `matrix` is empty. So what another job may have launched is left alone. A run is of a leg that left the plan only
if all of this is true:

- an earlier attempt launched it, for a leg that the step does not have now;
- its status says that it is under way: one that we do not know may mean that it is over, and it would be deleted;
- one of its siblings, launched by the same plan, is of a leg that the step still has, and no other plan has such a run;
- nothing shows that jobs share the place: no attempt has runs of two plans, or two runs of one leg.

A run that hides its tags could show the opposite, so a list with one in it proves nothing. Nor does one that was not
read to its end, because Coval ignored the filter.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from coval_gate.base.errors import CovalError
from coval_gate.base.records import NamedTuple
from coval_gate.base.schedule import MOST_AT_ONCE, all_or_first_error, together
from coval_gate.base.text import in_words, quoted
from coval_gate.base.times import CANCELLING
from coval_gate.ci.host import LEG, NAME
from coval_gate.coval.runs import RunFilter
from coval_gate.runs.cancel import cancel_or_warn
from coval_gate.runs.tags import KEY, PLANNED, is_earlier, tags_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coval_gate.base.schedule import Procedure
    from coval_gate.model.run import Run
    from coval_gate.runs.legs import Session
    from coval_gate.runs.tags import Plan

MOST_NAMED: Final = 5  # runs in a message
LONGEST_NAME: Final = 60  # characters of a leg's name


class PlannedRun(NamedTuple):
    """A run of the step, and what its tags say of its launch: the key, its parts, and the plan with the run's leg."""

    run: Run
    key: str
    attempt: str
    digest: str
    plan: str
    leg: str


class Departed(NamedTuple):
    """Unfinished runs of earlier attempts whose legs the step does not have now.

    `left`: of legs that left its plan. `unclear`: perhaps another job's. `is_shared`: another job has the same place.
    """

    left: tuple[PlannedRun, ...] = ()
    unclear: tuple[PlannedRun, ...] = ()
    is_shared: bool = False


def end_left(session: Session, plan: Plan, attempt: str) -> Procedure[None]:
    """Cancel the runs of legs that left the plan before this attempt. No verdict depends on it."""
    session = session._replace(deadline=min(session.deadline, session.clock.now() + CANCELLING))
    is_whole = True

    def go_on(runs: Sequence[Run]) -> bool:
        nonlocal is_whole
        is_whole = all(plan.step in tags_of(run) for run in runs)
        return is_whole

    try:
        listed = yield from session.client.list_runs(RunFilter(tag=plan.step), until=session.deadline, go_on=go_on)
    except CovalError as error:
        # The earlier attempts of a step with a single leg have probably had no others.
        tell = session.warn if len(plan.legs) > 1 else session.log
        tell(f"Could not check for runs of legs that earlier attempts had, and this one does not: {error.what}")
        return
    departed = find_left(listed, plan, attempt, is_whole=is_whole)
    if departed.unclear:
        _name_unclear(session, departed)
    cancelling = [cancel_or_warn(session, one.run.run_id, _reason(one)) for one in departed.left]
    all_or_first_error((yield from together(cancelling, session.clock, at_once=MOST_AT_ONCE)))


def find_left(runs: Iterable[Run], plan: Plan, attempt: str, *, is_whole: bool = True) -> Departed:
    """Return which of the `runs` are of legs that left the plan before this attempt.

    `is_whole`: these are all runs of the step.
    """
    runs = tuple(runs)
    launched = [_planned(run) for run in runs if plan.step in tags_of(run)]
    planned = [one for one in launched if one]
    if len(planned) < len(launched) or any(not (run.tags or run.metadata) for run in runs):
        return Departed()
    earlier = [one for one in planned if is_earlier(one.attempt, attempt)]
    others = tuple(one for one in earlier if one.run.is_under_way and one.leg not in plan.legs)
    if _is_shared(planned, plan, attempt):
        return Departed(unclear=others, is_shared=True)
    related = {one.plan for one in earlier if one.leg in plan.legs}
    if len(related) > 1 or not is_whole:
        return Departed(unclear=others)
    left = tuple(one for one in others if one.plan in related)
    return Departed(left, tuple(one for one in others if one not in left))


def _planned(run: Run) -> PlannedRun | None:
    """Return what the tags of a run say; None if it does not show all of them."""
    tags = tags_of(run)
    key = next(filter(None, map(KEY.fullmatch, tags)), None)
    planned = next(filter(None, map(PLANNED.fullmatch, tags)), None)
    if key is None or planned is None:
        return None
    return PlannedRun(run, key[0], key[2], key[3], planned[1], planned[2])


def _is_shared(runs: Sequence[PlannedRun], plan: Plan, attempt: str) -> bool:
    """Return whether another job launched some of the runs: a step has one plan in each attempt, and one run of a leg.

    A launch that was lost and sent again has the same key.
    """
    plans, keys = defaultdict(set), defaultdict(set)
    plans[attempt].add(plan.digest)
    for one in runs:
        plans[one.attempt].add(one.plan)
        keys[one.attempt, one.digest].add(one.key)
    return any(len(several) > 1 for several in (*plans.values(), *keys.values()))


def _reason(planned: PlannedRun) -> str:
    """Return why a run is cancelled, as a clause."""
    name = planned.run.metadata.get(LEG)
    leg = f"leg {quoted(name, LONGEST_NAME)}" if isinstance(name, str) and name else "a leg"
    return f"attempt {planned.attempt} launched it for {leg}, which this step does not have any more"


def _name_unclear(session: Session, departed: Departed) -> None:
    """Name the runs that continue although this step does not need them; another job at the same place may."""
    ids = [one.run.run_id for one in departed.unclear]
    named = in_words(ids, most=MOST_NAMED)
    which = f"Run {named} of an earlier attempt continues: it is"
    if len(ids) > 1:
        which = f"Runs {named} of earlier attempts continue: they are"
    text = f"{which} of no leg that this step has now, and may be another job's."
    if departed.is_shared:
        session.log(text)
    else:
        session.host.annotate("notice", NAME, text)
