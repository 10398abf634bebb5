"""Validators of reports, each made once. What they need is imported late: pytest imports this module often."""

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import xmlschema
    from jsonschema import Draft202012Validator

SCHEMA: Final = json.loads(
    (Path(__file__).resolve().parents[1] / "docs" / "report.schema.json").read_text(encoding="utf-8")
)


@cache
def report_validator() -> "Draft202012Validator":
    """Return the validator of JSON reports. It follows no references: they would take half of its time."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator(_without_references(SCHEMA, SCHEMA["$defs"]))


def _without_references(node: Any, definitions: dict[str, Any]) -> Any:
    """Return a part of a schema with each definition in place of its references, which add no more than titles."""
    if isinstance(node, list):
        return [_without_references(entry, definitions) for entry in node]
    if not isinstance(node, dict):
        return node
    referred = definitions[node["$ref"].removeprefix("#/$defs/")] if "$ref" in node else {}
    beside = {key: value for key, value in node.items() if key not in ("$ref", "$defs")}
    assert not referred or beside.keys() <= {"title", "description", "default"}
    return {key: _without_references(value, definitions) for key, value in (referred | beside).items()}


@cache
def junit_schema() -> "xmlschema.XMLSchema":
    import xmlschema

    return xmlschema.XMLSchema(str(Path(__file__).parent / "junit.xsd"))
