"""Every format shows what a run was compared with, what changed, and what that shows."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest

from baselines import comparison_reports
from coval_gate.report.formats.log import check_lines
from coval_gate.report.formats.log import render as closing
from coval_gate.report.formats.status import render as commit_status
from coval_gate.report.formats.summary import render as summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from coval_gate.report.model import Report

NAMES = list(comparison_reports())


@cache
def reports() -> dict[str, Report]:
    return comparison_reports()


def file_of(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


@pytest.mark.parametrize("name", NAMES)
def test_summary_shows_comparisons(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"compared/{file_of(name)}.md", summary(reports()[name]))


@pytest.mark.parametrize("name", NAMES)
def test_log_and_commit_status_show_comparisons(name: str, golden: Callable[[str, str], None]) -> None:
    report = reports()[name]
    end = closing(report)
    status = commit_status(report)
    lines = [*check_lines(report.legs[0].judgement), *end.flips, *end.lines, "", "Annotation", *end.verdict]
    golden(f"compared/{file_of(name)}.txt", "\n".join([*lines, "", f"{status.state} {status.description}", ""]))
