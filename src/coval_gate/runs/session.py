"""What all work on runs shares, handed down as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from coval_gate.ci.host import NAME

if TYPE_CHECKING:
    from random import Random

    from coval_gate.ci.host import Host
    from coval_gate.clock import Clock
    from coval_gate.config.inputs import Inputs
    from coval_gate.coval.client import Client
    from coval_gate.times import Times


class Session(NamedTuple):
    """Coval, the CI system, the clock, chance, and what the user asks for.

    The step has to be done at the `deadline`; `times` is how long each of its parts may take.
    """

    client: Client
    host: Host
    clock: Clock
    randomness: Random
    inputs: Inputs
    deadline: float
    times: Times

    def log(self, *lines: str) -> None:
        """Write lines to the log; they may contain foreign text."""
        self.host.quote(*lines)

    def warn(self, message: str) -> None:
        """Show a warning."""
        self.host.annotate("warning", NAME, message)
