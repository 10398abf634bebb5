"""Comparisons in the document: their words, and the runs behind a baseline or a base."""

import math
from collections.abc import Callable, Sequence
from typing import Final

from coval_gate.base.text import in_words, one_line, plural
from coval_gate.coval.model import Run
from coval_gate.features.comparisons.problems import dated_text, left_out_text, no_baseline_text
from coval_gate.features.comparisons.standing import standing_text
from coval_gate.features.comparisons.words import change_text, difference_text, enough_cases
from coval_gate.gate.checks import REFERENCE_NAMES, Check, after_text
from coval_gate.gate.findings import CheckGroup
from coval_gate.gate.measure import Baseline, Comparison, LeftOut, Unchecked, measured_text, on_scale, size_text
from coval_gate.gate.verdict import Verdict
from coval_gate.report.document.base import Parts, SentencePart
from coval_gate.report.document.legs import StandingFacts
from coval_gate.report.document.model import BASE_AGENT, LegReport
from coval_gate.report.document.provenance import called, run_page
from coval_gate.report.document.references import BaselineFacts, BaselineRunFacts, NoBaselineFacts

RUNS_SHOWN: Final = 3
UNCHECKED: Final[dict[Unchecked, str]] = {
    "test_cases": "the contents of test cases",
    "persona": "the persona",
    "metrics": "the metrics",
}


def comparison_texts(check: Check, compared: Comparison) -> tuple[str, ...]:
    """Return the words of a comparison, in the order of `COMPARISON_TEXTS`."""
    return (
        _earlier_text(check, compared),
        _range_text(check, compared),
        difference_text(check),
        _trend_text(check, compared),
        _claimed_text(check, compared),
        _noticeable_text(check, compared),
    )


def _earlier_text(check: Check, compared: Comparison) -> str:
    lacking = compared.missing if check.scale.unit == "share" else 0
    return measured_text(compared, check.scale) + (f", {lacking:,} of them without a value" if lacking else "")


def _range_text(check: Check, compared: Comparison) -> str:
    """Return how the runs of a pooled reference vary, such as "7 runs: 93.1% to 97%"; empty without several runs."""
    if (runs := compared.range) is None:
        return ""
    lowest, highest = (on_scale(value, check.scale) for value in (runs.lowest, runs.highest))
    return f"{runs.runs:,} runs: {f'{lowest} each' if lowest == highest else f'{lowest} to {highest}'}"


def _trend_text(check: Check, compared: Comparison) -> str:
    threshold, trend, beyond = check.threshold, compared.trend or "", ""
    if check.verdict is Verdict.FAILED and trend == "worse" and threshold and not threshold.asks_for_improvement:
        # Only that the change is for the worse is evident, not how much.
        has_margin = threshold.bound.factor != 1.0 or threshold.bound.number != 0.0
        beyond = ", and the measured change exceeds the margin" if has_margin else ""
    within = ", within the margin" if trend == "worse" and check.passed else ""
    so_far = " so far" if check.verdict is Verdict.INCONCLUSIVE and check.after > 0 else ""  # slices settled it
    return f"{trend}{beyond}{within}{so_far}"


def _claimed_text(check: Check, compared: Comparison) -> str:
    is_at_bound = check.verdict is Verdict.INCONCLUSIVE and compared.trend not in (None, "inconclusive")
    at_bound = ", inconclusive at the bound" if is_at_bound and not check.after else ""
    claims_any = compared.change is not None and any(map(math.isfinite, compared.change[:2]))
    enough = enough_cases(check, compared) if claims_any else 0
    never = f"; this few test cases can never show more, {enough:,} can" if enough else ""
    return f"{change_text(check)}{at_bound}{after_text(check)}{never}"


def _noticeable_text(check: Check, compared: Comparison) -> str:
    if compared.noticeable is None:
        return ""
    rises = check.threshold and check.threshold.wants_less
    return f"a {'rise' if rises else 'drop'} of {size_text(compared.noticeable, check.scale, math.ceil)}"


def facts_of_comparison(leg: LegReport) -> dict[str, BaselineFacts | StandingFacts | None]:
    """Return the fields of a leg's facts by name."""
    baseline, base, standing, parts = leg.judgement.baseline, leg.judgement.base, leg.standing, Parts()
    return {
        "baseline": baseline and _baseline_facts(leg, baseline),
        "base": base and _baseline_facts(leg, base),
        "standing": standing
        and StandingFacts(
            accepted=standing.accepted, tag=standing.tag, parts=parts.of(standing_text(standing, code=parts.code))
        ),
    }


def _baseline_facts(leg: LegReport, baseline: Baseline) -> BaselineFacts:
    missing = None
    if reason := baseline.missing:
        text = no_baseline_text(baseline.source, reason)
        missing = NoBaselineFacts(kind=reason.kind, run_id=reason.run_id, text=f"{text[0].upper()}{text[1:]}.")
    return BaselineFacts(
        source=str(baseline.source),
        runs=[
            BaselineRunFacts(
                id=run.run.run_id,
                url=run_page(leg, run.run),
                created=run.run.create_time,
                changed_test_cases=len(run.changed_cases),
                changed_metrics=sorted(run.changed_metrics),
                changed_persona=run.changed_persona,
                changed_options=list(run.changed_options),
                unchecked=list(run.unchecked),
            )
            for run in baseline.runs
        ],
        fewer_than_asked=baseline.fewer_than_asked,
        missing=missing,
    )


def reference_sentence(group: CheckGroup, leg: LegReport, *, is_explained: bool) -> list[SentencePart]:
    """Return what the criteria of a group compare with. `is_explained`: another sentence says why there is none."""
    parts = Parts()
    if group.baseline is None:
        name = REFERENCE_NAMES[group.reference]
        shared = f": {shared_text(group.comparisons, name)}" if group.comparisons else ""
        return parts.of(f"{parts.title(f'Compared with the {name}')}{shared}")
    source = group.baseline.source
    named = (
        f"Base agent {parts.code(called(leg, BASE_AGENT, source.name))}"
        if source.kind == "base_agent"
        else f"Baseline {parts.code(source)}"
    )
    title = parts.title(named)
    runs = baseline_text(group.baseline, group.comparisons, lambda run: parts.code(run.run_id, run_page(leg, run)))
    missing = None if is_explained or group.baseline.runs else group.baseline.missing
    why = f"; {one_line(no_baseline_text(source, missing))}" if missing else ""
    return parts.of(f"{title}: {runs}{why}")


def baseline_text(baseline: Baseline, comparisons: Sequence[Comparison], run_text: Callable[[Run], str]) -> str:
    """Return which runs a baseline has, and how they differ; `run_text` marks up the id of each."""
    if not baseline.runs:
        return "none"
    first = baseline.runs[:RUNS_SHOWN]
    named = [dated_text(run.run, run_text) + (", which the gate failed" if run.failed else "") for run in first]
    more = [f"{len(baseline.runs) - len(named):,} more"] if len(baseline.runs) > len(named) else []
    fewer = f", {baseline.fewer_than_asked:,} fewer than asked for" if baseline.fewer_than_asked else ""
    parts = [f"{'run' if len(baseline.runs) == 1 else 'runs'} {in_words(named + more)}{fewer}"]
    if comparisons:
        parts.append(shared_text(comparisons, "base" if baseline.source.kind == "base_agent" else "baseline"))
    options = sorted({option for run in baseline.runs for option in run.changed_options})
    if options:
        parts.append(f"launched with other {one_line(in_words(options))}")
    unchecked = [text for what, text in UNCHECKED.items() if any(what in run.unchecked for run in baseline.runs)]
    if unchecked:
        parts.append(f"unknown: whether {in_words(unchecked, 'or')} changed since")
    return "; ".join(parts)


def shared_text(comparisons: Sequence[Comparison], reference: str = "baseline") -> str:
    """Return how many test cases are compared, and what is left out; a range if metrics lack different values."""
    least, most = (kind(comparison.cases for comparison in comparisons) for kind in (min, max))
    cases = plural(most, "shared test case")
    uneven = "" if all(comparison.even for comparison in comparisons) else ", equally weighted"
    parts = [f"{cases if least == most else f'{least:,} to {cases}'}{uneven}"]
    if left := left_out_text(
        LeftOut(*map(max, zip(*(comparison.left_out for comparison in comparisons), strict=True))), reference
    ):
        alike = len({comparison.left_out for comparison in comparisons}) == 1
        parts.append(f"left out{'' if alike else ' at most'}: {left}")
    return "; ".join(parts)
