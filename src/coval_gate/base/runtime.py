"""Everything that a step uses from outside, passed in at one seam: a test can run the whole step."""

import os
import random
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple, NoReturn, TextIO

from coval_gate.base.clock import Clock
from coval_gate.base.transport import HttpSession, Request, Response, SessionFactory

USAGE_ERROR, KILLED = 2, 130  # exit codes: nothing was sent; ended by Ctrl-C, as a shell shows it


class Runtime(NamedTuple):
    """`record` sees every response of Coval that arrives whole, whatever its status."""

    environ: Mapping[str, str]
    stdout: TextIO
    clock: Clock
    new_session: SessionFactory = HttpSession
    randomness: random.Random = random.SystemRandom()
    stderr: TextIO | None = None
    record: Callable[[Request, Response], None] | None = None

    @property
    def errors(self) -> TextIO:
        """Where errors go that are of no CI system."""
        return self.stderr or self.stdout


def leave(code: int) -> NoReturn:
    """End the process with this exit code, which is the verdict's, whatever happens from now on.

    The interpreter is not shut down. That would remove its signal handlers first, so that a late signal would kill
    the process. It would also crash if a thread still renders a report, and fail if a pipe is closed.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
