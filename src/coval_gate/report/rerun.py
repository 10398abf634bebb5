"""How to repeat some test cases of a leg: as inputs of the workflow's step, and as a command."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Final

from coval_gate.config.fields import IDENTIFIER
from coval_gate.config.inputs import CONNECTION, GATE, KEY_VARIABLE, LAUNCH_IDS, MOST_TEST_CASES, WHAT, declared
from coval_gate.report.provenance import configuration, what_ran

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coval_gate.report.model import LegReport, Report
    from coval_gate.report.simulations import SimulationRow

IMAGE: Final = "coval-gate"  # as README builds it
LONGEST_COMMAND: Final = 2_000  # characters
UNSET: Final = {  # inputs that test_case_ids excludes, or that only make sense for the whole test set
    "sub_sample_size": "0",
    "sub_sample_seed": "",
    "min_simulations": "1",
    "promote": "",
}
OF_ANOTHER_RUN: Final = ("display_name", "tags", "created_by", "on_missing_api_key")
WITHHELD: Final = ("metadata", "config_overrides")  # JSON objects, which may contain secrets


def case_ids(rows: Iterable[SimulationRow]) -> tuple[str, ...]:
    """Return the distinct ids of the rows' test cases, as far as `test_case_ids` accepts them."""
    ids = dict.fromkeys(row.simulation.test_case_id for row in rows)
    return tuple(case_id for case_id in ids if IDENTIFIER.fullmatch(case_id))[:MOST_TEST_CASES]


def ids_line(ids: Iterable[str]) -> str:
    """Return the input for these test cases, as a line of a workflow file."""
    return f"test_case_ids: {json.dumps(', '.join(ids))}"


def workflow_lines(report: Report, ids: Iterable[str]) -> list[str]:
    """Return the inputs to change in the step, as lines of a workflow file."""
    given = configuration(report.inputs) if report.inputs else {}
    return [ids_line(ids), *(f"{name}: {json.dumps(value)}" for name, value in UNSET.items() if name in given)]


def docker_command(report: Report, leg: LegReport, ids: Iterable[str]) -> str:
    """Return a command that repeats the test cases with README's image.

    Empty where an input is unknown, may contain a secret, or makes the command too long to be read.
    """
    given, ran = configuration(report.inputs) if report.inputs else {}, _ran(report, leg)
    if len(ran) < len(LAUNCH_IDS) or any(name in given for name in WITHHELD):
        return ""
    repeated = {
        declaration.name: given[declaration.name]
        for declaration in declared()
        if declaration.group in (CONNECTION, WHAT, GATE)
        and declaration.name in given
        and declaration.name not in (*ran, *UNSET, *OF_ANOTHER_RUN, "test_case_ids")
    }
    inputs = ran | {"test_case_ids": ",".join(ids)} | repeated
    options = [f"--env {shlex.quote(f'INPUT_{name.upper()}={value}')}" for name, value in inputs.items()]
    command = " \\\n  ".join([f"docker run --rm --env {KEY_VARIABLE}", *options, IMAGE])
    return command if len(command) <= LONGEST_COMMAND else ""


def _ran(report: Report, leg: LegReport) -> dict[str, str]:
    return {name: value for name, value in what_ran(report, leg).items() if IDENTIFIER.fullmatch(value)}
