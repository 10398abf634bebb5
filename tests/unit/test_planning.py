import pytest

from coval_gate.gate.statistics import FEWEST_CASES, needed
from coval_planner.passing import cases_to_pass, chances, fewest_misses, most_misses
from selection import some_of


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, (5, 8, 11, 13, 18)), (0.9, (29, 46, 61, 76, 103)), (0.99, (299, 473, 628, 773, 1049))]
)
def test_conversations_that_a_rate_needs(share: float, expected: tuple[int, ...]) -> None:
    assert tuple(needed(share, misses, 0.95) for misses in (0, 1, 2, 3, 5)) == expected


def test_a_rate_of_100_percent_can_never_be_shown() -> None:
    assert needed(1.0, 0, 0.95) is None


@pytest.mark.parametrize(("count", "misses"), [(5, 3), (10, 4), (20, 5), (50, 10), (100, 16), (200, 28)])
def test_misses_that_show_that_a_rate_is_too_low(count: int, misses: int) -> None:
    assert fewest_misses(0.9, count, 0.95) == misses


def test_runs_that_are_too_small_to_decide() -> None:
    assert most_misses(0.9, 28, 0.95) is None
    assert most_misses(0.9, 29, 0.95) == 0
    assert fewest_misses(0.02, 20, 0.95) is None


@pytest.mark.parametrize(
    ("truth", "count", "passed", "failed"),
    [
        (0.80, 50, 0, 56),
        (0.95, 50, 28, 0),
        (0.99, 50, 91, 0),
        (0.85, 100, 0, 43),
        (0.95, 200, 80, 0),
        (0.8, 200, 0, 99),
    ],
)
def test_chances_of_a_verdict(truth: float, count: int, passed: int, failed: int) -> None:
    likely = chances(0.9, truth, count, 0.95)

    assert (round(likely.passed * 100), round(likely.failed * 100)) == (passed, failed)


@pytest.mark.parametrize(("truth", "cases"), [(0.95, 203), (0.97, 89), (0.99, 46)])
def test_cases_that_a_good_agent_needs_to_pass(truth: float, cases: int) -> None:
    assert cases_to_pass(0.9, truth, 0.95) == cases


@pytest.mark.parametrize("share", some_of([0.5, 0.8, 0.9], 0.9))
@pytest.mark.parametrize("gain", some_of([(0.3, 0.8), (0.5, 0.5), (0.5, 0.9), (0.9, 0.8)], (0.5, 0.9), (0.9, 0.8)))
def test_more_cases_than_needed_do_as_well(share: float, gain: tuple[float, float]) -> None:
    """The chance to pass rises in teeth: it falls with each case that allows for no further miss."""
    better, power = gain
    truth = share + better * (1 - share)
    cases = cases_to_pass(share, truth, 0.95, power=power)
    assert cases is not None
    passed = {count: chances(share, truth, count, 0.95).passed for count in range(cases - 1, cases + 60)}

    assert passed.pop(cases - 1) < power
    assert all(chance >= power for chance in passed.values())


def test_one_conversation_decides_nothing() -> None:
    assert needed(0.02, 0, 0.95) == FEWEST_CASES
    assert most_misses(0.02, 1, 0.95) is None
    assert fewest_misses(0.98, 1, 0.95) is None
    assert chances(0.98, 0.5, 1, 0.95) == (0, 0)


def test_an_agent_at_the_threshold_cannot_be_shown_to_be_better() -> None:
    assert cases_to_pass(0.9, 0.9, 0.95) is None
