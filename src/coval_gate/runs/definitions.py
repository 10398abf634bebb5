"""Reads which values metrics can have if the criteria name one that no simulation of the run has.

Nearly every run shows the values that matter, so this costs a call only if a value may be misspelt, or is rare.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from coval_gate.errors import CovalError
from coval_gate.judge.targets import named_values
from coval_gate.judge.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.judge.criteria import Criteria
    from coval_gate.model.results import Metric, RunResult
    from coval_gate.runs.session import Session
    from coval_gate.waiting import Procedure


def with_definitions(session: Session, result: RunResult, criteria: Criteria) -> Procedure[RunResult]:
    """Return the run with the values that its metrics can have, as far as they matter and Coval responds in time."""
    metrics = []
    for metric in result.metrics:
        values = tuple(_named_values(metric, result, criteria))
        if metric.is_identified and Vocabulary.of(metric).unseen(values):
            texts = yield from _texts(session, metric.id, values)
            metrics.append(metric._replace(defined=texts))
        else:
            metrics.append(metric)
    return result._replace(metrics=tuple(metrics))


def _named_values(metric: Metric, result: RunResult, criteria: Criteria) -> Iterator[str]:
    """Yield the values of a metric that the criteria, or its target, name."""
    for reference, values in criteria.named_values:
        if metric in result.find_metrics(reference):
            yield from values
    if metric.target:
        yield from named_values(metric.target)


def _texts(session: Session, metric_id: str, values: tuple[str, ...]) -> Procedure[tuple[str, ...]]:
    """Return the only texts that a metric can have; none if that is not certain.

    A definition that rules out one of the `values` is read twice: a response may be damaged.
    """
    with suppress(CovalError):
        texts = (yield from session.client.get_metric(metric_id, until=session.deadline)).texts
        if not Vocabulary(seen=(), allowed=texts).impossible(values):
            return texts
        again = (yield from session.client.get_metric(metric_id, until=session.deadline)).texts
        return texts if texts == again else ()
    return ()
