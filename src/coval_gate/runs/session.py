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
    from coval_gate.runs.leg import Leg
    from coval_gate.times import Times


class Session(NamedTuple):
    """Coval, the CI system, the clock, chance, and what the user asks for.

    Calls and waiting end at the `deadline`: the step's, or an earlier one of a part. `times` is how long each part of
    the step may take.
    """

    client: Client
    host: Host
    clock: Clock
    randomness: Random
    inputs: Inputs
    deadline: float
    times: Times

    def of_leg(self, leg: Leg) -> Session:
        """Return the session of a leg, with its inputs."""
        return self._replace(inputs=leg.inputs)

    def log(self, *lines: str) -> None:
        """Write lines to the log; they may contain foreign text."""
        self.host.quote(*lines)

    def warn(self, message: str) -> None:
        """Show a warning."""
        self.host.annotate("warning", NAME, message)
