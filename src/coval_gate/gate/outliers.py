"""The one value that moves an average: without it, the verdict would differ, and without no other one. Pure.

An average blames no single simulation, because some of many values are always the largest, by chance. A value that
decides alone is another matter: reports name it, and leave it to the reader whether that call was special.
"""

from collections.abc import Callable
from dataclasses import replace

from coval_gate.gate.checks import Check
from coval_gate.gate.variants import Variant


def with_outlier(check: Check, variant: Variant, judged: Callable[[Variant], Check]) -> Check:
    """Return the check of a variant with the value that alone moves its average. `judged`: judges the variant again.

    Two values at each end are tried: those in between move it less.
    """
    threshold, sample = check.threshold, variant.find_sample(check.metric)
    if threshold is None or threshold.aggregate.name != "avg" or check.measure is None or sample is None:
        return check
    values = sorted((value, id_) for id_, value in sample.values.items() if isinstance(value, float))
    if len(values) < 2:
        return check
    ends = dict.fromkeys((*values[:2], *values[-2:]))
    moving = [value for value, id_ in ends if judged(variant.without(sample, id_)).verdict is not check.verdict]
    return replace(check, moved_by=moving[0]) if len(moving) == 1 else check
