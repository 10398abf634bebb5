"""The samples of reports in README are excerpts of golden files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coval_gate.coval.client import LAUNCH_OPEN
from coval_gate.report.limits import MOST_CRITERIA
from coval_gate.runs import collect, earlier, launch

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "tests" / "golden" / "reports" / "gate-flaky"
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## Reports\n")[2].partition("\n## ")[0]


def sample(language: str) -> str:
    """Return the only sample in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    return str(found)


def normalized_lines(markdown: str) -> list[str]:
    """Return the lines without links and repeated spaces, in which excerpts may differ."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]


@pytest.mark.parametrize(("language", "file"), [("text", "status.txt"), ("xml", "junit.xml"), ("json", "result.json")])
def test_sample_is_excerpt_of_golden_file(language: str, file: str) -> None:
    golden = normalized_lines((REPORTS / file).read_text(encoding="utf-8"))
    excerpt = normalized_lines(sample(language))
    assert any(golden[start : start + len(excerpt)] == excerpt for start in range(len(golden)))


def test_sample_comment_has_only_lines_of_golden_file() -> None:
    golden = normalized_lines((REPORTS / "comment.md").read_text(encoding="utf-8"))
    comment = SECTION.partition("**Comment.**")[2]
    excerpt = normalized_lines("\n".join(re.findall(r"^> ?(.*)", comment, re.MULTILINE)))
    assert len(excerpt) > 15
    assert [line for line in excerpt if line not in golden] == []


@pytest.mark.parametrize(
    ("claim", "limit", "stated"),
    [
        ("until the data have stayed the same for 20 s", collect.SETTLING, 20),
        ("keeps the connection open for up to five minutes", LAUNCH_OPEN, 5 * 60),
        ("retries for five minutes, then ends in an error and launches nothing", earlier.LOOKUP_PATIENCE, 5 * 60),
        ("launches again only if Coval has not listed the run for a minute", launch.SETTLING, 60),
        ("If there are more than 2,000 criteria", MOST_CRITERIA, 2_000),
    ],
)
def test_limit_is_as_stated(claim: str, limit: float, stated: float) -> None:
    assert claim in " ".join(README.split())
    assert limit == stated
