#!/opt/venv/bin/python -IuB
"""The action's main step."""

import gc
import io
import os
import sys

from coval_gate.base.clock import SystemClock

clock = SystemClock()
clock.listen()  # a signal may come while the rest loads
gc.disable()  # what loads stays as long as the process: there is no garbage to look for

from coval_gate.base.runtime import Runtime, leave  # noqa: E402
from coval_gate.step.main import main  # noqa: E402

gc.freeze()
gc.enable()

if __name__ == "__main__":
    if sys.stdout:  # the runner reads UTF-8, whatever the container's locale says
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    leave(main(Runtime(environ=dict(os.environ), stdout=sys.stdout or io.StringIO(), clock=clock)))
