"""Explanations of judges: those that only repeat the metric and its value are not shown."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines import comparison_reports
from coval_gate.coval.model import Value
from coval_gate.report.document.simulations import says_more
from coval_gate.report.formats.log import miss_lines
from coval_gate.report.model import Report
from rendering import comment, composed, digest, document, findings_in, html, junit, summary


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("Latency is 1.601 for this conversation.", "Latency", 1.601),
        ("Latency is 1.6 for this conversation.", "Latency", 1.601),
        ("The latency was 2 s.", "Latency", 1.601),
        ("Latency: 1.60 seconds", "Latency", 1.601),
        ("1601 ms", "Latency", 1.601),
        ("Measured value: 1.6010", "Latency", 1.601),
        ("85.5%", "Speaking time", 0.855),
        ("Score: 12,345.68", "Tokens", 12345.678),
        ("1,6 s", "Latency", 1.601),
        ("-3.5", "Change", -3.5),
        ("Resolved is NO for this conversation.", "Resolved", "NO"),
        ("no", "Resolved", "NO"),
        ("Tone: friendly is 3.288 for this conversation.", "Tone: friendly", 3.288),
        ("Topics: refund, opening hours", "Topics", frozenset({"opening hours", "refund"})),
        ("The p95 latency is 3", "p95 latency", 3.0),
        ("", "Latency", 1.0),
        ("", "Latency", None),
    ],
)
def test_text_that_repeats_metric_and_value_says_nothing(text: str, name: str, value: Value | None) -> None:
    assert not says_more(text, name, value)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("Latency is 1.601, mostly because of the refund.", "Latency", 1.601),
        ("Latency is 2.5 for this conversation.", "Latency", 1.601),
        ("The agent never confirmed the appointment.", "Resolved", "NO"),
        ("The resolved conversation is not YES.", "Resolved", "NO"),
        ("Resolved is YES.", "Resolved", "NO"),
        ("The tone is friendly.", "Tone: friendly", 4.2),
        ("3 of 5", "Tone", 3.0),
        ("1.2.3", "Version", 1.0),
        ("1e999", "Huge", 1.0),
        ("1e99999", "Huge", 1.0),
        ("²", "Area", 2.0),
        ("Resolved is NO.", "Resolved", None),
        ("El cliente no obtuvo su cita.", "Resolved", "NO"),
        ("予約は確認されなかった", "Resolved", "NO"),
    ],
)
def test_any_other_text_says_more(text: str, name: str, value: Value | None) -> None:
    assert says_more(text, name, value)


@given(st.text(), st.text(), st.none() | st.text() | st.floats(allow_nan=False) | st.frozensets(st.text()))
def test_any_text_is_read(text: str, name: str, value: Value | None) -> None:
    assert says_more(text, name, value) in (True, False)


@given(st.floats(0.01, 1e9), st.integers(0, 6))
def test_any_rounding_is_the_value(value: float, digits: int) -> None:
    assert not says_more(f"Latency is {value:.{digits}f} for this conversation.", "Latency", value)


@pytest.mark.parametrize("text", ["Resolved is {value} for this conversation.", "{value}"])
def test_only_what_says_more_is_shown_and_json_keeps_all(text: str) -> None:
    repeats = _with_texts(text)
    says = _with_texts("The agent never confirmed the date.")
    pages: dict[str, Callable[[Report], str]] = {
        "summary": lambda report: summary(report),
        "comment": lambda report: comment(report),
        "digest": lambda report: digest(report),
        "log": lambda report: "\n".join(
            line for leg in composed(report).legs for one in leg.simulations for line in miss_lines(one)
        ),
        "JUnit": lambda report: junit(report),
        "HTML": lambda report: html(report),
    }
    for name, render in pages.items():
        assert "never confirmed" in render(says), name
        assert "for this conversation" not in render(repeats), name
    assert "| why |" in summary(says)
    assert "| why |" not in summary(repeats)
    assert text.format(value="NO") in document(repeats)


def _with_texts(text: str) -> Report:
    """Return a report in which the judge explains each missed value with the text."""
    report = comparison_reports()["worse"]
    (leg,) = report.legs
    texts = {row.simulation.id: {"m": text.format(value="NO")} for row in findings_in(leg).to_look_at}
    values = {metric.id: metric.values for metric in leg.result.metrics} if leg.result else {}
    texts = {simulation: said for simulation, said in texts.items() if values["m"][simulation] == "NO"}
    return report._replace(legs=(leg._replace(details=leg.details._replace(texts=texts)),))
