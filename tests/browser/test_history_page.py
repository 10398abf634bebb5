"""The page of a history in Chromium: both themes, a narrow screen, links, rings, lines, and what is read aloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from browsing import NARROW, beyond_the_edge, is_on_narrow_screen, screen, sides
from histories import HOME, case, history, history_run, shares, threshold

if TYPE_CHECKING:
    from browsing import Open
    from coval_gate.features.nights.document import HistoryDocument


def long_history() -> HistoryDocument:
    """Return a history of thirty runs of twelve test cases with long names."""
    leg = history().legs[0]
    runs = [
        history_run(nth, accepted=nth % 7 == 0, changes=["version of Resolved"] * (nth % 7 == 1)) for nth in range(30)
    ]
    name = f"of callers who ask twice, {'Terminvereinbarungsbestaetigung' * 4}"
    cases = [case(nth, f"{name} {nth}", 12, [(nth + at) % 13 for at in range(30)]) for nth in range(12)]
    hits = [144 - at for at in range(30)]
    long = threshold(f"{name}: rate(YES) >= 90%", shares(144, *hits, bound=0.9), variant=name)
    update = {"runs": runs, "cases": cases, "thresholds": [long], "title": name}
    return history().model_copy(update={"legs": [leg.model_copy(update=update)], "title": name})


def short_history() -> HistoryDocument:
    """Return a history of one run of one test case."""
    leg = history().legs[0]
    one = threshold("Resolved: rate(YES) >= 90%", shares(1, 0, bound=0.9))
    update = {"runs": [history_run(0)], "cases": [case(1, "Wrong number", 1, [0])], "thresholds": [one]}
    return history().model_copy(update={"legs": [leg.model_copy(update=update)], "known_failures": ""})


HISTORIES = {"by hand": history(), "long": long_history(), "short": short_history()}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [NARROW, 1280])
@pytest.mark.parametrize("name", HISTORIES)
def test_axe_finds_nothing(open_report: Open, name: str, width: int, theme: str) -> None:
    with open_report(HISTORIES[name], color_scheme=theme, bypass_csp=True, viewport=screen(width)) as found:
        found.page.locator("details").evaluate_all("all => all.forEach((each) => (each.open = true))")
        violations = Axe().run(found.page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in violations] == []


@pytest.mark.parametrize("name", HISTORIES)
def test_page_fits_narrow_screen(open_report: Open, name: str) -> None:
    with open_report(HISTORIES[name], viewport=screen(NARROW)) as found:
        found.page.locator("details").evaluate_all("all => all.forEach((each) => (each.open = true))")
        assert beyond_the_edge(found) == []


@pytest.mark.parametrize("width", [NARROW, 1280])
def test_matrix_begins_with_the_newest_run_and_keeps_its_first_column(open_report: Open, width: int) -> None:
    with open_report(HISTORIES["long"], viewport=screen(width), java_script_enabled=False) as found:
        box, row = found.page.locator(".matrix"), found.page.locator(".matrix tbody tr").first
        for newest_first in (True, False):
            if not newest_first:
                box.hover()
                found.page.mouse.wheel(-10_000, 0)
                found.page.wait_for_timeout(200)
            left, right = sides(box)
            assert left <= sides(row.locator("th"))[0] <= left + 2
            cell = row.locator("td").last if newest_first else row.locator("td").first
            begins, ends = sides(cell)
            assert sides(row.locator("th"))[1] - 1 <= begins < ends <= right + 1


def test_cells_and_dots_lead_to_coval_and_are_read_with_their_headers(open_report: Open) -> None:
    with open_report(HISTORIES["by hand"]) as found:
        row = found.page.get_by_role("row", name="Wrong number").last
        expect(row.get_by_role("link")).to_have_text(["3/3", "2/3", "1/3", "3/3", "0/3", "2/3", "1/3"])
        expect(row.get_by_role("link", name="0/3")).to_have_attribute(
            "href", f"{HOME}/runs/{'run' + '5'.zfill(19)}/results/sim2-5"
        )
        expect(found.page.locator(".matrix td.gap")).to_have_text(["?", "?", "?", "–", "–", "?", "?"])
        chart = found.page.get_by_role("group", name="Resolved: rate(YES) >= 90%")
        expect(chart.locator(".cross")).to_have_count(2)
        expect(chart.locator(".ring")).to_have_count(3)
        expect(chart.locator(".change")).to_have_count(4)
        expect(chart.locator(".bound")).to_have_count(1)
        missed = chart.get_by_role("link", name="run of 2026-11-25: 88% (44 of 50), missed")
        expect(missed).to_have_attribute("href", f"{HOME}/runs/run{'2'.zfill(19)}")
        expect(found.page.get_by_role("columnheader", name="2026-11-28")).to_contain_text("persona changed")
        expect(found.page.get_by_role("listitem").filter(has_text="2026-11-27")).to_have_text(
            "3 2026-11-27: version of Resolved changed"
        )


def test_narrow_screen_shows_values_with_their_names(open_report: Open) -> None:
    with open_report(HISTORIES["by hand"], viewport=screen(NARROW)) as found:
        found.page.get_by_text("All values").click()
        value = found.page.get_by_text("✗ 86% (43 of 50)")
        assert is_on_narrow_screen(value)
        label = value.evaluate("cell => getComputedStyle(cell, '::before').content")
        assert label.replace('"', "").strip() == "Resolved: rate(YES) >= 90%"
