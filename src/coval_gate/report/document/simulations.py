"""One conversation: its verdict, what it missed, its values with what the judges said, and its turns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import PlainSerializer

from coval_gate.report.document.base import AGENT, CauseWord, MayGrow, Model, Outcome, Stability, Text


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
