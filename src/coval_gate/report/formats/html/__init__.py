"""The report as a self-contained HTML file, which needs no network, no other file and no JavaScript to be read.

Its Content-Security-Policy allows only its own style and script, each by its hash. The template escapes all text, and
attributes contain neither handlers nor styles.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from coval_gate.base.text import named_with_unit, number, one_line, percent, plural, with_unit
from coval_gate.report import limits
from coval_gate.report.document import Document
from coval_gate.report.document.base import plain
from coval_gate.report.formats.html.plots import WIDTH, histogram, scale_of, trend_of
from coval_gate.report.formats.html.table import table, web_address
from coval_gate.report.tables import FEW_FLIPS

if TYPE_CHECKING:
    from jinja2 import Template

PARTS: Final = __name__
ICONS: Final[dict[str | None, tuple[str, str]]] = {
    "passed": ("#1a7f37", "M4.5 8.3l2.5 2.5 4.5-5.3"),
    "failed": ("#cf222e", "M5.2 5.2l5.6 5.6m0-5.6l-5.6 5.6"),
}
OTHER_ICON: Final = ("#9a6700", "M8 4v5m0 2.8v.2")


def render(document: Document) -> str:
    """Return the report as an HTML document, whose text is valid UTF-8."""
    style, script = _part("report.css"), _part("report.js")
    text = _template().render(
        document=document,
        table=table(document),
        icon=_icon(document.verdict),
        style=Markup(style),  # noqa: S704 - our own, and named by its hash
        script=Markup(script),  # noqa: S704
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'",
    )
    return text.encode("utf-8", "replace").decode("utf-8") + "\n"


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"line": one_line, "web": web_address, "plain": plain, "number": number, "percent": percent}
    environment.filters |= {"with_unit": with_unit, "named_with_unit": named_with_unit, "count": "{:,}".format}
    environment.globals |= {"histogram_of": histogram, "scale_of": scale_of, "trend_of": trend_of, "plural": plural}
    environment.globals |= {"limits": limits, "FEW_FLIPS": FEW_FLIPS, "WIDTH": WIDTH}
    return environment.from_string(_part("report.html.j2"))


@cache
def _part(name: str) -> str:
    return files(PARTS).joinpath(name).read_text(encoding="utf-8")


def _icon(verdict: str | None) -> str:
    """Return the page's icon as a URL: the verdict as a shape on a disc, which a row of tabs tells apart."""
    colour, shape = ICONS.get(verdict, OTHER_ICON)
    disc = f"<circle cx='8' cy='8' r='8' fill='{colour}'/>"
    line = f"<path d='{shape}' fill='none' stroke='#fff' stroke-width='2' stroke-linecap='round'/>"
    picture = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>{disc}{line}</svg>"
    return f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}"


def _hash(text: str) -> str:
    """Return the source expression of an inline element with this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
