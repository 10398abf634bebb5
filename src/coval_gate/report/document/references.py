"""What criteria compare with: the baseline or the base of a leg, and the criteria grouped by it."""

from collections.abc import Mapping
from typing import Annotated, Final

from coval_gate.gate.checks import REFERENCE_NAMES
from coval_gate.gate.findings import CheckGroup, Findings, lacks_baseline
from coval_gate.gate.judgement import UNFINISHED_RUN
from coval_gate.gate.measure import NotFoundKind, Unchecked
from coval_gate.report.document.base import MayGrow, Model, Parts, SentencePart, Text
from coval_gate.report.document.criteria import CriterionFacts, criteria_of
from coval_gate.report.document.model import LegReport
from coval_gate.report.wording.checks import notes_title

OTHERS: Final = "Other criteria"  # those that compare with nothing, after those that do


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
    """Coval does not show whether these have changed. More words may follow."""


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
    fewer_than_asked: int
    """How many of the requested runs do not exist."""
    missing: NoBaselineFacts | None
    """Why there is no run; null where there is one."""


class CriteriaGroup(Model):
    """The criteria of a leg that compare with the same reference."""

    compared_with: Text
    """As in the criteria; empty: those that compare with a number."""
    reference: list[SentencePart]
    """What they compare with, as a sentence; if with a number, a title below other groups, else empty. It explains why
    there is no baseline, unless the leg's first reason does."""
    total: int
    """How many criteria it has."""
    compared: int
    """How many of them were compared."""
    shows: Text
    """The title of their notes, such as "margin"; empty for comparisons without a confidence."""


def listed(findings: Findings, names: Mapping[str, str]) -> tuple[list[CriteriaGroup], list[CriterionFacts]]:
    """Return groups and criteria of a judgement that has no report yet. `names`: as of a leg's report."""
    return groups_of(findings, LegReport(judgement=UNFINISHED_RUN, names=names)), criteria_of(findings, str)


def groups_of(findings: Findings, leg: LegReport) -> list[CriteriaGroup]:
    first = next(iter(findings.checks.missed), None)
    is_explained = first is not None and lacks_baseline(first)
    return [
        CriteriaGroup(
            compared_with=REFERENCE_NAMES[group.reference],
            reference=_reference(group, leg, is_first=nth == 0, is_explained=is_explained),
            total=len(group.checks),
            compared=len(group.comparisons),
            shows=notes_title(group.checks, plain="") if group.reference else notes_title(group.checks),
        )
        for nth, group in enumerate(findings.groups)
    ]


def _reference(group: CheckGroup, leg: LegReport, *, is_first: bool, is_explained: bool) -> list[SentencePart]:
    parts = Parts()
    if not group.reference:
        return [] if is_first else parts.of(parts.title(OTHERS))
    from coval_gate.features.comparisons.document import reference_sentence

    return reference_sentence(group, leg, is_explained=is_explained)
