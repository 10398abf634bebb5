"""Judges the outcome of a run by the user's criteria. Pure and total.

Missing values are never ignored: a rate must meet its threshold whatever value a failed simulation, or one without a
value, could have had. If more of them lack a value than may fail, there is no verdict on that metric at all.
"""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from coval_gate.base.text import most_similar, quoted
from coval_gate.coval.model import CANCELLED, COMPLETED, DELETED, ERROR, FAILED, Metric, RunResult, Target
from coval_gate.gate import problems
from coval_gate.gate.checks import Check, Problem
from coval_gate.gate.criteria import Criteria, TargetMet, check_variant, subjects, with_outlier
from coval_gate.gate.judgement import Judgement, with_checks
from coval_gate.gate.measure import Baseline, Measure, Totals
from coval_gate.gate.population import (
    ALL_ANSWERED,
    METRICS_HAVE_TARGETS,
    Judged,
    MetricHasValues,
    MetricPresent,
    population_checks,
)
from coval_gate.gate.values import named_values, target_problem
from coval_gate.gate.variants import Variant, variants_of
from coval_gate.gate.verdict import TIMEOUT, Aborted, Completed, Limit, NotCompleted, Outcome, Unanswered, Verdict
from coval_gate.inputs.thresholds import Threshold

STOPPED: Final = (CANCELLED, DELETED)  # what became of a run that a person ended, whoever answered it


def judge_outcome(
    outcome: Outcome,
    criteria: Criteria,
    baseline: Baseline | None = None,
    base: Baseline | None = None,
    attached: bool | None = None,
) -> Judgement:
    """Judge a run. `base`: the base agent's run. `attached`: whether a job answered; None if that is no job's to do."""
    match outcome:
        case Completed(result=result, late=late):
            return judge(result, criteria, baseline=baseline, base=base, late=late, attached=attached)
        case NotCompleted(run=run) | Aborted(run=run) if attached is False and run.status not in STOPPED:
            return Judgement(verdict=Verdict.ERROR, status=ERROR, cause=Unanswered(run))
        case NotCompleted(run=run):
            verdict = {FAILED: Verdict.FAILED, ERROR: Verdict.ERROR}.get(run.status, Verdict.CANCELLED)
            return Judgement(verdict=verdict, status=run.status, cause=outcome)
        case Aborted():
            return Judgement(verdict=Verdict.FAILED, status=FAILED, cause=outcome)
    return Judgement(verdict=Verdict.TIMED_OUT, status=TIMEOUT, cause=outcome)


def judge(
    result: RunResult,
    criteria: Criteria,
    *,
    baseline: Baseline | None = None,
    base: Baseline | None = None,
    late: Limit | None = None,
    attached: bool | None = None,
) -> Judgement:
    """Judge a run that completed, as in `judge_outcome`. `late`: the limit that passed before its data were there."""
    if criteria.known:
        from coval_gate.features.known_failures.judge import without_known

        result, baseline, base = without_known(result, baseline, base, criteria.known)
    result = _with_texts_of(base, _with_texts_of(baseline, result))
    variants = variants_of(result, criteria.mutations)
    judged = Judged(result, variants, criteria, attached, baseline, base)
    population = population_checks(judged)
    values = tuple(_values(judged))
    if any(check.verdict is Verdict.FAILED for check in population):
        # If no simulation of a variant completed, report its lack of values as the agent's failure, not as an error.
        silent = {variant.name for variant in variants if not variant.completed}
        all_silent = len(silent) == len(variants)
        values = tuple(
            replace(check, verdict=Verdict.FAILED)
            if check.verdict is Verdict.ERROR and (check.variant in silent if check.several else all_silent)
            else check
            for check in values
        )
    answered = tuple(ALL_ANSWERED.checks(judged))
    checks = (*answered, *population, *values)
    totals = Totals(
        total=max(len(result.simulations), result.expected),
        completed=sum(len(variant.completed) for variant in variants),
        unpassed=tuple(one.id for own in variants for one in own.simulations if one.id not in own.passing),
        unlisted=max(0, result.expected - len(result.simulations)),
    )
    completed = Completed(result, late)
    run = Judgement(Verdict.PASSED, COMPLETED, completed, (), totals, variants, baseline=baseline, base=base)
    if criteria.known:
        from coval_gate.features.known_failures.judge import known_cases, unusable_entries

        run = run._replace(known=known_cases(judged, checks))
        checks = (*answered, *unusable_entries(judged), *population, *values)
    return with_checks(run, checks)


def _with_texts_of(baseline: Baseline | None, result: RunResult) -> RunResult:
    """Return the run's result with the texts of its metrics in the baseline, which are possible values, too."""
    if baseline is None or not baseline.runs:
        return result
    earlier = [metric for run in baseline.runs for metric in run.result.metrics]
    metrics = tuple(
        metric._replace(elsewhere=metric.elsewhere.union(*(other.texts for other in earlier if other.id == metric.id)))
        for metric in result.metrics
    )
    return result._replace(metrics=metrics)


def _values(run: Judged) -> Iterator[Check]:
    for reference in run.criteria.references:
        if problem := _not_one(reference, run.result):
            yield Check(criterion=MetricPresent(reference=reference), verdict=Verdict.ERROR, problem=problem)
    yield from gaps(run)
    for name in run.result.absent_metrics:
        problem = problems.NOT_LISTED.of(metric=name)
        yield Check(criterion=MetricPresent(reference=name), verdict=Verdict.ERROR, problem=problem)
    if run.criteria.judges_targets:
        yield from _targets(run)
    yield from _thresholds(run)


def _thresholds(run: Judged) -> Iterator[Check]:
    compared: Mapping[Threshold, Sequence[Check]] = {}
    if any(threshold.bound.reference for threshold in run.criteria.thresholds):
        from coval_gate.features.comparisons.judge import compare

        compared = compare(run)
    for criterion in map(run.criteria.threshold_criterion, run.criteria.thresholds):
        threshold = criterion.threshold
        if criterion.accepted:
            yield Check(criterion=criterion, verdict=Verdict.PASSED, problem=problems.ACCEPTED_RUN)
        elif threshold.advisory and (problem := _advisory_problem(threshold, run.result)):
            yield Check(criterion=criterion, verdict=Verdict.ERROR, problem=problem)
        elif threshold in compared:
            yield from compared[threshold]
        else:
            for metric in subjects(threshold, run.result):
                for variant in run.variants:
                    judged = partial(check_variant, criterion, metric=metric)
                    yield with_outlier(judged(variant), variant, judged)


def _advisory_problem(threshold: Threshold, result: RunResult) -> Problem | None:
    """Return why an advisory threshold cannot be measured; for others, a separate check reports that."""
    if threshold.aggregate.kind.uses_targets and all(metric.target is None for metric in result.metrics):
        return problems.NO_TARGETS
    return _not_one(threshold.metric, result) if threshold.metric else None


def gaps(run: Judged) -> Iterator[Check]:
    """Yield a missed check for each metric that the criteria name and that lacks more values than may be missing.

    A threshold on its missing values replaces the check.
    """
    limited = [threshold.metric for threshold in run.criteria.thresholds if threshold.limits_missing]
    limits = {metric.id for metric in _named_metrics(limited, run.result)}
    for metric in _named_metrics(run.criteria.references, run.result):
        if metric.summary is None and metric.id not in limits:
            yield from _gaps(metric, run)


def _named_metrics(references: Iterable[str], result: RunResult) -> Collection[Metric]:
    """Return each metric that one of the references names, without names that stand for several."""
    named = map(result.find_metrics, references)
    return {metrics[0].id: metrics[0] for metrics in named if len(metrics) == 1}.values()


def _not_one(reference: str, result: RunResult) -> Problem | None:
    metrics = result.find_metrics(reference)
    if len(metrics) == 1:
        return None
    if metrics:
        ids = " or ".join(metric.id for metric in metrics)
        return problems.SEVERAL_METRICS.of(metric=quoted(reference), count=f"{len(metrics):,}", ids=ids)
    names = list(dict.fromkeys(metric.name for metric in result.metrics))
    ranked = difflib.get_close_matches(reference, names, n=len(names) or 1, cutoff=0.0)
    return problems.no_such_metric(reference, ranked, most_similar(reference, names))


def _gaps(metric: Metric, run: Judged) -> Iterator[Check]:
    """Check that no more completed simulations lack a value than may fail; failed ones have a check of their own."""
    max_failed = run.criteria.max_failed
    for variant in run.variants:
        counted, present = variant.about(metric.id), variant.sample(metric).count
        lacking = len(counted.completed) - present
        # Failed simulations use the allowance first; the rest of it is for missing values.
        most = max(0, max_failed.of(variant.total) - variant.failed)
        if lacking > most:
            criterion = MetricHasValues(metric=metric.name, allowance=max_failed, most=most)
            measure = Measure(value=lacking, unit="simulations", count=present, missing=lacking)
            yield Check(criterion=criterion, verdict=Verdict.ERROR, measure=measure).on(counted, metric)


def _targets(run: Judged) -> Iterator[Check]:
    result, criteria = run.result, run.criteria
    with_target = [(metric, metric.target) for metric in result.metrics if metric.target is not None]
    unidentified = [metric for metric in result.metrics if not metric.is_identified]
    for metric in unidentified:  # whether it has a target is unknown
        problem = problems.UNIDENTIFIED.of(metric=metric.name)
        yield Check(criterion=METRICS_HAVE_TARGETS, verdict=Verdict.ERROR, problem=problem, metric=metric.id)
    if not with_target and not result.absent_metrics and not unidentified:
        yield Check(criterion=METRICS_HAVE_TARGETS, verdict=Verdict.ERROR, problem=problems.NO_TARGETS)
    named = {metric.id for metric in _named_metrics(criteria.references, result)}
    for metric, target in with_target:
        if trouble := target_problem(target):
            criterion = TargetMet(metric=metric.name, target=target)
            unusable = problems.UNUSABLE_TARGET.of(metric=metric.name, trouble=trouble)
            yield Check(criterion=criterion, verdict=Verdict.ERROR, problem=unusable)
            continue
        if metric.id not in named:  # gaps of named metrics are checked already
            yield from _gaps(metric, run)
        for variant in run.variants:
            yield _target(metric, target, variant.about(metric.id), decides=criteria.requires_every_target)


def _target(metric: Metric, target: Target, variant: Variant, *, decides: bool) -> Check:
    """Check one target. `decides`: a single miss fails the gate; otherwise, `pass_rate` decides how many may miss."""
    criterion = TargetMet(metric=metric.name, target=target, user_defined=decides)
    sample = variant.sample(metric)
    wanted = named_values(target)
    if not sample.count or not sample.can_be_any_of(wanted):
        problem = problems.unlike(sample, wanted) if sample.count else problems.NO_VALUES.of(metric=metric.name)
        return Check(criterion=criterion, verdict=Verdict.ERROR, problem=problem).on(variant, metric)
    unmet = tuple(criterion.missing_it(variant, sample, None))
    measure = Measure(value=sample.count - len(unmet), unit="simulations", count=sample.count, missing=sample.missing)
    verdict = Verdict.FAILED if unmet and decides else Verdict.PASSED
    return Check(criterion=criterion, verdict=verdict, measure=measure, simulations=unmet).on(variant, metric)
