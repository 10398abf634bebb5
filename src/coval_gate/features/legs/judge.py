"""Compares all legs of a step at once with what each refers to: a fall of every leg that none shows alone. Pure.

Half of the error of a step is for its legs, half for this: a family of one comparison for each threshold and variant
that several legs have. The unit is the test case. One that legs share is one unit in all of them, because they find the
same test cases hard; then each run of it has as many conversations of each leg, so that no leg weighs more before.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

from coval_gate.coval.model import COMPLETED, Metric, Simulation
from coval_gate.features.comparisons.family import Pairs, ruled
from coval_gate.features.comparisons.judge import comparisons, measured
from coval_gate.gate.criteria import Criteria, ThresholdHolds
from coval_gate.gate.judgement import Judgement, with_checks
from coval_gate.gate.measure import LeftOut
from coval_gate.gate.population import Judged
from coval_gate.gate.variants import Sample, Variant
from coval_gate.gate.verdict import ON_AGENT, Completed, Together, Verdict

NOW: Final = 0  # the judged run among the runs of a test case; a repetition is -1, the newest of the reference 1

Runs = Mapping[int, Sequence[Simulation]]  # of one test case in one leg


def compare_legs(legs: Sequence[tuple[Judgement | None, Criteria]]) -> Judgement | None:
    """Return the judgement of all legs together; None if nothing is compared in several of them.

    A leg without a verdict on its agent is left out. Each leg has applied its policy for doubt: here, doubt passes.
    """
    by_threshold: dict[tuple[object, ...], dict[int, Pairs]] = defaultdict(dict)
    for place, (judgement, criteria) in enumerate(legs):
        for pairs in _guards(judgement, criteria) if judgement else ():
            threshold, metric = pairs.threshold, pairs.metric.id if pairs.metric else ""
            key = (pairs.now.name, metric, threshold.aggregate, threshold.operator, threshold.bound)
            by_threshold[key].setdefault(place, pairs)
    shared = [members for members in by_threshold.values() if len(members) > 1]
    if not shared:
        return None
    taking_part = tuple(sorted({place for members in shared for place in members}))
    confidence = max(legs[place][1].confidence or 0.0 for place in taking_part)
    compared = []
    for members in (tuple(pairs.values()) for pairs in shared):
        criterion = ThresholdHolds(threshold=members[0].threshold, confidence=confidence, doubt_passes=True)
        own = measured(criterion, _joined(members), LeftOut())
        runs = sum(len({one.run_id for one in pairs.now.simulations}) for pairs in members)
        compared.append(own._replace(check=replace(own.check, runs=runs)))
    checks = []
    for check in ruled(compared, 1.0 - confidence, parts=2):
        measure = check.measure  # each leg reports its own simulations to blame, and test cases that flipped
        if measure and measure.comparison:
            measure = replace(measure, comparison=replace(measure.comparison, newly_failing=(), newly_passing=()))
        checks.append(replace(check, measure=measure, simulations=()))
    return with_checks(Judgement(Verdict.PASSED, COMPLETED, Together(taking_part, len(legs))), checks)


def _guards(judgement: Judgement, criteria: Criteria) -> Iterator[Pairs]:
    """Yield a leg's comparisons that guard against regressions, and decide."""
    if criteria.confidence is None or judgement.verdict not in ON_AGENT or not isinstance(judgement.cause, Completed):
        return
    result, variants = judgement.cause.result, judgement.variants
    run = Judged(result, variants, criteria, baseline=judgement.baseline, base=judgement.base)
    for compared in chain.from_iterable(comparisons(run).values()):
        if compared.guards and compared.pairs:
            yield compared.pairs


def _joined(members: Sequence[Pairs]) -> Pairs:
    units: dict[str, list[Runs]] = defaultdict(list)
    for place, pairs in enumerate(members):
        for case, judged in pairs.now.by_run.items():
            # Legs that ran once and legs that ran twice do not share a test case: its runs could not be permuted.
            unit = f"{case} {len(judged)}"
            runs = {NOW - age: run for age, run in enumerate(judged.values())}
            runs |= dict(enumerate(pairs.then.by_run[case].values(), start=NOW + 1))
            renamed = {
                age: [one._replace(id=_in_leg(place, one.id), test_case_id=unit) for one in run]
                for age, run in runs.items()
            }
            units[unit].append(renamed)
    compared = [unit for unit in map(_beside, units.values()) if max(unit, default=NOW) > NOW]
    # Runs of the same age in all legs are one run, whose conversations of a test case stay together.
    aged = [(age, one._replace(run_id=str(age))) for unit in compared for age, run in unit.items() for one in run]
    now, then = ([one for age, one in aged if (age > NOW) is earlier] for earlier in (False, True))
    metric = members[0].metric
    return Pairs(
        members[0].threshold,
        _joined_variant([pairs.now for pairs in members], now, metric),
        _joined_variant([pairs.then for pairs in members], then, metric),
        metric,
    )


def _in_leg(place: int, id_: str) -> str:
    """Return the id of a simulation in a leg: legs may share the run of a base agent."""
    return f"{place} {id_}"


def _beside(legs: Sequence[Runs]) -> Runs:
    """Return the runs of one test case in all legs that have it; of several legs, as many conversations in each run."""
    if len(legs) == 1:
        return legs[0]
    common = sorted(set[int].intersection(*(set(runs) for runs in legs)))
    fewest = [min(len(runs[at]) for at in common) if common else 0 for runs in legs]
    return {at: [one for runs, most in zip(legs, fewest, strict=True) for one in runs[at][:most]] for at in common}


def _joined_variant(variants: Sequence[Variant], simulations: Sequence[Simulation], metric: Metric | None) -> Variant:
    """Return one variant with these simulations of several legs; of metrics, it has the one that is compared."""
    samples = [variant.sample(metric) for variant in variants] if metric else []
    ids = {simulation.id for simulation in simulations}
    found = {_in_leg(place, id_): value for place, own in enumerate(samples) for id_, value in own.values.items()}
    values = {id_: value for id_, value in found.items() if id_ in ids}
    passing = (_in_leg(place, id_) for place, variant in enumerate(variants) for id_ in variant.passing)
    # The values of all legs are possible ones.
    possible = {id_: value for own in samples for id_, value in own.metric.values.items()}
    texts = frozenset[str]().union(*(own.metric.texts for own in samples))
    whole = [own.metric._replace(values=possible, elsewhere=texts) for own in samples[:1]]
    return replace(
        variants[0],
        simulations=tuple(simulations),
        completed=tuple(simulation for simulation in simulations if simulation.completed),
        passing=frozenset(ids.intersection(passing)),
        samples=tuple(Sample(metric=own, values=values, total=len(simulations)) for own in whole),
        alone=all(variant.alone for variant in variants),
        known=sum(variant.known for variant in variants),
        unlisted=0,
        even=True,
    )
