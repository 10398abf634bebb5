"""Slips in thresholds: what is wrong, in the words of the grammar, and a correction where it is certain."""

import pytest

from coval_gate.features.advice.slips import LONGEST_CORRECTED, explained
from coval_gate.inputs.thresholds import parse_thresholds
from unit.test_thresholds import syntax_error_of

# Those that newcomers make first are in `mistakes.py`.
SLIPS = [
    *((f"Latency: {slip} < 1.5", "write p(95)", "Latency: p(95) < 1.5")
      for slip in ("P95", "p_95", "p 95", "p(95%)", "p0.95")),
    ("Latency: p(0.999) < 1.5", "write p(99.9)", "Latency: p(99.9) < 1.5"),
    ("Latency: sum < 1.5", "expected avg, med, min, max, stdev, p(N), rate(…), count(…), worst(…) or missing", ""),
    ("Latency p95 < 1.5", "put a colon after the metric; write p(95)", "Latency: p(95) < 1.5"),
    ("Resolved >= 90%", "name the values to count, as in `Resolved: rate(YES) >= 90%`", ""),
    ("avg < 1.5", 'expected a metric before avg, as in "Latency: avg …"', ""),
    *((f"failed {slip} 3", f"expected {sign}, got {slip}", f"failed {sign} 3")
      for slip, sign in (("=<", "<="), ("≤", "<="), ("=>", ">="), ("=", "=="), ("<>", "!="))),
    ("Latency: avg 1.5", "expected an operator (<, <=, >, >=, ==, !=)", ""),
    ("Turns: avg < 1,000", "expected the end of the line after the bound", ""),
    ("pass_rate >= 95 percent", "write 95% for percent", "pass_rate >= 95%"),
    ("Latency: avg < 95%", "expected a number without %: avg is in the unit of its metric", ""),
    ("Latency: pass_rate > 3", "write pass_rate without a metric: it is about the whole run", ""),
    *((f"failed < 3{joint}total > 1s", "write one threshold per line, below `thresholds: |`", "")
      for joint in (" ", "; ", ", ", " && ")),
]  # fmt: skip


def test_slip_is_explained_and_corrected(subtests: pytest.Subtests) -> None:
    for line, advice, correction in SLIPS:
        with subtests.test(line):
            (error,) = syntax_error_of(line).errors
            explanation = explained(error)
            assert (explanation.problem, explanation.correction) == (advice, correction)
            assert len(parse_thresholds(correction)) == bool(correction)
            assert (explanation.line, explanation.column, explanation.text) == (error.line, error.column, error.text)


def test_doubtful_line_is_not_corrected() -> None:
    """A correction must not turn the meaning into its opposite."""
    for words in ("isn't above", "isn’t less than", "never below", "should not be more than"):
        assert explained(syntax_error_of(f"failed {words} 3").errors[0]).correction == ""


def test_long_line_has_no_explanation() -> None:
    (error,) = syntax_error_of("Latency: p95 < 1.5".ljust(LONGEST_CORRECTED + 1)).errors
    assert explained(error) is error
    assert explained(error._replace(text=error.text[:-1])).correction == "Latency: p(95) < 1.5"
