"""Each kind of problem in English: why a criterion could not be measured, in a few words or as a sentence.

Each kind has one entry in WORDS. A problem of every threshold names none, so that reports say it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from coval_gate.base.text import in_words, plural, quoted
from coval_gate.judge.problems import (
    Accepted,
    CannotOccur,
    CasesUnknown,
    ErrorReported,
    JudgeChanged,
    NoBaseline,
    NoMutations,
    NoNumbers,
    NoSuchMetric,
    NoSuchValue,
    NotAnswered,
    NoTargets,
    NotInBaseline,
    NotListed,
    NotSettled,
    NoValues,
    OneValue,
    OnlySummary,
    OtherCases,
    PersonaChanged,
    SeveralMetrics,
    TooFewShared,
    UnequalCounts,
    UnusableBaseline,
    UnusableTarget,
    VariantsMissing,
)
from coval_gate.judge.verdict import Verdict
from coval_gate.report.wording.baselines import (
    OTHER_METRIC_TEXT,
    OTHER_PERSONA,
    OTHER_PERSONA_TEXT,
    START_OVER,
    ProblemWords,
    dated_text,
    left_out_text,
    no_baseline_text,
    no_simulations_text,
)
from coval_gate.report.wording.clauses import (
    NOT_ANSWERED,
    VALUE_SHOWN,
    runs_text,
    target_problem_text,
    value_text,
    whom,
)
from coval_gate.report.wording.comparisons import NAMES
from coval_gate.report.wording.criteria import criterion_text, words_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coval_gate.judge.checks import Check
    from coval_gate.judge.problems import Problem
    from coval_gate.model.results import Value
    from coval_gate.model.run import Run

P = TypeVar("P", NoValues, OneValue, NoNumbers, CannotOccur, NoSuchValue, OnlySummary)
VALUES_SHOWN: Final = 8  # that a metric can have
NAMES_SHOWN: Final = 8  # metrics of a run that lacks the one that was named, in a sentence
FEW_NAMES: Final = 3  # the same, in a few words


class ValueWords(ProblemWords[P]):
    def in_reference(self, problem: P, reference: str) -> str:
        """Return the same about the values of the reference, as a clause."""
        return f"the {reference}'s values of {problem.metric} are of another kind"


class OfNoValues(ValueWords[NoValues]):
    short = "no simulation has a value"

    def reason(self, check: Check, problem: NoValues, about: str) -> str:
        return words_of(check.criterion).without_values.format(metric=problem.metric, about=about)

    def in_reference(self, problem: NoValues, reference: str) -> str:
        return f"the {reference} has no values of {problem.metric}"


class OfOneValue(ValueWords[OneValue]):
    short = "only one simulation has a value"

    def reason(self, check: Check, problem: OneValue, about: str) -> str:
        return f"{problem.metric} has only one value{about}, so {_what(check)} is unknown"

    def in_reference(self, problem: OneValue, reference: str) -> str:
        return f"the {reference} has only one value of {problem.metric}"


class OfNoNumbers(ValueWords[NoNumbers]):
    def text(self, problem: NoNumbers) -> str:
        return f"some values are not numbers: {_samples_text(problem.samples)}"

    def reason(self, check: Check, problem: NoNumbers, about: str) -> str:
        unknown = f"{_what(check)} is unknown{about}"
        return f"{problem.metric} has values that are not numbers ({_samples_text(problem.samples)}), so {unknown}"

    def in_reference(self, problem: NoNumbers, reference: str) -> str:
        return f"the {reference} has values of {problem.metric} that are not numbers"


class OfCannotOccur(ValueWords[CannotOccur]):
    def text(self, problem: CannotOccur) -> str:
        return f"its values are {_kind(problem)}: {_different_text(problem)}"

    def reason(self, check: Check, problem: CannotOccur, about: str) -> str:
        named = " or ".join(quoted(value, VALUE_SHOWN) for value in problem.wanted)
        why = f"Its values are {_kind(problem)} ({_different_text(problem)})"
        return f"{problem.metric} cannot be {named}{about}. {why}, so {_what(check)} cannot be judged"


class OfNoSuchValue(ValueWords[NoSuchValue]):
    def text(self, problem: NoSuchValue) -> str:
        if problem.similar:
            return f"did you mean {value_text(problem.similar)}?"
        return f"its values are {_values_text(problem)}"

    def reason(self, check: Check, problem: NoSuchValue, about: str) -> str:
        named = " or ".join(quoted(value, VALUE_SHOWN) for value in problem.wanted)
        verb = "cannot be" if problem.allowed else "is never"
        meant = f" (did you mean {value_text(problem.similar)}?)" if problem.similar else ""
        known = _known_values(problem)
        return f"{problem.metric} {verb} {named}{meant}. {known}, so {_what(check)} cannot be judged"


class OfOnlySummary(ValueWords[OnlySummary]):
    short = "Coval reports no individual values"

    def reason(self, check: Check, problem: OnlySummary, about: str) -> str:
        return words_of(check.criterion).with_summary.format(metric=problem.metric, what=_what(check), about=about)

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


def _what(check: Check) -> str:
    return words_of(check.criterion).what(check.criterion)


def seen_text(seen: Sequence[str], different: int) -> str:
    more = f" and {different - len(seen):,} more" if different > len(seen) else ""
    return ", ".join(value_text(value) for value in seen) + more


def _known_values(problem: NoSuchValue) -> str:
    """Return which values the metric can have, and which the run has, as the beginning of a sentence."""
    if not problem.allowed:
        return f"This run has {_values_text(problem)}"
    seen = f" (this run has {seen_text(problem.seen, problem.different)})" if problem.seen else ""
    return f"Its values are {_values_text(problem)}{seen}"


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


class OfNoMutations(ProblemWords[NoMutations]):
    short = "the run has no mutations"

    def reason(self, check: Check, problem: NoMutations, about: str) -> str:
        threshold = criterion_text(check.criterion)
        return f"{threshold} compares mutations with the agent itself, but the run has no mutations"


class OfNoBaseline(ProblemWords[NoBaseline]):
    def text(self, problem: NoBaseline) -> str:
        return "no base" if _is_of_base(problem) else "no baseline"

    def reason(self, check: Check, problem: NoBaseline, about: str) -> str:
        if _is_of_base(problem):
            return f"Nothing can be compared with the base, because {no_baseline_text(problem.source, problem.reason)}"
        return f"There is no baseline: {no_baseline_text(problem.source, problem.reason)}"


def _is_of_base(problem: NoBaseline) -> bool:
    return problem.source is not None and problem.source.kind == "base_agent"


class OfNotInBaseline(ProblemWords[NotInBaseline]):
    def text(self, problem: NotInBaseline) -> str:
        return f"the other side does not have the {problem.what}"

    def reason(self, check: Check, problem: NotInBaseline, about: str) -> str:
        if problem.what == "mutation":
            reference = NAMES[check.reference]
            return _incomparable(check, about, f"the {reference} {no_simulations_text(problem.name)}")
        if check.reference == "base_agent":
            return _incomparable(check, about, f"the base's run does not have the metric {problem.name}")
        return _incomparable(check, about, f"no baseline run has the metric {problem.name}; {START_OVER}")


class OfUnusableBaseline(ProblemWords[UnusableBaseline]):
    short = "the other side's values cannot be compared"

    def reason(self, check: Check, problem: UnusableBaseline, about: str) -> str:
        words = VALUE_WORDS[type(problem.problem)]
        return _incomparable(check, about, words.in_reference(problem.problem, NAMES[check.reference]))


class OfAccepted(ProblemWords[Accepted]):
    short = "accepted"

    def reason(self, check: Check, problem: Accepted, about: str) -> str:
        return f"{criterion_text(check.criterion)} is not compared: a person accepted this run"


class OfPersonaChanged(ProblemWords[PersonaChanged]):
    short = OTHER_PERSONA_TEXT

    def reason(self, check: Check, problem: PersonaChanged, about: str) -> str:
        return f"{_nothing_like(problem.since)}: {OTHER_PERSONA}; {START_OVER}"


class OfJudgeChanged(ProblemWords[JudgeChanged]):
    short = OTHER_METRIC_TEXT

    def reason(self, check: Check, problem: JudgeChanged, about: str) -> str:
        return f"{_nothing_like(problem.since)}{about}: it used another version of {problem.metric}; {START_OVER}"


class OfCasesUnknown(ProblemWords[CasesUnknown]):
    short = "the test cases are unknown"

    def reason(self, check: Check, problem: CasesUnknown, about: str) -> str:
        return "Nothing can be compared: Coval does not say which test case each simulation belongs to"


class OfTooFewShared(ProblemWords[TooFewShared]):
    def text(self, problem: TooFewShared) -> str:
        return plural(problem.shared, "shared test case")

    def reason(self, check: Check, problem: TooFewShared, about: str) -> str:
        left = left_out_text(problem.left_out, NAMES[check.reference])
        if not problem.shared and problem.since and problem.left_out.changed:
            nothing = f"{_nothing_like(problem.since)}{about}"
            return f"{nothing}: no test case is still the same (left out: {left}); {START_OVER}"
        why = f"; left out: {left}" if left else ""
        few = f"{plural(problem.shared, 'shared test case')}, but a comparison needs at least two{why}"
        return _incomparable(check, about, few)


class OfUnequalCounts(ProblemWords[UnequalCounts]):
    def text(self, problem: UnequalCounts) -> str:
        return f"{problem.now:,} simulations, not {problem.earlier:,}"

    def reason(self, check: Check, problem: UnequalCounts, about: str) -> str:
        counts = f"this run has {problem.now:,} and the {NAMES[check.reference]} {problem.earlier:,}"
        use = "use a rate, or launch both with the same iteration_count"
        return _incomparable(check, about, f"it counts simulations, of which {counts}; {use}")


COMPARISON_WORDS: Final[Mapping[type[Any], ProblemWords[Any]]] = {
    NoMutations: OfNoMutations(),
    NoBaseline: OfNoBaseline(),
    NotInBaseline: OfNotInBaseline(),
    UnusableBaseline: OfUnusableBaseline(),
    Accepted: OfAccepted(),
    PersonaChanged: OfPersonaChanged(),
    JudgeChanged: OfJudgeChanged(),
    CasesUnknown: OfCasesUnknown(),
    TooFewShared: OfTooFewShared(),
    UnequalCounts: OfUnequalCounts(),
}


def _incomparable(check: Check, about: str, why: str) -> str:
    return f"{criterion_text(check.criterion)} cannot be compared{about}: {why}"


def _nothing_like(run: Run) -> str:
    return f"Nothing can be compared with the baseline, run {dated_text(run)}"


def problem_text(problem: Problem) -> str:
    return WORDS[type(problem)].text(problem)


def problem_reason(check: Check, problem: Problem) -> str:
    """Return the reason of a check that has no measure, without a full stop."""
    where = runs_text(check) if check.run_id and check.verdict is Verdict.FAILED else ""
    return WORDS[type(problem)].reason(check, problem, f"{whom(check)}{where}")


class OfNoSuchMetric(ProblemWords[NoSuchMetric]):
    def text(self, problem: NoSuchMetric) -> str:
        if problem.similar:
            return f"did you mean {problem.similar}?"
        return f"it has only {in_words(problem.names, most=FEW_NAMES)}" if problem.names else "it has no metrics at all"

    def reason(self, check: Check, problem: NoSuchMetric, about: str) -> str:
        metric = quoted(problem.metric)
        if not problem.names:
            return f"The run has no metric {metric}; it has no metrics at all"
        meant = f"did you mean {problem.similar}? It has" if problem.similar else "it has"
        return f"The run has no metric {metric}; {meant} {in_words(problem.names, most=NAMES_SHOWN)}"


class OfNotListed(ProblemWords[NotListed]):
    short = "Coval does not list it"

    def reason(self, check: Check, problem: NotListed, about: str) -> str:
        return (
            f"Coval announced the metric {problem.metric} for the run, but does not list it; to run without it, set "
            "metric_ids to the other metrics"
        )


class OfNotSettled(ProblemWords[NotSettled]):
    short = "its lists were still changing at the deadline"

    def reason(self, check: Check, problem: NotSettled, about: str) -> str:
        unknown = "Coval does not say how many simulations and metrics the run has"
        return f"{unknown}, and {self.text(problem)}"


class OfSeveralMetrics(ProblemWords[SeveralMetrics]):
    def text(self, problem: SeveralMetrics) -> str:
        return f"{plural(len(problem.ids), 'metric')} of this name"

    def reason(self, check: Check, problem: SeveralMetrics, about: str) -> str:
        metric, ids = quoted(problem.metric), " or ".join(problem.ids)
        return f"The run has {len(problem.ids)} metrics named {metric}; use the id of one: {ids}"


class OfNoTargets(ProblemWords[NoTargets]):
    short = "no metric has a target"

    def reason(self, check: Check, problem: NoTargets, about: str) -> str:
        return "No metric of the run has a target in Coval, so use_metric_targets and pass_rate have nothing to check"


class OfUnusableTarget(ProblemWords[UnusableTarget]):
    def text(self, problem: UnusableTarget) -> str:
        return f"its target {target_problem_text(problem.target)}"

    def reason(self, check: Check, problem: UnusableTarget, about: str) -> str:
        return f"The target of {problem.metric} {target_problem_text(problem.target)}"


class OfVariantsMissing(ProblemWords[VariantsMissing]):
    def text(self, problem: VariantsMissing) -> str:
        return f"of {plural(problem.mutations, 'mutation')}{'' if problem.agent else ', none of the agent itself'}"

    def reason(self, check: Check, problem: VariantsMissing, about: str) -> str:
        listed = plural(problem.mutations, "mutation") + ("" if problem.agent else " and none of the agent itself")
        launched = plural(problem.launched, "mutation")
        return f"The run was launched with {launched}, but Coval lists simulations of {listed}"


class OfErrorReported(ProblemWords[ErrorReported]):
    def text(self, problem: ErrorReported) -> str:
        return f"it reports {problem.text}"

    def reason(self, check: Check, problem: ErrorReported, about: str) -> str:
        return f"The run completed, but Coval reports an error: {problem.text.rstrip('.')}"


class OfOtherCases(ProblemWords[OtherCases]):
    def text(self, problem: OtherCases) -> str:
        return f"{problem.new:,} new, {problem.gone:,} missing"

    def reason(self, check: Check, problem: OtherCases, about: str) -> str:
        of_base = check.reference == "base_agent"
        differ = (
            "The base's test cases differ from the run's" if of_base else "Its test cases differ from the first run's"
        )
        return f"{differ} ({self.text(problem)})"


class OfNotAnswered(ProblemWords[NotAnswered]):
    def text(self, problem: NotAnswered) -> str:
        return "no tag of coval-gate attach"

    def reason(self, check: Check, problem: NotAnswered, about: str) -> str:
        return NOT_ANSWERED


WORDS: Final[Mapping[type[Any], ProblemWords[Any]]] = {
    NoSuchMetric: OfNoSuchMetric(),
    NotListed: OfNotListed(),
    NotSettled: OfNotSettled(),
    SeveralMetrics: OfSeveralMetrics(),
    NoTargets: OfNoTargets(),
    UnusableTarget: OfUnusableTarget(),
    VariantsMissing: OfVariantsMissing(),
    ErrorReported: OfErrorReported(),
    OtherCases: OfOtherCases(),
    NotAnswered: OfNotAnswered(),
    **VALUE_WORDS,
    **COMPARISON_WORDS,
}
