"""Of several legs, one has an empty test set: how long the step waits for the others does not depend on that."""

from __future__ import annotations

from campaign.of_verdicts import UNNAMED_SETTLED, certain_ends_come_soon
from campaign.schedule import Schedule, Step
from campaign.simulate import simulate
from coval_sandbox.quirks import Quirks

INPUTS = {
    "test_set_id": "empty001, passing1",
    "thresholds": "Interruptions: max <= 99",
    "max_wait_time": "3600",
    "cancel_on_interrupt": "true",
    "cancel_on_timeout": "false",
}


def test_run_whose_metrics_nobody_names_is_waited_for_beside_an_empty_one() -> None:
    """Coval shows neither how many simulations a run has nor which metrics, so the metric may still come."""
    schedule = Schedule(
        seed=0,
        severity="benign",
        workflow="run",
        test_set="empty001",
        gate="of no agent",
        steps=(Step(mode="run", inputs=tuple(INPUTS.items())),),
        quirks=Quirks(agent_metrics="hidden", output_ids="absent", metrics_lag=60.0, simulations_trickle=40.0),
        latency=0.02,
    )
    history = simulate(schedule)
    step = history.results[0]
    full = max(history.world.runs, key=lambda run: run.end_time)
    assert step.verdict == "error"
    assert 45 < step.ended - (full.end_time - history.coval_time(0.0)) - 60 < UNNAMED_SETTLED + 15
    assert not [*certain_ends_come_soon(history)]
