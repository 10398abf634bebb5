"""Problems with the values of a metric in English: there are none, or they are of the wrong kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from coval_gate.judge.criteria import MetricsHaveTargets, ValueAbsent
from coval_gate.judge.problems import CannotOccur, NoNumbers, NoSuchValue, NoValues, OneValue, OnlySummary
from coval_gate.report.wording.clauses import VALUE_SHOWN, aggregate_text, value_text
from coval_gate.report.wording.criteria import words_of
from coval_gate.report.wording.problem_words import Words
from coval_gate.text import in_words, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coval_gate.judge.checks import Check
    from coval_gate.model.results import Value

P = TypeVar("P", NoValues, OneValue, NoNumbers, CannotOccur, NoSuchValue, OnlySummary)
VALUES_SHOWN: Final = 8  # that a metric can have


class ValueWords(Words[P]):
    """How one kind of problem with values reads."""

    def in_reference(self, problem: P, reference: str) -> str:
        """Return the same about the values of the reference, as a clause."""
        return f"the {reference}'s values of {problem.metric} are of another kind"


class OfNoValues(ValueWords[NoValues]):
    def text(self, problem: NoValues) -> str:
        del problem
        return "no simulation has a value"

    def reason(self, check: Check, problem: NoValues, about: str) -> str:
        if isinstance(check.criterion, ValueAbsent):
            left_open = words_of(check.criterion).left_open(check.criterion)
            return f"{problem.metric} has no individual values{about}, so {left_open}"
        return f"{problem.metric} has no values{about}"

    def in_reference(self, problem: NoValues, reference: str) -> str:
        return f"the {reference} has no values of {problem.metric}"


class OfOneValue(ValueWords[OneValue]):
    def text(self, problem: OneValue) -> str:
        del problem
        return "only one simulation has a value"

    def reason(self, check: Check, problem: OneValue, about: str) -> str:
        return f"{problem.metric} has only one value{about}, so {aggregate_text(check.criterion)} is unknown"

    def in_reference(self, problem: OneValue, reference: str) -> str:
        return f"the {reference} has only one value of {problem.metric}"


class OfNoNumbers(ValueWords[NoNumbers]):
    def text(self, problem: NoNumbers) -> str:
        return f"some values are not numbers: {_samples_text(problem.samples)}"

    def reason(self, check: Check, problem: NoNumbers, about: str) -> str:
        unknown = f"{aggregate_text(check.criterion)} is unknown{about}"
        return f"{problem.metric} has values that are not numbers ({_samples_text(problem.samples)}), so {unknown}"

    def in_reference(self, problem: NoNumbers, reference: str) -> str:
        return f"the {reference} has values of {problem.metric} that are not numbers"


class OfCannotOccur(ValueWords[CannotOccur]):
    def text(self, problem: CannotOccur) -> str:
        return f"its values are {_kind(problem)}: {_different_text(problem)}"

    def reason(self, check: Check, problem: CannotOccur, about: str) -> str:
        named = " or ".join(quoted(value, VALUE_SHOWN) for value in problem.wanted)
        why = f"its values are {_kind(problem)} ({_different_text(problem)})"
        left_open = words_of(check.criterion).left_open(check.criterion)
        return f"{problem.metric} cannot be {named}{about}: {why}, so {left_open}"


class OfNoSuchValue(ValueWords[NoSuchValue]):
    def text(self, problem: NoSuchValue) -> str:
        if problem.similar:
            return f"did you mean {value_text(problem.similar)}?"
        return f"its values are {_values_text(problem)}"

    def reason(self, check: Check, problem: NoSuchValue, about: str) -> str:
        del about
        named = " or ".join(quoted(value, VALUE_SHOWN) for value in problem.wanted)
        verb = "cannot be" if problem.allowed else "is never"
        meant = f" (did you mean {value_text(problem.similar)}?)" if problem.similar else ""
        left_open = words_of(check.criterion).left_open(check.criterion)
        return f"{problem.metric} {verb} {named}{meant}: {_known_values(problem)}, so {left_open}"


class OfOnlySummary(ValueWords[OnlySummary]):
    def text(self, problem: OnlySummary) -> str:
        del problem
        return "Coval reports no individual values"

    def reason(self, check: Check, problem: OnlySummary, about: str) -> str:
        metric = problem.metric
        if isinstance(check.criterion, MetricsHaveTargets):
            return f"Coval reports neither the id nor individual values of {metric}, so its target cannot be judged"
        unknown = f"{aggregate_text(check.criterion)} is unknown{about}"
        return f"Coval reports no individual values of {metric}, so {unknown}"

    def in_reference(self, problem: OnlySummary, reference: str) -> str:
        return f"Coval reports no individual values of {problem.metric} for the {reference}"


VALUE_WORDS: Final[Mapping[type[Any], ValueWords[Any]]] = {
    NoValues: OfNoValues(),
    OneValue: OfOneValue(),
    NoNumbers: OfNoNumbers(),
    CannotOccur: OfCannotOccur(),
    NoSuchValue: OfNoSuchValue(),
    OnlySummary: OfOnlySummary(),
}


def seen_text(seen: Sequence[str], different: int) -> str:
    """Return some of a metric's texts, and how many more there are."""
    more = f" and {different - len(seen):,} more" if different > len(seen) else ""
    return ", ".join(value_text(value) for value in seen) + more


def _known_values(problem: NoSuchValue) -> str:
    """Return which values the metric can have, and which were seen, as a clause."""
    if not problem.allowed:
        return f"the values seen are {_values_text(problem)}"
    return f"its values are {_values_text(problem)}" + (
        f" (seen: {seen_text(problem.seen, problem.different)})" if problem.seen else ""
    )


def _values_text(problem: NoSuchValue) -> str:
    if problem.allowed:
        return in_words([value_text(value) for value in problem.allowed], "or", VALUES_SHOWN)
    return seen_text(problem.seen, problem.different)


def _samples_text(samples: Sequence[Value]) -> str:
    return ", ".join(sorted({value_text(sample) for sample in samples}))


def _kind(problem: CannotOccur) -> str:
    return "numbers" if isinstance(problem.samples[0], float) else "text"


def _different_text(problem: CannotOccur) -> str:
    """Return samples of the values; numbers without commas, as users must write them."""
    shown = [f"{sample:.10g}" if isinstance(sample, float) else value_text(sample) for sample in problem.samples]
    more = problem.different - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")
