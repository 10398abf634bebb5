"""Checks on thresholds, and on the inputs about their baseline, confidence and repetitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.config.inputs import Problem, default_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coval_gate.config.inputs import Inputs
    from coval_gate.config.thresholds import Threshold

WATCHED: Final = "a rate, pass_rate, avg, med or p(N) by <, <=, > or >="
SUCH_AS: Final = "such as `Latency: avg <= baseline * 1.1`"
TINY_SHARE: Final = 0.01  # a smaller bound on a rate is probably a share written as a percentage


def threshold_warnings(inputs: Inputs) -> Iterator[str]:
    """Yield a sentence about each threshold that looks like a mistake, and each input without effect on thresholds."""
    yield from _without_confidence(inputs)
    yield from _without_reference(inputs)
    yield from _drift_warnings(inputs)
    for threshold in inputs.thresholds:
        if doubt := _doubt(threshold):
            yield f"thresholds, line {threshold.line}: {doubt}"


def threshold_contradictions(inputs: Inputs) -> Iterator[Problem]:
    """Yield a problem for each threshold that no run can meet, or whose comparison is impossible."""
    for threshold in inputs.thresholds:
        if _is_impossible(threshold):
            yield Problem("thresholds", f", line {threshold.line}: no run can meet {threshold.text}.")
    yield from _reference_contradictions(inputs)
    yield from _drift_contradictions(inputs)


def _without_reference(inputs: Inputs) -> Iterator[str]:
    """Yield a sentence for each input about baselines and repetitions that needs another one to have an effect."""
    source = inputs.baseline
    # In mode launch there are no thresholds, but the step records what a later comparison needs.
    if (
        source
        and inputs.mode != "launch"
        and not any(threshold.bound.reference == "baseline" for threshold in inputs.thresholds)
    ):
        yield "baseline has no effect: no threshold compares with it, such as `Latency: avg <= baseline * 1.1`."
    is_searched = source is not None and source.kind in ("tag", "branch")
    if not is_searched and inputs.baseline_max_age != default_of("baseline_max_age"):
        yield "baseline_max_age has no effect: it applies only to a baseline given by tag or branch."
    if inputs.on_flaky == "fail" and not inputs.repeat_on_failure:
        yield "on_flaky has no effect without repeat_on_failure."
    if inputs.repeat_on_failure and not _can_be_softened(inputs):
        yield (
            "repeat_on_failure softens no criterion: all are decided as counted. A run that misses one is not "
            "repeated; a run that only lost simulations is, to replace them."
        )


def _drift_contradictions(inputs: Inputs) -> Iterator[Problem]:
    """Yield a problem if `drift` cannot show anything, or if its reference would move."""
    if inputs.drift is None:
        return
    tag = inputs.drift.name
    if tag == inputs.promote:
        yield Problem("drift", f"must not be the tag of promote, which moves from run to run: {tag}. Use another one.")
    earlier = inputs.baseline is None or inputs.baseline.kind != "base"
    if not (earlier and any(threshold.shows_drift for threshold in inputs.thresholds)):
        yield Problem("drift", f"requires a threshold that compares {WATCHED} with baseline, {SUCH_AS}.")


def _drift_warnings(inputs: Inputs) -> Iterator[str]:
    """Yield a sentence about each threshold with a baseline that cannot show drift."""
    for threshold in inputs.thresholds if inputs.drift else ():
        if threshold.bound.reference == "baseline" and not threshold.shows_drift:
            yield f"drift does not watch {threshold.text} (thresholds, line {threshold.line}), but only {WATCHED}."


def _can_be_softened(inputs: Inputs) -> bool:
    """Return whether repetitions may show that a missed criterion was bad luck; True without criteria."""
    counted = inputs.use_metric_targets or bool(inputs.fail_on_metric_id) or bool(inputs.thresholds)
    return not counted or any(threshold.takes_confidence and not threshold.advisory for threshold in inputs.thresholds)


def _without_confidence(inputs: Inputs) -> list[str]:
    """Return a sentence if `confidence` or `on_inconclusive` has no effect; else nothing."""
    compares = any(threshold.bound.reference for threshold in inputs.thresholds)
    if inputs.confidence is None:
        is_unused = inputs.on_inconclusive and not compares
        return ["on_inconclusive has no effect without confidence or a baseline."] if is_unused else []
    if any(threshold.takes_confidence for threshold in inputs.thresholds):
        return []
    takers = "threshold on rate, pass_rate, avg, med or p(N) with <, <=, > or >="
    return [f"confidence has no effect: there is no {takers}."]


def _doubt(threshold: Threshold) -> str:
    """Return why a bound looks like a mistake (all or nearly all runs meet it); empty if it does not."""
    aggregate, operator, bound = threshold.aggregate, threshold.operator, threshold.bound.number
    if aggregate.percentile is not None and 0 < aggregate.percentile < 1:
        return f"p({aggregate.percentile:g}) is close to the minimum; did you mean p({aggregate.percentile * 100:g})?"
    if threshold.bound.reference:
        return ""
    least, most = aggregate.kind.least, aggregate.kind.most
    always = {">": bound < least, ">=": bound <= least, "<": bound > most, "<=": bound >= most}
    if always.get(operator):
        return f"every run meets {threshold.text}, so it decides nothing."
    if threshold.wants_more and aggregate.is_rate and 0 < bound < TINY_SHARE:
        return f"nearly every run meets {threshold.text}; did you mean {bound * 10_000:g}%?"
    if threshold.wants_less and aggregate.is_rate and 1 - TINY_SHARE < bound < 1:
        return f"nearly every run meets {threshold.text}; did you mean {operator.replace('<', '>')} {bound * 100:g}%?"
    return ""


def _reference_contradictions(inputs: Inputs) -> Iterator[Problem]:
    """Yield a problem for each threshold with nothing to compare with, or that no confidence can decide."""
    compared = [threshold for threshold in inputs.thresholds if threshold.bound.reference]
    for threshold in compared:
        if threshold.bound.reference == "baseline" and inputs.baseline is None:
            where = f"{threshold.text} (thresholds, line {threshold.line})"
            yield Problem("baseline", f"is required for {where}, such as branch:main.")
            break
    source = inputs.baseline
    if inputs.mode == "wait" and source and source.kind == "run" and source.name in inputs.run_id:
        yield Problem("baseline", "names the run that the step waits for; name an earlier one.")
    with_itself = [
        threshold
        for threshold in compared
        if threshold.bound.reference == "base" or (inputs.baseline is not None and inputs.baseline.kind == "base")
    ]
    if with_itself and inputs.mode == "run" and not (inputs.mutation_id or inputs.mutation_ids):
        (first, *_) = with_itself
        yield Problem(
            "thresholds",
            f", line {first.line}: {first.text} compares mutations with the agent itself, but there are no mutations; "
            "set mutation_ids, or compare with baseline.",
        )
    for threshold in compared:
        if inputs.confidence is not None and not threshold.takes_confidence:
            yield Problem(
                "thresholds",
                f", line {threshold.line}: {threshold.text} cannot be compared with confidence. "
                f"{_alternative(threshold)}",
            )


def _alternative(threshold: Threshold) -> str:
    """Return a sentence that names an alternative to a threshold that no confidence can decide."""
    if threshold.operator in ("==", "!="):
        return "Use <, <=, > or >=."
    return threshold.aggregate.kind.instead


def _is_impossible(threshold: Threshold) -> bool:
    """Return whether no run can meet a bound: it is outside the aggregate's range, or not a whole number."""
    kind, bound = threshold.aggregate.kind, threshold.bound.number
    if threshold.bound.reference:
        return False
    match threshold.operator:
        case "<":
            return bound <= kind.least
        case "<=":
            return bound < kind.least
        case ">":
            return bound >= kind.most
        case ">=":
            return bound > kind.most
        case "==":
            is_whole = kind.unit != "simulations" or bound.is_integer()
            return not (kind.least <= bound <= kind.most and is_whole)
    return False
