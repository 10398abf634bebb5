"""Who answered the simulations of a run, by the record that `attach` keeps and the tag that sums it up. Pure.

The record is a file in the workspace, for the step that judges the run. The tag is for a judge in another job, which
does not have that file. Both may be forged or stale: a checkout may bring a file, and anyone may tag a run. So they
only ever add errors. What Coval shows of each simulation is judged as for any other run, whatever a record claims; and
a record that names simulations that Coval does not list makes the total larger, not the number of those that are
missing smaller.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from coval_gate.base.records import NamedTuple
from coval_gate.base.text import json_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

DIRECTORY: Final = ".coval-gate"  # in the workspace, for what one command leaves for another
IGNORED: Final = f"{DIRECTORY}/.gitignore"
LOGS: Final = f"{DIRECTORY}/logs"  # a file for each simulation
TAG: Final = re.compile(r"coval-gate/attached/(\d{1,6})\.(\d{1,6})")  # how many, of how many
STALE: Final = 60.0  # s; a record without a change for that long is one of a process that is gone
BEAT: Final = 20.0  # s; a process that lives writes its record at least that often

Outcome = Literal[
    "waiting",  # Coval has not offered its relay yet
    "attached",  # the conversation goes on
    "answered",  # a process was attached until the conversation ended
    "ended_early",  # the handler returned before the conversation ended
    "before",  # an earlier process was attached, whose record is gone: Coval shows that it was
    "crashed",  # the handler raised an exception, or its process died
    "lost",  # the relay failed while the conversation went on
    "refused",  # Coval offered no relay, or none that worked
    "missed",  # it was over before a process could attach
]
ANSWERED: Final = ("answered", "ended_early", "before")
OPEN: Final = ("waiting", "attached")
ANSWERED_BY_JOB: Final = "SDK_WEBSOCKET"  # the type of an agent that a process of the user's answers
BLAMED_FIRST: Final = ("crashed", "lost", "refused", "missed", "attached", "waiting")


class Attachment(NamedTuple):
    """How one simulation was answered.

    `error`: one line, such as the last of a traceback. `log`: the path in the workspace of what its process wrote.
    `quiet`: it sent no audio for a while.
    """

    outcome: Outcome
    error: str = ""
    log: str = ""
    quiet: bool = False


class AttachRecord(NamedTuple):
    """What `coval-gate attach` has done so far for one run. Times are in s since 1970.

    `handler`: what answered, as the user named it. `problem`: why it ended before the run did; empty if it did not.
    """

    run_id: str
    handler: str
    begun: float
    changed: float
    done: bool = False
    problem: str = ""
    simulations: Mapping[str, Attachment] = {}  # by id

    @property
    def answered(self) -> int:
        """The number of simulations that a process answered."""
        return sum(one.outcome in ANSWERED for one in self.simulations.values())

    def is_gone(self, now: float) -> bool:
        """Return whether the process that wrote the record has left it unfinished."""
        return not self.done and now - self.changed > STALE


def path_of(run_id: str) -> str:
    """Return the path of a run's record in the workspace."""
    return f"{DIRECTORY}/attach-{run_id}.json"


def as_json(record: AttachRecord) -> str:
    """Return the record as the text of its file."""
    simulations = {id_: one._asdict() for id_, one in record.simulations.items()}
    return json.dumps({"version": 1, **record._asdict(), "simulations": simulations}, indent=1)


def read_record(text: str, run_id: str) -> AttachRecord | None:
    """Return the record of a run from its file; None if the text is no such record."""
    fields = json_in(text)
    if not isinstance(fields, dict) or fields.get("version") != 1 or fields.get("run_id") != run_id:
        return None
    entries = fields.get("simulations")
    texts: list[Any] = [fields.get(name) for name in ("handler", "problem")]
    times: list[Any] = [fields.get(name) for name in ("begun", "changed")]
    if not isinstance(entries, dict) or not all(isinstance(text, str) for text in texts):
        return None
    if not all(isinstance(time, int | float) and not isinstance(time, bool) for time in times):
        return None
    simulations = {id_: _attachment(entry) for id_, entry in entries.items()}
    return AttachRecord(
        run_id=run_id,
        handler=texts[0],
        begun=times[0],
        changed=times[1],
        done=fields.get("done") is True,
        problem=texts[1],
        simulations=simulations,
    )


def _attachment(entry: Any) -> Attachment:
    """Return an entry of the file. An entry that cannot be read counts as not answered."""
    entry = entry if isinstance(entry, dict) else {}
    outcome = entry.get("outcome")
    error, log = (text if isinstance(text := entry.get(name), str) else "" for name in ("error", "log"))
    if outcome not in get_args(Outcome):
        return Attachment("missed", error="The record does not say what became of it.")
    return Attachment(outcome, error=error, log=log, quiet=entry.get("quiet") is True)


def tag_of(answered: int, total: int) -> str:
    """Return the tag that says how many simulations a process answered."""
    return f"coval-gate/attached/{answered}.{total}"


def counts_in(tags: Iterable[str]) -> tuple[int, int] | None:
    """Return the counts in the tag among `tags`, (answered, all); the worst if there are several, None if none."""
    counts = [(int(match[1]), int(match[2])) for match in map(TAG.fullmatch, tags) if match]
    return min(counts, key=lambda pair: pair[0] - pair[1], default=None)


class Answering(NamedTuple):
    """How many of a run's simulations a job answered, of all that the record, the tag or Coval know.

    `is_known`: a record or a tag says it; otherwise nothing shows that a job attached. `worst`: how one of the others
    ended, a crash first; None if only a tag says how many there are. `crashed`: how many of them crashed. `problem`:
    why `coval-gate attach` ended before the run did. `is_done`: it ended. `is_gone`: its process left the record
    unfinished. `ended_early`: how many handlers returned before the conversation ended; `quiet`: how many were so.
    `causes`: what went wrong with those that were not answered, by their ids.
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

    @property
    def goes_on(self) -> bool:
        """Whether a process may still answer the others: none went wrong, and the command that starts them lives."""
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
    )


def _cause(one: Attachment) -> str:
    return f"{one.error} (log: {one.log})" if one.log else one.error


def worse(of_record: Answering, of_tag: Answering | None) -> Answering:
    """Return the one that shows more unanswered simulations.

    An earlier process, whose record is gone, may have written the tag after a crash.
    """
    if of_tag is None or of_tag.total - of_tag.answered <= of_record.total - of_record.answered:
        return of_record
    return of_tag._replace(causes=of_record.causes)


def is_deserted(record: AttachRecord, *, expected: int, now: float) -> bool:
    """Return whether no process will answer the rest of a run that goes on. `expected`: its simulations in Coval."""
    seen = answering_of(record, expected=expected, now=now)
    return (seen.is_done or seen.is_gone) and (not seen.is_whole or bool(record.problem and not expected))
