"""Gives a judged run its standing: what later runs are compared with.

A tag stands still. A run that counts takes it only while fewer runs have it than the baseline names. After that, only a
person who accepts a run moves it.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final, NamedTuple

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, NotFound
from coval_gate.base.schedule import MOST_AT_ONCE, Procedure, together
from coval_gate.base.text import in_words, one_line, plural
from coval_gate.ci.host import Context
from coval_gate.coval.client import Session
from coval_gate.coval.model import COMPLETED, Run
from coval_gate.history.baseline import baseline_candidates
from coval_gate.history.search import Sought, has_tag, search
from coval_gate.history.tags import (
    ACCEPTED_TAG,
    FAILED_TAG,
    branch_tag,
    branch_tag_of,
    changed_tags,
    is_marked,
    pull_request_of,
    retag,
)
from coval_gate.inputs.fields import BaselineSource

MOST_TAGS_NAMED: Final = 3  # runs


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


def take_tag(
    session: Session, run_id: str, source: BaselineSource, *, sent: Sequence[str]
) -> Procedure[Standing | None]:
    """Return None where enough runs have the tag, and for a run of a pull request or no branch. Raises CovalError."""
    run = yield from session.client.get_run(run_id, until=session.deadline)
    tag = source.name
    if has_tag(run, tag) or is_marked(run, FAILED_TAG) or not branch_tag_of(run) or pull_request_of(run) is not None:
        return None
    sought = Sought(
        run.ids, tag, COMPLETED, since=0.0, enough=lambda runs: len(baseline_candidates(runs)) >= source.last
    )
    found = yield from search(session, sought)
    holders = baseline_candidates(found.runs)
    if len(holders) >= source.last or not found.is_whole:
        return None
    yield from retag(session, run.run_id, partial(changed_tags, add=(tag,), sent=sent))
    return Standing(run_id=run.run_id, tag=tag, runs=len(holders) + 1, wanted=source.last)


def accept(
    session: Session,
    run_id: str,
    source: BaselineSource,
    context: Context,
    accepted: Collection[str],
    *,
    sent: Sequence[str],
) -> Procedure[Standing]:
    """Let comparisons begin with a run: of its branch, or as the only run with a tag. Raises CovalError.

    `accepted`: the ids of all runs that the step accepts, which leave each other alone.
    """
    branch = branch_tag(context, source.name) if source.kind == "branch" else ""
    added = (branch or source.name, ACCEPTED_TAG)

    def change(run: Run) -> tuple[str, ...]:
        _check(run, branch, source)
        return changed_tags(run, add=added, remove=(FAILED_TAG,), sent=sent)

    run = yield from retag(session, run_id, change)
    yield from _take_from_others(session, run, branch or source.name, ACCEPTED_TAG if branch else source.name, accepted)
    return Standing(run_id=run.run_id, tag="" if branch else source.name, accepted=True)


def _check(run: Run, branch: str, source: BaselineSource) -> None:
    """Raise CovalError unless a CI job launched the run for the branch."""
    own = branch_tag_of(run)
    if pull_request_of(run) is not None:
        why = "it tests a pull request, and only runs of branches are compared with."
    elif own and branch in ("", own):
        return
    else:
        why = f"no CI job launched it for {source if branch else 'a branch'}."
    raise CovalError(titles.NOT_ACCEPTED, f"Run {run.run_id} was not accepted: {why}", advice="Accept another run.")


def _take_from_others(session: Session, run: Run, tag: str, taken: str, accepted: Collection[str]) -> Procedure[None]:
    """Take the tag `taken` away from all other runs like this one that have the `tag`. Raises CovalError."""
    holders = (yield from search(session, Sought(run.ids, tag, since=0.0, parts=True))).runs
    others = [
        other.run_id for other in holders if has_tag(other, taken) and other.run_id not in (run.run_id, *accepted)
    ]
    changes = (retag(session, run_id, partial(changed_tags, remove=(taken,))) for run_id in others)
    for run_id, result in zip(others, (yield from together(changes, session.clock, at_once=MOST_AT_ONCE)), strict=True):
        if isinstance(result, CovalError) and not isinstance(result, NotFound):
            raise CovalError(
                titles.NOT_ACCEPTED,
                f"Run {run.run_id} was accepted, but run {run_id} could not lose the tag {taken}: {result.what}",
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
