"""action.yml, the configuration file, docs/ and the code agree."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from ruamel.yaml import YAML

from coval_gate import IS_RELEASE, PIN, REPOSITORY, __version__
from coval_gate.ci.host import Context
from coval_gate.features.known_failures.entries import ENTRY_KEYS
from coval_gate.features.legs.file import STEP_ONLY, inputs_of_leg, inputs_of_step, read_file
from coval_gate.inputs.inputs import ALL_MODES, declared, effective
from coval_gate.report.formats.outputs import OUTPUTS
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import DEFAULTS, IDS, KEY, VirtualClock, environ_of, inputs_of, read_inputs, run_main_step

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load((ROOT / "action.yml").read_text(encoding="utf-8"))
    return loaded


def page(name: str) -> str:
    """Return a page of docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_action_yml_and_docs_have_all_inputs_and_outputs(action: dict[str, Any]) -> None:
    assert {name: description["default"] for name, description in action["inputs"].items()} == DEFAULTS
    assert {name: description["description"] for name, description in action["outputs"].items()} == OUTPUTS
    inputs, outputs = page("inputs.md"), page("outputs.md")
    for declaration in declared():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", declaration.name), "a name is valid in shell variables"
        description = action["inputs"][declaration.name]["description"]
        assert description.startswith(declaration.description)
        last = description.removeprefix(declaration.description)
        assert re.findall(r"`(\w+)`", last) == ([] if declaration.modes == ALL_MODES else list(declaration.modes))
        default = f", default `{declaration.default}`" if declaration.default else ""
        shown = declaration.description.replace("|", r"\|")  # which ends a cell, even in code
        assert f"| `{declaration.name}` | {declaration.field.name}{default} | {shown} |" in inputs
    assert [name for name, about in OUTPUTS.items() if f"| `{name}` | {about} |" not in outputs] == []


def test_nine_essential_inputs_are_first_everywhere(action: dict[str, Any]) -> None:
    ids = ("agent_id", "persona_id", "test_set_id")
    essential = ["api_key", *ids, "thresholds", "baseline", "confidence", "comment", "html_path"]
    assert list(action["inputs"])[:9] == essential
    chapter = page("inputs.md").partition("\n## Essential\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` ", chapter, re.MULTILINE) == essential
    assert list(SCHEMA["properties"])[:8] == essential[1:], "no file has the key"


def test_old_names_and_rarely_needed_inputs_are_last(action: dict[str, Any]) -> None:
    rare = ["display_name", "created_by", "matrix", "mutation_id", "fail_on_metric_id", "fail_on_metric_value"]
    assert list(action["inputs"])[-6:] == rare
    _, _, chapter = page("inputs.md").partition("\n## Old names, and rarely needed\n")
    assert re.findall(r"^\| `(\w+)` ", chapter, re.MULTILINE) == rare


def test_shown_thresholds_pass_good_agent_and_fail_bad_agent(tmp_path: Path, clock: VirtualClock) -> None:
    table = page("thresholds.md").partition("<!-- begin thresholds -->")[2].partition("<!-- end thresholds -->")[0]
    thresholds = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(thresholds) >= 8
    given: dict[str, Any] = {"thresholds": "\n".join(thresholds), "iteration_count": "2"}
    with Server(World(clock.time)) as server:
        good = run_main_step(tmp_path, server.url, clock, **given)
        assert good.outputs["verdict"] == "passed", good.log
        bad = [run_main_step(tmp_path, server.url, clock, test_set_id=id_, **given) for id_ in ("failing1", "lostCase")]
    failed = [criterion["criterion"] for step in bad for criterion in json.loads(step.outputs["failed_criteria"])]
    assert [threshold for threshold in thresholds if threshold not in failed] == []


def test_defaults_of_action_yml_are_valid_and_those_without_a_runner() -> None:
    """A workflow that sets only the ids and the key passes all checks."""
    given = IDS | {"api_key": KEY}
    with_runner, without = read_inputs(environ_of(), Context()), inputs_of(**given)
    assert (with_runner.mode, with_runner.max_wait_time, with_runner.check_interval) == ("run", 3600, None)
    names = [declaration.name for declaration in effective() if declaration.name != "api_key"]
    assert [getattr(without, name) for name in names] == [getattr(with_runner, name) for name in names]


def test_action_yml_meets_marketplace_rules_and_builds_the_dockerfile(action: dict[str, Any]) -> None:
    """124 characters of description, an icon and a colour. Arguments would put inputs on the command line."""
    assert len(action["description"]) < 125
    assert all(action["branding"][name] for name in ("icon", "color"))
    programs = {"entrypoint": "/app/entrypoint.py", "post-entrypoint": "/app/post_entrypoint.py"}
    image = action["runs"]["image"]
    assert action["runs"] == {"using": "docker", "image": image, **programs}
    assert image.startswith("docker://") if IS_RELEASE else image == "Dockerfile"


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
    assert f"{REPOSITORY}@{PIN}" in readme


# The configuration file

CONFIGURATION = page("configuration.md")
SCHEMA: dict[str, Any] = json.loads(page("config.schema.json"))


def test_sample_is_read_without_a_mistake() -> None:
    (text,) = [block for block in re.findall(r"```yaml\n(.*?)```", CONFIGURATION, re.DOTALL) if "\nlegs:" in block]
    file = read_file(text.encode(), "coval-gate.yml")
    assert (file.problems, len(file.legs)) == ((), 3)
    Draft202012Validator(SCHEMA).validate(YAML(typ="safe").load(text))


def test_schema_has_every_input_and_the_page_those_that_a_leg_may_not_have() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    properties = dict(SCHEMA["properties"])
    leg = properties.pop("legs")["additionalProperties"]["properties"]
    assert list(properties.pop("known_failures")["items"]["properties"]) == list(ENTRY_KEYS)
    assert list(leg) == list(inputs_of_leg())
    assert {name: entry["description"] for name, entry in properties.items()} == {
        name: declaration.description for name, declaration in inputs_of_step().items()
    }
    *first, last = (f"`{name}`" for name in STEP_ONLY)
    assert f"{', '.join(first)} and {last}" in " ".join(CONFIGURATION.split())


@pytest.mark.parametrize(
    "contents",
    [
        {"legs": {}},
        {"legs": ["a"]},
        {"legs": {"a": {"persona_idd": "x"}}},
        {"legs": {"a": {"max_wait_time": 60}}},
        {"api_key": "x"},
        {"comment": "maybe"},
        {"legs": {"x" * 201: {}}},
        {"known_failures": [{"test_case": "c1", "until": "2027-01-31"}]},
        {"known_failures": [{"test_case": "c1", "until": "2027-01-31", "reason": "x", "metrics": "Resolved"}]},
        {"known_failures": {"c1": {}}},
    ],
    ids=str,
)
def test_schema_refuses_what_the_step_refuses(contents: object) -> None:
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate(contents)
    assert read_file(json.dumps(contents).encode(), "coval-gate.json").problems
