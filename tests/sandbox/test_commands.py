"""The commands of the sandbox and the demo, and what docs/sandbox.md promises."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from ruamel.yaml import YAML

from coval_demo import main, split_entries
from coval_sandbox import catalogue, guide
from coval_sandbox.__main__ import main as serve
from coval_sandbox.deterministic import ManualClock, SpeedClock
from coval_sandbox.github import EVENT_PATH, TOKEN
from coval_sandbox.world import DEFAULT_KEY, World
from sandbox_page import PAGE, PORT, commands, sample
from support import KEY

ROOT = Path(__file__).resolve().parents[2]
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
def test_invalid_option_is_error(tmp_path: Path, subtests: pytest.Subtests, capsys: pytest.CaptureFixture[str]) -> None:
    certificate = tmp_path / "missing" / "ca.pem"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for options, part in (
            (["--quirk", "nonsense=1"], "unknown quirk 'nonsense'; must be one of status-spelling"),
            (["--fault", "nonsense"], "fault 'nonsense' must have the form"),
            (["--speed", "0"], "speed must be above 0"),
            (["--port", port], f"cannot listen on 127.0.0.1:{port}: Address already in use"),
            (
                ["--relay", "--relay-ca", str(certificate)],
                f"cannot write {certificate}: No such file or directory; choose another file",
            ),
        ):
            with subtests.test(part):
                with pytest.raises(SystemExit, match="2"):
                    serve(options)
                shown = capsys.readouterr()
                assert (shown.out, part in shown.err) == ("", True)


@pytest.mark.usefixtures("restored_signal_mask")
@pytest.mark.parametrize("options", [[], ["--strict"], ["--quiet"]])
def test_command_shows_step_that_works(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The guide's own ids and key are accepted, also by a strict sandbox; --quiet shows the address only."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.raise_signal(signal.SIGTERM)  # pending until the command waits for it
    assert serve([*options, "--speed", "15"]) == 0
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


# docs/sandbox.md: its samples, and its commands that need no Docker


def test_samples_of_guide_are_what_sandbox_shows() -> None:
    shown = guide.guide(f"http://127.0.0.1:{PORT}/v1", World(SpeedClock(), history=True), strict=False)
    lines = [line for line in sample("Start the sandbox").splitlines()[1:] if line.strip() != "…"]
    assert set(lines) <= set(shown.splitlines())
    assert guide.relay(Path("~/coval-gate/.venv/sandbox-ca.pem")).splitlines()[1].strip() in commands(
        "Your own build as the agent"
    )


def test_page_has_the_addresses_and_variables_that_the_sandbox_shows() -> None:
    assert PAGE == ROOT / guide.PAGE
    assert f"\nPORT ?= {PORT}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    for value in (DEFAULT_KEY, f"http://127.0.0.1:{PORT}/v1", catalogue.AGENT_ID, catalogue.PERSONA_ID):
        assert f"={value}\n" in commands("A workflow") or f"={value} " in commands("A workflow")
    text = commands("What a pull request shows")
    assert f'OPTIONS="--sandbox http://127.0.0.1:{PORT}/v1"' in text
    (variable,) = re.findall(r"GITHUB_API_URL=\S+", guide.github(f"http://127.0.0.1:{PORT}"))
    assert f"--env {variable} " in text
    assert f"http://127.0.0.1:{PORT}{EVENT_PATH}\n" in text
    assert f"GITHUB_TOKEN={TOKEN} " in text


# The demo

NAMES = ("test_set_id", "thresholds", "max_failed_simulations", "display_name", "metadata", "tags")


def demo(directory: Path, *arguments: str, entries: str = "") -> subprocess.CompletedProcess[str]:
    """Run the demo, which keeps its files in the directory."""
    environ = os.environ | {"DEMO_INPUTS": entries, "TMPDIR": str(directory)}
    return subprocess.run([sys.executable, "-m", "coval_demo", *arguments], capture_output=True, text=True, env=environ)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            " test_set_id=someFail max_failed_simulations=50% thresholds=Latency: p(95) < 0.5\n",
            {"test_set_id": "someFail", "max_failed_simulations": "50%", "thresholds": "Latency: p(95) < 0.5"},
        ),
        (
            "thresholds=total==10\nLatency: max<=2 test_set_id=a",
            {"thresholds": "total==10\nLatency: max<=2", "test_set_id": "a"},
        ),
        ("thresholds= test_set_id=a", {"thresholds": "", "test_set_id": "a"}),
        ('metadata={"a": "test_set_id=b", "c": "d=e"}', {"metadata": '{"a": "test_set_id=b", "c": "d=e"}'}),
        ("thresholds=a: avg < 1 tags=c thresholds=total==10", {"thresholds": "a: avg < 1\ntotal==10", "tags": "c"}),
    ],
)
def test_entry_goes_on_until_next_input(text: str, expected: dict[str, str]) -> None:
    assert split_entries(text, NAMES) == expected


@pytest.mark.parametrize(
    ("arguments", "entries", "code", "words"),
    [
        (["--help"], "", 0, 'make demo INPUTS="test_set_id=someFail max_failed_simulations=50%'),
        (["test_st_id=a"], "", 2, "coval-gate demo: there is no input 'test_st_id'; did you mean test_set_id?"),
        (["someFail"], "", 2, 'there is no step "someFail", and an input has the form INPUT=VALUE.'),
        ([KEY], "", 2, 'there is no step "***", and an input'),
        (["list", f"--{KEY}"], "", 2, "unrecognized arguments: --***"),
        ([], "nonsense", 2, 'there is no step "nonsense", and an input has the form INPUT=VALUE.'),
        ([], 'preview "a', 2, "there is no step"),
    ],
)
def test_command_line_that_runs_nothing(
    arguments: list[str], entries: str, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments, entries)
    shown = capsys.readouterr()
    assert ended.value.code == code
    assert words in (shown.err if code else shown.out)


def test_demo_shows_the_pull_request_as_the_page_promises(tmp_path: Path) -> None:
    given, *_ = re.findall(r'make demo INPUTS="(.*)"', commands("What a pull request shows"))
    shown = demo(tmp_path, "--speed", "200", entries=given)
    lines, outputs = shown.stdout.splitlines(), sample("What a pull request shows").splitlines()[2:]
    assert (shown.returncode, shown.stderr, outputs[0]) == (1, "", "Step outputs")
    assert lines[-len(outputs) - 1 : -1] == outputs
    assert not {"Annotations", "Step summary (Markdown)"} & set(lines)
    assert not [line for line in lines if "Error: " in line or "Warning: " in line]
    (page,) = re.findall(r"^  the pull request +(/\S+)$", shown.stdout, re.MULTILINE)
    html = Path(page).read_text(encoding="utf-8")
    assert html.count("<strong>Voice</strong>") == html.count("<strong>github-actions[bot]</strong>") == 1
    assert 'Voice</strong> <span class="bad">failure</span>' in html
    assert "<summary>Configuration and provenance</summary>" in html
    assert "&lt;details" not in html


HOSTILE = [
    "thresholds=Latency: p(95) < 0.5 | cat > x; `id`",
    "display_name=$HOME $(shell id) $$ ${PATH} $x",
    'display_name=it\'s "quoted" \\ # 5',
    "thresholds=Latency: max < 1\nResolved: rate(YES) >= 90%",
    "--help",
    "",
]


@pytest.mark.parametrize("through", ["argument", "environment"])
def test_make_passes_any_text_as_it_is(through: str, tmp_path: Path, subtests: pytest.Subtests) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf %s "$DEMO_INPUTS"\n', encoding="utf-8")
    python.chmod(0o755)
    make = shutil.which("make")
    assert make
    command = [make, "--silent", "--directory", str(ROOT), "--old-file", ".venv/.installed", f"BIN={tmp_path}", "demo"]
    for text in HOSTILE:
        given = [f"INPUTS={text}"] if through == "argument" else []
        environ = os.environ | ({} if given else {"INPUTS": text})
        with subtests.test(text):
            done = subprocess.run([*command, *given], capture_output=True, text=True, check=True, env=environ)
            assert done.stdout == text
