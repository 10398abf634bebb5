"""Baselines: what was found of the earlier runs that thresholds may refer to. Frozen."""

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
    """An earlier run that completed, and what distinguishes it from the run that is compared with it.

    `changed_cases`: the ids of the test cases whose contents have changed since. `changed_metrics`: the ids of the
    metrics that another version of the judge evaluated. `changed_persona`: another persona, or another version of it.
    `changed_options`: the options of the launch, by the names of inputs, that differ and may matter, such as
    config_overrides. `unchecked`: what Coval does not tell. `failed`: the gate failed it; only an input that names it
    makes it a baseline.
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
    the newest is `run_id`. not_completed: the run that the input names is over, and has the `status`. not_over: it is
    still not over, but the step's time is. gone: Coval no longer has the run `run_id`. pull_request: only runs of pull
    requests fit. itself: the input names the run that is to be compared. unreadable: Coval did not tell, for the reason
    in `text`.
    """

    kind: NotFoundKind
    run_id: str = ""
    age: float = 0.0
    status: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What was found of a source: `runs`, the newest first, or else the reason why there is none.

    `fewer_than_asked`: how many of the runs that the source asks for there are not.
    """

    source: BaselineSource
    runs: tuple[BaselineRun, ...] = ()
    missing: NotFoundReason | None = None
    fewer_than_asked: int = 0
