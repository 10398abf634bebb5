"""What a leg was compared with, as reports show it: the checks of each reference, the test cases that flipped."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.judge.problems import NoBaseline
from coval_gate.model.results import BASE
from coval_gate.report.simulations import case_names
from coval_gate.report.wording.checks import check_text
from coval_gate.report.wording.comparisons import comparison_of, reference_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coval_gate.config.thresholds import Reference
    from coval_gate.judge.checks import Check
    from coval_gate.judge.judgement import Judgement
    from coval_gate.judge.measure import Comparison
    from coval_gate.model.results import Metric, RunResult
    from coval_gate.model.run import Run
    from coval_gate.report.model import LegReport, Report

USUAL_ID: Final = re.compile(r"[\w-]{1,64}", re.ASCII)
REFERENCES: Final[tuple[Reference, ...]] = ("baseline", "base")


class Flips(NamedTuple):
    """The test cases, in words, that a check passed before and fails now, and the reverse."""

    check: Check
    failing: tuple[str, ...]
    passing: tuple[str, ...]

    def __str__(self) -> str:
        return check_text(self.check)


def absolute(judgement: Judgement) -> Judgement:
    """Return the judgement with only the checks that compare with nothing."""
    return _only(judgement, "")


def compared(judgement: Judgement) -> list[tuple[Reference, Judgement]]:
    """Return the judgement with only the checks of a reference, for each reference that has some."""
    parts = ((reference, _only(judgement, reference)) for reference in REFERENCES)
    return [(reference, part) for reference, part in parts if part.checks]


def comparisons(judgement: Judgement) -> list[Comparison]:
    """Return what the checks found where they could compare."""
    return [found for check in judgement.checks if (found := comparison_of(check))]


def lacks_baseline(check: Check) -> bool:
    """Tell whether a check does not pass because there is no baseline."""
    return isinstance(check.problem, NoBaseline)


def flips(judgement: Judgement, labels: Mapping[str, str]) -> list[Flips]:
    """Return the checks that have test cases which flipped, with these cases."""
    name = case_names(labels)
    return [
        Flips(check, tuple(map(name, found.newly_failing)), tuple(map(name, found.newly_passing)))
        for check in judgement.checks
        if (found := comparison_of(check)) and (found.newly_failing or found.newly_passing)
    ]


def flipped_cases(judgement: Judgement) -> tuple[int, int]:
    """Return how many test cases fail by some check that they passed before, and how many the reverse."""
    found = comparisons(judgement)
    failing = {case for each in found for case in each.newly_failing}
    passing = {case for each in found for case in each.newly_passing}
    return len(failing), len(passing)


def compared_run_id(judgement: Judgement) -> str:
    """Return the id of the newest run that was compared with; empty where none was."""
    if not judgement.baseline or not comparisons(_only(judgement, "baseline")):
        return ""
    return next((each.run.run_id for each in judgement.baseline.runs if not each.changed_persona), "")


def paired_numbers(leg: LegReport, metric: Metric) -> tuple[list[float], list[float]]:
    """Return a metric's numbers now and in the baseline, of the agent itself and over the test cases of both."""
    baseline = leg.judgement.baseline
    if baseline is None or leg.result is None:
        return [], []
    now = _numbers(leg.result, metric)
    earlier: list[tuple[str, float]] = []
    for run in baseline.runs:
        same = run.result.find_metrics(metric.id) or run.result.find_metrics(metric.name)
        if len(same) == 1 and not run.changed_persona and metric.id not in run.changed_metrics:
            earlier += [each for each in _numbers(run.result, same[0]) if each[0] not in run.changed_cases]
    shared = {case for case, _ in now} & {case for case, _ in earlier}
    return [value for case, value in now if case in shared], [value for case, value in earlier if case in shared]


def _numbers(result: RunResult, metric: Metric) -> list[tuple[str, float]]:
    """Return the numbers of the agent itself, each with its test case."""
    values = ((each, metric.values.get(each.id)) for each in result.simulations if each.mutation == BASE)
    return [(each.test_case_id, value) for each, value in values if isinstance(value, float)]


def run_page(report: Report, run: Run) -> str:
    """Return the page of a run in Coval's dashboard; empty where that is not known, or the id is no usual one."""
    usual = USUAL_ID.fullmatch(run.run_id)
    return f"{report.inputs.dashboard_url}/runs/{run.run_id}" if report.inputs and usual else ""


def _only(judgement: Judgement, reference: Reference) -> Judgement:
    checks: Sequence[Check] = [check for check in judgement.checks if reference_of(check) == reference]
    return replace(judgement, checks=tuple(checks))
