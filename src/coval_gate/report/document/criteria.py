"""A criterion as all reports show it: numbers, words, and its comparison."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from coval_gate.gate.claims import CHANCE
from coval_gate.gate.measure import NotFoundKind, Trend, Unchecked, Unit
from coval_gate.inputs.thresholds import Operator
from coval_gate.report.document.base import AGENT, MayGrow, Model, Outcome, Part, Text

NOTICEABLE: Final = f"Noticeable: the smallest change for the worse that {CHANCE} of such runs would show."


class LeftOutFacts(Model):
    """What a comparison leaves out."""

    new: int
    """Test cases that the reference does not have."""
    gone: int
    """Test cases that only the reference has."""
    changed: int
    """Test cases whose contents have changed."""
    valueless: int
    """Test cases that lack a value on one side."""
    runs: int
    """Runs of the baseline with another persona, without the metric, or with another version of it."""


class BaselineRunFacts(Model):
    """A run of the baseline, and how it differs from this run."""

    id: Text
    url: Text
    created: Text
    """As Coval reports it; empty where it does not."""
    changed_test_cases: int
    """How many test cases have changed contents."""
    changed_metrics: list[Text]
    """Ids of metrics of which it used another version."""
    changed_persona: bool
    """Whether it used another persona, or another version of it; then it is not compared."""
    changed_options: list[Text]
    """Launch options that differ and may matter, by the names of inputs."""
    unchecked: list[Annotated[Unchecked, MayGrow()]]
    """Coval does not say whether these have changed. More words may follow."""


class NoBaselineFacts(Model):
    """Why there is no baseline."""

    kind: Annotated[NotFoundKind, MayGrow()]
    """The reason in a word. More words may follow."""
    run_id: Text
    """The unusable run; empty where there is none."""
    text: Text


class BaselineFacts(Model):
    """The runs behind the input `baseline`."""

    source: Text
    """As the input spells it."""
    runs: list[BaselineRunFacts]
    """The newest first."""
    runs_left_out: int
    """How many more there are."""
    fewer_than_asked: int
    """How many of the requested runs do not exist."""
    missing: NoBaselineFacts | None
    """Why there is no run; null where there is one."""


class Criterion(Model):
    """One requirement on the agent or a mutation, and what was measured: numbers, then words, then the comparison.

    The numbers are null where nothing was measured. The fields of the comparison, from `baseline_value` on, are null or
    empty where the criterion does not, or could not, compare.
    """

    kind: Text
    """threshold, max_failed_simulations, target_met and so on; more words may follow."""
    criterion: Text
    """A threshold as the user wrote it; otherwise a statement that is true where the criterion is met."""
    verdict: Outcome
    """skipped: it only informs, because it is advisory, or because no measured value can make it fail."""
    met: bool
    """Whether it is met, even if it only informs."""
    actual: float | None
    """The measured value, in `unit`."""
    operator: Operator | None
    bound: float | None
    """In `unit`. The requirement is `actual operator bound`."""
    unit: Unit | None
    """share: from 0 to 1; simulations: how many; metric: the metric's own unit."""
    margin: float | None
    """How far `actual` is from `bound`, in `unit`: positive on the required side, negative on the other."""
    runs: int
    """How many runs of the leg decided it."""
    run_id: Text
    """Where each of several runs must meet it alone: the run that misses it or comes closest; otherwise empty."""
    first_actual: float | None
    """Where several runs decided, and the first one alone did not meet it: its value, in `unit`."""
    count: int | None
    """How many of the simulations that it is about have a value."""
    missing: int | None
    """How many simulations should have a value, but have none."""
    lower: float | None
    """With a confidence: the agent's value is at least this, in `unit`; null where nothing is claimed."""
    upper: float | None
    """With a confidence: the agent's value is at most this."""
    confidence: float | None
    """The confidence of each bound by itself, which does not share the error; null where decided as counted."""
    problem: Text
    """Why nothing could be measured, such as no_such_metric; otherwise empty. More words may follow."""
    actual_text: Text
    """What was measured or, in a few words, why nothing was."""
    first_text: Text
    """Where several runs decided, and the first one alone did not meet it: what that one measured."""
    required_text: Text
    """What a value must be, such as ">= 90%"; empty where nothing was measured."""
    claim_text: Text
    """With a confidence: the claim about the agent, such as "at least 91.2%"."""
    margin_text: Text
    """By how much the criterion is missed; empty where it is met."""
    informs_text: Text
    """That it only informs, and whether it is met; empty where it decides."""
    note_text: Text
    """What stands beside the measured value: that it only informs, the claim, and the margin."""
    reason: Text
    """A sentence, if the verdict is not passed."""
    user_defined: bool
    """Whether the user defined it; otherwise every run must meet it."""
    of_variant: bool
    """Whether it is about one of several variants."""
    variant: Text
    metric_id: Text
    simulation_ids: list[Text]
    """The first simulations that miss the criterion, if the verdict is not passed."""
    simulation_ids_left_out: int
    """How many more miss it."""
    reference: Literal["", "baseline", "base"]
    """baseline: earlier runs; base: the agent itself in the same run or, with base_agent_id, that agent's run; empty: a
    number. With a reference, `actual`, `count` and `missing` are over the test cases that both sides have, and `bound`
    is computed from the reference."""
    compared_with: Text
    """The reference in a word, as reports name it: baseline, agent, or base; empty: a number."""
    advisory: bool
    """Whether it only informs, and can never fail."""
    baseline_value: float | None
    """The reference's value, in `unit`."""
    actual_pooled: float | None
    """`actual` weighs each test case the same, however many simulations it has. This value weighs each simulation the
    same; null where it does not differ."""
    baseline_count: int | None
    """How many simulations of the reference have a value."""
    baseline_missing: int | None
    """How many simulations of the reference have no value. A rate counts them as misses on both sides."""
    baseline_pooled: float | None
    """As `actual_pooled`, for `baseline_value`."""
    change: float | None
    """`actual` minus `baseline_value`."""
    change_lower: float | None
    """With a confidence: the change is at least this; null where nothing is claimed."""
    change_upper: float | None
    """With a confidence: the change is at most this. Each bound has the whole `change_confidence` by itself."""
    change_confidence: float | None
    """A share; null where the change was decided as counted."""
    trend: Trend | None
    """What the change amounts to: with a confidence, only what is evident given the number of thresholds."""
    by_chance: int
    """The number of thresholds, if the change would be evident alone, but one of so many thresholds may show it by
    chance; otherwise 0."""
    noticeable_change: float | None
    """The smallest change for the worse, in `unit`, that 80% of such runs would show, beyond the margin and given the
    number of thresholds; null where it is unknown."""
    earlier_text: Text
    """What was measured in the reference."""
    difference_text: Text
    """The change, such as "-4pp"."""
    trend_text: Text
    """What the change amounts to, and whether it exceeds the margin."""
    claimed_text: Text
    """What is claimed of the change, such as "at least 3pp lower"; empty without a confidence."""
    noticeable_text: Text
    """`noticeable_change` in words, such as "a drop of 9pp"."""
    shared_test_cases: int | None
    """How many test cases both sides have."""
    left_out: LeftOutFacts | None
    newly_failing: list[Text]
    """The first ids of test cases whose simulations mostly passed in the reference, and mostly fail now."""
    newly_failing_cases: list[Text]
    """The same test cases in words."""
    newly_failing_left_out: int
    """How many more there are."""
    newly_passing: list[Text]
    """The first ids of test cases whose simulations mostly failed in the reference, and mostly pass now."""
    newly_passing_cases: list[Text]
    """The same test cases in words."""
    newly_passing_left_out: int
    """How many more there are."""

    @property
    def is_missed(self) -> bool:
        """Whether it decides, and is not met."""
        return self.verdict not in ("passed", "skipped")

    @property
    def title(self) -> str:
        """The criterion, with the mutation in brackets if it is about one."""
        return f"{self.criterion} [{self.mutation}]" if self.mutation else self.criterion

    @property
    def flipped(self) -> dict[str, tuple[list[str], int]]:
        """The test cases that flipped by what they do now, with how many more there are."""
        flips = {
            "fails now": (self.newly_failing_cases, self.newly_failing_left_out),
            "passes now": (self.newly_passing_cases, self.newly_passing_left_out),
        }
        return {word: (cases, more) for word, (cases, more) in flips.items() if cases}

    @property
    def shown_text(self) -> str:
        """What the comparison shows: "worse: at least 23pp lower"."""
        return ": ".join(filter(None, (self.trend_text, self.claimed_text)))

    @property
    def would_show_text(self) -> str:
        """Which change would show, as a sentence; empty where it is unknown."""
        return f"{self.noticeable_text} would show in {CHANCE} of such runs" if self.noticeable_text else ""

    @property
    def mutation(self) -> str:
        """The mutation that it is about; empty for the agent itself."""
        return "" if self.variant == AGENT else self.variant


class CriteriaGroup(Model):
    """The criteria of a leg that compare with the same reference."""

    compared_with: Text
    """As in the criteria; empty: those that compare with a number."""
    reference: list[Part]
    """What they compare with, as a sentence; if with a number, a title where other groups stand above, or empty."""
    why: Text
    """Why there is no baseline, as a clause; empty where there is one."""
    why_is_told: bool
    """Whether the first reason of the leg says so."""
    total: int
    """How many criteria it has."""
    compared: int
    """How many of them were compared."""
    shows: Text
    """The title of a column with what comparisons show."""
    notes: Text
    """The title of a column with `note_text`."""
