"""Which thresholds the runs of a step can decide, and how often, as far as the sizes of the runs are known."""

from collections.abc import Iterator, Sequence
from random import Random

from coval_gate.base.text import percent, plural
from coval_gate.features.comparisons.words import cases_to_compare
from coval_gate.features.confidence.words import cases_needed
from coval_gate.features.planning.power import chance_texts, power_texts
from coval_gate.gate.criteria import Criteria
from coval_gate.step.leg import Leg
from coval_gate.step.sizes import most_cases_of
from coval_gate.step.step import Step


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
