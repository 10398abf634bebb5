"""What all models of the JSON report share: its version, and how its JSON Schema is made of them.

A minor version may add fields, and words to a field whose description says so. The schema of a version allows what a
later minor version may add, so that readers that validate with an older one stay valid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic.json_schema import GenerateJsonSchema

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core.core_schema import CoreSchema, ModelSchema

SCHEMA_VERSION: Final = "3.3"
VERSIONS: Final = rf"^{SCHEMA_VERSION.partition('.')[0]}\.[0-9]+$"  # that the schema is for


def _encodable(value: object) -> object:
    """Half a surrogate, which an answer may hold, has no place in UTF-8."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_encodable)]


class Model(BaseModel):
    """A part of the report, described by the docstrings of its fields. The report itself has no other fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class MayGrow:
    """Marks words to which a minor version may add: the schema gives them as examples."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of any text."""
        return {"type": "string", "examples": handler(core)["enum"]}


class OpenSchema(GenerateJsonSchema):
    """Allows fields that are not known, and names types only: code generators make a type of every title."""

    def model_schema(self, schema: ModelSchema) -> dict[str, Any]:
        """Return the schema of a model, whose own `extra` is about what this version writes."""
        return {name: value for name, value in super().model_schema(schema).items() if name != "additionalProperties"}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        """Leave the names of fields as they are."""
        return False
