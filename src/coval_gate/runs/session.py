"""The session: what all work on runs shares."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from coval_gate.ci.host import BUG, NAME
from coval_gate.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from coval_gate.ci.host import Host
    from coval_gate.clock import Clock
    from coval_gate.config.inputs import Inputs
    from coval_gate.coval.client import Client
    from coval_gate.runs.leg import Leg
    from coval_gate.times import Times

LONGEST_NAME: Final = 60  # characters of a leg's name before its lines


class Session(NamedTuple):
    """Coval, the CI system, the clock, chance, and what the user asks for.

    Calls and waiting end at the `deadline` of the step, or of a part of it. `times` is how long each part may take.
    `label` stands before each line of a leg if the step has several.
    """

    client: Client
    host: Host
    clock: Clock
    randomness: Random
    inputs: Inputs
    deadline: float
    times: Times
    label: str = ""

    def of_leg(self, leg: Leg, *, several: bool) -> Session:
        """Return the session of a leg, with its inputs. With `several` legs, its lines carry its name."""
        session = self._replace(inputs=leg.inputs)
        if not several:
            return session
        session = session._replace(label=f"[{one_line(leg.name, LONGEST_NAME)}] ")
        return session._replace(client=self.client.logging_to(session.log))

    def log(self, *lines: str) -> None:
        """Write lines to the log; they may contain foreign text."""
        self.host.quote(*(f"{self.label}{line}" for line in lines))

    def warn(self, message: str) -> None:
        """Show a warning."""
        self.host.annotate("warning", NAME, f"{self.label}{message}")

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Fold the lines written inside under `title`. With several legs, their lines mix and cannot be folded."""
        if self.label:
            self.log(title)
            yield
            return
        with self.host.group(title):
            yield

    def report_bug(self) -> None:
        """Log the exception that is being handled."""
        self.host.fold(f"{self.label}{BUG}", traceback.format_exc().splitlines())
