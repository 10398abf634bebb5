"""How a kind of problem reads. Each kind has one entry, in the module of its subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from coval_gate.judge.checks import Check

P = TypeVar("P")

# Of a baseline, and of the reference of drift.
OTHER_PERSONA: Final = "it used another persona, or another version of it"
OTHER_PERSONA_TEXT: Final = "another persona"
OTHER_METRIC_TEXT: Final = "another version of the metric"


class Words(Generic[P]):
    """How one kind of problem reads."""

    def text(self, problem: P) -> str:
        """Return in a few words what to show in place of a value."""
        raise NotImplementedError

    def reason(self, check: Check, problem: P, about: str) -> str:
        """Return why a check has no measure, without a full stop.

        `about` names the variant and the run, with a space before; empty where there is only one.
        """
        raise NotImplementedError


def no_simulations_text(variant: str) -> str:
    """Return that a reference lacks a variant, as a verb with its object."""
    return f"has no simulations of {variant or 'the agent itself'}"
