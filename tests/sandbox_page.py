"""The parts of docs/sandbox.md: the commands and the samples of each section."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "sandbox.md"
PORT = "8765"  # the sandbox's port in the page


def commands(section: str) -> str:
    """Return all shell commands of a section."""
    return "\n".join(_blocks(section, "sh"))


def sample(section: str) -> str:
    """Return the only sample of output in a section."""
    (block,) = _blocks(section, "text")
    return block


def closing_lines(log: str) -> list[str]:
    """Return the criteria, without what was measured, and the verdict that a log shows."""
    lines = [line.rpartition("| ")[2].strip() for line in log.splitlines()]
    return [line.partition("  ")[0] for line in lines if line.startswith(("✓ ", "✅ Passed"))]


def step_line(section: str) -> str:
    """Return the only line of YAML in a section."""
    (block,) = _blocks(section, "yaml")
    return block


def _blocks(section: str, language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert blocks, f"{section} has no {language}"
    return [str(block) for block in blocks]
