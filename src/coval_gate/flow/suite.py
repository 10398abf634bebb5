"""Reads the file that `suite_path` names, and gives runs that were launched elsewhere the criteria in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coval_gate.base.errors import InputError
from coval_gate.base.text import in_words, quoted
from coval_gate.config.inputs import SUITE, Problem
from coval_gate.config.suite import LARGEST, read_suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.ci.host import Host
    from coval_gate.config.inputs import Inputs, LegInputs
    from coval_gate.runs.legs import Leg

MOST_NAMED: Final = 5  # legs in an error


def read_file(host: Host, inputs: Inputs) -> tuple[Sequence[LegInputs], Sequence[Problem]]:
    """Return the legs in the file without mistakes, and a problem for each mistake."""
    try:
        contents = host.workspace.read(inputs.suite_path, LARGEST)
    except ValueError as problem:
        return (), (Problem(SUITE, str(problem)),)
    return read_suite(contents, inputs, is_json=inputs.suite_path.lower().endswith(".json"))


def judge_by(suite: Sequence[LegInputs], legs: Sequence[Leg]) -> None:
    """Give the legs of runs that were launched elsewhere the inputs of the suite's legs of the same names."""
    by_name = {given.name: given for given in suite}
    for leg in legs:
        if given := by_name.get(leg.name):
            leg.inputs = given.inputs._replace(run_id=leg.inputs.run_id)
        else:
            leg.is_stray = True


def refuse_stray(suite: Sequence[LegInputs], leg: Leg) -> None:
    """Leave a run alone that is no leg of the suite. Raises InputError."""
    if not leg.is_stray:
        return
    run_id = leg.first.run_id
    leg.first.release()
    names = in_words([quoted(given.name) for given in suite], most=MOST_NAMED)
    if leg.name in ("", run_id):
        what = f"cannot be used: Coval does not show which leg run {run_id} is. Its legs are {names}."
    else:
        what = (
            f"has no leg {quoted(leg.name)}, with which run {run_id} was launched; its legs are {names}. Give the step "
            "the file that the runs were launched with."
        )
    raise InputError([Problem(SUITE, what)])
