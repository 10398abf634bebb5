"""Renders Markdown as GitHub does in comments: tables, and of HTML only a few tags. Everything else is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from html import escape, unescape
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

RAW: Final = re.compile(r"<!--.*?(?:-->|\Z)|<(/?)(details|summary|br|sub)\s*/?>", re.DOTALL | re.IGNORECASE)


def rendered(markdown: str) -> str:
    """The HTML is safe."""
    return str(_parser().render(markdown))


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True, "breaks": True}).enable(["table", "strikethrough"])
    parser.disable("image")  # the page loads nothing from elsewhere
    parser.add_render_rule("html_block", _raw)
    parser.add_render_rule("html_inline", _raw)
    parser.add_render_rule("link_open", _link)
    return parser


def _raw(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: EnvType) -> str:
    """Keep the tags that GitHub allows, without attributes; drop comments, and escape the rest."""
    text, parts, end = tokens[index].content, list[str](), 0
    for tag in RAW.finditer(text):
        parts += [_escaped(text[end : tag.start()]), f"<{tag[1]}{tag[2].lower()}>" if tag[2] else ""]
        end = tag.end()
    return "".join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return escape(unescape(text))  # as HTML, the text may contain entities


def _link(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    tokens[index].attrSet("rel", "nofollow noreferrer")
    return self.renderToken(tokens, index, options, env)
