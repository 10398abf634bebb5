"""The history of a step's legs: their runs one after the other, and what each showed. Every format reads it.

All lists of a leg that have an entry for each run have these in the order of `runs`: the oldest first.
"""

from typing import Final

from pydantic import ConfigDict, Field

from coval_gate.base.text import in_words, plural
from coval_gate.gate.measure import Unit
from coval_gate.report.document.base import Model, Text

HISTORY_VERSION: Final = "1.0"


class HistoryRun(Model):
    """One of the runs. What is not known of it is empty."""

    id: Text
    url: Text
    day: Text
    commit: Text
    commit_url: Text
    unread: Text
    """Why it has no values; empty if it was read."""
    is_baseline: bool
    """Whether it is one of the runs that a step would be compared with today."""
    accepted: bool
    changes: list[Text]
    """What changed since the run before it, as far as launches recorded that, such as the test set."""


class HistoryValue(Model):
    """What a run measured for a threshold, as counted: null, and in `text` why, where nothing was measured."""

    value: float | None
    text: Text
    met: bool | None
    """Null, too, for a threshold that compares: what it then compared with is not rebuilt."""


class HistoryThreshold(Model):
    """A threshold on the agent, or on one of its mutations."""

    text: Text
    """As the user wrote it, without the mark of an advisory one."""
    advisory: bool
    variant: Text
    """The mutation; empty for the agent itself."""
    unit: Unit
    """share: from 0 to 1; simulations: how many; metric: the metric's own unit, whose sign is `sign`."""
    sign: Text
    bound: float | None
    """Null if it refers to a baseline or base."""
    required: Text
    """The operator and the bound."""
    values: list[HistoryValue | None]
    """For each run; null for one that was not read or has no such variant."""

    @property
    def name(self) -> str:
        """The text, with the mark of an advisory one, and the mutation in brackets if it is on one."""
        return f"{'? ' * self.advisory}{self.text}{f' [{self.variant}]' if self.variant else ''}"


class HistoryCell(Model):
    """The conversations of a test case in a run. One meets if it completed and misses no threshold by itself."""

    conversations: int
    met: int
    url: Text
    """The page of one that did not meet or, if all did, of the first."""

    @property
    def failed(self) -> bool:
        return 2 * self.met <= self.conversations


class HistoryCase(Model):
    """A test case with the agent, or with one of its mutations. It failed in a run if at most half of it met there."""

    id: Text
    title: Text
    variant: Text
    cells: list[HistoryCell | None]
    """For each run; null where the run does not have the test case, or was not read."""
    runs: int
    """How many runs have it."""
    failed: int
    """In how many of them it failed."""
    conversations: int
    met: int
    """How many of its conversations met, over all runs."""
    is_flipping: bool
    """Whether 20 to 90 % of its conversations met."""
    known: Text
    """Why it is excused, if the configuration file has it among its known failures today."""

    @property
    def name(self) -> str:
        return f"{self.title} [{self.variant}]" if self.variant else self.title

    @property
    def signs(self) -> str:
        """One for each run: ✗ where it failed, ✓ where it did not, · where the run does not have it."""
        return "".join("·" if cell is None else "✗" if cell.failed else "✓" for cell in self.cells)

    @property
    def failed_text(self) -> str:
        return f"{self.failed:,} of {plural(self.runs, 'run')}"


class HistoryLeg(Model):
    """The runs of an agent, a persona and a test set. The test cases that failed in most of them come first."""

    name: Text
    title: Text
    runs: list[HistoryRun]
    thresholds: list[HistoryThreshold]
    cases: list[HistoryCase]
    trouble: Text
    """Why there are no runs; otherwise empty."""

    @property
    def newest_text(self) -> str:
        """What the newest run misses or lacks, and which test case failed most; empty without thresholds and failures.

        A threshold that compares is neither met nor missed here.
        """
        values = {one.name: one.values[-1] for one in self.thresholds if not one.advisory} if self.runs else {}
        measured = {name: value for name, value in values.items() if value and value.value is not None}
        missed = [name for name, value in measured.items() if value.met is False]
        lacking = [name for name in values if name not in measured]
        clauses = [
            f"misses {in_words(missed)}" if missed else "",
            ("has no values" if not measured else f"has no value for {in_words(lacking)}") if lacking else "",
        ]
        if not any(clauses) and any(value.met for value in measured.values()):
            clauses = ["misses no threshold with a number"]
        worst = next((case for case in self.cases if case.failed), None)
        found = " and ".join(filter(None, clauses))
        sentences = [
            f"The newest run, of {self.runs[-1].day}, {found}." if found else "",
            f"{worst.name} failed most often: in {worst.failed_text}." if worst else "",
        ]
        return " ".join(filter(None, sentences))


class HistoryDocument(Model):
    """The newest runs of each leg of a step, side by side."""

    model_config = ConfigDict(title="CovalGateHistory")

    schema_version: Text = Field(pattern=r"^1\.[0-9]+$")
    title: Text
    made: Text
    """ISO 8601, UTC."""
    legs: list[HistoryLeg]
    known_failures: Text
    """Lines for the configuration file: test cases that may be excused, without a reason. Empty without any."""
    dashboard_url: Text

    @property
    def flipping(self) -> list[tuple[HistoryLeg, HistoryCase]]:
        return [(leg, case) for leg in self.legs for case in leg.cases if case.is_flipping]
