"""The tables of docs/planning.md, docs/confidence.md and docs/twenty-test-cases.md, at a confidence of 95 %."""

import math
from bisect import bisect_left
from random import Random
from typing import Final

from coval_gate.base.text import percent
from coval_gate.features.comparisons.words import MOST_TRIED
from coval_gate.features.confidence.bounds import t_quantile
from coval_gate.features.planning.decidable import UNCHANGED, Fall, drawn, is_red, red_by_chance
from coval_gate.gate.statistics import POWER
from coval_gate.inputs.thresholds import Threshold, parse_thresholds
from coval_planner.passing import cases_to_pass, chances, fewest_misses, most_misses
from coval_planner.power import SIMULATED_RUNS, Agents, Level, cases_to_decide, chance

CONFIDENCE: Final = 0.95
ICC: Final = 0.3  # the share of the variance that is due to the test case
SEED: Final = 1  # of the simulated runs
BOUNDS: Final = (0.8, 0.9, 0.95)
MARGINS: Final = (0.5, 0.75, 0.9)  # how much smaller the true share of misses is than the bound allows
RATES_BEFORE: Final = (0.99, 0.95, 0.9)
DROPS: Final = (0.1, 0.2, 0.3)
RATE: Final = "metric: rate(YES) >= baseline - 5pp"
AVERAGE: Final = "metric: avg <= baseline * 1.1"
SPREADS: Final = (0.25, 0.5, 1.0)  # standard deviation of the values, as a share of their mean
GROWTHS: Final = (0.15, 0.2, 0.3)
CASES: Final = 20  # test cases, as most teams have
HIT_SHARES: Final = (  # the share that must be hits
    ("`rate(YES) >= 80%`", 0.8),
    ("`rate(YES) >= 90%`, `p(90) < x`", 0.9),
    ("`rate(YES) >= 95%`, `p(95) < x`", 0.95),
    ("`med < x`", 0.5),
)
SPREAD: Final = 0.5
FROM: Final = 0.95
BOUND: Final = 0.9
TRUTHS: Final = (0.99, 0.95, 0.9, 0.8, 0.7)
ITERATIONS: Final = (1, 3)  # of each of the CASES
NIGHTS: Final = 7  # runs of a baseline
BEYOND_BOUND: Final = 1e-9  # a fall by exactly the margin would meet the bound
WORST: Final = "worst(YES) > 0%"
CASES_CALLED: Final = (20, 50)
CONVERSATIONS: Final = (2, 3, 5)  # of each test case


def passing() -> str:
    """Return how many test cases an agent needs to pass a bound on a rate, by its true rate."""
    rows = []
    for bound in BOUNDS:
        truths = [1.0 - (1.0 - bound) * (1.0 - margin) for margin in MARGINS]
        cells = [f"{counted(cases_to_pass(bound, truth, CONFIDENCE))} at {percent(truth)}" for truth in truths]
        rows.append([f"`rate(YES) >= {percent(bound)}`", *cells])
    return _table(["threshold", *(f"misses −{percent(margin)}" for margin in MARGINS)], rows)


def rates(befores: tuple[float, ...] = RATES_BEFORE, drops: tuple[float, ...] = DROPS) -> str:
    """Return how many test cases notice a drop of a rate. The simulation takes minutes."""
    rows = [[percent(before), *(_noticing(RATE, before, before - drop) for drop in drops)] for before in befores]
    return _table(["before", *(f"by {100 * drop:g}pp" for drop in drops)], rows)


def few() -> str:
    """Return how CASES test cases decide a threshold with a number, by the number of misses among them."""
    rows = []
    for name, share in HIT_SHARES:
        most, fewest = (
            most_misses(share, CASES, CONFIDENCE),
            fewest_misses(share, CASES, CONFIDENCE) or CASES,
        )
        good, bad = (chances(share, 1.0 - factor * (1.0 - share), CASES, CONFIDENCE) for factor in (0.5, 2.0))
        passing, doubtful = ("never", 0) if most is None else (_range(0, most), most + 1)
        ends = (f"{100 * chance:.0f}%" for chance in (good.passed, bad.failed))
        rows.append([name, passing, _range(doubtful, fewest - 1), f"{fewest} or more", *ends])
    reach = t_quantile(CONFIDENCE, CASES - 1) * SPREAD / math.sqrt(CASES)
    low, high = (percent(round(1.0 / (1.0 + arm), 2)) for arm in (reach, -reach))
    rows.append(
        [f"`avg < x`, spread {percent(SPREAD)}", f"mean up to {low} of x", "between", f"from {high} of x", "", ""]
    )
    header = ("passes with", "inconclusive with", "fails with", "half the misses: passes", "twice the misses: fails")
    return _table([f"{CASES} test cases", *header], rows)


def _range(least: int, most: int) -> str:
    return str(most) if least == most else f"{least} to {most}"


def twenty() -> str:
    """Return what a team with CASES test cases sees. The simulation takes 15 s."""
    header = [f"{CASES} test cases", *(f"×{iterations}" for iterations in ITERATIONS)]
    return _table(header, [*counted_rows(), *_compared_rows()])


def counted_rows() -> list[list[str]]:
    """Return the rows of `twenty` about thresholds that are decided as counted."""
    lowest = _threshold(f"metric: {WORST}")
    rows = [[percent(truth), *(percent(red_as_counted(truth, count)) for count in ITERATIONS)] for truth in TRUTHS]
    lost = [
        [
            percent(truth),
            "–",
            *(percent(red_by_chance(lowest, truth, CASES, iterations)) for iterations in ITERATIONS[1:]),
        ]
        for truth in UNCHANGED
    ]
    rows[0][0] = f"`rate(YES) >= {percent(BOUND)}` is red at a true rate of {rows[0][0]}"
    lost[0][0] = f"`{WORST}` is red if each test case succeeds in {lost[0][0]}"
    return [*rows, *lost]


def red_as_counted(truth: float, iterations: int) -> float:
    """Return how likely a run of CASES is below BOUND. Their rates vary: hits are beta-binomial."""
    weight = (1.0 - ICC) / ICC
    case = [
        math.comb(iterations, hits)
        * _rising(truth * weight, hits)
        * _rising((1.0 - truth) * weight, iterations - hits)
        / _rising(weight, iterations)
        for hits in range(iterations + 1)
    ]
    law = [1.0]  # of the hits in all test cases
    for _ in range(CASES):
        law = [
            sum(law[total - hits] * share for hits, share in enumerate(case) if 0 <= total - hits < len(law))
            for total in range(len(law) + iterations)
        ]
    return sum(law[: math.ceil(round(BOUND * CASES * iterations, 9))])


def _rising(start: float, count: int) -> float:
    return math.prod(start + step for step in range(count))


def _compared_rows() -> list[list[str]]:
    """Return the rows of `twenty` about thresholds that compare with a baseline of NIGHTS runs."""
    level, rate, average = Level(CONFIDENCE), _threshold(RATE), _threshold(AVERAGE)

    def noticed(threshold: Threshold, agents: list[Agents]) -> int:
        """Return the index of the first agent, from better to worse, whose change enough runs notice."""
        return bisect_left(
            agents,
            True,
            key=lambda one: chance(threshold, one, CASES, level, Random(SEED)) >= POWER,  # noqa: S311
        )

    def fallen(iterations: int, *, runs: int = NIGHTS, breaks: bool = False) -> str:
        nows = [FROM - points / 100 for points in range(5, 60)]
        agents = [Agents(FROM, now - BEYOND_BOUND, ICC, runs, iterations, breaks=breaks) for now in nows]
        return percent(nows[noticed(rate, agents)])

    def grown(iterations: int) -> str:
        growths = [points / 100 for points in range(10, 60)]
        agents = [Agents(1.0, 1.0 + growth, ICC, NIGHTS, iterations, spread=SPREAD) for growth in growths]
        return percent(growths[noticed(average, agents)])

    def unchanged(iterations: int) -> str:
        rng = Random(SEED)  # noqa: S311 - a simulation
        passed = chance(rate, Agents(FROM, FROM, ICC, NIGHTS, iterations), CASES, level, rng)
        fall = Fall(FROM, FROM, NIGHTS, iterations, case_share=ICC)
        runs = ([drawn(fall, rng) for _ in range(CASES)] for _ in range(SIMULATED_RUNS))
        red = sum(is_red(rate, pairs, 1.0 - CONFIDENCE) for pairs in runs) / SIMULATED_RUNS
        return ", ".join(f"{100 * share:.0f}%" for share in (passed, 1.0 - passed - red, red))

    rate_text, average_text = (f"`{text.partition(': ')[2]}`" for text in (RATE, AVERAGE))
    return [
        [f"{rate_text}, unchanged at {percent(FROM)}: passes, inconclusive, red", *map(unchanged, ITERATIONS)],
        [f"… is red in {percent(POWER)} of runs after a fall from {percent(FROM)} to", *map(fallen, ITERATIONS)],
        ["… if whole test cases break", *(fallen(iterations, breaks=True) for iterations in ITERATIONS)],
        ["… with one run in the baseline", *(fallen(iterations, runs=1) for iterations in ITERATIONS)],
        [
            f"{average_text}, spread {percent(SPREAD)}: red in {percent(POWER)} after a growth by",
            *map(grown, ITERATIONS),
        ],
    ]


def worst() -> str:
    """Return how often a bound on every test case is red although the agent did not change."""
    threshold = _threshold(f"metric: {WORST}")
    rows = [
        [
            percent(truth),
            str(cases),
            *(percent(red_by_chance(threshold, truth, cases, iterations)) for iterations in CONVERSATIONS),
        ]
        for truth in UNCHANGED
        for cases in CASES_CALLED
    ]
    return _table(["succeeds in", "test cases", *(f"×{iterations}" for iterations in CONVERSATIONS)], rows)


def averages() -> str:
    """Return how many test cases notice the growth of an average."""
    rows = [
        [percent(spread), *(_noticing(AVERAGE, 1.0, 1.0 + growth, spread) for growth in GROWTHS)] for spread in SPREADS
    ]
    return _table(["spread", *(f"by {percent(growth)}" for growth in GROWTHS)], rows)


def _noticing(text: str, before: float, now: float, spread: float = 0.0) -> str:
    agents = Agents(before, now, ICC, spread=spread)
    return counted(cases_to_decide(_threshold(text), agents, Level(CONFIDENCE), lambda: Random(SEED)))  # noqa: S311


def _threshold(text: str) -> Threshold:
    (threshold,) = parse_thresholds(text)
    return threshold


def counted(cases: int | None) -> str:
    return f"{cases:,}" if cases else f"> {MOST_TRIED:,}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in [header, *rows]]
    return "\n".join([lines[0], f"|{'---|' * len(header)}", *lines[1:]])
