"""A verdict in a word, with a mark that is seen before it is read; both themes show it well."""

from __future__ import annotations

from typing import Final

from coval_gate.judge.verdict import LAUNCHED, Judgement, Verdict
from coval_gate.model.statuses import CANCELLED

HEADINGS: Final = {
    Verdict.PASSED: "✅ Passed",
    Verdict.FAILED: "❌ Failed",
    Verdict.INCONCLUSIVE: "❔ Inconclusive",
    Verdict.ERROR: "⚠️ Error",
    Verdict.TIMED_OUT: "⌛ Timed out",
    Verdict.CANCELLED: "🚫 Cancelled",
    Verdict.SKIPPED: "⏭️ Skipped",
}
WITHOUT_VERDICT: Final = {LAUNCHED: "🚀 Launched", CANCELLED: "⏹️ Ended"}  # by status
MARKS: Final = {
    Verdict.PASSED: "✅",
    Verdict.FAILED: "❌",
    Verdict.INCONCLUSIVE: "❔",
    Verdict.ERROR: "⚠️",
    Verdict.SKIPPED: "⚪",
}


def heading(judgement: Judgement) -> str:
    """The verdict as a title; where nobody asked for one, what was done."""
    return HEADINGS[judgement.verdict] if judgement.verdict else WITHOUT_VERDICT[judgement.status]
