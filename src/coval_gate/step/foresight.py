"""Warns before the launch of what a run cannot show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.gate.claims import undecidable_text
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.doubts import undecidable

if TYPE_CHECKING:
    from coval_gate.step.step import LegRun


def foresee(session: LegRun, cases: int) -> None:
    """Warn of thresholds that a run of so many test cases, in a step with so many legs, cannot decide."""
    for criterion in undecidable(Criteria.from_inputs(session.inputs, legs=len(session.step.legs)), cases):
        session.warn(undecidable_text(criterion, cases))
