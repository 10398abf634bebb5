"""Which thresholds the runs of a step can decide, and how often, as far as the sizes of the runs are known.

An agent gets worse in two ways: every test case fails a little more often, or some test cases always fail. How often a
rate beside a baseline is red then, drawn runs show. All randomness is passed in.
"""

from collections.abc import Iterator, Sequence
from math import comb
from random import Random
from typing import Final, NamedTuple, Protocol

from coval_gate.base.text import percent, plural
from coval_gate.features.comparisons.changes import RateChange
from coval_gate.features.comparisons.permutation import HitPair
from coval_gate.features.comparisons.words import cases_to_compare
from coval_gate.features.confidence.words import cases_needed
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.statistics import Hits
from coval_gate.inputs.thresholds import Threshold
from coval_gate.step.leg import Leg
from coval_gate.step.sizes import most_cases_of
from coval_gate.step.step import Step

DRAWN: Final = 200  # runs: enough to know a share to a few points
CASE_SHARE: Final = 0.3  # of the variance of conversations, due to the test case
BETTER, WORSE = 0.95, 0.85  # the rates of a plan's example
ENOUGH_RUNS: Final = 3  # of a baseline, which show whole cases that break
MOST_CASES: Final = 100  # beyond it, nearly every fall of the example is red
UNCHANGED: Final = (0.9, 0.95)  # true rates of every test case


def legs_by_thresholds(step: Step) -> list[list[Leg]]:
    """Return the legs, those with the same thresholds together."""
    groups: dict[tuple[object, ...], list[Leg]] = {}
    for leg in step.legs or [Leg(step.inputs)]:
        groups.setdefault((leg.inputs.thresholds, leg.inputs.confidence, leg.inputs.spend), []).append(leg)
    return [*groups.values()]


def warn_of_undecidable(step: Step) -> None:
    """Warn of the thresholds that a run can never decide, as far as its size is known."""
    for line in dict.fromkeys(line for legs in legs_by_thresholds(step) for line in undecidable_lines(step, legs)):
        step.warn(line)


def undecidable_lines(step: Step, legs: Sequence[Leg]) -> Iterator[str]:
    counted = [leg for leg in legs if most_cases_of(leg)]
    if counted and legs[0].inputs.confidence is not None:
        smallest = min(counted, key=most_cases_of)
        criteria = Criteria.from_inputs(smallest.inputs, legs=len(step.legs))
        yield from undecidable_texts(criteria, most_cases_of(smallest))


def undecidable_texts(criteria: Criteria, cases: int) -> Iterator[str]:
    """Yield each threshold that can never pass with so many test cases or, if it guards against a regression, fail."""
    guards = [one for one in criteria.thresholds if one.guards and one.takes_confidence and not one.advisory]
    family = max(1, len(guards)) * (1 + criteria.mutations) * criteria.parts
    few, confidence = plural(cases, "test case"), f"with {percent(criteria.confidence or 0.0)} confidence"
    for threshold in criteria.thresholds:
        text = threshold.text
        if threshold.bound.reference:
            at_once, iterations = family if threshold in guards else 1, criteria.iterations or 1
            runs = criteria.baseline_runs if threshold.bound.reference == "baseline" else 1
            least = cases_to_compare(threshold, criteria.confidence, iterations=iterations, runs=runs, family=at_once)
            what, how = ("pass", "good") if threshold.asks_for_improvement else ("fail", "bad")
            enough = f"; with {least:,}, it can" if least else ""
            never = f"with {few}, {text} can never {what} {confidence}, however {how} the agent is{enough}"
        else:
            least = cases_needed(threshold, criteria.confidence)
            enough = f"; {least:,} can" if least else ""
            never = f"{few} can never show {text} {confidence}, however good the agent is{enough}"
        if least is None or least > cases:
            yield f"{threshold.place}: {never}."


def power_lines(step: Step, legs: Sequence[Leg]) -> Iterator[str]:
    """Yield how often the smallest leg is red if its agent gets worse, and the largest if it does not change."""
    largest = max(legs, key=most_cases_of)
    if most := most_cases_of(largest):
        yield from chance_texts(Criteria.from_inputs(largest.inputs), most)
    counted = [leg for leg in legs if most_cases_of(leg) and not (leg.slices or leg.inputs.accept)]
    if counted and legs[0].inputs.confidence is not None:
        smallest = min(counted, key=most_cases_of)
        criteria = Criteria.from_inputs(smallest.inputs, legs=len(step.legs))
        yield from power_texts(criteria, most_cases_of(smallest), Random(1))  # noqa: S311 - the same each time, no secret


class Generator(Protocol):
    """A generator of random numbers, such as random.Random."""

    def random(self) -> float: ...
    def betavariate(self, alpha: float, beta: float) -> float: ...


class Fall(NamedTuple):
    """The true rates `before` and `now`; a baseline of so many `runs`, each with `iterations` of a test case, as now.

    `breaks`: some test cases always fail now; otherwise, every one fails more often, in proportion to its rate.
    """

    before: float
    now: float
    runs: int = 1
    iterations: int = 1
    breaks: bool = False
    case_share: float = CASE_SHARE


def drawn(fall: Fall, rng: Generator) -> HitPair:
    """Return the conversations of one test case. The better agent's rate varies over test cases."""
    better = max(fall.before, fall.now)
    rate = better
    if 0.0 < fall.case_share < 1.0 and 0.0 < better < 1.0:
        weight = (1.0 - fall.case_share) / fall.case_share
        rate = rng.betavariate(better * weight, (1.0 - better) * weight)
    before, now = (rate * truth / better if better else 0.0 for truth in (fall.before, fall.now))
    if fall.breaks:
        now = before if rng.random() < fall.now / fall.before else 0.0
    earlier = {str(run): _hits(before, fall.iterations, rng) for run in range(fall.runs)}
    base = Hits(sum(run.hits for run in earlier.values()), fall.runs * fall.iterations)
    return HitPair(_hits(now, fall.iterations, rng), base, runs=earlier)


def is_red(threshold: Threshold, pairs: list[HitPair], error: float) -> bool:
    """Return whether a rate is shown to be worse at this level, and misses the threshold as counted."""
    now, before = (
        sum(side.hits for side in sides) / sum(side.size for side in sides)
        for sides in ([pair.now for pair in pairs], [pair.base for pair in pairs])
    )
    is_missed = not threshold.against(before).holds(now)
    return is_missed and RateChange(pairs).shows(error, rises=threshold.wants_less)


def power_texts(criteria: Criteria, cases: int, rng: Generator) -> Iterator[str]:
    """Yield for each rate beside a baseline how often a fall of ten points is red, in both ways to get worse."""
    guards = [one for one in criteria.thresholds if one.guards and one.takes_confidence and not one.advisory]
    error = (1.0 - (criteria.confidence or 0.0)) / (len(guards) * (1 + criteria.mutations) * criteria.parts or 1)
    for threshold in guards if 1 < cases <= MOST_CASES else ():
        if not threshold.aggregate.is_rate or threshold.bound.reference != "baseline":
            continue

        def red(runs: int, *, breaks: bool, threshold: Threshold = threshold) -> str:
            fall = Fall(BETTER, WORSE, runs, criteria.iterations or 1, breaks)
            often = sum(_is_drawn_red(threshold, fall, cases, error, rng) for _ in range(DRAWN))
            return f"{5 * round(20 * often / DRAWN)}%"

        ends = (1.0 - BETTER, 1.0 - WORSE) if threshold.wants_less else (BETTER, WORSE)
        runs, moves = criteria.baseline_runs, "rises" if threshold.wants_less else "falls"
        moves += f" from {percent(ends[0])} to {percent(ends[1])}"
        text = (
            f"With {plural(cases, 'test case')} and {plural(runs, 'earlier run')}, {threshold.text} is red in about "
            f"{red(runs, breaks=False)} of runs if the rate {moves} because every test case gets a little worse, and "
            f"in about {red(runs, breaks=True)} if whole test cases break"
        )
        if runs < ENOUGH_RUNS:
            more = f"{red(ENOUGH_RUNS, breaks=False)} and {red(ENOUGH_RUNS, breaks=True)}"
            text += f"; with {ENOUGH_RUNS} earlier runs, in about {more}"
        yield f"{text}."


def red_by_chance(threshold: Threshold, truth: float, cases: int, iterations: int) -> float:
    """Return how likely any test case misses a bound on each, if all succeed with this true rate."""
    weights = (
        comb(iterations, hits) * truth**hits * (1.0 - truth) ** (iterations - hits) for hits in range(iterations)
    )
    miss = sum(weight for hits, weight in enumerate(weights) if not threshold.holds(hits / iterations))
    return 1.0 - (1.0 - miss) ** cases


def chance_texts(criteria: Criteria, cases: int) -> Iterator[str]:
    """Yield for each bound on every test case how often an agent that did not change is red."""
    iterations, variants = criteria.iterations or 1, 1 + criteria.mutations
    for threshold in (one for one in criteria.thresholds if one.aggregate.kind.is_lowest and not one.advisory):
        red = [percent(red_by_chance(threshold, truth, cases * variants, iterations)) for truth in UNCHANGED]
        yield (
            f"With {plural(cases, 'test case')} and {plural(iterations, 'conversation')} of each, {threshold.text} is "
            f"red in {red[0]} of runs if every test case succeeds in {percent(UNCHANGED[0])} of its conversations, and "
            f"in {red[1]} if in {percent(UNCHANGED[1])}."
        )


def _is_drawn_red(threshold: Threshold, fall: Fall, cases: int, error: float, rng: Generator) -> bool:
    pairs = [drawn(fall, rng) for _ in range(cases)]
    return is_red(threshold, [*map(_mirrored, pairs)] if threshold.wants_less else pairs, error)


def _mirrored(pair: HitPair) -> HitPair:
    """Return the same conversations with misses for hits."""
    now, base, *runs = (Hits(side.size - side.hits, side.size) for side in (pair.now, pair.base, *pair.runs.values()))
    return HitPair(now, base, runs=dict(zip(pair.runs, runs, strict=True)))


def _hits(rate: float, size: int, rng: Generator) -> Hits:
    return Hits(sum(rng.random() < rate for _ in range(size)), size)
