"""What stands in the way of a measurement: one type for each kind, with its facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from coval_gate.judge.targets import TargetProblem
    from coval_gate.model.results import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSuchMetric:
    """The run does not have the metric. `known`: the names of those that it has, the most similar first.

    `similar`: the one that may be meant; empty if none is similar enough.
    """

    kind: ClassVar = "no_such_metric"
    known: tuple[str, ...]
    similar: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotListed:
    """The agent or a simulation has the metric, which has a target, but the run does not list it."""

    kind: ClassVar = "not_listed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSettled:
    """Coval may have more simulations and metrics of the run than it lists."""

    kind: ClassVar = "not_settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeveralMetrics:
    """Several metrics have the name; `ids` tell them apart."""

    kind: ClassVar = "several_metrics"
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoValues:
    """The metric of this name has no value on any simulation."""

    kind: ClassVar = "no_values"
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoNumbers:
    """The metric of this name has values that are no numbers; `samples` are some of them."""

    kind: ClassVar = "no_numbers"
    metric: str
    samples: tuple[str | frozenset[str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CannotOccur:
    """No value of the metric of this name can be one of `wanted`: its values are of another kind.

    `samples` are some of its `different` values.
    """

    kind: ClassVar = "cannot_occur"
    metric: str
    wanted: tuple[str, ...]
    samples: tuple[Value, ...]
    different: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlySummary:
    """Coval reports no single values of the metric of this name, only a summary, which does not say enough."""

    kind: ClassVar = "only_summary"
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoTargets:
    """No metric of the run has a target in Coval."""

    kind: ClassVar = "no_targets"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableTarget:
    """Nothing can be compared with the metric's target."""

    kind: ClassVar = "unusable_target"
    target: TargetProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsMissing:
    """Coval lists simulations of `mutations` mutations only; `agent`: whether it lists any of the agent itself."""

    kind: ClassVar = "variants_missing"
    mutations: int
    agent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReported:
    """Coval reports an error of the run, in these words."""

    kind: ClassVar = "error_reported"
    text: str


Problem = (
    NoSuchMetric
    | NotListed
    | NotSettled
    | SeveralMetrics
    | NoValues
    | NoNumbers
    | CannotOccur
    | OnlySummary
    | NoTargets
    | UnusableTarget
    | VariantsMissing
    | ErrorReported
)
