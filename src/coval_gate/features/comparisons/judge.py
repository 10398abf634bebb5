"""Thresholds that refer to earlier runs, to another agent, or to the agent itself in the same run. Pure and total.

Only test cases that both sides have, with the same contents, are compared. A threshold fails if its bound is exceeded
as counted and, with a confidence, the change is larger than chance explains, given the number of thresholds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain, islice
from typing import NamedTuple

from coval_gate.coval.model import BASE, Metric, Run, RunResult
from coval_gate.features.comparisons import problems
from coval_gate.features.comparisons.family import Compared, Pairs, ruled
from coval_gate.features.comparisons.problems import dated_text
from coval_gate.gate.aggregates import aggregation_of
from coval_gate.gate.checks import REFERENCE_NAMES, Check, Problem
from coval_gate.gate.criteria import Criteria, ThresholdHolds, check_variant, subjects, with_outlier
from coval_gate.gate.measure import Baseline, BaselineRun, Comparison, LeftOut, NotFoundReason
from coval_gate.gate.population import Judged
from coval_gate.gate.problems import CASES_UNKNOWN, ONLY_SUMMARY, OTHER_CASES
from coval_gate.gate.statistics import FEWEST_CASES
from coval_gate.gate.variants import Variant, pooled, variants_of
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.aggregates import Aggregate
from coval_gate.inputs.fields import BaselineSource
from coval_gate.inputs.thresholds import Reference, Threshold


def comparable_result(own: RunResult, run: BaselineRun) -> RunResult:
    """Return a result without the changed cases, and with the metrics and targets of the judged run."""
    metrics = tuple(
        same._replace(
            id=metric.id, name=metric.name, target=metric.target, defined=metric.defined, elsewhere=metric.texts
        )
        for metric in own.metrics
        if (same := same_metric(own, run.result, metric))
    )
    simulations = tuple(
        simulation for simulation in run.result.simulations if simulation.test_case_id not in run.changed_cases
    )
    return run.result._replace(expected=len(simulations), simulations=simulations, metrics=metrics)


def metrics_about(aggregate: Aggregate | None, metric: Metric | None, own: RunResult) -> Sequence[Metric]:
    """Return the metrics that a threshold depends on: its own, or all with a target if its aggregate uses targets."""
    if metric:
        return (metric,)
    uses_targets = aggregate is not None and aggregate.kind.uses_targets
    return [other for other in own.metrics if other.target is not None] if uses_targets else ()


def same_metric(own: RunResult, earlier: RunResult, metric: Metric) -> Metric | None:
    """Match by id, else by a name that means one metric in both runs, and no other metric of the judged run."""
    matches = earlier.find_metrics(metric.id)
    if not matches and len(own.find_metrics(metric.name)) == 1:
        own_ids = {own_metric.id for own_metric in own.metrics}
        matches = tuple(other for other in earlier.find_metrics(metric.name) if other.id not in own_ids)
    return matches[0] if len(matches) == 1 else None


class Counterpart(NamedTuple):
    """The same `variant` in the baseline, of which so many `runs` cannot be compared. `since`: its newest run.

    `changed`: test cases whose contents changed since every run of it.
    """

    variant: Variant
    changed: frozenset[str] = frozenset()
    runs: int = 0
    since: Run | None = None


def compare(run: Judged) -> dict[Threshold, tuple[Check, ...]]:
    """Check thresholds with a reference on each variant. If a metric is in doubt, another check reports that."""
    compared = comparisons(run)
    members = [*chain.from_iterable(compared.values())]
    ruled_alone = enumerate(ruled(members, 1.0 - (run.criteria.confidence or 0.0), parts=run.criteria.parts))
    checks = iter([_with_outlier(check, members, place, run.criteria) for place, check in ruled_alone])
    return {
        threshold: tuple(islice(checks, len(threshold_criterion)))
        for threshold, threshold_criterion in compared.items()
    }


def _with_outlier(check: Check, compared: Sequence[Compared], place: int, criteria: Criteria) -> Check:
    if (pairs := compared[place].pairs) is None:
        return check
    criterion = criteria.threshold_criterion(pairs.threshold)

    error = 1.0 - (criteria.confidence or 0.0)

    def judged(now: Variant) -> Check:
        cases = now.numbers(pairs.metric).keys()
        if len(cases) < FEWEST_CASES:
            return check
        left = Pairs(pairs.threshold, now.comparable(cases), pairs.then.comparable(cases), pairs.metric, criterion.look)
        others = (*compared[:place], *compared[place + 1 :])
        return next(ruled([measured(criterion, left, LeftOut()), *others], error, parts=criteria.parts))

    return with_outlier(check, pairs.now, judged)


def comparisons(run: Judged) -> dict[Threshold, tuple[Compared, ...]]:
    """Return each threshold with a reference on each variant by itself, whatever the others show."""
    criteria, references = run.criteria, References(run.result, run.variants, run.baseline, run.base)
    return {
        criterion.threshold: tuple(_compared_with_reference(criterion, run, references))
        for criterion in map(criteria.threshold_criterion, criteria.thresholds)
        if run.variants and criterion.threshold.bound.reference and not criterion.accepted
    }


def _compared_with_reference(criterion: ThresholdHolds, run: Judged, references: "References") -> Iterator[Compared]:
    reference, aggregation = criterion.threshold.bound.reference, aggregation_of(criterion.threshold)
    compared = [variant for variant in run.variants if not (reference == "base" and variant.name == BASE)]
    for metric in subjects(criterion.threshold, run.result):
        if not compared:
            check = Check(criterion=criterion, verdict=Verdict.ERROR, problem=problems.NO_MUTATIONS)
            yield Compared(check.on(run.variants[0], metric))
        needed = metrics_about(criterion.threshold.aggregate, metric, run.result)
        for variant in compared:
            sample = variant.sample(metric) if metric else None
            own = aggregation.obstacle(sample) if sample and sample.metric.summary is None else None
            found = own or _against(criterion, variant, metric, references, needed)
            if isinstance(found, Problem):
                # The base agent's run must be there: otherwise everything would pass beside a base that does not work.
                is_error = reference == "base_agent" if found.is_error is None else found.is_error
                verdict = Verdict.ERROR if own or is_error else Verdict.INCONCLUSIVE
                found = Compared(Check(criterion=criterion, verdict=verdict, problem=found).on(variant, metric))
            yield found


class References:
    """Pools runs, and leaves cases out, once for all criteria."""

    def __init__(
        self, result: RunResult, variants: Sequence[Variant], baseline: Baseline | None, base: Baseline | None
    ) -> None:
        self._result = result
        self._own = {variant.name: variant for variant in variants}
        self._runs = {"baseline": baseline, "base_agent": base}
        self.restricted = cache(Variant.comparable)
        self._pools: dict[tuple[str, ...], tuple[Variant, ...]] = {}

    def of(self, kind: Reference, variant: Variant, needed: Sequence[Metric]) -> Counterpart | Problem:
        """Return the same variant in a reference, without runs with another persona or version of `needed` metrics."""
        if kind == "base":
            agent = self._own.get(BASE)
            return Counterpart(agent) if agent else problems.not_in_baseline("mutation", BASE, kind)
        baseline = self._runs[kind]
        if baseline is None or not baseline.runs:
            source = BaselineSource(kind="base_agent") if kind == "base_agent" else None
            missing = (baseline and baseline.missing) or NotFoundReason(kind="none")  # it was never looked for
            return problems.no_baseline(baseline.source if baseline else source, missing)
        since = baseline.runs[0].run
        alike = [run for run in baseline.runs if not run.changed_persona]
        if not alike:
            return problems.PERSONA_CHANGED.of(since=dated_text(since))
        for metric in needed:
            having = [run for run in alike if same_metric(self._result, run.result, metric)]
            if not having:
                return problems.not_in_baseline("metric", metric.name, kind)
            alike = [run for run in having if metric.id not in run.changed_metrics]
            if not alike:
                return problems.JUDGE_CHANGED.of(metric=metric.name, since=dated_text(having[0].run))
        earlier = self._variant(variant, alike)
        changes = [run.changed_cases for run in alike]
        if earlier:
            return Counterpart(earlier, frozenset.intersection(*changes), len(baseline.runs) - len(alike), since)
        if edited := frozenset[str]().union(*changes) & variant.cases:
            return problems.too_few_shared(0, LeftOut(changed=len(edited)), kind, since)
        return problems.not_in_baseline("mutation", variant.name, kind)

    def _variant(self, variant: Variant, runs: Sequence[BaselineRun]) -> Variant | None:
        key = tuple(run.result.run_id for run in runs)
        if key not in self._pools:
            self._pools[key] = variants_of(pooled([comparable_result(self._result, run) for run in runs]))
        pool, id_ = self._pools[key], variant.mutation_id  # which is not always known
        same = [one for one in pool if id_ and one.mutation_id == id_]
        return next(iter(same or [one for one in pool if one.name == variant.name]), None)


def _against(
    criterion: ThresholdHolds, variant: Variant, metric: Metric | None, references: References, needed: Sequence[Metric]
) -> Compared | Problem:
    metric_id = metric.id if metric else ""
    threshold, variant = criterion.threshold, variant.about(metric_id)
    kind, aggregation = threshold.bound.reference, aggregation_of(threshold)
    reference = references.of(kind, variant, needed)
    if isinstance(reference, Problem):
        return reference
    reference = reference._replace(variant=reference.variant.about(metric_id))
    earlier, own, other = reference.variant, variant.cases, reference.variant.cases
    if kind == "base_agent" and own != other and "" not in own | other:
        new, gone = f"{len(other - own):,}", f"{len(own - other):,}"
        return OTHER_CASES.of(whose="The base's", those="the run's", new=new, gone=gone)
    if metric:
        sample = earlier.find_sample(metric.id)
        if sample is None:
            return problems.not_in_baseline("metric", metric.name, kind)
        if variant.sample(metric).metric.summary is not None:
            return ONLY_SUMMARY.of(metric=metric.name)
        if unusable := ONLY_SUMMARY if sample.metric.summary is not None else aggregation.obstacle(sample):
            return problems.UNUSABLE_BASELINE.of(
                why=unusable.beside.format(reference=REFERENCE_NAMES[kind], metric=metric.name)
            )
    shared = _shared(threshold, variant, metric, reference)
    if isinstance(shared, Problem):
        return shared
    cases, left_out = shared
    if criterion.look:  # a test case that was not called is not missing
        left_out = left_out._replace(gone=0)
    now, then = references.restricted(variant, cases), references.restricted(earlier, cases)
    if aggregation.needs_equal_counts and now.total != then.total:
        return problems.UNEQUAL_COUNTS.of(now=f"{now.total:,}", earlier=f"{then.total:,}")
    return measured(criterion, Pairs(threshold, now, then, metric, criterion.look), left_out)


def _shared(
    threshold: Threshold, variant: Variant, metric: Metric | None, reference: Counterpart
) -> tuple[frozenset[str], LeftOut] | Problem:
    earlier = reference.variant
    now, then = variant.cases, earlier.cases
    if "" in now or "" in then:
        return CASES_UNKNOWN
    both = now & then
    shared = both
    if metric and threshold.aggregate.is_numeric:
        shared = shared & earlier.numbers(metric).keys() & variant.numbers(metric).keys()
    changed = reference.changed & now
    left_out = LeftOut(
        new=len(now - then - changed),
        gone=len(then - now),
        changed=len(changed),
        valueless=len(both) - len(shared),
        runs=reference.runs,
    )
    if len(shared) < FEWEST_CASES:
        return problems.too_few_shared(len(shared), left_out, threshold.bound.reference, reference.since)
    return frozenset(shared), left_out


def measured(criterion: ThresholdHolds, pairs: Pairs, left_out: LeftOut) -> Compared:
    threshold = criterion.threshold
    confidence = criterion.confidence if threshold.takes_confidence else None
    as_number = replace(criterion, threshold=threshold.against(pairs.earlier), confidence=None)
    check = check_variant(as_number, pairs.now, pairs.metric)
    measure, verdict = check.measure, check.verdict
    if measure is None:
        return Compared(replace(check, criterion=criterion))
    missing = pairs.then.sample(pairs.metric).missing if pairs.metric else 0
    failing, passing = pairs.flips()
    comparison = Comparison(
        value=pairs.earlier,
        pooled=pairs.reference.pooled,
        count=pairs.then.total - missing,
        missing=missing,
        even=pairs.value.pooled is None and pairs.reference.pooled is None,
        cases=len(pairs.now.cases),
        left_out=left_out,
        newly_failing=failing,
        newly_passing=passing,
        range=pairs.range_of_runs(),
    )
    if confidence is not None:
        verdict = pairs.verdict(check.passed, confidence)
    check = replace(
        check,
        criterion=criterion,
        verdict=verdict,
        measure=replace(measure, comparison=comparison),
        simulations=() if verdict is Verdict.PASSED else check.simulations,
    )
    return Compared(check, pairs)
