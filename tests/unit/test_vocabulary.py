"""A value that no simulation can have does not pass as one that no simulation has; a doubtful one is questioned."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from baselines import baseline_of, run_of
from coval_gate.base.text import within_letters
from coval_gate.coval.model import RunResult, Target, Value
from coval_gate.coval.resources import MetricDefinition
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judge import judge
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.values import meets, target_problem, target_text
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.aggregates import parse_value
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report.wording import advice, reason, title
from coval_gate.report.wording.checks import actual_text, doubts

BITS, SECONDS = (0.0, 1.0, 1.0), (0.9, 1.2, 1.8)
BINARY, WORDS = ("YES", "NO", "UNKNOWN"), ("YES", "NO", "YES")
CATEGORIES = ("billing", "refund", "refund")
TOPICS = (frozenset({"billing", "refund"}), frozenset[str]())
CODES = (frozenset({"billing", "1"}), frozenset[str]())


def run_with(
    values: Sequence[Value],
    *,
    defined: tuple[str, ...] = (),
    target: Target | None = None,
    mutations: Sequence[str] = ("",),
    run_id: str = "r1",
) -> RunResult:
    """Return a run with these values of a metric M; `mutations` are dealt to the simulations in turn."""
    run = run_of(run_id, {f"t{n}": [value] for n, value in enumerate(values)}, name="M", target=target)
    dealt = (one._replace(mutation=mutations[n % len(mutations)]) for n, one in enumerate(run.simulations))
    return run._replace(simulations=tuple(dealt), metrics=(run.metrics[0]._replace(defined=defined),))


def judge_values(
    values: Sequence[Value], threshold: str = "", *, baseline: Sequence[Value] = (), **given: Any
) -> Judgement:
    criteria = Criteria(
        max_failed=Allowance(0), thresholds=parse_thresholds(threshold), use_metric_targets="target" in given
    )
    against = baseline_of(run_with(baseline, run_id="r0")) if baseline else None
    return judge(run_with(values, **given), criteria, baseline=against)


@pytest.mark.parametrize(
    ("values", "threshold", "expected"),
    [
        (BITS, "M: rate(NO, FALSE) <= 10%",
         'M cannot be "NO" or "FALSE". Its values are numbers (0, 1), so rate(NO, FALSE) cannot be judged.'),
        ((*BITS, "unknown "), "M: count(NO, UNKNOWN) <= 1",
         'M cannot be "NO". Its values are numbers (0, 1, unknown), so count(NO, UNKNOWN) cannot be judged.'),
        ((1000.0, 1250.5), 'M: count("1,000") == 0',
         'M cannot be "1,000". Its values are numbers (1000, 1250.5), so count("1,000") cannot be judged.'),
        ([n / 4 for n in range(20)], "M: count(HIGH) == 0",
         'M cannot be "HIGH". Its values are numbers (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75 and 12 more), so '
         "count(HIGH) cannot be judged."),
        (WORDS, "M: count(0) == 0",
         'M cannot be "0". Its values are text (NO, YES), so count(0) cannot be judged.'),
    ],
)  # fmt: skip
def test_impossible_threshold_is_error_that_shows_values(
    values: Sequence[Value], threshold: str, expected: str
) -> None:
    judgement = judge_values(values, threshold)
    assert (judgement.verdict, reason(judgement)) == (Verdict.ERROR, expected)
    assert [check.problem.kind for check in judgement.missed if check.problem] == ["cannot_occur"]


@pytest.mark.parametrize(
    ("values", "defined", "threshold", "expected"),
    [
        (WORDS, (), "M: count(NOO) == 0",
         '"NOO" (did you mean NO?). Its values are YES, NO or UNKNOWN (this run has NO, YES), so count(NOO) cannot '
         "be judged."),
        (("UNKNOWN",), (), "M: rate(TRUE) <= 5%",
         '"TRUE" (did you mean YES?). Its values are YES, NO or UNKNOWN (this run has UNKNOWN), '
         'so rate(TRUE) cannot be judged.'),
        (CATEGORIES, (), "M: count(refnd) == 0",
         '"refnd" (did you mean refund?). This run has billing, refund, so count(refnd) cannot be judged.'),
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
def test_misspelt_or_undefined_value_is_error_that_shows_values(
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
        (("YES",), (), "M: count( no ) == 0"),
        (("YES", "UNKNOWN"), (), "M: count(NO, 0) == 0"),
        (("YES", "N/A"), (), "M: count(NO) == 0"),  # two letters away from N/A, but these are all of it
        (CATEGORIES, (), "M: count(lawsuit) == 0"),
        (CATEGORIES, (*CATEGORIES, "refunds"), "M: count(refunds) == 0"),
        (CATEGORIES, ("billing",), "M: rate(refund) > 50%"),  # what a simulation has is possible, whatever is defined
        (CODES, (), "M: count(2) == 0"),
        (CODES, (), "M: count(1.0) == 1"),
        (("P1", "P2"), (), "M: count(P3) == 0"),
        ((1.0, 2.0), (), "M: count(UNKNOWN) == 0"),
        ((1.0, "N/A"), (), "M: count(NO) == 0"),
        ((1.0, "YES"), (), "M: count(maybe) == 0"),  # not binary, since it has numbers
    ],
)
def test_value_that_can_occur_but_does_not_passes(
    values: Sequence[Value], defined: tuple[str, ...], threshold: str
) -> None:
    judgement = judge_values(values, threshold, defined=defined)
    assert judgement.verdict is Verdict.PASSED, reason(judgement)


@pytest.mark.parametrize("threshold", ["", "pass_rate >= 0.1%"])
@pytest.mark.parametrize(
    ("values", "target", "expected"),
    [
        (WORDS, Target(operator="nin", values=("0", " ")), 'cannot be "0". Its values are text (NO, YES)'),
        (WORDS, Target(operator="nin", values=("FALSE", "UNKNOWN")), '"FALSE" (did you mean NO?)'),
        (BITS, Target(operator="in", values=("YES", "MAYBE")),
         'cannot be "YES" or "MAYBE". Its values are numbers (0, 1)'),
    ],
)  # fmt: skip
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
        (("YES", "YES"), Target(operator="nin", values=("NO", "NOO"))),
        ((1.0, 2.0), Target(operator="nin", values=("0",))),
        (TOPICS, Target(operator="nin", values=("legal",))),
    ],
)
def test_target_that_forbids_what_does_not_occur_is_met(values: Sequence[Value], target: Target) -> None:
    assert judge_values(values, target=target).verdict is Verdict.PASSED


def test_value_of_another_variant_or_of_the_baseline_is_possible() -> None:
    """Each variant alone has one value only; `refunds` would be a misspelling of what the agent has."""
    mutations = ("", "Other")
    assert judge_values(("refund", "refunds"), "M: count(refunds) <= 1", mutations=mutations).passes_gate
    assert judge_values(("YES", "maybe"), "M: count(maybe) <= 1", mutations=mutations).passes_gate
    for threshold in ("M: count(refunds) <= 1", "M: rate(refunds) <= baseline + 5pp"):
        assert judge_values(("refund", "refund"), threshold, baseline=("refunds", "refund")).verdict is Verdict.PASSED
        judgement = judge_values(("refund", "refunds"), threshold, baseline=("refund", "refund"))
        assert not any(check.problem for check in judgement.checks)
    assert judge_values(WORDS, "M: rate(NOO) <= baseline + 5pp", baseline=WORDS).verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("one", "other", "letters"), [("", "abc", 3), ("NO", "ON", 2), ("refund", "refnd", 1), ("abcd", "bcda", 2)]
)
def test_letters_match_edit_distance(one: str, other: str, letters: int) -> None:
    for pair in ((one, other), (other, one)):
        assert [within_letters(*pair, most) for most in range(5)] == [letters <= most for most in range(5)]


@pytest.mark.parametrize(
    ("written", "value"),
    [("NO", "NO"), ('"NO"', "NO"), ("'a, b'", "a, b"), ('"a|b; c"', "a|b; c"), ('"1,000"', "1,000"),
     ('"say ""no"""', 'say "no"'), ("n/a (other) #1", "n/a (other) #1"), ("don't know", "don't know")],
)  # fmt: skip
def test_single_value_is_read(written: str, value: str) -> None:
    assert parse_value(written) == value


@pytest.mark.parametrize(
    ("written", "problem"),
    [("NO|UNKNOWN", "must be one value"), ("NO, UNKNOWN", "must be one value"), ("NO;", "must be one value"),
     ("1,000", "must be one value, and a number without commas"), ('""', "must not be blank"),
     ("\u200b", "must not be blank"), ('"NO', "must end with the quote"),
     ('"NO" or "MAYBE"', "must end with the quote")],
)  # fmt: skip
def test_several_values_or_none_are_an_error(written: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_value(written)


FAR = "the bound is more than 100 times every value of M (the largest {}). Is it in the metric's unit?"
UNSEEN = "no simulation has the value {} for M; the values seen are billing, refund. Is it spelt correctly?"


@pytest.mark.parametrize(
    ("values", "threshold", "expected"),
    [
        (SECONDS, "M: p(95) < 1500", FAR.format("is 1.8")),
        (SECONDS, "M: max < 1500\nM: count(NO) == 0", FAR.format("is 1.8")),
        (SECONDS, "? M: max != 1500", FAR.format("is 1.8")),
        ((-2.0, 1.0), "M: min > -1500", FAR.format("in size is -2")),
        ((0.0, 0.0, 0.01), "M: avg <= 5", FAR.format("is 0.01")),
        (CATEGORIES, "M: count(lawsuit) == 0", UNSEEN.format('"lawsuit"')),
        (TOPICS, "M: rate(lawsuit, complaint, refund) < 100%", UNSEEN.format('"lawsuit" or "complaint"')),
    ],
)
def test_doubtful_criterion_is_questioned(values: Sequence[Value], threshold: str, expected: str) -> None:
    judgement = judge_values(values, threshold)
    text = threshold.partition("\n")[0].removeprefix("? ")
    assert doubts(judgement) == (f"{text} (thresholds, line 1): {expected}",)
    assert expected in advice(judgement, doubts(judgement))
    if judgement.verdict is not Verdict.ERROR:
        passed = judgement.verdict is Verdict.PASSED
        assert title(judgement, is_doubtful=True) == ("Doubtful criterion" if passed else "Gate failed")


@pytest.mark.parametrize(
    ("values", "threshold", "given"),
    [
        (SECONDS, "M: p(95) < 150", {}),
        (SECONDS, "M: min > 0.001", {}),  # there must be something
        ((0.0, 0.0), "M: max < 5", {}),  # which has no scale
        (SECONDS, "M: missing < 1500", {}),
        (("YES",), "M: count(NO) == 0", {"defined": BINARY}),
        (CATEGORIES, "total < 1500", {}),
        (CATEGORIES, "M: count(lawsuit) == 0", {"defined": (*CATEGORIES, "lawsuit")}),
        ((1.0, 300.0), "M: max < 1500", {"mutations": ("", "Slow")}),  # the bound is in the unit of the slow mutation
        ((1.0, 1.0), "M: avg <= baseline * 1.1", {"baseline": (300.0, 300.0)}),
    ],
)
def test_usual_criterion_is_not_questioned(values: Sequence[Value], threshold: str, given: dict[str, Any]) -> None:
    judgement = judge_values(values, threshold, **given)
    assert doubts(judgement) == ()


@pytest.mark.parametrize("values", [("false", "true"), ("agent", "YES"), (0.0, "YES")])
def test_definition_that_does_not_fit_the_values_allows_nothing(values: Sequence[Value]) -> None:
    (doubt,) = doubts(judge_values(values, "M: count(NO) == 0", defined=BINARY))
    assert doubt.startswith('M: count(NO) == 0 (thresholds, line 1): no simulation has the value "NO" for M')
    assert judge_values(values, "M: count(NOO) == 0", defined=BINARY).verdict is Verdict.ERROR
    assert not doubts(judge_values((*values, "NO"), "M: count(NO) <= 9", defined=BINARY))


def test_bound_that_is_far_from_all_variants_is_questioned_once() -> None:
    assert len(doubts(judge_values((1.0, 2.0), "M: max < 1500", mutations=("", "Slow")))) == 1


# Targets of metrics: how Coval shows them, what meets them, and what they read like


def target(operator: str, upper: float | None = None, *values: str, lower: float | None = None) -> Target:
    return Target(operator=operator, upper=upper, lower=lower, values=values)


def one_of(*values: str) -> Target:
    return target("in", None, *values)


def none_of(*values: str) -> Target:
    return target("nin", None, *values)


def value_set(*members: str) -> frozenset[str]:
    return frozenset(members)


def condition(operator: Any, **fields: Any) -> dict[str, Any]:
    return {"comparison_operator": operator, **fields}


def shown(own: Any = None, organization: Any = None) -> Target | None:
    """Return the target of a metric with this condition, and this threshold of its organization."""
    return MetricDefinition.read({"id": "m1", "target_condition": own, "organization_threshold": organization}).target


UNSET = dict.fromkeys(["id", "comparison_operator", "target_float_upper", "target_float_lower", "target_values"])
FOUR, YES = condition("gte", target_float=4), condition("in", target_values=["YES"])


SHOWN: list[tuple[Any, Any, Target | None]] = [
    (FOUR, None, target("gte", 4.0)),
    (condition("gte", target_float=0), None, target("gte", 0.0)),
    (condition(" LTE ", target_float=1.5), {}, target("lte", 1.5)),
    (YES | {"target_float": None}, None, one_of("YES")),
    (condition("bt", target_float_upper=3, target_float_lower=1), None, target("bt", 3.0, lower=1.0)),
    (condition("in", target_values=["NO"]), UNSET | YES, one_of("YES")),
    (YES, condition("bt", target_float_upper=0.9, target_float_lower=0.5), target("bt", 0.9, lower=0.5)),
    (FOUR, {"comparison_operator": None, "target_float_upper": 3}, target("gte", 4.0)),
    (None, {"comparison_operator": None, "target_float_upper": 3}, None),
    (condition(None, target_float=None, target_values=None), UNSET, None),
    (condition(None, target_float=4), None, target("", 4.0)),
    ({"target_values": ["YES"]}, None, target("", None, "YES")),
    (None, condition("At least", target_float=4), target("at least", 4.0)),
]


def test_target_is_the_threshold_of_the_organization_or_else_the_condition(subtests: pytest.Subtests) -> None:
    for own, organization, expected in SHOWN:
        with subtests.test(f"{own} {organization}"):
            assert shown(own, organization) == expected


@pytest.mark.parametrize(
    ("target", "passing", "failing"),
    [
        (target("eq", 4), [4.0, "4", " 4.0 "], [4.0000001, 3.0]),
        (target("neq", 4), [4.0000001, 3.0, "3"], [4.0, "4.0"]),
        (target("gt", 4), [4.5, 1e308], [4.0, -5.0]),
        (target("lt", 1.5), [1.4, -1e308], [1.5]),
        (target("lte", 1.5), [1.5, 0.0, "1.5"], [1.5000001]),
        (target("bt", 3, lower=1), [1.0, 2.0, 3.0], [0.999, 3.001]),
        (target("nbt", 3, lower=1), [0.999, 3.001], [1.0, 2.0, 3.0]),
        (one_of("YES"), ["YES", " yes "], ["NO", "UNKNOWN", "YES!", 1.0]),
        (one_of("STRASSE"), ["straße"], []),
        (none_of("NO"), ["YES", "UNKNOWN"], ["NO", "no", 0.0]),  # a judge may return 0 instead of NO
        (one_of("0.9"), [0.9, "0.90"], [0.8]),
        (one_of("billing"), [value_set("Billing", "refund")], [value_set("refund"), value_set()]),
        (none_of("billing", "refund"), [value_set("greeting"), value_set()], [value_set("greeting", " REFUND ")]),
    ],
    ids=lambda parameter: target_text(parameter) if isinstance(parameter, Target) else "",
)
def test_value_meets_target(target: Target, passing: list[Value], failing: list[Value]) -> None:
    assert [value for value in passing if not meets(target, value)] == []
    assert [value for value in failing if meets(target, value)] == []


@pytest.mark.parametrize("operator", ["eq", "neq", "gt", "gte", "lt", "lte", "bt", "nbt"])
def test_non_numeric_value_never_meets_numeric_target(operator: str) -> None:
    values: list[Value] = ["UNKNOWN", "", "nan", "1_000", "٣", value_set("1"), value_set()]
    assert [value for value in values if meets(target(operator, 1, lower=0), value)] == []


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (target("eq", 4), "exactly 4"),
        (target("neq", -0.0), "not 0"),
        (target("gt", 1234567), "more than 1,234,567"),
        (target("lte", 1.5), "at most 1.5"),
        (target("bt", 1, lower=3.5), "between 1 and 3.5"),
        (target("nbt", 3, lower=1), "less than 1 or more than 3"),
        (one_of("YES", "MAYBE"), "one of YES, MAYBE"),
        (none_of("NO"), "not NO"),
        (none_of("NO", "no, never"), 'none of NO, "no, never"'),
        (one_of(*"abcdefgh"), "one of a, b, c, d, e and 3 more"),
        (one_of("forged\n::error::\x1b[31m"), "forged ::error::"),
    ],
)
def test_target_as_text(target: Target, text: str) -> None:
    assert target_text(target) == text


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (target("gte", 4), ""),
        (target("foo", 4), 'has the unknown operator "foo"'),
        (target("::error::\n", 4), 'has the unknown operator "::error::"'),
        (target(" ", 4), "has no operator"),
        (target("gt", None, "4"), "lacks the number that its operator gt needs"),
        (target("eq", math.nan, "YES"), "has something other than the number that its operator eq needs"),
        (target("bt", 4), "lacks the bounds that its operator bt needs"),
        (target("nbt", 4, lower=-math.inf), "has something other than the bounds that its operator nbt needs"),
        (one_of(), "has no value for its operator in"),
        (none_of(" "), "has no value for its operator nin"),
    ],
)
def test_invalid_target_has_problem_and_is_never_met(target: Target, text: str) -> None:
    assert target_problem(target) == text
    if text:
        with pytest.raises(ValueError, match="target"):
            meets(target, 4.0)
