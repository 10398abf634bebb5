"""Each simulation of a run as people and tools look at it: which conversation it was, and what became of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from coval_gate.judge.verdict import Verdict
from coval_gate.report.limits import MOST_MISSES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from coval_gate.judge.checks import Check
    from coval_gate.judge.judgement import Judgement
    from coval_gate.model.results import RunResult, Simulation
    from coval_gate.report.model import LegReport, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationRow:
    """One simulation.

    `verdict`: `error` where it did not complete, and that counts; `failed` where it is to blame for a missed
    criterion; `skipped` where it did not do well either, but the gate allows for that; `passed` otherwise.
    `misses` are the first of those criteria, and `more_misses` is the number of the others. `texts` is what the
    metrics' judges say, by metric id. `iteration` counts the simulations of one test case from 1; `of` is how many
    there are.
    """

    simulation: Simulation
    name: str
    verdict: Verdict
    misses: tuple[Check, ...] = ()
    more_misses: int = 0
    texts: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    iteration: int = 1
    of: int = 1

    @property
    def title(self) -> str:
        """The test case's name, with the iteration where there are several."""
        return f"{self.name} ({self.iteration} of {self.of})" if self.of > 1 else self.name

    @property
    def trouble(self) -> str:
        """Why the simulation did not complete, in words; empty where it did."""
        if self.simulation.completed:
            return ""
        return self.simulation.error or f"did not complete: {self.simulation.status}"


def simulation_rows(report: Report) -> tuple[SimulationRow, ...]:
    """Return every simulation of every leg: within each, those to look at first."""
    return tuple(row for leg in report.legs for row in leg_rows(report, leg))


def leg_rows(report: Report, leg: LegReport) -> tuple[SimulationRow, ...]:
    """Return every simulation of a leg: those to look at first, the one that most criteria blame at the head."""
    if leg.result is None:
        return ()
    rank = {each: place for place, each in enumerate(leg.judgement.failing_simulations)}
    order = {Verdict.SKIPPED: len(rank) + 1, Verdict.PASSED: len(rank) + 2}
    found = _rows(leg, leg.result, _simulation_pages(report, leg))
    return tuple(sorted(found, key=lambda row: order.get(row.verdict, rank.get(row.simulation.id, len(rank)))))


def _rows(leg: LegReport, result: RunResult, pages: str) -> Iterator[SimulationRow]:
    judgement, details = leg.judgement, leg.details
    blame = _blame(judgement)
    failing = set(judgement.failing_simulations)
    unpassed = set(judgement.totals.unpassed if judgement.totals else ())
    shared = _shared(details.labels)
    iterations = Counter((each.mutation, each.test_case_id) for each in result.simulations)
    seen: Counter[tuple[str, str]] = Counter()
    for each in result.simulations:
        key = (each.mutation, each.test_case_id)
        seen[key] += 1
        blamed = blame.get(each.id) or _Blame()
        yield SimulationRow(
            simulation=each,
            name=_name(each, details.labels.get(each.test_case_id, ""), shared),
            verdict=_verdict(each, blamed, counts=each.id in failing, unpassed=each.id in unpassed),
            misses=tuple(blamed.checks),
            more_misses=blamed.count - len(blamed.checks),
            texts=details.texts.get(each.id, {}),
            url=f"{pages}{quote(each.id, safe='')}" if pages else "",
            iteration=seen[key] if each.test_case_id else 1,
            of=iterations[key] if each.test_case_id else 1,
        )


def _simulation_pages(report: Report, leg: LegReport) -> str:
    """Return where the pages of the leg's simulations are, with a slash at the end; empty where that is not known.

    Such pages are only known below an organization's own address, which `dashboard_url` may have.
    """
    if not (report.inputs and leg.run_url and urlsplit(report.inputs.dashboard_url).path):
        return ""
    return f"{leg.run_url}/results/"


def _shared(labels: Mapping[str, str]) -> set[str]:
    """Return the labels that several test cases have."""
    return {label for label, count in Counter(labels.values()).items() if count > 1}


def _name(simulation: Simulation, label: str, shared: set[str]) -> str:
    if label in shared:
        return f"{label} [{simulation.test_case_id}]"
    return label or simulation.test_case_id or simulation.id


@dataclass(slots=True)
class _Blame:
    """The missed criteria that a simulation is to blame for: the first of them, and how many there are."""

    checks: list[Check] = field(default_factory=list)
    count: int = 0
    failed: bool = False

    def add(self, check: Check) -> None:
        self.count += 1
        self.failed = self.failed or check.verdict is Verdict.FAILED
        if len(self.checks) < MOST_MISSES:
            self.checks.append(check)


def _blame(judgement: Judgement) -> dict[str, _Blame]:
    """Return the missed criteria of the user's, by the simulations that are to blame."""
    blame: dict[str, _Blame] = defaultdict(_Blame)
    for check in judgement.checks:
        if check.user_defined and not check.passed:
            for each in check.simulations:
                blame[each].add(check)
    return blame


def _verdict(simulation: Simulation, blame: _Blame, *, counts: bool, unpassed: bool) -> Verdict:
    if not simulation.completed:
        return Verdict.ERROR if counts else Verdict.SKIPPED
    if blame.count:
        return Verdict.FAILED if blame.failed else Verdict.ERROR
    return Verdict.SKIPPED if unpassed else Verdict.PASSED
