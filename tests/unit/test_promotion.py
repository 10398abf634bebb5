"""What is said of a promotion, and what speaks against one before the launch."""

from __future__ import annotations

from typing import get_args

import pytest

from coval_gate.model.baseline import Obstacle, Promotion
from coval_gate.report.markdown import code, escape
from coval_gate.report.wording.baselines import log_text, report_text, warning_text

DONE = Promotion(run_id="new", tag="stable")
FOREIGN = "PATCH /runs/x returned 500 (<b>*oops*</b> | `x`)."


def sentences(promotion: Promotion) -> str:
    """Return all that is said of a promotion, one text a paragraph."""
    texts = {
        "log": log_text(promotion),
        "report": report_text(promotion),
        "summary": report_text(promotion, code=code, escape=escape),
        "warning": warning_text(promotion),
    }
    return "\n".join(f"{name}: {text}" for name, text in texts.items() if text)


def test_texts_match_golden_file(golden: object) -> None:
    cases = {
        "promoted": DONE,
        "one had it": DONE._replace(previous=("old",)),
        "several had it": DONE._replace(previous=("a", "b", "c", "d", "e")),
        "one still has it": DONE._replace(remaining=("old",), text=FOREIGN),
        "several still have it": DONE._replace(previous=("a",), remaining=("b", "c"), text=FOREIGN),
        **{
            obstacle: DONE._replace(
                obstacle=obstacle, text=FOREIGN, advice="Retry later." if obstacle == "failed" else ""
            )
            for obstacle in get_args(Obstacle)
            if obstacle not in ("", "newer", "not_first", "pull_request")
        },
        "newer": DONE._replace(obstacle="newer", other="newest"),
        "not first": DONE._replace(obstacle="not_first", other="older"),
        "pull request": DONE._replace(obstacle="pull_request", other="42"),
        "pull request without a number": DONE._replace(obstacle="pull_request"),
    }
    text = "\n\n".join(f"# {name}\n{sentences(each)}" for name, each in cases.items())
    golden("promotion.txt", f"{text}\n")  # type: ignore[operator]


@pytest.mark.parametrize("obstacle", [problem for problem in get_args(Obstacle) if problem not in ("", "pending")])
def test_every_obstacle_is_told_as_one(obstacle: Obstacle) -> None:
    promotion = DONE._replace(obstacle=obstacle, text=FOREIGN)
    assert not promotion.promoted
    assert report_text(promotion).startswith("Not promoted to stable: ")


def test_foreign_text_is_escaped() -> None:
    shown = report_text(DONE._replace(obstacle="failed", text=FOREIGN), code=code, escape=escape)
    assert "<b>" not in shown
    assert escape(FOREIGN) in shown


def test_secret_in_error_is_redacted() -> None:
    promotion = DONE._replace(obstacle="failed", text="key123", advice="key123")
    redacted = promotion.redacted(lambda text: text.replace("key123", "***"))
    assert (redacted.text, redacted.advice, redacted.tag) == ("***", "***", "stable")
