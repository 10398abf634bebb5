"""README shows what people get: its samples of reports are those of a golden file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "tests" / "golden" / "reports" / "gate-flaky"
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## Reports\n")[2].partition("\n## ")[0]


def sample(language: str) -> str:
    """The one sample in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    return str(found)


def plain(markdown: str) -> list[str]:
    """Its lines, without what differs between a quotation and the real thing: links, and spaces in tables."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]


@pytest.mark.parametrize(("language", "face"), [("text", "status.txt"), ("xml", "junit.xml"), ("json", "result.json")])
def test_samples_are_real(language: str, face: str) -> None:
    real = plain((REPORTS / face).read_text(encoding="utf-8"))
    shown = plain(sample(language))
    assert any(real[start : start + len(shown)] == shown for start in range(len(real)))


def test_the_comment_is_real_but_shorter() -> None:
    real = plain((REPORTS / "comment.md").read_text(encoding="utf-8"))
    comment = SECTION.partition("**Comment.**")[2]
    shown = plain("\n".join(re.findall(r"^> ?(.*)", comment, re.MULTILINE)))
    assert len(shown) > 15
    assert [line for line in shown if line not in real] == []
