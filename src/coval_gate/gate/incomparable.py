"""The problems that prevent a comparison with a baseline or a base: one class for each kind. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from coval_gate.base.text import plural
from coval_gate.gate.clauses import NAMES
from coval_gate.gate.problems import Problem
from coval_gate.gate.references import START_OVER, dated_text, left_out_text, no_baseline_text

if TYPE_CHECKING:
    from coval_gate.coval.model import Run
    from coval_gate.gate.checks import Check
    from coval_gate.gate.compared import NotFoundReason
    from coval_gate.gate.measure import LeftOut
    from coval_gate.gate.problems import ValueProblem
    from coval_gate.inputs.source import BaselineSource


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMutations(Problem):
    """The run has no mutation that could be compared with the agent itself."""

    short: ClassVar = "the run has no mutations"

    def reason(self, check: Check, about: str) -> str:
        return f"{check.criterion.text} compares mutations with the agent itself, but the run has no mutations"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoBaseline(Problem):
    """There is no run to compare with; `source` is None if the step did not look for one."""

    source: BaselineSource | None
    why: NotFoundReason

    def text(self) -> str:
        return "no base" if self._is_of_base else "no baseline"

    def reason(self, check: Check, about: str) -> str:
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

    def reason(self, check: Check, about: str) -> str:
        if self.what == "mutation":
            whose = self.name or "the agent itself"
            return _incomparable(check, about, f"the {NAMES[check.reference]} has no simulations of {whose}")
        if check.reference == "base_agent":
            return _incomparable(check, about, f"the base's run does not have the metric {self.name}")
        return _incomparable(check, about, f"no baseline run has the metric {self.name}; {START_OVER}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableBaseline(Problem):
    """The baseline's values of a metric cannot be compared with, for the reason in `problem`."""

    short: ClassVar = "the other side's values cannot be compared"
    problem: ValueProblem

    def reason(self, check: Check, about: str) -> str:
        return _incomparable(check, about, self.problem.in_reference(NAMES[check.reference]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Problem):
    """A person accepted the run (`accept`), so nothing is compared with a baseline."""

    short: ClassVar = "accepted"

    def reason(self, check: Check, about: str) -> str:
        return f"{check.criterion.text} is not compared: a person accepted this run"


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonaChanged(Problem):
    """The baseline used another persona, or another version of it; `since`: its newest run."""

    short: ClassVar = "another persona"
    since: Run

    def reason(self, check: Check, about: str) -> str:
        return f"{_nothing_like(self.since)}: it used another persona, or another version of it; {START_OVER}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeChanged(Problem):
    """The baseline used another version of the metric of this name; `since`: its newest run."""

    short: ClassVar = "another version of the metric"
    metric: str
    since: Run

    def reason(self, check: Check, about: str) -> str:
        return f"{_nothing_like(self.since)}{about}: it used another version of {self.metric}; {START_OVER}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CasesUnknown(Problem):
    """Coval does not report the test case of a simulation, of the run or of its baseline."""

    short: ClassVar = "the test cases are unknown"

    def reason(self, check: Check, about: str) -> str:
        return "Nothing can be compared: Coval does not say which test case each simulation belongs to"


@dataclass(frozen=True, slots=True, kw_only=True)
class TooFewShared(Problem):
    """Only `shared` test cases can be compared, fewer than two. `since`: the newest run of an earlier baseline."""

    shared: int
    left_out: LeftOut
    since: Run | None = None

    def text(self) -> str:
        return plural(self.shared, "shared test case")

    def reason(self, check: Check, about: str) -> str:
        left = left_out_text(self.left_out, NAMES[check.reference])
        if not self.shared and self.since and self.left_out.changed:
            nothing = f"{_nothing_like(self.since)}{about}"
            return f"{nothing}: no test case is still the same (left out: {left}); {START_OVER}"
        why = f"; left out: {left}" if left else ""
        return _incomparable(check, about, f"{self.text()}, but a comparison needs at least two{why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnequalCounts(Problem):
    """The shared test cases have `now` simulations in the run and `earlier` in the baseline, but these are counted."""

    now: int
    earlier: int

    def text(self) -> str:
        return f"{self.now:,} simulations, not {self.earlier:,}"

    def reason(self, check: Check, about: str) -> str:
        counts = f"this run has {self.now:,} and the {NAMES[check.reference]} {self.earlier:,}"
        use = "use a rate, or launch both with the same iteration_count"
        return _incomparable(check, about, f"it counts simulations, of which {counts}; {use}")


def _incomparable(check: Check, about: str, why: str) -> str:
    return f"{check.criterion.text} cannot be compared{about}: {why}"


def _nothing_like(run: Run) -> str:
    return f"Nothing can be compared with the baseline, run {dated_text(run)}"
