"""Gives a judged run its standing: what later runs are compared with.

A tag stands still. A run that counts gets it only while fewer runs have it than the baseline names. After that, only a
person who accepts a run moves it. Coval replaces all tags of a run at once and has no locks, so every change reads the
run before and after.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, NotFound, Unavailable
from coval_gate.base.schedule import CLOSE_TO_END, MOST_AT_ONCE, Procedure, repeat, together
from coval_gate.base.text import in_words, one_line, plural
from coval_gate.ci.host import Context
from coval_gate.coval.client import Session
from coval_gate.coval.errors import unavailable
from coval_gate.coval.model import COMPLETED, Run
from coval_gate.features.comparisons.find import baseline_candidates
from coval_gate.history.search import Sought, has_tag, search
from coval_gate.history.tags import (
    ACCEPTED_TAG,
    FAILED_TAG,
    LINE_PREFIX,
    PREFIX,
    branch_tag,
    branch_tag_of,
    is_marked,
    pull_request_of,
    tags_of,
)
from coval_gate.inputs.fields import BaselineSource
from coval_gate.inputs.parsing import MOST_RUN_TAGS

FIRST_TAG_PAUSE, LONGEST_TAG_PAUSE = 1.0, 8.0  # s between two tries
MOST_TAGS_NAMED: Final = 3  # runs in a message


class Standing(NamedTuple):
    """The run `run_id` has the `tag` of the baseline now, as one of `runs` of `wanted` ones.

    `accepted`: a person accepted the run, as the only one with the tag, or, if that is empty, as the oldest of its
    branch that counts.
    """

    run_id: str
    tag: str = ""
    runs: int = 1
    wanted: int = 1
    accepted: bool = False


async def take_tag(session: Session, run_id: str, source: BaselineSource, *, sent: Sequence[str]) -> Standing | None:
    """Return None where enough runs have the tag, and for a run of a pull request or no branch. Raises CovalError."""
    run = await session.client.get_run(run_id, until=session.deadline)
    tag = source.name
    if has_tag(run, tag) or is_marked(run, FAILED_TAG) or not branch_tag_of(run):
        return None
    sought = Sought(
        run.ids, tag, COMPLETED, since=0.0, enough=lambda runs: len(baseline_candidates(runs)) >= source.last
    )
    found = await search(session, sought)
    holders = baseline_candidates(found.runs)
    if len(holders) >= source.last or not found.is_whole:
        return None
    await retag(session, run.run_id, partial(changed_tags, add=(tag,), sent=sent))
    return Standing(run_id=run.run_id, tag=tag, runs=len(holders) + 1, wanted=source.last)


async def accept(
    session: Session,
    run_id: str,
    source: BaselineSource,
    context: Context,
    accepted: Collection[str],
    *,
    sent: Sequence[str],
) -> Standing:
    """Start comparisons with a run: of its branch, or as the only run with a tag. Raises CovalError.

    `accepted`: the ids of all runs that the step accepts, which leave each other alone.
    """
    branch = branch_tag(context, source.name) if source.kind == "branch" else ""
    added = (branch or source.name, ACCEPTED_TAG)

    def change(run: Run) -> tuple[str, ...]:
        own = branch_tag_of(run)
        if pull_request_of(run) is not None:
            why = "it tests a pull request, and only runs of branches are compared with."
        elif own and branch in ("", own):
            return changed_tags(run, add=added, remove=(FAILED_TAG,), sent=sent)
        else:
            why = f"no CI job launched it for {source if branch else 'a branch'}."
        raise CovalError(titles.NOT_ACCEPTED, f"Run {run.run_id} was not accepted: {why}", advice="Accept another run.")

    run = await retag(session, run_id, change)
    await _untag_others(session, run, branch or source.name, ACCEPTED_TAG if branch else source.name, accepted)
    return Standing(run_id=run.run_id, tag="" if branch else source.name, accepted=True)


async def _untag_others(session: Session, run: Run, tag: str, removed: str, accepted: Collection[str]) -> None:
    """Remove the tag `removed` from all other runs like this one that have the `tag`. Raises CovalError."""
    holders = (await search(session, Sought(run.ids, tag, since=0.0, parts=True))).runs
    others = [
        other.run_id for other in holders if has_tag(other, removed) and other.run_id not in (run.run_id, *accepted)
    ]
    changes = (retag(session, run_id, partial(changed_tags, remove=(removed,))) for run_id in others)
    for run_id, result in zip(others, await together(changes, session.clock, at_once=MOST_AT_ONCE), strict=True):
        if isinstance(result, CovalError) and not isinstance(result, NotFound):
            raise CovalError(
                titles.NOT_ACCEPTED,
                f"Run {run.run_id} was accepted, but run {run_id} could not lose the tag {removed}: {result.what}",
                advice="Accept the run again.",
            )


def standing_text(standing: Standing, *, code: Callable[[str], str] = str) -> str:
    if standing.accepted:
        tag = f" Runs that were not accepted with it lost the tag {code(standing.tag)}." if standing.tag else ""
        return f"Accepted: later runs are compared with this one.{tag}"
    return f"It has the tag {code(standing.tag)} now, as {standing.runs:,} of {plural(standing.wanted, 'run')}."


def not_accepted_text(run_id: str) -> str:
    return f"Run {one_line(run_id)} was not accepted: it did not complete, or lacks data. Accept another run."


def not_marked_text(run_ids: Sequence[str], why: str, advice: str) -> str:
    runs = f"run{'s' if len(run_ids) > 1 else ''} {in_words(run_ids, most=MOST_TAGS_NAMED)}"
    text = f"Later runs may be compared with {runs}, which could not be marked as failed: {why}"
    return "\n".join(filter(None, (text, advice)))


def retag(session: Session, run_id: str, change: Callable[[Run], tuple[str, ...]]) -> Procedure[Run]:
    """Return the run once Coval shows the change. Raises CovalError, and as `change`, which returns the new tags.

    The last try, at the deadline, only reads the run: a change whose response was lost may have had its effect.
    """
    client, until = session.client, session.deadline

    def left() -> float:
        return until - session.clock.now()

    async def attempt() -> Run:
        may_set = left() > CLOSE_TO_END
        for is_set in (False, True):
            run = await client.get_run(run_id, until=until, once=True)
            tags = change(run)
            if tags == run.tags:
                return run
            if not may_set:
                what = "was not sent: there was no time left."
                raise unavailable(f"PATCH /runs/{run_id}", what, arrived=False, too_late=True)
            if not is_set:
                await client.set_tags(run_id, tags, until=until)
        raise unavailable(f"GET /runs/{run_id}", "does not show the tags that were set.", arrived=True)

    return repeat(
        attempt,
        Unavailable,
        left=left,
        backoff=lambda tries: min(LONGEST_TAG_PAUSE, FIRST_TAG_PAUSE * 2.0**tries),
        to_the_end=True,
        report=client.retry_reporter(),
    )


async def mark(session: Session, run_id: str, name: str, *, sent: Sequence[str] = ()) -> bool:
    """Give a run that is over a mark, and return whether it has it now. Raises CovalError.

    A run that shows neither tags nor our metadata gets none: tags that Coval hides would be lost.
    """
    has_tags = False

    def change(run: Run) -> tuple[str, ...]:
        nonlocal has_tags
        has_tags = bool(tags_of(run) or sent)
        return changed_tags(run, add=(name,), sent=sent) if has_tags else run.tags

    await retag(session, run_id, change)
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
    ours = {tag for tag in lowered((*tags_of(run), *sent)) if tag.startswith(PREFIX)}
    # If a run has as many tags as it may, one of ours found no room.
    if not ours <= lowered(run.tags) and len(run.tags) < MOST_RUN_TAGS:
        raise CovalError(
            titles.TAGS_HIDDEN,
            f"Coval does not show all tags of run {run.run_id}, so they would be lost.",
            advice="Set the tag in Coval.",
        )
    if len(kept) >= MOST_RUN_TAGS:
        kept = tuple(tag for tag in kept if not tag.lower().startswith(LINE_PREFIX))
    if len(kept) + len(new) > MOST_RUN_TAGS:
        raise CovalError(
            titles.NO_ROOM_FOR_TAG,
            f"Run {run.run_id} has as many tags as Coval allows.",
            advice="Launch runs with fewer.",
        )
    return (*kept, *new)


def lowered(tags: Iterable[str]) -> frozenset[str]:
    """Return tags as Coval may return them, in lower case."""
    return frozenset(tag.lower() for tag in tags)
