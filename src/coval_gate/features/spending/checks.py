"""Checks the inputs beside `spend`."""

from collections.abc import Iterator

from coval_gate.inputs.checks import SPLIT_MODES
from coval_gate.inputs.inputs import UNTIL_CLEAR, Inputs, InvalidInput


def contradictions(inputs: Inputs) -> Iterator[InvalidInput]:
    name, value = "spend", f"spend: {UNTIL_CLEAR}"
    if inputs.mode in SPLIT_MODES:
        yield InvalidInput(
            name,
            f"cannot be {UNTIL_CLEAR} in mode {inputs.mode}: the step decides about each further part of the test "
            "cases while it waits. Use mode run, or leave spend empty.",
        )
    if inputs.confidence is None:
        yield InvalidInput("confidence", f"is required with {value}, such as 95%: it defines when an answer is clear.")
    if inputs.iteration_count > 1:
        yield InvalidInput("iteration_count", f"must be 1 with {value}: each test case has one conversation.")
    if inputs.sub_sample_size:
        yield InvalidInput(
            "sub_sample_size", f"cannot be combined with {value}; max_simulations limits the test cases."
        )
    if inputs.accept:
        yield InvalidInput(
            name, f"must be empty if accept is true: a baseline is a run with all test cases, not {value}."
        )
