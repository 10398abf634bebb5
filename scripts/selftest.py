"""Checks the outcomes and outputs of the steps in .github/workflows/selftest.yml.

`--live`: of the steps in live.yml. `--over`: checks instead that all runs are over.
"""

import json
import os
import sys
from fnmatch import fnmatchcase
from typing import Any, Final

import requests

from coval_gate.report.formats.outputs import OUTPUTS

# By a step's id: its outcome, and the patterns of its outputs. An output that has none must be empty.
NONE, SOME, NUMBER = "[[]]", '[[]"*"]', "[0-9]*"
ALWAYS = {"legs": "[[]*]", "passed": "false", "reason": "?*", "metric_failures": NONE, "duration_seconds": NUMBER}
RUN = {"run_id": "?" * 22, "run_ids": SOME, "run_url": "https://app.coval.dev/runs/?*"}
LAUNCHED = ALWAYS | RUN | {"planned_simulations": "*"}  # it may be empty, unless there is a limit or a second leg
TOTALS = {"total_simulations": "10", "completed_simulations": "10"}
JUDGED = TOTALS | {
    "failed_simulations": NONE,
    "pass_rate": "1",
    "failed_criteria": NONE,
    "metrics": '{"Latency":*}',
    "known_failures": "0",
}
GREEN = JUDGED | {"outcome": "success", "status": "COMPLETED", "verdict": "passed", "passed": "true"}
RED = {"outcome": "failure"}
MISSED = JUDGED | RED | {"status": "COMPLETED_WITH_FAILURES"}
LATENCY = '{"criterion": "Latency: p(95) < 1.5", "verdict": "failed"*'
RESOLVED = '{"criterion": "Resolved: rate(YES) >= 99%", "verdict": "inconclusive"*'
FILES = {
    "junit_path": "reports/junit.xml",
    "json_path": "reports/coval.json",
    "html_path": "reports/report.html",
    "digest_path": "reports/digest.md",
}
TWO_LEGS = {
    "legs": '[[]{"name": "good"*"verdict": "passed"*{"name": "bad"*"verdict": "failed"*]',
    "planned_simulations": "20",
    "total_simulations": "20",
    "completed_simulations": "20",
    "failed_criteria": f'[[]{LATENCY}"leg": "bad"}}]',
}
UNFINISHED = {"status": "ERROR", "verdict": "error", "passed": "false", "reason": "?*", "duration_seconds": "0"}
STUCK = LAUNCHED | RED | TOTALS | {"completed_simulations": "?"}
LAUNCH_ONLY = LAUNCHED | {"outcome": "success", "status": "LAUNCHED"}
CASES: Final = {
    "pass": LAUNCHED | GREEN | FILES | {"planned_simulations": "10"},
    "fail": LAUNCHED | MISSED | {"verdict": "failed", "failed_criteria": f"[[]{LATENCY}]", "metric_failures": SOME},
    "inconclusive": LAUNCHED | MISSED | {"verdict": "inconclusive", "failed_criteria": f"[[]{RESOLVED}]"},
    "error": ALWAYS | RED | {"status": "ERROR", "verdict": "error"},
    "timeout": STUCK | {"status": "TIMEOUT", "verdict": "timed_out"},
    "launch": LAUNCH_ONLY,
    "wait": ALWAYS | RUN | GREEN,
    "suite": LAUNCHED | MISSED | TWO_LEGS | {"verdict": "failed"},
    "callers": LAUNCH_ONLY,
    "own-build": ALWAYS | RUN | GREEN,
    "cancel": STUCK | {"status": "CANCELLED", "verdict": "cancelled"},
    "kill": RUN | RED | UNFINISHED,
}
ONE = {"total_simulations": "1", "completed_simulations": "[01]", "pass_rate": "?*", "metrics": "{*}"}
PASSED = LAUNCHED | GREEN | ONE
LIVE: Final = {
    "pass": PASSED,
    "fail": PASSED
    | RED
    | {"passed": "false", "status": "COMPLETED_WITH_FAILURES", "verdict": "failed"}
    | {"failed_criteria": '[[]{"criterion": "total >= 100000"*', "failed_simulations": "[[]*]"},
    "launch-to-cancel": LAUNCH_ONLY,
    "cancel": ALWAYS | RUN | {"outcome": "success", "status": "CANCELLED"},
    "launch": LAUNCH_ONLY,
    "wait": ALWAYS | RUN | GREEN | ONE,
    "clear": PASSED | {"total_simulations": "?*", "completed_simulations": "?*"},
    "history": ALWAYS | {"outcome": "success", "status": "HISTORY"},
}
OVER: Final = ("COMPLETED", "CANCELLED")
ONLY_ON_GITHUB: Final = ("cancel", "kill")


def main() -> int:
    if sys.argv[1:] == ["--over"]:
        wrong = left_runs()
    else:
        wrong = wrong_steps(LIVE if sys.argv[1:] == ["--live"] else CASES, json.loads(os.environ["STEPS"]))
    print("\n".join(wrong) or "All steps ended as expected.")
    return 1 if wrong else 0


def wrong_steps(cases: dict[str, dict[str, str]], steps: dict[str, Any]) -> list[str]:
    """Return the outcomes and outputs that differ from `cases`."""
    wrong = []
    for name, expected in cases.items():
        if cases is CASES and name in ONLY_ON_GITHUB and "ACT" in os.environ:
            continue
        step = steps[name]
        found = dict.fromkeys(OUTPUTS, "not there") | step["outputs"] | {"outcome": step["outcome"]}
        for output, value in found.items():
            pattern = expected.get(output, "")
            if not fnmatchcase(value, pattern):
                wrong.append(f"{name}: {output} must be {pattern!r}, is {value!r}")
    return wrong


def left_runs() -> list[str]:
    answer = requests.get(f"{os.environ['API']}/runs", headers={"x-api-key": os.environ["COVAL_API_KEY"]}, timeout=10)
    runs = answer.json()["runs"]
    return [f"Run {run['run_id']} is {run['status']}." for run in runs if run["status"] not in OVER]


if __name__ == "__main__":
    sys.exit(main())
