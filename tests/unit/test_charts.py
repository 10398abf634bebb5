"""Charts of a metric's distribution: bars on both sides of a bound, and none without values."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coval_gate.coval.model import LARGEST
from coval_gate.report.charts import DrawnBound
from coval_gate.report.tables import BLUE, GREY, ORANGE
from rendering import compared_histogram, histogram

BOUNDS = {
    "<": DrawnBound(1.5, "<"),
    "<=": DrawnBound(1.5, "<="),
    ">": DrawnBound(1.5, ">"),
    ">=": DrawnBound(1.5, ">="),
}
EVEN = [0.25 * n for n in range(12)]  # 0 to 2.75; one of them is 1.5


def plots(chart: str) -> list[tuple[str, str, list[float]]]:
    """Return the colour, kind and numbers of each series; a bar that cannot be seen is 0."""
    palette = re.search(r'"plotColorPalette": "([^"]*)"', chart)
    series = re.findall(r"^    (bar|line) \[(.*)\]$", chart, re.MULTILINE)
    assert palette
    colours = palette[1].split(", ")
    return [
        (colour, kind, [max(0.0, float(share)) for share in shares.split(", ")])
        for colour, (kind, shares) in zip(colours, series, strict=True)
    ]


def labels(chart: str) -> list[str]:
    return re.findall(r'"([^"]*)"', re.findall(r"^    x-axis \[(.*)\]$", chart, re.MULTILINE)[0])


@pytest.mark.parametrize(
    ("operator", "beyond"), [("<", 6), ("<=", 5), (">", 7), (">=", 6)], ids=["less", "at most", "more", "at least"]
)
def test_values_beyond_bound_have_other_colour(operator: str, beyond: int) -> None:
    (blue, _, within), (orange, _, others) = plots(histogram(EVEN, BOUNDS[operator]))
    assert (blue, orange) == (BLUE, ORANGE)
    assert sum(others) == pytest.approx(100 * beyond / 12, abs=0.3)
    assert sum(within) == pytest.approx(100 - 100 * beyond / 12, abs=0.3)
    assert not any(one and other for one, other in zip(within, others, strict=True)), "no range is on both sides"


def test_ranges_meet_at_bound() -> None:
    chart = histogram(EVEN, DrawnBound(1.3857, "<"))
    assert labels(chart) == ["0 – 0.4", "0.4 – 1.4", "1.4 – 2.4", "2.4 – 3.4"], "labels are rounded to a tenth"


def test_baseline_is_line_over_both_colours() -> None:
    chart = compared_histogram(EVEN, [value - 0.5 for value in EVEN], BOUNDS["<"])
    assert [found[:2] for found in plots(chart)] == [(BLUE, "bar"), (ORANGE, "bar"), (GREY, "line")]


def test_ranges_without_values_have_no_bar() -> None:
    """Mermaid draws a bar of 0 with the height of half a label."""
    chart = histogram([0.0] * 10 + [9.0] * 10 + [3.0])
    axis = re.search(r'^    y-axis "% of simulations" 0 --> (\d+)$', chart, re.MULTILINE)
    assert axis
    (written,) = re.findall(r"^    bar \[(.*)\]$", chart, re.MULTILINE)
    shares = [*map(float, written.split(", "))]
    assert all(share > 0 or share < -float(axis[1]) / 20 for share in shares)
    assert min(shares) < 0, "the chart has such a range"


def test_line_of_baseline_reaches_zero() -> None:
    chart = compared_histogram([0.0] * 10 + [9.0] * 10, [3.0] * 10 + [0.0] * 10 + [9.0])
    (written,) = re.findall(r"^    line \[(.*)\]$", chart, re.MULTILINE)
    assert min(map(float, written.split(", "))) == 0


def test_ends_of_chart_hold_values() -> None:
    for bound in (None, *BOUNDS.values(), DrawnBound(99.0, "<")):
        shares = [sum(column) for column in zip(*(found[2] for found in plots(histogram(EVEN, bound))), strict=True)]
        assert shares[0] > 0
        assert shares[-1] > 0


@pytest.mark.parametrize("scale", [0.001, 1.0, 1234.5, 1e8])
def test_labels_fit_side_by_side(scale: float) -> None:
    chart = histogram([scale * n for n in range(2000)], DrawnBound(scale * 777.777, "<"))
    size = re.search(r'"labelFontSize": (\d+)', chart)
    assert size
    assert int(size[1]) == 9 or 0.6 * int(size[1]) * sum(map(len, labels(chart))) <= 640


@given(
    st.lists(st.floats(-LARGEST, LARGEST), min_size=10, max_size=30),
    st.builds(DrawnBound, st.floats(-LARGEST, LARGEST), st.sampled_from(list(BOUNDS))),
)
@example([1.5 - 1e-12] * 5 + [1.5] * 5 + [2.0, 1.0, 0.0], BOUNDS["<"])
def test_share_of_each_colour_is_that_of_values_on_its_side(values: list[float], bound: DrawnBound) -> None:
    chart = histogram(values, bound)
    if chart:
        shares = {colour: sum(found) for colour, _, found in plots(chart)}
        within = 100 * sum(map(bound.meets, values)) / len(values)
        assert shares.get(BLUE, 0.0) == pytest.approx(within, abs=1.0)
        assert shares.get(ORANGE, 0.0) == pytest.approx(100 - within, abs=1.0)
