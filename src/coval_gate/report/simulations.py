"""Each simulation of a run as people and tools look at it: which conversation it was, and what became of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from coval_gate.judge.criteria import TargetMet, ThresholdHolds
from coval_gate.judge.severity import misses, severity
from coval_gate.judge.verdict import Verdict
from coval_gate.report.limits import MOST_MISSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from coval_gate.judge.checks import Check
    from coval_gate.judge.judgement import CaseStability
    from coval_gate.model.results import RunResult, Simulation, Value
    from coval_gate.report.model import LegReport, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A criterion that a simulation misses, with the simulation's own value of the criterion's metric, if any."""

    check: Check
    value: Value | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationRow:
    """One simulation.

    `verdict`: `error` where it did not complete, and that counts; `failed` where it is to blame for a missed
    criterion; `skipped` where it did not do well either, but the gate allows for that; `passed` otherwise.
    `misses` are the first of the criteria that it misses, and `more_misses` is the number of the others. `texts` is
    what the metrics' judges say, by metric id. `iteration` counts the simulations of one test case from 1; `of` is how
    many there are. `stability`: how often its test case failed, where the step has several runs and it failed in any;
    `failed_alone`: whether this simulation is one of those that failed.
    """

    simulation: Simulation
    name: str
    verdict: Verdict
    misses: tuple[Miss, ...] = ()
    more_misses: int = 0
    texts: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    iteration: int = 1
    of: int = 1
    stability: CaseStability | None = None
    failed_alone: bool = False

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
    """Return every simulation of every leg: within each, those to look at first, the worst at the head."""
    return tuple(row for leg in report.legs for row in leg_rows(report, leg))


def to_look_at(rows: Iterable[SimulationRow]) -> list[SimulationRow]:
    """Return the rows of the simulations that did not do well, whether that counts or is tolerated."""
    return [row for row in rows if row.verdict is not Verdict.PASSED]


def case_names(labels: Mapping[str, str]) -> Callable[[str], str]:
    """Return what names a test case by its id: in words where these are known, with the id where several share them."""
    shared = _shared(labels)

    def name(case: str) -> str:
        label = labels.get(case, "")
        return f"{label} [{case}]" if label in shared else label or case

    return name


def leg_rows(report: Report, leg: LegReport) -> tuple[SimulationRow, ...]:
    """Return every simulation of a leg: those that fail the gate, then tolerated ones, each with the worst first."""
    if leg.result is None:
        return ()
    dashboard_url = report.inputs.dashboard_url if report.inputs else ""
    if dashboard_url not in leg.rows:
        blame = _blame(leg)
        rows = _rows(leg, leg.result, blame, _simulation_pages(dashboard_url, leg))
        ordered = sorted(rows, key=lambda row: _order(row, blame.get(row.simulation.id, _NO_BLAME)))
        leg.rows[dashboard_url] = tuple(ordered)
    return leg.rows[dashboard_url]


def _order(row: SimulationRow, blame: _Blame) -> tuple[int, tuple[bool, float, int]]:
    """Return the key that rows are sorted by."""
    group = {Verdict.SKIPPED: 1, Verdict.PASSED: 2}.get(row.verdict, 0)
    return group, severity(completed=row.simulation.completed, distance=blame.distance, misses=blame.count)


def _rows(
    leg: LegReport, result: RunResult, blame: Mapping[str, _Blame], pages: Mapping[str, str]
) -> Iterator[SimulationRow]:
    judgement, details, repetition = leg.judgement, leg.details, leg.judgement.repetition
    cases = {(case.variant, case.test_case_id): case for case in repetition.cases} if repetition else {}
    failing = set(judgement.failing_simulations)
    unpassed = set(judgement.totals.unpassed if judgement.totals else ())
    name = case_names(details.labels)
    iterations = Counter((each.mutation, each.test_case_id) for each in result.simulations)
    seen: Counter[tuple[str, str]] = Counter()
    for each in result.simulations:
        key = (each.mutation, each.test_case_id)
        seen[key] += 1
        blamed = blame.get(each.id, _NO_BLAME)
        yield SimulationRow(
            simulation=each,
            name=name(each.test_case_id) or each.id,
            verdict=_verdict(each, blamed, counts=each.id in failing, unpassed=each.id in unpassed),
            misses=tuple(blamed.misses),
            more_misses=blamed.count - len(blamed.misses),
            texts=details.texts.get(each.id, {}),
            url=f"{page}{quote(each.id, safe='')}" if (page := pages.get(each.run_id or leg.run_id, "")) else "",
            iteration=seen[key] if each.test_case_id else 1,
            of=iterations[key] if each.test_case_id else 1,
            stability=cases.get(key),
            failed_alone=repetition is not None and each.id in repetition.failing,
        )


def _simulation_pages(dashboard_url: str, leg: LegReport) -> dict[str, str]:
    """Return where the pages of each run's simulations are, with a slash at the end; nothing where that is not known.

    Such pages are only known below an organization's own address, which `dashboard_url` may have.
    """
    if not urlsplit(dashboard_url).path:
        return {}
    urls = {leg.run_id: leg.run_url} | {run.run_id: run.run_url for run in leg.runs}
    return {run_id: f"{url}/results/" for run_id, url in urls.items() if url}


def case_title(test_case_id: str, labels: Mapping[str, str]) -> str:
    """Return a test case in words, or else its id, which also tells apart those that share their words."""
    return case_names(labels)(test_case_id)


def _shared(labels: Mapping[str, str]) -> set[str]:
    """Return the labels that several test cases have."""
    return {label for label, count in Counter(labels.values()).items() if count > 1}


@dataclass(slots=True)
class _Blame:
    """The criteria that a simulation misses: the first of them, how many there are, and the sum of the distances.

    `verdict` is that of the criteria that decide; None where there is none of these.
    """

    misses: list[Miss] = field(default_factory=list)
    count: int = 0
    distance: float = 0.0
    verdict: Verdict | None = None

    def decide(self, verdict: Verdict) -> None:
        """Take the verdict of a criterion that decides."""
        if self.verdict is not Verdict.FAILED:
            self.verdict = verdict

    def add(self, check: Check, values: Mapping[str, Value], simulation: str, distance: float) -> None:
        """Add a criterion that the simulation misses."""
        self.count += 1
        self.distance += distance
        if self.count <= MOST_MISSES:
            self.misses.append(Miss(check=check, value=values.get(simulation)))


_NO_BLAME: Final = _Blame()


def _blame(leg: LegReport) -> dict[str, _Blame]:
    """Return what each simulation misses: the user's criteria, and targets, even those that only inform.

    Where a simulation misses targets, these say why it does not count towards `pass_rate`, in place of that criterion.
    """
    values = {(variant.name, sample.metric.id): sample.values for variant in leg.variants for sample in variant.samples}
    completed = {variant.name: [each.id for each in variant.completed] for variant in leg.variants}
    checks = [
        _with_missing_values(check, values.get((check.variant, check.metric), {}), completed.get(check.variant, ()))
        for check in leg.judgement.checks
        if isinstance(check.criterion, TargetMet) or (check.user_defined and check.decides and not check.passed)
    ]
    off_target = {each for check in checks if isinstance(check.criterion, TargetMet) for each in check.simulations}
    blame: dict[str, _Blame] = defaultdict(_Blame)
    for check in checks:
        known = values.get((check.variant, check.metric), {})
        told = off_target if _is_pass_rate(check) else frozenset()
        decides = not check.passed and check.problem is None
        needs_value = isinstance(check.criterion, TargetMet)
        for each, distance in misses(check, known):
            blamed = blame[each]
            if decides and (each in known or not needs_value):
                blamed.decide(check.verdict)
            if each not in told:
                blamed.add(check, known, each, distance)
    return blame


def _with_missing_values(check: Check, values: Mapping[str, Value], completed: Sequence[str]) -> Check:
    """Return a check of a target with the simulations added that miss it because they have no value."""
    if not isinstance(check.criterion, TargetMet):
        return check
    lacking = tuple(each for each in completed if check.problem or each not in values)
    return replace(check, simulations=check.simulations + lacking) if lacking else check


def _is_pass_rate(check: Check) -> bool:
    return isinstance(check.criterion, ThresholdHolds) and check.criterion.threshold.aggregate.name == "pass_rate"


def _verdict(simulation: Simulation, blame: _Blame, *, counts: bool, unpassed: bool) -> Verdict:
    if not simulation.completed:
        return Verdict.ERROR if counts else Verdict.SKIPPED
    return blame.verdict or (Verdict.SKIPPED if unpassed else Verdict.PASSED)
