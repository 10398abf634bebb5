"""The demo: its command line, `make demo`, and its output."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_demo import split_entries
from coval_sandbox.clock import SpeedClock
from coval_sandbox.scenarios import SCENARIOS
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import KEY

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("test_set_id", "thresholds", "max_failed_simulations", "display_name", "metadata", "tags")


@pytest.fixture(autouse=True)
def _temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the demo keep its files where pytest removes them."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def demo(*arguments: str, entries: str = "") -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"DEMO_INPUTS": entries}
    return subprocess.run([sys.executable, "-m", "coval_demo", *arguments], capture_output=True, text=True, env=environ)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("test_set_id=someFail", {"test_set_id": "someFail"}),
        ("thresholds=Latency: p(95) < 0.5", {"thresholds": "Latency: p(95) < 0.5"}),
        (
            " test_set_id=someFail max_failed_simulations=50% thresholds=Latency: p(95) < 0.5\n",
            {"test_set_id": "someFail", "max_failed_simulations": "50%", "thresholds": "Latency: p(95) < 0.5"},
        ),
        (
            "thresholds=total==10\nLatency: max<=2 test_set_id=a",
            {"thresholds": "total==10\nLatency: max<=2", "test_set_id": "a"},
        ),
        ("thresholds=total ==10\ntotal==10", {"thresholds": "total ==10\ntotal==10"}),
        ("thresholds= test_set_id=a", {"thresholds": "", "test_set_id": "a"}),
        ('metadata={"a": "test_set_id=b", "c": "d=e"}', {"metadata": '{"a": "test_set_id=b", "c": "d=e"}'}),
        ("display_name=a b=c d", {"display_name": "a b=c d"}),
        ("test_set_id=a test_set_id=b", {"test_set_id": "b"}),
        ("thresholds=a: avg < 1 tags=c thresholds=total==10", {"thresholds": "a: avg < 1\ntotal==10", "tags": "c"}),
    ],
)
def test_entry_goes_on_until_next_input(text: str, expected: dict[str, str]) -> None:
    assert split_entries(text, NAMES) == expected


@given(st.dictionaries(st.sampled_from(NAMES), st.text(st.characters(exclude_characters="="))))
def test_entries_with_any_text_are_split(entries: dict[str, str]) -> None:
    text = " ".join(f"{name}={value}" for name, value in entries.items())
    if entries:
        assert split_entries(text, NAMES) == {name: value.strip() for name, value in entries.items()}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("test_st_id=a", "there is no input 'test_st_id'; did you mean test_set_id"),
        ("test_set_id=a max_failed_simulation=2", "'max_failed_simulation'; did you mean max_failed_simulations"),
        ("colour=red", "there is no input 'colour'"),
        ("someFail", 'there is no step "someFail", and inputs begin with INPUT=VALUE'),
        ("some test_set_id=a", 'there is no step "some test_set_id=a", and inputs begin with INPUT=VALUE'),
    ],
)
def test_text_that_is_no_entry_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        split_entries(text, NAMES)


STEPS = ("preview", "slow-preview", "legs", "own-build", "broken-build")


@pytest.mark.parametrize(("arguments", "entries"), [pytest.param(["list"], "", marks=pytest.mark.long), ([], " list ")])
def test_list_shows_steps_and_scenarios(arguments: list[str], entries: str) -> None:
    shown = demo(*arguments, entries=entries)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert all(f"  {step} " in shown.stdout for step in STEPS)
    assert all(f"  {scenario.test_set_id}  {scenario.name} " in shown.stdout for scenario in SCENARIOS)


@pytest.mark.long
@pytest.mark.parametrize(("step", "code"), [("preview", 0), ("slow-preview", 1), ("legs", 1)])
def test_steps_are_shown_by_name(step: str, code: int) -> None:
    shown = demo("--speed", "100", step)
    assert (shown.returncode, shown.stderr) == (code, "")


@pytest.mark.long
@pytest.mark.parametrize(("build", "code", "shown"), [
    ("own-build", 0, "Tested: this commit (attached)"),
    ("broken-build", 1, "crashed: KeyError: 'fr'"),
])  # fmt: skip
def test_own_build_answers_in_the_demo(build: str, code: int, shown: str) -> None:
    result = demo("--long", build, "thresholds=Resolved: rate(YES) >= 90%")  # Latency is that of this machine
    assert (result.returncode, result.stderr) == (code, ""), result.stdout
    assert shown in result.stdout


@pytest.mark.parametrize(
    "text",
    ["--help", "--quirk 'a b'", "it's", "$(id)", 'preview "a'],
)
def test_entries_are_never_split_like_a_shell(text: str) -> None:
    shown = demo(entries=text)
    assert (shown.returncode, "Traceback" in shown.stderr) == (2, False)
    assert "there is no step" in shown.stderr


def test_help_shows_examples() -> None:
    shown = demo("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert 'make demo INPUTS="test_set_id=someFail max_failed_simulations=50%' in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "entries", "problem"),
    [
        pytest.param(
            *(["test_st_id=a"], "", "coval-gate demo: there is no input 'test_st_id'; did you mean test_set_id?"),
            marks=pytest.mark.long,
        ),
        pytest.param(
            *(["someFail"], "", 'coval-gate demo: there is no step "someFail", and an input has the form INPUT=VALUE.'),
            marks=pytest.mark.long,
        ),
        ([], "nonsense", 'coval-gate demo: there is no step "nonsense", and inputs begin with INPUT=VALUE.'),
        ([KEY], "", 'there is no step "***", and an input'),
        (["list", f"--{KEY}"], "", "unrecognized arguments: --***"),
        (["--quirk", "nonsense"], "", "unknown quirk 'nonsense'"),
    ],
)
def test_wrong_command_line_is_error(arguments: list[str], entries: str, problem: str) -> None:
    shown = demo(*arguments, entries=entries)
    assert shown.returncode != 0
    assert problem in shown.stderr
    assert "Traceback" not in shown.stderr


@pytest.mark.long
def test_demo_shows_step_with_given_inputs() -> None:
    shown = demo("--speed", "200", "--long", entries="thresholds=Latency: p(95) < 0.5 display_name=Say 'hi' & $HOME")
    assert shown.returncode == 1
    log, rest = shown.stdout.split("\nAnnotations\n")
    assert "✗ Latency: p(95) < 0.5" in log
    assert "  Error: p(95) of Latency is" in log
    assert "::" not in log
    assert "  Error: Coval Gate: Gate failed\n" in rest
    assert "verdict                 failed" in rest
    assert rest.splitlines()[-1].startswith("Verdict: failed. p(95) of Latency is ")
    assert "`Say 'hi' & $HOME`" in rest


def test_demo_ends_with_verdict_and_keeps_what_the_pull_request_shows() -> None:
    given = "test_set_id=someFail comment=always commit_status=Voice check_run=Voice gate"
    shown = demo("--speed", "200", entries=given)
    lines = shown.stdout.splitlines()
    assert (shown.returncode, shown.stderr) == (1, "")
    assert not {"Annotations", "Step outputs", "Step summary (Markdown)"} & set(lines)
    assert not [line for line in lines if "Error: " in line or "Warning: " in line]
    assert "    ✗ no simulation failed" in "\n".join(lines)
    assert lines[-1].startswith("Verdict: failed. ")
    (page,) = re.findall(r"^  the pull request +(/\S+)$", shown.stdout, re.MULTILINE)
    html = Path(page).read_text(encoding="utf-8")
    assert html.count("<strong>Voice</strong>") == html.count("<strong>github-actions[bot]</strong>") == 1


def test_demo_uses_a_sandbox_that_runs_already() -> None:
    with Server(World(SpeedClock(200))) as server:
        shown = demo("--sandbox", server.url, "comment=always")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[-1].startswith("Verdict: passed. ")
    assert [len(comments) for each in server.github.repositories.values() for comments in each.comments.values()] == [1]
    assert f"{server.github_page}#comment-" in shown.stdout


@pytest.mark.long
def test_demo_keeps_files_and_says_where_they_are() -> None:
    shown = demo("--speed", "200", "test_set_id=flaky001")
    _, _, files = shown.stdout.partition("\nFiles\n")
    paths = dict(re.findall(r"^  (\w+_path) +(/\S+)$", files, re.MULTILINE))
    assert Path(paths["digest_path"]).read_text(encoding="utf-8").startswith("# Coval evaluation: ❌ Failed")


HOSTILE = [
    "thresholds=Latency: p(95) < 0.5 | cat > x; `id`",
    "display_name=$HOME $(shell id) $$ ${PATH} $x",
    'display_name=it\'s "quoted" \\ # 5',
    "thresholds=Latency: max < 1\nResolved: rate(YES) >= 90%",
    "--help",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("through", ["argument", "environment"])
def test_make_passes_any_text_as_it_is(text: str, through: Any, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf %s "$DEMO_INPUTS"\n', encoding="utf-8")
    python.chmod(0o755)
    make = shutil.which("make")
    assert make
    command = [make, "--silent", "--directory", str(ROOT), "--old-file", ".venv/.installed", f"BIN={tmp_path}", "demo"]
    environ = dict(os.environ)
    if through == "argument":
        command.append(f"INPUTS={text}")
    else:
        environ["INPUTS"] = text
    assert subprocess.run(command, capture_output=True, text=True, check=True, env=environ).stdout == text
