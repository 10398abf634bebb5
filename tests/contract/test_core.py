"""A plain step needs no feature, and docs/security.md says how much of the gate it runs and loads."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GATE = ROOT / "src" / "coval_gate"
SIZE = re.compile(r"(\d+)(?: modules)? with ([\d,]+)")  # modules and lines


def plain_step(gate: Path) -> subprocess.CompletedProcess[str]:
    """Run a plain step of the package in this folder in a process of its own, as `make core` does."""
    command = [sys.executable, str(ROOT / "scripts" / "core.py"), str(gate)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def sizes_in(text: str) -> list[tuple[int, int]]:
    """Return modules and lines, as often as the text has them."""
    return [(int(modules), int(lines.replace(",", ""))) for modules, lines in SIZE.findall(text)]


def test_plain_step_passes_without_the_folder_of_features(tmp_path: Path) -> None:
    copy = shutil.copytree(GATE, tmp_path / GATE.name, ignore=shutil.ignore_patterns("features", "__pycache__"))
    done = plain_step(copy)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(copy / "report" / "formats")
    assert plain_step(copy).returncode != 0  # it ran the copy


@pytest.mark.untraced
def test_security_page_says_how_much_a_plain_step_runs_and_loads() -> None:
    """What it quotes is a bound, at most a tenth above what is so."""
    *_, loads, runs = plain_step(GATE).stdout.splitlines()
    measured = sizes_in(runs) + sizes_in(loads)
    quoted = sizes_in(" ".join((ROOT / "docs" / "security.md").read_text(encoding="utf-8").split()))
    assert len(quoted) == len(measured) == 2
    for (modules, lines), (most_modules, most_lines) in zip(measured, quoted, strict=True):
        assert 0.9 * most_modules <= modules <= most_modules
        assert 0.9 * most_lines <= lines <= most_lines
