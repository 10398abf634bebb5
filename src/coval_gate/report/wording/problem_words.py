"""What people read of a kind of problem. Each kind has one entry, in the module of its subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from coval_gate.judge.checks import Check

P = TypeVar("P")


class Words(Generic[P]):
    """What people read of one kind of problem."""

    def text(self, found: P) -> str:
        """Return in a few words what was found in place of a value."""
        raise NotImplementedError

    def reason(self, check: Check, found: P, about: str) -> str:
        """Return why a check has no measure, without a full stop; `about`: of which variant, with a space before."""
        raise NotImplementedError
