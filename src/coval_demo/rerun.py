"""Shows a job that is re-run: the first attempt lacks one of three legs, the second launches only that one."""

import tempfile
from pathlib import Path
from typing import Final

from coval_demo import BOLD, INPUTS, PLAIN, run_step
from coval_sandbox.runner import PULL_REQUEST, LocalRunner

ATTEMPTS: Final = (
    "Coval refuses the launch of one leg, and another fails its thresholds",
    "what completed is kept, and only the missing leg is launched",
    "no leg lacks a run now, so all launch anew",
)
RUN: Final = {"test_set_id": "passing1, failing1, flaky001", "max_parallel_runs": "1"}


def show(overrides: dict[str, str], url: str, *, long: bool) -> int:
    """Run each attempt at the step, and return the last one's exit code."""
    inputs = INPUTS | {"api_base_url": url} | RUN | overrides
    code = 0
    for number, what in enumerate(ATTEMPTS, start=1):
        print(f"{BOLD}━━ Attempt {number}: {what}{PLAIN}\n")
        with tempfile.TemporaryDirectory() as directory:
            runner = LocalRunner(Path(directory), PULL_REQUEST)
            code = run_step(runner, inputs, {"GITHUB_RUN_ATTEMPT": str(number)}, long=long)
        print()
    return code
