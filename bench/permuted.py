"""Experiments for `bench/noise.py` on rates beside a baseline: an unchanged agent, a weaker one, and cases that break.

Nights are compared with a baseline that does not change; red ones run again, and both runs decide. The rest of the
judge is left out, because it takes twenty times as long.
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise, product
from random import Random
from typing import Final, NamedTuple

from bench.experiments import CONFIDENCE, Experiment, Limit
from coval_gate.features.comparisons.permutation import Case, Permutation

ICC: Final = 0.3
CASES: Final = (5, 10, 20, 50)
BASELINES: Final = ((1, 1), (3, 1), (7, 1), (1, 3), (2, 3), (3, 3), (3, 5))  # runs, and conversations of a case in each
ALIKE: Final = (0.0, 0.1, 0.3)  # the correlation of conversations of one run, beyond that of one case
FAMILY: Final = 10
MARGIN: Final = 0.05
MONTH: Final = 30  # nights


class Size(NamedTuple):
    """The number of cases, of a baseline's runs, and of conversations of each case in a run."""

    cases: int
    runs: int
    each: int

    def __str__(self) -> str:
        return f"{self.cases} cases, {self.runs}x{self.each}/{self.each}"


def permutations() -> Iterator[Experiment]:
    """Yield how often a rate beside a baseline is red."""
    sizes = [Size(cases, *baseline) for cases, baseline in product(CASES, BASELINES)]
    several = [size for size in sizes if size.each > 1]
    demanded = [size for size in sizes if size.cases > 10 and size[1:] in ((3, 3), (7, 1))]
    for name, most, cells in (
        ("", 6.5, product(sizes, (0.95, 0.8), ALIKE[:1])),
        (", 20 and 50 cases, 3x3/3 and 7x1/1", 5.5, product(demanded, (0.95, 0.8), ALIKE[:1])),
        (", conversations of a run alike by .1 and .3", 7.0, product(several, (0.95, 0.8), ALIKE[1:])),
    ):
        limit = Limit(f"unchanged rate, `>= baseline`{name}: red", most)
        yield Experiment((limit,), tuple(partial(red, size, truth, alike=alike) for size, truth, alike in cells))
    for size, least, least_of_ten, how in (
        (Size(20, 3, 3), 78, 40, "all cases weaker"),
        (Size(20, 3, 3), 68, 44, "whole cases break"),
        (Size(50, 3, 3), 98, 88, "all cases weaker"),
        (Size(50, 3, 3), 90, 80, "whole cases break"),
        (Size(20, 7, 1), 55, 24, "all cases weaker"),
        (Size(50, 7, 1), 86, 64, "all cases weaker"),
        (Size(20, 1, 3), None, None, "whole cases break"),
    ):
        name = f"95 -> 85 %, {how}, `>= baseline`, {size}"
        limits = (Limit(name, least, least=True), Limit("  one of ten", least_of_ten, least=True))
        yield Experiment(limits, (partial(reds, size, breaks="break" in how),), times=2)
    for what, cases, stricter, spread, most, with_margin in (
        ("runs shift by 2 points", (50, 200), 0.0, 0.02, 17.0, 8.0),
        ("a judge stricter by 2 points", (50,), 0.02, 0.0, 27.0, 20.0),
        ("a judge stricter by 5 points", (50,), 0.05, 0.0, 60.0, 50.0),
    ):
        shown = " and ".join(map(str, cases))
        name = f"unchanged rate, {what}, {shown} cases, 7x1/1, `>= baseline`: red"
        limits = Limit(name, most), Limit("  the same, `>= baseline - 5pp`", with_margin)
        yield Experiment(limits, tuple(partial(shifted, Size(count, 7, 1), stricter, spread) for count in cases))


def nights() -> Iterator[Experiment]:
    """Yield how often nights are red beside a baseline of seven nights, if each red night runs again."""
    for size, (night, month, twice, sudden) in (
        (Size(50, 7, 1), (0.8, 16.0, 1.0, 75.0)),
        (Size(20, 7, 1), (None, 30.0, None, 54.0)),
        (Size(20, 7, 3), (None, 10.0, None, None)),
    ):
        yield Experiment(
            (
                Limit(f"unchanged rate, `>= baseline - 5pp`, {size}, red nights run again: red nights", night),
                Limit("  months with a red night", month),
                Limit("  months with two red nights in a row", twice),
                Limit("  red nights without that", None),
                Limit("  months with a red night without that", None),
                Limit("  95 -> 85 %: red in the first night", sudden, least=True),
                Limit("  red within three nights", None, least=True),
            ),
            (partial(month_of, size),),
            times=0.75,
        )


def month_of(size: Size, rng: Random) -> tuple[float, ...]:
    """Return how often an unchanged agent is red in a month, with and without running again, and then a weaker one."""
    shape = (1.0 - ICC) / ICC
    rates = [rng.betavariate(0.95 * shape, 0.05 * shape) for _ in range(size.cases)]
    before = [tuple(_run(rate, size.each, 0.0, rng) for _ in range(size.runs)) for rate in rates]

    def night(share: float) -> tuple[bool, bool]:
        """Return whether the night is red at first, and after both runs."""
        drawn = [tuple(_run(rate * share, size.each, 0.0, rng) for _ in range(2)) for rate in rates]

        def is_red(*places: int) -> bool:
            judged = (tuple(hits[place] for place in places) for hits in drawn)
            return _is_red([Case(hits, runs, size.each) for hits, runs in zip(judged, before, strict=True)])

        return is_red(0), is_red(0) and (is_red(1) or is_red(0, 1))

    once, both = zip(*(night(1.0) for _ in range(MONTH)), strict=True)
    in_a_row = any(first and second for first, second in pairwise(both))
    worse = [night(0.85 / 0.95)[1] for _ in range(3)]
    return sum(both) / MONTH, any(both), in_a_row, sum(once) / MONTH, any(once), worse[0], any(worse)


def _is_red(cases: list[Case]) -> bool:
    """Return whether a rate has fallen significantly, and by more than the margin as counted."""
    now, before = (
        sum(sum(side) / len(side) / case.size for case, side in zip(cases, sides, strict=True)) / len(cases)
        for sides in ([case.now for case in cases], [case.before for case in cases])
    )
    return now < before - MARGIN - 1e-9 and Permutation(cases).shows(1.0 - CONFIDENCE, rises=False)


def red(size: Size, truth: float, rng: Random, *, alike: float) -> tuple[bool]:
    """Return whether an unchanged agent is red. `alike`: the correlation of the conversations of a run."""
    return (_falls(drawn(size, truth, truth, rng, alike=alike), 1.0 - CONFIDENCE),)


def shifted(size: Size, stricter: float, spread: float, rng: Random) -> tuple[bool, bool]:
    """Return whether an unchanged agent is red, without and with a margin.

    Its judge is `stricter` in the last run by this share of the agent's 95 %, and all runs shift with a standard
    deviation of `spread`.
    """
    now, *before = (1.0 - (points + rng.gauss(0.0, spread)) / 0.95 for points in (stricter, *[0.0] * size.runs))
    shape = (1.0 - ICC) / ICC
    cases = []
    for _ in range(size.cases):
        rate = rng.betavariate(0.95 * shape, 0.05 * shape)
        judged, *earlier = (_run(rate * share, size.each, 0.0, rng) for share in (now, *before))
        cases.append(Case((judged,), tuple(earlier), size.each))
    return _falls(cases, 1.0 - CONFIDENCE), _is_red(cases)


def reds(size: Size, rng: Random, *, breaks: bool) -> tuple[bool, bool]:
    """Return whether a fall from 95 to 85 % is red, alone and at the strictest level of ten thresholds."""
    cases = drawn(size, 0.95, 0.85, rng, breaks=breaks)
    return _falls(cases, 1.0 - CONFIDENCE), _falls(cases, (1.0 - CONFIDENCE) / FAMILY)


def _falls(cases: list[Case], error: float) -> bool:
    fewer = sum(sum(case.now) / len(case.now) - sum(case.before) / len(case.before) for case in cases) < 0.0
    return fewer and Permutation(cases).shows(error, rises=False)


def drawn(
    size: Size, before: float, now: float, rng: Random, *, breaks: bool = False, alike: float = 0.0, judged: int = 1
) -> list[Case]:
    """Draw the runs of an agent whose rate falls: in each case in proportion, or since some cases always fail."""
    shape = (1.0 - ICC) / ICC
    cases = []
    for _ in range(size.cases):
        rate = rng.betavariate(before * shape, (1.0 - before) * shape)
        weaker = rate * float(rng.random() < now / before) if breaks else rate * now / before
        runs = [_run(share, size.each, alike, rng) for share in (*[weaker] * judged, *[rate] * size.runs)]
        cases.append(Case(tuple(runs[:judged]), tuple(runs[judged:]), size.each))
    return cases


def _run(rate: float, each: int, alike: float, rng: Random) -> int:
    if alike and 0.0 < rate < 1.0:
        shape = (1.0 - alike) / alike
        rate = rng.betavariate(rate * shape, (1.0 - rate) * shape)
    return sum(rng.random() < rate for _ in range(each))
