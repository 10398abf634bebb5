"""Markdown: foreign text is inert, what stands where for a reader who has ten seconds, and charts of distributions."""

import html
import re

import cmarkgfm
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from baselines import latency, report_on, run_of, yes
from coval_gate.base.text import one_line
from coval_gate.coval.model import LARGEST_VALUE
from coval_gate.inputs.parsing import matrix_of
from coval_gate.report.charts import DrawnBound, spread
from coval_gate.report.document.model import Report
from coval_gate.report.markdown import code, escape, link
from coval_gate.report.tables import BLUE, ORANGE
from hostile import HOSTILE
from readers import MarkdownPage
from rendering import comment, histogram, summary
from support import inputs_of

TABLE = "| | |\n|---|---|\n| {} | {} |\n"


def rendered(markdown: str) -> str:
    return str(cmarkgfm.github_flavored_markdown_to_html(markdown, cmarkgfm.cmark.Options.CMARK_OPT_UNSAFE))


def visible_text(html_text: str) -> str:
    """Return the visible text of HTML, without tags and zero-width spaces."""
    return html.unescape(re.sub(r"<[^>]*>", "", html_text)).replace("\u200b", "").strip()


def test_hostile_text_is_plain_once_it_is_escaped() -> None:
    """These texts are active before: unit/test_reports.py."""
    for text in (*HOSTILE, "+", "2)", "- ---", "    code"):
        assert_plain_wherever_it_stands(text)


@given(st.text(max_size=80) | st.text("\\`*_[]()<>|~$#@:/!&w. ax", max_size=80))
def test_escaped_text_is_the_same_plain_text(text: str) -> None:
    assert_plain_wherever_it_stands(text)


def assert_plain_wherever_it_stands(text: str) -> None:
    shown = escape(text)
    page = rendered(f"Reason: x{shown}x\n")
    assert re.findall(r"<[^>]*>", page) == ["<p>", "</p>"]
    assert visible_text(page) == f"Reason: x{one_line(text)}x"
    cells = rendered(TABLE.format(f"x{shown}", "y"))
    assert cells.count("<td>") == 2
    assert set(re.findall(r"<(\w+)", cells)) <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert MarkdownPage(shown).tags == ["p", "/p"] * bool(shown)
    assert MarkdownPage(f"Before.\n{shown or 'x'}\nBehind.").tags == ["p", "/p"]
    assert MarkdownPage(f"- {shown}").tags == ["ul", "li", "/li", "/ul"]


@pytest.mark.parametrize("text", ["See !12", "acme/voice!12", "&12", "%12", '%"Release 1"', "%v1.2"])
def test_references_of_gitlab_are_escaped(text: str) -> None:
    """GitLab links them, and adds a mention to the other merge request, epic or milestone."""
    assert not re.search(r"(?:[!%]|&amp;)[\w\"]", escape(text))
    assert escape(text).replace("\u200b", "").replace("&amp;", "&") == text


def test_only_what_would_be_active_is_changed() -> None:
    assert escape("Great! 95% of R&D, 5 % more!") == "Great! 95% of R&amp;D, 5 % more!"
    assert escape("@mona #12") == "@\u200bmona #\u200b12"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://a b", "https://a)b<img src=x>", "https://a/[x]|b", "https://a/'\"", ""]
)
def test_only_plain_url_is_linked(url: str) -> None:
    assert link("label", url) == "label"
    assert link("the run", "https://app.coval.dev/runs/r1") == "[the run](https://app.coval.dev/runs/r1)"


@given(st.text("`", min_size=1, max_size=250), st.text("\\`*_[]()<>|~ax"))
@example("`" * 80, "<img src=x> **b**")
@example("`" * 199, "*x*")
def test_code_span_with_backticks_is_one_code_span(backticks: str, text: str) -> None:
    for variation in (backticks + text, text + backticks, f"x{backticks}{text}{backticks}"):
        assert MarkdownPage(f"| | |\n|---|---|\n| a | {code(variation)} |\n").tags.count("code") == 1
        assert not {"img", "strong", "em", "a"} & set(MarkdownPage(f"Commit {code(variation)} of mine").tags)


SLOW = "Latency: avg < 1"


def slow_report(lines: str = SLOW, **inputs: str) -> Report:
    """Return the report of a run that is slower than it must be, in a step with these inputs."""
    report = report_on(latency("now", seed=1, slower=2), None, lines, confidence=None)
    return report._replace(inputs=inputs_of(**inputs))


def heading(text: str) -> str:
    (line,) = (line for line in text.splitlines() if line.startswith("### "))
    return line


def test_heading_names_test_set_and_persona_and_what_matrix_names_once() -> None:
    report = slow_report(test_set_id="smoke123", persona_id="patient")
    matrix = matrix_of({"region": "eu", "test_set": "smoke123"})
    matrix_rate = report._replace(context=report.context._replace(matrix=matrix))
    for render in (summary, comment):
        assert heading(render(report)) == "### ❌ Failed: Coval evaluation · test set `smoke123` · persona `patient`"
        assert heading(render(slow_report())) == "### ❌ Failed: Coval evaluation"
        assert heading(render(matrix_rate)) == "### ❌ Failed: Coval evaluation (eu, smoke123) · persona `patient`"


@pytest.mark.parametrize("hostile", ["`<b>` | x", "# @octocat", "--> <script>"])
def test_id_of_run_in_heading_is_code(hostile: str) -> None:
    report = slow_report()
    (leg,) = report.legs
    assert leg.run
    text = summary(report._replace(legs=(leg._replace(run=leg.run._replace(test_set_id=hostile)),)))
    assert re.search(r"test set (`+) ?.* ?\1", heading(text))


@pytest.mark.parametrize("render", [summary, comment])
def test_simulations_after_the_worst_ten_are_folded(render: type) -> None:
    text = render(slow_report("Latency: max < 1"))
    count = int(re.findall(r"^#### (\d+) simulations to look at$", text, re.MULTILINE)[0])
    assert count > 10
    unfolded, _, folded = text.partition(f"<details><summary>{count - 10} more simulations to look at</summary>")
    assert unfolded.count("here ") == 10
    assert folded.partition("</details>")[0].count("here ") == count - 10
    ten = comment(report_on(run_of("now", yes(2, 12)), None, "Resolved: rate(YES) >= 90%", confidence=None))
    assert "#### 10 simulations to look at" in ten
    assert "<details>" not in ten


def test_criteria_after_the_gravest_ten_are_folded() -> None:
    met = "\n".join(f"Latency: avg < {n}" for n in range(50, 62))
    text = summary(slow_report(f"{met}\n{SLOW}\nLatency: med < 0.5"))
    unfolded, _, folded = text.partition("<details><summary>5 more criteria, all met</summary>")
    assert unfolded.count("| ❌ | `Latency: ") == 2
    assert "❌" not in folded.partition("</details>")[0]
    missed = "\n".join(f"Latency: avg < 0.{n}" for n in range(10, 22))
    assert "<details><summary>3 more criteria</summary>" in summary(slow_report(missed))


@pytest.mark.parametrize(
    ("lines", "sides"),
    [
        ("Latency: avg < 2", " (55% are 2 or more)"),
        ("Latency: avg <= 2", " (55% are above 2)"),
        ("Latency: avg > 4", " (95% are 4 or less)"),
        ("Latency: p(90) >= 90", " (all below 90)"),
        ("Latency: avg == 1", ""),
        ("Latency: max < 99\nLatency: avg < 2", " (55% are 2 or more)"),
    ],
)
def test_chart_shows_where_bound_is(lines: str, sides: str) -> None:
    assert f"How Latency is distributed{sides}:" in summary(slow_report(lines)).splitlines()


EVEN = [0.25 * n for n in range(12)]  # 0 to 2.75; one of them is 1.5
BOUNDS = [DrawnBound(1.5, operator) for operator in ("<", "<=", ">", ">=")]


def plots(chart: str) -> list[tuple[str, str, list[float]]]:
    """Return the colour, kind and numbers of each series."""
    palette = re.search(r'"plotColorPalette": "([^"]*)"', chart)
    series = re.findall(r"^    (bar|line) \[(.*)\]$", chart, re.MULTILINE)
    assert palette
    colours = palette[1].split(", ")
    return [
        (colour, kind, [*map(float, shares.split(", "))])
        for colour, (kind, shares) in zip(colours, series, strict=True)
    ]


def labels(chart: str) -> list[str]:
    return re.findall(r'"([^"]*)"', re.findall(r"^    x-axis \[(.*)\]$", chart, re.MULTILINE)[0])


@given(
    st.lists(st.floats(-LARGEST_VALUE, LARGEST_VALUE), min_size=10, max_size=30),
    st.builds(DrawnBound, st.floats(-LARGEST_VALUE, LARGEST_VALUE), st.sampled_from(["<", "<=", ">", ">="])),
)
@example([1.5 - 1e-12] * 5 + [1.5] * 5 + [2.0, 1.0, 0.0], BOUNDS[0])
@example(EVEN, BOUNDS[0])
@example(EVEN, BOUNDS[1])
@example(EVEN, BOUNDS[2])
@example(EVEN, BOUNDS[3])
def test_bars_are_the_share_of_values_on_each_side_of_the_bound(values: list[float], bound: DrawnBound) -> None:
    within = 0.0
    if bars := spread([values], bound):
        within = 100 * sum(map(bound.meets, values)) / len(values)
        sides = zip(bars.shares, bars.beyond, strict=True)
        assert sum(share for share, beyond in sides if not beyond) == pytest.approx(within, abs=1.0)
    for colour, kind, shares in plots(histogram(values, bound)) if bars else ():
        assert (kind, colour) == ("bar", BLUE if within else ORANGE)
        assert sum(shares) == pytest.approx(100, abs=1.0)
        assert min(shares) >= 0.0


def test_ranges_meet_at_bound_and_ends_contain_values() -> None:
    chart = histogram(EVEN, DrawnBound(1.3857, "<"))
    assert labels(chart) == ["0 – 0.4", "0.4 – 1.4", "1.4 – 2.4", "2.4 – 3.4"], "labels are rounded to a tenth"
    for bound in (None, *BOUNDS, DrawnBound(99.0, "<")):
        shares = [sum(column) for column in zip(*(found[2] for found in plots(histogram(EVEN, bound))), strict=True)]
        assert shares[0] > 0
        assert shares[-1] > 0
