"""What the JSON report says of comparisons: the fields that they add to a criterion, and the baseline of a leg."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from coval_gate.config.thresholds import Reference  # noqa: TC001 - pydantic reads the annotations
from coval_gate.judge.measure import Trend  # noqa: TC001
from coval_gate.model.baseline import NotFoundKind, Unchecked  # noqa: TC001
from coval_gate.report.comparisons import run_page
from coval_gate.report.json_models import MayGrow, Model, Text
from coval_gate.report.limits import MOST_FLIPS, MOST_RUNS
from coval_gate.report.wording.baselines import no_baseline_text
from coval_gate.report.wording.comparisons import comparison_of, reference_of

if TYPE_CHECKING:
    from coval_gate.judge.checks import Check
    from coval_gate.model.baseline import Baseline, BaselineRun, NotFoundReason
    from coval_gate.report.model import Report


class LeftOutFacts(Model):
    """What a comparison leaves out."""

    new: int
    """Test cases that the reference does not have."""
    gone: int
    """Test cases that only the reference has."""
    changed: int
    """Test cases whose contents changed since."""
    valueless: int
    """Test cases that both have, without a value in one of the two."""
    runs: int
    """Runs of the baseline with another persona, without the metric, or with another version of it."""


class ComparedCriterion(Model):
    """The fields of a criterion that compares; null or empty where it compares with nothing, or could not."""

    reference: Reference
    """baseline: earlier runs; base: the agent itself in the same run; empty: a number. With a reference, `actual`,
    `count` and `missing` are over the test cases that both sides have, and `bound` is the number that the reference
    makes."""
    advisory: bool
    """Whether it is shown only, and can never fail."""
    baseline_value: float | None
    """That of the reference, in `unit`."""
    actual_pooled: float | None
    """`actual` weighs each test case the same, however many simulations it has. This is the value over all simulations
    alike; null where it does not differ."""
    baseline_count: int | None
    """How many simulations of the reference have a value."""
    baseline_missing: int | None
    """How many simulations of the reference have none. A rate counts them as misses on both sides."""
    baseline_pooled: float | None
    """As `actual_pooled`, for `baseline_value`."""
    change: float | None
    """`actual` minus `baseline_value`."""
    change_lower: float | None
    """With a confidence: the change is at least so much; null where nothing is claimed."""
    change_upper: float | None
    """With a confidence: the change is at most so much. Each bound has the whole `change_confidence` by itself."""
    change_confidence: float | None
    """A share; null where the change was decided as counted."""
    trend: Trend | None
    """What the change amounts to: with a confidence, only what is evident among so many thresholds."""
    by_chance: int
    """0; or, where the change alone would be evident, how many thresholds there are: one of so many may show it by
    chance."""
    noticeable_change: float | None
    """The smallest change for the worse, in `unit`, that 80% of such runs would show, beyond the margin and among so
    many thresholds; null where it is not known."""
    shared_test_cases: int | None
    """How many test cases both sides have."""
    left_out: LeftOutFacts | None
    newly_failing: list[Text]
    """The first ids of test cases most of whose simulations pass in the reference, and most fail now."""
    newly_failing_left_out: int
    """How many more there are."""
    newly_passing: list[Text]
    """The first ids of test cases of which the reverse is true."""
    newly_passing_left_out: int
    """How many more there are."""


class BaselineRunFacts(Model):
    """A run of the baseline, and what distinguishes it from this one."""

    id: Text
    url: Text
    created: Text
    """As Coval reports it; empty where it does not."""
    changed_test_cases: int
    """How many test cases have other contents since."""
    changed_metrics: list[Text]
    """Ids of the metrics that another version judged."""
    changed_persona: bool
    """Whether it had another persona, or another version of it, so that it is not compared with."""
    changed_options: list[Text]
    """Other options of its launch that may matter, by the names of inputs."""
    unchecked: list[Annotated[Unchecked, MayGrow()]]
    """What Coval does not tell: whether these have changed since. More words may follow."""


class NoBaselineFacts(Model):
    """Why there is no baseline."""

    kind: Annotated[NotFoundKind, MayGrow()]
    """In a word. More words may follow."""
    run_id: Text
    """The run that may not be used; empty where there is none."""
    text: Text


class BaselineFacts(Model):
    """What was found of the input `baseline`."""

    source: Text
    """As the input spells it."""
    runs: list[BaselineRunFacts]
    """The newest first."""
    runs_left_out: int
    """How many more there are."""
    fewer_than_asked: int
    """How many of the runs that the input asks for there are not."""
    missing: NoBaselineFacts | None
    """Why there is no run; null where there is one."""


def comparison_fields(check: Check) -> dict[str, Any]:
    """Return the fields of ComparedCriterion."""
    found, measure = comparison_of(check), check.measure
    change = found.change if found else None
    failing, passing = (found.newly_failing, found.newly_passing) if found else ((), ())
    return {
        "reference": reference_of(check),
        "advisory": not check.decides,
        "baseline_value": found.value if found else None,
        "actual_pooled": measure.pooled if measure else None,
        "baseline_count": found.count if found else None,
        "baseline_missing": found.missing if found else None,
        "baseline_pooled": found.pooled if found else None,
        "change": float(f"{measure.value - found.value:.12g}") if found and measure else None,
        "change_lower": _finite(change.lower) if change else None,
        "change_upper": _finite(change.upper) if change else None,
        "change_confidence": change.confidence if change else None,
        "trend": found.trend if found else None,
        "by_chance": found.by_chance if found else 0,
        "noticeable_change": found.noticeable if found else None,
        "shared_test_cases": found.cases if found else None,
        "left_out": LeftOutFacts(**found.left_out._asdict()) if found else None,
        "newly_failing": list(failing[:MOST_FLIPS]),
        "newly_failing_left_out": max(0, len(failing) - MOST_FLIPS),
        "newly_passing": list(passing[:MOST_FLIPS]),
        "newly_passing_left_out": max(0, len(passing) - MOST_FLIPS),
    }


def baseline_facts(report: Report, baseline: Baseline | None) -> BaselineFacts | None:
    """Return what was found of a baseline; None where none was asked for."""
    if baseline is None:
        return None
    return BaselineFacts(
        source=str(baseline.source),
        runs=[_run(report, each) for each in baseline.runs[:MOST_RUNS]],
        runs_left_out=max(0, len(baseline.runs) - MOST_RUNS),
        fewer_than_asked=baseline.fewer_than_asked,
        missing=_missing(baseline, baseline.missing) if baseline.missing else None,
    )


def _run(report: Report, found: BaselineRun) -> BaselineRunFacts:
    return BaselineRunFacts(
        id=found.run.run_id,
        url=run_page(report, found.run),
        created=found.run.create_time,
        changed_test_cases=len(found.changed_cases),
        changed_metrics=sorted(found.changed_metrics),
        changed_persona=found.changed_persona,
        changed_options=list(found.changed_options),
        unchecked=list(found.unchecked),
    )


def _missing(baseline: Baseline, reason: NotFoundReason) -> NoBaselineFacts:
    text = no_baseline_text(baseline.source, reason)
    return NoBaselineFacts(kind=reason.kind, run_id=reason.run_id, text=f"{text[0].upper()}{text[1:]}.")


def _finite(bound: float) -> float | None:
    return bound if math.isfinite(bound) else None
