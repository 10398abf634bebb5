"""The largest and the smallest numbers that the gate reads are judged and reported like all others."""

from __future__ import annotations

import pytest

from baselines import Cases, baseline_of, report_on, run_of
from coval_gate.coval.model import LARGEST, SMALLEST
from rendering import FACES, composed

THRESHOLDS = """\
Resolved: avg < 1
Resolved: p(95) < 1
Resolved: max < 1
Resolved: stdev < 1
Resolved: med > baseline
Resolved: avg <= baseline * 1.1
Resolved: p(90) <= baseline + 1"""
NUMBERS = (
    [LARGEST] * 4,
    [LARGEST, -LARGEST] * 2,
    [-LARGEST] * 4,
    [SMALLEST] * 4,
    [SMALLEST, 0.0, -SMALLEST, 0.0],
    [SMALLEST, 2 * SMALLEST, 3 * SMALLEST, 4 * SMALLEST],
    [LARGEST, SMALLEST, 0.0, 1.0],
    [LARGEST, LARGEST / 2, 1.0, LARGEST / 3],
)


def cases(values: list[float]) -> Cases:
    return {f"case{place}": [value] for place, value in enumerate(values)}


@pytest.mark.parametrize("now", NUMBERS)
@pytest.mark.parametrize("confidence", [None, pytest.param(0.95, marks=pytest.mark.long)])
def test_extreme_numbers_are_in_every_report(now: list[float], confidence: float | None) -> None:
    for then in NUMBERS:
        baseline = baseline_of(run_of("then", cases(then)))
        report = report_on(run_of("now", cases(now)), baseline, THRESHOLDS, confidence=confidence)
        for render in FACES.values():
            assert render(composed(report))
