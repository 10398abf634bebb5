"""Which test cases fail always, and which only sometimes, over several runs of the same selection. Pure and total.

A conversation fails if it misses a criterion that any of the runs failed, so every run is held to the same standard: a
test case that fails each time fails consistently, even if one of the runs passed as a whole.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from coval_gate.judge.judgement import CaseStability
from coval_gate.judge.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.judge.checks import Check
    from coval_gate.judge.judgement import Judgement


def failing_simulations(judgements: Sequence[Judgement], together: Sequence[Check]) -> frozenset[str]:
    """Return the ids of the simulations that miss a criterion that any of these runs, or all of them together, failed.

    `together`: the checks of all runs together.
    """
    failed = {
        (check.criterion, check.variant): check
        for check in (*(check for judgement in judgements for check in judgement.checks), *together)
        if check.decides and check.verdict is Verdict.FAILED
    }
    variants = [variant for judgement in judgements for variant in judgement.variants]
    return frozenset(
        simulation
        for variant in variants
        for check in failed.values()
        if check.variant == variant.name
        for simulation in check.criterion.missing_it(variant, variant.find_sample(check.metric), check.measure)
    )


def stability_of(judgements: Sequence[Judgement], failing: frozenset[str]) -> tuple[CaseStability, ...]:
    """Return how often each test case failed, on each variant: consistent failures first.

    Simulations with an unknown test case are left out.
    """
    total: Counter[tuple[str, str]] = Counter()
    failed: Counter[tuple[str, str]] = Counter()
    for variant in (variant for judgement in judgements for variant in judgement.variants):
        for simulation in variant.simulations:
            place = (simulation.test_case_id, variant.name)
            total[place] += 1
            failed[place] += simulation.id in failing
    cases = (
        CaseStability(test_case_id=case, variant=variant, failed=failed[case, variant], total=count)
        for (case, variant), count in total.items()
        if case and failed[case, variant]
    )
    return tuple(sorted(cases, key=lambda case: -case.failed / case.total))
