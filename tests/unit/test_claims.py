"""With a confidence, a threshold is decided by what the run shows of the agent, or not at all."""

import random
from collections.abc import Callable, Sequence

import pytest

from baselines import Cases, only, run_of, yes
from coval_gate.coval.model import Metric, RunResult, Summary, Target, Value
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.findings import findings_of
from coval_gate.gate.judge import judge
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.wording import reasons
from rendering import check_lines

YES = Target(operator="in", values=("YES",))


def judge_result(result: RunResult, thresholds: str, confidence: float | None = 0.95, policy: str = "") -> Judgement:
    lenient, lines = Allowance(100, percent=True), parse_thresholds(thresholds)
    return judge(result, Criteria(max_failed=lenient, thresholds=lines, confidence=confidence, on_inconclusive=policy))


def judge_cases(cases: Cases, thresholds: str, confidence: float | None = 0.95) -> Judgement:
    return judge_result(run_of("now", cases, name="Metric", target=YES), thresholds, confidence)


def verdict_on(cases: Cases, threshold: str, confidence: float | None = 0.95) -> Verdict:
    return only(judge_cases(cases, threshold, confidence)).verdict


def once(*values: Value | None) -> dict[str, list[Value | None]]:
    """Return test cases with one conversation each."""
    return {f"other{n:03}": [value] for n, value in enumerate(values)}


LACKING = once(*[None] * 4)


@pytest.mark.parametrize(
    ("cases", "threshold", "verdict"),
    [
        (yes(29, 29), "Metric: rate(YES) >= 90%", Verdict.PASSED),
        (yes(28, 28), "Metric: rate(YES) >= 90%", Verdict.INCONCLUSIVE),
        (yes(40, 50), "Metric: rate(YES) >= 90%", Verdict.FAILED),
        (yes(60, 60) | LACKING, "Metric: rate(YES) >= 90%", Verdict.INCONCLUSIVE),  # a missing value can be either
        (yes(10, 10, iterations=3), "Metric: rate(YES) >= 90%", Verdict.INCONCLUSIVE),  # few test cases show little
        (yes(60, 60), "pass_rate >= 90%", Verdict.PASSED),
        (yes(4, 20), "pass_rate >= 90%", Verdict.FAILED),
        (once(*[1.0] * 58), "Metric: p(95) < 1.5", Verdict.INCONCLUSIVE),
        (once(*[1.0] * 59), "Metric: p(95) < 1.5", Verdict.PASSED),
        (once(*[1.0] * 3, *[2.0] * 17), "Metric: med < 1.5", Verdict.FAILED),
        (once(*[1.0, 1.1, 0.9, 1.05] * 5), "Metric: avg < 1.5", Verdict.PASSED),
        (once(*[1.0, 1.1, 0.9, 1.05] * 4), "Metric: avg < 1.5", Verdict.INCONCLUSIVE),  # too few for an average
        (once(*[5.0] * 29), "Metric: avg >= 4", Verdict.INCONCLUSIVE),  # so few equal scores may be luck
        (once(*[5.0] * 30), "Metric: avg >= 4", Verdict.PASSED),
        *((once(1.0, 2.0), f"Metric: {line}", Verdict.PASSED) for line in ("min > 0.5", "max < 3", "stdev < 0.8")),
    ],
)
def test_threshold_is_decided_by_what_run_shows(cases: Cases, threshold: str, verdict: Verdict) -> None:
    assert verdict_on(cases, threshold) is verdict


@pytest.mark.parametrize("confidence", [None, 0.95])
@pytest.mark.parametrize(
    "threshold",
    [
        "Metric: count(NO) <= 1",
        "Metric: rate(YES) == 100%",
        "Metric: missing == 0",
        "failed == 0",
        "completed_rate >= 99%",
        "total == 3",
    ],
)
def test_counts_and_equality_are_decided_as_counted(threshold: str, confidence: float | None) -> None:
    judgement = judge_cases(yes(3, 3), threshold, confidence)
    assert only(judgement).verdict is Verdict.PASSED
    assert ("as counted" in "".join(check_lines(findings_of(judgement)))) == (confidence is not None)


@pytest.mark.parametrize("threshold", ["Metric: rate(YES) >= 1%", "pass_rate >= 1%"])
def test_unknown_test_cases_decide_nothing(threshold: str) -> None:
    judgement = judge_cases({"": ["YES"], **yes(29, 29)}, threshold)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "values without test cases cannot show >= 1%" in reasons(judgement)[0]


def test_summary_decides_nothing() -> None:
    summed = Metric(id="m", name="Metric", values={}, summary=Summary(mean=1.0, min=0.5, max=2.0))
    result = run_of("now", once(1.0, 2.0))._replace(metrics=(summed,))
    assert judge_result(result, "Metric: avg < 5").verdict is Verdict.INCONCLUSIVE


MOST_WORDS = 20  # of a reason


def test_claims_read_as_sentences(golden: Callable[[str, str], None]) -> None:
    rng = random.Random(8)
    slow = once(*(round(rng.lognormvariate(0, 0.4), 3) for _ in range(40)))
    samples: Sequence[tuple[str, Cases, str]] = [
        ("enough conversations", yes(49, 50), "Metric: rate(YES) >= 90%"),
        ("too few test cases, whatever the result", yes(10, 10), "Metric: rate(YES) >= 90%"),
        ("in doubt", yes(46, 50), "Metric: rate(YES) >= 90%"),
        ("surely missed", yes(30, 50), "Metric: rate(YES) >= 90%"),
        ("one test case", {"case": ["YES", "YES", "NO"]}, "Metric: rate(YES) >= 50%"),
        ("a percentile", slow, "Metric: p(90) < 3"),
        ("a percentile that needs more test cases", slow, "Metric: p(95) < 3"),
        ("an average", slow, "Metric: avg < 1.5"),
        ("an average, in doubt", slow, "Metric: avg < 1"),
        ("equal scores", once(*[5.0] * 10), "Metric: avg >= 4"),
        ("as counted", yes(50, 50), "Metric: count(NO) == 0"),
        ("missing values", yes(58, 60) | once(None), "Metric: rate(YES) >= 85%"),
    ]
    blocks = []
    for title, cases, threshold in samples:
        judgement = judge_cases(cases, threshold)
        lines = [line for line in check_lines(findings_of(judgement)) if threshold in line]
        told = [f"    {reason}" for reason in reasons(judgement) if not only(judgement).passed]
        assert all(len(reason.split()) <= MOST_WORDS for reason in told)
        blocks.append("\n".join([title, *lines, *told]))
    golden("confidence.txt", "\n\n".join(blocks) + "\n")
