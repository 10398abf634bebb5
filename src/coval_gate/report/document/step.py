"""The document: what a step found, with everything that people read of it."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from coval_gate.inputs.inputs import LAUNCH_IDS
from coval_gate.report.document.base import VERSIONS, Link, Model, Outcome, Text
from coval_gate.report.document.legs import Leg  # noqa: TC001 - pydantic reads the annotations


class StepFacts(Model):
    """Where and when the step ran."""

    repository: Text
    commit: Text
    pull_request: int | None
    workflow: Text
    job: Text
    matrix: Text
    """What distinguishes the job from others with the same name; empty without a matrix."""
    url: Text
    attempt: Text
    later_attempt: Text
    """The attempt, if it is not the first."""
    actor: Text
    began: Text
    """ISO 8601, UTC."""
    duration_seconds: float
    coval_gate: Text
    """Version of this action."""

    def after(self, text: str) -> str:
        """Return a text with what distinguishes the job after it."""
        return f"{text} ({self.matrix})".lstrip() if self.matrix else text


class EvaluatedFacts(Model):
    """Agents, test sets or personas that a heading names."""

    word: Text
    """What they are, such as "test set"."""
    text: Text
    is_name: bool
    """Whether these are names, not ids."""


class PlaceFacts(Model):
    """What the step tested: a pull request, a branch or a commit."""

    word: Text
    text: Text
    url: Text
    is_code: bool
    note: Text
    """What follows the text."""


class AdviceFacts(Model):
    """A paragraph, an item of a list, or lines of code."""

    style: Literal["text", "item", "code"]
    text: Text


class Document(Model):
    """The result of one step of Coval Gate.

    A later minor version may have fields that are not described here, and other words where a description says that
    more words may follow. What is described here holds until the major number of `schema_version` changes.
    """

    model_config = ConfigDict(title="CovalGateReport")

    schema_version: Text = Field(pattern=VERSIONS)
    verdict: Outcome | None
    """The verdict of the step as a whole; null with mode launch, which asks for none."""
    passed: bool
    passes: bool
    """Whether the step succeeds: its verdict is passed or skipped, there is none, or its inputs tolerate it."""
    heading: Text
    """The verdict with a mark, such as "❌ Failed"; without a verdict, what the step did."""
    title: Text
    """The verdict as the title of a warning; empty where there is nothing to warn about."""
    evaluation: Text
    """What distinguishes the step from others of its workflow: "Coval evaluation", with the job's matrix."""
    evaluated: list[EvaluatedFacts]
    places: list[PlaceFacts]
    tested: Text
    """What the runs tested, in words."""
    status: Text
    """As in the output `status`."""
    reason: Text
    reasons: list[Text]
    """The reasons, the gravest first; if there are too many, only the first."""
    reasons_left_out: int
    """How many more there are."""
    reason_is_untold: bool
    """Whether neither the criteria nor the table of legs say the first reason."""
    untold_reasons: list[Text]
    """The other reasons that the criteria do not say."""
    decided_by: Text
    """The leg that decides; empty with one leg, and where something else does, such as a signal."""
    failing_legs_left_out: int
    """How many legs fail beside it."""
    missed_text: Text
    """How many criteria that decide are missed, such as "1 of 3 criteria missed"."""
    flips_text: Text
    """How many test cases flipped since the baseline; empty without any."""
    causes_text: Text
    """How many test cases have each cause, over all simulations; empty where no cause is known."""
    failing_causes_text: Text
    """The same over the simulations that explain a failure."""
    is_doubtful: bool
    """Whether a criterion that was judged looks like a mistake."""
    advice: Text
    advice_parts: list[AdviceFacts]
    """The same in parts."""
    link: Text
    links: list[Link]
    """Pages with more: the runs, the workflow run, other reports."""
    facts: dict[Text, Text]
    """Where the step ran and, with one leg, what is known of its run."""
    step: StepFacts
    inputs: dict[Text, Text]
    """The inputs that differ from their defaults, as given; of JSON objects only the keys. No secrets."""
    legs: list[Leg]
    """One for each run; empty where the step ended before it had one."""
    gravest_first: list[int]
    """The places of the legs in `legs`, the gravest first."""

    @property
    def ranked(self) -> list[Leg]:
        """The legs, the gravest first."""
        return [self.legs[place] for place in self.gravest_first]

    @property
    def other_inputs(self) -> dict[str, str]:
        """The inputs that `facts` do not tell."""
        return {name: text for name, text in self.inputs.items() if name not in (*LAUNCH_IDS, "matrix")}

    @property
    def is_tolerated(self) -> bool:
        """Whether the step succeeds although its verdict is neither passed nor skipped."""
        return self.passes and self.verdict not in (None, "passed", "skipped")
