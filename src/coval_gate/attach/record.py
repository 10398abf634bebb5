"""Keeps the record of who answered the simulations in the workspace, for the step that judges the run."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from coval_gate.attach.handler import LONGEST
from coval_gate.base.text import one_line
from coval_gate.model.attachment import (
    BEAT,
    IGNORED,
    LOGS,
    OPEN,
    Attachment,
    AttachRecord,
    as_json,
    path_of,
    read_record,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.base.clock import Clock
    from coval_gate.ci.workspace import Workspace

WORKER_LOG: Final = f"{LOGS}/attach.worker.log"  # no simulation has a dot in its id
LARGEST: Final = 32 * 1024 * 1024  # bytes of a record


class Busy(Exception):
    """Another process answers the run in this workspace. `changed`: when it last wrote the record, s since 1970."""

    def __init__(self, changed: float | None) -> None:
        super().__init__()
        self.changed = changed


class RecordKeeper:
    """The record of one run, which only one process at a time may write. `redact` masks the API key."""

    def __init__(
        self, workspace: Workspace, run_id: str, handler: str, clock: Clock, redact: Callable[[str], str]
    ) -> None:
        self._workspace, self._clock, self._redact = workspace, clock, redact
        now = clock.time()
        self.record = AttachRecord(run_id, redact(one_line(handler, LONGEST)), begun=now, changed=now)
        self.earlier: frozenset[str] = frozenset()  # simulations to which an earlier process was attached when it died
        self._path = path_of(run_id)
        self._is_new = True
        self._written = clock.now()  # the clock of `changed` may be set meanwhile
        self._lock: object = None

    def open(self) -> None:
        """Lock the record, and continue the one of an earlier process. Raises Busy, ValueError, RunnerError."""
        self._workspace.create(IGNORED, "*\n")
        path = self._path.removesuffix(".json") + ".lock"
        self._workspace.create(path, "")
        self._lock = self._workspace.lock(path)
        former = self._former()
        if self._lock is None:
            raise Busy(former.changed if former else None)
        if former:
            self.earlier = frozenset(id_ for id_, one in former.simulations.items() if one.outcome == "attached")
            kept = {
                id_: one._replace(outcome="waiting") if one.outcome in OPEN else one
                for id_, one in former.simulations.items()
            }
            self.record = self.record._replace(begun=former.begun, simulations=kept)
        self.write()

    def close(self) -> None:
        """Leave the record to others."""
        self._lock = None

    def open_log(self, name: str) -> str:
        """Create a log in the workspace if there is none yet, and return its path. Raises ValueError."""
        self._workspace.create(name, "")
        return self._workspace.locate(name)

    def set(self, simulation: str, **changes: Any) -> None:
        """Change what is known of a simulation."""
        if "error" in changes:
            changes["error"] = self._redact(one_line(changes["error"], LONGEST))
        before = self.record.simulations.get(simulation)
        after = (before or Attachment("waiting"))._replace(**changes)
        if after != before:
            self.record = self.record._replace(simulations={**self.record.simulations, simulation: after})
            self._is_new = True

    def write_if_due(self) -> None:
        """Write the record if it has changed, or was not written for a while. Raises RunnerError."""
        if self._is_new or self._clock.now() - self._written >= BEAT:
            self.write()

    def finish(self, problem: str = "") -> None:
        """Write the record for the last time; nothing replaces it then. Raises RunnerError.

        `problem`: why the command ends before the run. Conversations that still go on are then lost.
        """
        if self.record.done:
            return
        for simulation, one in self.record.simulations.items():
            if one.outcome == "attached":
                self.set(simulation, outcome="lost", error=f"The command ended before the conversation: {problem}")
        self.record = self.record._replace(done=True, problem=self._redact(one_line(problem, LONGEST)))
        self.write()

    def write(self) -> None:
        """Write the record. Raises RunnerError."""
        self.record = self.record._replace(changed=self._clock.time())
        self._workspace.replace(self._path, as_json(self.record))
        self._is_new, self._written = False, self._clock.now()

    def _former(self) -> AttachRecord | None:
        """Return the record in the workspace; None if there is none that can be read."""
        with suppress(ValueError):
            text = self._workspace.read(self._workspace.find(self._path), LARGEST)
            return read_record(text.decode("utf-8", "replace"), self.record.run_id)
        return None


def log_of(simulation: str) -> str:
    """Return the path of a simulation's log in the workspace."""
    return f"{LOGS}/{simulation}.log"
