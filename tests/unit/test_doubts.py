"""A criterion that was judged, but looks like a mistake beside the values of the run, is questioned."""

from collections.abc import Sequence

import pytest

from coval_gate.coval.model import Value
from coval_gate.gate.criteria import doubts as doubts_of
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.verdict import Verdict
from coval_gate.report.wording import advice, doubt_lines, title
from valued import BINARY, CATEGORIES, TOPICS, WORDS, judge_values

SECONDS = (0.9, 1.2, 1.8)
FAR = "the bound is more than 100 times every value of M (the largest {}). Is it in the metric's unit?"
UNSEEN = "no simulation has the value {} for M; the values seen are billing, refund. Is it spelt correctly?"


@pytest.mark.parametrize(
    ("values", "threshold", "expected"),
    [
        (SECONDS, "M: p(95) < 1500", FAR.format("is 1.8")),
        (SECONDS, "M: avg >= 400", FAR.format("is 1.8")),
        (SECONDS, "? M: max != 1500", FAR.format("is 1.8")),
        ((-2.0, 1.0), "M: min > -1500", FAR.format("in size is -2")),
        ((0.0, 0.0, 0.01), "M: avg <= 5", FAR.format("is 0.01")),
        (CATEGORIES, "M: count(lawsuit) == 0", UNSEEN.format('"lawsuit"')),
        (TOPICS, "M: rate(lawsuit, complaint, refund) < 100%", UNSEEN.format('"lawsuit" or "complaint"')),
    ],
)
def test_doubtful_criterion_is_questioned(values: Sequence[Value], threshold: str, expected: str) -> None:
    judgement = judge_values(values, threshold)
    text = threshold.removeprefix("? ")
    assert doubt_lines(judgement) == [f"{text} (thresholds, line 1): {expected}"]
    assert expected in advice(judgement, doubt_lines(judgement))
    assert title(judgement, is_doubtful=True) == (
        "Doubtful criterion" if judgement.verdict is Verdict.PASSED else "Gate failed"
    )


@pytest.mark.parametrize(
    ("values", "threshold"),
    [
        (SECONDS, "M: p(95) < 150"),
        (SECONDS, "M: min > 0"),
        (SECONDS, "M: min > 0.001"),  # there must be something
        ((0.0, 0.0), "M: max < 5"),  # which has no scale
        (SECONDS, "M: missing < 1500"),
        (WORDS, "M: count(UNKNOWN) == 0"),
        (("YES",), "M: count(NO) == 0"),
        ((1.0, 2.0), "M: count(3) == 0"),
        ((1.0, 2.0), "M: count(UNKNOWN) == 0"),
        (CATEGORIES, "total < 1500"),
    ],
)
def test_usual_criterion_is_not_questioned(values: Sequence[Value], threshold: str) -> None:
    assert doubts(judge_values(values, threshold)) == ()


def doubts(judgement: Judgement) -> tuple[str, ...]:
    return doubts_of(judgement.checks, judgement.variants)


def test_value_that_definition_allows_is_not_questioned() -> None:
    assert not doubts(judge_values(CATEGORIES, "M: count(lawsuit) == 0", defined=(*CATEGORIES, "lawsuit")))
    assert not doubts(judge_values(("YES",), "M: count(NO) == 0", defined=BINARY))


@pytest.mark.parametrize("values", [("false", "true"), ("agent", "YES"), (0.0, "YES")])
def test_definition_that_does_not_fit_the_values_allows_nothing(values: Sequence[Value]) -> None:
    judgement = judge_values(values, "M: count(NO) == 0", defined=BINARY)
    (doubt,) = doubt_lines(judgement)
    assert doubt.startswith('M: count(NO) == 0 (thresholds, line 1): no simulation has the value "NO" for M')
    assert judge_values(values, "M: count(NOO) == 0", defined=BINARY).verdict is Verdict.ERROR
    assert not doubts(judge_values((*values, "NO"), "M: count(NO) <= 9", defined=BINARY))


def test_bound_is_compared_with_all_variants() -> None:
    """The agent is fast and a mutation is slow, so the bound is in the metric's unit."""
    assert not doubts(judge_values((1.0, 300.0), "M: max < 1500", mutations=("", "Slow")))
    assert len(doubts(judge_values((1.0, 2.0), "M: max < 1500", mutations=("", "Slow")))) == 1


def test_bound_of_baseline_is_not_questioned() -> None:
    judgement = judge_values((1.0, 1.0), "M: avg <= baseline * 1.1", baseline=(300.0, 300.0))
    assert not doubts(judgement)


def test_error_is_reported_with_doubts() -> None:
    judgement = judge_values(SECONDS, "M: p(95) < 1500\nM: count(NO) == 0")
    assert judgement.verdict is Verdict.ERROR
    assert FAR.format("is 1.8") in advice(judgement, doubt_lines(judgement))
