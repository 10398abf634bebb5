"""What runs are compared with: baselines and how inputs name them, promoted runs. Frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from coval_gate.base.records import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.model.results import RunResult
    from coval_gate.model.run import Run

SourceKind = Literal["run", "tag", "branch", "base", "base_agent"]
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
Refusal = Literal[
    "not_passed", "repeated", "in_doubt", "too_old", "incomparable", "not_compared", "unjudged", "unconfirmed"
]
Obstacle = Literal[
    "",
    "pending",
    "newer",
    "no_room",
    "pull_request",
    "unknown_origin",
    "unlisted",
    "hidden_tags",
    "late",
    "interrupted",
    "failed",
    "not_first",
    "marked",
    Refusal,
]


class BaselineSource(NamedTuple):
    """What the `baseline` input names: a run by its id, or the newest `last` runs with a tag or of a branch.

    base: the agent itself in the same run, which needs no earlier run, so `name` is empty. base_agent: another agent,
    which the input `base_agent_id` names, in a run beside this one.
    """

    kind: SourceKind
    name: str = ""
    last: int = 1

    def __str__(self) -> str:
        """Return the source as the input spells it."""
        if self.kind == "base":
            return self.kind
        if self.kind == "base_agent":
            return f"base agent {self.name}"
        count = f" last {self.last}" if self.last > 1 else ""
        return f"{self.kind}:{self.name}{count}"


class BaselineRun(NamedTuple):
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


class NotFoundReason(NamedTuple):
    """Why there is no baseline.

    none: no run fits. too_old: `run_id` fits, but it is `age` seconds old. failed: the gate failed all runs that fit;
    the newest is `run_id`. not_completed: the run that the input names ended with `status`. not_over: it had not ended
    when the step's time was over. gone: Coval no longer has `run_id`. pull_request: only runs of pull requests fit.
    itself: the input names the judged run. unreadable: Coval did not answer, for the reason in `text`. unusable: the
    base's run completed, but its data do not do, as `text` says.
    """

    kind: NotFoundKind
    run_id: str = ""
    age: float = 0.0
    status: str = ""
    text: str = ""


class Baseline(NamedTuple):
    """The `runs` of a source, the newest first, or the reason why there are none.

    `fewer_than_asked`: by how many runs the source falls short of the number that it names.
    """

    source: BaselineSource
    runs: tuple[BaselineRun, ...] = ()
    missing: NotFoundReason | None = None
    fewer_than_asked: int = 0


class Promotion(NamedTuple):
    """The promotion of the run `run_id` to `tag`; without an `obstacle`, the run has the tag.

    `accepted`: a person accepted the run; without a tag, this is about its mark.

    `previous`: the runs that had the tag and lost it. `remaining`: older runs that still have it because they could not
    be changed, for the reason in `text`.

    Obstacles in the judgement: not_passed: the run did not pass. repeated: it failed at first, and passed only together
    with its repetitions. in_doubt: a threshold that does not compare with the baseline was neither met nor missed.
    too_old: the baseline is too old. incomparable: nothing in the baseline could be compared. not_compared: Coval did
    not report which run the baseline is, or that run cannot be one. unjudged: no criterion is about the agent's
    quality. unconfirmed: the run is better than its baseline, beyond the margin; another such run must confirm it.

    Other obstacles: pending: the run is promoted once all reports are written. newer: the newer run `other` has the
    tag. no_room: the run has as many tags as Coval allows. pull_request: the run evaluates pull request number `other`.
    unknown_origin: Coval shows neither tags nor metadata, so the run may be a pull request's. unlisted: Coval's list
    lacks the run, so it may lack the run with the tag, too. hidden_tags: Coval does not show all tags, so they could
    not be kept. not_first: the run was compared with nothing, although the run `other` has the tag. marked: an earlier
    step failed the run. late: the step's time was over. interrupted: a signal ended the step. failed: a call failed,
    for the reason in `text`; `advice` says what to do.
    """

    run_id: str
    tag: str
    obstacle: Obstacle = ""
    previous: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()
    other: str = ""
    text: str = ""
    advice: str = ""
    accepted: bool = False

    @property
    def promoted(self) -> bool:
        """Whether the run has the tag."""
        return not self.obstacle

    def with_obstacle(self, obstacle: Obstacle, *, other: str = "", text: str = "", advice: str = "") -> Promotion:
        """Return the promotion with an obstacle and its details."""
        return self._replace(obstacle=obstacle, other=other, text=text, advice=advice)

    def redacted(self, redact: Callable[[str], str]) -> Promotion:
        """Return the promotion with `redact` applied to the texts of errors."""
        return self._replace(text=redact(self.text), advice=redact(self.advice))
