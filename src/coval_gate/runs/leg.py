"""A leg: the record of one run that a step launches, waits for or cancels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coval_gate.model.details import Details

if TYPE_CHECKING:
    from coval_gate.coval.client import Launch
    from coval_gate.judge.findings import Findings
    from coval_gate.judge.judgement import Judgement
    from coval_gate.model.drift import Drift
    from coval_gate.model.promotion import Promotion
    from coval_gate.model.results import RunResult
    from coval_gate.model.run import Run
    from coval_gate.model.trend import TrendRun
    from coval_gate.runs.request import LaunchRequest
    from coval_gate.runs.tags import Tags
    from coval_gate.waiting import BackgroundCall


@dataclass(slots=True, kw_only=True)
class Leg:
    """What is known of one run so far.

    `name` tells the legs of a step apart; it is empty where there is one. `request` is what to launch, None for a run
    that was launched elsewhere; `launches` are the attempts at it, whose responses may still come. `launched_again`:
    one of them was given up for lost, so a second run may turn up. `resumed`: an earlier attempt launched the run.
    `known_since`, on the clock, is when `run_id` became known; `run` is what the last poll of the run showed, and
    `over_since` when a poll first showed that the run is over, None if it is not. `repetition`: which one of the step's
    first run it is; 0 for that run itself. `alone` is the judgement of the run itself, where `result` and `judgement`
    are those of several runs together. `findings`: what `judgement` shows, once a report needs it. `promotion`: what
    became of it, if the run was to be promoted. `trend`: the last runs before it. `drift`: what shows whether the agent
    drifts, if that was asked for. `begins`: the tag that the run is to take because no run has it, so that the
    reference of drift begins with it.
    """

    name: str = ""
    request: LaunchRequest | None = None
    tags: Tags | None = None
    launches: list[Launch] = field(default_factory=list)
    launched_again: bool = False
    run_id: str = ""
    known_since: float = 0.0
    resumed: bool = False
    run: Run | None = None
    over_since: float | None = None
    result: RunResult | None = None
    judgement: Judgement | None = None
    findings: Findings | None = None
    repetition: int = 0
    alone: Judgement | None = None
    details: Details = field(default_factory=Details)
    promotion: Promotion | None = None
    trend: tuple[TrendRun, ...] = ()
    drift: Drift | None = None
    begins: str = ""

    @property
    def open_calls(self) -> tuple[BackgroundCall[Any], ...]:
        """What to wait for while responses to launches may still come."""
        return tuple(call for launch in self.launches if (call := launch.open_call))

    @property
    def body(self) -> dict[str, Any]:
        """The body of the launch; empty for a run that was launched elsewhere."""
        return self.request.body(tuple(self.tags or ())) if self.request else {}

    def identify(self, run_id: str, *, at: float) -> None:
        """Record the run's id, which became known `at` that time on the clock."""
        self.run_id = run_id
        self.known_since = at

    def forget(self) -> None:
        """Forget a run that another one replaces."""
        self.run_id, self.resumed, self.run, self.over_since = "", False, None, None

    def see(self, run: Run, *, at: float) -> None:
        """Record what a poll showed `at` that time on the clock."""
        self.run = run
        self.over_since = (at if self.over_since is None else self.over_since) if run.is_over else None

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, as far as is known."""
        return self.run is not None and self.run.is_over
