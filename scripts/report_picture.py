"""Draws README's pictures of the HTML report: a comparison with a baseline, in both themes. Needs Chromium."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import ViewportSize, sync_playwright

from coval_gate.report.document import document_of
from coval_gate.report.formats.html import render

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests"))

from browsing import BROWSERS, picture_report  # noqa: E402 - the tests' folder is not a package

THEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
SIZE: Final[ViewportSize] = {"width": 1200, "height": 1360}  # CSS pixels


def main() -> int:
    """Draw the pictures. Return the exit code."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        print("Chromium is required for the pictures, but it is not installed.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        file = Path(name) / "report.html"
        file.write_text(render(document_of(picture_report())), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        for theme in THEMES:
            page = browser.new_page(color_scheme=theme, viewport=SIZE)
            page.goto(file.as_uri())
            target = ROOT / "docs" / f"report-{theme}.png"
            page.screenshot(path=target)
            print(f"{target.name}: {target.stat().st_size / 1000:.0f} KB")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
