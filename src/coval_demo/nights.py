"""Shows a week of nights on main: the first runs become the baseline, the agent gets worse, and a person accepts it."""

import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Final

from coval_demo import BOLD, DAY, INPUTS, PLAIN, origin_in, run_step
from coval_gate.base.text import day_at
from coval_sandbox.history import TAG
from coval_sandbox.http import CLOCK
from coval_sandbox.runner import LocalRunner

NIGHTS: Final = (  # titles; the sandbox's agent is worse from the fourth night on
    "the first run has no baseline to compare with, and becomes one",
    "the second run is compared with it, passes, and joins it",
    "the third run completes the baseline, which does not change from now on",
    "the agent got slower overnight",
    "still slower, and still red: a regression never becomes the baseline",
    "the agent is as accepted, and passes",
    "the agent is as accepted, and passes again",
)
ACCEPTED_AFTER: Final = 5  # nights
RUN: Final = {
    "test_set_id": "worsens1",
    "baseline": f"tag:{TAG} last 3",
    "confidence": "95%",
    "thresholds": "Latency: avg <= baseline * 1.1\nLatency: avg < 2.5",
}


def show(overrides: dict[str, str], url: str, *, long: bool) -> int:
    """Run the step of each night, accept a run, and return the last step's exit code."""
    inputs = INPUTS | {"api_base_url": url} | RUN | overrides
    code, now = 0, time.time()
    for number, what in enumerate(NIGHTS, start=1):
        night = now - (len(NIGHTS) - number) * DAY
        _set_clock(inputs, night)
        print(f"{BOLD}━━ Night {number}, {day_at(night)}: {what}{PLAIN}\n")
        code, run_id = _step(number, inputs, "schedule", long=long)
        if number == ACCEPTED_AFTER:
            print(f"{BOLD}━━ A person accepts it: mode: wait, run_id: {run_id}, accept: true{PLAIN}\n")
            _step(100, inputs | {"mode": "wait", "run_id": run_id, "accept": "true"}, "workflow_dispatch", long=long)
    return code


def _set_clock(inputs: dict[str, str], now: float) -> None:
    """Set the sandbox's clock. `now`: seconds since the epoch."""
    request = urllib.request.Request(f"{origin_in(inputs)}{CLOCK}", str(now).encode(), method="PUT")  # noqa: S310
    urllib.request.urlopen(request).close()  # noqa: S310 - the sandbox


def _step(workflow_run: int, inputs: dict[str, str], event: str, *, long: bool) -> tuple[int, str]:
    """Run a step on main, in a workflow run of its own. Return its exit code and the run's id."""
    variables = {
        "GITHUB_EVENT_NAME": event,
        "GITHUB_HEAD_REF": "",
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_REF_NAME": "main",
        "GITHUB_RUN_ID": str(workflow_run),
        "GITHUB_WORKFLOW": "Nightly regression",
    }
    with tempfile.TemporaryDirectory() as directory:
        runner = LocalRunner(Path(directory), {"ref": "refs/heads/main"})
        code = run_step(runner, inputs, variables, long=long, brief=not long)
        print()
        return code, runner.outputs.get("run_id", "")
