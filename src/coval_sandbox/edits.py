"""Users' changes to the catalogue: the contents of test cases and personas, and the versions of metrics."""

from __future__ import annotations

from .catalogue import Json
from .clock import Clock
from .ids import rng, ulid
from .views import timestamp

FIRST_VERSION = 1


def version_ulid(metric_id: str, number: int, founded: float) -> str:
    """`number` counts from 1."""
    return ulid(founded, rng("version", metric_id, *([number] if number > FIRST_VERSION else [])))


class Edits:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed: dict[str, Json] = {}
        self._versions: dict[str, int] = {}

    def change(self, identifier: str, **fields: object) -> None:
        """Without fields, change only the update_time of the test case or persona."""
        now = timestamp(self._clock())
        earlier = self._changed.get(identifier, {})
        self._changed[identifier] = earlier | {"update_time": now, "updated_at": now} | fields

    def revise(self, metric_id: str) -> None:
        """The new version judges later runs."""
        self._versions[metric_id] = self.version(metric_id) + 1

    def applied(self, row: Json) -> Json:
        """`row`: the JSON of a test case or persona."""
        return row | self._changed.get(row["id"], {})

    def version(self, metric_id: str) -> int:
        return self._versions.get(metric_id, FIRST_VERSION)
