"""Why there is no comparison with a baseline, in English.

What is so for every threshold does not name one, so that it is told once.
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
from coval_gate.report.wording.baselines import START_ANEW, dated_text, left_out_text, no_baseline_text
from coval_gate.report.wording.clauses import threshold_text
from coval_gate.report.wording.comparisons import NAMES
from coval_gate.report.wording.problem_words import Words
from coval_gate.report.wording.value_problems import VALUE_WORDS
from coval_gate.text import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.judge.checks import Check
    from coval_gate.model.run import Run


class OfNoMutations(Words[NoMutations]):
    def text(self, found: NoMutations) -> str:
        del found
        return "the run has no mutations"

    def reason(self, check: Check, found: NoMutations, about: str) -> str:
        del found, about
        return f"{_threshold(check)} compares mutations with the agent itself, but the run has no mutations"


class OfNoBaseline(Words[NoBaseline]):
    def text(self, found: NoBaseline) -> str:
        del found
        return "no baseline"

    def reason(self, check: Check, found: NoBaseline, about: str) -> str:
        del check, about
        return f"There is no baseline: {no_baseline_text(found.source, found.reason)}"


class OfNotInBaseline(Words[NotInBaseline]):
    def text(self, found: NotInBaseline) -> str:
        return f"the baseline does not have the {found.what}"

    def reason(self, check: Check, found: NotInBaseline, about: str) -> str:
        if found.what == "mutation":
            reference = NAMES[reference_of(check)]
            return _nothing(check, about, f"the {reference} has no simulations of {found.name or 'the agent itself'}")
        return _nothing(check, about, f"no run of the baseline has the metric {found.name}; {START_ANEW}")


class OfUnusableBaseline(Words[UnusableBaseline]):
    def text(self, found: UnusableBaseline) -> str:
        del found
        return "the baseline's values cannot be compared with"

    def reason(self, check: Check, found: UnusableBaseline, about: str) -> str:
        words = VALUE_WORDS[type(found.problem)]
        return _nothing(check, about, words.in_reference(found.problem, NAMES[reference_of(check)]))


class OfAccepted(Words[Accepted]):
    def text(self, found: Accepted) -> str:
        del found
        return "accepted"

    def reason(self, check: Check, found: Accepted, about: str) -> str:
        del found, about
        return f"{_threshold(check)} is not compared: a person accepted the run"


class OfPersonaChanged(Words[PersonaChanged]):
    def text(self, found: PersonaChanged) -> str:
        del found
        return "another persona"

    def reason(self, check: Check, found: PersonaChanged, about: str) -> str:
        del check, about
        return f"{_nothing_since(found.since)}: another persona called then, or another version of it; {START_ANEW}"


class OfJudgeChanged(Words[JudgeChanged]):
    def text(self, found: JudgeChanged) -> str:
        del found
        return "another version of the metric"

    def reason(self, check: Check, found: JudgeChanged, about: str) -> str:
        del check
        return f"{_nothing_since(found.since)}{about}: another version of {found.metric} judged it; {START_ANEW}"


class OfCasesUnknown(Words[CasesUnknown]):
    def text(self, found: CasesUnknown) -> str:
        del found
        return "the test cases are not known"

    def reason(self, check: Check, found: CasesUnknown, about: str) -> str:
        del check, found, about
        return "Nothing can be compared: Coval does not say which test case each simulation belongs to"


class OfTooFewShared(Words[TooFewShared]):
    def text(self, found: TooFewShared) -> str:
        return plural(found.shared, "shared test case")

    def reason(self, check: Check, found: TooFewShared, about: str) -> str:
        left = left_out_text(found.left_out, NAMES[reference_of(check)])
        if not found.shared and found.since and found.left_out.changed:
            since = f"{_nothing_since(found.since)}{about}"
            return f"{since}: no test case is the same any more (left out: {left}); {START_ANEW}"
        why = f"; left out: {left}" if left else ""
        few = f"{plural(found.shared, 'test case')} can be compared, and at least two are needed{why}"
        return _nothing(check, about, few)


class OfUnequalCounts(Words[UnequalCounts]):
    def text(self, found: UnequalCounts) -> str:
        return f"{found.now:,} simulations, not {found.earlier:,}"

    def reason(self, check: Check, found: UnequalCounts, about: str) -> str:
        counts = f"this run has {found.now:,}, but the {NAMES[reference_of(check)]} has {found.earlier:,}"
        use = "use a rate, or launch both with the same iteration_count"
        return _nothing(check, about, f"it counts simulations, and {counts}; {use}")


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


def _nothing(check: Check, about: str, why: str) -> str:
    return f"{_threshold(check)} has nothing to compare with{about}: {why}"


def _nothing_since(run: Run) -> str:
    return f"Nothing can be compared since the baseline, run {dated_text(run)}"
