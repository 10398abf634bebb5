"""What a run is compared with. Frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from coval_gate.base.records import NamedTuple

if TYPE_CHECKING:
    from coval_gate.coval.model import Run, RunResult
    from coval_gate.inputs.source import BaselineSource

Unchecked = Literal["test_cases", "persona", "metrics"]
NotFoundKind = Literal[
    "none",
    "too_old",
    "failed",
    "not_completed",
    "not_over",
    "gone",
    "pull_request",
    "itself",
    "unreadable",
    "unusable",
]


class BaselineRun(NamedTuple):
    """An earlier run that completed, and how it differs from the judged run.

    `changed_cases`: ids of test cases whose contents have changed since. `changed_metrics`: ids of metrics that another
    version of the judge evaluated. `changed_persona`: it or its version. `changed_options`: launch inputs that
    differ and may matter, such as config_overrides. `unchecked`: what Coval does not report. `failed`: the gate failed
    it, so it is a baseline only if an input names it.
    """

    run: Run
    result: RunResult
    changed_cases: frozenset[str] = frozenset()
    changed_metrics: frozenset[str] = frozenset()
    changed_persona: bool = False
    changed_options: tuple[str, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()
    failed: bool = False


class NotFoundReason(NamedTuple):
    """Why there is no baseline.

    none: no run fits. too_old: `run_id` fits, but it is `age` seconds old. failed: the gate failed all that fit; the
    newest is `run_id`. not_completed: the named run ended with `status`. not_over: it had not ended in the step's time.
    gone: Coval no longer has `run_id`. pull_request: only runs of pull requests fit. itself: the input names the judged
    run. unreadable: Coval did not answer, for the reason in `text`. unusable: the base's run completed, but its data do
    not do, as `text` says.
    """

    kind: NotFoundKind
    run_id: str = ""
    age: float = 0.0
    status: str = ""
    text: str = ""


class Baseline(NamedTuple):
    """The newest of the `runs` is first.

    `fewer_than_asked`: by how many the source falls short. `acceptable`: the id of the judged run, if a person may
    accept it in place of these runs.
    """

    source: BaselineSource
    runs: tuple[BaselineRun, ...] = ()
    missing: NotFoundReason | None = None
    fewer_than_asked: int = 0
    acceptable: str = ""


class Standing(NamedTuple):
    """The run `run_id` has the `tag` of the baseline now, as one of `runs` of `wanted` ones.

    `accepted`: a person accepted the run, as the only one with the tag, or, if that is empty, as the oldest of its
    branch that counts.
    """

    run_id: str
    tag: str = ""
    runs: int = 1
    wanted: int = 1
    accepted: bool = False
