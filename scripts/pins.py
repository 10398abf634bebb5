"""Writes the repository and the version, from src/coval_gate/__init__.py, into every file that people copy from.

Needs only Python.
"""

import re
import runpy
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
PLACEHOLDER: Final = "your-org/coval-gate"
IDENTITY_FILE: Final = Path("src/coval_gate/__init__.py")
PLACES: Final = (
    *("README.md", "docs", "examples", "mkdocs.yml"),
    *(".github/zizmor.yml", ".github/ISSUE_TEMPLATE"),
    "src/coval_sandbox/guide.py",  # the step that `make sandbox` shows
)
ADVICE: Final = re.compile(r"Replace `your-org` with [^.,`]+, and pin\b")  # done by `make adopt`
SPACE: Final = "(?: |&#160;|\N{NO-BREAK SPACE})"


class Identity(NamedTuple):
    """The repository, version and pin in `coval_gate`."""

    repository: str
    version: str
    pin: str
    source: str


def identity(root: Path = ROOT) -> Identity:
    """Read it from the tree at `root`."""
    values = runpy.run_path(str(root / IDENTITY_FILE))
    return Identity(values["REPOSITORY"], values["__version__"], values["PIN"], values["SOURCE"])


def pinned(text: str, now: Identity, before: str = PLACEHOLDER) -> str:
    """Return a text with the repository `before`, its pins and the version replaced by `now`."""
    if now.repository != PLACEHOLDER:
        text = ADVICE.sub("Pin", text)
    text = re.sub(rf"(?<![\w-]){re.escape(before)}(?![\w-])", now.repository, text)
    text = re.sub(rf"\b({re.escape(now.repository)}(?:@|\.git#))v\d+(?:\.\d+)*", rf"\g<1>{now.pin}", text)
    text = re.sub(rf"({re.escape(now.repository)}@)main\b", rf"\g<1>{now.source}", text)
    assets = f"download/{now.source}" if now.source != "main" else "latest/download"
    text = re.sub(
        rf"({re.escape(now.repository)}/releases/)(?:latest/download|download/v[\d.]+)", rf"\g<1>{assets}", text
    )
    text = re.sub(r"(/coval-gate/run@)v?\d+(?:\.\d+)*", rf"\g<1>{now.pin}", text)  # GitLab's component
    return re.sub(rf"(\bCoval{SPACE}Gate{SPACE}|/coval-gate:)\d+\.\d+\.\d+", rf"\g<1>{now.version}", text)


def places(root: Path = ROOT) -> list[Path]:
    """Return the files that people copy from, also in an archive without git."""
    found = (path for place in PLACES for path in (root / place, *(root / place).rglob("*")))
    return sorted(path for path in found if path.is_file() and path.suffix not in (".png", ".pyc"))


def write_pins(root: Path = ROOT, before: str = PLACEHOLDER) -> list[Path]:
    """Bring all these files up to date, and return those that changed."""
    now, changed = identity(root), []
    for path in places(root):
        old = path.read_bytes().decode()
        if (new := pinned(old, now, before)) != old:
            path.write_bytes(new.encode())
            changed.append(path)
    return changed


def set_identity(root: Path, **values: str | bool) -> None:
    """Change these values in the tree at `root`. Raises ValueError."""
    path = root / IDENTITY_FILE
    text = path.read_text(encoding="utf-8")
    for name, value in values.items():
        text, count = re.subn(rf'(?m)^({name} = )(?:"[^"]*"|True|False)', rf"\g<1>{_literal(value)}", text)
        if count != 1:
            raise ValueError(f"{path}: expected {name} once, found it {count} times")
    path.write_text(text, encoding="utf-8")


def _literal(value: str | bool) -> str:
    return str(value) if isinstance(value, bool) else f'"{value}"'
