"""action.yml, docs/ and the code agree."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from coval_gate import PIN, __version__
from coval_gate.ci.host import Context
from coval_gate.inputs.inputs import ALL_MODES, declared, effective
from coval_gate.report.formats.outputs import OUTPUTS
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import DEFAULTS, IDS, KEY, VirtualClock, read_inputs, run_main_step

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load((ROOT / "action.yml").read_text(encoding="utf-8"))
    return loaded


def page(name: str) -> str:
    """Return a page of docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_action_yml_has_all_inputs_with_defaults_and_descriptions(action: dict[str, Any]) -> None:
    assert {name: description["default"] for name, description in action["inputs"].items()} == DEFAULTS
    for declaration in declared():
        description = action["inputs"][declaration.name]["description"]
        assert description.startswith(declaration.description)
        last = description.removeprefix(declaration.description)
        assert re.findall(r"`(\w+)`", last) == ([] if declaration.modes == ALL_MODES else list(declaration.modes))


def test_action_yml_has_all_outputs_with_descriptions(action: dict[str, Any]) -> None:
    assert {name: description["description"] for name, description in action["outputs"].items()} == OUTPUTS


def test_input_names_are_valid_in_shell_variables(action: dict[str, Any]) -> None:
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in action["inputs"])


def test_docs_have_all_inputs_and_outputs() -> None:
    inputs, outputs = page("inputs.md"), page("outputs.md")
    for declaration in declared():
        default = f"`{declaration.default}`" if declaration.default else ""
        assert f"| `{declaration.name}` | {declaration.field.name} | {default} | {declaration.description}" in inputs
    for name, about in OUTPUTS.items():
        assert f"| `{name}` | {about} |" in outputs


def test_shown_thresholds_pass_good_agent_and_fail_bad_agent(tmp_path: Path, clock: VirtualClock) -> None:
    table = page("thresholds.md").partition("<!-- begin thresholds -->")[2].partition("<!-- end thresholds -->")[0]
    thresholds = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(thresholds) >= 8
    with Server(World(clock.time)) as server:
        good = run_main_step(tmp_path, server.url, clock, thresholds="\n".join(thresholds))
        assert good.outputs["verdict"] == "passed", good.log
        bad = run_main_step(tmp_path, server.url, clock, thresholds="\n".join(thresholds), test_set_id="failing1")
    failed = [criterion["criterion"] for criterion in json.loads(bad.outputs["failed_criteria"])]
    assert [threshold for threshold in thresholds if threshold not in failed] == []


def test_defaults_of_action_yml_are_valid() -> None:
    """A workflow that sets only the ids and the key passes all checks."""
    given = DEFAULTS | IDS | {"api_key": KEY}
    inputs = read_inputs({f"INPUT_{name.upper()}": value for name, value in given.items()}, Context())
    assert (inputs.mode, inputs.max_wait_time, inputs.check_interval) == ("run", 3600, None)


def test_defaults_are_the_same_without_runner() -> None:
    given = IDS | {"api_key": KEY}
    without_runner = {f"INPUT_{name.upper()}": value for name, value in given.items()}
    with_runner = {f"INPUT_{name.upper()}": value for name, value in (DEFAULTS | given).items()}
    assert [
        getattr(read_inputs(without_runner, Context()), declaration.name)
        for declaration in effective()
        if declaration.name != "api_key"
    ] == [
        getattr(read_inputs(with_runner, Context()), declaration.name)
        for declaration in effective()
        if declaration.name != "api_key"
    ]


def test_action_yml_meets_marketplace_rules(action: dict[str, Any]) -> None:
    """The marketplace allows 124 characters of description, and requires an icon and a colour."""
    assert len(action["description"]) < 125
    assert action["branding"]["icon"]
    assert action["branding"]["color"]


def test_container_is_built_from_dockerfile_without_arguments(action: dict[str, Any]) -> None:
    """Arguments would put inputs on the command line."""
    assert action["runs"] == {
        "using": "docker",
        "image": "Dockerfile",
        "post-entrypoint": "/app/post_entrypoint.py",
    }


def test_dockerfile_loads_modules_that_exist() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (command,) = re.findall(r'"-c", "import (.*?)"\]', text, re.DOTALL)
    modules = re.findall(r"[\w.]+", command)
    assert "coval_gate.step.main" in modules
    assert [module for module in modules if not find_spec(module)] == []


def test_changelog_and_readme_name_current_version() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?{re.escape(__version__)}\b", changelog, re.MULTILINE)
    assert f"coval-gate@{PIN}" in readme
