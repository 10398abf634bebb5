"""What the JSON report says of drift: the path of the runs beside their reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.report.json_models import Model, Text

if TYPE_CHECKING:
    from coval_gate.judge.measure import DriftPath


class NightFacts(Model):
    """A run after the reference."""

    run_id: Text
    created: Text
    """As Coval reports it; empty for the run of this report."""
    value: float
    """Over the shared test cases, in the unit of the criterion."""
    sum: float
    """The sum of the shortfalls, with this run."""


class DriftFacts(Model):
    """How runs developed beside a reference."""

    reference_value: float
    """The mean of the reference, in the unit of the criterion."""
    reference_run_ids: list[Text]
    """The oldest first, which has the tag of the input `drift`."""
    shared_test_cases: int
    sum: float
    """That of the shortfalls, with this run."""
    level: float
    """Above it, the sum is an alarm."""
    since_run_id: Text
    """The run with which the sum began to rise; `actual` is the mean since then."""
    nights: list[NightFacts]
    """The runs after the reference, the oldest first and this one last."""
    left_out_runs: int
    """How many later runs do not count: their data are not complete, or they cannot be compared."""


def drift_facts(path: DriftPath | None) -> DriftFacts | None:
    """Return the path of a criterion about drift; None of any other."""
    if path is None:
        return None
    return DriftFacts(
        reference_value=path.reference,
        reference_run_ids=list(path.reference_ids),
        shared_test_cases=path.cases,
        sum=path.sum,
        level=path.level,
        since_run_id=path.risen[0].run_id,
        nights=[NightFacts(**each._asdict()) for each in path.nights],
        left_out_runs=path.left_out,
    )
