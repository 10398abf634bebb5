"""Each simulation of a run as people and tools look at it: which conversation it was, and what became of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coval_gate.judge.verdict import Verdict
from coval_gate.report.links import simulation_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from coval_gate.judge.verdict import Check, Judgement
    from coval_gate.model.results import RunResult, Simulation
    from coval_gate.report.model import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One simulation.

    `verdict`: `error` where it did not complete, and that counts; `failed` where it is to blame for a criterion that
    was missed; `skipped` where it did not do well either, but the gate allows for that; `passed` otherwise.
    `misses` are those criteria, `texts` what the metrics' judges say, by metric id. `iteration` counts the simulations
    of one test case from 1; `of` is how many there are.
    """

    simulation: Simulation
    name: str
    verdict: Verdict
    misses: tuple[Check, ...] = ()
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


def cases(report: Report) -> tuple[Case, ...]:
    """Every simulation: those to look at first, the one that most criteria name at the head, then the others."""
    if report.result is None:
        return ()
    rank = {each: place for place, each in enumerate(report.judgement.offenders)}
    order = {Verdict.SKIPPED: len(rank) + 1, Verdict.PASSED: len(rank) + 2}
    found = _cases(report, report.result)
    return tuple(sorted(found, key=lambda case: order.get(case.verdict, rank.get(case.simulation.id, len(rank)))))


def _cases(report: Report, result: RunResult) -> Iterator[Case]:
    judgement, background = report.judgement, report.background
    blame = _blame(judgement)
    offenders = set(judgement.offenders)
    unpassed = set(judgement.population.unpassed if judgement.population else ())
    shared = _shared(background.labels)
    iterations = Counter((each.mutation, each.test_case_id) for each in result.simulations)
    seen: Counter[tuple[str, str]] = Counter()
    for each in result.simulations:
        key = (each.mutation, each.test_case_id)
        seen[key] += 1
        misses = tuple(blame.get(each.id, ()))
        yield Case(
            simulation=each,
            name=_name(each, background.labels.get(each.test_case_id, ""), shared),
            verdict=_verdict(each, misses, blamed=each.id in offenders, unpassed=each.id in unpassed),
            misses=misses,
            texts=background.texts.get(each.id, {}),
            url=simulation_url(report, each.id),
            iteration=seen[key] if each.test_case_id else 1,
            of=iterations[key] if each.test_case_id else 1,
        )


def _shared(labels: Mapping[str, str]) -> set[str]:
    """The labels that several test cases have."""
    return {label for label, count in Counter(labels.values()).items() if count > 1}


def _name(simulation: Simulation, label: str, shared: set[str]) -> str:
    if label in shared:
        return f"{label} [{simulation.test_case_id}]"
    return label or simulation.test_case_id or simulation.id


def _blame(judgement: Judgement) -> dict[str, list[Check]]:
    """The criteria that were missed and that somebody asked for, by the simulations that are to blame."""
    blame: dict[str, list[Check]] = defaultdict(list)
    for check in judgement.checks:
        if check.optional and check.verdict is not Verdict.PASSED:
            for each in check.offenders:
                blame[each].append(check)
    return blame


def _verdict(simulation: Simulation, misses: tuple[Check, ...], *, blamed: bool, unpassed: bool) -> Verdict:
    if not simulation.completed:
        return Verdict.ERROR if blamed else Verdict.SKIPPED
    if misses:
        return Verdict.FAILED if any(check.verdict is Verdict.FAILED for check in misses) else Verdict.ERROR
    return Verdict.SKIPPED if unpassed else Verdict.PASSED
