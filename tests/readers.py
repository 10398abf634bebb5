"""Reads reports back: Markdown as GitHub renders it, HTML as a browser parses it, JUnit as tools of others do."""

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib import import_module
from io import StringIO
from typing import Any, Final
from xml.etree import ElementTree as ET

import cmarkgfm
from cmarkgfm.cmark import Options
from junitparser import Error, Failure, JUnitXml, Skipped

VOID: Final = {"meta", "link", "input", "br", "hr", "img"}
# Text that GitHub acts on after rendering: mentions, issues, URLs, emoji codes.
ACTIVE_MARKUP: Final = re.compile(r"@\w|#\d|\bGH-\d|\bwww\.|\w://|:[a-z0-9_+-]+:", re.IGNORECASE)
NOT_PLAIN_ASCII: Final = re.compile(r"[^\n\t -~]")  # only these may be unprintable


class MarkdownPage:
    """A rendered page: its tags in order, its URLs, its comments, its lines without code, the text outside links.

    cmark writes < and > only for tags and escapes all others, so any other tag came from a hostile text.
    """

    def __init__(self, markdown: str) -> None:
        options = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_FOOTNOTES
        text = cmarkgfm.github_flavored_markdown_to_html(markdown.encode("utf-8", "replace").decode(), options)
        bare = re.sub(r"<code[^>]*>.*?</code>", "", text, flags=re.DOTALL)
        self.lines = [line for line in re.sub(r'"[^"]*"', "", bare).split("\n") if line]
        self.tags: list[str] = []
        self.urls: list[str] = []
        self.comments: list[str] = []
        self.text = ""
        hidden = 0
        for part in re.split(r"(<!--.*?-->|<[^>]*>)", text, flags=re.DOTALL):
            if part.startswith("<!--"):
                self.comments.append(part)
            elif tag := re.fullmatch(r"<(/?\w+)(.*)>", part, re.DOTALL):
                self.tags.append(tag[1] + re.sub(r'"[^"]*"', "", tag[2]))
                self.urls += map(html.unescape, re.findall(r'(?:href|src)="?([^"]*)', tag[2]))
                hidden += {"code": 1, "a": 1, "/code": -1, "/a": -1}.get(tag[1], 0)
            elif not hidden:
                self.text += html.unescape(part)


@dataclass
class HtmlPage(HTMLParser):
    """A document as a browser reads it: its elements with their attributes, its addresses, its text."""

    document: str
    tags: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    attributes: dict[str, list[str]] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.document)
        self.close()

    @property
    def parts(self) -> set[tuple[str, str]]:
        """Every element with each of its attributes."""
        return {(tag, name) for tag, names in self.tags for name in ("", *names)}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, frozenset(name for name, _ in attrs)))
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")
            if name in ("href", "src"):
                self.addresses.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.remove(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)


def xml_tags(xml: str) -> list[str]:
    """Return all tags with the names of their attributes in order, and all comments and instructions."""
    tags: list[str] = []

    class Target:
        def start(self, tag: str, attributes: dict[str, str]) -> None:
            tags.append(" ".join([tag, *attributes]))

        def end(self, tag: str) -> None:
            tags.append(f"/{tag}")

        def comment(self, data: str) -> None:
            tags.append(f"comment {data}")

        def pi(self, target: str, data: str | None = None) -> None:
            tags.append(f"instruction {target} {data}")

    ET.XMLParser(target=Target()).feed(xml)
    return tags


def shape_of(value: Any, *, foreign: bool = False) -> Any:
    """Return the structure of JSON, without texts and numbers; with `foreign`, without its own keys, too."""
    if isinstance(value, dict):
        keyed_by_others = {"variants", "values", "explanations"} if not foreign else set()
        return [
            ("?" if foreign else key, shape_of(part, foreign=key in keyed_by_others))
            for key, part in value.items()
            if key != "telling"  # depends on the explanations
        ]
    if isinstance(value, list):
        return [shape_of(item) for item in value]
    return type(value).__name__


def unprintable_characters(text: str) -> set[str]:
    return {char for char in set(NOT_PLAIN_ASCII.findall(text)) if not char.isprintable()} - {"\u200b"}


Cases = list[tuple[str, str, str]]  # class name, name and kind of each case
KINDS: Final = ("passed", "failure", "error", "skipped")


def by_standard_library(text: str) -> Cases:
    return [
        (case.attrib["classname"], case.attrib["name"], next((e.tag for e in case if e.tag in KINDS), "passed"))
        for case in ET.fromstring(text).iter("testcase")
    ]


def by_junitparser(text: str) -> Cases:
    """Read as EnricoMi/publish-unit-test-result-action does."""
    kinds = {Failure: "failure", Error: "error", Skipped: "skipped"}
    root: Any = JUnitXml.fromstring(text)  # or a suite
    return [
        (
            case.classname,
            case.name,
            next((kinds[type(result)] for result in case.result if type(result) in kinds), "passed"),
        )
        for suite in (root if isinstance(root, JUnitXml) else [root])
        for case in suite
    ]


def by_xunitparser(text: str) -> Cases:
    """Read as tools around unittest do. The parser itself compares the totals with what it finds."""
    parser: Any = import_module("xunitparser")
    suite, _ = parser.parse(StringIO(text))
    return [(case.classname, case.methodname, case.result.replace("success", "passed")) for case in suite]


def by_codecov(text: str) -> Cases:
    parser: Any = import_module("test_results_parser")
    kinds = {"pass": "passed", "failure": "failure", "error": "error", "skip": "skipped"}
    return [
        (_unescaped(run.classname), _unescaped(run.name), kinds[str(run.outcome).rpartition(".")[2].lower()])
        for run in parser.parse_junit_xml(text.encode()).testruns
    ]


def _unescaped(text: str) -> str:
    """Return a text that Codecov's parser read; it keeps entities."""
    return ET.fromstring(f"<a>{text}</a>").text or ""


JUNIT_READERS: Final[tuple[Callable[[str], Cases], ...]] = (by_junitparser, by_xunitparser, by_codecov)


def texts_of(value: Any) -> Iterator[str]:
    """Yield all keys and texts in JSON."""
    match value:
        case str():
            yield value
        case dict():
            yield from value
            yield from (text for item in value.values() for text in texts_of(item))
        case list():
            yield from (text for item in value for text in texts_of(item))
