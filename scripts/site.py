"""Collects the pages of the site in build/docs/: those that GitHub shows, and the HTML report of a run.

The site opens with the first week, and README is a page of its own. Links to other files lead to the repository.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import yaml

from coval_demo import ACTION, INPUTS, sandbox
from coval_gate.inputs.inputs import declared
from coval_sandbox.runner import LocalRunner

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
PAGES: Final = {
    "docs/first-week.md": "index.md",
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages of the site whose name differs from their file's name in the repository."""
LINK: Final = re.compile(r'(\]\(|(?:src|srcset|href)=")(?!https?:|#)([^)"\s#]+)')
SPEED: Final = "60"  # of the sandbox, times real time
STEP: Final = {  # the agent got worse
    "test_set_id": "regress1",
    "baseline": "tag:stable",
    "confidence": "95%",
    "thresholds": "Latency: avg <= baseline * 1.1\nResolved: rate(YES) >= 90%\nCompliance: count(NO) == 0",
    "include_transcripts": "failures",
}


def collect(target: Path, repository: str) -> None:
    """Write the pages to a new folder. `repository` is the address that links to other files need. Raises OSError."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in [*DOCS.iterdir(), *(ROOT / source for source in PAGES)]:
        page = target / address(file, repository)
        if file.suffix == ".md":
            page.write_text(relinked(file, repository), encoding="utf-8")
        else:
            shutil.copy(file, page)


def relinked(page: Path, repository: str) -> str:
    """Return a page whose links lead to pages of the site, or else to files of the repository."""
    text = page.read_text(encoding="utf-8")
    return LINK.sub(lambda match: match[1] + address(page.parent / match[2], repository), text)


def address(file: Path, repository: str) -> str:
    """Return the address of a file for pages of the site. Raises ValueError if it is outside the repository."""
    path = file.resolve().relative_to(ROOT).as_posix()
    if path in PAGES:
        return PAGES[path]
    in_docs = path.removeprefix(f"{DOCS.name}/")
    return in_docs if in_docs != path else f"{repository.rstrip('/')}/blob/main/{path}"


def write_report(target: Path) -> None:
    """Write the HTML report of a step against the sandbox. Raises RuntimeError if the step writes none."""
    given = {declaration.name: declaration.default for declaration in declared()} | INPUTS | STEP
    with sandbox(["--speed", SPEED]) as url, tempfile.TemporaryDirectory() as directory:
        runner = LocalRunner(Path(directory))
        environ = runner.environ(given | {"api_base_url": url})
        done = subprocess.run([sys.executable, "-I", str(ACTION)], env=environ, check=False, capture_output=True)
        report = runner.workspace / INPUTS["html_path"]
        if not report.exists():
            raise RuntimeError(f"the step wrote no report:\n{done.stdout.decode()}{done.stderr.decode()}")
        shutil.copy(report, target)


def main() -> int:
    """Collect the pages. Return the exit code."""
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    folder = ROOT / settings["docs_dir"]
    collect(folder, settings["extra"]["social"][0]["link"])
    write_report(folder / "report.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
