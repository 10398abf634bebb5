"""The problems that prevent a measurement: one type for each kind, with its facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from coval_gate.judge.measure import LeftOut
    from coval_gate.judge.targets import TargetProblem
    from coval_gate.model.attachment import Answering
    from coval_gate.model.baseline import BaselineSource, NotFoundReason
    from coval_gate.model.results import Value
    from coval_gate.model.run import Run


Difference = Literal["persona", "metric", "mutation", "cases", "values"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSuchMetric:
    """The run does not have the metric. `known`: the names of the metrics that it has, the most similar first.

    `similar`: the name that the user may mean; empty if none is similar enough.
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
    """Several metrics have the name; `ids` distinguish them."""

    kind: ClassVar = "several_metrics"
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoValues:
    """The metric of this name has no value on any simulation."""

    kind: ClassVar = "no_values"
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OneValue:
    """The metric of this name has a value on one simulation only, so there is no spread."""

    kind: ClassVar = "one_value"
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoNumbers:
    """The metric of this name has values that are not numbers; `samples` are some of them."""

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
class NoSuchValue:
    """The metric of this name never has the `wanted` values, which are probably misspelt.

    `seen` are some of the `different` texts that simulations have. `allowed` are all texts that the metric can have;
    empty if others are possible. `similar`: the text that the user may mean; empty if none is similar enough.
    """

    kind: ClassVar = "no_such_value"
    metric: str
    wanted: tuple[str, ...]
    seen: tuple[str, ...]
    different: int
    allowed: tuple[str, ...] = ()
    similar: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlySummary:
    """Coval reports no single values of the metric of this name, only a summary, which is not enough."""

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
    """Coval lists simulations of only so many `mutations`; `agent`: whether it lists any of the agent itself."""

    kind: ClassVar = "variants_missing"
    mutations: int
    agent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReported:
    """Coval reports an error for the run, in these words."""

    kind: ClassVar = "error_reported"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMutations:
    """The run has no mutation that could be compared with the agent itself."""

    kind: ClassVar = "no_mutations"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoBaseline:
    """There is no run to compare with; `source` is None if the step did not look for one."""

    kind: ClassVar = "no_baseline"
    source: BaselineSource | None
    reason: NotFoundReason


@dataclass(frozen=True, slots=True, kw_only=True)
class NotInBaseline:
    """The baseline does not have the metric or the mutation of this `name`."""

    kind: ClassVar = "not_in_baseline"
    what: Literal["metric", "mutation"]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableBaseline:
    """The baseline's values of a metric cannot be compared with, for the reason in `problem`."""

    kind: ClassVar = "unusable_baseline"
    problem: ValueProblem | OnlySummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A person accepted the run (`accept`), so nothing is compared with a baseline."""

    kind: ClassVar = "accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonaChanged:
    """The baseline used another persona, or another version of it; `since`: its newest run."""

    kind: ClassVar = "persona_changed"
    since: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeChanged:
    """The baseline used another version of the metric of this name; `since`: its newest run."""

    kind: ClassVar = "judge_changed"
    metric: str
    since: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class CasesUnknown:
    """Coval does not report the test case of a simulation, of the run or of its baseline."""

    kind: ClassVar = "cases_unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class TooFewShared:
    """Only `shared` test cases can be compared, fewer than two. `since`: the newest run of an earlier baseline."""

    kind: ClassVar = "too_few_shared"
    shared: int
    left_out: LeftOut
    since: Run | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnequalCounts:
    """The shared test cases have `now` simulations in the run and `earlier` in the baseline, but these are counted."""

    kind: ClassVar = "unequal_counts"
    now: int
    earlier: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherCases:
    """A repetition, or a base, has `new` test cases that the first run lacks, and lacks `gone` ones of that run."""

    kind: ClassVar = "other_cases"
    new: int
    gone: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceGrows:
    """The reference of drift has too few runs so far, `known`. `begun`: whether a run has its `tag`."""

    kind: ClassVar = "reference_grows"
    tag: str
    known: int
    begun: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceUnreadable:
    """Coval did not report the runs of the drift reference, for the reason in `text`."""

    kind: ClassVar = "reference_unreadable"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceDiffers:
    """The run cannot be compared with the drift reference, which began with the run `since`.

    How the reference differs: persona: another one held the conversations. metric: it used another version of the
    metric of this `name`, or lacks it. mutation: it lacks the mutation of this `name`. cases: they share fewer than two
    test cases, or Coval does not report them. values: the values of the metric of this `name` cannot be compared.
    """

    kind: ClassVar = "reference_differs"
    what: Difference
    since: Run
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaky:
    """The first run failed, but the step's `runs` together do not."""

    kind: ClassVar = "flaky"
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAnswered:
    """A job had to answer the simulations of the run, and did not answer all of them."""

    kind: ClassVar = "not_answered"
    answering: Answering


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAttached:
    """A job had to answer the simulations of the run, and nothing shows that one did."""

    kind: ClassVar = "not_attached"


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

SetUpProblem = NotAnswered | NotAttached

DriftProblem = ReferenceGrows | ReferenceUnreadable | ReferenceDiffers

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
    | Flaky
    | SetUpProblem
    | DriftProblem
    | ComparisonProblem
)
