"""The test oracle: the right verdict of a run, from the sandbox's records and without code of the action."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from campaign.schedule import GATES
from coval_sandbox import catalogue
from coval_sandbox.values import value_fate

if TYPE_CHECKING:
    from coval_sandbox.plan import PlannedSimulation
    from coval_sandbox.quirks import Quirks
    from coval_sandbox.state import RunRecord

GATE_METRICS: Final[dict[str, tuple[catalogue.Metric, ...]]] = {
    "thresholds": (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE),
    "targets": (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE, catalogue.TONE),
    "pass_rate": (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE, catalogue.TONE),
    "forbidden": (catalogue.COMPLIANCE,),
    "exact rate": (catalogue.COMPLIANCE,),
    "other rate": (catalogue.COMPLIANCE,),
    "word among numbers": (catalogue.LATENCY,),
    "words among numbers": (catalogue.LATENCY,),
    "number among words": (catalogue.RESOLVED,),
    "forbidden word": (catalogue.LATENCY,),
    "forbidden number": (catalogue.COMPLIANCE,),
}
HALF_MAY_FAIL: Final = ("half", "exact rate", "other rate")
SIMULATION_ERRORS: Final = frozenset({None, "SUCCESS", "EXECUTION_FAILURE"})


def is_good(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    """Return whether the run, at this time, is completed, has all required data and meets the gate."""
    if record.status(now) != "COMPLETED" or record.cancel_time is not None:
        return False
    simulations = record.plan.simulations
    failed = sum(each.failed for each in simulations)
    if not simulations or failed > _allowed(record, gate):
        return False
    if _reports_error(record, quirks, failed):
        return False
    if not can_decide(gate):
        return False
    if not _has_all_values(record, gate, quirks, now):
        return False
    if gate in ("exact rate", "other rate"):
        return _rate_holds(record, gate, quirks, now)
    return _meets_thresholds(record.plan.simulations, gate)


def can_decide(gate: str) -> bool:
    """Return whether any run can meet or miss the gate."""
    return gate in GATES


def has_data(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    """Return whether there is enough data for a verdict."""
    return not all(each.failed for each in record.plan.simulations) and _has_all_values(record, gate, quirks, now)


def _reports_error(record: RunRecord, quirks: Quirks, failed: int) -> bool:
    """Return whether Coval reports an error other than failed simulations."""
    status = record.plan.scenario.error_status
    if quirks.error_status != "scenario":
        status = None if quirks.error_status == "null" else quirks.error_status
    return status not in SIMULATION_ERRORS or (status == "EXECUTION_FAILURE" and not failed)


def _has_all_values(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    """Return whether enough completed simulations have values: failed ones use the allowance up first."""
    simulations = record.plan.simulations
    completed = [each for each in simulations if not each.failed]
    lacking = [
        sum(value_fate(record, each, metric.id, now, quirks) != "there" for each in completed)
        for metric in GATE_METRICS.get(gate, ())
    ]
    return max(lacking, default=0) <= max(0, _allowed(record, gate) - (len(simulations) - len(completed)))


def _allowed(record: RunRecord, gate: str) -> int:
    """Return how many simulations may fail or lack a value."""
    return len(record.plan.simulations) // 2 if gate in HALF_MAY_FAIL else 0


def _rate_holds(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    """Return whether the rate of NO holds, whatever the missing values were."""
    simulations, metric = record.plan.simulations, catalogue.COMPLIANCE.id
    there = [
        each.values[metric]
        for each in simulations
        if not each.failed and value_fate(record, each, metric, now, quirks) == "there"
    ]
    least = there.count("NO")
    possible = range(least, least + len(simulations) - len(there) + 1)
    if gate == "exact rate":
        return list(possible) == [0]
    return all(5 * number != len(simulations) for number in possible)


def _meets_thresholds(simulations: tuple[PlannedSimulation, ...], gate: str) -> bool:
    """Return whether the simulations meet the gate's thresholds or targets."""

    def of(metric: catalogue.Metric) -> list[Any]:
        return [each.values[metric.id] for each in simulations if not each.failed]

    latency, resolved, compliance, tone = (
        of(each) for each in (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE, catalogue.TONE)
    )
    match gate:
        case "thresholds":
            rate = resolved.count("YES") / len(simulations)
            return bool(fmean(latency) < 1.5 and rate >= 0.9 and not compliance.count("NO"))
        case "targets" | "pass_rate":
            met = [
                a <= 1.5 and b == "YES" and c == "YES" and d >= 4
                for a, b, c, d in zip(latency, resolved, compliance, tone, strict=True)
            ]
            return all(met) if gate == "targets" else sum(met) / len(simulations) >= 0.95
        case "forbidden":
            return "NO" not in compliance
        case _:
            return True
