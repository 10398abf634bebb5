"""Checks on thresholds, and how they are compared, with which confidence, and how often. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coval_gate.inputs.inputs import Inputs, Problem, default_of
from coval_gate.inputs.parsing import MOST_TAGS, read_metadata
from coval_gate.inputs.thresholds import Threshold

TINY_SHARE: Final = 0.01  # a smaller bound on a rate is probably a share written as a percentage


def gate_contradictions(inputs: Inputs) -> Iterator[Problem]:
    for threshold in inputs.thresholds:
        if _is_impossible(threshold):
            yield Problem(threshold.source, f", line {threshold.line}: no run can meet {threshold.text}.")
    compared = [threshold for threshold in inputs.thresholds if threshold.bound.reference]
    with_baseline = [threshold for threshold in compared if threshold.bound.reference == "baseline"]
    if with_baseline and inputs.baseline is None:
        where = f"{with_baseline[0].text} ({with_baseline[0].place})"
        yield Problem("baseline", f"is required for {where}, such as branch:main.")
    yield from _baseline_contradictions(inputs)
    is_itself = inputs.baseline is not None and inputs.baseline.kind == "base"
    with_itself = [threshold for threshold in compared if is_itself or threshold.bound.reference == "base"]
    if inputs.base_agent_id and (what := _wrong_base(inputs, bool(with_itself))):
        yield Problem("base_agent_id", what)
    elif not inputs.base_agent_id and with_itself and inputs.mode in ("run", "plan") and not inputs.mutation_ids:
        first = with_itself[0]
        yield Problem(
            first.source,
            f", line {first.line}: {first.text} compares mutations with the agent itself, but there are no mutations; "
            "set mutation_ids, name another agent in base_agent_id, or compare with baseline.",
        )
    for threshold in compared:
        if inputs.confidence is not None and not threshold.takes_confidence:
            # What no confidence can decide has an alternative.
            instead = "Use <, <=, > or >=." if threshold.operator in ("==", "!=") else threshold.aggregate.kind.instead
            what = f", line {threshold.line}: {threshold.text} cannot be compared with confidence. {instead}"
            yield Problem(threshold.source, what)


def gate_warnings(inputs: Inputs) -> Iterator[str]:
    if inputs.mode != "launch":  # the step that waits uses them, and has thresholds
        yield from _without_confidence(inputs)
        yield from _without_reference(inputs)
    for threshold in inputs.thresholds:
        if doubt := _doubt(threshold):
            yield f"{threshold.place}: {doubt}"


def _without_reference(inputs: Inputs) -> Iterator[str]:
    source = inputs.baseline
    gives_standing = inputs.accept or (source is not None and source.kind == "tag")
    compares = any(threshold.bound.reference == "baseline" for threshold in inputs.thresholds)
    if source and not (gives_standing or compares):
        yield "baseline has no effect: no threshold compares with it, such as `Latency: avg <= baseline * 1.1`."
    if not (source and source.kind == "branch") and inputs.baseline_max_age != default_of("baseline_max_age"):
        yield "baseline_max_age has no effect: it applies only to a baseline given by branch."
    is_judged = inputs.use_metric_targets or inputs.thresholds
    softened = [one for one in inputs.thresholds if one.takes_confidence and not one.advisory]
    if inputs.repeat_on_failure and is_judged and not softened:
        yield (
            "repeat_on_failure softens no criterion: all are decided as counted. A run that misses one is not "
            "repeated; a run that only lost simulations is, to replace them."
        )


def _without_confidence(inputs: Inputs) -> Iterator[str]:
    compares = any(threshold.bound.reference for threshold in inputs.thresholds)
    if inputs.confidence is None and inputs.on_inconclusive and not compares:
        yield "on_inconclusive has no effect without confidence or a baseline."
    if inputs.confidence is not None and not any(threshold.takes_confidence for threshold in inputs.thresholds):
        takers = "threshold on rate, pass_rate, avg, med or p(N) with <, <=, > or >="
        yield f"confidence has no effect: there is no {takers}."


def _doubt(threshold: Threshold) -> str:
    """Return why a bound looks like a mistake (all or nearly all runs meet it); empty if it does not."""
    aggregate, operator, bound = threshold.aggregate, threshold.operator, threshold.bound.number
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


def _baseline_contradictions(inputs: Inputs) -> Iterator[Problem]:
    source = inputs.baseline
    is_tag = source is not None and source.kind == "tag"
    if is_tag and inputs.baseline_max_age != default_of("baseline_max_age"):
        yield Problem("baseline_max_age", "must be empty for a baseline given by tag, which does not age.")
    tags = inputs.tags or read_metadata(inputs.metadata).tags  # of every run that the step launches
    if source and is_tag and source.name.lower() in map(str.lower, tags):
        text = f"must not be one of tags: every launch would become part of the baseline {source}."
        yield Problem("baseline", text)
    if inputs.accept and not (source and source.kind in ("tag", "branch")):
        text = "must name a tag or a branch if accept is true: later runs are compared with its runs."
        yield Problem("baseline", text)
    if inputs.accept and len(tags) == MOST_TAGS:
        yield Problem("tags", f"must be at most {MOST_TAGS - 1} if accept is true: an accepted run gets one more.")
    if inputs.mode == "wait" and source and source.kind == "run" and source.name in inputs.run_id.ids:
        yield Problem("baseline", "names the run that the step waits for; name an earlier one.")


def _wrong_base(inputs: Inputs, is_used: bool) -> str:
    """Return what is wrong with `base_agent_id`; empty if nothing is."""
    if inputs.mode == "wait" and inputs.run_id.newest:
        return f"must be empty with run_id {inputs.run_id.newest}; name the runs by their ids."
    if inputs.base_agent_id in inputs.agent_id:
        return "is the tested agent, agent_id; name the one to compare it with."
    if inputs.mutation_ids:
        return "cannot be combined with mutations, which are compared with the agent itself; leave one of the two out."
    if not is_used and inputs.mode != "launch":
        return "requires a threshold that compares with base, such as `Latency: avg <= base * 1.1`."
    return ""


def _is_impossible(threshold: Threshold) -> bool:
    """Return whether no run can meet a bound: it is outside the aggregate's range, or not a whole number."""
    kind, bound = threshold.aggregate.kind, threshold.bound.number
    can_be = kind.least <= bound <= kind.most and (kind.unit != "simulations" or bound.is_integer())
    never = {"<": bound <= kind.least, "<=": bound < kind.least, ">": bound >= kind.most, ">=": bound > kind.most}
    return not threshold.bound.reference and (never | {"==": not can_be}).get(threshold.operator, False)
