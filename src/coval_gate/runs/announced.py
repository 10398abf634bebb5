"""Finds out which metrics a run must have if its launch does not name them.

A run that completed may list its metrics one after another. If each of them counts, the step must know that the list is
complete. A run that was launched without metrics has its agent's. If the agent names none, or the run was launched
elsewhere, a simulation lists the metrics that are computed for it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from coval_gate.errors import CovalError, NotFound
from coval_gate.judge import targets
from coval_gate.model.statuses import CANCELLED, SKIPPED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.coval.resources import MetricDefinition, MetricOutput
    from coval_gate.judge.criteria import Criteria
    from coval_gate.model.results import Metric, RunResult, Simulation, Target
    from coval_gate.model.run import Run
    from coval_gate.runs.session import Session
    from coval_gate.waiting import Procedure

OPTIONAL_TIME: Final = 15.0  # s for a call that the step can do without
UNUSED: Final = (CANCELLED, SKIPPED)  # the status of a metric that is not computed for a simulation


class Targets:
    """The targets of metrics, from their definitions.

    Each definition is fetched once, except for unusable ones: those may be damaged responses.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._definitions: dict[str, MetricDefinition] = {}

    @property
    def are_usable(self) -> bool:
        """Whether all fetched targets make sense."""
        return all(map(_is_usable, self._definitions.values()))

    def fetch(self, metric_id: str) -> Procedure[Target | None]:
        """Return a metric's target; None if it has none. Raises CovalError."""
        definition = self._definitions.get(metric_id)
        if definition is None or not _is_usable(definition):
            client, until = self._session.client, self._session.deadline
            definition = self._definitions[metric_id] = yield from client.get_metric(metric_id, until=until)
        return definition.target

    def name(self, metric_id: str) -> str:
        """Return the metric's name by its last definition; the id if it has none."""
        return self._definitions[metric_id].name or metric_id

    def add_to(self, metrics: Sequence[Metric]) -> Procedure[tuple[Metric, ...]]:
        """Return the metrics with their targets. Raises CovalError."""
        with_targets = []
        for metric in metrics:
            target = (yield from self.fetch(metric.id)) if metric.is_identified else None
            with_targets.append(metric._replace(target=target))
        return tuple(with_targets)


class Announced:
    """The ids of the metrics that Coval announces for a run."""

    def __init__(self, criteria: Criteria) -> None:
        self._launched_here = criteria.iterations is not None
        self._ids: frozenset[str] = frozenset(criteria.metric_ids)

    @property
    def certain(self) -> bool:
        """Whether the launch or the agent names all metrics of the run."""
        return bool(self._ids)

    def fetch(self, session: Session, run: Run, simulations: Sequence[Simulation]) -> Procedure[frozenset[str]]:
        """Return the ids that Coval announces by now. A call that fails announces nothing."""
        yield from self.of_launch(session, run)
        completed = [simulation for simulation in simulations if simulation.completed]
        if self._ids or not completed:
            return self._ids
        outputs: tuple[MetricOutput, ...] = ()
        with suppress(CovalError):
            outputs = yield from session.client.list_metric_outputs(completed[-1].id, until=_soon(session))
        return frozenset(output.metric_id for output in outputs if output.status not in UNUSED)

    def of_launch(self, session: Session, run: Run) -> Procedure[frozenset[str]]:
        """Return the ids that the launch or the agent names; none if they do not say."""
        if not self._ids and self._launched_here and run.agent_id:
            with suppress(CovalError):
                agent = yield from session.client.get_agent(run.agent_id, until=_soon(session))
                self._ids = frozenset(agent.metric_ids)
        return self._ids


def absent_metrics(announced: frozenset[str], result: RunResult, known_targets: Targets) -> Procedure[tuple[str, ...]]:
    """Return the names of the metrics that have a target and are announced, but not listed. Raises CovalError."""
    absent = []
    for metric_id in sorted(announced):
        if result.find_metrics(metric_id):
            continue
        with suppress(NotFound):  # a metric that was deleted gets no values
            target = yield from known_targets.fetch(metric_id)
            name = known_targets.name(metric_id)
            if target is not None and not result.find_metrics(name):
                absent.append(name)
    return tuple(absent)


def _soon(session: Session) -> float:
    return min(session.deadline, session.clock.now() + OPTIONAL_TIME)


def _is_usable(definition: MetricDefinition) -> bool:
    return definition.target is None or targets.problem(definition.target) is None
