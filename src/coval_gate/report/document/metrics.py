"""A metric in a few numbers, and how its values are spread out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from coval_gate.report.document.base import Model, Text


class Figures(Model):
    """A metric on the simulations of a variant.

    Fields that do not apply are absent: statistics where there are no numbers, `values` where there are no texts.
    """

    count: int
    """How many simulations have a value."""
    missing: int
    """How many have none."""
    mean: float = Field(default_factory=float)
    stdev: float = Field(default_factory=float)
    min: float = Field(default_factory=float)
    median: float = Field(default_factory=float)
    p95: float = Field(default_factory=float)
    max: float = Field(default_factory=float)
    values: dict[Text, int] = Field(default_factory=dict)
    """How often each text occurs, also within sets: the most frequent."""

    @property
    def numbers(self) -> dict[str, float]:
        """Its statistics by name; empty where there are no numbers."""
        names = ("mean", "stdev", "min", "median", "p95", "max")
        return {name: getattr(self, name) for name in names if name in self.model_fields_set}


class BoundFacts(Model):
    """A bound on the values of a metric."""

    of: Literal["threshold", "target"]
    value: float
    text: Text
    """Such as "threshold 1.5 s"."""


class Distribution(Model):
    """How many values of a variant each range has."""

    variant: Text
    ends: list[float]
    """Where the ranges begin and, at last, end; empty where there are no numbers."""
    counts: list[int]
    """How many values each range has: on the test cases that both sides have, if `earlier` is not empty."""
    earlier: list[int]
    """How many values of the baseline or the base agent each range has; empty without a comparison."""
    least: float
    greatest: float
    texts_left_out: int
    """How many different texts are not among the figures."""


class MetricFacts(Model):
    """A metric, for each variant."""

    id: Text
    name: Text
    unit: Text
    """The unit of its numbers, in Coval's words; empty if it has none, or Coval did not show it."""
    target: Text
    """What meets its target in Coval, such as "at most 1.5"; empty without a usable one."""
    verdict: Literal["", "failed", "inconclusive"]
    """The gravest verdict of its criteria; empty where they are met, or only inform."""
    weight: Literal["missed", "judged", "other"]
    """Whether one of its criteria is missed, or it has any. Reports begin with those missed."""
    bounds: list[BoundFacts]
    """The bounds of its thresholds and of its target that are on the scale of its values."""
    variants: dict[Text, Figures]
    """By the variant's name."""
    distributions: list[Distribution]
    """How the values of each variant are spread out. Only the metrics of most weight have these."""

    @property
    def has_values(self) -> bool:
        return any(figures.count for figures in self.variants.values())

    @property
    def is_numeric(self) -> bool:
        return not any(figures.values for figures in self.variants.values())


class Chart(Model):
    """How the agent's values of a metric with a criterion are spread out on both sides of its bound."""

    name: Text
    """The metric's."""
    sides: Text
    """On which side of the bound the values are, or which of them are orange; empty without a bound."""
    unit: Text
    """The title of the axis."""
    labels: list[Text]
    """The ranges of values."""
    shares: list[float]
    """Percent of the values in each range."""
    beyond: list[bool]
    """Whether each range is beyond the bound."""
    earlier: list[float]
    """Percent of the values of the baseline or the base agent; empty without a comparison."""
    compared_with: Text


class TrendRunFacts(Model):
    """An earlier run of the same agent, persona and test set."""

    id: Text
    url: Text
    created: Text
    is_baseline: bool
    failed: bool
    """Whether the gate failed it."""
    averages: dict[Text, float]
    """By metric id."""
