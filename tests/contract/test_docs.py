"""README, docs/ and examples/ show what the code does, and each title of an error has a page that helps."""

import ast
import json
import os
import re
import runpy
import shutil
import subprocess
import tomllib
from itertools import takewhile
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from ruamel.yaml import YAML

import coval_demo
import recipes
from contract.test_packages import nodes
from coval_cli.workflow import STARTERS, WORKFLOWS
from coval_gate import REPOSITORY
from coval_gate.base import times, titles
from coval_gate.base.errors import GateError, InputError, InternalError
from coval_gate.base.titles import DOCS, TITLES, help_page
from coval_gate.ci.host import Context
from coval_gate.coval.client import LAUNCH_OPEN
from coval_gate.features import comparisons
from coval_gate.features.systems.variables import SYSTEMS
from coval_gate.gate import problems
from coval_gate.gate.values import equals
from coval_gate.inputs.inputs import declared
from coval_gate.inputs.thresholds import parse_thresholds
from coval_gate.step import launch
from coval_sandbox.deterministic import ManualClock
from coval_sandbox.server import Server
from coval_sandbox.world import World
from road.steps import STEPS, example_thresholds
from support import IDS, KEY, environ_of, read_inputs

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
FLAKY = GOLDEN / "reports" / "gate-flaky"
README = (ROOT / "README.md").read_text(encoding="utf-8")
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


@pytest.mark.parametrize("name", ["when-red.md", "inconclusive.md", "proof.md"])
def test_page_shows_what_people_see(name: str) -> None:
    """Its samples, and what its entries begin with, are in golden files, or are titles or words of a problem."""
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    heads = re.findall(r"^- (`.+?`(?: or `.+?`)?):", page, re.MULTILINE)
    shown = sample(page, "text").splitlines() + [part for head in heads for part in re.findall("`(.+?)`", head)]
    assert shown
    sources = [*GOLDEN.rglob("*.*"), Path(problems.__file__), Path(comparisons.__file__).with_name("problems.py")]
    known = "\n".join([*TITLES, *(path.read_text(encoding="utf-8") for path in sources)])
    assert [part for text in shown for part in text.split("…") if part.strip() not in known] == []


def test_picture_shows_example_on_test_set_that_readme_names() -> None:
    """One command draws the same summary: the demo has the persona, and the thresholds of README's example."""
    (test_set,) = re.findall(r'make demo INPUTS="test_set_id=(\w+)"` shows this result', README)
    picture = runpy.run_path(str(ROOT / "scripts" / "picture.py"))
    assert picture["SOURCES"]["summary"] == GOLDEN / "road" / "readme.txt"
    given_ids = {"persona_id": coval_demo.INPUTS["persona_id"], "test_set_id": test_set}
    assert STEPS["readme"] == given_ids | {"thresholds": example_thresholds()}
    given, shown = (parse_thresholds(text) for text in (coval_demo.INPUTS["thresholds"], example_thresholds()))
    assert [threshold.text for threshold in given] == [threshold.text for threshold in shown]


def test_readme_is_short_and_leads_to_every_page() -> None:
    """A page that README does not link has a link on one that it does."""
    assert len(README.splitlines()) <= 120
    pages = {path.name for path in ROOT.glob("docs/*.md")}
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)", README))
    for name in list(linked):
        linked |= set(re.findall(r"\]\(([\w-]+\.md)", (ROOT / "docs" / name).read_text(encoding="utf-8")))
    assert pages <= linked


def test_pages_together_are_short() -> None:
    paths = (path for path in PAGES if path.name != "CHANGELOG.md")
    assert sum(len(path.read_text(encoding="utf-8").split()) for path in paths) <= 25_000


def test_recipes_begin_with_a_table_of_every_example_and_recipe() -> None:
    table = RECIPES.partition("\n## ")[0]
    assert sorted(re.findall(r"\]\(\.\./examples/([^)]+)\)", table)) == sorted(path.name for path in EXAMPLES)
    headings = {line for line in anchors(RECIPES) if line != "recipes"}
    assert set(re.findall(r"\]\(#([^)]+)\)", table)) == headings
    assert headings == {*recipes.RECIPES} - {"fix-with-an-agent"} | {"outputs-in-scripts", "alerts"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_snippets_have_inputs_that_a_step_accepts(path: Path) -> None:
    """With the key and the ids, which most snippets leave out."""
    stand_ins = IDS | {"api_key": KEY, "api_base_url": "https://coval.example", "mode": "run", "accept": "false"}
    for snippet in re.findall(r"^ *```yaml\n(.*?)^ *```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        for given in inputs_in(YAML(typ="safe").load(dedent(snippet))):
            texts = {
                name: json.dumps(value) if isinstance(value, bool) else str(value) for name, value in given.items()
            }
            filled = {name: stand_ins.get(name, "an-id") if "${{" in text else text for name, text in texts.items()}
            read_inputs(environ_of(**filled), Context())


def inputs_in(snippet: Any) -> list[dict[str, Any]]:
    """Return the inputs of each step that uses the action in a snippet, or the snippet if it is inputs."""
    if isinstance(snippet, dict) and "jobs" in snippet:
        snippet = [step for job in snippet["jobs"].values() for step in job.get("steps", ())]
    if isinstance(snippet, list):
        return [step.get("with", {}) for step in snippet if f"{REPOSITORY}@" in step.get("uses", "")]
    names = {declaration.name for declaration in declared()}
    return [snippet] if isinstance(snippet, dict) and snippet.keys() & names else []


@pytest.mark.parametrize("title", ["Day 1: a first check", "Day 7: nights"])
def test_lines_of_first_week_are_in_workflows(title: str) -> None:
    text = section((ROOT / "docs" / "first-week.md").read_text(encoding="utf-8"), title)
    examples = "\n".join((ROOT / "examples" / f"{name}.yml").read_text() for name in ("pull-request", "nightly"))
    known = {line.partition(" #")[0].strip() for line in examples.splitlines()}
    lines = [line for snippet in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) for line in snippet.splitlines()]
    left = [line for line in lines if line.partition(" #")[0].strip() not in known]
    assert left in ([], ["          max_failed_simulations: 5%"])


def test_site_opens_with_first_week_and_has_every_page(tmp_path: Path) -> None:
    """`make docs` also checks the site's links."""
    runpy.run_path(str(ROOT / "scripts" / "site.py"))["collect"](tmp_path / "site", "https://example.com/gate")
    pages = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "site").glob("*.md")}
    assert pages["index.md"].startswith("# First week\n")
    assert pages["overview.md"].startswith("# Coval Gate\n")
    assert "](index.md)" in pages["overview.md"]
    assert "](https://example.com/gate/blob/main/LICENSE)" in pages["overview.md"]
    assert {path.name for path in ROOT.glob("docs/*.md")} - pages.keys() == {"first-week.md"}
    nav = YAML(typ="safe").load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert nav[0] == {"First week": "index.md"}
    assert sorted(re.findall(r"[\w-]+\.md", str(nav))) == sorted(pages)


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
def test_example_has_its_purpose_in_a_comment(path: Path) -> None:
    head = path.read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    assert 3 <= len(head) <= 5
    assert all(line.startswith("# ") for line in head)
    assert {"When to use it:", "It needs"} <= set(re.findall(r"When to use it:|It needs", "\n".join(head)))


@pytest.mark.parametrize("name", [*(path.stem for path in EXAMPLES), *recipes.WORKFLOWS])
def test_workflow_sets_inputs_that_exist(name: str) -> None:
    """GitHub only warns about an input that an action does not have."""
    jobs = recipes.workflow_of(name)["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"] if f"{REPOSITORY}@" in step.get("uses", "")]
    assert steps or name == "recheck", "it re-runs another workflow"
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
def test_migration_table_is_right(name: str, value: str, row: str) -> None:
    assert row in MIGRATION
    given = {"fail_on_metric_id": "Resolved", "fail_on_metric_value": "NO"} | {name: value}
    with pytest.raises(InputError, match=name):
        read_inputs(environ_of(**given), Context())
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
        (RUNS, "keeps the connection open for up to five minutes", LAUNCH_OPEN, 5 * 60),
        (RUNS, "retries for five minutes, then ends in an error and launches nothing", times.LOOKING_UP, 5 * 60),
        (RUNS, "launches again only if Coval has not listed the run for a minute", launch.LAUNCH_SETTLING, 60),
    ],
)
def test_limit_is_as_stated(page: str, claim: str, limit: float, stated: float) -> None:
    assert claim in " ".join(page.split())
    assert limit == stated


# Pipelines of other CI systems

PIPELINES = {
    "Azure Pipelines": "azure-pipelines.yml",
    "Bitbucket": "bitbucket-pipelines.yml",
    "Buildkite": "buildkite.yml",
    "CircleCI": "circleci.yml",
    "GitLab": "gitlab-ci.yml",
    "Jenkins": "Jenkinsfile",
}
NAMED = re.compile(r"`((?:BITBUCKET|CIRCLE|BUILDKITE|SYSTEM|BUILD|GIT|CHANGE|JOB|STAGE|BRANCH)_[A-Z_]+)`")


def test_wheel_and_image_carry_what_init_fills_in() -> None:
    assert sorted(path.name for path in (ROOT / "examples" / "ci").iterdir()) == sorted(PIPELINES.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    carried = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for path in {f"examples/{one.example.partition('/')[0]}" for one in (*STARTERS, *WORKFLOWS.values())}:
        assert carried[path] == f"coval_cli/{path}"
        assert f"!{path}" in ignored


@pytest.mark.parametrize("name", PIPELINES)
def test_pipeline_sets_inputs_that_exist_and_its_page_names_variables_that_are_read(name: str) -> None:
    text = (ROOT / "examples" / "ci" / PIPELINES[name]).read_text(encoding="utf-8")
    command = text[text.index("coval-gate run") : text.index("--html-path")] + "--html-path"
    flags = re.findall(r"--([a-z][a-z-]*)", command)
    inputs = {declaration.name.replace("_", "-") for declaration in declared()}
    assert len(flags) > 6
    assert {*flags} - inputs <= {"threshold"}  # one line of an input that is a list
    assert parse_thresholds("\n".join(re.findall(r'--threshold "([^"]*)"', command)))
    assert "COVAL_API_KEY" not in command, "the key is in no argument"
    assert "COVAL_API_KEY" in text
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    assert f"](../examples/ci/{PIPELINES[name]})" in page
    about = section(page, name)
    assert about
    if name != "GitLab":
        read = set(re.findall(r"\w+", str(next(system for system in SYSTEMS if system.name == name))))
        assert set(NAMED.findall(about)) <= read


# Titles of errors and warnings: each stands once in the code

PROGRAMS = ("coval_gate", "coval_cli", "coval_attach")
SOURCES = [path for name in PROGRAMS for path in (ROOT / "src" / name).rglob("*.py") if path.name != "titles.py"]
ERRORS = ("HostError", "RunnerError", "CovalError", "TooLarge", "Unavailable", "LaunchUncertain")


def test_each_title_leads_to_a_page_and_each_entry_is_of_a_title() -> None:
    for title in TITLES:
        page, _, anchor = help_page(title).removeprefix(f"{DOCS}/").partition("#")
        assert not anchor or anchor in anchors((ROOT / "docs" / page).read_text(encoding="utf-8")), title
        assert GateError(title, "What happened.").link == help_page(title)
    entries = re.findall(r"^## (.+)$", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {*entries} <= TITLES
    assert all(help_page(entry).endswith(f"/troubleshooting.md#{entry.lower().replace(' ', '-')}") for entry in entries)
    assert help_page("Anything else") == ""
    assert InternalError(ValueError()).link == f"{DOCS}/when-red.md#error"


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
