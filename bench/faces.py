"""Measures how long each format takes for a large run whose simulations all miss every threshold."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from bench.figures import Figure, table
from coval_gate.coval.model import Metric, RunResult, Simulation
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.findings import findings_of
from coval_gate.gate.judge import judge
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.compose import document_of
from coval_gate.report.formats import ALWAYS, FILES, rendered
from coval_gate.report.formats.pages import PAGES
from coval_gate.report.model import LegReport, Report

SIMULATIONS: Final = 20_000
METRICS, THRESHOLDS = 8, 50
MOST_SECONDS: Final = 5.0
WHAT: Final = f"report of {SIMULATIONS:,} simulations that miss {THRESHOLDS} thresholds"


def measure() -> list[Figure]:
    """Return the CPU time in seconds of the shared part of all formats, and of each format without it."""
    report = large_report()
    document = document_of(report)
    (leg,) = report.legs
    shared = [
        _figure("the findings, which the step makes first", partial(findings_of, leg.judgement, leg.result)),
        _figure("the document, which all formats share", partial(document_of, report)),
    ]
    names = [*(name for name in ALWAYS if name != "pages"), *(file.name for file in FILES)]
    faces = {name: partial(rendered, name, document) for name in names}
    faces |= {name: partial(rendered, "pages", document, name) for name in PAGES}
    return [*shared, *(_figure(name, render) for name, render in faces.items())]


def large_report() -> Report:
    """Return the report of a run whose simulations all miss every threshold."""
    members = tuple(
        Simulation(id=f"benchSim{number:014}", status="COMPLETED", test_case_id=f"benchCase{number:013}")
        for number in range(SIMULATIONS)
    )
    metrics = tuple(
        Metric(
            id=f"benchMetric{number:011}",
            name=f"Seconds {number}",
            values={simulation.id: 2.0 + place / 7 for place, simulation in enumerate(members)},
        )
        for number in range(METRICS)
    )
    lines = "\n".join(f"Seconds {number % METRICS}: max < 1.{number:03}" for number in range(THRESHOLDS))
    result = RunResult(run_id="benchRun", simulations=members, metrics=metrics)
    judgement = judge(result, Criteria(max_failed=Allowance(0), thresholds=parse_thresholds(lines)))
    return Report(
        judgement=judgement,
        legs=(LegReport(judgement=judgement, result=result, findings=findings_of(judgement, result)),),
    )


def _figure(name: str, work: Callable[[], object]) -> Figure:
    began = time.process_time()
    work()
    took = time.process_time() - began
    return Figure(f"{WHAT}: {name}, CPU", took, "s", "", None, MOST_SECONDS, took <= MOST_SECONDS)


if __name__ == "__main__":
    print(table(measure()))
