"""A comparison that can never be true does not pass as one that was not true."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.coval.model import Target, Value
from coval_gate.gate.values import equals, impossible
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.aggregates import parse_value
from coval_gate.report.wording import reason
from valued import WORDS, judge_values

BITS = (0.0, 1.0, 1.0)
TOPICS = (frozenset({"billing", "1"}), frozenset[str]())


@pytest.mark.parametrize(
    ("values", "threshold", "expected"),
    [
        (BITS, "M: count(NO) == 0",
         'M cannot be "NO". Its values are numbers (0, 1), so count(NO) cannot be judged.'),
        (BITS, "M: rate(NO, FALSE) <= 10%",
         'M cannot be "NO" or "FALSE". Its values are numbers (0, 1), so rate(NO, FALSE) cannot be judged.'),
        (BITS, "M: rate(YES) >= 90%",
         'M cannot be "YES". Its values are numbers (0, 1), so rate(YES) cannot be judged.'),
        ((*BITS, "unknown "), "M: count(NO, UNKNOWN) <= 1",
         'M cannot be "NO". Its values are numbers (0, 1, unknown), so count(NO, UNKNOWN) cannot be judged.'),
        ((1000.0, 1250.5), 'M: count("1,000") == 0',
         'M cannot be "1,000". Its values are numbers (1000, 1250.5), so count("1,000") cannot be judged.'),
        ([n / 4 for n in range(20)], "M: count(HIGH) == 0",
         'M cannot be "HIGH". Its values are numbers (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75 and 12 more), so '
         "count(HIGH) cannot be judged."),
        (WORDS, "M: count(0) == 0",
         'M cannot be "0". Its values are text (NO, YES), so count(0) cannot be judged.'),
        (("UNKNOWN", "UNKNOWN"), "M: count(0) == 0",
         'M cannot be "0". Its values are text (UNKNOWN), so count(0) cannot be judged.'),
    ],
)  # fmt: skip
def test_impossible_threshold_is_error_that_shows_values(
    values: Sequence[Value], threshold: str, expected: str
) -> None:
    judgement = judge_values(values, threshold)
    assert (judgement.verdict, reason(judgement)) == (Verdict.ERROR, expected)
    assert judgement.missed[0].problem is not None
    assert judgement.missed[0].problem.kind == "cannot_occur"


@pytest.mark.parametrize(
    ("values", "threshold"),
    [
        (("YES", "YES"), "M: count(NO) == 0"),
        (("YES", "UNKNOWN"), "M: count(NO, 0) == 0"),
        (("UNKNOWN", "UNKNOWN"), "M: count(NO) == 0"),
        ((1.0, 2.0), "M: count(UNKNOWN) == 0"),
        ((1.0, 2.0), "M: count(0) == 0"),
        ((1.0, 2.0), "M: count(NO, 0) == 0"),
        ((1.0, 2.0), "M: count(1e3) == 0"),
        ((1.0, "N/A"), "M: count(NO) == 0"),
        (TOPICS, "M: count(refund) == 0"),
        (TOPICS, "M: count(2) == 0"),
        (TOPICS, "M: count(1.0) == 1"),
    ],
)
def test_value_that_can_occur_but_does_not_passes(values: Sequence[Value], threshold: str) -> None:
    assert judge_values(values, threshold).verdict is Verdict.PASSED


@pytest.mark.parametrize("threshold", ["", "pass_rate >= 0.1%"])
@pytest.mark.parametrize(
    ("values", "target", "expected"),
    [
        (WORDS, Target(operator="nin", values=("0",)), 'cannot be "0". Its values are text (NO, YES)'),
        (WORDS, Target(operator="nin", values=("0", " ")), 'cannot be "0". Its values are text (NO, YES)'),
        (WORDS, Target(operator="neq", values=("0",)), 'cannot be "0". Its values are text (NO, YES)'),
        (WORDS, Target(operator="in", values=("1",)), 'cannot be "1". Its values are text (NO, YES)'),
        (
            BITS,
            Target(operator="in", values=("YES", "MAYBE")),
            'cannot be "YES" or "MAYBE". Its values are numbers (0, 1)',
        ),
        (BITS, Target(operator="nin", values=("NO",)), 'cannot be "NO". Its values are numbers (0, 1)'),
    ],
)
def test_impossible_target_is_error_that_shows_values(
    values: Sequence[Value], target: Target, expected: str, threshold: str
) -> None:
    judgement = judge_values(values, threshold, target=target)
    assert judgement.verdict is Verdict.ERROR
    assert expected in reason(judgement)
    assert judgement.totals is not None
    assert judgement.totals.pass_rate == 0


@pytest.mark.parametrize(
    ("values", "target"),
    [
        (("YES", "UNKNOWN"), Target(operator="nin", values=("NO",))),
        ((1.0, 2.0), Target(operator="nin", values=("0",))),
        (TOPICS, Target(operator="nin", values=("refund",))),
    ],
)
def test_target_that_forbids_what_does_not_occur_is_met(values: Sequence[Value], target: Target) -> None:
    assert judge_values(values, target=target).verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("written", "value"),
    [("NO", "NO"), ("0.5", "0.5"), ('"NO"', "NO"), ("'a, b'", "a, b"), ('"a|b; c"', "a|b; c"), ('"1,000"', "1,000"),
     ('"say ""no"""', 'say "no"'), ("n/a (other) #1", "n/a (other) #1"), ("don't know", "don't know")],
)  # fmt: skip
def test_single_value_is_read(written: str, value: str) -> None:
    assert parse_value(written) == value


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("NO|UNKNOWN", "must be one value"),
        ("NO, UNKNOWN", "must be one value"),
        ("NO;", "must be one value"),
        ("1,000", "must be one value, and a number without commas"),
        ('""', "must not be blank"),
        ("' '", "must not be blank"),
        ("\u200b", "must not be blank"),
        ('"NO', "must end with the quote"),
        ('"NO" or "MAYBE"', "must end with the quote"),
    ],
)
def test_several_values_or_none_are_an_error(written: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_value(written)


NUMBERS = st.floats(-1e9, 1e9)
TEXTS = st.sampled_from(["YES", "NO", "UNKNOWN", "n/a", "refund"])
VALUES: st.SearchStrategy[Value] = NUMBERS | TEXTS | st.frozensets(TEXTS | NUMBERS.map("{:g}".format), max_size=3)
WANTED = TEXTS | NUMBERS.map(repr)


@given(st.lists(VALUES, min_size=1, max_size=8), st.lists(WANTED, min_size=1, max_size=3))
def test_value_that_occurs_can_occur(values: list[Value], wanted: list[str]) -> None:
    if any(equals(value, text) for value in values for text in wanted if text != "UNKNOWN"):
        assert impossible(values, wanted) == ()


@given(st.lists(NUMBERS, min_size=1, max_size=8), st.sampled_from(["NO", "n/a", "1,000", "nan"]), st.sampled_from("<="))
def test_no_bound_on_a_word_holds_among_numbers(values: list[float], word: str, sign: str) -> None:
    judgement = judge_values(values, f'M: rate("{word}") {sign}= 100%\nM: count("{word}") {sign}= 0')
    assert judgement.verdict is Verdict.ERROR
