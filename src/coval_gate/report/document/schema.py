"""The JSON Schema of the document, which no step needs: reading the docstrings of all fields takes a while."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

from coval_gate.report.document.base import SCHEMA_VERSION, Model
from coval_gate.report.document.step import Document

if TYPE_CHECKING:
    from pydantic_core.core_schema import ModelSchema


def schema() -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:coval-gate:report:{SCHEMA_VERSION}",
        **Document.model_json_schema(schema_generator=OpenSchema),
    }


class OpenSchema(GenerateJsonSchema):
    """Allows unknown fields, and gives titles to types only: code generators make a type of every title."""

    def model_schema(self, schema: ModelSchema) -> dict[str, Any]:
        """Return the schema of a model, without its `extra`, which is only about what this version writes."""
        written = {
            name: value for name, value in super().model_schema(schema).items() if name != "additionalProperties"
        }
        for base in (base for base in schema["cls"].__mro__ if issubclass(base, Model)):
            for field, text in _docstrings(base):
                written["properties"][field]["description"] = text
        return written

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        """Leave the names of fields as they are."""
        return False


def _docstrings(model: type[Model]) -> Iterator[tuple[str, str]]:
    """Yield each field of a model that has a docstring below it."""
    (definition,) = ast.parse(inspect.getsource(model)).body
    for field, text in pairwise(definition.body if isinstance(definition, ast.ClassDef) else ()):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield ast.unparse(field.target), inspect.cleandoc(str(text.value.value))
