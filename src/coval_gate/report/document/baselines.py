"""What a leg is compared with: the runs of its baseline, or of its base agent."""

from __future__ import annotations

from typing import Annotated

from coval_gate.gate.compared import NotFoundKind, Unchecked  # noqa: TC001 - pydantic reads the annotations
from coval_gate.report.document.base import MayGrow, Model, Text


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
