"""Baselines: the earlier runs that thresholds may refer to, or why there are none. Frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from coval_gate.model.baseline_source import BaselineSource
    from coval_gate.model.results import RunResult
    from coval_gate.model.run import Run

Unchecked = Literal["test_cases", "persona", "metrics"]
NotFoundKind = Literal[
    "none", "too_old", "failed", "not_completed", "not_over", "gone", "pull_request", "itself", "unreadable"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRun:
    """An earlier run that completed, and how it differs from the judged run.

    `changed_cases`: ids of test cases whose contents have changed since. `changed_metrics`: ids of metrics that another
    version of the judge evaluated. `changed_persona`: it had another persona, or another version of it.
    `changed_options`: names of launch inputs that differ and may matter, such as config_overrides. `unchecked`: what
    Coval does not report. `failed`: the gate failed it, so it is a baseline only if an input names it.
    """

    run: Run
    result: RunResult
    changed_cases: frozenset[str] = frozenset()
    changed_metrics: frozenset[str] = frozenset()
    changed_persona: bool = False
    changed_options: tuple[str, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFoundReason:
    """Why there is no baseline.

    none: no run fits. too_old: `run_id` fits, but it is `age` seconds old. failed: the gate failed all runs that fit;
    the newest is `run_id`. not_completed: the run that the input names ended with `status`. not_over: it had not ended
    when the step's time was over. gone: Coval no longer has `run_id`. pull_request: only runs of pull requests fit.
    itself: the input names the judged run. unreadable: Coval did not answer, for the reason in `text`.
    """

    kind: NotFoundKind
    run_id: str = ""
    age: float = 0.0
    status: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The `runs` of a source, the newest first, or the reason why there are none.

    `fewer_than_asked`: by how many runs the source falls short of the number that it names.
    """

    source: BaselineSource
    runs: tuple[BaselineRun, ...] = ()
    missing: NotFoundReason | None = None
    fewer_than_asked: int = 0
