"""The problems that prevent a measurement: one type for each kind, with its facts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal

if TYPE_CHECKING:
    from coval_gate.judge.measure import LeftOut
    from coval_gate.judge.targets import TargetProblem
    from coval_gate.model.baseline import BaselineSource, NotFoundReason
    from coval_gate.model.results import Value
    from coval_gate.model.run import Run


CAPITAL: Final = re.compile(r"(?<=.)(?=[A-Z])")


class _Kind:
    __slots__ = ()
    kind: ClassVar[str]

    def __init_subclass__(cls) -> None:
        """Name the kind as the JSON report does: no_such_metric for NoSuchMetric."""
        cls.kind = CAPITAL.sub("_", cls.__name__).lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSuchMetric(_Kind):
    """`names`: of the run's metrics, the most similar first. `similar`: the one that the user may mean, or empty."""

    metric: str
    names: tuple[str, ...]
    similar: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotListed(_Kind):
    """The agent or a simulation has the metric, which has a target, but the run does not list it."""

    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSettled(_Kind):
    """Coval may have more simulations and metrics of the run than it lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeveralMetrics(_Kind):
    """Several metrics have the name; `ids` distinguish them."""

    metric: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoValues(_Kind):
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OneValue(_Kind):
    """The metric of this name has a value on one simulation only, so there is no spread."""

    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoNumbers(_Kind):
    """The metric of this name has values that are not numbers; `samples` are some of them."""

    metric: str
    samples: tuple[str | frozenset[str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CannotOccur(_Kind):
    """The metric's values are of another kind than `wanted`; `samples` are some of its `different` values."""

    metric: str
    wanted: tuple[str, ...]
    samples: tuple[Value, ...]
    different: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSuchValue(_Kind):
    """The metric never has the `wanted` values, which are probably misspelt.

    `seen`: some of the `different` texts. `allowed`: all texts that it can have; empty if others are possible.
    `similar`: the text that the user may mean, or empty.
    """

    metric: str
    wanted: tuple[str, ...]
    seen: tuple[str, ...]
    different: int
    allowed: tuple[str, ...] = ()
    similar: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlySummary(_Kind):
    """Coval reports no single values of the metric of this name, only a summary, which is not enough."""

    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoTargets(_Kind):
    """No metric of the run has a target in Coval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableTarget(_Kind):
    """Nothing can be compared with the target of the metric of this name."""

    metric: str
    target: TargetProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsMissing(_Kind):
    """Coval lists only `mutations` of the `launched` mutations; `agent`: whether it lists the agent itself."""

    launched: int
    mutations: int
    agent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReported(_Kind):
    """Coval reports an error for the run, in these words."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMutations(_Kind):
    """The run has no mutation that could be compared with the agent itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoBaseline(_Kind):
    """There is no run to compare with; `source` is None if the step did not look for one."""

    source: BaselineSource | None
    reason: NotFoundReason


@dataclass(frozen=True, slots=True, kw_only=True)
class NotInBaseline(_Kind):
    """The baseline does not have the metric or the mutation of this `name`."""

    what: Literal["metric", "mutation"]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableBaseline(_Kind):
    """The baseline's values of a metric cannot be compared with, for the reason in `problem`."""

    problem: ValueProblem | OnlySummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(_Kind):
    """A person accepted the run (`accept`), so nothing is compared with a baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonaChanged(_Kind):
    """The baseline used another persona, or another version of it; `since`: its newest run."""

    since: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeChanged(_Kind):
    """The baseline used another version of the metric of this name; `since`: its newest run."""

    metric: str
    since: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class CasesUnknown(_Kind):
    """Coval does not report the test case of a simulation, of the run or of its baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TooFewShared(_Kind):
    """Only `shared` test cases can be compared, fewer than two. `since`: the newest run of an earlier baseline."""

    shared: int
    left_out: LeftOut
    since: Run | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnequalCounts(_Kind):
    """The shared test cases have `now` simulations in the run and `earlier` in the baseline, but these are counted."""

    now: int
    earlier: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherCases(_Kind):
    """A repetition, or a base, has `new` test cases that the first run lacks, and lacks `gone` ones of that run."""

    new: int
    gone: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAnswered(_Kind):
    """A job had to answer the simulations of the run, and nothing shows that one answered all of them."""


ValueProblem = NoValues | OneValue | NoNumbers | CannotOccur | NoSuchValue

ComparisonProblem = (
    NoMutations
    | NoBaseline
    | NotInBaseline
    | UnusableBaseline
    | Accepted
    | PersonaChanged
    | JudgeChanged
    | CasesUnknown
    | TooFewShared
    | UnequalCounts
)


Problem = (
    NoSuchMetric
    | NotListed
    | NotSettled
    | SeveralMetrics
    | ValueProblem
    | OnlySummary
    | NoTargets
    | UnusableTarget
    | VariantsMissing
    | ErrorReported
    | OtherCases
    | NotAnswered
    | ComparisonProblem
)
