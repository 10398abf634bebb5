"""The demo: its command line, `make demo`, and its output."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_demo import OWN_BUILDS, STEPS, main, split_entries
from coval_sandbox.scenarios import SCENARIOS
from sandbox_page import commands, samples
from support import KEY

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("test_set_id", "thresholds", "max_failed_simulations", "display_name", "metadata", "tags")


def demo(directory: Path, *arguments: str, entries: str = "") -> subprocess.CompletedProcess[str]:
    """Run the demo, which keeps its files in the directory."""
    environ = os.environ | {"DEMO_INPUTS": entries, "TMPDIR": str(directory)}
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


def test_list_shows_steps_and_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], " list ") == 0
    shown = capsys.readouterr().out
    assert all(f"  {step} " in shown for step in [*STEPS, *OWN_BUILDS])
    assert all(f"  {scenario.test_set_id}  {scenario.name} " in shown for scenario in SCENARIOS)


@pytest.mark.parametrize(
    ("arguments", "entries", "code", "words"),
    [
        (["--help"], "", 0, 'make demo INPUTS="test_set_id=someFail max_failed_simulations=50%'),
        (["test_st_id=a"], "", 2, "coval-gate demo: there is no input 'test_st_id'; did you mean test_set_id?"),
        (["someFail"], "", 2, 'there is no step "someFail", and an input has the form INPUT=VALUE.'),
        ([KEY], "", 2, 'there is no step "***", and an input'),
        (["list", f"--{KEY}"], "", 2, "unrecognized arguments: --***"),
        ([], "nonsense", 2, 'there is no step "nonsense", and inputs begin with INPUT=VALUE.'),
        ([], "--help", 2, "there is no step"),  # entries are never split like a shell's
        ([], "it's", 2, "there is no step"),
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


def test_demo_shows_the_pull_request_as_the_page_says(tmp_path: Path) -> None:
    given, *_ = re.findall(r'make demo INPUTS="(.*)"', commands("What a pull request shows"))
    shown = demo(tmp_path, "--speed", "200", entries=given)
    lines, sample = shown.stdout.splitlines(), samples("What a pull request shows")[0].splitlines()
    assert (shown.returncode, shown.stderr, lines[-1]) == (1, "", sample[-1])
    assert {line.strip() for line in sample[:4]} <= {line.strip() for line in lines}
    assert not {"Annotations", "Step outputs", "Step summary (Markdown)"} & set(lines)
    assert not [line for line in lines if "Error: " in line or "Warning: " in line]
    (page,) = re.findall(r"^  the pull request +(/\S+)$", shown.stdout, re.MULTILINE)
    html = Path(page).read_text(encoding="utf-8")
    assert html.count("<strong>Voice</strong>") == html.count("<strong>github-actions[bot]</strong>") == 1


@pytest.mark.long
def test_own_build_answers_in_the_demo(tmp_path: Path) -> None:
    """Callers speak in real time, so it takes most of a minute."""
    shown = demo(tmp_path, "--long", "own-build", "thresholds=Resolved: rate(YES) >= 90%")  # Latency is the machine's
    assert (shown.returncode, shown.stderr) == (0, ""), shown.stdout
    assert "Tested: this commit (attached)" in shown.stdout
    assert "\nAnnotations\n" in shown.stdout


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
