"""Whether a job answered the simulations of a run: what its record or its tag shows, beside what Coval shows. Pure.

Both may be forged or stale: a checkout may bring a file, and anyone may tag a run. So they only ever add errors. What
Coval shows of each simulation is judged as for any other run, whatever a record claims; and a record that names
simulations that Coval does not list makes the total larger, not the number of those that are missing smaller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.model.attachment import ANSWERED, OPEN, Attachment, AttachRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ANSWERED_BY_JOB: Final = "SDK_WEBSOCKET"  # the type of an agent that a process of the user's answers
BLAMED_FIRST: Final = ("crashed", "lost", "refused", "missed", "attached", "waiting")


class Answering(NamedTuple):
    """How many of a run's simulations a job answered, of all that the record, the tag or Coval know.

    `is_known`: a record or a tag says it; otherwise nothing shows that a job attached. `worst`: how one of the others
    ended, a crash first; None if only a tag says how many there are. `crashed`: how many of them crashed. `problem`:
    why `coval-gate attach` ended before the run did. `is_done`: it ended. `is_gone`: its process left the record
    unfinished. `ended_early`: how many handlers returned before the conversation ended; `quiet`: how many were so.
    `causes`: what went wrong with those that were not answered, by their ids. `silent`: the ids of the quiet ones.
    """

    answered: int
    total: int
    is_known: bool = True
    worst: Attachment | None = None
    crashed: int = 0
    problem: str = ""
    is_done: bool = False
    is_gone: bool = False
    ended_early: int = 0
    quiet: int = 0
    causes: Mapping[str, str] = {}
    silent: frozenset[str] = frozenset()

    @property
    def goes_on(self) -> bool:
        """Whether those that nobody answered may still be answered: no process went wrong, and that of all lives."""
        ended = self.problem or self.is_gone or self.is_done
        return bool(self.worst and self.worst.outcome in OPEN and not ended)

    @property
    def is_whole(self) -> bool:
        """Whether a job answered every simulation."""
        return self.is_known and 0 < self.total <= self.answered


NOT_ATTACHED: Final = Answering(0, 0, is_known=False)


def answering_of(record: AttachRecord, listed: Collection[str] = (), *, expected: int = 0, now: float) -> Answering:
    """Return what a record shows, beside the ids of the simulations that Coval lists and how many it expects."""
    ones = [*record.simulations.values()]
    left = [one for one in ones if one.outcome not in ANSWERED]
    return Answering(
        answered=record.answered,
        total=max(len({*record.simulations, *listed}), expected),
        worst=min(left, key=lambda one: BLAMED_FIRST.index(one.outcome), default=None),
        crashed=sum(one.outcome == "crashed" for one in left),
        problem=record.problem,
        is_done=record.done,
        is_gone=record.is_gone(now),
        ended_early=sum(one.outcome == "ended_early" for one in ones),
        quiet=sum(one.quiet for one in ones),
        causes={
            id_: _cause(one) for id_, one in record.simulations.items() if one.outcome not in ANSWERED and one.error
        },
        silent=frozenset(id_ for id_, one in record.simulations.items() if one.quiet),
    )


def _cause(one: Attachment) -> str:
    return f"{one.error} (log: {one.log})" if one.log else one.error


def worse(of_record: Answering, of_tag: Answering | None) -> Answering:
    """Return what shows more simulations that nobody answered.

    An earlier process, whose record is gone, may have written the tag after a crash.
    """
    if of_tag is None or of_tag.total - of_tag.answered <= of_record.total - of_record.answered:
        return of_record
    return of_tag._replace(causes=of_record.causes)


def is_deserted(record: AttachRecord, *, expected: int, now: float) -> bool:
    """Return whether nobody will answer the rest of a run that goes on, in which Coval expects so many simulations."""
    seen = answering_of(record, expected=expected, now=now)
    return (seen.is_done or seen.is_gone) and (not seen.is_whole or bool(record.problem and not expected))
