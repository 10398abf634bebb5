"""The seam between the two stages of a step: what it needs only after its launch, or seldom before it.

The start is measured, so the first stage, which this module's users import, gets along with little. All else is
imported here, with its first use or while the run goes on.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from coval_gate.base.schedule import start
from coval_gate.report.formats import load

if TYPE_CHECKING:
    from coval_gate.gate import judgement
    from coval_gate.history import comparable
    from coval_gate.inputs import file, nodes
    from coval_gate.report import document
    from coval_gate.step import (
        adopt,
        base,
        cleanup,
        details,
        evaluate,
        follow,
        lookups,
        lost,
        plan,
        report,
        settle,
        size,
        template,
        wrong_ids,
    )
else:

    class Later:
        """A module that is imported with its first use."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(import_module(self._name), attribute)

    def __getattr__(name: str) -> Later:
        return Later(f"coval_gate.{ELSEWHERE.get(name, f'step.{name}')}")


AT_THE_END: Final = ("cleanup", "evaluate", "report")
ELSEWHERE: Final = {  # than in this package
    "comparable": "history.comparable",
    "document": "report.document",
    "file": "inputs.file",
    "judgement": "gate.judgement",
    "nodes": "inputs.nodes",
}


def begin() -> None:
    """Import what every step needs at its end, beside what it does meanwhile."""
    for name in AT_THE_END:
        start(partial(import_module, f"coval_gate.step.{name}"))
    start(load)
