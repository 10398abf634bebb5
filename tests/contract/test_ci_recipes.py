"""The recipes for CI systems: the pages link the files in examples/ci, which set inputs that exist."""

import re
import tomllib
from pathlib import Path

import pytest

from coval_gate.ci.systems import SYSTEMS
from coval_gate.init.workflow import STARTERS
from coval_gate.inputs.inputs import declared
from coval_gate.inputs.thresholds import parse_thresholds

ROOT = Path(__file__).resolve().parents[2]
RECIPES = {
    "Azure Pipelines": "azure-pipelines.yml",
    "Bitbucket": "bitbucket-pipelines.yml",
    "Buildkite": "buildkite.yml",
    "CircleCI": "circleci.yml",
    "GitLab": "gitlab-ci.yml",
    "Jenkins": "Jenkinsfile",
}
OF_LIST = {"threshold"}  # one line of an input that is a list
NAMED = re.compile(r"`((?:BITBUCKET|CIRCLE|BUILDKITE|SYSTEM|BUILD|GIT|CHANGE|JOB|STAGE|BRANCH)_[A-Z_]+)`")
ELSEWHERE = {"BITBUCKET_DOCKER_HOST_INTERNAL"}  # for docker


def page(name: str) -> str:
    """Return what docs/ says of a CI system."""
    if name == "GitLab":
        return (ROOT / "docs" / "gitlab.md").read_text(encoding="utf-8")
    return (ROOT / "docs" / "ci.md").read_text(encoding="utf-8").partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def pipeline(name: str) -> str:
    return (ROOT / "examples" / "ci" / RECIPES[name]).read_text(encoding="utf-8")


def test_every_file_has_a_page() -> None:
    assert sorted(path.name for path in (ROOT / "examples" / "ci").iterdir()) == sorted(RECIPES.values())
    assert [name for name, file in RECIPES.items() if f"](../examples/ci/{file})" not in page(name)] == []


def test_wheel_and_image_carry_what_init_fills_in() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    carried = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for path in {f"examples/{starter.example.partition('/')[0]}" for starter in STARTERS}:
        assert carried[path] == f"coval_gate/init/{path}"
        assert f"!{path}" in ignored


@pytest.mark.parametrize("name", RECIPES)
def test_commands_set_inputs_that_exist(name: str) -> None:
    text = pipeline(name)
    command = text[text.index("coval-gate run") : text.index("--html-path")] + "--html-path"
    flags = re.findall(r"--([a-z][a-z-]*)", command)
    inputs = {declaration.name.replace("_", "-") for declaration in declared()}
    assert len(flags) > 6
    assert {*flags} - inputs <= OF_LIST
    assert parse_thresholds("\n".join(re.findall(r'--threshold "([^"]*)"', command)))
    assert "COVAL_API_KEY" not in command, "the key is in no argument"
    assert "COVAL_API_KEY" in text


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "GitLab"])
def test_page_names_variables_that_are_read(name: str) -> None:
    system = next(system for system in SYSTEMS if system.name == name)
    read = set(re.findall(r"\w+", str(system)))
    assert set(NAMED.findall(page(name))) - ELSEWHERE <= read
