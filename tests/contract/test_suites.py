"""The suites that docs/, the demo and the tests show are suites for the step and for the published schema."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from ruamel.yaml import YAML

import coval_demo
from coval_gate.config.inputs import parse_inputs
from coval_gate.config.suite import OF_WHOLE_STEP, allowed_inputs, read_suite
from support import IDS

ROOT = Path(__file__).resolve().parents[2]
SCHEMA: dict[str, Any] = json.loads((ROOT / "docs" / "suite.schema.json").read_text(encoding="utf-8"))


def samples() -> dict[str, str]:
    """Return every suite that the pages and the demo show."""
    found = {"demo": coval_demo.SUITE}
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "suites.md").read_text(encoding="utf-8"), re.DOTALL)
    (found["suites.md"],) = [block for block in blocks if re.search("^legs:", block, re.MULTILINE)]
    return found


@pytest.mark.parametrize("name", samples())
def test_sample_is_a_suite(name: str) -> None:
    text = samples()[name]
    inputs, _ = parse_inputs({f"INPUT_{key.upper()}": value for key, value in IDS.items()})
    suite = read_suite(text.encode(), inputs)
    assert (suite.problems, len(suite.legs) > 1) == ((), True)
    Draft202012Validator(SCHEMA).validate(YAML(typ="safe").load(text))


def test_schema_has_every_input_of_a_leg_with_its_description() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    properties = SCHEMA["$defs"]["inputs"]["properties"]
    assert {name: entry["description"] for name, entry in properties.items()} == {
        name: declaration.description for name, declaration in allowed_inputs().items()
    }


def test_page_names_what_a_leg_may_not_have() -> None:
    page = " ".join((ROOT / "docs" / "suites.md").read_text(encoding="utf-8").split())
    *first, last = (f"`{name}`" for name in OF_WHOLE_STEP)
    assert f"{', '.join(first)} and {last}" in page


@pytest.mark.parametrize(
    "suite",
    [
        {},
        {"legs": {}},
        {"legs": ["a"]},
        {"legs": {"a": None}},
        {"legs": {"a": {"persona_idd": "x"}}},
        {"legs": {"a": {"api_key": "x"}}},
        {"legs": {"a": {"persona_id": ["x"]}}},
        {"legs": {"a": {"on_inconclusive": "maybe"}}},
        {"legs": {"x" * 201: {}}},
        {"legs": {"a": {}}, "version": 1},
    ],
    ids=str,
)
def test_schema_refuses_what_the_step_refuses(suite: object) -> None:
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate(suite)
    inputs, _ = parse_inputs({})
    assert read_suite(json.dumps(suite).encode(), inputs).problems
