"""Real processes of `coval-gate attach` against the sandbox's relay: faults, signals, kills, and a second command."""

from __future__ import annotations

import pytest

from campaign.attach_schedules import plan_of, violations

FIRST = (1, 10)  # the command is killed; and beside that, a second one begins
SEEDS = [*FIRST, *(seed for seed in range(20) if seed not in FIRST)]

pytestmark = pytest.mark.untraced  # the processes are others


@pytest.mark.parametrize("seed", SEEDS)
def test_each_simulation_is_answered_once_and_the_tag_is_true(seed: int) -> None:
    assert violations(plan_of(seed)) == []
