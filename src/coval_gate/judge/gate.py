"""The user's criteria, and what they make of a run's result. Pure and total.

What is missing is never dropped silently. The population is the list of simulations, not the values: a simulation that
failed, or has no value, counts against a rate, and where more of them lack a value than may fail, there is no verdict
on that metric at all.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

from coval_gate.judge import targets
from coval_gate.judge.evaluate import evaluate
from coval_gate.judge.variants import equals, variants_of
from coval_gate.judge.verdict import Check, Judgement, Population, Verdict, conclude
from coval_gate.model.results import BASE
from coval_gate.model.statuses import TERMINAL
from coval_gate.text import plural, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coval_gate.config.fields import Allowance
    from coval_gate.judge.criteria import Criteria, Forbidden
    from coval_gate.judge.variants import Variant
    from coval_gate.model.results import Metric, RunResult, Target

NAMES_SHOWN: Final = 8  # of the metrics that a run has, where it lacks the one asked for


def judge(result: RunResult, criteria: Criteria) -> Judgement:
    """Judge a run that completed."""
    variants = variants_of(result)
    checks = list(_presence(result, variants, criteria))
    if not checks:
        checks += _population(result, variants, criteria)
    checks += _named_metrics(result, variants, criteria)
    if criteria.needs_targets:
        checks += _targets(result, variants, criteria)
    checks += [check for threshold in criteria.thresholds for check in evaluate(threshold, result, variants)]
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


def _presence(result: RunResult, variants: Sequence[Variant], criteria: Criteria) -> Iterator[Check]:
    """What keeps anybody from knowing the population: simulations that are not listed, or have not ended."""
    listed, expected = len(result.simulations), result.expected
    if listed < max(1, expected):
        shown = f"{listed:,} of {plural(expected, 'simulation')}" if expected > 1 else "no simulation"
        rest = (
            "so nobody knows what became of the rest" if expected > 1 else "so nothing is known to have been evaluated"
        )
        yield _unknown("every simulation is listed", shown, f"Coval lists {shown} of the run, {rest}.")
        return
    if len(variants) < 1 + criteria.mutations:
        launched = plural(criteria.mutations, "mutation")
        shown = plural(sum(variant.name != BASE for variant in variants), "mutation")
        alone = "" if BASE in result.variants else " and none of the agent itself"
        reason = f"The run was launched with {launched}, but Coval lists simulations of {shown}{alone}."
        yield _unknown(f"the agent and {launched} are there", shown, reason)
    running = tuple(each.id for each in result.simulations if each.status not in TERMINAL)
    if running:
        shown = f"{len(running):,} of {plural(listed, 'simulation')}"
        reason = f"The run completed, but {shown} had not ended when metrics_grace_time was over."
        yield _unknown("every simulation has ended", f"{shown} not", reason, running)


def _unknown(asked: str, found: str, reason: str, offenders: tuple[str, ...] = ()) -> Check:
    return Check(asked=asked, found=found, verdict=Verdict.ERROR, reason=reason, offenders=offenders, optional=False)


def _population(result: RunResult, variants: Sequence[Variant], criteria: Criteria) -> Iterator[Check]:
    """Whether enough simulations completed, and Coval has nothing to complain of."""
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
        # Who says how many may be missing has taken that question over.
        bounded = any(
            each.metric == reference and each.aggregate.name == "missing" and each.operator in ("<", "<=", "==")
            for each in criteria.thresholds
        )
        if metrics[0].summary is None and not bounded:
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
        if not any(metric in result.called(reference) for reference in criteria.references):  # or it was told already
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
        verdict=Verdict.ERROR if not values else Verdict.FAILED if unmet and rules else Verdict.PASSED,
        reason=f"{metric.name} has no value at all{variant.whom}."
        if not values
        else f"{metric.name} missed its target ({wanted}) on {plural(len(unmet), 'simulation')}{variant.whom}.",
        variant=variant.name,
        metric=metric.id,
        offenders=unmet,
        optional=rules,
    )


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
