"""Criteria, and what they compare with, for the document."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from coval_gate.base.text import one_line, plural
from coval_gate.gate.checks import NAMES, Check, bound_text
from coval_gate.gate.claims import (
    OTHERS,
    claim_text,
    notes_title,
    shows_text,
    words_of,
)
from coval_gate.gate.findings import CheckGroup, Findings, lacks_baseline
from coval_gate.gate.measure import Baseline, BaselineRun
from coval_gate.gate.problems import no_baseline_text
from coval_gate.gate.verdict import Verdict
from coval_gate.report.compose.provenance import base_name, run_page
from coval_gate.report.document.base import AGENT, Outcome, Part
from coval_gate.report.document.criteria import (
    BaselineFacts,
    BaselineRunFacts,
    CriteriaGroup,
    Criterion,
    LeftOutFacts,
    NoBaselineFacts,
)
from coval_gate.report.limits import MOST_CRITERIA, MOST_FLIPS, MOST_IDS, MOST_RUNS
from coval_gate.report.model import LegReport
from coval_gate.report.wording.checks import (
    actual_text,
    baseline_text,
    check_reason,
    first_text,
    informs_text,
    margin_text,
    note_text,
    shared_text,
    shown_verdict,
)

PLACE: Final = re.compile("\0([0-9]+)\0")  # of a part in a sentence; no text has this character on one line
MUTATION: Final = " (mutation)"  # distinguishes a mutation with the name of the agent itself


class Parts:
    """Makes parts of a sentence whose marks are given to it as functions."""

    def __init__(self) -> None:
        self._marked: list[Part] = []

    def code(self, text: object, url: str = "") -> str:
        return self._mark(Part(text=one_line(text), is_code=True, is_title=False, url=url))

    def title(self, text: str) -> str:
        return "".join(self._mark(part.model_copy(update={"is_title": True})) for part in self.of(text))

    def of(self, sentence: str) -> list[Part]:
        pieces = list(enumerate(PLACE.split(sentence)))
        plain = Part(text="", is_code=False, is_title=False, url="")
        return [
            self._marked[int(piece)] if place % 2 else plain.model_copy(update={"text": piece})
            for place, piece in pieces
            if piece
        ]

    def _mark(self, part: Part) -> str:
        self._marked.append(part)
        return f"\0{len(self._marked) - 1}\0"


def reference_parts(group: CheckGroup, leg: LegReport | None) -> list[Part]:
    """Return what a group compares with; without a leg, without its names and pages."""
    parts = Parts()
    if group.baseline is None:
        name = NAMES[group.reference]
        shared = f": {shared_text(group.comparisons, name)}" if group.comparisons else ""
        return parts.of(f"{parts.title(f'Compared with the {name}')}{shared}")
    source = group.baseline.source
    named = source.name if source.kind == "base_agent" else source
    word = "Base agent" if source.kind == "base_agent" else "Baseline"
    title = parts.title(f"{word} {parts.code(base_name(leg, named) if leg else named)}")
    runs = baseline_text(
        group.baseline, group.comparisons, lambda run: parts.code(run.run_id, run_page(leg, run) if leg else "")
    )
    return parts.of(f"{title}: {runs}")


def why_missing(group: CheckGroup) -> str:
    """Return why there is no baseline, as a clause; empty where there is one."""
    baseline = group.baseline
    if baseline is None or baseline.runs or not baseline.missing:
        return ""
    return one_line(no_baseline_text(baseline.source, baseline.missing))


def baseline_facts(leg: LegReport, baseline: Baseline | None) -> BaselineFacts | None:
    """Return the baseline of a leg, or its base; None where no threshold refers to one."""
    if baseline is None:
        return None
    reason = baseline.missing
    text = no_baseline_text(baseline.source, reason) if reason else ""
    missing = (
        NoBaselineFacts(kind=reason.kind, run_id=reason.run_id, text=f"{text[0].upper()}{text[1:]}.")
        if reason
        else None
    )
    return BaselineFacts(
        source=str(baseline.source),
        runs=[_run(leg, run) for run in baseline.runs[:MOST_RUNS]],
        runs_left_out=max(0, len(baseline.runs) - MOST_RUNS),
        fewer_than_asked=baseline.fewer_than_asked,
        missing=missing,
    )


def _run(leg: LegReport, run: BaselineRun) -> BaselineRunFacts:
    return BaselineRunFacts(
        id=run.run.run_id,
        url=run_page(leg, run.run),
        created=run.run.create_time,
        changed_test_cases=len(run.changed_cases),
        changed_metrics=sorted(run.changed_metrics),
        changed_persona=run.changed_persona,
        changed_options=list(run.changed_options),
        unchecked=list(run.unchecked),
    )


def variant_key(variant: str) -> str:
    """Return a unique name for a variant, also for the agent itself."""
    taken = variant.startswith(AGENT) and not variant.removeprefix(AGENT).replace(MUTATION, "")
    return f"{variant}{MUTATION}" if taken else variant or AGENT


def listed(findings: Findings) -> tuple[list[CriteriaGroup], list[Criterion]]:
    """Return the criteria of a judgement that has no report yet, and their groups."""
    return groups_of(findings), criteria_of(findings, str)


def criteria_of(findings: Findings, case_name: Callable[[str], str]) -> list[Criterion]:
    return [criterion_of(check, case_name) for check in findings.checks.by_gravity[:MOST_CRITERIA]]


def groups_of(findings: Findings, leg: LegReport | None = None) -> list[CriteriaGroup]:
    first = next(iter(findings.checks.missed), None)
    is_told = first is not None and lacks_baseline(first)
    return [_group(group, leg, nth, why_is_told=is_told) for nth, group in enumerate(findings.groups)]


def _group(group: CheckGroup, leg: LegReport | None, nth: int, *, why_is_told: bool) -> CriteriaGroup:
    parts = Parts()
    others = parts.of(parts.title(OTHERS)) if nth else []
    return CriteriaGroup(
        compared_with=NAMES[group.reference],
        reference=reference_parts(group, leg) if group.reference else others,
        why=why_missing(group),
        why_is_told=why_is_told,
        total=len(group.checks),
        compared=len(group.comparisons),
        shows=shows_text(group.checks),
        notes=notes_title(group.checks),
    )


def criterion_of(check: Check, case_name: Callable[[str], str] = str) -> Criterion:
    measure, requirement = check.measure, check.requirement
    bound = requirement.bound if requirement else None
    if requirement and check.comparison:  # computed from a reference: without rounding errors
        bound = float(f"{requirement.bound:.12g}")
    interval = measure.interval if measure else None
    blamed = () if check.passed and not check.informs else check.simulations
    return Criterion(
        kind=check.criterion.kind,
        criterion=check.criterion.text,
        verdict=shown_verdict(check).value,
        met=check.passed,
        actual=_exact(check, measure.value) if measure else None,
        operator=requirement.operator if requirement else None,
        bound=bound,
        unit=measure.unit if measure else None,
        margin=None if check.margin is None else float(f"{check.margin:.12g}"),  # 0.10935, not 0.10935000000000006
        runs=check.runs,
        run_id=check.run_id,
        first_actual=_exact(check, check.first.value) if check.first else None,
        count=measure.count if measure else None,
        missing=measure.missing if measure else None,
        lower=_finite(interval.lower) if interval else None,
        upper=_finite(interval.upper) if interval else None,
        confidence=interval.confidence if interval else None,
        problem=check.problem.kind if check.problem else "",
        actual_text=actual_text(check),
        first_text=first_text(check),
        required_text=f"{requirement.operator} {bound_text(check)}" if requirement and measure else "",
        claim_text=claim_text(check),
        margin_text=margin_text(check),
        informs_text=informs_text(check),
        note_text=note_text(check),
        reason=check_reason(check),
        user_defined=check.criterion.user_defined,
        of_variant=check.several,
        variant=variant_key(check.variant),
        metric_id=check.metric,
        simulation_ids=list(blamed[:MOST_IDS]),
        simulation_ids_left_out=max(0, len(blamed) - MOST_IDS),
        **_comparison(check),
        **_flips(check, case_name),
    )


def _comparison(check: Check) -> dict[str, Any]:
    compared, measure = check.comparison, check.measure
    change = compared.change if compared else None
    return {
        "reference": "base" if check.reference == "base_agent" else check.reference,  # as thresholds write it
        "compared_with": NAMES[check.reference],
        "advisory": not check.decides,
        "baseline_value": _exact(check, compared.value) if compared else None,
        "actual_pooled": _exact(check, measure.pooled) if measure else None,
        "baseline_count": compared.count if compared else None,
        "baseline_missing": compared.missing if compared else None,
        "baseline_pooled": _exact(check, compared.pooled) if compared else None,
        "change": float(f"{measure.value - compared.value:.12g}") if compared and measure else None,
        "change_lower": _finite(change.lower) if change else None,
        "change_upper": _finite(change.upper) if change else None,
        "change_confidence": change.confidence if change else None,
        "trend": compared.trend if compared else None,
        "by_chance": compared.by_chance if compared else 0,
        "noticeable_change": compared.noticeable if compared else None,
        "shared_test_cases": compared.cases if compared else None,
        "left_out": LeftOutFacts(**compared.left_out._asdict()) if compared else None,
        **words_of(check),
    }


def _flips(check: Check, case_name: Callable[[str], str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in ("newly_failing", "newly_passing"):
        cases = getattr(check.comparison, name, ())
        shown = list(cases[:MOST_FLIPS])
        left_out = len(cases) - len(shown)
        fields |= {name: shown, f"{name}_cases": [*map(case_name, shown)], f"{name}_left_out": left_out}
    return fields


def missed_text(checks: Sequence[Check], *, named: bool = False) -> str:
    """Return how many criteria that decide are missed: "1 of 3 missed", "3 met"; empty without any."""
    checks = [check for check in checks if not check.informs]
    total = plural(len(checks), "criterion", "criteria") if named else f"{len(checks):,}"
    doubtful = sum(check.verdict is Verdict.INCONCLUSIVE for check in checks)
    counts = {"missed": sum(not check.passed for check in checks) - doubtful, "inconclusive": doubtful}
    unmet = [f"{count:,} of {total} {word}" for word, count in counts.items() if count]
    return ", ".join(unmet) or (f"{total} met" if checks else "")


def _exact(check: Check, value: float | None) -> float | None:
    """Return a figure without rounding errors: 0.433, not 0.43300000000000005. A share stays an exact quotient."""
    return float(f"{value:.15g}") if value is not None and check.scale.unit == "metric" else value


def _finite(bound: float) -> float | None:
    return bound if math.isfinite(bound) else None


def outcome(verdict: Verdict | None) -> Outcome | None:
    return verdict.value if verdict else None
