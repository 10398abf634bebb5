"""Changes the tags of a run.

Coval replaces all tags of a run at once and has no locks, so every change reads the run before and after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, Unavailable
from coval_gate.base.schedule import Wait
from coval_gate.coval.errors import unavailable
from coval_gate.history.tags import LINE, PREFIX, tags_of
from coval_gate.inputs.parsing import MOST_RUN_TAGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from coval_gate.base.schedule import Procedure
    from coval_gate.coval.model import Run
    from coval_gate.coval.session import Session

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 8.0  # s between two tries


def retag(session: Session, run_id: str, change: Callable[[Run], tuple[str, ...]]) -> Procedure[Run]:
    """Return the run once Coval shows the change. Raises CovalError, and as `change`, which returns the new tags.

    The last try, at the deadline, only reads the run: a change whose response was lost may have had its effect.
    """
    client, clock, until = session.client, session.clock, session.deadline
    pause, is_set = FIRST_PAUSE, False
    problem = unavailable(f"PATCH /runs/{run_id}", "was not sent: there was no time left.", arrived=False)
    report_retry = client.retry_reporter()
    while True:
        is_last = clock.now() >= until
        try:
            run = yield from client.get_run(run_id, until=until, once=True)
            tags = change(run)
            if tags == run.tags:
                return run
            if is_last:
                raise problem
            if is_set:
                is_set = False
                raise unavailable(f"GET /runs/{run_id}", "does not show the tags that were set.", arrived=True)
            answered = yield from client.set_tags(run_id, tags, until=until)
            is_set = lowered(answered) == lowered(tags)
            if is_set:
                continue
            raise unavailable(f"PATCH /runs/{run_id}", "returned other tags than it was sent.", arrived=True)
        except Unavailable as error:
            if is_last:
                raise
            problem = error
        pause_now = max(pause, problem.retry_after)
        pause_now = max(0.0, min(pause_now, until - clock.now()))
        report_retry(problem, pause_now)
        yield Wait(pause_now)
        pause = min(LONGEST_PAUSE, pause * 2)


def mark(session: Session, run_id: str, name: str, *, sent: Iterable[str] = ()) -> Procedure[bool]:
    """Give a run that is over a mark, and return whether it has it now. Raises CovalError.

    A run that shows neither tags nor our metadata gets none: tags that Coval hides would be lost.
    """
    sent = tuple(sent)
    has_tags = False

    def change(run: Run) -> tuple[str, ...]:
        nonlocal has_tags
        has_tags = bool(tags_of(run) or sent)
        return changed_tags(run, add=(name,), sent=sent) if has_tags else run.tags

    yield from retag(session, run_id, change)
    return has_tags


def changed_tags(
    run: Run, *, add: Iterable[str] = (), remove: Iterable[str] = (), sent: Iterable[str] = ()
) -> tuple[str, ...]:
    """Without room, a run that is over loses its concurrency group, which only a run under way needs.

    Raises CovalError if there is still none, or if Coval hides tags, which would be lost. `sent`: those of the launch.
    """
    kept = tuple(tag for tag in run.tags if tag.lower() not in lowered(remove))
    new = tuple(tag for tag in add if tag and tag.lower() not in lowered(kept))
    if not new:
        return kept
    if hides_tags(run, sent):
        raise CovalError(
            titles.TAGS_HIDDEN, f"Coval does not show all tags of run {run.run_id}, so they would be lost."
        )
    kept = with_room(kept)
    if len(kept) + len(new) > MOST_RUN_TAGS:
        raise CovalError(
            titles.NO_ROOM_FOR_TAG,
            f"Run {run.run_id} has as many tags as Coval allows.",
            advice="Launch runs with fewer.",
        )
    return (*kept, *new)


def hides_tags(run: Run, sent: Iterable[str] = ()) -> bool:
    """Return whether Coval does not show tags of ours. `sent`: those of the launch."""
    ours = {tag for tag in lowered((*tags_of(run), *sent)) if tag.startswith(PREFIX)}
    # If a run has as many tags as it may, one of ours found no room.
    return not ours <= lowered(run.tags) and len(run.tags) < MOST_RUN_TAGS


def with_room(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the tags of a run that is over without its concurrency group, if there is no room for another."""
    tags = tuple(tags)
    return tags if len(tags) < MOST_RUN_TAGS else tuple(tag for tag in tags if not tag.lower().startswith(LINE))


def lowered(tags: Iterable[str]) -> frozenset[str]:
    """Return tags as Coval may return them, in lower case."""
    return frozenset(tag.lower() for tag in tags)
