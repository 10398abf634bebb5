"""What was measured: each metric in a few numbers, and each conversation with its verdict, values and turns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PlainSerializer

from coval_gate.report.document.base import AGENT, CauseWord, MayGrow, Model, Outcome, Stability, Text


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


class MissFacts(Model):
    """A criterion that a simulation misses."""

    criterion: int | None
    """Its place in `criteria`, from 0; null if it is not among them."""
    metric_id: Text
    here: Text
    """The simulation's own value; empty where the criterion is not about a metric."""
    verdict: Outcome
    """Of the criterion for this simulation, which may miss what the run meets; skipped: it only contributes."""


class TurnFacts(Model):
    """What one of the two said."""

    role: Literal["persona", "agent"]
    text: Text
    at: Text
    """When it began, such as "0:05"; empty where unknown."""
    latency: float | None
    """How many seconds the agent took to answer; null where it does not answer, or the times are unknown."""


class SimulationFacts(Model):
    """One conversation."""

    id: Text
    run_id: Text
    status: Text
    variant: Text
    test_case_id: Text
    test_case: Text
    """The test case in words, if the API key may read them."""
    name: Text
    """The test case in words, with its id if several have the same words; otherwise an id."""
    iteration: int
    of: int
    """How many iterations its test case has."""
    place: int
    """Its place among all simulations of the step, from 0: those to look at first, the worst of them at the top."""
    stability: Stability | None
    """The stability of its test case, if that failed in any of several runs."""
    stability_text: Text
    """The same with figures, such as "flaky, failed 2 of 3"."""
    iterations_text: Text
    """The same for the iterations of its test case in one run, if any of them explains a failure."""
    failed_alone: bool
    """Whether it failed in its own run, if several runs decided together."""
    verdict: Outcome
    """passed; failed: it violates a missed criterion; error: it did not complete; skipped: it fell short, but that is
    tolerated, or it is one of the few that contribute the most to an average that misses its bound."""
    cause: Annotated[CauseWord, MayGrow()] | None
    """Why it did not do well, the first that fits. flaky: most other conversations of its test case pass; old: its test
    case missed the same in the baseline; new: it did not. Null where it passed, only contributes, or nothing shows the
    cause, as without a baseline. More words may follow."""
    contributes: bool
    """Whether it misses nothing by itself, and contributes much to an average that misses its bound."""
    explains: bool
    """Whether it fails, or contributes to an average that fails."""
    change: Literal["", "worse", "tolerated", "better"]
    """How its test case changed since the baseline: it fails now, which a criterion may tolerate, or passes now."""
    trouble: Text
    """Why it did not complete; empty if it did."""
    missed_criteria: list[Text]
    """The first criteria that it misses; long ones are cut. In place of pass_rate, the targets that it misses. Also
    averages that miss their bound, if it is one of the few that contribute the most."""
    misses: list[MissFacts]
    """The same criteria, with their values."""
    missed_criteria_left_out: int
    """How many more it misses."""
    error: Text
    url: Text
    values: dict[Text, float | Text | list[Text]]
    """By metric id; if there are too many, those of missed criteria take precedence."""
    values_left_out: int
    """How many more values it has."""
    explanations: dict[Text, Text]
    """By metric id, for the first simulations to look at."""
    telling: list[Text]
    """The ids of the metrics whose explanation says more than the value."""
    explanations_left_out: int
    """How many more there are."""
    seconds: float | None
    """How long the conversation was, where Coval reports it."""
    turns: Annotated[list[TurnFacts], PlainSerializer(lambda _: [])]
    """The last turns, if `include_transcripts` is set. Empty in the JSON report: they may be personal data."""
    turns_left_out: int
    """How many turns came before."""

    @property
    def title(self) -> str:
        """The name, with the iteration if there are several."""
        return f"{self.name} ({self.iteration} of {self.of})" if self.of > 1 else self.name

    @property
    def word(self) -> str:
        """Its verdict, as tables show it."""
        return "contributes" if self.contributes else "tolerated" if self.verdict == "skipped" else self.verdict

    @property
    def is_to_look_at(self) -> bool:
        """Whether it did not do well, even if that is tolerated."""
        return self.verdict != "passed"

    @property
    def missed(self) -> list[tuple[MissFacts, str]]:
        """Its misses, each with the criterion."""
        return list(zip(self.misses, self.missed_criteria, strict=True))

    def with_cause(self, text: str) -> str:
        return f"{self.cause}: {text}" if self.cause else text

    def title_of(self, criterion: str) -> str:
        """Return a missed criterion, with the mutation in brackets if the simulation is of one."""
        return criterion if self.variant == AGENT else f"{criterion} [{self.variant}]"

    def why(self, metric_id: str) -> str:
        """Return the judge's explanation of a value; empty where it says no more than the value."""
        return self.explanations[metric_id] if metric_id in self.telling else ""
