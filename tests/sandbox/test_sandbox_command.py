"""The command `python -m coval_sandbox`, as a process and as a function."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from ruamel.yaml import YAML

from coval_sandbox import catalogue
from coval_sandbox.__main__ import main
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.faults import ACTIONS, OFFER_ACTIONS, RELAY_ACTIONS
from coval_sandbox.quirks import describe_quirks
from coval_sandbox.scenarios import SCENARIOS
from coval_sandbox.world import DEFAULT_KEY, READ_ONLY_KEY, World

COMMAND = [sys.executable, "-m", "coval_sandbox"]
BODY = {"agent_id": "a" * 22, "persona_id": "p" * 22, "test_set_id": "passing1"}


def test_command_serves_until_signal() -> None:
    options = ["--speed", "1e6", "--seed", "3", "--quirk", "error-status=ODD", "--fault", "GET /runs/* #2 -> 503"]
    with subprocess.Popen([*COMMAND, *options, "--api-key", "own"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"Coval sandbox on (http://127\.0\.0\.1:\d+/v1) \(speed 1e\+06, seed 3\)\n", line)
        assert match, line
        with requests.Session() as session:
            session.headers["x-api-key"] = "own"
            run = session.post(f"{match[1]}/runs", json=BODY, timeout=60).json()["run"]
            answers = [session.get(f"{match[1]}/runs/{run['run_id']}", timeout=60) for _ in range(2)]
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        assert process.stdout.read().endswith("\nCtrl-C stops the sandbox.\n")
    assert [answer.status_code for answer in answers] == [200, 503]
    assert answers[0].json()["run"]["status"] == "COMPLETED"
    assert answers[0].json()["run"]["error_status"] == "ODD"


@pytest.fixture
def restored_signal_mask() -> Iterator[None]:
    """Restore the signal mask: the command blocks the signals that it waits for."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.usefixtures("restored_signal_mask")
def test_command_tells_how_to_trust_relay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.raise_signal(signal.SIGTERM)
    certificate = tmp_path / "ca.pem"
    assert main(["--relay", "--relay-ca", str(certificate)]) == 0
    assert f"  SSL_CERT_FILE={certificate}\n" in capsys.readouterr().out
    assert certificate.read_text(encoding="ascii").startswith("-----BEGIN CERTIFICATE-----")


@pytest.mark.usefixtures("restored_signal_mask")
def test_invalid_option_is_error(tmp_path: Path, subtests: pytest.Subtests, capsys: pytest.CaptureFixture[str]) -> None:
    certificate = tmp_path / "missing" / "ca.pem"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for options, part in (
            (["--quirk", "nonsense=1"], "unknown quirk 'nonsense'; must be one of status-spelling"),
            (["--fault", "nonsense"], "fault 'nonsense' must have the form"),
            (["--scenario", "nonsense"], "invalid choice: 'nonsense'"),
            (["--speed", "0"], "speed must be above 0"),
            (["--port", port], f"cannot listen on 127.0.0.1:{port}: Address already in use"),
            (["--relay", "--relay-port", port], f"cannot listen on 127.0.0.1:0 or {port}: Address already in use"),
            (
                ["--relay", "--relay-ca", str(certificate)],
                f"cannot write {certificate}: No such file or directory; choose another --relay-ca",
            ),
        ):
            with subtests.test(part):
                with pytest.raises(SystemExit, match="2"):
                    main(options)
                shown = capsys.readouterr()
                assert (shown.out, part in shown.err) == ("", True)


def test_help_lists_scenarios_quirks_and_faults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    for scenario in SCENARIOS:
        assert f"{scenario.test_set_id}  {scenario.name}" in text
    for part in (
        *ACTIONS,
        *OFFER_ACTIONS,
        *RELAY_ACTIONS,
        *describe_quirks(),
        *describe_quirks().values(),
        DEFAULT_KEY,
        READ_ONLY_KEY,
    ):
        assert part in text
    assert all(len(line) <= 130 for line in text.splitlines())


@pytest.mark.usefixtures("restored_signal_mask")
@pytest.mark.parametrize("options", [[], ["--strict"], ["--quiet"]])
def test_command_shows_step_that_works(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The guide's own ids and key are accepted, also by a strict sandbox; --quiet shows the address only."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.raise_signal(signal.SIGTERM)  # pending until the command waits for it
    assert main([*options, "--speed", "15"]) == 0
    first, _, rest = capsys.readouterr().out.partition("\n")
    url = re.search(r"http://\S+", first)
    assert url
    if options == ["--quiet"]:
        assert rest == ""
        return
    assert ("No others exist" in rest) is (options == ["--strict"])
    step = YAML(typ="safe").load(rest.partition("A step to copy:\n")[2].partition("\n\n")[0])
    inputs = step[0]["with"]
    assert inputs["api_base_url"] == url[0]
    world = World(ManualClock(), strict=True)
    assert inputs["api_key"] in world.api_keys
    ids = {name: inputs[name] for name in ("agent_id", "persona_id", "test_set_id")}
    assert world.launch(ids | {"metric_ids": [metric.id for metric in catalogue.DEFAULT_METRICS]})
