"""The report as a self-contained HTML file, which needs no network, no other file and no JavaScript to be read.

Its Content-Security-Policy allows only its own style and script, each by its hash. The template escapes all text, and
attributes contain neither handlers nor styles.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from coval_gate.report import limits
from coval_gate.report.html.page import page

if TYPE_CHECKING:
    from jinja2 import Template

    from coval_gate.report.model import Report

PARTS = "coval_gate.report.html"


def render(report: Report) -> str:
    """Return the report as an HTML document, whose text is valid UTF-8."""
    style, script = _part("report.css"), _part("report.js")
    text = _template().render(
        page=page(report),
        limits=limits,
        style=Markup(style),  # noqa: S704 - our own, and named by its hash
        script=Markup(script),  # noqa: S704
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'",
    )
    return text.encode("utf-8", "replace").decode("utf-8") + "\n"


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_part("report.html.j2"))


@cache
def _part(name: str) -> str:
    return files(PARTS).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the source expression of an inline element with this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
