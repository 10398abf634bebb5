"""Looks up what reports show: the units of metrics, and the names of agents, personas and test sets.

All of it only informs. A call is made once, after the verdict is known, and only for what no earlier response showed.
Where one fails, reports show numbers without units, and ids.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from coval_gate.base.schedule import together
from coval_gate.base.times import NAMING
from coval_gate.coval.metrics import METRIC
from coval_gate.coval.resources import OF_RUNS
from coval_gate.inputs.inputs import LAUNCH_IDS, ids_of
from coval_gate.step.leg import ids_shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from coval_gate.base.schedule import Procedure
    from coval_gate.coval.model import Metric
    from coval_gate.coval.session import Session
    from coval_gate.step.leg import Leg
    from coval_gate.step.step import Step

MOST_UNITS: Final = 20  # metrics of which units are looked up
MOST_NAMES: Final = 24  # agents, personas and test sets of which names are looked up; the first ones
AT_ONCE: Final = 6  # calls

Named = tuple[str, str]  # the input of such ids, such as agent_id, and the id


def fetch_units(session: Session, metrics: Sequence[Metric], first: Collection[str]) -> Procedure[Mapping[str, str]]:
    """Return units by metric id, as far as they are known by the deadline. `first`: ids that matter most."""
    units = session.client.shown.units
    unknown = [metric.id for metric in metrics if metric.is_identified and metric.id not in units and metric.numbers]
    unknown.sort(key=lambda metric_id: metric_id not in first)
    client, until = session.client, session.deadline
    yield from _try(
        session, [client.get(METRIC, metric_id, until=until, once=True) for metric_id in unknown[:MOST_UNITS]]
    )
    units = client.shown.units
    return {metric.id: units[metric.id] for metric in metrics if units.get(metric.id)}


def _fetch_names(session: Session, wanted: Iterable[Named]) -> Procedure[None]:
    """Look up the names of the first of the `wanted`, which the session remembers."""
    client, until = session.client, session.deadline
    unknown = [named for named in dict.fromkeys(wanted) if named[1] and client.shown.name_of(*named) is None]
    calls = [client.get(OF_RUNS[name], id_, until=until, once=True) for name, id_ in unknown[:MOST_NAMES]]
    yield from _try(session, calls)


def _try(session: Session, calls: Sequence[Procedure[object]]) -> Procedure[None]:
    """What fails stays unknown."""
    yield from together(calls, session.clock, at_once=AT_ONCE)


def find_names(step: Step) -> Procedure[None]:
    """Look up the names that the reports of all legs need, and no response has shown yet."""
    session = step.session()
    soon = session.times.informing(step.clock.now(), NAMING)
    wanted = [[*_wanted(leg)] for leg in step.legs if leg.trials]
    # The agents of all legs first: they matter most, and only so many are looked up.
    by_kind = sorted(chain.from_iterable(wanted), key=lambda named: LAUNCH_IDS.index(named[0]))
    yield from _fetch_names(session.until(soon), by_kind)


def _wanted(leg: Leg) -> Iterator[tuple[str, str]]:
    yield from ids_shown(leg, leg.first).items()
    if leg.base:
        yield "agent_id", ids_of(leg.base.inputs)["agent_id"]
