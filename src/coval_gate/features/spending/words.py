"""A leg with `spend: until clear` in English: its slices in a plan, what each decided, and how they ended."""

from collections.abc import Iterator, Sequence

from coval_gate.base.text import in_words, percent, plural
from coval_gate.features.spending.sequential import TRUTHS, Boundaries, slices_of
from coval_gate.gate.aggregates import aggregation_of
from coval_gate.gate.checks import Check
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judgement import Judgement, Slices
from coval_gate.gate.verdict import Verdict


def plan_lines(slices: Sequence[Sequence[str]], criteria: Criteria) -> Iterator[str]:
    """Yield how a leg is sliced, what that saves, and what makes it pointless. `slices`: the test cases of each."""
    sizes = in_words([f"{len(cases):,}" for cases in slices])
    yield f"Slices of {sizes} test cases: each is launched only while a threshold is undecided."
    yield from spending_texts(criteria, sum(map(len, slices)))


def spending_texts(criteria: Criteria, cap: int) -> Iterator[str]:
    """Yield which criteria make slices pointless, and what slices save for the others."""
    pointless = [threshold.text for threshold in criteria.thresholds if threshold.waits_for_last]
    if criteria.requires_every_target:
        pointless.append("use_metric_targets")
    for text in pointless:
        yield f"{text} passes only with all test cases, so spend: until clear saves nothing unless something fails."
    for threshold in criteria.thresholds:
        share, is_rate = aggregation_of(threshold).demanded_share, threshold.aggregate.is_rate
        if share is None or threshold.waits_for_last or threshold.bound.reference:
            continue
        boundaries = Boundaries.of(share, slices_of(cap), round(1.0 - (criteria.confidence or 0.0), 9))
        inverse = threshold.wants_less and is_rate
        calls = [
            f"{boundaries.ends(truth).conversations:.0f} at {percent(1.0 - truth if inverse else truth)}"
            for truth in TRUTHS
        ]
        by = "true rate" if is_rate else "true share of values that meet it"
        calls_text = f"{cap:,} test cases on average, by its {by}: {in_words(calls)}."
        yield f"{threshold.text} is clear after this many of {calls_text}"


def after_slice_text(judgement: Judgement) -> str:
    """Return how many test cases were called by now, and how many of the thresholds they decide."""
    checks: dict[object, list[Check]] = {}
    for check in judgement.checks:
        if check.threshold and check.decides:
            checks.setdefault(check.threshold, []).append(check)
    settled = [own for own in checks.values() if all(check.after for check in own)]
    unchanged = sum(any(check.verdict is Verdict.INCONCLUSIVE for check in own) for own in settled)
    decided = f": {len(settled) - unchanged:,} of {plural(len(checks), 'threshold')} decided" if checks else ""
    so_far = f", {unchanged:,} unchanged so far" if unchanged else ""
    return f"After {_called_text(judgement.slices) if judgement.slices else ''}{decided}{so_far}."


def slices_text(judgement: Judgement, slices: Slices) -> str:
    """Return how many of the test cases were called, and why no more were."""
    look, runs = slices.look, plural(slices.look.number, "slice")
    called = _called_text(slices)
    if look.is_last:
        return f"All {called.partition(' of ')[2]} were called, in {runs}."
    if not slices.is_clear:
        return f"Stopped after {called}, in {runs}. Slices run one after the other: raise max_wait_time."
    if judgement.verdict is Verdict.INCONCLUSIVE:
        doubtful = [check for check in judgement.missed if check.verdict is Verdict.INCONCLUSIVE]
        is_unchanged = all(check.after for check in doubtful)
        why = "unchanged so far, so the others" if is_unchanged else "the others would hardly have decided it, and"
        return f"Stopped after {called}, in {runs}: {why} were not called."
    return f"Decided after {called}, in {runs}. The others were not called."


def out_of_time_reason(slices: Slices) -> str:
    return f"max_wait_time left too little for more than {_called_text(slices)}, and these do not decide it."


def _called_text(slices: Slices) -> str:
    return f"{slices.look.called:,} of {plural(slices.look.cap, 'test case')}"
