"""Draws the pictures of README and docs/: step summaries from golden files, and an HTML report.

picture.py             writes docs/NAME-light.png and docs/NAME-dark.png
picture.py --check     writes nothing; fails if a picture of a summary is out of date

Drawing needs Chromium and a font with emojis, such as Noto Color Emoji, and no network.
"""

import hashlib
import re
import shutil
import struct
import sys
import zlib
from pathlib import Path
from string import Template
from typing import Final, Literal

from cmarkgfm import github_flavored_markdown_to_html
from cmarkgfm.cmark import Options
from playwright.sync_api import Browser, Page, sync_playwright

from coval_gate.features.files.html import render
from coval_gate.report.document import document_of

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
PARTS: Final = ROOT / "scripts" / "picture"
GOLDEN: Final = ROOT / "tests" / "golden"
sys.path.append(str(ROOT / "tests"))

from browsing import BROWSERS, picture_report  # noqa: E402 - the tests' folder is not a package

SOURCES: Final = {  # logs that contain a summary, or summaries
    "summary": GOLDEN / "road" / "readme.txt",
    "preview": GOLDEN / "compared" / "beside-another-agent.md",
    "legs": GOLDEN / "compared" / "legs.md",
}
BEYOND: Final = re.compile(r"^#### (Metrics|[\d,]+ simulations to look at)\b", re.MULTILINE)
THEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
AFTER_HEADER: Final = 33  # bytes of a PNG


def summary_of(name: str) -> str:
    """Return the part of a summary that fits a screen, in Markdown."""
    text = SOURCES[name].read_text(encoding="utf-8")
    is_log = SOURCES[name].suffix == ".txt"
    return text.partition("\n--- summary\n")[2].partition("#### Metrics")[0] if is_log else BEYOND.split(text)[0]


def note_of(markdown: str) -> bytes:
    """Return the chunk of a PNG that identifies the summary."""
    content = b"tEXtSource\0" + hashlib.sha256(markdown.encode()).hexdigest().encode()
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def draw_summary(page: Page, markdown: str) -> bytes:
    """Return a picture of a summary as GitHub shows it."""
    theme = "dark" if page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
    body = github_flavored_markdown_to_html(markdown, options=Options.CMARK_OPT_UNSAFE)
    template = Template((PARTS / "page.html").read_text(encoding="utf-8"))
    page.set_content(template.substitute(theme=theme, body=body))
    page.add_style_tag(path=PARTS / "page.css")
    picture = page.screenshot(full_page=True)
    return picture[:AFTER_HEADER] + note_of(markdown) + picture[AFTER_HEADER:]


def draw_report(page: Page) -> bytes:
    """Return a picture of the beginning of an HTML report."""
    page.set_content(render(document_of(picture_report())))
    return page.screenshot()


def draw(browser: Browser) -> None:
    """Write all pictures."""
    for theme in THEMES:
        page = browser.new_page(color_scheme=theme, viewport={"width": 1200, "height": 1360})
        (DOCS / f"report-{theme}.png").write_bytes(draw_report(page))
        for name in SOURCES:
            page = browser.new_page(color_scheme=theme, viewport={"width": 900, "height": 100}, device_scale_factor=1.5)
            (DOCS / f"{name}-{theme}.png").write_bytes(draw_summary(page, summary_of(name)))


def outdated() -> list[str]:
    """Return the pictures that do not show the current summary."""
    paths = {DOCS / f"{name}-{theme}.png": note_of(summary_of(name)) for name in SOURCES for theme in THEMES}
    return [path.name for path, note in paths.items() if not path.is_file() or note not in path.read_bytes()]


def main() -> int:
    """Draw or check the pictures. Return the exit code."""
    if "--check" in sys.argv:
        names = outdated()
        print(*(f"{name} is out of date; run `make picture`." for name in names), sep="\n", file=sys.stderr)
        return 1 if names else 0
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        print("Chromium is required for the pictures, but it is not installed.", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        draw(playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
