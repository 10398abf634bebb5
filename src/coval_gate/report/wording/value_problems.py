"""Problems with the values of a metric in English: there are none, or none of the kind that is needed."""

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
    """What people read of one kind of problem with values."""

    def in_reference(self, found: P, reference: str) -> str:
        """Return the same of the values that a run is compared with, as a clause."""
        return f"the {reference} has values of {found.metric} of another kind"


class OfNoValues(ValueWords[NoValues]):
    def text(self, found: NoValues) -> str:
        del found
        return "no simulation has a value"

    def reason(self, check: Check, found: NoValues, about: str) -> str:
        if isinstance(check.criterion, ValueAbsent):
            return (
                f"{found.metric} has no single value{about}, so {words_of(check.criterion).left_open(check.criterion)}"
            )
        return f"{found.metric} has no value at all{about}"

    def in_reference(self, found: NoValues, reference: str) -> str:
        return f"the {reference} has no value of {found.metric}"


class OfOneValue(ValueWords[OneValue]):
    def text(self, found: OneValue) -> str:
        del found
        return "only one simulation has a value"

    def reason(self, check: Check, found: OneValue, about: str) -> str:
        return f"{found.metric} has only one value{about}, so {aggregate_text(check.criterion)} is not known"

    def in_reference(self, found: OneValue, reference: str) -> str:
        return f"the {reference} has only one value of {found.metric}"


class OfNoNumbers(ValueWords[NoNumbers]):
    def text(self, found: NoNumbers) -> str:
        return f"some values are not numbers: {_samples_text(found.samples)}"

    def reason(self, check: Check, found: NoNumbers, about: str) -> str:
        unknown = f"{aggregate_text(check.criterion)} is not known{about}"
        return f"{found.metric} has values that are not numbers ({_samples_text(found.samples)}), so {unknown}"

    def in_reference(self, found: NoNumbers, reference: str) -> str:
        return f"the {reference} has values of {found.metric} that are not numbers"


class OfCannotOccur(ValueWords[CannotOccur]):
    def text(self, found: CannotOccur) -> str:
        return f"its values are {_kind(found)}: {_different_text(found)}"

    def reason(self, check: Check, found: CannotOccur, about: str) -> str:
        named = " or ".join(quoted(each, VALUE_SHOWN) for each in found.wanted)
        why = f"they are {_kind(found)} ({_different_text(found)})"
        left_open = words_of(check.criterion).left_open(check.criterion)
        return f"No value of {found.metric}{about} can be {named}: {why}, so {left_open}"


class OfNoSuchValue(ValueWords[NoSuchValue]):
    def text(self, found: NoSuchValue) -> str:
        if found.similar:
            return f"did you mean {value_text(found.similar)}?"
        return f"its values are {_values_text(found)}"

    def reason(self, check: Check, found: NoSuchValue, about: str) -> str:
        del about
        named = " or ".join(quoted(each, VALUE_SHOWN) for each in found.wanted)
        verb = "can be" if found.allowed else "is"
        meant = f" (did you mean {value_text(found.similar)}?)" if found.similar else ""
        left_open = words_of(check.criterion).left_open(check.criterion)
        return f"No value of {found.metric} {verb} {named}{meant}: {_known_values(found)}, so {left_open}"


class OfOnlySummary(ValueWords[OnlySummary]):
    def text(self, found: OnlySummary) -> str:
        del found
        return "Coval reports no single values of the metric"

    def reason(self, check: Check, found: OnlySummary, about: str) -> str:
        metric = found.metric
        if isinstance(check.criterion, MetricsHaveTargets):
            return f"Coval reports neither the id nor the single values of {metric}, so its target cannot be judged"
        return f"Coval reports no single values of {metric}, so {aggregate_text(check.criterion)} is not known{about}"

    def in_reference(self, found: OnlySummary, reference: str) -> str:
        return f"Coval reports no single values of {found.metric} for the {reference}"


VALUE_WORDS: Final[Mapping[type[Any], ValueWords[Any]]] = {
    NoValues: OfNoValues(),
    OneValue: OfOneValue(),
    NoNumbers: OfNoNumbers(),
    CannotOccur: OfCannotOccur(),
    NoSuchValue: OfNoSuchValue(),
    OnlySummary: OfOnlySummary(),
}


def seen_text(seen: Sequence[str], different: int) -> str:
    """Return some of the texts that a metric has, and how many more there are."""
    more = f" and {different - len(seen):,} more" if different > len(seen) else ""
    return ", ".join(value_text(each) for each in seen) + more


def _known_values(found: NoSuchValue) -> str:
    """Return which values the metric can have, and which were seen, as a part of a sentence."""
    if not found.allowed:
        return f"the values seen are {_values_text(found)}"
    return f"they are {_values_text(found)}" + (
        f" (seen: {seen_text(found.seen, found.different)})" if found.seen else ""
    )


def _values_text(found: NoSuchValue) -> str:
    if found.allowed:
        return in_words([value_text(each) for each in found.allowed], "or", VALUES_SHOWN)
    return seen_text(found.seen, found.different)


def _samples_text(samples: Sequence[Value]) -> str:
    return ", ".join(sorted({value_text(sample) for sample in samples}))


def _kind(found: CannotOccur) -> str:
    return "numbers" if isinstance(found.samples[0], float) else "texts"


def _different_text(found: CannotOccur) -> str:
    """Return samples of the values. Numbers have no commas, because users must write them so."""
    shown = [f"{sample:.10g}" if isinstance(sample, float) else value_text(sample) for sample in found.samples]
    more = found.different - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")
