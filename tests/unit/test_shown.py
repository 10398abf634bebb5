"""No number that a report shows contradicts the verdict, the measured value, or another number beside it."""

import math
import random
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from baselines import baseline_of, earlier, judged, run_of
from coval_gate.coval.model import RunResult, Value
from coval_gate.gate.checks import Check
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.thresholds import Bound, Operator, Threshold, ThresholdSyntaxError
from coval_gate.report.document.criteria import CriterionFacts, criterion_of

NUMBER = re.compile(r"(?<![\w.,])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
CLOSE = 5e-9  # share of a number: below the digits that anybody reads
UNITS = ("", "s", "%")
FIGURES = ("avg", "med", "p(5)", "p(90)", "p(99)", "max", "stdev")
SIGNS = ("<", "<=", ">", ">=")
CONFIDENCES = (None, 0.6, 0.8, 0.9, 0.95, 0.99)


def near(rng: random.Random, value: float) -> float:
    """Return a number at a value, or close enough that usual digits do not tell them apart."""
    off = rng.choice((0.0, 1e-17, 1e-12, 1e-6, 1e-4, 3e-4, 1e-3, 4e-3, 1e-2, 0.1))
    moved = value * (1.0 + rng.choice((-1, 1)) * off)
    return moved if rng.random() < 0.5 else float(f"{moved:.{rng.randint(2, 6)}g}")


def drawn_run(rng: random.Random, run_id: str, cases: int, sizes: int, kind: str, spread: float) -> RunResult:
    scale, decimals = rng.choice((1.0, 1.0, 90.0, 2500.0)), rng.choice((0, 1, 3, 9))

    def value() -> Value | None:
        if rng.random() < 0.02:
            return None
        if kind == "rate":
            return "YES" if rng.random() < spread else "NO"
        return round(scale * (5.0 + spread * rng.lognormvariate(0, 1)), decimals)

    one_size = rng.random() < 0.7
    return run_of(
        run_id,
        {
            f"c{case:03}": [value() for _ in range(sizes if one_size else rng.randint(1, sizes))]
            for case in range(cases)
        },
        name="M",
    )


def drawn(rng: random.Random) -> Iterator[Check]:
    """Yield checks of one run, whose bounds are close to what they are compared with."""
    kind, unit = rng.choice(("rate", "figure", "figure")), rng.choice(UNITS)
    cases, sizes, confidence = rng.choice((2, 5, 10, 22, 40, 100)), rng.choice((1, 1, 3)), rng.choice(CONFIDENCES)
    spread = rng.choice((0.5, 0.9, 0.99, 1.0)) if kind == "rate" else rng.choice((0.0, 0.01, 1.0))
    state = rng.getstate()
    now = drawn_run(rng, "now", cases, sizes, kind, spread)
    if is_alike := rng.random() < 0.3:
        rng.setstate(state)
    baseline = baseline_of(earlier("old", 2, drawn_run(rng, "old", cases, sizes, kind, spread)))
    aggregate = "rate(YES)" if kind == "rate" else rng.choice(FIGURES)
    is_compared, operator = is_alike or rng.random() < 0.5, rng.choice(SIGNS)

    def check(bound: str) -> Check | None:
        try:
            judgement = judged(now, baseline, f"M: {aggregate} {operator} {bound}", confidence=confidence)
        except ThresholdSyntaxError:  # it asks for less than nothing, or for more than all
            return None
        found = [one for one in judgement.checks if one.criterion.kind == "threshold" and one.measure]
        return replace(found[0], metric_unit=unit) if found else None

    if (plain := check("baseline" if is_compared else "50%" if kind == "rate" else "5")) is None or not plain.measure:
        return
    yield plain
    compared, interval = plain.comparison, plain.measure.interval
    change = compared.change if compared else None
    ends = (interval.lower, interval.upper) if interval else (change.lower, change.upper) if change else ()
    earlier_value = compared.value if compared else 0.0
    for target in (plain.measure.value - earlier_value, *filter(math.isfinite, ends)):
        bound = near(rng, target)
        if not compared:
            text = f"{100 * bound!r}%" if kind == "rate" else repr(bound)
        elif rng.random() < 0.6 or kind == "rate" or not earlier_value:
            amount = abs(bound) * (100 if kind == "rate" else 1)
            text = f"baseline {'-' if bound < 0 else '+'} {amount!r}{'pp' if kind == 'rate' else ''}"
        elif rng.random() < 0.5 or abs(bound) > 0.9 * earlier_value:
            text = f"baseline * {abs(near(rng, (earlier_value + target) / earlier_value))!r}"
        else:
            text = f"baseline {'-' if bound < 0 else '+'} {abs(100 * bound / earlier_value)!r}%"
        if found := check(text):
            yield found


def numbers_in(text: str) -> list[float]:
    return [float(found.replace(",", "")) for found in NUMBER.findall(text)]


def holds(operator: Operator, value: float, bound: float) -> bool:
    if math.isclose(value, bound, rel_tol=CLOSE):
        return "=" in operator
    return (value < bound) is ("<" in operator)


def signed_ends(text: str) -> tuple[float, float]:
    """Return the bounds on a change that a claim shows."""
    lower, upper = -math.inf, math.inf
    text = text.partition(", ")[0]
    if text in ("", "as counted") or text.startswith("too few"):
        return lower, upper
    if text == "the same":
        return 0.0, 0.0
    if text.startswith("not "):
        return (0.0, upper) if text == "not lower" else (lower, 0.0)
    falls, rises = "lower" in text, "higher" in text
    sizes = numbers_in(text)
    if falls and rises:
        return -sizes[0], sizes[1]
    least, most = 0.0, math.inf
    if text.startswith("between"):
        least, most = sizes
    elif text.startswith("at least"):
        (least,) = sizes
    elif text.startswith("at most"):
        (most,) = sizes
        return (-most, upper) if falls else (lower, most)
    return (-most, -least) if falls else (least, most)


def ends_of(text: str) -> tuple[float, float]:
    sizes, text = numbers_in(text), text.partition(", ")[0]
    if text.startswith("between"):
        return sizes[0], sizes[1]
    at_least = sizes[0] if text.startswith("at least") else -math.inf
    return at_least, sizes[0] if text.startswith("at most") else math.inf


def contradictions(check: Check) -> Iterator[str]:
    shown, threshold, measure = criterion_of(check), check.threshold, check.measure
    assert threshold
    assert measure
    factor = 100.0 if measure.unit == "share" else 1.0
    requirement = check.requirement
    assert requirement
    number = threshold._replace(bound=Bound(requirement.bound))
    meets, value = number.holds(measure.value), numbers_in(shown.actual_text)[0]
    passed, failed = check.verdict is Verdict.PASSED, check.verdict is Verdict.FAILED
    if (passed and not meets) or (failed and meets):
        yield "verdict"
    yield from (f"facts: {problem}" for problem in _facts(shown))
    required, is_share = numbers_in(shown.required_text)[0], " without a value" not in shown.actual_text
    if is_share and holds(threshold.operator, value, required) is not meets:
        yield "value"
    if shown.margin_text and not numbers_in(shown.margin_text)[0]:
        yield "margin of nothing"
    if not check.comparison:
        lower, upper = ends_of(shown.claim_text)
        if is_share and not lower <= value <= upper:
            yield "value outside of bounds"
        worst, best = (upper, lower) if threshold.wants_less else (lower, upper)
        if passed and math.isfinite(worst) and not holds(threshold.operator, worst, required):
            yield "bound of a pass"
        if failed and math.isfinite(best) and holds(threshold.operator, best, required):
            yield "bound of a miss"
        return
    yield from _change_problems(check, shown, threshold, factor, meets=meets)


def _facts(shown: CriterionFacts) -> Iterator[str]:
    for lower, value, upper in (
        (shown.lower, shown.actual, shown.upper),
        (shown.change_lower, shown.change, shown.change_upper),
    ):
        if value is not None:
            slack = CLOSE * max(1.0, abs(shown.actual or 0.0))
            if not (lower is None or lower <= value + slack) or not (upper is None or upper >= value - slack):
                yield f"{lower} <= {value} <= {upper}"


def _change_problems(
    check: Check, shown: CriterionFacts, threshold: Threshold, factor: float, *, meets: bool
) -> Iterator[str]:
    compared, measure = check.comparison, check.measure
    assert compared
    assert measure
    margin = factor * (threshold.bound.of(compared.value) - compared.value)
    lower, upper = signed_ends(shown.claimed_text)
    counted = re.match(r"(\d+) of (\d+) (more|fewer)", shown.difference_text)
    if counted:
        difference = factor * int(counted[1]) / int(counted[2]) * (1 if counted[3] == "more" else -1)
    else:
        difference = numbers_in(shown.difference_text)[0]
    slack = CLOSE * max(0.1, abs(margin), factor * abs(compared.value))
    if not lower - slack <= difference <= upper + slack:
        yield "change outside of bounds"
    beyond = difference - margin if threshold.wants_less else margin - difference
    if meets and beyond > slack:
        yield "change of a hit beyond the margin"
    if not meets and beyond < -slack:
        yield "change of a miss within the margin"
    worst, most = (upper, margin) if threshold.wants_less else (-lower, -margin)
    if check.verdict is Verdict.PASSED and math.isfinite(worst) and worst > most + slack:
        yield "bound of a pass beyond the margin"
    relative = re.search(r"\(([-+][\d.,]+)%\)", shown.difference_text)
    if relative and threshold.bound.factor != 1.0 and compared.value > 0.0:
        percent, allowed = float(relative[1].replace(",", "")), 100.0 * margin / factor / compared.value
        past = percent - allowed if threshold.wants_less else allowed - percent
        if (meets and past > CLOSE * 100) or (not meets and past < -CLOSE * 100):
            yield "relative change on the wrong side"


@pytest.mark.parametrize("seed", range(12))
def test_no_shown_number_contradicts_the_verdict_or_the_value(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(40):
        for check in drawn(rng):
            for problem in contradictions(check):
                shown = criterion_of(check)
                texts = (shown.actual_text, shown.required_text, shown.claim_text, shown.margin_text)
                more = (shown.earlier_text, shown.difference_text, shown.claimed_text)
                pytest.fail(f"{problem}: {shown.criterion} {check.verdict}: {texts} {more} {shown.reason}")
