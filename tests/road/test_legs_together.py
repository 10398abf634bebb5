"""Several legs are also compared with their baselines at once: a fall of all of them that none shows alone."""

import json
from dataclasses import replace
from typing import Any

import pytest

from coval_gate.history.tags import FAILED_TAG
from coval_sandbox.scenarios import Scenario
from road.legs import verdicts_of
from road.nights import Nights, RunStep
from support import StepResult, VirtualClock

NAMES = [f"set{number:05}" for number in range(6)]
TOGETHER = "all legs together"
LEGS: dict[str, Any] = {
    "test_set_id": ", ".join(NAMES),
    "baseline": "branch:main",
    "thresholds": "Resolved: rate(YES) >= baseline - 5pp",
    "confidence": "95%",
    "max_failed_simulations": "50%",
}


class Legs(Nights):
    """Nights of six legs of ten test cases each."""

    def play(self, scenario: str | Scenario) -> None:
        """`a little worse`: in each leg, three of ten conversations fail."""
        super().play("passing" if scenario == "a little worse" else scenario)
        if scenario == "a little worse" and self.world.scenario:
            self.world.scenario = replace(self.world.scenario, failed_share=0.3)

    def worse(self, *faults: str, **given: str) -> StepResult:
        return self.night("a little worse", *faults, **LEGS | given)


@pytest.fixture
def legs(run_step: RunStep, clock: VirtualClock) -> Legs:
    """Return nights of which the first one was good."""
    legs = Legs(run_step, clock)
    first = legs.night("passing", **LEGS)
    assert (first.outputs["verdict"], TOGETHER in first.log) == ("inconclusive", False)
    return legs


def test_legs_that_all_get_a_little_worse_are_red_together(legs: Legs) -> None:
    red = legs.worse(json_path="reports/coval.json")
    assert verdicts_of(red) == dict.fromkeys(NAMES, "inconclusive")
    assert (red.outputs["verdict"], red.exit_code) == ("failed", 1)
    assert red.outputs["reason"].startswith(f"{TOGETHER}: rate(YES) of Resolved is ")
    missed = [one["leg"] for one in json.loads(red.outputs["failed_criteria"]) if one["verdict"] == "failed"]
    assert missed == [TOGETHER]
    _, _, end = red.log.partition(f"[{TOGETHER}]   ✗ Resolved: rate(YES) >= baseline - 5pp  ")
    assert "over 6 runs" in end.partition("\n")[0]
    assert not any(f"({name})]   " in end for name in NAMES)
    assert f"| ❌ Failed | {TOGETHER} | 1 of 1 missed<br>" in red.summary
    document = json.loads((red.workspace / "reports/coval.json").read_text(encoding="utf-8"))
    assert (document["decided_by"], document["together"]["verdict"]) == (TOGETHER, "failed")
    assert len(document["legs"]) == len(NAMES)


def test_runs_that_are_red_together_are_no_baseline(legs: Legs) -> None:
    good = {run.run_id for run in legs.world.runs}
    red = legs.worse()
    assert sorted(legs.tagged(FAILED_TAG)) == sorted(json.loads(red.outputs["run_ids"]))
    again = legs.night("passing", **LEGS)
    assert again.outputs["baseline_run_id"] in good


def test_legs_that_did_not_change_have_a_row_that_decides_nothing(legs: Legs) -> None:
    same = legs.night("passing", **LEGS)
    assert (same.outputs["verdict"], same.exit_code) == ("inconclusive", 0)
    assert same.outputs["reason"].startswith(f"Passing ({NAMES[0]}): ")
    assert f"| ✅ Passed | {TOGETHER} | 1 met<br>Their test cases together meet the criterion. |" in same.summary


def test_leg_in_error_is_left_out(legs: Legs) -> None:
    """The error decides; the others, which are worse together, are no baseline all the same."""
    red = legs.worse("POST /runs #2 -> 403")
    assert red.outputs["verdict"] == "error"
    assert "| ❌ Failed | 5 of 6 legs together |" in red.summary
    assert sorted(legs.tagged(FAILED_TAG)) == sorted(json.loads(red.outputs["run_ids"]))


def test_as_counted_nothing_is_compared_together(legs: Legs) -> None:
    counted = legs.worse(confidence="")
    assert TOGETHER not in counted.log + counted.summary
