"""The properties of the JUnit report: where the step ran, how often test cases failed, the numbers of its criteria.

One suite has them all, and no two have the same name: some readers put the properties of all suites together. The
schema knows no properties of cases.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from coval_gate.report.limits import LONGEST_MENTION, MOST_CRITERIA
from coval_gate.report.provenance import all_provenance, of_leg
from coval_gate.report.simulations import case_title
from coval_gate.report.wording.checks import check_text
from coval_gate.report.wording.repetition import stability_text
from coval_gate.text import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.judge.checks import Check
    from coval_gate.judge.measure import Measure
    from coval_gate.report.model import LegReport, Report

Property = tuple[str, str]


def properties(report: Report) -> Iterator[Property]:
    """Yield the names and values of all properties, whose names may repeat."""
    yield from ((of_leg(leg, name), value) for leg, name, value in all_provenance(report))
    for leg in report.legs:
        yield from ((of_leg(leg, name), value) for name, value in _facts(leg))
    yield from _numbers(report)


def shown_checks(report: Report) -> list[tuple[str, Check]]:
    """Return the checks that have a case, the gravest of too many, with the name of the case."""
    return [
        (of_leg(leg, check_text(check)), check)
        for leg in report.legs
        for check in leg.judgement.first_checks(MOST_CRITERIA)
    ]


def _facts(leg: LegReport) -> Iterator[Property]:
    """Yield the page of a leg's run and, of several runs, their ids and how often test cases failed."""
    if leg.run_url:
        yield "url", leg.run_url
    if not (repetition := leg.judgement.repetition):
        return
    yield "runs", " ".join(run.run_id for run in leg.runs)
    if repetition.replaced:
        yield "replaced simulations", " ".join(sorted(repetition.replaced))
    for case in repetition.cases[:MOST_CRITERIA]:
        title = shortened(case_title(case.test_case_id, leg.details.labels), LONGEST_MENTION)
        yield f"stability of {title}{f' [{case.variant}]' if case.variant else ''}", stability_text(case)


def _numbers(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the numbers of each criterion that was measured."""
    for place, (whole, check) in enumerate(shown_checks(report), start=1):
        # Up to nine properties repeat it.
        name = whole if len(whole) <= LONGEST_MENTION else f"{shortened(whole, LONGEST_MENTION)} ({place})"
        if measure := check.measure:
            yield f"{name}: actual", _shown(measure.value)
            if requirement := check.requirement:
                yield f"{name}: required", f"{requirement.operator} {_shown(requirement.bound)}"
                yield f"{name}: margin", _shown(check.margin or 0.0)
            yield from ((f"{name}: {key}", value) for key, value in _comparison_numbers(measure))
            if interval := measure.interval:
                yield f"{name}: lower", _shown(interval.lower) if math.isfinite(interval.lower) else ""
                yield f"{name}: upper", _shown(interval.upper) if math.isfinite(interval.upper) else ""
                yield f"{name}: confidence", _shown(interval.confidence)
            yield f"{name}: unit", measure.unit
            yield f"{name}: count", str(measure.count)
            yield f"{name}: missing", str(measure.missing)


def _comparison_numbers(measure: Measure) -> Iterator[tuple[str, str]]:
    """Yield the numbers of a comparison with a baseline."""
    if (found := measure.comparison) is None:
        return
    yield "baseline", _shown(found.value)
    yield "change", _shown(measure.value - found.value)
    if found.change:
        yield "change, lower", _shown(found.change.lower) if math.isfinite(found.change.lower) else ""
        yield "change, upper", _shown(found.change.upper) if math.isfinite(found.change.upper) else ""
        yield "change, confidence", _shown(found.change.confidence)
    yield "trend", found.trend
    yield "shared test cases", str(found.cases)


def _shown(value: float) -> str:
    return f"{value:.10g}"
