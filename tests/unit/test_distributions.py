import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.gate.statistics import beta_cdf, beta_quantile, normal_quantile, t_quantile

SHAPES = st.floats(0.5, 300)
LEVELS = st.floats(0.001, 0.999)


def beta(a: float, b: float, x: float) -> float:
    """Return the beta distribution's share below x, as mpmath has it. All of pytest's processes import this module."""
    import mpmath

    return float(mpmath.betainc(a, b, 0, x, regularized=True))


@given(st.floats(0, 1), SHAPES, SHAPES)
def test_beta_cdf_agrees_with_mpmath(x: float, a: float, b: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(beta(a, b, x), abs=1e-9)


@given(LEVELS, SHAPES, SHAPES)
def test_beta_quantile_is_the_inverse_of_the_cdf(p: float, a: float, b: float) -> None:
    quantile = beta_quantile(p, a, b)

    assert 0.0 <= quantile <= 1.0
    assert beta(a, b, quantile) == pytest.approx(p, abs=1e-9)


@given(LEVELS, st.integers(1, 600))
def test_t_quantile_is_the_inverse_of_the_cdf(p: float, degrees: int) -> None:
    quantile = t_quantile(p, degrees)
    beyond = beta(degrees / 2, 0.5, degrees / (degrees + quantile**2))

    assert (1 - beyond / 2 if quantile > 0 else beyond / 2) == pytest.approx(p, abs=1e-9)


def test_t_approaches_the_normal_distribution() -> None:
    assert t_quantile(0.95, 1e6) == pytest.approx(normal_quantile(0.95), rel=1e-5)
    assert normal_quantile(0.95) == NormalDist().inv_cdf(0.95)


@given(SHAPES, SHAPES, st.integers(-3, 3))
def test_the_point_where_the_continued_fraction_is_mirrored(a: float, b: float, steps: int) -> None:
    """Next to this point, rounding may put the variable and its mirror image both above their limits."""
    x = (a + 1) / (a + b + 2)
    for _ in range(abs(steps)):
        x = math.nextafter(x, math.copysign(math.inf, steps))

    assert beta_cdf(x, a, b) == pytest.approx(beta(a, b, x), abs=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "x"),
    [  # x is above (a + 1) / (a + b + 2), and 1 - x is above (b + 1) / (a + b + 2): rounded, both add up to less than 1
        (216.2, 90.9, 0.7026852151407311),
        (29.1, 298.7, 0.09126743480897515),
        (296.0, 13.1, 0.9546769527483124),
    ],
)
def test_a_point_above_the_limit_in_both_directions(a: float, b: float, x: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(beta(a, b, x), abs=1e-9)


def test_ends_of_the_beta_distribution() -> None:
    assert (beta_cdf(-1, 2, 3), beta_cdf(0, 2, 3), beta_cdf(1, 2, 3), beta_cdf(2, 2, 3)) == (0, 0, 1, 1)
    assert (beta_quantile(0, 2, 3), beta_quantile(1, 2, 3)) == (0, 1)
