#!/opt/venv/bin/python -IuB
"""The action's post step."""

import io
import os
import sys

from coval_gate.base.clock import SystemClock

clock = SystemClock()
clock.listen()

from coval_gate.base.runtime import Runtime, leave  # noqa: E402
from coval_gate.step.post import post  # noqa: E402 - a signal may come while it loads

if __name__ == "__main__":
    if sys.stdout:  # the runner reads UTF-8, whatever the container's locale says
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    leave(post(Runtime(environ=dict(os.environ), stdout=sys.stdout or io.StringIO(), clock=clock)))
