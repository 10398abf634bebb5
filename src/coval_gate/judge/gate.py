"""The user's criteria, and what they make of a run's result. Pure and total.

What is missing is never dropped silently. The population is the list of simulations, not the values: a simulation that
failed, or has no value, counts against a rate, and where more of them lack a value than may fail, there is no verdict
on that metric at all.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from coval_gate.judge import statistics, targets
from coval_gate.judge.verdict import Check, Judgement, Population, Verdict, conclude
from coval_gate.result import BASE
from coval_gate.text import number, one_line, percent, plural, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from coval_gate.judge.thresholds import Threshold
    from coval_gate.kinds import Allowance
    from coval_gate.result import Metric, RunResult, Simulation, Summary, Target, Value

VALUE_SHOWN: Final = 40  # characters of a value
NAMES_SHOWN: Final = 8  # of the metrics that a run has, where it lacks the one asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Forbidden:
    """A value that the metric must have on no simulation (`fail_on_metric_id` and `fail_on_metric_value`)."""

    metric: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """What a run that completed has to meet."""

    max_failed: Allowance
    min_simulations: int = 1
    thresholds: tuple[Threshold, ...] = ()
    use_metric_targets: bool = False
    forbidden: Forbidden | None = None

    @property
    def needs_targets(self) -> bool:
        """Whether the metrics' own targets matter."""
        return self.use_metric_targets or self.sets_pass_rate

    @property
    def sets_pass_rate(self) -> bool:
        """Whether a threshold says how many simulations must meet the targets; otherwise all must."""
        return any(threshold.aggregate.name == "pass_rate" for threshold in self.thresholds)

    @property
    def references(self) -> tuple[str, ...]:
        """The metrics that the criteria name."""
        named = [threshold.metric for threshold in self.thresholds if threshold.metric]
        return tuple(dict.fromkeys([*named, *([self.forbidden.metric] if self.forbidden else [])]))


@dataclass(frozen=True, slots=True)
class Variant:
    """The agent, or one of its mutations, with the simulations it held."""

    name: str
    simulations: tuple[Simulation, ...]
    completed: tuple[Simulation, ...]
    passing: frozenset[str]  # ids of those that completed and met every target that is known
    known: Mapping[int, Mapping[str, Value]]  # by the identity of a metric: its values by simulation id
    alone: bool  # whether there is no other

    @property
    def total(self) -> int:
        return len(self.simulations)

    @property
    def failed(self) -> int:
        return self.total - len(self.completed)

    @property
    def whom(self) -> str:
        """As it is told in a sentence; empty where there are no mutations."""
        if self.alone:
            return ""
        return f" for the mutation {self.name}" if self.name != BASE else " for the agent itself"

    def values(self, metric: Metric) -> Mapping[str, Value]:
        """The metric's values by simulation id; a simulation that failed has none, whatever Coval lists."""
        return self.known[id(metric)]


def judge(result: RunResult, criteria: Criteria) -> Judgement:
    """Judge a run that completed."""
    variants = _variants(result)
    checks = [*_population(result, variants, criteria), *_named_metrics(result, variants, criteria)]
    if criteria.needs_targets:
        checks += _targets(result, variants, criteria)
    checks += [check for threshold in criteria.thresholds for check in _threshold(threshold, result, variants)]
    if criteria.forbidden:
        checks += _forbidden(criteria.forbidden, result, variants)
    population = Population(
        total=max(len(result.simulations), result.expected),
        completed=sum(len(variant.completed) for variant in variants),
        unpassed=tuple(
            each.id for variant in variants for each in variant.simulations if each.id not in variant.passing
        ),
    )
    return conclude(checks, population)


def _variants(result: RunResult) -> list[Variant]:
    dealt = result.variants
    variants = []
    for name, simulations in dealt.items():
        completed = tuple(each for each in simulations if each.completed)
        ids = [each.id for each in completed]
        known = {
            id(metric): {each: metric.values[each] for each in ids if each in metric.values}
            for metric in result.metrics
        }
        passing = set(ids)
        for metric in result.metrics:
            if metric.target is not None:
                passing &= _meeting(known[id(metric)], metric.target)
        variants.append(Variant(name, simulations, completed, frozenset(passing), known, alone=len(dealt) == 1))
    return variants


def _meeting(values: Mapping[str, Value], target: Target) -> set[str]:
    """The simulations on which a metric meets its target; none where the target makes no sense."""
    if targets.problem(target):
        return set()
    return {each for each, value in values.items() if targets.meets(target, value)}


def _population(result: RunResult, variants: Sequence[Variant], criteria: Criteria) -> Iterator[Check]:
    """Whether the simulations are there, enough of them completed, and Coval has nothing to complain of."""
    listed, expected = len(result.simulations), result.expected
    if listed < expected or not listed:
        shown = f"{listed:,} of {plural(expected, 'simulation')}" if expected else "no simulation"
        yield Check(
            asked="every simulation is listed",
            found=shown,
            verdict=Verdict.ERROR,
            reason=f"Coval lists {shown} of the run, so nobody knows what became of the rest."
            if expected
            else "The run completed, but it has no simulations: nothing was evaluated.",
            optional=False,
        )
        return
    for variant in variants:
        allowed = criteria.max_failed.of(variant.total)
        many = variant.failed > allowed
        yield Check(
            asked=f"max_failed_simulations {criteria.max_failed}",
            found=f"{variant.failed:,} of {variant.total:,}",
            verdict=Verdict.FAILED if many else Verdict.PASSED,
            reason=f"{variant.failed:,} of {plural(variant.total, 'simulation')} did not complete{variant.whom}; "
            f"max_failed_simulations allows {criteria.max_failed}.",
            variant=variant.name,
            offenders=tuple(each.id for each in variant.simulations if not each.completed) if many else (),
            optional=False,
        )
    completed = sum(len(variant.completed) for variant in variants)
    if completed < criteria.min_simulations:
        yield Check(
            asked=f"min_simulations {criteria.min_simulations:,}",
            found=f"{completed:,}",
            verdict=Verdict.FAILED,
            reason=f"{plural(completed, 'simulation')} completed; min_simulations asks for "
            f"{criteria.min_simulations:,}.",
            optional=False,
        )
    if result.complaint:
        yield Check(
            asked="Coval reports no error",
            found=result.complaint,
            verdict=Verdict.FAILED,
            reason=f"The run completed, but Coval reports an error: {result.complaint.rstrip('.')}.",
            optional=False,
        )


def _named_metrics(result: RunResult, variants: Sequence[Variant], criteria: Criteria) -> Iterator[Check]:
    """Whether each metric that the criteria name is there, and has the values that it should have."""
    for reference in criteria.references:
        metrics = result.called(reference)
        if len(metrics) != 1:
            found = "no such metric" if not metrics else plural(len(metrics), "metric")
            reason = _no_metric(reference, result) if not metrics else _several_metrics(reference, metrics)
            yield Check(
                asked=f"{reference} is there", found=found, verdict=Verdict.ERROR, reason=reason, optional=False
            )
            continue
        own = [threshold.aggregate.name for threshold in criteria.thresholds if threshold.metric == reference]
        if metrics[0].summary is None and "missing" not in own:
            yield from _gaps(metrics[0], variants, criteria.max_failed)


def _gaps(metric: Metric, variants: Sequence[Variant], max_failed: Allowance) -> Iterator[Check]:
    """Whether more simulations lack a value than may fail; those that failed are counted elsewhere already."""
    for variant in variants:
        present = len(variant.values(metric))
        lacking = len(variant.completed) - present
        # Failed simulations use the allowance up first: what they leave may lack a value.
        if lacking > max(0, max_failed.of(variant.total) - variant.failed):
            yield Check(
                asked=f"{metric.name} has values",
                found=f"{present:,} of {variant.total:,}",
                verdict=Verdict.ERROR,
                reason=f"{metric.name} has no value on {lacking:,} of "
                f"{plural(len(variant.completed), 'completed simulation')}{variant.whom}, and "
                f"max_failed_simulations allows {max_failed}.",
                variant=variant.name,
                optional=False,
            )


def _targets(result: RunResult, variants: Sequence[Variant], criteria: Criteria) -> Iterator[Check]:
    """Whether each metric that has a target in Coval meets it, on every simulation that completed."""
    aimed = [(metric, metric.target) for metric in result.metrics if metric.target is not None]
    if not aimed:
        yield Check(
            asked="metrics have targets",
            found="none has",
            verdict=Verdict.ERROR,
            reason="No metric of the run has a target in Coval, so use_metric_targets and pass_rate say nothing.",
        )
    for metric, target in aimed:
        if problem := targets.problem(target):
            yield Check(
                asked=f"{metric.name} meets its target",
                found="no usable target",
                verdict=Verdict.ERROR,
                reason=f"The target of {metric.name} {problem}.",
            )
            continue
        yield from _gaps(metric, variants, criteria.max_failed)
        for variant in variants:
            yield _target(metric, target, variant, rules=not criteria.sets_pass_rate)


def _target(metric: Metric, target: Target, variant: Variant, *, rules: bool) -> Check:
    """`rules`: a single miss fails the gate; otherwise the pass rate decides how many may be."""
    values = variant.values(metric)
    unmet = tuple(each for each, value in values.items() if not targets.meets(target, value))
    wanted = targets.describe(target)
    return Check(
        asked=f"{metric.name}: target {wanted}",
        found=f"met by {len(values) - len(unmet):,} of {variant.total:,}",
        verdict=Verdict.FAILED if unmet and rules else Verdict.PASSED,
        reason=f"{metric.name} missed its target ({wanted}) on {plural(len(unmet), 'simulation')}{variant.whom}.",
        variant=variant.name,
        metric=metric.id,
        offenders=unmet,
        optional=rules,
    )


def _threshold(threshold: Threshold, result: RunResult, variants: Sequence[Variant]) -> Iterator[Check]:
    """One threshold for the agent and for each mutation apart; nothing where its metric is in doubt already."""
    metrics = result.called(threshold.metric) if threshold.metric else ()
    if threshold.metric and len(metrics) != 1:
        return
    for variant in variants:
        if threshold.metric:
            yield replace(_of_metric(threshold, metrics[0], variant), metric=metrics[0].id)
        else:
            yield _of_run(threshold, variant)


def _of_run(threshold: Threshold, variant: Variant) -> Check:
    counts = {
        "pass_rate": len(variant.passing),
        "completed_rate": len(variant.completed),
        "failed": variant.failed,
        "total": variant.total,
    }
    count = counts[threshold.aggregate.name]
    offenders = (each.id for each in variant.simulations if each.id not in variant.passing)
    if not threshold.aggregate.is_rate:
        return _held(threshold, variant, float(count), f"{count:,}", offenders)
    return _held(threshold, variant, count / variant.total, _share(count, variant.total), offenders)


def _of_metric(threshold: Threshold, metric: Metric, variant: Variant) -> Check:
    if metric.summary is not None:
        return _of_summary(threshold, metric, metric.summary, variant)
    values = variant.values(metric)
    if threshold.aggregate.name == "missing":
        missing = variant.total - len(values)
        offenders = (each.id for each in variant.simulations if each.id not in values)
        return _held(threshold, variant, float(missing), f"{missing:,} of {variant.total:,}", offenders)
    if not values:
        return _unknown(threshold, variant, f"{metric.name} has no value at all{variant.whom}.")
    if threshold.aggregate.is_numeric:
        return _of_numbers(threshold, metric, values, variant)
    return _of_texts(threshold, values, variant)


def _of_summary(threshold: Threshold, metric: Metric, summary: Summary, variant: Variant) -> Check:
    known = {"avg": summary.mean, "min": summary.min, "max": summary.max}.get(threshold.aggregate.name)
    # Coval's own mean mixes the agent and its mutations.
    if known is None or not variant.alone:
        why = f"Coval reports no single values of {metric.name}, so {_plain(threshold)} is not known{variant.whom}."
        return _unknown(threshold, variant, why)
    return _held(threshold, variant, known, number(known), ())


def _of_texts(threshold: Threshold, values: Mapping[str, Value], variant: Variant) -> Check:
    aggregate = threshold.aggregate
    hits = {each for each, value in values.items() if any(equals(value, one) for one in aggregate.values)}
    # Too few hits are the fault of the others, too many their own.
    wanted = threshold.operator in (">", ">=")
    offenders = (each for each in values if (each in hits) is not wanted)
    if aggregate.is_rate:
        return _held(threshold, variant, len(hits) / variant.total, _share(len(hits), variant.total), offenders)
    return _held(threshold, variant, float(len(hits)), f"{len(hits):,} of {variant.total:,}", offenders)


def _of_numbers(threshold: Threshold, metric: Metric, values: Mapping[str, Value], variant: Variant) -> Check:
    numbers = [value for value in values.values() if isinstance(value, float)]
    if len(numbers) < len(values):
        texts = sorted({show(value) for value in values.values() if not isinstance(value, float)})[:NAMES_SHOWN]
        why = f"{metric.name} has values that are no numbers ({', '.join(texts)}), so {_plain(threshold)} is not known"
        return _unknown(threshold, variant, f"{why}{variant.whom}.")
    found = _AGGREGATES[threshold.aggregate.name](numbers, threshold.aggregate.percentile or 0.0)
    offenders = (each for each, value in values.items() if isinstance(value, float) and not threshold.holds(value))
    return _held(threshold, variant, found, number(found), offenders)


_AGGREGATES: Final[dict[str, Callable[[list[float], float], float]]] = {
    "avg": lambda values, _: statistics.mean(values),
    "med": lambda values, _: statistics.median(values),
    "min": lambda values, _: min(values),
    "max": lambda values, _: max(values),
    "p": statistics.percentile,
}


def _held(threshold: Threshold, variant: Variant, found: float, shown: str, offenders: Iterable[str]) -> Check:
    """The check of a threshold whose aggregate is known; `offenders` are looked for only if it is missed."""
    if threshold.holds(found):
        return Check(asked=threshold.text, found=shown, verdict=Verdict.PASSED, variant=variant.name)
    gap = threshold.missed_by(found)
    by = f"{number(gap * 100)} percentage points" if threshold.aggregate.is_rate else number(gap)
    missed = f"missed by {by}" if gap else "missed"
    return Check(
        asked=threshold.text,
        found=shown,
        missed=by if gap else "",
        verdict=Verdict.FAILED,
        reason=f"The threshold {threshold.text} was {missed}{variant.whom}: it is {shown}.",
        variant=variant.name,
        offenders=tuple(offenders),
    )


def _unknown(threshold: Threshold, variant: Variant, reason: str) -> Check:
    return Check(asked=threshold.text, found="not known", verdict=Verdict.ERROR, reason=reason, variant=variant.name)


def _forbidden(forbidden: Forbidden, result: RunResult, variants: Sequence[Variant]) -> Iterator[Check]:
    metrics = result.called(forbidden.metric)
    if len(metrics) != 1:
        return
    metric = metrics[0]
    for variant in variants:
        values = variant.values(metric)
        hits = tuple(each for each, value in values.items() if equals(value, forbidden.value))
        verdict = Verdict.ERROR if not values else Verdict.FAILED if hits else Verdict.PASSED
        reason = (
            f"{metric.name} is {forbidden.value} on {plural(len(hits), 'simulation')}{variant.whom}, "
            "which fail_on_metric_value forbids."
            if values
            else f"{metric.name} has no single value{variant.whom}, so fail_on_metric_value cannot be judged."
        )
        yield Check(
            asked=f"{metric.name} is never {forbidden.value}",
            found=f"{len(hits):,} of {variant.total:,}" if values else "not known",
            verdict=verdict,
            reason=reason,
            variant=variant.name,
            metric=metric.id,
            offenders=hits,
            forbids=True,
        )


def equals(value: Value, wanted: str) -> bool:
    """Whether a value is `wanted`, as a number if both are numbers, otherwise in any capitals; a set if it holds it."""
    if isinstance(value, frozenset):
        return any(equals(member, wanted) for member in value)
    if isinstance(value, float):
        try:
            return value == float(wanted)
        except ValueError:
            return False
    return value.strip().casefold() == wanted.strip().casefold()


def show(value: Value) -> str:
    """A value as people read it."""
    if isinstance(value, float):
        return number(value)
    return one_line(value if isinstance(value, str) else "{" + ", ".join(sorted(value)) + "}", VALUE_SHOWN)


def _plain(threshold: Threshold) -> str:
    return one_line(threshold.aggregate, VALUE_SHOWN)


def _share(count: int, total: int) -> str:
    return f"{percent(count / total)} ({count:,} of {total:,})"


def _no_metric(reference: str, result: RunResult) -> str:
    names = list(dict.fromkeys(metric.name for metric in result.metrics))
    closest = difflib.get_close_matches(reference, names, n=len(names) or 1, cutoff=0.0)
    if not closest:
        return f"The run has no metric {quoted(reference)}; it has no metrics at all."
    more = f" and {len(closest) - NAMES_SHOWN} more" if len(closest) > NAMES_SHOWN else ""
    return f"The run has no metric {quoted(reference)}; it has {', '.join(closest[:NAMES_SHOWN])}{more}."


def _several_metrics(reference: str, metrics: Sequence[Metric]) -> str:
    ids = " and ".join(metric.id for metric in metrics)
    return (
        f"The run has {len(metrics)} metrics of the name {quoted(reference)}: name the one you mean by its id, {ids}."
    )
