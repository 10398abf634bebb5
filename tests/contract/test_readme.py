"""README and docs/ show what the code does."""

import os
import re
import runpy
import shutil
import subprocess
from itertools import takewhile
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import coval_demo
from coval_gate.base.errors import InputError
from coval_gate.ci.host import Context
from coval_gate.coval.client import LAUNCH_OPEN
from coval_gate.gate.values import equals
from coval_gate.inputs.inputs import declared
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.report import MOST_CRITERIA
from coval_gate.step import cancel, collect, launch
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.runner import shown_lines
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.steps import STEPS, example_thresholds
from support import DEFAULTS, IDS, KEY, read_inputs

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
FLAKY = GOLDEN / "reports" / "gate-flaky"
README = (ROOT / "README.md").read_text(encoding="utf-8")
THRESHOLDS = (ROOT / "docs" / "thresholds.md").read_text(encoding="utf-8")
REPORTS = (ROOT / "docs" / "reports.md").read_text(encoding="utf-8")
RUNS = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
MIGRATION = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
EXAMPLES = sorted(ROOT.glob("examples/*.yml"))  # workflows of GitHub
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def section(page: str, title: str) -> str:
    """Return a section of a page."""
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def sample(page: str, language: str) -> str:
    """Return the only sample in a language."""
    (only,) = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    return str(only)


def normalized_lines(markdown: str) -> list[str]:
    """Return the lines without links and repeated spaces, because excerpts may differ in these."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]


def anchors(markdown: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", markdown, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("title", "language", "file"),
    [("Commit status", "text", "status.txt"), ("JUnit", "xml", "junit.xml"), ("JSON", "json", "result.json")],
)
def test_sample_is_excerpt_of_golden_file(title: str, language: str, file: str) -> None:
    golden = normalized_lines((FLAKY / file).read_text(encoding="utf-8"))
    excerpt = normalized_lines(sample(section(REPORTS, title), language))
    assert any(golden[start : start + len(excerpt)] == excerpt for start in range(len(golden)))


def test_sample_log_is_what_github_shows_of_readme_example() -> None:
    log = (GOLDEN / "road" / "readme.txt").read_text(encoding="utf-8").partition("\n--- ")[0]
    marks = {"group": "▾ ", "warning": "Warning: ", "error": "Error: "}
    shown = "\n".join(marks.get(style, "") + line for style, line in shown_lines(log.splitlines()))
    beginning, end = sample(section(REPORTS, "Log"), "text").split("…\n")
    assert shown.startswith(beginning)
    assert shown.strip().endswith(end.strip())


def test_sample_comment_has_only_lines_of_golden_file() -> None:
    comment = (FLAKY / "comment.md").read_text(encoding="utf-8").replace("\u200b", "")  # breaks references
    golden = normalized_lines(comment)
    excerpt = normalized_lines("\n".join(re.findall(r"^> ?(.*)", section(REPORTS, "Comment"), re.MULTILINE)))
    assert len(excerpt) > 15
    assert [line for line in excerpt if line not in golden] == []


def test_picture_shows_example_on_test_set_that_readme_names() -> None:
    """One command draws the same summary: the demo has the persona, and the thresholds of README's example."""
    (test_set,) = re.findall(r'make demo INPUTS="test_set_id=(\w+)"`: it', README)
    picture = runpy.run_path(str(ROOT / "scripts" / "picture.py"))
    assert picture["SOURCES"]["summary"] == GOLDEN / "road" / "readme.txt"
    given_ids = {"persona_id": coval_demo.INPUTS["persona_id"], "test_set_id": test_set}
    assert STEPS["readme"] == given_ids | {"thresholds": example_thresholds()}
    given, shown = (parse_thresholds(text) for text in (coval_demo.INPUTS["thresholds"], example_thresholds()))
    assert [threshold.text for threshold in given] == [threshold.text for threshold in shown]


@pytest.mark.parametrize(
    "page", [*PAGES, *sorted(path for path in ROOT.glob("examples/**/*") if path.is_file())], ids=lambda page: page.name
)
def test_no_line_but_rows_of_tables_is_longer_than_128_characters(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 128 and not line.startswith(("|", "> |", "  ✗ ", "Missed "))] == []


def test_readme_takes_five_minutes() -> None:
    assert len(README.splitlines()) <= 220


def test_readme_leads_to_every_page() -> None:
    """A page that README does not link has a link on one that it does."""
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)", README))
    for name in list(linked):
        linked |= set(re.findall(r"\]\(([\w-]+\.md)", (ROOT / "docs" / name).read_text(encoding="utf-8")))
    assert {path.name for path in ROOT.glob("docs/*.md")} <= linked


def test_site_lists_every_page() -> None:
    settings = YAML(typ="safe").load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = re.findall(r"[\w-]+\.md", str(settings["nav"]))
    assert len(listed) == len(set(listed))
    assert {path.name for path in ROOT.glob("docs/*.md")} <= set(listed)


def test_readme_lists_every_example() -> None:
    listed = re.findall(r"\]\(examples/(\S+)\)", section(README, "Recipes"))
    assert sorted(listed) == sorted(path.name for path in EXAMPLES)


def test_recipes_list_every_example() -> None:
    listed = re.findall(r"\]\(\.\./examples/(\S+)\)", RECIPES.partition("\n## ")[0])
    assert set(listed) == {path.name for path in EXAMPLES}


@pytest.mark.parametrize("title", re.findall(r"^## (.+)$", RECIPES, re.MULTILINE))
def test_lines_of_recipe_are_in_its_file(title: str) -> None:
    """A snippet that no file contains would not be tested: only what recipes.md calls an alternative, or any step's."""
    text = section(RECIPES, title)
    files = re.findall(r"examples/(\S+\.yml)\)", text)
    known = {line for name in files for line in (ROOT / "examples" / name).read_text(encoding="utf-8").splitlines()}
    snippets = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    alternatives = [snippet for snippet in snippets if snippet.startswith(("on:", "      - name:"))]
    lines = [line for snippet in snippets if snippet not in alternatives for line in snippet.splitlines()]
    assert [line for line in lines if line not in known] == []


@pytest.mark.parametrize("page", [*PAGES, *sorted(ROOT.glob("examples/**/*.yml"))], ids=lambda page: page.name)
def test_no_expression_is_pasted_into_a_script(page: Path) -> None:
    """A runner pastes `${{ }}` into `run` before the shell reads it: text from outside would be code there."""
    lines = page.read_text(encoding="utf-8").splitlines()
    pasted = []
    for number, line in enumerate(lines):
        if not (key := re.match(r"([ -]*)(?:run|script):", line)):
            continue
        deeper = re.compile(rf"\s{{{len(key[1]) + 1}}}|\s*$")
        script = [line, *takewhile(deeper.match, lines[number + 1 :])]
        pasted += [part for part in script if re.search(r"\$\{\{.*\b(steps|needs|github\.event|inputs)\b", part)]
    assert pasted == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_begins_with_its_purpose(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    head = lines[: lines.index("")]
    assert 3 <= len(head) <= 6
    assert all(line.startswith("# ") for line in head)
    assert {"When to use it:", "It needs"} <= set(re.findall(r"When to use it:|It needs", "\n".join(head)))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_sets_inputs_that_exist(path: Path) -> None:
    """GitHub only warns about an input that an action does not have."""
    jobs = YAML(typ="safe").load(path.read_text(encoding="utf-8"))["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"] if "coval-gate@" in step.get("uses", "")]
    assert steps
    assert all(step["with"].keys() <= {declaration.name for declaration in declared()} for step in steps)


@pytest.mark.parametrize(
    ("name", "value", "row"),
    [
        ("check_interval", "0", "| `check_interval: 0` | polls without a pause | an error: the least is 1 |"),
        ("metadata", "[1]", "| `metadata: []` | ignored silently | the same; any other list"),
        ("metric_ids", '["a"', "| `metric_ids` or `metadata` that is not valid JSON |"),
        (
            "fail_on_metric_value",
            "a, b",
            "| `fail_on_metric_value` with a `,` `;` or `\\|` in it | one text | needs quotes:",
        ),
    ],
)
def test_migration_table_is_right_about_errors(name: str, value: str, row: str) -> None:
    assert row in MIGRATION
    given = (
        DEFAULTS | IDS | {"api_key": KEY, "fail_on_metric_id": "Resolved", "fail_on_metric_value": "NO", name: value}
    )
    with pytest.raises(InputError, match=name):
        read_inputs({f"INPUT_{input_name.upper()}": text for input_name, text in given.items()}, Context())


def test_migration_table_is_right_about_values() -> None:
    assert "texts that are numbers compare as numbers, so `1` equals `1.0`" in MIGRATION
    assert equals("1", "1.0")
    assert "compared with each member of the set" in MIGRATION
    assert equals(frozenset({"refund", "billing"}), "Refund")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there.read_text(encoding="utf-8")), target


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl")
def test_commands_that_list_ids_keep_key_out_of_arguments(tmp_path: Path) -> None:
    """The glossary's commands call the API with the key, which is in no process's arguments."""
    arguments = tmp_path / "arguments"
    wrapper = tmp_path / "curl"
    wrapper.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {arguments}\nexec {shutil.which("curl")} "$@"\n')
    wrapper.chmod(0o755)
    commands = sample(GLOSSARY, "sh").replace("AGENT_ID", "demoAgent0000000000001")
    with Server(World(ManualClock())) as server:
        command = ["bash", "-euc", commands.replace("https://api.coval.dev/v1", server.url)]
        done = subprocess.run(
            command,
            input=f"{KEY}\n",
            env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=True,
        )
        seen = [(request.path.removeprefix("/v1"), request.headers["x-api-key"]) for request in server.requests_seen]
    paths = ["/agents", "/personas", "/test-sets", "/metrics", "/agents/demoAgent0000000000001/mutations"]
    assert seen == [(path, KEY) for path in paths]
    assert KEY not in arguments.read_text() + done.stderr
    assert '"metric_name":"Latency"' in done.stdout.replace(" ", "")


@pytest.mark.parametrize(
    ("page", "claim", "limit", "stated"),
    [
        (THRESHOLDS, "until the data have stayed the same for 20 s", collect.SETTLING, 20),
        (THRESHOLDS, "(for 60 s, if neither the launch nor the agent names", collect.UNNAMED_SETTLING, 60),
        (RUNS, "keeps the connection open for up to five minutes", LAUNCH_OPEN, 5 * 60),
        (RUNS, "retries for five minutes, then ends in an error and launches nothing", cancel.LOOKUP_PATIENCE, 5 * 60),
        (RUNS, "launches again only if Coval has not listed the run for a minute", launch.SETTLING, 60),
        (REPORTS, "If there are more than 1,000 criteria", MOST_CRITERIA, 1_000),
    ],
)
def test_limit_is_as_stated(page: str, claim: str, limit: float, stated: float) -> None:
    assert claim in " ".join(page.split())
    assert limit == stated
