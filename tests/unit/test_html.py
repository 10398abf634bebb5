"""The HTML report: what it shows, that hostile text stays text, and how large it gets."""

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from baselines import DASHBOARD, baseline_of, comparison_reports, earlier, report_on, run_of, yes
from browsing import LEGS, large_report, legs_report, picture_report, rich_report
from coval_gate.coval.model import Details, TrendRun, Turn
from coval_gate.inputs.inputs import parse_inputs
from coval_gate.report import LONGEST_TEXT, MOST_TABLE_ROWS, TEXTS_ROOM
from coval_gate.report.charts import binned
from coval_gate.report.document.metrics import BoundFacts, Distribution
from coval_gate.report.document.simulations import SimulationFacts
from coval_gate.report.formats.html import Table, table, web_address
from coval_gate.report.formats.html.plots import WIDTH, Histogram, Line, Point, histogram, scale_of, trend, trend_of
from coval_gate.report.model import Report
from hostile import HARMLESS, report_of
from readers import HtmlPage
from rendering import composed, rows_of
from rendering import html as render
from reports import example_reports, with_leg

MEGABYTES = 1e6


def test_policy_allows_nothing_but_own_style_and_script() -> None:
    document = render(report_of(HARMLESS))
    (policy,) = [content for content in HtmlPage(document).attributes["content"] if "default-src" in content]
    for kind in ("style", "script"):
        (text,) = re.findall(f"<{kind}>(.*?)</{kind}>", document, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert not re.search(r"https?:|\*", policy)


def test_table_shows_every_simulation_once_and_worst_first() -> None:
    report = report_of(HARMLESS)
    rows = table_of(report).rows
    assert [row.facts.id for row in rows] == [row.simulation.id for row in rows_of(report)]
    assert rows[0].facts.verdict in ("failed", "error")
    assert table_of(report).counts == {"error": 1, "failed": 2, "tolerated": 2, "passed": 11}


def test_every_leg_is_on_the_first_screen_with_its_verdict_reason_and_run() -> None:
    report = legs_report()
    first, _, _ = render(report).partition('id="criteria"')
    assert first.count("<tr>") == 1 + len(LEGS)
    for leg in composed(report).ranked:
        (row,) = re.findall(f"<tr><td>[^\n]*{leg.name}</a>.*?</tr>", first)
        figures = f"{leg.completed_simulations} of {leg.total_simulations} completed"
        for text in (leg.heading.split()[1], escape(leg.reason), f'href="{leg.run.url}"', figures):
            assert text in row
    assert [leg.heading.split()[1] for leg in composed(report).ranked] == ["Failed", "Inconclusive", "Passed"]


def test_rows_stand_under_their_leg_the_one_with_the_worst_first() -> None:
    report = legs_report()
    sections = table_of(report).sections
    assert [(part.name, part.size) for part in sections] == [(LEGS[1], 20), (LEGS[2], 20), (LEGS[0], 40)]
    assert [part.token for part in sections] == [f'l:"{part.name}"' for part in sections]
    for section in sections:
        assert {row.leg.name for rows in section.cases.values() for row in rows} == {section.name}
    assert sum(part.size for part in sections) == table_of(report).total == 80
    anchors = re.findall(r'<tr class="(?:row|leg-head)[^>]*? (?:id="id=([^"]*)|data-leg="(\d))', render(report))
    assert [leg for _, leg in anchors if leg] == [part.key for part in sections]
    assert [anchor for anchor, _ in anchors if anchor] == [
        row.anchor for section in sections for rows in section.cases.values() for row in rows
    ]


def test_simulations_of_one_id_in_two_legs_have_addresses_of_their_own() -> None:
    rows = table_of(legs_report()).rows
    twins = [row for row in rows if row.facts.id == "two..case000.0"]
    assert {twin.leg.name for twin in twins} == {LEGS[1], LEGS[2]}
    assert len({row.anchor for row in rows}) == len(rows) == 80


def test_every_leg_has_charts_of_its_own() -> None:
    report = legs_report()
    document = render(report)
    places = [document.index(f'<section aria-label="Metrics of {leg.name}">') for leg in composed(report).ranked]
    assert places == sorted(places)
    for place, end in pairwise([*places, document.index('id="simulations"')]):
        assert document[place:end].count('class="card ') == 2


@pytest.mark.parametrize(("name", "token"), [('the "best" line', 'l:" line"'), ("", 'l:""'), ("a b", 'l:"a b"')])
def test_filter_of_a_leg_is_one_that_can_be_written(name: str, token: str) -> None:
    legs = tuple(
        leg._replace(name=leg_name) for leg, leg_name in zip(legs_report().legs, (name, "x", "y"), strict=True)
    )
    assert {section.name: section.token for section in table_of(legs_report()._replace(legs=legs)).sections}[
        name
    ] == token


def test_change_since_baseline_is_that_of_the_flipped_cases() -> None:
    report = comparison_reports()["worse"]
    (leg,) = composed(report).legs
    changes = {row.name: row.change for row in leg.simulations if row.change}
    flipped = {name for criterion in leg.criteria for name in criterion.newly_failing_cases}
    assert {*changes} == flipped
    assert {*changes.values()} == {"worse"}


def test_charts_have_the_paired_numbers_and_the_bounds() -> None:
    (leg,) = composed(comparison_reports()["worse"]).legs
    latency = next(metric for metric in leg.metrics if metric.name == "Latency")
    (sample,) = latency.distributions
    assert sum(sample.counts) == sum(sample.earlier) == 20
    chart = histogram(sample, latency.bounds)
    assert chart
    assert chart.outline
    assert [mark.kind for mark in chart.marks] == ["threshold", "threshold"]
    assert sum(int(bar.text.split(": ")[1].split()[0]) for bar in chart.bars) == 20


def latency_after(runs: tuple[TrendRun, ...]) -> Line:
    """Return the chart of a metric over these runs and that of a report."""
    report = comparison_reports()["better"]
    (leg,) = composed(with_leg(report, trend=runs)).legs
    line = trend_of(leg, next(metric for metric in leg.metrics if metric.name == "Latency"))
    assert line
    return line


def drawn(now: Sequence[float], earlier: Sequence[float], bound: float) -> Histogram:
    """Return the chart of numbers, of which there is at least one now, with a bound."""
    bins = binned(now, earlier, [bound])
    sample = Distribution(
        variant="agent",
        ends=bins.ends,
        counts=bins.counts(now),
        earlier=bins.counts(earlier) if earlier else [],
        least=min(now),
        greatest=max(now),
        texts_left_out=0,
    )
    chart = histogram(sample, [BoundFacts(of="threshold", value=bound, text="")])
    assert chart
    return chart


def table_of(report: Report) -> Table:
    return table(composed(report))


NUMBERS = st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=40)


@given(now=NUMBERS, earlier=NUMBERS | st.just([]), bound=st.floats(-1e100, 1e100))
@example(now=[5e-324], earlier=[0.0], bound=0.0)
@example(now=[-1e-310, 1.5e-310], earlier=[], bound=0.0)
def test_histogram_holds_every_number_within_its_frame(now: list[float], earlier: list[float], bound: float) -> None:
    chart = drawn(now, earlier, bound)
    assert sum(int(bar.text.split(": ")[-1].split()[0].replace(",", "")) for bar in chart.bars) == len(now)
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH + 1 for bar in chart.bars)
    assert all(0 <= mark.place <= WIDTH for mark in chart.marks)
    assert bool(chart.outline) is bool(earlier)


@given(values=NUMBERS)
def test_trend_stays_within_its_frame(values: list[float]) -> None:
    line = trend([Point(value, "run") for value in values], first="", last="", unit="")
    assert (line is None) is (len(values) < 2)
    assert all(0 <= dot.x <= WIDTH and 0 <= dot.y <= 72 for dot in (line.dots if line else ()))
    assert all(0 <= tick.place <= 72 for tick in (line.ticks if line else ()))
    assert line is None or 2 <= len(line.ticks) <= 7


def test_axis_of_trend_has_round_numbers_that_hold_all_values() -> None:
    line = trend([Point(value, "run") for value in (1.07, 1.31, 1.22)], first="2026-01-01", last="this run", unit="")
    assert line
    assert [tick.text for tick in line.ticks] == ["1", "1.1", "1.2", "1.3", "1.4"]
    heights = [tick.place for tick in line.ticks]
    assert heights == sorted(heights, reverse=True)
    assert line.left < line.dots[0].x
    assert (line.first, line.last) == ("2026-01-01", "this run")


def test_trend_ends_with_this_run_and_marks_the_baseline_and_runs_that_the_gate_failed() -> None:
    runs = (
        TrendRun(run_id="b", created="2026-01-02T00:00:00Z", averages={"l": 1.5}, is_baseline=True, failed=True),
        TrendRun(run_id="not / usual", created="2026-01-01T00:00:00Z", averages={"l": 1.0}),
    )
    line = latency_after(runs)
    assert [(dot.kind, dot.url, dot.failed) for dot in line.dots] == [
        ("", "", False),
        ("baseline", f"{DASHBOARD}/runs/b", True),
        ("now", "", False),
    ]
    assert line.dots[0].text == "run of 2026-01-01: 1"
    assert "(baseline)" in line.dots[1].text
    assert line.dots[1].text.endswith(", failed")


def test_scale_puts_value_on_its_side_of_the_bound() -> None:
    (leg,) = composed(comparison_reports()["worse"]).legs
    numbers = {"actual": 0.4, "bound": 0.9, "baseline_value": 0.95, "lower": 0.2, "upper": None, "confidence": 0.95}
    of_share = {"unit": "share", "operator": ">=", "metric_id": "r"}
    chart = scale_of(leg.criteria[0].model_copy(update=numbers | of_share))
    assert chart
    assert chart.value < chart.bound < (chart.reference or 0)
    assert chart.allowed
    assert chart.allowed.x == chart.bound


def test_conversation_measures_how_long_the_agent_took() -> None:
    turns = (
        Turn(role="agent", text="Hello", start=0.0, end=1.0),
        Turn(role="persona", text="Hi", start=1.5, end=2.0),
        Turn(role="agent", text="How can I help?", start=4.5, end=6.0),
        Turn(role="persona", text="No times"),
        Turn(role="agent", text="No times", start=9.0),
    )
    assert [turn.latency for turn in talk(turns).turns] == [None, None, 2.5, None, None]
    assert talk(turns).turns_left_out == 0
    assert "after 2.5 s" in render(with_turns(turns))


def test_conversation_keeps_its_end_within_its_room() -> None:
    turns = [Turn(role="agent", text=f"turn {place:03} {'x' * 991}") for place in range(600)]
    (row,) = (row for row in table_of(with_turns(turns)).rows if row.facts.turns)
    assert [turn.text[:8] for turn in row.facts.turns] == [f"turn {place}" for place in range(200, 600)]
    assert "200 earlier turns left out." in render(with_turns(turns))


def with_turns(turns: Sequence[Turn]) -> Report:
    report = report_of(HARMLESS)
    return with_leg(report, details=report.legs[0].details._replace(transcripts={"ill": tuple(turns)}))


def talk(turns: Sequence[Turn]) -> SimulationFacts:
    (leg,) = composed(with_turns(turns)).legs
    return next(simulation for simulation in leg.simulations if simulation.id == "ill")


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://app.coval.dev/acme/runs/1", True),
        ("javascript:alert(1)", False),
        ("https://a.example/ b", False),
        ("data:text/html,x", False),
        ("", False),
    ],
)
def test_only_addresses_of_the_web_are_links(url: str, wanted: bool) -> None:
    assert web_address(url) == (url if wanted else "")


def test_large_table_is_capped_and_says_so() -> None:
    document = render(large_report(2_500))
    assert f"shows {MOST_TABLE_ROWS:,} of 2,500 simulations" in document
    assert document.count('<tr class="row ') == MOST_TABLE_ROWS
    assert len(document.encode()) < 4 * MEGABYTES


def test_tab_says_what_was_evaluated_and_how_many_criteria_it_misses() -> None:
    report = named_report(agent_id="desk", test_set_id="smoke123", persona_id="patient")
    assert "<title>Failed, 3 of 3 criteria missed: desk · smoke123 · patient</title>" in render(report)
    names = {"agent_id": "Front desk", "test_set_id": "Smoke", "persona_id": "Patient caller"}
    named = report._replace(legs=tuple(leg._replace(names=names) for leg in report.legs))
    assert title_of(named) == "Coval evaluation · agent Front desk · test set Smoke · persona Patient caller"


def title_of(report: Report) -> str:
    (title,) = HtmlPage(render(report)).texts["h1"]
    return title


def test_simulation_that_flipped_says_why_it_passes_all_the_same() -> None:
    baseline = baseline_of(earlier("old1", 2, run_of("old1", yes(20, 20))))
    tolerated = report_on(run_of("now", yes(19, 20)), baseline, "Resolved: rate(YES) >= baseline - 50pp")
    (row,) = (row for row in table_of(tolerated).rows if row.facts.change)
    assert (row.facts.word, row.flip, row.missed) == ("passed", "fails now, tolerated", set())


def test_values_that_miss_a_criterion_are_marked_in_the_table() -> None:
    assert "<b>NO</b>" in render(rich_report())
    assert not any(row.missed for row in table_of(rich_report()).rows if row.facts.verdict == "passed")


def test_histogram_has_axes_with_round_numbers() -> None:
    chart = drawn([0.2, 0.4, 0.5, 1.9], [], 1.0)
    assert [tick.text for tick in chart.shares] == ["0%", "25%", "50%"]
    assert [tick.text for tick in chart.values] == ["0", "0.5", "1", "1.5", "2"]
    assert '<text class="tick middle" x="177" y="97">Latency (s)</text>' in render(picture_report())


@pytest.mark.parametrize(("name", "last"), [("passed", "required"), ("failed", "margin")])
def test_column_of_margins_is_left_out_where_it_is_empty(name: str, last: str) -> None:
    titles = HtmlPage(render(example_reports()[name])).texts["th"]
    assert titles[:3] == ["verdict", "criterion", "actual"]
    assert {"required", "margin"} & {*titles} == {"required", last}
    assert "what it shows" not in titles


def test_what_ran_is_told_once() -> None:
    report = named_report(agent_id="desk", test_set_id="smoke123", persona_id="patient", max_wait_time="60")
    facts = {"agent": "desk", "test set": "smoke123", "persona": "patient"}
    assert composed(report).facts.items() >= facts.items()
    assert composed(report).other_inputs == {"max_wait_time": "60"}


def named_report(**inputs: str) -> Report:
    """Return a report of a step with these inputs, whose run does not tell what it evaluated."""
    report = comparison_reports()["worse"]
    parsed_inputs = parse_inputs({f"INPUT_{name.upper()}": value for name, value in inputs.items()})[0]
    return report._replace(inputs=parsed_inputs, legs=tuple(leg._replace(run=None) for leg in report.legs))


def test_documentation_of_the_filter_has_all_that_the_script_reads() -> None:
    root = Path(__file__).parents[2]
    script = (root / "src/coval_gate/report/formats/html/report.js").read_text(encoding="utf-8")
    text = (root / "docs/reports.md").read_text(encoding="utf-8").partition("## HTML\n")[2].partition("\n## ")[0]
    (keys,) = re.findall(r"\(!\?\)\(\?:\(([a-z|]+)\):\)", script)
    assert {match.partition(":")[0] for match in re.findall(r"^\| `(\w+:)", text, re.MULTILINE)} == {*keys.split("|")}
    (help_text,) = re.findall('id="syntax">(.*?)</details>', render(legs_report()))
    assert {*re.findall(r"<code>(\w+):", help_text)} == {*keys.split("|")} - {"v"}  # these runs have no variants
    (parts,) = re.findall(r"return \{ (q:.*) \};", script)
    assert {*re.findall(r"(\w+):", parts)} == {*re.findall(r"`(q|sort|flat|id)(?:=1)?`", text)}
    assert f"at most {MOST_TABLE_ROWS:,} simulations" in text


def test_explanations_share_their_room() -> None:
    rows = table_of(large_report(1_000)).rows
    assert all(sum(map(len, row.whys.values())) <= TEXTS_ROOM // 1_000 for row in rows)
    few = table_of(with_leg(report_of("x" * 5_000), details=Details(texts={"ill": {"x" * 5_000: "y" * 5_000}}))).rows
    assert all(len(why) <= LONGEST_TEXT for row in few for why in row.whys.values())
