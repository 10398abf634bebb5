"""Draws the pictures of README and docs/: step summaries from golden files, and an HTML report.

picture.py             writes docs/NAME-light.png and docs/NAME-dark.png
picture.py --check     writes nothing; fails if a picture of a summary is out of date

Drawing needs Chromium, npm for the charts, and a font with emojis, such as Noto Color Emoji.
"""

import hashlib
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path
from string import Template
from typing import Final, Literal

from cmarkgfm import github_flavored_markdown_to_html
from cmarkgfm.cmark import Options
from playwright.sync_api import Browser, Page, sync_playwright

from coval_gate.report.document import document_of
from coval_gate.report.formats.html import render

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
PARTS: Final = ROOT / "scripts" / "picture"
GOLDEN: Final = ROOT / "tests" / "golden"
sys.path.append(str(ROOT / "tests"))

from browsing import BROWSERS, picture_report  # noqa: E402 - the tests' folder is not a package

SOURCES: Final = {  # a log with its summary, or a summary of which the beginning is shown
    "summary": GOLDEN / "road" / "readme.txt",
    "preview": GOLDEN / "compared" / "beside-another-agent.md",
    "legs": GOLDEN / "compared" / "legs.md",
}
BEYOND: Final = re.compile(r"^#### (Metrics|[\d,]+ simulations to look at)\b", re.MULTILINE)
THEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
MERMAID: Final = "mermaid@11.17.2"
MERMAID_SHA256: Final = "581ed7d74bd9048d0e3a91363927d72ef22942d7722546b27f7cc29e35390eb8"
AFTER_HEADER: Final = 33  # bytes of a PNG


def summary_of(name: str) -> str:
    """Return the Markdown of a summary."""
    text = SOURCES[name].read_text(encoding="utf-8")
    return text.partition("\n--- summary\n")[2] if SOURCES[name].suffix == ".txt" else BEYOND.split(text)[0]


def note_of(markdown: str) -> bytes:
    """Return the chunk of a PNG that identifies the summary."""
    content = b"tEXtSource\0" + hashlib.sha256(markdown.encode()).hexdigest().encode()
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def mermaid() -> str:
    """Download Mermaid, and return its code."""
    with tempfile.TemporaryDirectory() as folder:
        command = [shutil.which("npm") or "npm", "pack", "--silent", MERMAID]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).iterdir()
        with tarfile.open(archive) as package:
            member = package.extractfile("package/dist/mermaid.min.js")
            code = member.read() if member else b""
    if hashlib.sha256(code).hexdigest() != MERMAID_SHA256:
        raise SystemExit(f"{MERMAID} does not contain the expected file.")
    return code.decode()


def draw_summary(page: Page, markdown: str, charts: str) -> bytes:
    """Return a picture of a summary as GitHub shows it."""
    theme = "dark" if page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
    body = github_flavored_markdown_to_html(markdown, options=Options.CMARK_OPT_UNSAFE)
    template = Template((PARTS / "page.html").read_text(encoding="utf-8"))
    page.set_content(template.substitute(theme=theme, body=body))
    page.add_style_tag(path=PARTS / "page.css")
    page.add_script_tag(content=charts)
    page.add_script_tag(path=PARTS / "page.js")
    page.evaluate("draw()")
    picture = page.screenshot(full_page=True)
    return picture[:AFTER_HEADER] + note_of(markdown) + picture[AFTER_HEADER:]


def draw_report(page: Page) -> bytes:
    """Return a picture of the beginning of an HTML report."""
    page.set_content(render(document_of(picture_report())))
    return page.screenshot()


def draw(browser: Browser) -> None:
    """Write all pictures."""
    charts = mermaid()
    for theme in THEMES:
        page = browser.new_page(color_scheme=theme, viewport={"width": 1200, "height": 1360})
        (DOCS / f"report-{theme}.png").write_bytes(draw_report(page))
        for name in SOURCES:
            page = browser.new_page(color_scheme=theme, viewport={"width": 900, "height": 100}, device_scale_factor=1.5)
            (DOCS / f"{name}-{theme}.png").write_bytes(draw_summary(page, summary_of(name), charts))


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
