"""From the inputs to a client of Coval's API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coval_gate.config.inputs import api_root
from coval_gate.coval.client import Client
from coval_gate.coval.transport import HURRIED_TIMEOUTS, USUAL_TIMEOUTS

if TYPE_CHECKING:
    from coval_gate.ci.github.host import Runner
    from coval_gate.clock import Clock
    from coval_gate.config.inputs import Inputs


def connect(inputs: Inputs, runner: Runner, clock: Clock, *, hurry: bool = False) -> Client:
    """A client that tells the log of its trouble; with `hurry` it has no time. Raises ValueError without an API key."""
    if inputs.api_key is None:
        raise ValueError("there is no API key")
    return Client(
        api_root(inputs),
        inputs.api_key,
        clock=clock,
        log=runner.quote,
        workspace_id=inputs.workspace_id,
        timeouts=HURRIED_TIMEOUTS if hurry else USUAL_TIMEOUTS,
    )
