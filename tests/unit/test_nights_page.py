"""The page of a history: charts over time, test cases by run, what to do, and that hostile text stays text."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest

from coval_gate.base.text import one_line
from coval_gate.features.files.html.plots import HEIGHT
from coval_gate.features.nights.document import HistoryCell, HistoryDocument, HistoryValue
from coval_gate.features.nights.page import Timeline, changes_of, level, render, sign, timeline
from histories import history, history_run, seconds, shares, threshold
from hostile import HARMLESS, HOSTILE
from readers import HtmlPage

FIXED = ("schema_version", "unit")


def with_texts(part: Any, text: str, name: str = "") -> Any:
    """Return a part of a document with this text in place of each text."""
    if isinstance(part, dict):
        return {key: with_texts(value, text, key) for key, value in part.items()}
    if isinstance(part, list):
        return [with_texts(item, text, name) for item in part]
    return text if isinstance(part, str) and part and name not in FIXED else part


def history_with(text: str) -> HistoryDocument:
    return HistoryDocument.model_validate(with_texts(history().model_dump(), text))


def drawn(*numbers: float | None, **more: object) -> Timeline:
    text = "Latency: p(95) < 1.5"
    whole = threshold(text, seconds(*numbers, below=1.5), unit="metric", sign="s", **more)
    line = timeline(whole, [history_run(nth) for nth in range(len(numbers))])
    assert line
    return line


def test_page_reads_like_this(golden: Callable[[str, str], None]) -> None:
    """Labels of what is drawn stand in brackets."""
    _, _, body = render(history()).partition("</head>\n")
    labelled = re.sub(r'<[^>]*aria-label="([^"]*)"[^>]*>', r" [\1] ", re.sub("<title>.*?</title>", "", body))
    lines = (" ".join(line.split()) for line in unescape(re.sub("<[^>]*>", " ", labelled)).split("\n"))
    golden("history/page.txt", "\n".join(filter(None, lines)) + "\n")


def test_policy_allows_no_script_and_nothing_is_fetched() -> None:
    page = HtmlPage(render(history()))
    (policy,) = [content for content in page.attributes["content"] if "default-src" in content]
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[^' ]+'; img-src data:; base-uri 'none'; form-action 'none'", policy
    )
    assert {tag for tag, _ in page.tags} & {"script", "img", "iframe", "object", "form"} == set()
    assert all(address.startswith(("https://", "#", "data:image/svg+xml;base64,")) for address in page.addresses)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_changes_no_element(text: str) -> None:
    page, plain = HtmlPage(render(history_with(text))), HtmlPage(render(history_with(HARMLESS)))
    assert page.parts <= plain.parts
    assert page.tags == plain.tags or not one_line(text)
    assert {one for one in page.addresses if not one.startswith(("#", "data:image/svg"))} == set()
    assert page.open == []


def test_line_has_a_gap_where_a_run_has_no_value() -> None:
    line = drawn(1.2, 1.3, None, 1.6, 1.4)
    assert re.sub(r"[\d.,]+", "", line.path) == "MLML"
    assert len(line.places) == len(line.dots) + 1 == 5
    assert [dot.missed for dot in line.dots] == [False, False, True, False]
    assert line.text == "4 runs, missed in 1; the last is the run of 2026-11-27: 1.4 s"


@pytest.mark.parametrize(
    ("numbers", "bound", "ticks"),
    [
        ((1.0, 1.2), 1.5, ["1 s", "1.2 s", "1.4 s", "1.6 s"]),  # the axis includes the bound
        ((1.0, 1.2), None, ["1 s", "1.1 s", "1.2 s"]),
        ((1.0, 1.2), float("inf"), ["1 s", "1.1 s", "1.2 s"]),
        ((1.0,), 1.0, ["0.9 s", "1.1 s"]),
    ],
)
def test_axis_has_round_numbers(numbers: tuple[float, ...], bound: float | None, ticks: list[str]) -> None:
    line = drawn(*numbers, bound=bound)
    assert [tick.text for tick in line.ticks] == ticks
    assert (line.bound is None) is (bound in (None, float("inf")))
    assert all(0 <= place <= HEIGHT for place in (line.bound or 0.0, *(dot.y for dot in line.dots)))


@pytest.mark.parametrize(("counts", "ticks"), [((0, 7), ["0", "5"]), ((2,), ["1.8", "2.2"])])
def test_axis_of_counts_has_whole_numbers_if_any(counts: tuple[int, ...], ticks: list[str]) -> None:
    values = [HistoryValue(value=count, text=str(count), met=False) for count in counts]
    whole = threshold("Compliance: count(NO) == 0", values, unit="simulations", bound=None)
    line = timeline(whole, [history_run(nth) for nth in range(len(counts))])
    assert line
    assert [tick.text for tick in line.ticks] == ticks


def test_threshold_without_a_value_has_no_line() -> None:
    whole = threshold("Resolved: rate(YES) >= 90%", shares(50, None, bound=0.9))
    assert timeline(whole, [history_run(0)]) is None
    (leg, _) = history().legs
    bare = leg.model_copy(update={"thresholds": [whole], "runs": leg.runs[:1], "cases": []})
    assert "No run has a value." in render(history().model_copy(update={"legs": [bare]}))


def test_changes_are_numbered() -> None:
    changes = [*changes_of(history().legs[0]).values()]
    assert [(change.number, change.place, change.text) for change in changes] == [
        (1, 1, "accepted"),
        (2, 2, "test set changed"),
        (3, 4, "version of Resolved changed"),
        (4, 5, "persona changed"),
    ]


@pytest.mark.parametrize(
    ("met", "of", "shade", "text"),
    [
        (0, 1, 0, "✗"),
        (1, 1, 4, "✓"),
        (0, 3, 0, "0/3"),
        (1, 3, 2, "1/3"),
        (2, 3, 3, "2/3"),
        (3, 3, 4, "3/3"),
        (1, 10, 1, "1/10"),
        (9, 10, 3, "9/10"),
        (1_000, 2_000, 2, "1,000/2,000"),
    ],
)
def test_cell_has_a_shade_and_a_sign(met: int, of: int, shade: int, text: str) -> None:
    cell = HistoryCell(conversations=of, met=met, url="")
    assert (level(cell), sign(cell)) == (shade, text)


def test_nothing_to_do_is_shown() -> None:
    leg = history().legs[0]
    calm = leg.model_copy(update={"cases": [case for case in leg.cases if not case.is_flipping]})
    page = render(history().model_copy(update={"legs": [calm], "known_failures": ""}))
    assert "Nothing: no test case failed in most of the last five runs, and none flips." in page
