"""Each title of an error or a warning stands once in the code, and has an entry in docs/troubleshooting.md."""

import ast
import re
from pathlib import Path
from typing import Final

from contract.test_packages import nodes
from coval_gate.base import titles
from coval_gate.base.errors import GateError, InternalError
from coval_gate.base.titles import DOCS, TITLES, entry_of

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ENTRIES: Final = dict(re.findall(r"^### (.+)\n\n((?:.+\n)+)", PAGE, re.MULTILINE))
PARTS: Final = re.compile(r"- \*\*Cause:\*\* .+\n- \*\*Check:\*\* .+\n- \*\*Cure:\*\* .+", re.DOTALL)
SOURCES: Final = [path for path in (ROOT / "src" / "coval_gate").rglob("*.py") if path.name != "titles.py"]
ERRORS: Final = ("HostError", "RunnerError", "CovalError", "TooLarge", "Unavailable", "LaunchUncertain")


def test_page_has_an_entry_for_each_title_and_no_other() -> None:
    headings = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
    assert sorted(headings) == sorted(TITLES)
    assert ENTRIES.keys() == TITLES


def test_each_entry_says_cause_check_and_cure_in_three_to_six_lines() -> None:
    for title, entry in ENTRIES.items():
        assert PARTS.fullmatch(entry.rstrip("\n")), title
        assert 3 <= entry.count("\n") <= 6, title


def test_link_of_each_title_leads_to_its_heading() -> None:
    for title in TITLES:
        assert re.fullmatch(r"[A-Za-z]+( [A-Za-z]+)*", title), "GitHub makes other anchors of punctuation"
        assert entry_of(title) == f"{DOCS}/troubleshooting.md#{title.lower().replace(' ', '-')}"
        assert GateError(title, "What happened.").link == entry_of(title)
    assert entry_of("Anything else") == ""
    assert InternalError(ValueError()).link.endswith("#internal-error")


def test_links_of_the_page_exist() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        file, _, anchor = target.partition("#")
        assert target.startswith("https://") or not file or (ROOT / "docs" / file).is_file(), target
        assert not (anchor and not file) or anchor in {title.lower().replace(" ", "-") for title in TITLES}, target


def test_no_error_has_a_title_of_its_own() -> None:
    for path in SOURCES:
        for call in nodes(path):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
                continue
            places = {"Rejected": 1, "NotFound": 1} | dict.fromkeys(("GateError", "UnusableError", *ERRORS), 0)
            place = places.get(call.func.id)
            if place is not None and len(call.args) > place:
                assert not isinstance(call.args[place], ast.Constant), f"{path}:{call.lineno}"


def test_each_title_is_used_once_declared() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    names = [name for name, text in vars(titles).items() if isinstance(text, str) and text in TITLES]
    assert len(names) == len(TITLES)
    written = {text for text in TITLES if re.search(rf'"{re.escape(text)}"', code)}
    assert not written, "a title stands in titles.py only"
    others = {"INVALID_INPUT", "INVALID_INPUTS"}
    assert all(f"titles.{name}" in code for name in {*names} - others)
