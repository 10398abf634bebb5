"""Compares a run that was launched elsewhere with what the user says that it evaluates. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.config.inputs import LAUNCH_IDS, Problem
from coval_gate.text import in_words, quoted

if TYPE_CHECKING:
    from coval_gate.config.inputs import Inputs
    from coval_gate.model.run import Run


def differences(inputs: Inputs, run: Run) -> tuple[Problem, ...]:
    """Return a problem for each input that names another agent, persona or test set than the run has."""
    pairs = ((name, getattr(inputs, name), getattr(run, name)) for name in LAUNCH_IDS)
    return tuple(
        Problem(
            name,
            f"is {quoted(given)}, but run {run.run_id} has {quoted(found)}; wait for a run with this {_noun(name)}, or "
            f"leave {name} empty.",
        )
        for name, given, found in pairs
        if given and found and given != found
    )


def not_shown(inputs: Inputs, run: Run) -> str:
    """Return a sentence on the inputs that cannot be compared; empty where Coval shows all of them."""
    names = [name for name in LAUNCH_IDS if getattr(inputs, name) and not getattr(run, name)]
    nouns = in_words([_noun(name) for name in names])
    return f"{in_words(names)} cannot be checked: Coval does not show the {nouns} of run {run.run_id}." if names else ""


def _noun(name: str) -> str:
    return name.removesuffix("_id").replace("_", " ")
