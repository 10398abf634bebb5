"""The step's outputs: the one place where an output's name and description live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from coval_gate.report.model import Report

OUTPUTS: Final = {
    "run_id": "The run's id in Coval, set as soon as the run is launched.",
    "run_url": "The run's page in Coval, set as soon as the run is launched.",
    "status": "What became of the run: `COMPLETED`, `COMPLETED_WITH_FAILURES` (completed, but the gate failed), "
    "`FAILED`, `CANCELLED`, `DELETED`, `TIMEOUT`, `ERROR`, `LAUNCHED` or `SKIPPED`.",
    "verdict": "What the step says of it: `passed`, `failed`, `error`, `timed_out`, `cancelled` or `skipped`; "
    "empty with `mode: launch`.",
    "passed": "`true` if the verdict is `passed`, otherwise `false`.",
    "reason": "The verdict's reason in one sentence.",
    "total_simulations": "How many simulations the run had.",
    "completed_simulations": "How many of them completed.",
    "duration_seconds": "How long the step took, in whole seconds.",
}


def outputs(report: Report) -> dict[str, str]:
    """Every output; empty where the step does not know."""
    judgement = report.judgement
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
        "duration_seconds": str(round(report.seconds)),
    }


def _counts(report: Report) -> tuple[str, str]:
    if report.run is None or report.run.simulations == 0:
        return "", ""
    completed = report.run.progress.completed if report.run.progress else ""
    return str(report.run.simulations), str(completed)
