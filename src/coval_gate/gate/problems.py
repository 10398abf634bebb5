"""The problems that prevent a measurement: one class for each kind, with its facts and its words. Pure.

A problem of every threshold names none, so that reports say it once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from coval_gate.base.text import in_words, plural, quoted
from coval_gate.gate.clauses import VALUE_SHOWN, runs_text, target_problem_text, value_text, whom
from coval_gate.gate.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.coval.model import Value
    from coval_gate.gate.checks import Check
    from coval_gate.gate.targets import TargetProblem

CAPITAL: Final = re.compile(r"(?<=.)(?=[A-Z])")
VALUES_SHOWN: Final = 8  # that a metric can have
NAMES_SHOWN: Final = 8  # metrics of a run that lacks the one that was named, in a sentence
FEW_NAMES: Final = 3  # the same, in a few words


def problem_reason(check: Check, problem: Problem) -> str:
    """Return the reason of a check that has no measure, without a full stop."""
    where = runs_text(check) if check.run_id and check.verdict is Verdict.FAILED else ""
    return problem.reason(check, f"{whom(check)}{where}")


class Problem:
    """`short`: its few words, where they are always the same."""

    __slots__ = ()
    kind: ClassVar[str]
    short: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        """Name the kind as the JSON report does: no_such_metric for NoSuchMetric."""
        cls.kind = CAPITAL.sub("_", cls.__name__).lower()

    def text(self) -> str:
        """Return in a few words what to show in place of a value."""
        return self.short

    def reason(self, check: Check, about: str) -> str:
        """Return why a check has no measure, without a full stop.

        `about` names the variant and the run, with a space before; empty where there is only one.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSuchMetric(Problem):
    """`names`: of the run's metrics, the most similar first. `similar`: the one that the user may mean, or empty."""

    metric: str
    names: tuple[str, ...]
    similar: str = ""

    def text(self) -> str:
        if self.similar:
            return f"did you mean {self.similar}?"
        return f"it has only {in_words(self.names, most=FEW_NAMES)}" if self.names else "it has no metrics at all"

    def reason(self, check: Check, about: str) -> str:
        metric = quoted(self.metric)
        if not self.names:
            return f"The run has no metric {metric}; it has no metrics at all"
        meant = f"did you mean {self.similar}? It has" if self.similar else "it has"
        return f"The run has no metric {metric}; {meant} {in_words(self.names, most=NAMES_SHOWN)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotListed(Problem):
    """The agent or a simulation has the metric, which has a target, but the run does not list it."""

    short: ClassVar = "Coval does not list it"
    metric: str

    def reason(self, check: Check, about: str) -> str:
        return (
            f"Coval announced the metric {self.metric} for the run, but does not list it; to run without it, set "
            "metric_ids to the other metrics"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSettled(Problem):
    """Coval may have more simulations and metrics of the run than it lists."""

    short: ClassVar = "its lists were still changing at the deadline"

    def reason(self, check: Check, about: str) -> str:
        return f"Coval does not say how many simulations and metrics the run has, and {self.short}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeveralMetrics(Problem):
    """Several metrics have the name; `ids` distinguish them."""

    metric: str
    ids: tuple[str, ...]

    def text(self) -> str:
        return f"{plural(len(self.ids), 'metric')} of this name"

    def reason(self, check: Check, about: str) -> str:
        metric, ids = quoted(self.metric), " or ".join(self.ids)
        return f"The run has {len(self.ids)} metrics named {metric}; use the id of one: {ids}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoTargets(Problem):
    """No metric of the run has a target in Coval."""

    short: ClassVar = "no metric has a target"

    def reason(self, check: Check, about: str) -> str:
        return "No metric of the run has a target in Coval, so use_metric_targets and pass_rate have nothing to check"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableTarget(Problem):
    """Nothing can be compared with the target of the metric of this name."""

    metric: str
    target: TargetProblem

    def text(self) -> str:
        return f"its target {target_problem_text(self.target)}"

    def reason(self, check: Check, about: str) -> str:
        return f"The target of {self.metric} {target_problem_text(self.target)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsMissing(Problem):
    """Coval lists only `mutations` of the `launched` mutations; `agent`: whether it lists the agent itself."""

    launched: int
    mutations: int
    agent: bool

    def text(self) -> str:
        return f"of {plural(self.mutations, 'mutation')}{'' if self.agent else ', none of the agent itself'}"

    def reason(self, check: Check, about: str) -> str:
        listed = plural(self.mutations, "mutation") + ("" if self.agent else " and none of the agent itself")
        launched = plural(self.launched, "mutation")
        return f"The run was launched with {launched}, but Coval lists simulations of {listed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReported(Problem):
    """Coval reports an error for the run, in these words."""

    words: str

    def text(self) -> str:
        return f"it reports {self.words}"

    def reason(self, check: Check, about: str) -> str:
        return f"The run completed, but Coval reports an error: {self.words.rstrip('.')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherCases(Problem):
    """A repetition, or a base, has `new` test cases that the first run lacks, and lacks `gone` ones of that run."""

    new: int
    gone: int

    def text(self) -> str:
        return f"{self.new:,} new, {self.gone:,} missing"

    def reason(self, check: Check, about: str) -> str:
        of_base = check.reference == "base_agent"
        whose, run = ("The base's", "the run's") if of_base else ("Its", "the first run's")
        return f"{whose} test cases differ from {run} ({self.text()})"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAnswered(Problem):
    """A job had to answer the simulations of the run, and nothing shows that one answered all of them."""

    short: ClassVar = "no tag of coval-gate attach"
    SENTENCE: ClassVar = (
        "Nothing shows that a job answered every simulation: the agent is of type SDK_WEBSOCKET, and the run lacks the "
        "tag that coval-gate attach adds at its end"
    )

    def reason(self, check: Check, about: str) -> str:
        return self.SENTENCE


class ValueProblem(Problem):
    """Values of the metric of this name do not do."""

    __slots__ = ()
    metric: str

    def in_reference(self, reference: str) -> str:
        """Return the same about the values of the reference, as a clause."""
        return f"the {reference}'s values of {self.metric} are of another kind"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoValues(ValueProblem):
    short: ClassVar = "no simulation has a value"
    metric: str

    def reason(self, check: Check, about: str) -> str:
        return check.criterion.without_values.format(metric=self.metric, about=about)

    def in_reference(self, reference: str) -> str:
        return f"the {reference} has no values of {self.metric}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OneValue(ValueProblem):
    """Only one simulation has a value, so there is no spread."""

    short: ClassVar = "only one simulation has a value"
    metric: str

    def reason(self, check: Check, about: str) -> str:
        return f"{self.metric} has only one value{about}, so {check.criterion.what()} is unknown"

    def in_reference(self, reference: str) -> str:
        return f"the {reference} has only one value of {self.metric}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoNumbers(ValueProblem):
    """The metric has values that are not numbers; `samples` are some of them."""

    metric: str
    samples: tuple[str | frozenset[str], ...]

    def text(self) -> str:
        return f"some values are not numbers: {_samples_text(self.samples)}"

    def reason(self, check: Check, about: str) -> str:
        unknown = f"{check.criterion.what()} is unknown{about}"
        return f"{self.metric} has values that are not numbers ({_samples_text(self.samples)}), so {unknown}"

    def in_reference(self, reference: str) -> str:
        return f"the {reference} has values of {self.metric} that are not numbers"


@dataclass(frozen=True, slots=True, kw_only=True)
class CannotOccur(ValueProblem):
    """The metric's values are of another kind than `wanted`; `samples` are some of its `different` values."""

    metric: str
    wanted: tuple[str, ...]
    samples: tuple[Value, ...]
    different: int

    def text(self) -> str:
        return f"its values are {self._kind}: {self._shown}"

    def reason(self, check: Check, about: str) -> str:
        cannot = f"{self.metric} cannot be {_either(self.wanted)}{about}"
        why = f"Its values are {self._kind} ({self._shown})"
        return f"{cannot}. {why}, so {check.criterion.what()} cannot be judged"

    @property
    def _kind(self) -> str:
        return "numbers" if isinstance(self.samples[0], float) else "text"

    @property
    def _shown(self) -> str:
        """Samples of the values; numbers without commas, as users must write them."""
        shown = [f"{sample:.10g}" if isinstance(sample, float) else value_text(sample) for sample in self.samples]
        more = self.different - len(shown)
        return ", ".join(shown) + (f" and {more:,} more" if more else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSuchValue(ValueProblem):
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

    def text(self) -> str:
        if self.similar:
            return f"did you mean {value_text(self.similar)}?"
        return f"its values are {self._values}"

    def reason(self, check: Check, about: str) -> str:
        verb = "cannot be" if self.allowed else "is never"
        meant = f" (did you mean {value_text(self.similar)}?)" if self.similar else ""
        never = f"{self.metric} {verb} {_either(self.wanted)}{meant}"
        return f"{never}. {self._known}, so {check.criterion.what()} cannot be judged"

    @property
    def _known(self) -> str:
        """Which values the metric can have, and which the run has, as the beginning of a sentence."""
        if not self.allowed:
            return f"This run has {self._values}"
        seen = f" (this run has {seen_text(self.seen, self.different)})" if self.seen else ""
        return f"Its values are {self._values}{seen}"

    @property
    def _values(self) -> str:
        if self.allowed:
            return in_words([value_text(value) for value in self.allowed], "or", VALUES_SHOWN)
        return seen_text(self.seen, self.different)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlySummary(ValueProblem):
    """Coval reports no single values of the metric, only a summary, which is not enough."""

    short: ClassVar = "Coval reports no individual values"
    metric: str

    def reason(self, check: Check, about: str) -> str:
        return check.criterion.with_summary.format(metric=self.metric, what=check.criterion.what(), about=about)

    def in_reference(self, reference: str) -> str:
        return f"Coval reports no individual values of {self.metric} for the {reference}"


def seen_text(seen: Sequence[str], different: int) -> str:
    more = f" and {different - len(seen):,} more" if different > len(seen) else ""
    return ", ".join(value_text(value) for value in seen) + more


def _samples_text(samples: Sequence[Value]) -> str:
    return ", ".join(sorted({value_text(sample) for sample in samples}))


def _either(values: Sequence[str]) -> str:
    return " or ".join(quoted(value, VALUE_SHOWN) for value in values)
