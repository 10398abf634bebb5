"""Looks up the names of the step's agents, personas and test sets, once the verdict is known."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from coval_gate.base.times import NAMING
from coval_gate.inputs.inputs import LAUNCH_IDS, ids_of
from coval_gate.runs.legs import ids_shown
from coval_gate.runs.shown import fetch_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.base.schedule import Procedure
    from coval_gate.flow.progress import Progress
    from coval_gate.runs.legs import Leg


def find_names(progress: Progress) -> Procedure[None]:
    """Look up the names that the reports of all legs need, and no response has shown yet."""
    session = progress.session()
    soon = session.times.informing(progress.clock.now(), NAMING)
    wanted = [[*_wanted(leg)] for leg in progress.legs if leg.trials]
    # The agents of all legs first: they matter most, and only so many are looked up.
    by_kind = sorted(chain.from_iterable(wanted), key=lambda named: LAUNCH_IDS.index(named[0]))
    yield from fetch_names(session._replace(deadline=soon), by_kind)


def _wanted(leg: Leg) -> Iterator[tuple[str, str]]:
    yield from ids_shown(leg, leg.first).items()
    if leg.base:
        yield "agent_id", ids_of(leg.base.inputs)["agent_id"]
