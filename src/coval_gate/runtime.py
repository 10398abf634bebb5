"""Everything that a step takes from outside, passed in at one seam, so that a test can run the whole step."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from coval_gate.clock import SystemClock
from coval_gate.transport import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coval_gate.clock import Clock
    from coval_gate.transport import SessionFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The environment, the log's stream, time, the network and chance. `new_session` makes an HTTP session."""

    environ: Mapping[str, str]
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    clock: Clock = field(default_factory=SystemClock)
    new_session: SessionFactory = Session
    randomness: random.Random = field(default_factory=random.SystemRandom)
