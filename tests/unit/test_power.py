"""Plans against a baseline agree with the figures that were measured for the methods."""

from random import Random

import pytest

from coval_gate.inputs.thresholds import Threshold, parse_thresholds
from coval_planner.power import Agents, Level, cases_to_decide, chance, misses

pytestmark = pytest.mark.untraced


def parsed(threshold: str) -> Threshold:
    (found,) = parse_thresholds(threshold)
    return found


def seeded() -> Random:
    return Random(1)


@pytest.mark.parametrize(("earlier", "iterations", "least", "most"), [(1, 1, 37, 39), (3, 3, 12, 15)])
def test_averages_take_as_many_test_cases_as_the_formula_says(
    earlier: int, iterations: int, least: int, most: int
) -> None:
    """Latencies with sigma 0.5 that are longer by 30 %: 38 test cases with one conversation each, 14 with three."""
    agents = Agents(1.0, 1.3, 0.3, earlier, iterations, spread=0.533)

    cases = cases_to_decide(parsed("Latency: avg <= baseline"), agents, Level(0.95), seeded)

    assert cases
    assert least <= cases <= most


@pytest.mark.long
def test_rates_take_as_many_test_cases_as_runs_that_are_drawn_show() -> None:
    """`make statistics` measures 71 % with 50 test cases that differ no more than by chance."""
    threshold, agents = parsed("Resolved: rate(YES) >= baseline"), Agents(0.95, 0.8, 0.0)

    assert chance(threshold, agents, 50, Level(0.95), seeded()) == pytest.approx(0.71, abs=0.08)
    assert cases_to_decide(threshold, agents, Level(0.95), seeded) == pytest.approx(60, abs=8)


@pytest.mark.parametrize(
    ("threshold", "agents"),
    [
        pytest.param("Resolved: rate(YES) >= baseline - 5pp", Agents(0.95, 0.6, 0.3), marks=pytest.mark.long),
        ("Latency: avg <= baseline * 1.1", Agents(1.0, 1.3, 0.3, spread=0.533)),
    ],
)
def test_one_of_many_thresholds_takes_more_test_cases(threshold: str, agents: Agents) -> None:
    alone, among = (cases_to_decide(parsed(threshold), agents, Level(0.95, family), seeded) for family in (1, 10))

    assert alone
    assert among
    assert 1.3 < among / alone < 2.5


def test_margin_is_counted_and_the_change_is_shown() -> None:
    """`make statistics` measures 77 % with 50 test cases, as many as without a margin."""
    agents = Agents(0.95, 0.8, 0.3)
    without, small, large = (
        chance(parsed(f"m: rate(YES) >= baseline{margin}"), agents, 50, Level(0.95), seeded())
        for margin in ("", " - 5pp", " - 14pp")
    )

    assert without == pytest.approx(0.77, abs=0.08)
    assert small == pytest.approx(without, abs=0.03)
    assert large < 0.6


@pytest.mark.parametrize(
    ("threshold", "before", "now", "expected"),
    [
        ("m: rate(YES) >= baseline - 5pp", 0.95, 0.8, True),
        ("m: rate(YES) >= baseline - 5pp", 0.95, 0.95, False),
        ("m: rate(YES) >= baseline + 5pp", 0.8, 0.8, True),
        ("m: avg <= baseline * 1.1", 1.0, 1.2, True),
        ("m: avg <= baseline * 1.1", 1.0, 1.05, False),
    ],
)
def test_agent_that_does_not_meet_a_threshold_should_fail(
    threshold: str, before: float, now: float, *, expected: bool
) -> None:
    assert misses(parsed(threshold), Agents(before, now, 0.3)) is expected


@pytest.mark.parametrize("icc", [0.0, 0.3, 1.0])
def test_agents_that_never_or_always_succeed(icc: float) -> None:
    threshold = parsed("m: rate(YES) >= baseline - 5pp")
    assert chance(threshold, Agents(1.0, 0.0, icc), 20, Level(0.95), seeded()) == 1.0
    assert 0.0 <= chance(threshold, Agents(0.0, 0.0, icc), 20, Level(0.95), seeded()) <= 1.0


def test_change_to_the_bound_itself_is_never_decided() -> None:
    assert cases_to_decide(parsed("m: avg <= baseline"), Agents(1.0, 1.0, 0.3, spread=0.5), Level(0.95), seeded) is None
