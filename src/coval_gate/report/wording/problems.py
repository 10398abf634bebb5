"""Each kind of problem in English: why a criterion could not be measured, in a few words or as a sentence.

Each kind has one entry in WORDS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coval_gate.base.text import in_words, plural, quoted
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
from coval_gate.report.wording.baselines import DRIFT_WORDS, ProblemWords
from coval_gate.report.wording.clauses import all_runs_text, runs_text, target_problem_text, whom
from coval_gate.report.wording.problem_texts import COMPARISON_WORDS, VALUE_WORDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.judge.checks import Check
    from coval_gate.judge.criteria import Criterion
    from coval_gate.judge.problems import Problem

NAMES_SHOWN: Final = 8  # metrics of a run that lacks the one that was named, in a sentence
FEW_NAMES: Final = 3  # the same, in a few words


def problem_text(problem: Problem) -> str:
    """Return in a few words what to show in place of a value."""
    return WORDS[type(problem)].text(problem)


def problem_reason(check: Check, problem: Problem) -> str:
    """Return the reason of a check that has no measure, without a full stop."""
    where = runs_text(check) if check.run_id and check.verdict is Verdict.FAILED else ""
    return WORDS[type(problem)].reason(check, problem, f"{whom(check)}{where}")


class OfNoSuchMetric(ProblemWords[NoSuchMetric]):
    def text(self, problem: NoSuchMetric) -> str:
        if problem.similar:
            return f"did you mean {problem.similar}?"
        return f"it has only {in_words(problem.known, most=FEW_NAMES)}" if problem.known else "it has no metrics at all"

    def reason(self, check: Check, problem: NoSuchMetric, about: str) -> str:
        del about
        metric = _metric_named(check.criterion)
        if not problem.known:
            return f"The run has no metric {metric}; it has no metrics at all"
        meant = f"did you mean {problem.similar}? It has" if problem.similar else "it has"
        return f"The run has no metric {metric}; {meant} {in_words(problem.known, most=NAMES_SHOWN)}"


class OfNotListed(ProblemWords[NotListed]):
    def text(self, problem: NotListed) -> str:
        del problem
        return "Coval does not list it"

    def reason(self, check: Check, problem: NotListed, about: str) -> str:
        del problem, about
        metric = check.criterion.reference if isinstance(check.criterion, MetricPresent) else ""
        return (
            f"Coval announced the metric {metric} for the run, but does not list it; to run without it, set metric_ids "
            "to the other metrics"
        )


class OfNotSettled(ProblemWords[NotSettled]):
    def text(self, problem: NotSettled) -> str:
        del problem
        return "its lists were still changing at the deadline"

    def reason(self, check: Check, problem: NotSettled, about: str) -> str:
        del check, about
        unknown = "Coval does not say how many simulations and metrics the run has"
        return f"{unknown}, and {self.text(problem)}"


class OfSeveralMetrics(ProblemWords[SeveralMetrics]):
    def text(self, problem: SeveralMetrics) -> str:
        return f"{plural(len(problem.ids), 'metric')} of this name"

    def reason(self, check: Check, problem: SeveralMetrics, about: str) -> str:
        del about
        metric, ids = _metric_named(check.criterion), " or ".join(problem.ids)
        return f"The run has {len(problem.ids)} metrics named {metric}; use the id of one: {ids}"


class OfNoTargets(ProblemWords[NoTargets]):
    def text(self, problem: NoTargets) -> str:
        del problem
        return "no metric has a target"

    def reason(self, check: Check, problem: NoTargets, about: str) -> str:
        del check, problem, about
        return "No metric of the run has a target in Coval, so use_metric_targets and pass_rate have nothing to check"


class OfUnusableTarget(ProblemWords[UnusableTarget]):
    def text(self, problem: UnusableTarget) -> str:
        return f"its target {target_problem_text(problem.target)}"

    def reason(self, check: Check, problem: UnusableTarget, about: str) -> str:
        del about
        metric = check.criterion.metric if isinstance(check.criterion, TargetMet) else ""
        return f"The target of {metric} {target_problem_text(problem.target)}"


class OfVariantsMissing(ProblemWords[VariantsMissing]):
    def text(self, problem: VariantsMissing) -> str:
        return f"of {plural(problem.mutations, 'mutation')}{'' if problem.agent else ', none of the agent itself'}"

    def reason(self, check: Check, problem: VariantsMissing, about: str) -> str:
        del about
        criterion = check.criterion
        launched = plural(criterion.mutations, "mutation") if isinstance(criterion, VariantsPresent) else ""
        listed = plural(problem.mutations, "mutation") + ("" if problem.agent else " and none of the agent itself")
        return f"The run was launched with {launched}, but Coval lists simulations of {listed}"


class OfErrorReported(ProblemWords[ErrorReported]):
    def text(self, problem: ErrorReported) -> str:
        return f"it reports {problem.text}"

    def reason(self, check: Check, problem: ErrorReported, about: str) -> str:
        del check, about
        return f"The run completed, but Coval reports an error: {problem.text.rstrip('.')}"


class OfOtherCases(ProblemWords[OtherCases]):
    def text(self, problem: OtherCases) -> str:
        return f"{problem.new:,} new, {problem.gone:,} missing"

    def reason(self, check: Check, problem: OtherCases, about: str) -> str:
        del check, about
        return f"Its test cases differ from the first run's ({self.text(problem)})"


class OfFlaky(ProblemWords[Flaky]):
    def text(self, problem: Flaky) -> str:
        return f"the first run failed, but {all_runs_text(problem.runs)} together did not"

    def reason(self, check: Check, problem: Flaky, about: str) -> str:
        del check, about
        together = f"{all_runs_text(problem.runs)} together did not (flaky)"
        return f"The first run failed, but {together}, and on_flaky is fail"


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
    Flaky: OfFlaky(),
    **VALUE_WORDS,
    **COMPARISON_WORDS,
    **DRIFT_WORDS,
}


def _metric_named(criterion: Criterion) -> str:
    """Return the metric as the user named it; an advisory threshold has no separate criterion for its metric."""
    if isinstance(criterion, ThresholdHolds):
        return quoted(criterion.threshold.metric)
    return quoted(criterion.reference) if isinstance(criterion, MetricPresent) else ""
