"""Draws README's pictures of step summaries from golden files: of one run, of a preview, and of several legs.

picture.py [NAME...] [--to DIRECTORY]     writes NAME-light.png and NAME-dark.png
picture.py --check                        writes nothing; fails if a picture is out of date

Drawing needs Chromium. A summary with a Mermaid diagram also needs npm, or the Mermaid file in MERMAID_JS.
"""

import argparse
import base64
import hashlib
import html
import os
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

from cmarkgfm import github_flavored_markdown_to_html
from cmarkgfm.cmark import Options

ROOT = Path(__file__).resolve().parent.parent
PARTS = Path(__file__).resolve().parent / "picture"
GOLDEN = ROOT / "tests" / "golden"
SOURCES = {  # a log with its summary, which is shown whole, or a summary, of which the beginning is shown
    "summary": GOLDEN / "road" / "readme.txt",
    "preview": GOLDEN / "compared" / "beside-another-agent.md",
    "legs": GOLDEN / "compared" / "legs.md",
}
BEYOND = re.compile(r"^#### [\d,]+ simulations to look at\b", re.MULTILINE)
THEMES = ("light", "dark")
TITLE = "evaluate summary"
WIDTH = 900  # CSS pixels
SCALE = 2  # pixels per CSS pixel
PATIENCE = 120  # seconds; timeout of a tool
MERMAID = "mermaid@11.17.2"
MERMAID_FILE = "package/dist/mermaid.min.js"
MERMAID_SHA256 = "581ed7d74bd9048d0e3a91363927d72ef22942d7722546b27f7cc29e35390eb8"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # /dev/shm is small in a container
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",  # shrink.js reads the picture's pixels
    "--host-resolver-rules=MAP * ~NOTFOUND",  # a picture must not depend on the network
    "--hide-scrollbars",
    f"--force-device-scale-factor={SCALE}",
    "--virtual-time-budget=20000",  # milliseconds of the page's own clock, for the diagrams
)


class Trouble(Exception):
    """Why there is no picture, in one sentence."""


def summary_of(golden: Path) -> str:
    """Return the summary's Markdown from a golden file."""
    if not golden.is_file():
        raise Trouble(f"There is no file {golden}.")
    text = golden.read_text(encoding="utf-8")
    markdown = BEYOND.split(text)[0] if golden.suffix == ".md" else text.partition("\n--- summary\n")[2]
    if not markdown.strip():
        raise Trouble(f"{golden} does not contain a summary.")
    return markdown


def tool(*names: str) -> str:
    """Return the path of the first installed command in `names`."""
    for name in names:
        if path := shutil.which(name):
            return path
    raise Trouble(f"{names[0]} is required for the pictures, but it is not installed.")


def output_of(*command: str, cwd: Path) -> str:
    """Run a command, and return its output."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except subprocess.CalledProcessError as error:
        raise Trouble(f"{name} failed with exit code {error.returncode}: {error.stderr.strip()[:500]}") from error
    except subprocess.TimeoutExpired as error:
        raise Trouble(f"{name} did not end within {PATIENCE} seconds.") from error
    return done.stdout


def fetch_mermaid(directory: Path) -> None:
    """Copy Mermaid next to the page, from the file in MERMAID_JS or from the npm package."""
    target = directory / "mermaid.js"
    if local_copy := os.environ.get("MERMAID_JS"):
        if not Path(local_copy).is_file():
            raise Trouble(f"MERMAID_JS names {local_copy}, which is not a file.")
        shutil.copyfile(local_copy, target)
        return
    archive = output_of(tool("npm"), "pack", "--loglevel=error", MERMAID, cwd=directory).split()[-1]
    with tarfile.open(directory / archive) as package:
        member = package.extractfile(MERMAID_FILE)
        script = member.read() if member else b""
    if hashlib.sha256(script).hexdigest() != MERMAID_SHA256:
        raise Trouble(f"{MERMAID} does not contain the expected file.")
    target.write_bytes(script)


def page(body: str, theme: str, scripts: str) -> str:
    """Return the HTML page in a theme."""
    template = Template((PARTS / "page.html").read_text(encoding="utf-8"))
    return template.substitute(theme=theme, title=html.escape(TITLE), body=body, scripts=scripts)


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def note_of(markdown: str) -> bytes:
    """Return the content of the text chunk that identifies the picture's summary: keyword and hash."""
    return b"Source\0" + hashlib.sha256(markdown.encode()).hexdigest().encode()


def png(size: tuple[int, int], palette: bytes, lines: bytes, note: bytes) -> bytes:
    """Return a PNG whose pixels are indexes into the palette."""
    header = struct.pack(">IIBBBBB", *size, 8, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"tEXt", note),
        (b"PLTE", palette),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks)


class Browser:
    """Headless Chromium with a new profile."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = tool(*BROWSERS)

    def open(self, name: str, height: int, *flags: str) -> str:
        """Open a page of the directory in a window of this height, and return Chromium's output."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            size = f"--window-size={WIDTH},{height}"
            url = (self.directory / name).as_uri()
            return output_of(self.path, *FLAGS, f"--user-data-dir={profile}", size, *flags, url, cwd=self.directory)

    def results_of(self, name: str, *keys: str) -> list[str]:
        """Return attributes of the page in which its script stored its results."""
        start = re.search(r"<html[^>]*>", self.open(name, WIDTH, "--dump-dom"))
        data = dict(re.findall(r'data-(\w+)="([^"]*)"', start[0])) if start else {}
        if any(key not in data for key in keys):
            problem = html.unescape(data.get("problem", "its script did not end"))
            raise Trouble(f"{name} could not be drawn: {problem}")
        return [data[key] for key in keys]

    def picture_of(self, name: str, note: bytes) -> bytes:
        """Return the whole page as a PNG with a note."""
        height = int(self.results_of(name, "height")[0])
        self.open(name, height, "--screenshot=picture.png")
        picture = (self.directory / "picture.png").read_bytes()
        size = struct.unpack(">II", picture[16:24])
        if size != (WIDTH * SCALE, height * SCALE):
            raise Trouble(f"Chromium drew {size[0]}x{size[1]} pixels for a page of {WIDTH}x{height}.")
        palette, lines = self.results_of("shrink.html", "palette", "lines")
        return png(size, bytes.fromhex(palette), base64.b64decode(lines), note)


def check(name: str, directory: Path) -> None:
    """Check that the pictures show the current summary."""
    note = note_of(summary_of(SOURCES[name]))
    for theme in THEMES:
        path = directory / f"{name}-{theme}.png"
        if not path.is_file() or note not in path.read_bytes():
            raise Trouble(f"{path.name} is out of date; run `make picture`.")


def make(name: str, target: Path) -> None:
    """Draw a picture for each theme."""
    markdown = summary_of(SOURCES[name])
    body = github_flavored_markdown_to_html(markdown, options=Options.CMARK_OPT_UNSAFE)
    with tempfile.TemporaryDirectory() as parts:
        directory = Path(parts)
        browser = Browser(directory)
        shutil.copytree(PARTS, directory, dirs_exist_ok=True)
        scripts = ""
        if '<pre lang="mermaid">' in body:
            fetch_mermaid(directory)
            scripts = '<script src="mermaid.js"></script>'
        for theme in THEMES:
            (directory / f"{theme}.html").write_text(page(body, theme, scripts), encoding="utf-8")
            picture = browser.picture_of(f"{theme}.html", note_of(markdown))
            target.mkdir(parents=True, exist_ok=True)
            path = target / f"{name}-{theme}.png"
            path.write_bytes(picture)
            print(f"{path}: {len(picture) / 1000:.0f} KB")


def main(arguments: list[str]) -> int:
    """Draw or check the pictures. Return the exit code."""
    parser = argparse.ArgumentParser(description="Draw the pictures of step summaries from golden files.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(SOURCES)}; default: all")
    parser.add_argument("--to", type=Path, default=ROOT / "docs", metavar="DIRECTORY")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    names = options.names or list(SOURCES)
    if unknown := [name for name in names if name not in SOURCES]:
        parser.error(f"there is no picture {unknown[0]!r}")
    try:
        for name in names:
            (check if options.check else make)(name, options.to)
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
