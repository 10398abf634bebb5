"""The units of metrics, which reports show, and which no verdict depends on. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.judge.judgement import Judgement
    from coval_gate.judge.variants import Sample, Variant
    from coval_gate.model.results import Metric, RunResult


def result_with_units(result: RunResult, units: Mapping[str, str]) -> RunResult:
    """Return a result whose metrics have their units."""
    return result._replace(metrics=tuple(_metric(metric, units) for metric in result.metrics))


def judgement_with_units(judgement: Judgement, units: Mapping[str, str]) -> Judgement:
    """Return a judgement whose checks and samples have the units of their metrics."""
    return judgement._replace(
        checks=tuple(
            replace(check, metric_unit=unit) if (unit := units.get(check.metric, "")) else check
            for check in judgement.checks
        ),
        variants=tuple(_variant(variant, units) for variant in judgement.variants),
    )


def _variant(variant: Variant, units: Mapping[str, str]) -> Variant:
    return replace(variant, samples=tuple(_sample(sample, units) for sample in variant.samples))


def _sample(sample: Sample, units: Mapping[str, str]) -> Sample:
    """Return a sample with its unit. One without a unit stays the same, with the statistics that it remembers."""
    metric = _metric(sample.metric, units)
    return sample if metric is sample.metric else replace(sample, metric=metric)


def _metric(metric: Metric, units: Mapping[str, str]) -> Metric:
    unit = units.get(metric.id, "")
    return metric._replace(unit=unit) if unit else metric
