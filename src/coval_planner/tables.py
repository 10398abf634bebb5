"""The tables of docs/planning.md and docs/confidence.md: what common thresholds need, at a confidence of 95 %."""

import math
from random import Random
from typing import Final

from coval_gate.base.text import percent
from coval_gate.gate.claims import MOST_TRIED
from coval_gate.gate.statistics import t_quantile
from coval_gate.inputs.thresholds import Threshold, parse_thresholds
from coval_gate.step.power import UNCHANGED, red_by_chance
from coval_planner.passing import cases_to_pass, chances, fewest_misses, most_misses
from coval_planner.power import Agents, Level, cases_to_decide, chance

CONFIDENCE: Final = 0.95
ICC: Final = 0.3  # of the variance is due to the test case
SEED: Final = 1  # of the simulated runs; always the same
BOUNDS: Final = (0.8, 0.9, 0.95)
MARGINS: Final = (0.25, 0.5, 0.75, 0.9)  # of the misses that a bound allows, fewer are true
RATES_BEFORE: Final = (0.99, 0.95, 0.9, 0.8)
DROPS: Final = (0.1, 0.15, 0.2, 0.3)
RATE: Final = "metric: rate(YES) >= baseline - 5pp"
AVERAGE: Final = "metric: avg <= baseline * 1.1"
SPREADS: Final = (0.25, 0.5, 1.0)  # standard deviation of the values, as a share of their mean
GROWTHS: Final = (0.15, 0.2, 0.3, 0.5)
CASES: Final = 20  # test cases, as most teams have
HIT_SHARES: Final = (  # the share that must be hits
    ("`rate(YES) >= 80%`", 0.8),
    ("`rate(YES) >= 90%`, `p(90) < x`", 0.9),
    ("`rate(YES) >= 95%`, `p(95) < x`", 0.95),
    ("`med < x`", 0.5),
)
SPREAD: Final = 0.5
FROM: Final = 0.95
FALLS: Final = (0.9, 0.85, 0.8)
DESIGNS: Final = ((1, 1), (1, 3), (3, 3), (7, 1))  # runs before, and the conversations of a case in each and now
BEYOND_BOUND: Final = 1e-9  # the bound, which a fall by the margin would meet
TEN: Final = 10
WORST: Final = ("worst(YES) > 0%", "worst(YES) >= 50%")
CASES_CALLED: Final = (20, 50, 100)
CONVERSATIONS: Final = (2, 3, 5)  # of each test case


def passing() -> str:
    """Return how many test cases an agent needs to pass a bound on a rate, by its true rate."""
    rows = []
    for bound in BOUNDS:
        truths = [1.0 - (1.0 - bound) * (1.0 - margin) for margin in MARGINS]
        cells = [f"{counted(cases_to_pass(bound, truth, CONFIDENCE))} at {percent(truth)}" for truth in truths]
        rows.append([f"`rate(YES) >= {percent(bound)}`", *cells])
    return _table(["threshold", *(f"{percent(margin)} fewer misses" for margin in MARGINS)], rows)


def rates(befores: tuple[float, ...] = RATES_BEFORE, drops: tuple[float, ...] = DROPS) -> str:
    """Return how many test cases notice a drop of a rate. This simulates runs for a minute or more."""
    rows = [[percent(before), *(_noticing(RATE, before, before - drop) for drop in drops)] for before in befores]
    return _table(["true rate before", *(f"drops by {100 * drop:g}pp" for drop in drops)], rows)


def few() -> str:
    """Return how FEW test cases decide a threshold against a number, by the number of misses among them."""
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


def noticed(falls: tuple[float, ...] = FALLS) -> str:
    """Return how often FEW test cases notice falls of a rate. This simulates runs for half a minute."""

    def row(now: float, family: int = 1, *, breaks: bool = False) -> list[str]:
        level, threshold = Level(CONFIDENCE, family), _threshold(RATE)
        ends = FROM, now - BEYOND_BOUND, ICC
        agents = (Agents(*ends, runs, iterations, breaks=breaks) for runs, iterations in DESIGNS)
        chances = (chance(threshold, agent, CASES, level, Random(SEED)) for agent in agents)  # noqa: S311
        how = (percent(now), f"one of {family}" * (family > 1), "whole test cases break" * breaks)
        return [", ".join(filter(None, how)), *(f"{100 * one:.0f}%" for one in chances)]

    broken = [row(now, breaks=True) for now in falls[-2:]]
    rows = [*map(row, falls), row(falls[-1], TEN), *broken, row(falls[-1], TEN, breaks=True)]
    return _table(["falls to", *(f"{runs}×{each}/{each}" for runs, each in DESIGNS)], rows)


def worst() -> str:
    """Return how often an agent that did not change is red by a bound on every test case."""
    rows = [
        [f"`{bound}`", percent(truth), str(each), *(percent(share) for share in shares)]
        for bound in WORST
        for truth in UNCHANGED
        for each in CONVERSATIONS
        for shares in [[red_by_chance(_threshold(f"metric: {bound}"), truth, cases, each) for cases in CASES_CALLED]]
    ]
    header = ["threshold", "each test case succeeds in", "conversations of each"]
    return _table([*header, *(f"{cases} test cases" for cases in CASES_CALLED)], rows)


def averages() -> str:
    """Return how many test cases notice the growth of an average."""
    rows = [
        [percent(spread), *(_noticing(AVERAGE, 1.0, 1.0 + growth, spread) for growth in GROWTHS)] for spread in SPREADS
    ]
    return _table(["spread of the values", *(f"grows by {percent(growth)}" for growth in GROWTHS)], rows)


def _noticing(text: str, before: float, now: float, spread: float = 0.0) -> str:
    agents = Agents(before, now, ICC, spread=spread)
    return counted(cases_to_decide(_threshold(text), agents, Level(CONFIDENCE), lambda: Random(SEED)))  # noqa: S311


def _threshold(text: str) -> Threshold:
    (threshold,) = parse_thresholds(text)
    return threshold


def counted(cases: int | None) -> str:
    return f"{cases:,}" if cases else f"> {MOST_TRIED:,}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])
