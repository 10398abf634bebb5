"""What tests and pictures of the HTML report share: where Chromium may be, and a page that was opened in it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from baselines import (
    LABELS,
    TWO,
    also,
    baseline_of,
    comparison_reports,
    earlier,
    for_pull_request,
    judged,
    numbers,
    pair,
    ran,
    report_on,
    run_of,
    yes,
)
from coval_gate.coval.model import Turn
from coval_gate.report.document.model import UNFOUND
from rendering import findings_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from playwright.sync_api import Locator, Page, ViewportSize

    from coval_gate.report.document.model import Report

NARROW: Final = 390  # pixels
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
WHY: Final = "The agent never confirmed the appointment. It asked for the date twice, and then ended the call."
LONG_NAME: Final = f"of callers who ask twice, {'Terminvereinbarungsbestaetigung' * 4}"
SUITE: Final = "Resolved: rate(YES) >= 80%\nLatency: avg < 1.5"
TALK: Final = (
    Turn(role="agent", text="Good morning, this is Acme Dental. How can I help?", start=0.0, end=3.1),
    Turn(role="persona", text="I would like to move my appointment to Friday.", start=3.6, end=6.2),
    Turn(role="agent", text="Of course. Which day would suit you?", start=7.1, end=9.0),
    Turn(role="persona", text="Friday, as I said.", start=9.4, end=10.8),
    Turn(role="agent", text="Thank you for calling. Goodbye.", start=14.9, end=16.7),
)


@dataclass
class Opened:
    """A report in the browser, with everything that its page logged and requested."""

    page: "Page"
    address: str
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def rows(self) -> "Locator":
        """The rows of the table that are shown."""
        return self.page.locator("tr.row:visible")

    @property
    def names(self) -> list[str]:
        """The test cases of these rows."""
        return self.rows.locator(".name a").all_text_contents()

    @property
    def legs(self) -> list[str]:
        """The legs of these rows."""
        return self.rows.locator("td.of-run").all_text_contents()

    @property
    def fragment(self) -> str:
        """The address after the hash."""
        return str(self.page.evaluate("location.hash"))

    def filter(self, query: str) -> None:
        """Type a filter."""
        self.page.locator("#filter").fill(query)


if TYPE_CHECKING:
    Open = Callable[..., AbstractContextManager[Opened]]


def screen(width: int) -> "ViewportSize":
    return {"width": width, "height": 800}


def sides(element: "Locator") -> tuple[float, float]:
    """Return where an element begins and ends across the page."""
    box = element.bounding_box()
    assert box
    return box["x"], box["x"] + box["width"]


def is_on_narrow_screen(element: "Locator") -> bool:
    left, right = sides(element)
    return left >= 0 and right <= NARROW


def beyond_the_edge(found: Opened) -> list[str]:
    """Return the tags with classes of everything visible that is wider than the screen, or scrolls sideways.

    What lies in a box that scrolls by itself is left out.
    """
    script = """width => [...document.querySelectorAll('body *')]
        .filter((each) => each.checkVisibility() && !each.closest('thead, .hidden, .matrix table, .paste'))
        .filter((each) => each.getBoundingClientRect().right > width + 0.5 || each.getBoundingClientRect().left < -0.5)
        .map((each) => `${each.tagName} ${each.className}`)
        .concat(document.documentElement.scrollWidth > width ? ['page'] : [])"""
    return list(found.page.evaluate(script, NARROW))


def rich_report(name: str = "worse") -> "Report":
    """Return the report of a comparison, with explanations and transcripts."""
    return enriched(comparison_reports()[name])


def picture_report() -> "Report":
    """Return the report that README's pictures show: one criterion is missed, the other one is met."""
    baseline = baseline_of(earlier("old1", 2, pair("old1", 19, 1)))
    return for_pull_request(enriched(report_on(pair("now", 16, 5), baseline, TWO, labels=LABELS, confidence=None)))


def enriched(report: "Report") -> "Report":
    """Return the report with explanations and transcripts."""
    (leg,) = report.legs
    bad = [row.simulation.id for row in findings_in(leg).to_look_at]
    details = leg.details._replace(
        texts={simulation_id: {"m": WHY} for simulation_id in bad},
        transcripts=dict.fromkeys(bad[:5], TALK),
    )
    return report._replace(legs=(leg._replace(details=details),))


def long_names_report() -> "Report":
    """Return the report of a run whose names have no room on a narrow screen, with a word that cannot be divided."""
    (leg,) = rich_report().legs
    assert leg.result is not None
    metrics = tuple(metric._replace(name=f"{metric.name} {LONG_NAME}") for metric in leg.result.metrics)
    result = leg.result._replace(metrics=metrics)
    thresholds = "\n".join(f'"{metric.name}": missing <= 3' for metric in metrics)
    labels = {case: f"{label} {LONG_NAME}" for case, label in leg.details.labels.items()}
    talk = tuple(turn._replace(text=f"{turn.text} {LONG_NAME}") for turn in TALK)
    texts = {simulation.id: {"m": LONG_NAME, "l": WHY} for simulation in result.simulations}
    details = leg.details._replace(labels=labels, texts=texts, transcripts=dict.fromkeys(texts, talk))
    judgement = judged(result, None, f'{thresholds}\n"{metrics[0].name}": rate(YES) >= 90%')
    long = leg._replace(judgement=judgement, result=result, details=details, findings=UNFOUND)
    return comparison_reports()["unchanged"]._replace(judgement=judgement, legs=(long,))


LEGS: Final = ("Support line · calm caller", "Support line · angry caller", "Booking line")


def legs_report() -> "Report":
    """Return the report of a step with three runs of one test set, whose simulations have the same ids in two."""
    times = {case: found * 2 for case, found in numbers(1, 20).items()}
    twice = run_of("one", times, name="Latency", metric_id="l")
    reports = (
        report_on(also(run_of("one", yes(20, 20, 2)), twice), None, SUITE, labels=LABELS, confidence=None),
        report_on(pair("two", 15, 5, 1.3), None, SUITE, labels=LABELS, confidence=None),
        report_on(pair("two", 17, 9), baseline_of(earlier("old1", 2, pair("old1", 19, 1))), TWO, labels=LABELS),
    )
    legs = tuple(
        enriched(report).legs[0]._replace(name=name, runs=ran(f"run{place}", report.judgement.verdict))
        for place, (name, report) in enumerate(zip(LEGS, reports, strict=True), start=1)
    )
    return reports[1]._replace(legs=legs)
