"""What a run really was, from the sandbox's own records: the campaign's second opinion, not one line of it ours."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from coval_sandbox import catalogue
from coval_sandbox.values import value_fate

if TYPE_CHECKING:
    from coval_sandbox.plan import PlannedSimulation
    from coval_sandbox.quirks import Quirks
    from coval_sandbox.state import RunRecord

NAMED: Final[dict[str, tuple[catalogue.Metric, ...]]] = {
    "thresholds": (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE),
    "targets": (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE, catalogue.TONE),
    "pass_rate": (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE, catalogue.TONE),
    "forbidden": (catalogue.COMPLIANCE,),
}
OWN_ERRORS: Final = frozenset({None, "SUCCESS", "EXECUTION_FAILURE"})


def is_good(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    """Whether the run completed and met the gate, with all the data that this takes, at a moment of Coval's."""
    if record.status(now) != "COMPLETED" or record.cancel_time is not None:
        return False
    simulations = record.plan.simulations
    failed = sum(each.failed for each in simulations)
    if not simulations or failed > (len(simulations) // 2 if gate == "half" else 0):
        return False
    if _complains(record, quirks, failed):
        return False
    return _all_there(record, gate, quirks, now) and _meets(record.plan.simulations, gate)


def has_data(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    """Whether a verdict on the agent has something to rest on."""
    return not all(each.failed for each in record.plan.simulations) and _all_there(record, gate, quirks, now)


def _complains(record: RunRecord, quirks: Quirks, failed: int) -> bool:
    """Whether Coval reports an error that is more than that simulations failed."""
    status = record.plan.scenario.error_status
    if quirks.error_status != "scenario":
        status = None if quirks.error_status == "null" else quirks.error_status
    return status not in OWN_ERRORS or (status == "EXECUTION_FAILURE" and not failed)


def _all_there(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    """Whether every value that the gate names is there, on every simulation that completed."""
    return all(
        value_fate(record, simulation, metric.id, now, quirks) == "there"
        for simulation in record.plan.simulations
        if not simulation.failed
        for metric in NAMED.get(gate, ())
    )


def _meets(simulations: tuple[PlannedSimulation, ...], gate: str) -> bool:
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
