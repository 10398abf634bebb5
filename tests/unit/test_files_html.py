"""The HTML report: what it shows, that hostile text stays text, and how large it gets."""

import base64
import hashlib
import re
from html import escape
from itertools import pairwise
from pathlib import Path

import pytest
from jinja2 import Environment

from baselines import baseline_of, comparison_reports, earlier, report_on, run_of, yes
from browsing import LEGS, legs_report, picture_report, rich_report
from coval_gate.features.files.html import METRIC_COLUMNS, Table, table, web_address
from coval_gate.inputs.inputs import parse_inputs
from coval_gate.report import MOST_SIMULATIONS
from coval_gate.report.document.model import Report
from hostile import HARMLESS, report_of
from readers import HtmlPage
from rendering import composed
from rendering import html as render
from reports import large_report, with_leg


def table_of(report: Report) -> Table:
    return table(composed(report))


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


def test_every_leg_is_on_the_first_screen_and_has_charts_of_its_own() -> None:
    document, legs = render(legs_report()), composed(legs_report()).ranked
    first, _, _ = document.partition('id="criteria"')
    assert first.count("<tr>") == 1 + len(LEGS)
    for leg in legs:
        (row,) = re.findall(f"<tr><td>[^\n]*{leg.name}</a>.*?</tr>", first)
        figures = f"{leg.completed_simulations} of {leg.total_simulations} completed"
        for text in (leg.heading.split()[1], escape(leg.reason), f'href="{leg.run.url}"', figures):
            assert text in row
    assert [leg.heading.split()[1] for leg in legs] == ["Failed", "Inconclusive", "Passed"]
    places = [document.index(f'<section aria-label="Metrics of {leg.name}">') for leg in legs]
    assert places == sorted(places)
    for place, end in pairwise([*places, document.index('id="simulations"')]):
        assert document[place:end].count('class="card ') == 2


def test_rows_stand_under_their_leg_the_one_with_the_worst_first() -> None:
    """Simulations of one id in two legs have addresses of their own."""
    whole = table_of(legs_report())
    assert [(part.name, part.size) for part in whole.sections] == [(LEGS[1], 20), (LEGS[2], 20), (LEGS[0], 40)]
    rows = [row for part in whole.sections for case in part.cases.values() for row in case]
    assert [row.leg.name for row in rows] == [part.name for part in whole.sections for _ in range(part.size)]
    assert [row.leg.name for row in rows if row.facts.id == "two..case000.0"] == [LEGS[1], LEGS[2]]
    assert len({row.anchor for row in rows}) == whole.total == 80
    anchors = re.findall(r'<tr class="(?:row|leg-head)[^>]*? (?:id="id=([^"]*)|data-leg="(\d))', render(legs_report()))
    assert [leg for _, leg in anchors if leg] == [part.key for part in whole.sections]
    assert [anchor for anchor, _ in anchors if anchor] == [row.anchor for row in rows]


@pytest.mark.parametrize(("name", "token"), [('the "best" line', 'l:" line"'), ("", 'l:""'), ("a b", 'l:"a b"')])
def test_filter_of_a_leg_is_one_that_can_be_written(name: str, token: str) -> None:
    legs = tuple(
        leg._replace(name=leg_name) for leg, leg_name in zip(legs_report().legs, (name, "x", "y"), strict=True)
    )
    sections = table_of(legs_report()._replace(legs=legs)).sections
    assert {section.name: section.token for section in sections}[name] == token


def test_change_since_baseline_shows_the_flipped_cases() -> None:
    (leg,) = composed(comparison_reports()["worse"]).legs
    changes = {row.name: row.change for row in leg.simulations if row.change}
    assert {*changes} == {name for criterion in leg.criteria for name in criterion.newly_failing_cases}
    assert {*changes.values()} == {"fails"}
    baseline = baseline_of(earlier("old1", 2, run_of("old1", yes(20, 20))))
    tolerated = report_on(run_of("now", yes(19, 20)), baseline, "Resolved: rate(YES) >= baseline - 50pp")
    (row,) = (row for row in table_of(tolerated).rows if row.facts.change)
    assert (row.facts.word, row.flip, row.missed) == ("passed", "fails now, tolerated", set())


def test_axes_have_round_numbers() -> None:
    page = render(picture_report())
    ticks = re.findall(r'class="tick[^>]*>([^<]*)<', page)
    assert ticks == ["0%", "20%", "40%", "0.2", "0.8", "1.4", "2", "Latency (s)"]
    assert '<text class="tick middle" x="177" y="97">Latency (s)</text>' in page


@pytest.mark.parametrize(
    "url", ["https://app.coval.dev/acme/runs/1", "javascript:alert(1)", "https://a.example/ b", "data:text/html,x", ""]
)
def test_only_addresses_of_the_web_are_links(url: str) -> None:
    assert web_address(url) == (url if url.startswith("https://app") else "")


def test_large_table_is_capped_with_a_note() -> None:
    document = render(large_report(2_500, metrics=10))
    assert f"shows {MOST_SIMULATIONS:,} of 2,500 simulations" in document
    assert document.count('<tr class="row ') == MOST_SIMULATIONS
    assert len(document.encode()) < 4.2e6


def test_what_ran_is_named_once_in_the_tab_the_heading_and_the_facts() -> None:
    """The run does not show what it evaluated."""
    given = {"INPUT_AGENT_ID": "desk", "INPUT_TEST_SET_ID": "smoke123", "INPUT_PERSONA_ID": "patient"}
    inputs = parse_inputs(given | {"INPUT_MAX_WAIT_TIME": "60"})[0]
    report = with_leg(comparison_reports()["worse"]._replace(inputs=inputs), run=None)
    assert "<title>Failed, 3 of 3 criteria missed: desk · smoke123 · patient</title>" in render(report)
    facts = {"agent": "desk", "test set": "smoke123", "persona": "patient"}
    assert composed(report).facts.items() >= facts.items()
    assert composed(report).other_inputs == {"max_wait_time": "60"}
    names = {"agent_id": "Front desk", "test_set_id": "Smoke", "persona_id": "Patient caller"}
    (title,) = HtmlPage(render(with_leg(report, names=names))).texts["h1"]
    assert title == "Coval evaluation · agent Front desk · test set Smoke · persona Patient caller"


def test_table_counts_what_became_of_simulations_and_marks_values_that_miss() -> None:
    assert table_of(report_of(HARMLESS)).counts == {"error": 1, "failed": 2, "tolerated": 1, "known": 1, "passed": 11}
    assert "<b>NO</b>" in render(rich_report())
    assert not any(row.missed for row in table_of(rich_report()).rows if row.facts.verdict == "passed")


def test_help_of_the_filter_has_all_that_the_script_reads() -> None:
    root = Path(__file__).parents[2]
    script = (root / "src/coval_gate/features/files/html/report.js").read_text(encoding="utf-8")
    (keys,) = re.findall(r"\(!\?\)\(\?:\(([a-z|]+)\):\)", script)
    (help_text,) = re.findall('id="syntax">(.*?)</details>', render(legs_report()))
    assert {*re.findall(r"<code>(\w+):", help_text)} == {*keys.split("|")} - {"v"}  # these runs have no variants
    text = (root / "docs/reports.md").read_text(encoding="utf-8").partition("## HTML\n")[2].partition("\n## ")[0]
    assert {*re.findall(r"\b(\w):\w", text)} <= {*keys.split("|")}
    assert f"at most {MOST_SIMULATIONS:,} simulations" in text


def test_style_aligns_every_column_that_the_table_may_have() -> None:
    directory = Path(__file__).parents[2] / "src/coval_gate/features/files/html"
    style = (directory / "report.css").read_text(encoding="utf-8")
    (before,) = re.findall(r"set before = (.*) %}", (directory / "report.html.j2").read_text(encoding="utf-8"))
    fixed = Environment(autoescape=True).compile_expression(before)
    tables = ({"caused": is_there, "variants": is_there} for is_there in (False, True))
    least, most = (int(fixed(table=columns, several=columns["variants"]) or 0) for columns in tables)
    styled = {(int(one), int(other)) for one, other in re.findall(r"\.num-(\d+) \.row > :nth-child\((\d+)\)", style)}
    assert styled == {(place, place) for place in range(least + 1, most + METRIC_COLUMNS + 1)}
