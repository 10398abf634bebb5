"""What a step evaluates: a leg with its runs, criteria, metrics and simulations."""

from __future__ import annotations

from pydantic import Field

from coval_gate.base.text import shortened_at_word
from coval_gate.report.document.base import Model, Outcome, Part, Stability, Text
from coval_gate.report.document.criteria import (
    BaselineFacts,
    CriteriaGroup,
    Criterion,
)
from coval_gate.report.document.results import Chart, MetricFacts, SimulationFacts, TrendRunFacts


class RunFacts(Model):
    """The run in Coval; empty where the step did not get that far."""

    id: Text
    url: Text
    status: Text
    """The last status that Coval reported: COMPLETED, FAILED and so on."""
    agent_id: Text
    persona_id: Text
    test_set_id: Text
    agent_name: Text
    """As Coval shows it; empty where the API key may not read it, and likewise for the others."""
    persona_name: Text
    test_set_name: Text

    @property
    def called(self) -> dict[str, str]:
        """The names by what they are of, with their ids in brackets; ids alone where there are no names."""
        facts = self.model_dump()
        kinds = {kind: (facts[f"{kind}_name"], facts[f"{kind}_id"]) for kind in ("agent", "persona", "test_set")}
        return {kind.replace("_", " "): f"{name} ({id_})" if name else id_ for kind, (name, id_) in kinds.items()}


class SingleRunFacts(Model):
    """One of the runs of a leg, judged alone."""

    id: Text
    url: Text
    status: Text
    """The last status that Coval reported."""
    verdict: Outcome | None


class CaseFacts(Model):
    """A test case that failed in any of several runs, with the agent or one of its mutations."""

    test_case_id: Text
    test_case: Text
    """The test case in words, if the API key may read them."""
    name: Text
    """The test case in words, with its id if several have the same words; otherwise the id."""
    variant: Text
    stability: Stability
    """consistent: each of its conversations failed; flaky: only some of them."""
    failed: int
    """How many of its conversations failed, over all runs."""
    total: int
    """How many conversations it had."""


class VariantFacts(Model):
    """The agent itself or a mutation, as named in `variant` and `variants` everywhere else."""

    variant: Text
    """The mutation's name, with its id if several have that name. `agent` is the agent itself."""
    mutation_id: Text
    """Empty for the agent itself, and if Coval does not report it."""
    verdict: Outcome
    """The gravest verdict of the criteria that are about it alone."""
    completed: int
    total: int
    missed_text: Text
    """How many of these criteria are missed."""


class StandingFacts(Model):
    """What the step made of the run for later ones."""

    accepted: bool
    """Whether a person accepted it."""
    tag: Text
    """The tag of the baseline that it has now; empty for a baseline of a branch."""
    text: Text
    """All of this in a sentence."""
    parts: list[Part]
    """The same in parts."""


class RepeatFacts(Model):
    """How to run some test cases of a leg again."""

    file: Text
    """The configuration file that defines the leg; empty where the step's inputs do."""
    unset: dict[Text, Text]
    """Inputs to change beside `test_case_ids`."""
    command: dict[Text, Text]
    """All inputs of a command for the image, but the key; empty where one is unknown, or may hold a secret."""


class Judged(Model):
    """What a step and each of its legs have in common: a verdict, why, and a few figures."""

    verdict: Outcome | None
    """Null with mode launch, which asks for none."""
    passes: bool
    """Whether the step may succeed: the verdict is passed or skipped, there is none, or the inputs tolerate it."""
    heading: Text
    """The verdict with a mark, such as "❌ Failed"; without a verdict, what the step did."""
    status: Text
    """As in the output `status`."""
    reason: Text
    """The gravest reason, and how many others there are."""
    others_text: Text
    """The end of `reason`: how many others there are; empty without any."""
    reasons: list[Text]
    """The reasons, the gravest first; if there are too many, only the first."""
    reasons_left_out: int
    """How many more there are."""
    advice: Text
    is_doubtful: bool
    """Whether a criterion that was judged looks like a mistake."""
    link: Text
    total_simulations: int | None
    """Also those that Coval does not list."""
    completed_simulations: int | None
    unpassed_simulations: int | None
    """How many did not complete or, where targets count, missed one; null if nothing was judged."""
    pass_rate: float | None = Field(ge=0, le=1)
    """The share of the others."""
    missed_text: Text
    """How many criteria that decide are missed, such as "1 of 3 missed"."""
    flips_text: Text
    """How many test cases flipped since the baseline; empty without any."""
    causes_text: Text
    """How many test cases have each cause, over all simulations; empty where no cause is known."""
    failing_causes_text: Text
    """The same over the simulations that explain a failure."""

    @property
    def is_tolerated(self) -> bool:
        """Whether it passes although its verdict is neither passed nor skipped."""
        return self.passes and self.verdict not in (None, "passed", "skipped")

    def headline(self, limit: int) -> str:
        """Return heading and reason on one line of at most `limit` characters."""
        beginning = f"{self.heading}{' (passes)' if self.is_tolerated else ''}: "
        return f"{beginning}{self.short_reason(limit - len(beginning))}"

    def short_reason(self, limit: int) -> str:
        """Return the reason in at most `limit` characters; how many others there are stays."""
        others = self.others_text
        return shortened_at_word(self.reason.removesuffix(others), limit - len(others)) + others


class Leg(Judged):
    """A run that the step launched or waited for, and its result."""

    name: Text
    """What distinguishes it from other legs; empty where there is only one."""
    run: RunFacts
    facts: dict[Text, Text]
    """What is known of its run, and not of the step."""
    repeat: RepeatFacts
    runs: list[SingleRunFacts]
    """The run and its repetitions (`repeat_on_failure`); everything else is about the runs that count."""
    failing_cases: list[CaseFacts]
    """Where there are several runs: the test cases that failed in any of them, consistent ones first."""
    failing_cases_text: Text
    """How many of them are consistent, and how many flaky."""
    replaced_simulation_ids: list[Text]
    """Simulations that failed, and whose conversation another run completed; they count nowhere else."""
    baseline: BaselineFacts | None
    """The earlier runs that thresholds refer to; null where none do."""
    tested: Text
    """What its run tested, in words, such as "this commit (attached)" or "agent X as deployed"; empty without a run."""
    base_run_id: Text
    """The run of the agent that base_agent_id names, beside which this one was tested; empty without one."""
    base: BaselineFacts | None
    """That run, as thresholds refer to it; null where none do."""
    standing: StandingFacts | None
    """Null where the step changed nothing for later runs."""
    variants: list[VariantFacts]
    """The variants that have simulations, by name."""
    groups: list[CriteriaGroup]
    """The criteria by what they compare with; groups with missed ones first."""
    notes: Text
    """The title of a column with `note_text` or `shown_text` of all criteria."""
    flips: int
    """How many test cases flipped."""
    flipped_criteria: int
    """How many criteria have flipped test cases."""
    criteria: list[Criterion]
    """The gravest first, those that only inform last; if there are too many, only the first."""
    criteria_left_out: int
    """How many more there are."""
    charts: list[Chart]
    """Of the first metrics with missed criteria or, if there are none, with any criteria."""
    trend: list[TrendRunFacts]
    """Earlier runs with averages of the metrics, the newest first."""
    metrics: list[MetricFacts]
    """All; if there are too many, only the first."""
    metrics_left_out: int
    """How many more there are."""
    old_text: Text
    """The title of simulations with the cause old, such as "Also fail on main"."""
    simulations: list[SimulationFacts]
    """In this order: those that fail the gate, tolerated ones, others; within each kind, the worst first."""

    def of_group(self, group: CriteriaGroup) -> list[Criterion]:
        return [criterion for criterion in self.criteria if criterion.compared_with == group.compared_with]

    @property
    def folds_met(self) -> bool:
        """Whether a table of legs or variants has the criteria that are met, so that they may be folded."""
        return len(self.variants) > 1 or (bool(self.name) and self.verdict != "passed")

    def named(self, text: str) -> str:
        """Return a text about the leg, with the leg's name if it has one."""
        return f"{self.name}: {text}" if self.name else text
