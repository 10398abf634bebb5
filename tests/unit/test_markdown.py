"""Foreign text in Markdown is inert when GitHub Flavored Markdown renders it."""

import html
import re

import cmarkgfm
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coval_gate.base.text import one_line
from coval_gate.report.markdown import code, escape, link
from readers import MarkdownPage

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


def visible_text(html_text: str) -> str:
    """Return the visible text of HTML, without tags and zero-width spaces."""
    return html.unescape(re.sub(r"<[^>]*>", "", html_text)).replace("\u200b", "").strip()


@given(FOREIGN)
def test_escaped_text_is_rendered_as_same_text(text: str) -> None:
    page = rendered(f"Reason: x{escape(text)}x\n")
    assert re.findall(r"<[^>]*>", page) == ["<p>", "</p>"]
    assert visible_text(page) == f"Reason: x{one_line(text)}x"


@given(FOREIGN)
def test_escaped_text_stays_in_table_cell(text: str) -> None:
    page = rendered(TABLE.format("x" + escape(text), "y"))
    assert page.count("<td>") == 2
    assert set(re.findall(r"<(\w+)", page)) <= {"table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.parametrize("text", HOSTILE[:7])
def test_unescaped_examples_are_active(text: str) -> None:
    """Prove that the tests above do not pass just because their examples are harmless.

    cmark does not render formulas; only GitHub does.
    """
    paragraph, cell = rendered(f"{text}\n"), rendered(TABLE.format(text, "y"))
    harmless = visible_text(paragraph) == text and re.findall(r"<[^>]*>", paragraph) == ["<p>", "</p>"]
    assert "$" in text or not harmless or ">y<" not in cell


@pytest.mark.parametrize("text", ["See !12", "acme/voice!12", "&12", "%12", '%"Release 1"', "%v1.2"])
def test_references_of_gitlab_are_escaped(text: str) -> None:
    """GitLab links them, and tells the other merge request, epic or milestone that it was mentioned."""
    assert not re.search(r"(?:[!%]|&amp;)[\w\"]", escape(text))
    assert escape(text).replace("\u200b", "").replace("&amp;", "&") == text


def test_plain_percentages_and_exclamations_stay() -> None:
    assert escape("Great! 95% of R&D, 5 % more!") == "Great! 95% of R&amp;D, 5 % more!"


def test_mentions_and_issue_numbers_are_escaped() -> None:
    assert escape("@mona #12") == "@\u200bmona #\u200b12"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://a b", "https://a)b<img src=x>", "https://a/[x]|b", "https://a/'\"", ""]
)
def test_unsafe_url_is_not_linked(url: str) -> None:
    assert link("label", url) == "label"


def test_plain_url_is_linked() -> None:
    assert link("the run", "https://app.coval.dev/runs/r1") == "[the run](https://app.coval.dev/runs/r1)"


@given(FOREIGN)
@example("---")
@example("===")
@example("-")
@example("+")
@example("1.")
@example("2)")
@example("- ---")
@example("    code")
def test_escaped_text_at_start_of_line_is_plain_text(text: str) -> None:
    shown = escape(text)
    assert MarkdownPage(shown).tags == ["p", "/p"] * bool(shown)
    assert MarkdownPage(f"Before.\n{shown or 'x'}\nBehind.").tags == ["p", "/p"]
    assert MarkdownPage(f"- {shown}").tags == ["ul", "li", "/li", "/ul"]


@given(st.text("`", min_size=1, max_size=250), st.text("\\`*_[]()<>|~ax"))
@example("`" * 80, "<img src=x> **b**")
@example("`" * 199, "*x*")
def test_code_span_with_backticks_is_one_code_span(backticks: str, text: str) -> None:
    for variation in (backticks + text, text + backticks, f"x{backticks}{text}{backticks}"):
        assert MarkdownPage(f"| | |\n|---|---|\n| a | {code(variation)} |\n").tags.count("code") == 1
        assert not {"img", "strong", "em", "a"} & set(MarkdownPage(f"Commit {code(variation)} of mine").tags)
