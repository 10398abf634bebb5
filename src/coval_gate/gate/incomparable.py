"""The problems that prevent a comparison with a baseline or a base. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from coval_gate.base.text import plural
from coval_gate.coval.model import Run
from coval_gate.gate.checks import Check, Problem
from coval_gate.gate.clauses import NAMES
from coval_gate.gate.compared import START_OVER, NotFoundReason, dated_text, left_out_text, no_baseline_text
from coval_gate.gate.measure import LeftOut
from coval_gate.gate.problems import Obstacle, about
from coval_gate.inputs.fields import BaselineSource

NO_MUTATIONS: Final = Obstacle(
    kind="no_mutations",
    short="the run has no mutations",
    sentence="{criterion.text} compares mutations with the agent itself, but the run has no mutations",
)
ACCEPTED: Final = Obstacle(
    kind="accepted", short="accepted", sentence="{criterion.text} is not compared: a person accepted this run"
)
UNUSABLE_BASELINE: Final = Obstacle(
    kind="unusable_baseline",
    short="the other side's values cannot be compared",
    sentence="{criterion.text} cannot be compared{about}: {why}",
)
PERSONA_CHANGED: Final = Obstacle(
    kind="persona_changed",
    short="another persona",
    sentence="Nothing can be compared with the baseline, run {since}: it used another persona, or another version of "
    f"it; {START_OVER}",
)
JUDGE_CHANGED: Final = Obstacle(
    kind="judge_changed",
    short="another version of the metric",
    sentence="Nothing can be compared with the baseline, run {since}{about}: it used another version of {metric}; "
    f"{START_OVER}",
)
CASES_UNKNOWN: Final = Obstacle(
    kind="cases_unknown",
    short="the test cases are unknown",
    sentence="Nothing can be compared: Coval does not say which test case each simulation belongs to",
)
UNEQUAL_COUNTS: Final = Obstacle(
    kind="unequal_counts",
    short="{now} simulations, not {earlier}",
    sentence="{criterion.text} cannot be compared{about}: it counts simulations, of which this run has {now} and the "
    "{reference} {earlier}; use a rate, or launch both with the same iteration_count",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoBaseline(Problem):
    """There is no run to compare with; `source` is None if the step did not look for one."""

    source: BaselineSource | None
    why: NotFoundReason

    def text(self) -> str:
        return "no base" if self._is_of_base else "no baseline"

    def reason(self, check: Check) -> str:
        why = no_baseline_text(self.source, self.why)
        if self._is_of_base:
            return f"Nothing can be compared with the base, because {why}"
        return f"There is no baseline: {why}"

    @property
    def _is_of_base(self) -> bool:
        return self.source is not None and self.source.kind == "base_agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotInBaseline(Problem):
    """The baseline does not have the metric or the mutation of this `name`."""

    what: Literal["metric", "mutation"]
    name: str

    def text(self) -> str:
        return f"the other side does not have the {self.what}"

    def reason(self, check: Check) -> str:
        if self.what == "mutation":
            whose = self.name or "the agent itself"
            return _incomparable(check, f"the {NAMES[check.reference]} has no simulations of {whose}")
        if check.reference == "base_agent":
            return _incomparable(check, f"the base's run does not have the metric {self.name}")
        return _incomparable(check, f"no baseline run has the metric {self.name}; {START_OVER}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TooFewShared(Problem):
    """Only `shared` test cases can be compared, fewer than two. `since`: the newest run of an earlier baseline."""

    shared: int
    left_out: LeftOut
    since: Run | None = None

    def text(self) -> str:
        return plural(self.shared, "shared test case")

    def reason(self, check: Check) -> str:
        left = left_out_text(self.left_out, NAMES[check.reference])
        if not self.shared and self.since and self.left_out.changed:
            nothing = f"Nothing can be compared with the baseline, run {dated_text(self.since)}{about(check)}"
            return f"{nothing}: no test case is still the same (left out: {left}); {START_OVER}"
        why = f"; left out: {left}" if left else ""
        return _incomparable(check, f"{self.text()}, but a comparison needs at least two{why}")


def _incomparable(check: Check, why: str) -> str:
    return f"{check.criterion.text} cannot be compared{about(check)}: {why}"
