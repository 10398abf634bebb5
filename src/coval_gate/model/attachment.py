"""Who answered the simulations of a run: the record that `coval-gate attach` keeps, and the tag that sums it up.

The record is a file in the workspace, for the step that judges the run. The tag is for a judge in another job, which
does not have that file. Both come from outside for the step: a checkout may bring a file, and anyone may tag a run.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from coval_gate.base.text import json_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DIRECTORY: Final = ".coval-gate"  # in the workspace
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
