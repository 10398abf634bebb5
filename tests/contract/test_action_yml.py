"""action.yml, README and the code say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from coval_gate import __version__
from coval_gate.ci.context import Context
from coval_gate.config.inputs import declared
from coval_gate.report.formats.outputs import OUTPUTS
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import DEFAULTS, IDS, KEY, VirtualClock, read_inputs, run_main_step

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load((ROOT / "action.yml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_action_yml_lists_the_inputs_with_their_defaults(action: dict[str, Any]) -> None:
    assert {name: given["default"] for name, given in action["inputs"].items()} == DEFAULTS
    assert {name: given["description"] for name, given in action["inputs"].items()} == {
        each.name: each.about for each in declared()
    }


def test_action_yml_lists_the_outputs(action: dict[str, Any]) -> None:
    assert {name: given["description"] for name, given in action["outputs"].items()} == OUTPUTS


def test_no_input_has_a_name_that_a_shell_would_drop(action: dict[str, Any]) -> None:
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in action["inputs"])


def test_readme_lists_inputs_and_outputs_with_their_defaults(readme: str) -> None:
    for each in declared():
        default = f"`{each.default}`" if each.default else ""
        assert f"| `{each.name}` | {each.kind.name} | {default} | {each.about} |" in readme
    for name, about in OUTPUTS.items():
        assert f"| `{name}` | {about} |" in readme


def test_readmes_thresholds_hold_for_a_good_agent_and_not_for_a_bad_one(
    readme: str, tmp_path: Path, clock: VirtualClock
) -> None:
    table = readme.partition("<!-- begin thresholds -->")[2].partition("<!-- end thresholds -->")[0]
    thresholds = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(thresholds) >= 8
    with Server(World(clock.time)) as server:
        good = run_main_step(tmp_path, server.url, clock, thresholds="\n".join(thresholds))
        assert good.outputs["verdict"] == "passed", good.log
        for threshold in thresholds:
            bad = run_main_step(tmp_path, server.url, clock, thresholds=threshold, test_set_id="failing1")
            assert bad.outputs["verdict"] == "failed", threshold
            assert f"must be {' '.join(threshold.split()[-2:])}." in bad.outputs["reason"]


def test_the_defaults_are_values() -> None:
    """What action.yml hands over when a workflow sets nothing but the ids and the key is accepted."""
    given = DEFAULTS | IDS | {"api_key": KEY}
    inputs = read_inputs({f"INPUT_{name.upper()}": value for name, value in given.items()}, Context())
    assert (inputs.mode, inputs.max_wait_time, inputs.check_interval) == ("run", 3600, None)


def test_the_defaults_are_the_same_where_no_runner_fills_them_in() -> None:
    given = IDS | {"api_key": KEY}
    bare = {f"INPUT_{name.upper()}": value for name, value in given.items()}
    filled = {f"INPUT_{name.upper()}": value for name, value in (DEFAULTS | given).items()}
    assert [getattr(read_inputs(bare, Context()), each.name) for each in declared() if each.name != "api_key"] == [
        getattr(read_inputs(filled, Context()), each.name) for each in declared() if each.name != "api_key"
    ]


def test_the_marketplace_takes_it(action: dict[str, Any]) -> None:
    """Its form refuses a description of 125 characters and more, and wants an icon and a colour."""
    assert len(action["description"]) < 125
    assert action["branding"]["icon"]
    assert action["branding"]["color"]


def test_the_container_is_built_and_gets_no_arguments(action: dict[str, Any]) -> None:
    """Arguments would put what users write on a command line."""
    assert action["runs"] == {
        "using": "docker",
        "image": "Dockerfile",
        "post-entrypoint": "/app/post_entrypoint.py",
    }


def test_one_version(readme: str) -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?{re.escape(__version__)}\b", changelog, re.MULTILINE)
    assert f"coval-gate@v{__version__}" in readme
