"""A run of an earlier attempt is guarded as soon as the step has taken it over."""

from __future__ import annotations

import pytest

from campaign.schedule import Schedule, Signal, Step
from campaign.simulate import simulate

INPUTS = (
    ("resume", "true"),
    ("supersede", "true"),
    ("max_wait_time", "600"),
    ("cancel_on_interrupt", "true"),
    ("cancel_on_timeout", "false"),
)


@pytest.mark.parametrize("kill", [False, True])
def test_interrupt_while_older_runs_are_looked_for_cancels_resumed_run(kill: bool) -> None:
    first = Step(mode="launch", inputs=INPUTS)
    while_looking = Signal(kill=kill, method="GET", path="/runs", request=2)
    second = Step(mode="run", inputs=INPUTS, attempt=2, signal=while_looking)
    history = simulate(
        Schedule(
            seed=0,
            severity="rough",
            workflow="rerun",
            test_set="slow0001",
            gate="default",
            steps=(first, second),
            latency=0.1,
        )
    )
    assert [record.status(history.coval_time(history.ended)) for record in history.world.runs] == ["CANCELLED"]
