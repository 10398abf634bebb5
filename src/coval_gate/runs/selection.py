"""Compares a run that was launched elsewhere with the agent, persona and test set in the inputs. Pure."""

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
            f"is {quoted(expected)}, but run {run.run_id} has {quoted(actual)}; wait for a run with this "
            f"{_noun(name)}, or leave {name} empty.",
        )
        for name, expected, actual in pairs
        if expected and actual and expected != actual
    )


def not_shown(inputs: Inputs, run: Run) -> str:
    """Return a sentence on the inputs that cannot be compared; empty if Coval shows all of them."""
    names = [name for name in LAUNCH_IDS if getattr(inputs, name) and not getattr(run, name)]
    nouns = in_words([_noun(name) for name in names])
    return f"{in_words(names)} cannot be checked: Coval does not show the {nouns} of run {run.run_id}." if names else ""


def _noun(name: str) -> str:
    return name.removesuffix("_id").replace("_", " ")
