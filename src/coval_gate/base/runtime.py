"""Everything that a step takes from outside, passed in at one seam: a test can run the whole step."""

import os
import random
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple, NoReturn, TextIO

from coval_gate.base.clock import Clock
from coval_gate.base.transport import HttpSession, SessionFactory

PARTING: Final = 0.05  # s for a finished thread to end


class Runtime(NamedTuple):
    environ: Mapping[str, str]
    stdout: TextIO
    clock: Clock
    new_session: SessionFactory = HttpSession
    randomness: random.Random = random.SystemRandom()


def leave(code: int) -> NoReturn:
    """End the process with this exit code.

    After a signal, a thread may still be rendering a report. If the interpreter shut down under it, its native code
    would crash the process, and a step that passed would fail.
    """
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    for other in others:
        other.join(PARTING)
    if any(other.is_alive() for other in others):
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)
