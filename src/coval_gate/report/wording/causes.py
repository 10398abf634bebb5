"""The causes of simulations that did not do well in English: a word for each, and how many test cases have each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from coval_gate.base.text import one_line
from coval_gate.gate.cause import SHOWN_FIRST, Cause

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coval_gate.gate.findings import SimulationFinding
    from coval_gate.gate.judgement import CaseStability
    from coval_gate.report.model import LegReport

FLAKY, CONSISTENT = "flaky", "consistent"
NAME: Final = 60  # characters of a branch
IN_BASELINE: Final = "in the baseline"
WITH_BASE: Final = {"base": "with the agent itself", "base_agent": "with the base agent"}


def where_text(leg: LegReport) -> str:
    """Return where an old failure also occurs: "on main", "with the base agent", "in the baseline"."""
    baseline = leg.judgement.baseline
    if leg.findings.reference == "baseline" and baseline and baseline.source.kind == "branch":
        return f"on {one_line(baseline.source.name, NAME)}"
    return WITH_BASE.get(leg.findings.reference, IN_BASELINE)


def counts_text(rows: Iterable[tuple[SimulationFinding, LegReport]]) -> str:
    """Return "2 new · 1 flaky"; empty if no cause is known. A test case counts once, for its first cause as shown."""
    causes: dict[tuple[int, str, str], list[Cause | None]] = {}
    legs: dict[int, LegReport] = {}
    for row, leg in rows:
        simulation = row.simulation
        if row.cause:
            key = (id(leg), simulation.mutation, simulation.test_case_id or simulation.id)
            causes.setdefault(key, []).append(row.cause)
            legs[id(leg)] = leg
    counts = Counter(min(of_case, key=SHOWN_FIRST.index) for of_case in causes.values())
    wheres = {where_text(leg) for leg in legs.values() if leg.findings.reference}
    where = wheres.pop() if len(wheres) == 1 else IN_BASELINE
    return " · ".join(cause_count(cause, counts[cause], where) for cause in SHOWN_FIRST if cause and counts[cause])


def cause_count(cause: Cause, count: int, where: str) -> str:
    if cause is Cause.OLD:
        return f"{count:,} also {'fails' if count == 1 else 'fail'} {where}"
    return f"{count:,} {cause.value}"


def cause_title(cause: Cause | None, leg: LegReport) -> str:
    """Return the title of a group of simulations: "New", "Also fail on main"; "Cause unknown" without a cause."""
    if cause is Cause.OLD:
        return f"Also fail {where_text(leg)}"
    return cause.value.capitalize() if cause else "Cause unknown"


def in_figures(cases: Sequence[CaseStability]) -> str:
    """Return how many test cases are consistent and how many flaky: "1 consistent, 2 flaky"."""
    flaky = sum(case.is_flaky for case in cases)
    counts = {CONSISTENT: len(cases) - flaky, FLAKY: flaky}
    return ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)


def stability_text(case: CaseStability) -> str:
    """Return the stability with its figures: "flaky, failed 2 of 3"."""
    return f"{FLAKY if case.is_flaky else CONSISTENT}, failed {case.failed:,} of {case.total:,}"
