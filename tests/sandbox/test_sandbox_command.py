"""`python -m coval_sandbox` as a process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest
import requests

from coval_sandbox.faults import ACTIONS
from coval_sandbox.scenarios import SCENARIOS
from coval_sandbox.world import DEFAULT_KEY

COMMAND = [sys.executable, "-m", "coval_sandbox"]
BODY = {"agent_id": "a" * 22, "persona_id": "p" * 22, "test_set_id": "passing1"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    options = ["--speed", "1e6", "--seed", "3", "--quirk", "error-status=ODD", "--fault", "GET /runs/* #2 -> 503"]
    with subprocess.Popen([*COMMAND, *options, "--api-key", "own"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"Coval sandbox on (http://127\.0\.0\.1:\d+/v1) \(speed 1e\+06, seed 3\)\n", line)
        assert match, line
        with requests.Session() as session:
            session.headers["x-api-key"] = "own"
            run = session.post(f"{match[1]}/runs", json=BODY, timeout=5).json()["run"]
            answers = [session.get(f"{match[1]}/runs/{run['run_id']}", timeout=5) for _ in range(2)]
            begun = time.monotonic()
            process.send_signal(number)
            assert process.wait(5) == 0
        assert time.monotonic() - begun < 1
        assert process.stdout.read() == ""
    assert [answer.status_code for answer in answers] == [200, 503]
    assert answers[0].json()["run"]["status"] == "COMPLETED"
    assert answers[0].json()["run"]["error_status"] == "ODD"


def test_help_lists_scenarios_quirks_and_faults() -> None:
    text = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True).stdout
    for scenario in SCENARIOS:
        assert f"{scenario.test_set_id}  {scenario.name}" in text
    for part in (*ACTIONS, "metric-shape=values|summary", DEFAULT_KEY):
        assert part in text


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--quirk", "nonsense=1"], "unknown quirk 'nonsense'; known are status-spelling"),
        (["--fault", "nonsense"], "fault 'nonsense' is not of the form"),
        (["--scenario", "nonsense"], "invalid choice: 'nonsense'"),
        (["--speed", "0"], "speed must be above 0"),
    ],
)
def test_wrong_options_are_refused(options: list[str], part: str) -> None:
    result = subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert part in result.stderr


def test_it_knows_nothing_of_the_action() -> None:
    code = "import sys, coval_sandbox.__main__; print([name for name in sys.modules if name.startswith('coval')])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "coval_sandbox.server" in result.stdout
    assert "coval_gate" not in result.stdout
