"""Chromium for the tests of the HTML pages. `scripts/browser` finds or installs it; on CI, its absence is an error."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from browsing import BROWSERS, Opened
from coval_gate.features.nights.document import HistoryDocument
from coval_gate.features.nights.page import render as render_history
from rendering import html as render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from playwright.sync_api import Browser

    from browsing import Open
    from coval_gate.report.document.model import Report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser" in item.path.as_posix():
            item.add_marker("browser")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Return Chromium, which has no page yet."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        missing = "there is no Chromium; `scripts/browser` installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def open_report(chromium: Browser, tmp_path: Path) -> Open:
    """Open a report or a history in a page of its own; leaving it fails if the page logged or requested anything."""

    @contextmanager
    def opened(report: Report | HistoryDocument, fragment: str = "", **options: Any) -> Iterator[Opened]:
        file = tmp_path / "report.html"
        text = render_history(report) if isinstance(report, HistoryDocument) else render(report)
        file.write_text(text, encoding="utf-8")
        context = chromium.new_context(**options)
        page = context.new_page()
        opened = Opened(page=page, address=file.as_uri())
        page.on("console", lambda message: opened.messages.append(message.text))
        page.on("pageerror", lambda error: opened.messages.append(str(error)))
        page.on("dialog", lambda dialog: opened.messages.append(dialog.message))
        page.on("request", lambda request: opened.requests.append(request.url))
        page.goto(opened.address + fragment)
        yield opened
        assert opened.messages == []
        assert [url for url in opened.requests if not url.startswith((opened.address, "data:"))] == []
        context.close()

    return opened
