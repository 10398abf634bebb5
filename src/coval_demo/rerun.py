"""Shows a job that is re-run: one of three legs was not launched, so the second attempt launches only that leg."""

import tempfile
from pathlib import Path
from typing import Final

from coval_demo import BOLD, INPUTS, PLAIN, run_step
from coval_sandbox.runner import PULL_REQUEST, LocalRunner

ATTEMPTS: Final = (
    "Coval refuses the launch of one leg, and another fails its thresholds",
    "the step keeps the completed legs, and launches only the missing one",
    "every leg has a completed run now, so the step launches all of them again",
)
RUN: Final = {"test_set_id": "passing1, failing1, flaky001", "max_parallel_runs": "1"}


def show(overrides: dict[str, str], url: str, *, long: bool) -> int:
    """Run all attempts at the step, and return the last exit code."""
    inputs = INPUTS | {"api_base_url": url} | RUN | overrides
    code = 0
    for number, what in enumerate(ATTEMPTS, start=1):
        print(f"{BOLD}━━ Attempt {number}: {what}{PLAIN}\n")
        with tempfile.TemporaryDirectory() as directory:
            runner = LocalRunner(Path(directory), PULL_REQUEST)
            code = run_step(runner, inputs, {"GITHUB_RUN_ATTEMPT": str(number)}, long=long)
        print()
    return code
