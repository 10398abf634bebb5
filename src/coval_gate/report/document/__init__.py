"""The document: what a step found, with everything that people read of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Literal

from pydantic import ConfigDict, Field

from coval_gate.base.text import visible
from coval_gate.inputs.inputs import LAUNCH_IDS
from coval_gate.report.document.base import VERSIONS, Link, Model, Text
from coval_gate.report.document.legs import Judged, Leg


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


class PageFacts(Model):
    """How the pages of the step are found, such as its check run and its comment."""

    commit: Text
    """The tested commit; empty where it is unknown."""
    commit_status: Text
    """Its name, distinct for each job of a matrix; empty where the input is not set."""
    check_run: Text
    """Likewise."""
    key: Text
    """In the comment's first line. It differs between workflows, jobs (also of a matrix), steps and what they evaluate,
    but not between runs."""
    references: list[Text]
    """The ids of the runs, the first leg's last; without any, what distinguishes this step and attempt. A later step
    finds the check run by any: the launch may have created it with another leg's id."""


class Document(Judged):
    """The result of one step of Coval Gate.

    A later minor version may have fields that are not described here, and other words where a description says that
    more words may follow. What is described here holds until the major number of `schema_version` changes.
    """

    model_config = ConfigDict(title="CovalGateReport")

    schema_version: Text = Field(pattern=VERSIONS)
    passed: bool
    title: Text
    """The verdict as the title of a warning; empty where there is nothing to warn about."""
    evaluated: list[EvaluatedFacts]
    places: list[PlaceFacts]
    tested: Text
    """What the runs tested, in words."""
    reason_is_untold: bool
    """Whether neither the criteria nor the table of legs say the first reason."""
    untold_reasons: list[Text]
    """The other reasons that the criteria do not say."""
    run_ids: list[Text]
    """All runs: the first ones of all legs, those of their bases, and then the repetitions."""
    planned_simulations: int | None
    """How many the step meant to launch, without repetitions; null if Coval does not show the number of test cases."""
    failed_simulation_ids: list[Text]
    """The first simulations that did not complete or, where targets count, missed one."""
    forbidden_simulation_ids: list[Text]
    """The first simulations with a value that `count(…) == 0` forbids."""
    decided_by: Text
    """The leg that decides; empty with one leg, and where something else does, such as a signal."""
    failing_legs_left_out: int
    """How many legs fail beside it."""
    links: list[Link]
    """Pages with more: the runs, the workflow run, other reports."""
    facts: dict[Text, Text]
    """Where the step ran and, with one leg, what is known of its run."""
    step: StepFacts
    pages: PageFacts
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
    def evaluation(self) -> str:
        """What distinguishes the step from others of its workflow."""
        return self.step.after("Coval evaluation")

    @property
    def advice_parts(self) -> Iterator[tuple[Literal["text", "item", "code"], str]]:
        """The advice as paragraphs, items of a list, and lines of code."""
        lines_of_advice = self.advice.split("\n") if self.advice else []
        for indented, lines in groupby(lines_of_advice, key=lambda line: line.startswith("    ")):
            if indented:
                yield "code", "\n".join(visible(line).removeprefix("    ") for line in lines)
            else:
                yield from (("item", line[2:]) if line.startswith("- ") else ("text", line) for line in lines)

    @property
    def run_url(self) -> str:
        """The page of the first leg's run; empty where there is none."""
        return self.legs[0].run.url if self.legs else ""

    @property
    def other_inputs(self) -> dict[str, str]:
        """The inputs that `facts` do not tell."""
        return {name: text for name, text in self.inputs.items() if name not in (*LAUNCH_IDS, "matrix")}
