"""Finds out which metrics and values of a completed run will never come.

A run does not show them: a metric that it does not list, or a value that it does not have, may be late. The metric
outputs of its simulations show which metrics are computed, and which of them have ended without a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.errors import CovalError
from coval_gate.model.statuses import CANCELLED, COMPLETED, FAILED, SKIPPED
from coval_gate.runs.schedule import together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coval_gate.coval.resources import MetricOutput
    from coval_gate.model.results import Metric, RunResult
    from coval_gate.runs.session import Session
    from coval_gate.waiting import Procedure

ASKED: Final = 5  # simulations whose outputs are fetched, at most
ENDED: Final = (COMPLETED, FAILED, SKIPPED, CANCELLED)  # statuses of an output that does not change any more

Outputs = dict[str, "MetricOutput"]  # of one simulation, by the id of their metric


class Never(NamedTuple):
    """What will not come: further metrics, or missing values of the metrics with these ids."""

    no_more_metrics: bool = False
    values_of: frozenset[str] = frozenset()


def find_never(
    session: Session, result: RunResult, named: frozenset[str], needed: Sequence[Metric]
) -> Procedure[Never]:
    """Find out from a few simulations of a run what will not come; nothing is certain if a call fails.

    `named`: ids of metrics that the launch or the agent names. `needed`: the metrics whose values are needed.
    """
    completed = [simulation.id for simulation in result.simulations if simulation.completed]
    if not completed:
        return Never(no_more_metrics=True)  # metrics are computed for simulations that completed
    lacking = {metric.id: _without_value(metric, completed) for metric in needed if not metric.summary}
    sample = _sample(completed, [simulation_ids for simulation_ids in lacking.values() if simulation_ids])
    calls = (session.client.list_metric_outputs(simulation_id, until=session.deadline) for simulation_id in sample)
    responses = yield from together(calls, session.clock, at_once=ASKED)
    outputs: dict[str, Outputs] = {}
    for simulation_id, response in zip(sample, responses, strict=True):
        if isinstance(response, CovalError):
            return Never()
        if isinstance(response, Exception):
            raise response
        outputs[simulation_id] = {output.metric_id: output for output in response}
    computed = {metric_id for by_metric in outputs.values() for metric_id in by_metric}
    listed = {metric.id for metric in result.metrics}
    return Never(
        no_more_metrics=bool(computed) and named | computed <= listed,
        values_of=frozenset(
            metric_id for metric_id, ids in lacking.items() if _has_ended(metric_id, ids, completed, outputs)
        ),
    )


def _without_value(metric: Metric, completed: Sequence[str]) -> list[str]:
    return [simulation_id for simulation_id in completed if simulation_id not in metric.values]


def _sample(completed: Sequence[str], lacking: Sequence[Sequence[str]]) -> list[str]:
    """Return simulations that lack a value of some metric, the smallest gap first; any if none lacks one."""
    ranked = [simulation_id for gap in sorted(lacking, key=len) for simulation_id in gap] or completed
    return list(dict.fromkeys(ranked))[:ASKED]


def _has_ended(
    metric_id: str, lacking: Sequence[str], completed: Sequence[str], outputs: Mapping[str, Outputs]
) -> bool:
    """Return whether a metric has ended without a value wherever it lacks one.

    All that lack one must show it. If all of the run's simulations lack one, the sample stands for the others.
    """
    shown = [outputs[simulation_id].get(metric_id) for simulation_id in lacking if simulation_id in outputs]
    is_known = len(shown) == len(lacking) or (len(lacking) == len(completed) and len(shown) > 0)
    return is_known and all(output is not None and _ended_without_value(output) for output in shown)


def _ended_without_value(output: MetricOutput) -> bool:
    """Return whether an output is final and has no value. If it has a value, the run will show it later."""
    return output.status in ENDED and output.value is None
