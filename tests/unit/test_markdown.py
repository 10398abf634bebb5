"""Foreign text in Markdown, rendered by GitHub's own dialect of CommonMark."""

from __future__ import annotations

import html
import re

import cmarkgfm
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.report.markdown import code, escape, link
from coval_gate.text import one_line

HOSTILE = [
    "**b** _i_ __u__ a_b_c `c` ~~s~~ \\`x\\` a `` b ``",
    "[a](http://evil.example) ![i](http://evil.example/x.png) [r]: http://evil.example",
    "<img src=x onerror=alert(1)> <!-- marker --> &lt; &amp; </td></table>",
    "http://evil.example www.evil.example WWW.evil.example someone@evil.example",
    "| a | b |",
    "$x$ and $`y`$",
    "# heading\n> quote\n- list",
    "@mona #12 acme/voice#3",
]
TABLE = "| | |\n|---|---|\n| {} | {} |\n"
FOREIGN = st.text(max_size=80) | st.sampled_from(HOSTILE) | st.text("\\`*_[]()<>|~$#@:/!&w. ax", max_size=80)


def rendered(markdown: str) -> str:
    return str(cmarkgfm.github_flavored_markdown_to_html(markdown, cmarkgfm.cmark.Options.CMARK_OPT_UNSAFE))


def shown(html_text: str) -> str:
    """What a reader sees of HTML, without its tags and zero-width spaces."""
    return html.unescape(re.sub(r"<[^>]*>", "", html_text)).replace("\u200b", "").strip()


@given(FOREIGN)
def test_escaped_text_is_text_and_says_the_same(text: str) -> None:
    page = rendered(f"Reason: x{escape(text)}x\n")
    assert re.findall(r"<[^>]*>", page) == ["<p>", "</p>"]
    assert shown(page) == f"Reason: x{one_line(text)}x"


@given(FOREIGN)
def test_no_text_breaks_out_of_a_table_cell(text: str) -> None:
    page = rendered(TABLE.format("x" + escape(text), "y"))
    assert page.count("<td>") == 2
    assert set(re.findall(r"<(\w+)", page)) <= {"table", "thead", "tbody", "tr", "th", "td"}


@given(FOREIGN)
def test_no_text_breaks_out_of_a_code_span(text: str) -> None:
    page = rendered(TABLE.format("x", code(text)))
    assert page.count("<td>") == 2
    assert page.count("<code>") == (1 if code(text) else 0)
    assert set(re.findall(r"<(\w+)", page)) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}


@pytest.mark.parametrize("text", HOSTILE[:7])
def test_the_hostile_texts_do_something_before_they_are_escaped(text: str) -> None:
    """Without this, the tests above could pass because their examples are harmless. (Formulas are GitHub's own.)"""
    paragraph, cell = rendered(f"{text}\n"), rendered(TABLE.format(text, "y"))
    harmless = shown(paragraph) == text and re.findall(r"<[^>]*>", paragraph) == ["<p>", "</p>"]
    assert "$" in text or not harmless or ">y<" not in cell


def test_github_finds_nobody_to_notify_and_nothing_to_link() -> None:
    assert escape("@mona #12") == "@\u200bmona #\u200b12"


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://a b", "https://a)b", "https://a|b", ""])
def test_a_link_leads_to_a_plain_address_or_nowhere(url: str) -> None:
    assert link("label", url) == "label"


def test_a_link() -> None:
    assert link("the run", "https://app.coval.dev/runs/r1") == "[the run](https://app.coval.dev/runs/r1)"
