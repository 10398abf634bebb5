"""Checks the inputs of comparisons."""

from collections.abc import Iterator, Sequence

from coval_gate.inputs.inputs import Inputs, InvalidInput, default_of
from coval_gate.inputs.parsing import MOST_TAGS, read_metadata
from coval_gate.inputs.thresholds import Threshold


def contradictions(inputs: Inputs, compared: Sequence[Threshold]) -> Iterator[InvalidInput]:
    """`compared`: the thresholds that refer to something."""
    with_baseline = [threshold for threshold in compared if threshold.bound.reference == "baseline"]
    if with_baseline and inputs.baseline is None:
        where = f"{with_baseline[0].text} ({with_baseline[0].place})"
        yield InvalidInput("baseline", f"is required for {where}, such as tag:stable last 7.")
    yield from _baseline_contradictions(inputs)
    is_itself = inputs.baseline is not None and inputs.baseline.kind == "base"
    with_itself = [threshold for threshold in compared if is_itself or threshold.bound.reference == "base"]
    if inputs.base_agent_id and (what := _wrong_base(inputs, bool(with_itself))):
        yield InvalidInput("base_agent_id", what)
    elif not inputs.base_agent_id and with_itself and inputs.mode in ("run", "plan") and not inputs.mutation_ids:
        first = with_itself[0]
        yield InvalidInput(
            first.source,
            f", line {first.line}: {first.text} compares mutations with the agent itself, but there are no mutations; "
            "set mutation_ids, name another agent in base_agent_id, or compare with baseline.",
        )
    for threshold in compared:
        if inputs.confidence is not None and not threshold.takes_confidence:
            # Every aggregate that no confidence can decide names an alternative.
            instead = "Use <, <=, > or >=." if threshold.operator in ("==", "!=") else threshold.aggregate.kind.instead
            what = f", line {threshold.line}: {threshold.text} cannot be compared with confidence. {instead}"
            yield InvalidInput(threshold.source, what)


def _baseline_contradictions(inputs: Inputs) -> Iterator[InvalidInput]:
    source = inputs.baseline
    is_tag = source is not None and source.kind == "tag"
    if is_tag and inputs.baseline_max_age != default_of("baseline_max_age"):
        yield InvalidInput("baseline_max_age", "must be empty for a baseline given by tag, which does not age.")
    tags = inputs.tags or read_metadata(inputs.metadata).tags  # of every run that the step launches
    if source and is_tag and source.name.lower() in map(str.lower, tags):
        text = f"must not be one of tags: every launch would become part of the baseline {source}."
        yield InvalidInput("baseline", text)
    if inputs.accept and not (source and source.kind in ("tag", "branch")):
        text = "must name a tag or a branch if accept is true: later runs are compared with its runs."
        yield InvalidInput("baseline", text)
    if inputs.accept and len(tags) == MOST_TAGS:
        yield InvalidInput("tags", f"must be at most {MOST_TAGS - 1} if accept is true: an accepted run gets one more.")
    if inputs.mode == "wait" and source and source.kind == "run" and source.name in inputs.run_id.ids:
        yield InvalidInput("baseline", "names the run that the step waits for; name an earlier one.")


def _wrong_base(inputs: Inputs, is_used: bool) -> str:
    """Return what is wrong with `base_agent_id`; empty if nothing is."""
    if inputs.mode == "wait" and inputs.run_id.newest:
        return f"must be empty with run_id {inputs.run_id.newest}; name the runs by their ids."
    if inputs.base_agent_id in inputs.agent_id:
        return "must differ from agent_id, the tested agent; name the agent to compare it with."
    if inputs.mutation_ids:
        return "cannot be combined with mutations, which are compared with the agent itself; remove one of the two."
    if not is_used and inputs.mode != "launch":
        return "requires a threshold that compares with base, such as `Latency: avg <= base * 1.1`."
    return ""


def warnings(inputs: Inputs) -> Iterator[str]:
    source = inputs.baseline
    gives_standing = inputs.accept or (source is not None and source.kind == "tag")
    compares = any(threshold.bound.reference == "baseline" for threshold in inputs.thresholds)
    if source and not (gives_standing or compares):
        yield "baseline has no effect: no threshold compares with it, such as `Latency: avg <= baseline * 1.1`."
    if not (source and source.kind == "branch") and inputs.baseline_max_age != default_of("baseline_max_age"):
        yield "baseline_max_age has no effect: it applies only to a baseline given by branch."
