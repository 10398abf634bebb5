"""Measures the HTML report: its rendering time and size, and how fast Chromium shows and filters it.

The run has 1,000 simulations with 10 metrics and explanations; each simulation misses 10 thresholds. Without Chromium,
its figures are left out.
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import ROOT, Figure
from coval_gate.report.document import document_of
from coval_gate.report.formats.html import render

sys.path.append(str(ROOT / "tests"))

from browsing import BROWSERS, large_report

if TYPE_CHECKING:
    from collections.abc import Iterator

SIMULATIONS = 1_000
TIMES = 5
MOST_SECONDS, MOST_MB, MOST_PAINT, MOST_FILTER = 1.0, 2.0, 1_000.0, 100.0
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
FILTERED = """() => {
    const filter = document.getElementById("filter");
    const times = ["s:failed", "m:number", "caller 17", "!caller", ""].map((query) => {
        const began = performance.now();
        filter.value = query;
        filter.dispatchEvent(new Event("input"));
        document.body.getBoundingClientRect();  // include the new layout
        return performance.now() - began;
    });
    return Math.max(...times);
}"""


def measure() -> list[Figure]:
    """Measure the report of a run that misses everything."""
    report, document, seconds = large_report(SIMULATIONS), "", list[float]()
    for _ in range(TIMES + 1):  # the first is a warm-up
        began = time.process_time()
        document = render(document_of(report))
        seconds.append(time.process_time() - began)
    return [
        Figure("HTML report of 1,000 simulations: CPU", statistics.median(seconds[1:]), "s", most=MOST_SECONDS),
        Figure("HTML report of 1,000 simulations: size", len(document.encode()) / 1e6, "MB", most=MOST_MB),
        *_shown(document),
    ]


def _shown(document: str) -> "Iterator[Figure]":
    """Yield Chromium's figures for the document."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        return
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        file = Path(name) / "report.html"
        file.write_text(document, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        painted, filtered = [], []
        for _ in range(TIMES):
            page = browser.new_page()
            page.goto(file.as_uri())
            page.wait_for_function(f"{PAINTED} > 0")
            painted.append(page.evaluate(PAINTED))
            filtered.append(page.evaluate(FILTERED))
            page.close()
        browser.close()
    yield Figure("HTML report of 1,000 simulations: first paint", statistics.median(painted), "ms", most=MOST_PAINT)
    yield Figure("HTML report of 1,000 simulations: filter", statistics.median(filtered), "ms", most=MOST_FILTER)
