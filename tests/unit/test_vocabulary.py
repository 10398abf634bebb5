"""A value that no simulation can have does not pass as one that no simulation has."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.base.text import within_letters
from coval_gate.coval.model import Target, Value
from coval_gate.gate.values import Vocabulary
from coval_gate.gate.verdict import Verdict
from coval_gate.report.wording import reason
from coval_gate.report.wording.checks import actual_text
from valued import BINARY, CATEGORIES, TOPICS, WORDS, judge_values, run_with


@pytest.mark.parametrize(
    ("values", "defined", "threshold", "expected"),
    [
        (WORDS, (), "M: count(NOO) == 0",
         '"NOO" (did you mean NO?). Its values are YES, NO or UNKNOWN (this run has NO, YES), so count(NOO) cannot '
         "be judged."),
        (WORDS, (), "M: count(FALSE) == 0",
         '"FALSE" (did you mean NO?). Its values are YES, NO or UNKNOWN (this run has NO, YES), '
         'so count(FALSE) cannot be judged.'),
        (("YES", "yes"), (), "M: rate(FAIL) <= 5%",
         '"FAIL" (did you mean NO?). Its values are YES, NO or UNKNOWN (this run has YES), '
         'so rate(FAIL) cannot be judged.'),
        (("UNKNOWN",), (), "M: rate(TRUE) <= 5%",
         '"TRUE" (did you mean YES?). Its values are YES, NO or UNKNOWN (this run has UNKNOWN), '
         'so rate(TRUE) cannot be judged.'),
        (WORDS, (), "M: rate(YES, RESOLVED) >= 50%",
         '"RESOLVED". Its values are YES, NO or UNKNOWN (this run has NO, YES), '
         'so rate(YES, RESOLVED) cannot be judged.'),
        (CATEGORIES, (), "M: count(refnd) == 0",
         '"refnd" (did you mean refund?). This run has billing, refund, so count(refnd) cannot be judged.'),
        (TOPICS, (), "M: count(bilings) == 0",
         '"bilings" (did you mean billing?). This run has billing, refund, so count(bilings) cannot be judged.'),
        (("needs human", "none"), (), "M: count(needs_human) == 0",
         '"needs_human" (did you mean needs human?). This run has needs human, none, so count(needs_human) '
         "cannot be judged."),
        (CATEGORIES, ("billing", "refund", "legal"), "M: count(lawsuit) == 0",
         '"lawsuit". Its values are billing, refund or legal (this run has billing, refund), so count(lawsuit) cannot '
         "be judged."),
        (("YES", "NO"), BINARY, "M: count(FAIL) == 0",
         '"FAIL" (did you mean NO?). Its values are YES, NO or UNKNOWN (this run has NO, YES), '
         'so count(FAIL) cannot be judged.'),
    ],
)  # fmt: skip
def test_impossible_value_is_error_that_shows_values(
    values: Sequence[Value], defined: tuple[str, ...], threshold: str, expected: str
) -> None:
    judgement = judge_values(values, threshold, defined=defined)
    verb = "cannot be" if "Its values are" in expected else "is never"
    assert (judgement.verdict, reason(judgement)) == (Verdict.ERROR, f"M {verb} {expected}")
    assert [check.problem.kind for check in judgement.missed if check.problem] == ["no_such_value"]
    assert actual_text(judgement.missed[0])


@pytest.mark.parametrize(
    ("values", "defined", "threshold"),
    [
        (("YES",), (), "M: count(NO) == 0"),
        (("YES",), (), "M: count( no ) == 0"),
        (("YES",), BINARY, "M: count(UNKNOWN) == 0"),
        (("YES", "N/A"), (), "M: count(NO) == 0"),  # two letters away from N/A, but these are all of it
        (CATEGORIES, (), "M: count(UNKNOWN) == 0"),
        (CATEGORIES, (), "M: count(lawsuit) == 0"),
        (CATEGORIES, (*CATEGORIES, "refunds"), "M: count(refunds) == 0"),
        (CATEGORIES, ("billing",), "M: rate(refund) > 50%"),  # what a simulation has is possible, whatever is defined
        (TOPICS, (), "M: count(lawsuit) == 0"),
        (("resolved",), (), "M: count(unresolved) == 0"),
        (("P1", "P2"), (), "M: count(P3) == 0"),
        (("A", "B"), (), "M: count(F) == 0"),
        (("grade A", "grade B"), (), "M: count(grade C) == 0"),
        ((1.0, 5.0), (), "M: count(3) == 0"),
        ((1.0, "N/A"), (), "M: count(NO) == 0"),
        ((1.0, "YES"), (), "M: count(maybe) == 0"),  # not binary, since it has numbers
    ],
)
def test_rare_value_passes(values: Sequence[Value], defined: tuple[str, ...], threshold: str) -> None:
    judgement = judge_values(values, threshold, defined=defined)
    assert judgement.verdict is Verdict.PASSED, reason(judgement)


def test_value_of_another_variant_is_possible() -> None:
    """Each variant alone has one value only; `refunds` would be a misspelling of what the agent has."""
    values = ("refund", "refunds")
    judgement = judge_values(values, "M: count(refunds) <= 1", mutations=("", "Other"))
    assert judgement.verdict is Verdict.PASSED
    assert judge_values(("YES", "maybe"), "M: count(maybe) <= 1", mutations=("", "Other")).verdict is Verdict.PASSED


@pytest.mark.parametrize("threshold", ["M: count(refunds) <= 1", "M: rate(refunds) <= baseline + 5pp"])
def test_value_of_baseline_is_possible(threshold: str) -> None:
    judgement = judge_values(("refund", "refund"), threshold, baseline=("refunds", "refund"))
    assert judgement.verdict is Verdict.PASSED
    judgement = judge_values(("refund", "refunds"), threshold, baseline=("refund", "refund"))
    assert not any(check.problem for check in judgement.checks)


def test_impossible_value_is_error_against_baseline_too() -> None:
    judgement = judge_values(WORDS, "M: rate(NOO) <= baseline + 5pp", baseline=WORDS)
    assert judgement.verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("values", "verdict"),
    [(("NOO",), Verdict.ERROR), (("NO", "NOO"), Verdict.PASSED), (("FALSE", "UNKNOWN"), Verdict.ERROR)],
)
def test_target_whose_values_are_all_impossible_is_error(values: tuple[str, ...], verdict: Verdict) -> None:
    judgement = judge_values(("YES", "YES"), target=Target(operator="nin", values=values))
    assert judgement.verdict is verdict


LETTERS = st.text("abcNO", min_size=1, max_size=6)


@given(LETTERS, LETTERS, st.integers(0, 3))
def test_letters_are_those_of_edit_distance(one: str, other: str, most: int) -> None:
    assert within_letters(one, other, most) is (distance(one, other) <= most)
    assert within_letters(other, one, most) is (distance(one, other) <= most)


def distance(one: str, other: str) -> int:
    """Return the edit distance as textbooks have it."""
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, start=1):
        last, row[0] = row[0], number
        for place, wanted in enumerate(other, start=1):
            last, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, last + (letter != wanted))
    return row[-1]


SEEN = st.sampled_from(["billing", "refund", "needs human", "complaint", "YES", "NO"])
PLACES = st.integers(0, 20)


@given(st.lists(SEEN, min_size=1, max_size=6), st.data(), st.sampled_from(["count({}) == 0", "rate({}) <= 99%"]))
def test_misspelt_value_never_passes(values: list[str], data: st.DataObject, aggregate: str) -> None:
    meant = data.draw(st.sampled_from([value for value in values if len(value) > 3] or ["YES"]))
    place = data.draw(PLACES) % len(meant)
    typed = data.draw(st.sampled_from(["x", "zz", ""]))
    written = f"{meant[:place]}{typed}{meant[place + 1 :]}"
    vocabulary = Vocabulary.of(run_with([*values, meant]).metrics[0])
    if vocabulary.unseen([written]):
        assert judge_values([*values, meant], f"M: {aggregate.format(written)}").verdict is Verdict.ERROR
