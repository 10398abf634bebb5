"""Why there is no comparison with a baseline, in English.

A reason that holds for every threshold names none, so reports show it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coval_gate.judge.criteria import ThresholdHolds
from coval_gate.judge.findings import reference_of
from coval_gate.judge.problems import (
    Accepted,
    CasesUnknown,
    JudgeChanged,
    NoBaseline,
    NoMutations,
    NotInBaseline,
    PersonaChanged,
    TooFewShared,
    UnequalCounts,
    UnusableBaseline,
)
from coval_gate.report.wording.baselines import START_OVER, dated_text, left_out_text, no_baseline_text
from coval_gate.report.wording.clauses import threshold_text
from coval_gate.report.wording.comparisons import NAMES
from coval_gate.report.wording.problem_words import (
    OTHER_METRIC_TEXT,
    OTHER_PERSONA,
    OTHER_PERSONA_TEXT,
    Words,
    no_simulations_text,
)
from coval_gate.report.wording.value_problems import VALUE_WORDS
from coval_gate.text import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.judge.checks import Check
    from coval_gate.model.run import Run


class OfNoMutations(Words[NoMutations]):
    def text(self, problem: NoMutations) -> str:
        del problem
        return "the run has no mutations"

    def reason(self, check: Check, problem: NoMutations, about: str) -> str:
        del problem, about
        return f"{_threshold(check)} compares mutations with the agent itself, but the run has no mutations"


class OfNoBaseline(Words[NoBaseline]):
    def text(self, problem: NoBaseline) -> str:
        del problem
        return "no baseline"

    def reason(self, check: Check, problem: NoBaseline, about: str) -> str:
        del check, about
        return f"There is no baseline: {no_baseline_text(problem.source, problem.reason)}"


class OfNotInBaseline(Words[NotInBaseline]):
    def text(self, problem: NotInBaseline) -> str:
        return f"the baseline does not have the {problem.what}"

    def reason(self, check: Check, problem: NotInBaseline, about: str) -> str:
        if problem.what == "mutation":
            reference = NAMES[reference_of(check)]
            return _incomparable(check, about, f"the {reference} {no_simulations_text(problem.name)}")
        return _incomparable(check, about, f"no baseline run has the metric {problem.name}; {START_OVER}")


class OfUnusableBaseline(Words[UnusableBaseline]):
    def text(self, problem: UnusableBaseline) -> str:
        del problem
        return "the baseline's values cannot be compared"

    def reason(self, check: Check, problem: UnusableBaseline, about: str) -> str:
        words = VALUE_WORDS[type(problem.problem)]
        return _incomparable(check, about, words.in_reference(problem.problem, NAMES[reference_of(check)]))


class OfAccepted(Words[Accepted]):
    def text(self, problem: Accepted) -> str:
        del problem
        return "accepted"

    def reason(self, check: Check, problem: Accepted, about: str) -> str:
        del problem, about
        return f"{_threshold(check)} is not compared: a person accepted this run"


class OfPersonaChanged(Words[PersonaChanged]):
    def text(self, problem: PersonaChanged) -> str:
        del problem
        return OTHER_PERSONA_TEXT

    def reason(self, check: Check, problem: PersonaChanged, about: str) -> str:
        del check, about
        return f"{_nothing_like(problem.since)}: {OTHER_PERSONA}; {START_OVER}"


class OfJudgeChanged(Words[JudgeChanged]):
    def text(self, problem: JudgeChanged) -> str:
        del problem
        return OTHER_METRIC_TEXT

    def reason(self, check: Check, problem: JudgeChanged, about: str) -> str:
        del check
        return f"{_nothing_like(problem.since)}{about}: it used another version of {problem.metric}; {START_OVER}"


class OfCasesUnknown(Words[CasesUnknown]):
    def text(self, problem: CasesUnknown) -> str:
        del problem
        return "the test cases are unknown"

    def reason(self, check: Check, problem: CasesUnknown, about: str) -> str:
        del check, problem, about
        return "Nothing can be compared: Coval does not say which test case each simulation belongs to"


class OfTooFewShared(Words[TooFewShared]):
    def text(self, problem: TooFewShared) -> str:
        return plural(problem.shared, "shared test case")

    def reason(self, check: Check, problem: TooFewShared, about: str) -> str:
        left = left_out_text(problem.left_out, NAMES[reference_of(check)])
        if not problem.shared and problem.since and problem.left_out.changed:
            nothing = f"{_nothing_like(problem.since)}{about}"
            return f"{nothing}: no test case is still the same (left out: {left}); {START_OVER}"
        why = f"; left out: {left}" if left else ""
        few = f"{plural(problem.shared, 'shared test case')}, but a comparison needs at least two{why}"
        return _incomparable(check, about, few)


class OfUnequalCounts(Words[UnequalCounts]):
    def text(self, problem: UnequalCounts) -> str:
        return f"{problem.now:,} simulations, not {problem.earlier:,}"

    def reason(self, check: Check, problem: UnequalCounts, about: str) -> str:
        counts = f"this run has {problem.now:,} and the {NAMES[reference_of(check)]} {problem.earlier:,}"
        use = "use a rate, or launch both with the same iteration_count"
        return _incomparable(check, about, f"it counts simulations, of which {counts}; {use}")


COMPARISON_WORDS: Final[Mapping[type[Any], Words[Any]]] = {
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


def _threshold(check: Check) -> str:
    return threshold_text(check.criterion.threshold) if isinstance(check.criterion, ThresholdHolds) else ""


def _incomparable(check: Check, about: str, why: str) -> str:
    return f"{_threshold(check)} cannot be compared{about}: {why}"


def _nothing_like(run: Run) -> str:
    return f"Nothing can be compared with the baseline, run {dated_text(run)}"
