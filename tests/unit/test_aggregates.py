"""Each aggregate is one class, with its value for a run, its distance from the bound, and the simulations to blame."""

import math
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from baselines import answered, both, only
from coval_gate.coval.model import LARGEST_VALUE, Metric, RunResult, Simulation, Target, Value
from coval_gate.gate import criteria, population, problems
from coval_gate.gate.aggregates import CLASSES
from coval_gate.gate.checks import Check, Criterion
from coval_gate.gate.criteria import Criteria, TargetMet, ThresholdHolds
from coval_gate.gate.findings import miss_distance
from coval_gate.gate.judge import judge
from coval_gate.gate.judgement import judgement_with_words
from coval_gate.gate.measure import Measure
from coval_gate.gate.population import FewFailed
from coval_gate.gate.problems import ONE_VALUE, UNIDENTIFIED
from coval_gate.gate.variants import Sample
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.aggregates import KINDS
from coval_gate.inputs.fields import Allowance
from coval_gate.inputs.thresholds import OPERATORS, Operator, parse_thresholds
from coval_gate.report.wording.checks import actual_text, check_reason, margin_text

NUMBERS = st.floats(-LARGEST_VALUE, LARGEST_VALUE)

# s0 did not complete, s1 misses the target, s2 has no value, s3 and s4 pass.
SIMULATIONS: Final = tuple(
    Simulation(id=f"s{n}", status="COMPLETED" if n else "FAILED", test_case_id=f"t{n}") for n in range(5)
)
LATENCY: Final = Metric(
    id="latency", name="Latency", values={"s1": 3.0, "s3": 1.0, "s4": 2.0}, target=Target(operator="lt", upper=2.5)
)
RESULT: Final = RunResult(run_id="r", expected=5, simulations=SIMULATIONS, metrics=(LATENCY,))


def threshold(line: str) -> ThresholdHolds:
    (found,) = parse_thresholds(line)
    return ThresholdHolds(threshold=found)


def target(operator: str, upper: float | None = None, lower: float | None = None, *values: str) -> TargetMet:
    return TargetMet(metric="M", target=Target(operator=operator, upper=upper, lower=lower, values=values))


def test_every_aggregate_of_the_grammar_is_a_figure_or_has_a_class_and_no_class_is_left_over() -> None:
    assert [*CLASSES] == [kind.name for kind in KINDS if not kind.figure]


@pytest.mark.parametrize("modules", [(criteria, population), (problems,)], ids=["criteria", "problems"])
def test_every_kind_has_a_name_of_its_own(modules: tuple[object, ...]) -> None:
    members = [member for module in modules for member in vars(module).values() if member is not UNIDENTIFIED]
    unique = {id(member): member for member in members}
    names = [name for member in unique.values() if isinstance(name := getattr(member, "kind", None), str)]
    assert len({*names}) == len(names) > 10


@pytest.mark.parametrize(
    ("line", "value", "to_blame"),
    [
        ("Latency: avg < 1.5", 2.0, ""),
        ("Latency: med < 1.5", 2.0, "s1 s4"),
        ("Latency: min > 1", 1.0, "s3"),
        ("Latency: max < 2.5", 3.0, "s1"),
        ("Latency: stdev < 0.5", 1.0, ""),
        ("Latency: rate(1, 2) >= 60%", 0.4, "s0 s1 s2"),
        ("Latency: count(3) == 0", 1.0, "s1"),
        ("Latency: count(3) == 2", 1.0, "s0 s2 s3 s4"),
        ("Latency: missing == 0", 2.0, "s0 s2"),
        ("pass_rate >= 90%", 0.4, "s0 s1 s2"),
        ("completed_rate >= 90%", 0.8, "s0"),
        ("failed == 0", 1.0, "s0"),
    ],
)
def test_those_to_blame_for_an_aggregate_are_those_that_miss_it(line: str, value: float, to_blame: str) -> None:
    check = only(judge(RESULT, Criteria(max_failed=Allowance(5), thresholds=parse_thresholds(line))))
    assert check.measure is not None
    assert check.measure.value == pytest.approx(value)
    assert check.simulations == tuple(to_blame.split())


def test_one_value_has_no_spread_and_never_passes() -> None:
    two, one = (
        RESULT._replace(metrics=(LATENCY._replace(values=values),)) for values in ({"s3": 3.0, "s4": 3.0}, {"s3": 3.0})
    )
    asked = Criteria(max_failed=Allowance(5), thresholds=parse_thresholds("Latency: stdev < 1"))
    check = only(judge(one, asked))
    assert (check.verdict, check.problem) == (Verdict.ERROR, ONE_VALUE.of(metric="Latency"))
    assert check_reason(check) == "Latency has only one value, so stdev is unknown."
    assert only(judge(two, asked)).verdict is Verdict.PASSED


def thrice(*answers: str, mutation: str = "") -> RunResult:
    """Return a run with three conversations of each test case."""
    cases = [f"t{n}" for n in range(len(answers)) for _ in range(3)]
    result = answered("r", "".join(answers), cases)
    return result._replace(simulations=tuple(one._replace(mutation=mutation) for one in result.simulations))


@pytest.mark.parametrize(
    ("bound", "answers", "verdict", "actual", "blamed"),
    [
        ("> 0%", ("YYY", "YNN", "YYN"), "passed", "33.3% (1 of 3)", ""),
        ("> 0%", ("YYY", "NNN", "YYN"), "failed", "0% (0 of 3: t1)", "3 4 5"),
        # All conversations of a test case that misses, also those that are hits; the worst one is named.
        (">= 50%", ("YNN", "NNN", "YYN"), "failed", "0% (0 of 3: t1, and 1 more test case)", "3 4 5 0 1 2"),
        (">= 50%", ("YYN", "YYN", "YYY"), "passed", "66.7% (2 of 3)", ""),
        (
            ">= 66.7%",
            ("YYN", "NYY", "YNY"),
            "failed",
            "66.67% (2 of 3: t0, and 2 more test cases)",
            "0 1 2 3 4 5 6 7 8",
        ),
        (">= 100%", ("YYY", "YYY"), "passed", "100% (3 of 3)", ""),
        # A conversation without a value is a miss, in every test case alike.
        ("> 0%", ("YYY", "NNX", "YYX"), "failed", "0% (0 of 3: t1), 1 of them without a value", "3 4 5"),
        ("> 0%", ("YYY", "XXX", "YYX"), "failed", "0% (0 of 3: t1), 3 of them without a value", "3 4 5"),
        (">= 60%", ("YYY", "YYX"), "passed", "2 of 2, 1 without a value", ""),
    ],
)
@pytest.mark.parametrize("confidence", [None, 0.95])
def test_worst_is_the_lowest_share_of_a_test_case(
    bound: str, answers: tuple[str, ...], verdict: str, actual: str, blamed: str, confidence: float | None
) -> None:
    thresholds = parse_thresholds(f"Resolved: worst(YES) {bound}")
    asked = Criteria(max_failed=Allowance(9), thresholds=thresholds, confidence=confidence)
    check = only(judge(thrice(*answers), asked))
    assert (check.verdict, actual_text(check)) == (verdict, actual)
    assert check.simulations == tuple(f"r.{n}" for n in blamed.split())


def test_reason_of_a_lost_test_case_names_it() -> None:
    asked = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds("Resolved: worst(YES) > 0%"))
    judgement = judge(thrice("NNN", "YNN", "NNN"), asked)
    assert check_reason(only(judgement)) == (
        "worst(YES) of Resolved is 0% (0 of 3: t0, and 1 more test case), must be > 0%."
    )
    named = judgement_with_words(judgement, {}, {"t0": "Angry caller", "t1": "Wants a human", "t2": ""})
    assert check_reason(only(named)) == (
        "worst(YES) of Resolved is 0% (0 of 3: Angry caller, and 1 more test case), must be > 0%."
    )
    assert margin_text(only(named)) == ""


def test_worst_judges_every_variant_apart() -> None:
    calm = thrice("YYY", "NNN", mutation="calm")
    ids = {simulation.id: f"calm.{simulation.id}" for simulation in calm.simulations}
    renamed = calm._replace(
        simulations=tuple(one._replace(id=ids[one.id]) for one in calm.simulations),
        metrics=tuple(
            one._replace(values={ids[id_]: value for id_, value in one.values.items()}) for one in calm.metrics
        ),
    )
    judgement = judge(
        both(thrice("YYY", "YNN"), renamed),
        Criteria(max_failed=Allowance(0), thresholds=parse_thresholds("Resolved: worst(YES) > 0%")),
    )
    checks = [(check.variant, check.verdict) for check in judgement.checks if check.threshold]
    assert checks == [("", Verdict.PASSED), ("calm", Verdict.FAILED)]


@pytest.mark.parametrize(
    ("cases", "reason"),
    [
        (["t0", "t1", "t2"], "Resolved: worst(YES) > 0% needs several conversations of each test case, of which the "
         "run has one; launch it with an iteration_count of at least 2, or write rate(YES) == 100%, which is the same "
         "with one."),
        (["t0", "t0", ""], "Coval does not show which test case each simulation belongs to, so nothing can be judged "
         "by test case."),
        (["t0", "t0", "t1"], "worst(YES) of Resolved is 0% (0 of 1: t1), must be > 0%."),
    ],
)  # fmt: skip
def test_worst_needs_several_conversations_of_a_test_case(cases: list[str], reason: str) -> None:
    asked = Criteria(max_failed=Allowance(0), thresholds=parse_thresholds("Resolved: worst(YES) > 0%"))
    assert asked.needs_test_cases
    assert check_reason(only(judge(answered("r", "YYN", cases), asked))) == reason


def check_of(line: str, measure: Measure) -> Check:
    criterion = threshold(line)
    verdict = Verdict.PASSED if criterion.threshold.holds(measure.value) else Verdict.FAILED
    return Check(criterion=criterion, verdict=verdict, measure=measure)


@given(st.sampled_from(OPERATORS), NUMBERS, NUMBERS)
@example("<", 0.1 + 0.2, 0.3)
@example("!=", 0.1 + 0.2, 0.3)
def test_sign_of_margin_matches_verdict(operator: Operator, value: float, bound: float) -> None:
    check = check_of(f"M: avg {operator} {bound!r}", Measure(value=value, unit="metric", count=1))
    assert check.margin is not None
    assert math.isfinite(check.margin)
    assert check.margin >= 0 if check.passed else check.margin <= 0
    assert actual_text(check)
    assert check.passed or check_reason(check).isprintable()


@pytest.mark.parametrize(
    ("line", "measure", "reason", "margin"),
    [
        ("Latency: p(95) < 1.5", Measure(value=2.7, unit="metric", count=10),
         "p(95) of Latency is 2.7, must be < 1.5.", "1.2 too high"),
        ("Resolved: rate(YES) >= 90%", Measure(value=0.4, unit="share", count=8, missing=2),
         "rate(YES) of Resolved is 40% (4 of 10), 2 of them without a value, must be >= 90%.", "50pp too low"),
        ("Resolved: rate(NO) < 7%", Measure(value=0.3, unit="share", count=8, missing=2, assumed=2),
         "rate(NO) of Resolved is 30% (3 of 10), 2 of them without a value, must be < 7%.", "23pp too high"),
        ("Compliance: count(NO) == 0", Measure(value=1, unit="simulations", count=1),
         "count(NO) of Compliance is 1 of 1, must be == 0.", "1 too many"),
        ("Latency: missing <= 1", Measure(value=2, unit="simulations", count=8, missing=2),
         "The number of missing values of Latency is 2 of 10, must be <= 1.", "1 too many"),
        ("Latency: avg <= 1.5", Measure(value=1.50001, unit="metric", count=3),
         "avg of Latency is 1.50001, must be <= 1.5.", "1e-05 too high"),
        ("pass_rate >= 99.999%", Measure(value=0.99, unit="share", count=100), None, "1pp too low"),
    ],
)  # fmt: skip
def test_reason_and_margin_of_missed_threshold(line: str, measure: Measure, reason: str | None, margin: str) -> None:
    check = check_of(line, measure)
    assert margin_text(check) == margin
    assert reason in (None, check_reason(check))


def test_bound_of_percentage_allowance_depends_on_total() -> None:
    measure = Measure(value=3, unit="simulations", count=40)
    check = Check(criterion=FewFailed(allowance=Allowance(5, percent=True)), verdict=Verdict.FAILED, measure=measure)
    assert (check.requirement, check.margin) == (("<=", 2), -1)


def distance(criterion: Criterion, value: Value | None, *others: Value) -> float:
    """Return how far a simulation with this value misses a criterion; `others` are the values of other simulations."""
    check = Check(criterion=criterion, verdict=Verdict.FAILED, metric="m", simulations=("s",))
    values = {f"other {place}": other for place, other in enumerate(others)}
    values = values if value is None else values | {"s": value}
    sample = Sample(metric=Metric(id="m", name="M"), values=values, total=len(values))
    return miss_distance(check, sample, value, None)


@pytest.mark.parametrize(
    ("criterion", "value", "expected"),
    [
        (threshold("M: max < 2"), 3.0, 0.5),
        (threshold("M: avg >= 4"), 3.0, 0.25),
        (threshold("M: min != 2"), 2.0, 1.0),
        (threshold("M: rate(YES) >= 90%"), "NO", 1.0),
        (threshold("M: missing == 0"), None, 1.0),
        (target("lte", 2.0), 3.0, 0.5),
        (target("bt", 4.0, 2.0), 1.0, 0.5),
        (target("nbt", 4.0, 2.0), 2.5, 0.25),
        (target("eq", 4.0), 3.0, 0.25),
        (target("neq", 4.0), 4.0, 1.0),
        (target("in", None, None, "1"), 0.0, 1.0),
    ],
)
def test_distance_is_relative_to_bound(criterion: Criterion, value: Value | None, expected: float) -> None:
    assert distance(criterion, value) == pytest.approx(expected)


def test_distance_from_zero_is_relative_to_largest_value() -> None:
    assert distance(threshold("M: max <= 0"), 2.0, -8.0, 4.0) == 0.25
    assert distance(threshold("M: max < 0"), 0.0) == 0.0
