"""A verdict in a word, with a mark that is seen before it is read; both themes show it well."""

from __future__ import annotations

from typing import Final

from coval_gate.judge.verdict import Verdict

HEADINGS: Final = {
    Verdict.PASSED: "✅ Passed",
    Verdict.FAILED: "❌ Failed",
    Verdict.INCONCLUSIVE: "❔ Inconclusive",
    Verdict.ERROR: "⚠️ Error",
    Verdict.TIMED_OUT: "⌛ Timed out",
    Verdict.CANCELLED: "🚫 Cancelled",
    Verdict.SKIPPED: "⏭️ Skipped",
    None: "🚀 Launched",
}
MARKS: Final = {
    Verdict.PASSED: "✅",
    Verdict.FAILED: "❌",
    Verdict.INCONCLUSIVE: "❔",
    Verdict.ERROR: "⚠️",
    Verdict.SKIPPED: "⚪",
}


def heading(verdict: Verdict | None) -> str:
    """The verdict as a title."""
    return HEADINGS[verdict]
