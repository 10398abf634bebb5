"""The test oracle: the right verdict of a run, from the sandbox's records and without code of the action."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Final

from campaign.schedule import BASELINE_GATES, GATES, OWN_GATES, REPEATED_GATES
from coval_sandbox import catalogue
from coval_sandbox.plan import PlannedSimulation, RunRecord
from coval_sandbox.quirks import Quirks
from coval_sandbox.views import value_fate

Simulations = tuple[PlannedSimulation, ...]


GATE_METRICS: Final[dict[str, tuple[catalogue.Metric, ...]]] = {
    "thresholds": (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE),
    "mixed": (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE),
    "kept": (catalogue.RESOLVED, catalogue.COMPLIANCE),
    **dict.fromkeys(
        ("targets", "pass_rate"), (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE, catalogue.TONE)
    ),
    **dict.fromkeys(("strict", "loose", "word among numbers"), (catalogue.LATENCY,)),
    **dict.fromkeys(
        ("rate", "most resolved", "no doubt", "number among words", "misspelt value"), (catalogue.RESOLVED,)
    ),
    **dict.fromkeys(("forbidden", "forbidden other word"), (catalogue.COMPLIANCE,)),
    **dict.fromkeys(BASELINE_GATES, (catalogue.LATENCY, catalogue.COMPLIANCE)),
}
OF_BASE: Final = catalogue.LATENCY  # the metric of thresholds on a base
SIMULATION_ERRORS: Final = frozenset({None, "SUCCESS", "EXECUTION_FAILURE"})


def is_good(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    """Return whether the run, at this time, is completed, has all required data and meets the gate."""
    if record.status(now) != "COMPLETED" or record.cancel_time is not None:
        return False
    simulations = record.plan.simulations
    if not simulations or not can_decide(gate):
        return False
    if _reports_error(record, quirks, sum(simulation.failed for simulation in simulations)):
        return False
    return all(_is_good(variant, gate, record, quirks, now) for variant in _variants(record))


def can_decide(gate: str) -> bool:
    """Return whether any run can meet or miss the gate."""
    return any(gate in gates for gates in (GATES, REPEATED_GATES, BASELINE_GATES, OWN_GATES))


def has_data(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    """Return whether there is enough data for a verdict."""
    return all(
        not all(simulation.failed for simulation in simulations)
        and _has_all_values(simulations, gate, record, quirks, now)
        for simulations in _variants(record)
    )


def is_usable(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    """Return whether a base's run has what a comparison needs, whatever its values are."""
    return lacks_nothing(record, gate, quirks, now) and is_comparable(record, gate, quirks, now)


def lacks_nothing(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    """Return whether a run completed, and has all data that its gate needs, whatever its values are."""
    if record.status(now) != "COMPLETED" or record.cancel_time is not None or not record.plan.simulations:
        return False
    failed = sum(simulation.failed for simulation in record.plan.simulations)
    few = all(
        sum(simulation.failed for simulation in variant) <= _allowed(variant, gate) for variant in _variants(record)
    )
    has_all = few and can_decide(gate) and _has_values(record, gate, quirks, now)
    return has_all and not _reports_error(record, quirks, failed)


def is_comparable(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    """Return whether a run has enough values of what is compared with a base, in addition to those of its gate."""
    return all(_has_values_of((OF_BASE,), simulations, gate, record, quirks, now) for simulations in _variants(record))


def cases_to_compare(record: RunRecord, quirks: Quirks, now: float) -> set[str]:
    """Return the test cases of which a run has values to compare with a base's."""
    return {
        simulation.test_case_id
        for simulation in record.plan.simulations
        if not simulation.failed and value_fate(record, simulation, OF_BASE.id, now, quirks) == "there"
    }


def _variants(record: RunRecord) -> tuple[Simulations, ...]:
    """Return the simulations of the agent itself and of each mutation, which are all judged apart."""
    variants: dict[str | None, list[PlannedSimulation]] = {}
    for simulation in record.plan.simulations:
        variants.setdefault(simulation.mutation_id, []).append(simulation)
    return tuple(map(tuple, variants.values())) or ((),)


def _is_good(simulations: Simulations, gate: str, record: RunRecord, quirks: Quirks, now: float) -> bool:
    if sum(simulation.failed for simulation in simulations) > _allowed(simulations, gate):
        return False
    if not _has_all_values(simulations, gate, record, quirks, now):
        return False
    return _meets_thresholds(simulations, gate)


def _reports_error(record: RunRecord, quirks: Quirks, failed: int) -> bool:
    """Return whether Coval reports an error other than failed simulations."""
    status = record.plan.scenario.error_status
    if quirks.error_status != "scenario":
        status = None if quirks.error_status == "null" else quirks.error_status
    return status not in SIMULATION_ERRORS or (status == "EXECUTION_FAILURE" and not failed)


def _has_all_values(simulations: Simulations, gate: str, record: RunRecord, quirks: Quirks, now: float) -> bool:
    """Return whether enough completed simulations have values: failed ones use the allowance up first."""
    return _has_values_of(GATE_METRICS.get(gate, ()), simulations, gate, record, quirks, now)


def _has_values_of(
    metrics: Sequence[catalogue.Metric],
    simulations: Simulations,
    gate: str,
    record: RunRecord,
    quirks: Quirks,
    now: float,
) -> bool:
    completed = [simulation for simulation in simulations if not simulation.failed]
    lacking = [
        sum(value_fate(record, planned, metric.id, now, quirks) != "there" for planned in completed)
        for metric in metrics
    ]
    return max(lacking, default=0) <= max(0, _allowed(simulations, gate) - (len(simulations) - len(completed)))


def _allowed(simulations: Simulations, gate: str) -> int:
    """Return how many simulations may fail or lack a value."""
    return len(simulations) // 2 if gate == "half" else 0


def _meets_thresholds(simulations: Simulations, gate: str) -> bool:
    """Return whether the simulations meet the gate's thresholds or targets."""

    def of(metric: catalogue.Metric) -> list[Any]:
        return [simulation.values[metric.id] for simulation in simulations if not simulation.failed]

    latency, resolved, compliance, tone = (
        of(gated) for gated in (catalogue.LATENCY, catalogue.RESOLVED, catalogue.COMPLIANCE, catalogue.TONE)
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
        case _ if gate == "forbidden" or gate in BASELINE_GATES:
            return "NO" not in compliance
        case "strict":
            return max(map(float, latency)) < 0.01
        case "loose":
            return max(map(float, latency)) < 60
        case "most resolved":
            return resolved.count("YES") / len(simulations) >= 0.8
        case "no doubt":
            return not resolved.count("UNKNOWN")
        case "rate" | "kept" | "mixed":
            return _meets_sampled(simulations, gate) and _meets_counted(simulations, gate)
        case _:
            return True


def are_good_together(records: Sequence[RunRecord], gate: str, quirks: Quirks, now: float) -> bool:
    """Return whether a run and its repetitions meet the gate together, none of which may lack data.

    What a sample shows has to hold over all conversations; what is counted, in each run.
    """
    for record in records:
        done = record.status(now) == "COMPLETED" and record.cancel_time is None
        failed = sum(simulation.failed for simulation in record.plan.simulations)
        if not done or _reports_error(record, quirks, failed) or not _has_values(record, gate, quirks, now):
            return False
    runs = [{variant[0].mutation_id: variant for variant in _variants(record) if variant} for record in records]
    return all(_good_variant([run.get(name, ()) for run in runs], gate) for name in runs[0])


def pool_of(records: Sequence[RunRecord]) -> list[PlannedSimulation]:
    """Return the simulations of all runs, without those that failed and that another run completed."""
    runs = [{variant[0].mutation_id: variant for variant in _variants(record) if variant} for record in records]
    return [simulation for name in runs[0] for simulation in _pool([run.get(name, ()) for run in runs])]


def _has_values(record: RunRecord, gate: str, quirks: Quirks, now: float) -> bool:
    return all(_has_all_values(variant, gate, record, quirks, now) for variant in _variants(record))


def _good_variant(runs: Sequence[Simulations], gate: str) -> bool:
    pool = _pool(runs)
    if any(simulation.failed for simulation in pool) or not _meets_sampled(pool, gate):
        return False
    # A run without any result has broken nothing; others have replaced its simulations.
    return all(_meets_counted(run, gate) for run in runs if not all(simulation.failed for simulation in run))


def _pool(runs: Sequence[Simulations]) -> Simulations:
    """Return the simulations of all runs; one that failed is left out if its conversation completed in another."""
    most = Counter[str]()
    for run in runs:
        most |= Counter(simulation.test_case_id for simulation in run if not simulation.failed)
    pool: list[PlannedSimulation] = []
    for run in runs:
        spare = most - Counter(simulation.test_case_id for simulation in run if not simulation.failed)
        for simulation in run:
            if simulation.failed and spare[simulation.test_case_id]:
                spare[simulation.test_case_id] -= 1
            else:
                pool.append(simulation)
    return tuple(pool)


def _meets_sampled(simulations: Simulations, gate: str) -> bool:
    """Return whether the rates and averages of a gate of REPEATED_GATES hold."""
    completed = [simulation.values for simulation in simulations if not simulation.failed]
    if gate not in ("rate", "kept", "mixed"):
        return True
    if not completed or [values[catalogue.RESOLVED.id] for values in completed].count("YES") / len(simulations) < 0.9:
        return False
    return gate != "mixed" or fmean(float(str(values[catalogue.LATENCY.id])) for values in completed) < 1.4


def _meets_counted(simulations: Simulations, gate: str) -> bool:
    """Return whether the counts of a gate of REPEATED_GATES hold."""
    compliance = [simulation.values.get(catalogue.COMPLIANCE.id) for simulation in simulations]
    return {"kept": compliance.count("YES") >= 9, "mixed": "NO" not in compliance}.get(gate, True)
