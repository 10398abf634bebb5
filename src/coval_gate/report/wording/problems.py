"""Each kind of problem in English: what stands in the way of a criterion, in a few words or as a sentence.

A kind has one entry in WORDS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coval_gate.judge.criteria import MetricPresent, TargetMet, ThresholdHolds, VariantsPresent
from coval_gate.judge.problems import (
    ErrorReported,
    Flaky,
    NoSuchMetric,
    NoTargets,
    NotListed,
    NotSettled,
    OtherCases,
    SeveralMetrics,
    UnusableTarget,
    VariantsMissing,
)
from coval_gate.judge.verdict import Verdict
from coval_gate.report.wording.clauses import runs_text, whom
from coval_gate.report.wording.comparison_problems import COMPARISON_WORDS
from coval_gate.report.wording.drift import DRIFT_WORDS
from coval_gate.report.wording.problem_words import Words
from coval_gate.report.wording.repetition import all_runs_text
from coval_gate.report.wording.targets import target_problem_text
from coval_gate.report.wording.value_problems import VALUE_WORDS
from coval_gate.text import in_words, plural, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.judge.checks import Check
    from coval_gate.judge.criteria import Criterion
    from coval_gate.judge.problems import Problem

NAMES_SHOWN: Final = 8  # metrics that a run has, where it lacks the one that was named
FEW_NAMES: Final = 3  # the same, in a few words


def problem_text(found: Problem) -> str:
    """Return in a few words what was found in place of a value."""
    return WORDS[type(found)].text(found)


def problem_reason(check: Check, found: Problem) -> str:
    """Return the reason of a check that has no measure, without a full stop."""
    where = runs_text(check) if check.run_id and check.verdict is Verdict.FAILED else ""
    return WORDS[type(found)].reason(check, found, f"{whom(check)}{where}")


class OfNoSuchMetric(Words[NoSuchMetric]):
    def text(self, found: NoSuchMetric) -> str:
        if found.similar:
            return f"did you mean {found.similar}?"
        return f"it has only {in_words(found.known, most=FEW_NAMES)}" if found.known else "it has no metrics at all"

    def reason(self, check: Check, found: NoSuchMetric, about: str) -> str:
        del about
        named = _metric_named(check.criterion)
        if not found.known:
            return f"The run has no metric {named}; it has no metrics at all"
        meant = f"did you mean {found.similar}? It has" if found.similar else "it has"
        return f"The run has no metric {named}; {meant} {in_words(found.known, most=NAMES_SHOWN)}"


class OfNotListed(Words[NotListed]):
    def text(self, found: NotListed) -> str:
        del found
        return "Coval does not list it"

    def reason(self, check: Check, found: NotListed, about: str) -> str:
        del found, about
        metric = check.criterion.reference if isinstance(check.criterion, MetricPresent) else ""
        return (
            f"Coval announced the metric {metric} for the run, but does not list it; to do without it, set metric_ids "
            "to the other metrics"
        )


class OfNotSettled(Words[NotSettled]):
    def text(self, found: NotSettled) -> str:
        del found
        return "its lists still changed at the deadline"

    def reason(self, check: Check, found: NotSettled, about: str) -> str:
        del check, about
        unknown = "Coval does not say how many simulations and metrics the run has"
        return f"{unknown}, and {self.text(found)}"


class OfSeveralMetrics(Words[SeveralMetrics]):
    def text(self, found: SeveralMetrics) -> str:
        return f"{plural(len(found.ids), 'metric')} of this name"

    def reason(self, check: Check, found: SeveralMetrics, about: str) -> str:
        del about
        named, ids = _metric_named(check.criterion), " or ".join(found.ids)
        return f"The run has {len(found.ids)} metrics named {named}; use the id of one of them: {ids}"


class OfNoTargets(Words[NoTargets]):
    def text(self, found: NoTargets) -> str:
        del found
        return "no metric has a target"

    def reason(self, check: Check, found: NoTargets, about: str) -> str:
        del check, found, about
        return "No metric of the run has a target in Coval, so use_metric_targets and pass_rate have nothing to check"


class OfUnusableTarget(Words[UnusableTarget]):
    def text(self, found: UnusableTarget) -> str:
        return f"its target {target_problem_text(found.target)}"

    def reason(self, check: Check, found: UnusableTarget, about: str) -> str:
        del about
        metric = check.criterion.metric if isinstance(check.criterion, TargetMet) else ""
        return f"The target of {metric} {target_problem_text(found.target)}"


class OfVariantsMissing(Words[VariantsMissing]):
    def text(self, found: VariantsMissing) -> str:
        return f"of {plural(found.mutations, 'mutation')}{'' if found.agent else ', none of the agent itself'}"

    def reason(self, check: Check, found: VariantsMissing, about: str) -> str:
        del about
        criterion = check.criterion
        launched = plural(criterion.mutations, "mutation") if isinstance(criterion, VariantsPresent) else ""
        listed = plural(found.mutations, "mutation") + ("" if found.agent else " and none of the agent itself")
        return f"The run was launched with {launched}, but Coval lists simulations of {listed}"


class OfErrorReported(Words[ErrorReported]):
    def text(self, found: ErrorReported) -> str:
        return f"it reports {found.text}"

    def reason(self, check: Check, found: ErrorReported, about: str) -> str:
        del check, about
        return f"The run completed, but Coval reports an error: {found.text.rstrip('.')}"


class OfOtherCases(Words[OtherCases]):
    def text(self, found: OtherCases) -> str:
        return f"{found.new:,} new, {found.gone:,} missing"

    def reason(self, check: Check, found: OtherCases, about: str) -> str:
        del check, about
        return f"Its test cases are not those of the first run ({self.text(found)})"


class OfFlaky(Words[Flaky]):
    def text(self, found: Flaky) -> str:
        return f"the first run failed, but {all_runs_text(found.runs)} together did not"

    def reason(self, check: Check, found: Flaky, about: str) -> str:
        del check, about
        together = f"{all_runs_text(found.runs)} together did not (flaky)"
        return f"The first run failed, but {together}, and on_flaky is fail"


WORDS: Final[Mapping[type[Any], Words[Any]]] = {
    NoSuchMetric: OfNoSuchMetric(),
    NotListed: OfNotListed(),
    NotSettled: OfNotSettled(),
    SeveralMetrics: OfSeveralMetrics(),
    NoTargets: OfNoTargets(),
    UnusableTarget: OfUnusableTarget(),
    VariantsMissing: OfVariantsMissing(),
    ErrorReported: OfErrorReported(),
    OtherCases: OfOtherCases(),
    Flaky: OfFlaky(),
    **VALUE_WORDS,
    **COMPARISON_WORDS,
    **DRIFT_WORDS,
}


def _metric_named(criterion: Criterion) -> str:
    """Return the metric as the user named it; an advisory threshold has no criterion of its own for that."""
    if isinstance(criterion, ThresholdHolds):
        return quoted(criterion.threshold.metric)
    return quoted(criterion.reference) if isinstance(criterion, MetricPresent) else ""
