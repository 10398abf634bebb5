"""Hands the thresholds of a suite's leg over to the step that judges its run, in the run's metadata.

So that step does not need the file. Metadata are foreign text: their size is limited, a digest shows damage, and the
grammar parses each line. They can add to what the step requires, and take nothing away.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Final

from coval_gate.base.text import quoted
from coval_gate.ci.host import BASE, ROLE, SUITE_FILE, TESTED, THRESHOLDS
from coval_gate.config.checks import threshold_contradictions
from coval_gate.config.inputs import SUITE, Problem
from coval_gate.config.thresholds import ThresholdSyntaxError, parse_thresholds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from coval_gate.config.inputs import Inputs
    from coval_gate.config.thresholds import Threshold
    from coval_gate.model.run import Run

MOST: Final = 20  # thresholds in the metadata of a run
LONGEST: Final = 200  # characters of each; Coval documents this limit for tags, and none for metadata
HEAD: Final = re.compile("([0-9]{1,3})[.]([0-9a-f]{8})")
OF_STEP: Final = "thresholds"  # the source of thresholds that the step itself has


def thresholds_as_metadata(thresholds: Sequence[Threshold]) -> dict[str, str]:
    """Return thresholds as metadata, each with a key of its own; nothing if they do not fit."""
    lines = list(dict.fromkeys(f"{'? ' if threshold.advisory else ''}{threshold.text}" for threshold in thresholds))
    if len(lines) > MOST or any(len(line) > LONGEST for line in lines):
        return {}
    wanted = {_bare(threshold) for threshold in thresholds}
    try:
        is_whole = {_bare(threshold) for threshold in parse_thresholds("\n".join(lines))} == wanted
    except ThresholdSyntaxError:  # a text that was made printable is another one
        return {}
    if not is_whole:
        return {}
    numbered = {_key(number): line for number, line in enumerate(lines, 1)}
    return {THRESHOLDS: f"{len(lines)}.{checksum_of(lines)}", **numbered}


def thresholds_of(run: Run) -> tuple[Threshold, ...]:
    """Return the thresholds in the metadata of a run. Raises ValueError with the end of a sentence about them."""
    head = run.metadata.get(THRESHOLDS)
    match = HEAD.fullmatch(head) if isinstance(head, str) else None
    count = int(match[1]) if match else 0
    lines = [run.metadata.get(_key(number)) for number in range(1, min(count, MOST) + 1)]
    texts = [line for line in lines if isinstance(line, str) and len(line) <= LONGEST]
    if match is None or not count or len(texts) < count or match[2] != checksum_of(texts):
        raise ValueError("are damaged")
    source = f"thresholds in the metadata of run {run.run_id}"
    return tuple(_parsed(text, number)._replace(line=number, source=source) for number, text in enumerate(texts, 1))


def with_thresholds_of(inputs: Inputs, run: Run) -> Inputs:
    """Return the inputs with the thresholds in the metadata of a run beside their own, equal ones once.

    Raises ValueError as `thresholds_of`.
    """
    own = {_bare(threshold) for threshold in inputs.thresholds}
    added = tuple(threshold for threshold in thresholds_of(run) if _bare(threshold) not in own)
    has_base = run.metadata.get(ROLE) == TESTED and any(threshold.bound.reference == "base" for threshold in added)
    inputs = inputs._replace(thresholds=(*inputs.thresholds, *added))
    # The base of such a run is another agent's run, even if the step was not given it.
    return inputs._replace(base_agent_id=BASE) if has_base and not inputs.base_agent_id else inputs


def obstacles(inputs: Inputs, run: Run) -> tuple[Problem, ...]:
    """Return why a run that was launched with a suite cannot be judged without it; nothing if it can."""
    file, run_id = run.metadata.get(SUITE_FILE), run.run_id
    needed = f"must be {quoted(file)}" if file else "is required"
    if THRESHOLDS not in run.metadata:
        suite, unknown = ("this", "") if file else ("a", ", and Coval does not show it")
        what = f"{needed}: run {run_id} was launched with {suite} suite, whose thresholds it must meet{unknown}."
        return (Problem(SUITE, what),)
    try:
        whole = with_thresholds_of(inputs, run)
    except ValueError as problem:
        return (Problem(SUITE, f"{needed}: the thresholds in the metadata of run {run_id} {problem}."),)
    softening = [
        Problem(SUITE, f"{needed}: {threshold.text} in the metadata of run {run_id} would soften {what} of this step.")
        for threshold in whole.thresholds
        if threshold.source != OF_STEP and (what := _softened(threshold, inputs))
    ]
    return (*softening, *threshold_contradictions(whole._replace(base_agent_id="")))


def has_others(run: Run, handed_over: Mapping[str, str]) -> bool:
    """Return whether a run shows that it was launched with other thresholds than those to hand over now."""
    if SUITE_FILE not in run.metadata:
        return False
    names = (THRESHOLDS, *map(_key, range(1, MOST + 1)))
    return any(run.metadata.get(name) != handed_over.get(name) for name in names)


def _softened(threshold: Threshold, inputs: Inputs) -> str:
    """Return which criterion of the step would require less beside a threshold; usually empty.

    A limit on missing values replaces the strict rule for its metric, and one on `pass_rate` replaces "all".
    """
    own = [other for other in inputs.thresholds if other.source == OF_STEP]
    rates = any(other.aggregate.kind.uses_targets and not other.advisory for other in own)
    if threshold.aggregate.kind.uses_targets and not threshold.advisory:
        return "use_metric_targets" if inputs.use_metric_targets and not rates else ""
    if not _limits_gaps(threshold):
        return ""
    of_metric = [other for other in own if other.metric == threshold.metric]
    if any(map(_limits_gaps, of_metric)):
        return ""
    judged = [other.text for other in of_metric if not other.advisory]
    return next(iter(judged), "") or next(_other_criteria(threshold.metric, inputs, rates=rates), "")


def _other_criteria(metric: str, inputs: Inputs, *, rates: bool) -> Iterator[str]:
    """Yield the inputs that judge, or may judge, a metric beside thresholds on it."""
    if inputs.fail_on_metric_id == metric:
        yield "fail_on_metric_id"
    if inputs.use_metric_targets:
        yield "use_metric_targets"
    if rates:
        yield "pass_rate"


def _limits_gaps(threshold: Threshold) -> bool:
    return threshold.aggregate.kind.limits_gaps and threshold.operator in ("<", "<=", "==")


def _parsed(text: str, number: int) -> Threshold:
    """Return the threshold in a line. Raises ValueError with the end of a sentence about all lines."""
    try:
        (threshold,) = parse_thresholds(text)
    except ValueError:  # also if there is none, or more than one
        raise ValueError(f"cannot be read: line {number} is {quoted(text)}") from None
    return threshold


def _bare(threshold: Threshold) -> Threshold:
    """Return a threshold without its place."""
    return threshold._replace(line=0, source="")


def _key(number: int) -> str:
    return f"{THRESHOLDS}_{number}"


def checksum_of(lines: Sequence[str]) -> str:
    """Return what shows whether one of the lines was damaged or lost."""
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:8]
