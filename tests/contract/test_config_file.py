"""The configuration file that docs/ shows is one for the step and for the published schema."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from ruamel.yaml import YAML

from coval_gate.inputs.file import OF_WHOLE_STEP, inputs_of_leg, inputs_of_step, read_file

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
SCHEMA: dict[str, Any] = json.loads((ROOT / "docs" / "config.schema.json").read_text(encoding="utf-8"))


def test_sample_is_read_without_a_mistake() -> None:
    (text,) = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "\nlegs:" in block]
    file = read_file(text.encode(), "coval-gate.yml")
    assert (file.problems, len(file.legs)) == ((), 3)
    Draft202012Validator(SCHEMA).validate(YAML(typ="safe").load(text))


def test_schema_has_every_input_with_its_description() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    properties = dict(SCHEMA["properties"])
    leg = properties.pop("legs")["additionalProperties"]["properties"]
    assert list(leg) == list(inputs_of_leg())
    assert {name: entry["description"] for name, entry in properties.items()} == {
        name: declaration.description for name, declaration in inputs_of_step().items()
    }


def test_page_names_what_a_leg_may_not_have() -> None:
    *first, last = (f"`{name}`" for name in OF_WHOLE_STEP)
    assert f"{', '.join(first)} and {last}" in " ".join(PAGE.split())


@pytest.mark.parametrize(
    "contents",
    [
        ["legs"],
        {"legs": {}},
        {"legs": ["a"]},
        {"legs": {"a": None}},
        {"legs": {"a": {"persona_idd": "x"}}},
        {"legs": {"a": {"max_wait_time": 60}}},
        {"api_key": "x"},
        {"comment": "maybe"},
        {"legs": {"x" * 201: {}}},
        {"version": 1},
    ],
    ids=str,
)
def test_schema_refuses_what_the_step_refuses(contents: object) -> None:
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate(contents)
    assert read_file(json.dumps(contents).encode(), "coval-gate.json").problems
