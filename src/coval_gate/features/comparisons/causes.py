"""What the history of a failing test case shows, and whether its failure is new. Pure and total.

What is counted is a fact: "passed 9 of 9 before". That a failure is new is a claim, because agents that did not change
fail now and then, too. So it is made only if it is more likely than not.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from coval_gate.coval.model import BASE, RunResult
from coval_gate.features.comparisons.judge import Counterpart, References, metrics_about
from coval_gate.features.confidence.bounds import beta_binomial
from coval_gate.gate.checks import Check
from coval_gate.gate.findings import Before
from coval_gate.gate.judgement import Judgement
from coval_gate.gate.statistics import HALF, Hits, mean, stdev
from coval_gate.gate.variants import Variant
from coval_gate.inputs.thresholds import Reference

BROKEN_FAILS: Final = 0.95  # of the conversations of a test case that broke
DISCOUNT: Final = 0.5  # standard errors of the fall that may be chance


def new_failures(earlier: Mapping[str, Hits], now: Mapping[str, Hits]) -> frozenset[str]:
    """Return the ids of the test cases whose failure is more likely new than not.

    `fallen` is the share of test cases that broke, as far as the mean fall of the rates shows it. A test case that did
    not break still has its own rate of hits, whose prior is worth one conversation at the mean rate before: Beta(p,
    1 - p). That rate counts half a hit in one conversation more, or Beta would have a parameter of 0 where all passed.
    """
    before = {case: then for case, then in earlier.items() if case in now}
    falls = sorted(then.share - now[case].share for case, then in before.items())
    if len(falls) < 2:
        return frozenset()
    # The mean fall, less the part of its standard error that chance may explain.
    fallen = mean(falls) - DISCOUNT * stdev(falls) / math.sqrt(len(falls))
    if fallen <= 0.0:
        return frozenset()
    usual = (math.fsum(then.share for then in before.values()) + HALF) / (len(before) + 1.0)

    def is_new(then: Hits, now: Hits) -> bool:
        """A test case that mostly failed before is not new, however far the agent fell."""
        misses = now.size - now.hits
        broke = BROKEN_FAILS**misses * (1.0 - BROKEN_FAILS) ** now.hits
        same = [*beta_binomial(now.size, usual + then.hits, 1.0 - usual + then.size - then.hits)][now.hits]
        return misses > 0 and then.share > HALF and fallen * broke >= (1.0 - fallen) * same

    return frozenset(case for case, then in before.items() if is_new(then, now[case]))


class Earlier:
    """The runs that a judgement compares with, also for criteria that compare with a number. `kind`: empty without one.

    Runs with another persona, changed test cases, and metrics of another judge version are left out.
    """

    def __init__(self, judgement: Judgement, result: RunResult, variants: Sequence[Variant]) -> None:
        self._result = result
        self._references = References(result, variants, judgement.baseline, judgement.base)
        # Prefer earlier runs, then another agent, then the agent beside its mutations.
        self.kind: Reference = "base" if any(check.reference == "base" for check in judgement.checks) else ""
        if judgement.base and judgement.base.runs:
            self.kind = "base_agent"
        if judgement.baseline and judgement.baseline.runs:
            self.kind = "baseline"

    def by_case(self, check: Check, variant: Variant) -> dict[str, Before]:
        """Return how each test case did in the comparable runs of the reference, if that is known."""
        if not self.kind or check.problem is not None or (self.kind == "base" and variant.name == BASE):
            return {}
        metric = next((metric for metric in self._result.metrics if metric.id == check.metric), None)
        aggregate = check.threshold.aggregate if check.threshold else None
        found = self._references.of(self.kind, variant, metrics_about(aggregate, metric, self._result))
        if not isinstance(found, Counterpart):
            return {}
        then = found.variant
        numbers = then.numbers(metric) if metric and then.find_sample(metric.id) else {}
        means = {case: math.fsum(values) / len(values) for case, values in numbers.items()}
        records = _records(check, then)
        new = new_failures(records, _records(check, variant))
        return {case: Before(record, means.get(case), case in new) for case, record in records.items()}


def _records(check: Check, variant: Variant) -> dict[str, Hits]:
    """Return how often each test case met a criterion; conversations without the metric's value are left out."""
    sample = variant.find_sample(check.metric) if check.metric else None
    if check.metric and (sample is None or sample.metric.summary is not None):
        return {}
    missing = frozenset(check.criterion.missing_it(variant, sample, check.measure))
    usable = {
        case: [simulation for simulation in ids if sample is None or simulation in sample.values]
        for case, ids in variant.by_case.items()
        if case
    }
    return {case: Hits(len(ids) - len(missing.intersection(ids)), len(ids)) for case, ids in usable.items() if ids}
