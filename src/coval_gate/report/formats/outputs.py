"""The step's outputs: the one place where an output's name and description live."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from coval_gate.report.model import Report

OUTPUTS: Final = {
    "run_id": "The run's id in Coval, set as soon as the run is launched; with `mode: cancel` the first of `run_id`.",
    "run_url": "The run's page in Coval, set as soon as the run is launched.",
    "status": "What became of the run: `COMPLETED`, `COMPLETED_WITH_FAILURES` (completed, but the gate failed), "
    "`FAILED`, `CANCELLED`, `DELETED`, `TIMEOUT`, `ERROR`, `LAUNCHED` or `SKIPPED`.",
    "verdict": "What the step says of it: `passed`, `failed`, `error`, `timed_out`, `cancelled` or `skipped`; "
    "empty with `mode: launch` and `mode: cancel`.",
    "passed": "`true` if the verdict is `passed`, otherwise `false`.",
    "reason": "The verdict's reason in one sentence.",
    "total_simulations": "How many simulations the run had.",
    "completed_simulations": "How many of them completed.",
    "failed_simulations": "Ids of the simulations that did not complete or missed a metric's target, as a JSON list.",
    "pass_rate": "Share of the simulations that completed and, where targets count, met them all: between 0 and 1.",
    "metric_failures": "Ids of the simulations that have the value `fail_on_metric_value`, as a JSON list.",
    "metrics": "Aggregates of every metric, for the agent and for each mutation, as JSON.",
    "comment_url": "The comment on the pull request, where `comment` asked for one.",
    "junit_path": "The JUnit report, where `junit_path` asked for one: its path within the workspace.",
    "json_path": "The result as JSON, where `json_path` asked for it: its path within the workspace.",
    "duration_seconds": "How long the step took, in whole seconds.",
}
LIST_LIMIT: Final = 2000  # ids in a list


def outputs(report: Report) -> dict[str, str]:
    """Every output; empty where the step does not know."""
    judgement = report.judgement
    population = judgement.population
    total, completed = _counts(report)
    return {
        "run_id": report.run_id,
        "run_url": report.run_url,
        "status": judgement.status,
        "verdict": judgement.verdict or "",
        "passed": "true" if judgement.verdict == "passed" else "false",
        "reason": judgement.reason,
        "total_simulations": total,
        "completed_simulations": completed,
        "failed_simulations": _ids(population.unpassed) if population else "",
        "pass_rate": f"{population.pass_rate:.6g}" if population else "",
        "metric_failures": _ids(judgement.metric_failures),
        "metrics": _metrics(report),
        "comment_url": report.comment_url,
        "junit_path": report.junit_path,
        "json_path": report.json_path,
        "duration_seconds": str(round(report.seconds)),
    }


def _counts(report: Report) -> tuple[str, str]:
    population = report.judgement.population
    if population:
        return str(population.total), str(population.completed)
    progress = report.run.progress if report.run else None
    return (str(progress.total), str(progress.completed)) if progress else ("", "")


def _metrics(report: Report) -> str:
    if report.result is None:
        return ""
    # Statistics take long to import, and outputs are written before the launch as well.
    from coval_gate.report.aggregates import aggregates

    return aggregates(report.result)


def _ids(ids: tuple[str, ...]) -> str:
    return json.dumps(ids[:LIST_LIMIT])
