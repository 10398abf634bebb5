import math
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coval_gate.features.advice.slips import explained
from coval_gate.gate.criteria import threshold_text
from coval_gate.inputs.aggregates import Aggregate
from coval_gate.inputs.thresholds import (
    OPERATORS,
    Bound,
    Operator,
    Threshold,
    ThresholdSyntaxError,
    parse_thresholds,
)

README_EXAMPLE = """\
pass_rate >= 95%
Latency: p(95) < 1.5

# What callers notice first:
Latency: avg <= 1.10   # seconds
Resolved: rate(YES) >= 90%
Resolved: rate(YES, "not applicable") >= 95%
"Tone: friendly": avg >= 4
Compliance: count(NO) == 0
"""

# What is wrong is an expectation, or advice where the grammar knows better.
ERROR_MESSAGE = re.compile(r"line \d+: (?:expected|write) .+\n    .*\n +\^")


def parse_one(line: str) -> Threshold:
    (threshold,) = parse_thresholds(line)
    return threshold


def syntax_error_of(text: str) -> ThresholdSyntaxError:
    with pytest.raises(ThresholdSyntaxError) as caught:
        parse_thresholds(text)
    return caught.value


def test_threshold_has_printable_text_of_its_line() -> None:
    threshold = parse_one('\t Latency:\tp( 95 )<1.5 # "slow"')
    assert threshold == Threshold(
        metric="Latency",
        aggregate=Aggregate("p", percentile=95.0),
        operator="<",
        bound=Bound(1.5),
        line=1,
        text="Latency: p( 95 )<1.5",
    )
    assert parse_one('"a\x1b[31m\u202eb": avg > 1').text == '"ab": avg > 1'


@pytest.mark.parametrize("written", ["? failed == 0", "?failed == 0  # shown only", "  ?  failed == 0"])
def test_question_mark_makes_threshold_advisory(written: str) -> None:
    assert parse_one(written) == parse_one("failed == 0")._replace(advisory=True)


@pytest.mark.parametrize(
    ("written", "metric"),
    [
        ("Latency", "Latency"),
        ("  Größe  der 回答 ", "Größe  der 回答"),
        ("'User''s mood'", "User's mood"),
        ('"says ""hello"""', 'says "hello"'),
        ("\"two '' single ones\"", "two '' single ones"),
        (r'"back\slash \\"', "back\\slash \\"),
    ],
)
def test_metric_is_parsed(written: str, metric: str) -> None:
    assert parse_one(f"{written}: avg > 1").metric == metric


@pytest.mark.parametrize(
    ("written", "aggregate"),
    [
        ("avg", Aggregate("avg")),
        ("MIN", Aggregate("min")),
        ("p(99.9)", Aggregate("p", percentile=99.9)),
        ("rate( YES,NO , maybe so )", Aggregate("rate", values=("YES", "NO", "maybe so"))),
        ("rate(n/a: none, YES, n/a: none)", Aggregate("rate", values=("n/a: none", "YES"))),
        ("""rate("a, b", 'c) d', "#1", "it's", " x ", "a|b", "a;b", "1,000")""",
         Aggregate("rate", values=("a, b", "c) d", "#1", "it's", " x ", "a|b", "a;b", "1,000"))),
        ("rate(1, 000, 4,5, 1000,2)", Aggregate("rate", values=("1", "000", "4", "5", "1000", "2"))),
        ("missing", Aggregate("missing")),
        ("worst( YES, NO )", Aggregate("worst", values=("YES", "NO"))),
    ],
)  # fmt: skip
def test_aggregate_of_metric_is_parsed(written: str, aggregate: Aggregate) -> None:
    assert parse_one(f"M: {written} >= 1").aggregate == parse_one(f"M: {aggregate} >= 1").aggregate == aggregate


BOUNDS: list[tuple[str, Bound]] = [
    ("pass_rate >=95%", Bound(0.95)),
    ("pass_rate >= 99.9\u00a0%", Bound(0.999)),
    ("pass_rate >= 1e-2", Bound(0.01)),
    ("Latency: avg < -3", Bound(-3)),
    ("Latency: avg < +.5", Bound(0.5)),
    ("Latency: avg < 1e-400", Bound(0)),
    ("pass_rate >= baseline", Bound(0.0, "baseline")),
    ("pass_rate >= baseline - 5pp", Bound(-0.05, "baseline")),
    ("pass_rate >= baseline − 0.05", Bound(-0.05, "baseline")),
    ("pass_rate >= baseline - 5%", Bound(0.0, "baseline", 0.95)),
    ("Latency: avg <= BASELINE*1.1", Bound(0.0, "baseline", 1.1)),
    ("Latency: avg <= base × 110%", Bound(0.0, "base", 1.1)),
    ("Latency: p(95) <= baseline + 0.2  # s", Bound(0.2, "baseline")),
]


def test_bound_is_a_share_a_number_or_refers_to_a_baseline(subtests: pytest.Subtests) -> None:
    for written, bound in BOUNDS:
        with subtests.test(written):
            parsed = parse_one(written).bound
            assert (parsed.number, parsed.reference) == (bound.number, bound.reference)
            assert parsed.factor == pytest.approx(bound.factor)


def test_blank_lines_and_comments_are_no_thresholds() -> None:
    for text in ("", "\n \t\n", "# only a comment", " \r\n\u00a0# a: b", "# A: avg < 1", " ## failed < 1"):
        assert parse_thresholds(text) == ()
    for comment in ("seconds: less is better", "was 95%, and failed twice", "avg of 3", "rate(YES)"):
        assert len(parse_thresholds(f"Latency: p(95) < 1.5 # {comment}")) == 1
    for line_break in ("\n", "\r\n", "\r"):
        thresholds = parse_thresholds(line_break.join(["failed < 1", "", "total > 1"]))
        assert [threshold.line for threshold in thresholds] == [1, 3]


INVALID = {
    "metric": """\
avg > 3
: avg > 3
"": avg > 3
"Latency: avg > 3
'Latency\\': avg > 3
""",
    "aggregate": """\
Latency:
Tone: "avg" > 3
Latency: p < 3
Latency: p(101) < 3
Resolved: rate() >= 90%
Resolved: rate(YES >= 90%
Resolved: rate(don't know) >= 90%
Resolved: rate("YES) >= 90%
Resolved: rate(n/a (other)) >= 90%
Resolved: count(NO; UNKNOWN) == 0
Resolved: count(|) == 0
Resolved: count(\u200b) == 0
Turns: count(1,000) == 0
""",
    "operator": """\
Latency: p(95)
Latency: avg(3) < 1.5
""",
    "bound": """\
Latency: avg <
Latency: avg < nan
Latency: avg < fast
Latency: avg < 1e301
Latency: avg < "3"
Compliance: count(NO) < 5%
failed <= 5%
pass_rate >= 1.5
pass_rate >= 101%
Latency: avg < 5pp
""",
    "baseline": """\
pass_rate >= baseline - 5
pass_rate >= baseline -
pass_rate >= baseline ± 5pp
pass_rate >= baselines
pass_rate >= baseline - -5pp
pass_rate >= baseline * 5pp
pass_rate >= baseline - 100%
pass_rate >= baseline 5pp
pass_rate >= 1.1 * baseline
Latency: avg < baseline * 0
Latency: avg < baseline + 5pp
total >= baseline
?
- ? failed == 0
""",
    "worst": """\
Resolved: worst(YES) < 20%
Resolved: worst(YES) <= 20%
Resolved: worst(YES) == 0%
Resolved: worst(YES) != 0%
Resolved: worst(YES) >= baseline
Resolved: worst(YES) >= base - 5pp
Resolved: worst(YES) > 150%
Resolved: worst(YES) > most
Resolved: worst > 0%
worst(YES) > 0%
""",
    "end": """\
pass_rate >= 95% and failed < 3
Latency: avg < 1e9999
""",
    "yaml": """\
Latency: p(95) < 1.5 # "Tone: friendly": AVG ≥ 4
Latency: p(95) < 1.5 # pass_rate >= baseline - 5pp
# What callers notice: Latency: p(95) < 1.5
# Latency: p(95) < 1.5 # Resolved: rate(YES) >= 90%
pass_rate >= 95% Latency: p(95) < 1.5
""",
    "how a line is shown": f"""\
pass_rate >= 95%

# Every invalid line is reported, with its number:
\t\tLatency:\tavg\t1.5\t# not below
  {"A long name of a metric that is about the agent's style, and " * 3}nothing else: avg 3
'{"A long name of a metric that is about the agent''s style, and " * 3}nothing else': avg 3
'{"long, " * 10}': avg 3 but {"there is more to be said, " * 10}
語調は友好的: avg 3
\x1b[31m"red\u202e": avg \x00\x1b[0m3
""",
}


@pytest.mark.parametrize("part", INVALID)
def test_errors_of_invalid_lines_match_golden_file(part: str, golden: Callable[[str, str], None]) -> None:
    error = ThresholdSyntaxError(*map(explained, syntax_error_of(INVALID[part]).errors))
    golden(f"thresholds/{part.replace(' ', '-')}.txt", f"{error}\n")


@given(st.lists(st.sampled_from(README_EXAMPLE.splitlines()), min_size=2, max_size=8))
def test_lines_that_yaml_joins_are_never_partly_read(lines: list[str]) -> None:
    text = "\n".join(lines)
    whole = parse_thresholds(text)
    joined = text.replace("\n", " ")
    try:
        assert len(parse_thresholds(joined)) == len(whole)
    except ThresholdSyntaxError as error:
        assert "thresholds: |" in str(error)


@pytest.mark.parametrize("operator", OPERATORS)
def test_operator_compares_value_with_bound(operator: str) -> None:
    passing = {"<": [0], "<=": [0, 4], ">": [9], ">=": [4, 9], "==": [4], "!=": [0, 9]}
    threshold = parse_one(f"Latency: avg {operator} 4")
    assert [value for value in (0, 4, 9, math.nan) if threshold.holds(value)] == passing[operator]
    assert threshold.holds(math.inf) is (operator in (">", ">=", "!="))


@pytest.mark.parametrize(
    ("line", "actual"),
    [
        ("pass_rate >= 90%", 9 / 10),
        ("Latency: avg <= 0.3", 0.1 + 0.2),
        ("Resolved: rate(YES) >= 58%", 1 - 0.42),
    ],
)
def test_rounding_errors_are_ignored_but_no_other_difference(line: str, actual: float) -> None:
    threshold = parse_one(line)
    assert threshold.holds(actual)
    strictly: Operator = ">" if threshold.operator == ">=" else "<" if threshold.operator == "<=" else "!="
    assert not threshold._replace(operator=strictly).holds(actual)
    wrong = threshold.bound.number + (-1e-8 if threshold.operator == ">=" else 1e-8)
    assert not threshold.holds(wrong)
    assert not parse_one("Latency: avg <= 0").holds(5e-324), "the tolerance is relative to the bound"


def test_bound_with_reference_has_no_number_until_it_is_given() -> None:
    threshold = parse_one("pass_rate >= baseline - 5pp")
    with pytest.raises(ValueError, match="baseline"):
        threshold.holds(1.0)
    assert threshold.against(0.9).holds(0.85)
    assert not threshold.against(0.9).holds(0.84)


@pytest.mark.parametrize(
    ("written", "improves", "is_relative"),
    [
        ("pass_rate >= baseline - 5pp", False, False),
        ("pass_rate >= baseline + 5pp", True, False),
        ("pass_rate > baseline * 1.1", True, False),
        ("pass_rate >= base − 5 %", False, True),
        ("Resolved: rate(YES) >= baseline - 5%", False, True),
        ("Resolved: rate(A-B) >= 5%", False, False),
        ("Latency: avg <= baseline * 0.9", True, False),
        ("Latency: avg <= baseline - 0.1", True, False),
        ("Latency: avg <= baseline + 10%", False, False),
    ],
)
def test_bound_against_a_baseline_may_require_improvement_or_be_relative(
    written: str, *, improves: bool, is_relative: bool
) -> None:
    assert parse_one(written).asks_for_improvement is improves
    for line in (written, f"? {written}  # five"):
        assert threshold_text(parse_one(line)) == written + " (relative)" * is_relative


# Nearly valid lines find more bugs than random text does.
PIECES = st.sampled_from(
    ["Latency", ":", " ", "avg", "p", "(", "95", ")", "<", ">=", "=", "1.5", "%", "pp", "baseline", "base", "?", "-",
     "+", "*", "#", '"', "'", "\\", ",", "rate", "YES", "pass_rate", "failed", "TOTAL", "\t", "\n", "\r", "e9", ".",
     "語", "\u2028", "\x1b", "\ud800"]
)  # fmt: skip
ANY_TEXT = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join))


@given(ANY_TEXT)
@example("\ud800: avg")
@example("\x00" * 300 + "x")
@example("0:PASS_RATE")
def test_any_text_is_thresholds_or_error_with_caret_in_line(text: str) -> None:
    try:
        thresholds = parse_thresholds(text)
    except ThresholdSyntaxError as error:
        lines = re.split(r"\r\n|\n|\r", text)
        assert len({wrong.line for wrong in error.errors}) == len(error.errors)
        for wrong_line in error.errors:
            assert wrong_line.text == lines[wrong_line.line - 1]
            assert 1 <= wrong_line.column <= len(wrong_line.text) + 1
            message, shown, caret = str(wrong_line).split("\n")
            assert ERROR_MESSAGE.fullmatch(str(wrong_line))
            assert all(line.isprintable() for line in (message, shown, caret))
            assert len(shown) <= 4 + 100
            assert len(caret) <= 4 + 2 * 100 + 1
    else:
        assert all(line.text.isprintable() for line in thresholds)
