"""What a step does, in two stages: up to the launch, and after it.

The start is measured, so a module of the first stage imports only what every launch needs. It imports this package as
`later`, and finds everything else there: the package imports a module when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from coval_gate.gate import criteria as criteria
    from coval_gate.gate import judgement as judgement
    from coval_gate.history import comparable as comparable
    from coval_gate.inputs import file as file
    from coval_gate.inputs import nodes as nodes
    from coval_gate.report import document as document
    from coval_gate.report import wording as wording
    from coval_gate.step import cancel, cleanup, draw, evaluate, follow, ids, lookups, plan, report, slices

ELSEWHERE: Final = {  # than in this package
    "comparable": "history.comparable",
    "criteria": "gate.criteria",
    "document": "report.document",
    "file": "inputs.file",
    "judgement": "gate.judgement",
    "nodes": "inputs.nodes",
    "wording": "report.wording",
}


def __getattr__(name: str) -> Any:
    return import_module(f"coval_gate.{ELSEWHERE.get(name, f'step.{name}')}")
