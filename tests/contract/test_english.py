"""All sentences about results are in report/: judge/ holds only numbers and names."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

JUDGE = Path(__file__).resolve().parents[2] / "src" / "coval_gate" / "judge"


def texts(path: Path) -> Iterator[str]:
    """Yield all strings in a module, except docstrings and messages of exceptions, which only developers read."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    raised = {inner for node in ast.walk(tree) if isinstance(node, ast.Raise) for inner in ast.walk(node)}
    stated = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in raised | stated:
            yield node.value


@pytest.mark.parametrize("path", sorted(JUDGE.glob("*.py")), ids=lambda path: path.stem)
def test_judge_module_has_no_sentences(path: Path) -> None:
    assert [text for text in texts(path) if " " in text.strip()] == []
