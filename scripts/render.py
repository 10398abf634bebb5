"""Generates from the code: inputs in action.yml and GitLab's component, README's example, tables, schemas and pins.

render.py           write
render.py --check   write nothing; fail if something is out of date
"""

import ast
import inspect
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pins import ROOT, identity, pinned, places
from pydantic.json_schema import GenerateJsonSchema

import proofs
from coval_gate.features.known_failures.entries import ENTRY_KEYS, KNOWN_KEY, REQUIRED
from coval_gate.features.legs.file import LEGS_KEY, LONGEST_LEG_NAME, OBJECTS, inputs_of_leg, inputs_of_step
from coval_gate.features.nights.document import HISTORY_VERSION, HistoryDocument
from coval_gate.inputs.fields import LISTS
from coval_gate.inputs.inputs import ALL_MODES, MOST_LEGS, Group, Input, declared
from coval_gate.report.document import Document
from coval_gate.report.document.base import SCHEMA_VERSION, Model
from coval_gate.report.formats.outputs import OUTPUTS
from coval_planner import tables

# For GitLab's component
NOT_FOR_GITLAB = {  # the secrets come from variables, and the rest is GitHub's
    *("api_key", "github_token", "matrix", "on_missing_api_key"),
    *("summary", "annotations", "check_run"),
}
FOR_GITLAB = {
    "comment": "Keep one note on the merge request up to date. `on_failure`: create it at the first failure. Requires "
    "the variable `GITLAB_TOKEN`.",
    "commit_status": "Name of a commit status. It is running after the launch, and then shows the verdict, also of a "
    "later job with `mode: wait`. Requires the variable `GITLAB_TOKEN`.",
    "thresholds": "Conditions that the run must meet, a list of texts such as `'Latency: p(95) < 1.5'`.",
}
FILES = {"junit_path": "reports/coval-junit.xml", "html_path": "reports/coval.html"}  # that the component collects
ONE_LINE = r"^[^\r\n]*$"  # GitLab inserts a text as it is, and another line would be YAML of its own
PLAIN_PATH = r"^[A-Za-z0-9_./-]+$"


def action_inputs() -> str:
    """Return the `inputs:` block of action.yml."""
    blocks = ["inputs:"]
    for chapter, members in by_chapter(declared()):
        blocks.append(f"  # {chapter.name}")
        blocks += [
            f"  {declaration.name}:\n    description: {quote(described(declaration))}\n"
            f"    required: false\n    default: {quote(declaration.default)}"
            for declaration in members
        ]
    return "\n".join(blocks)


def by_chapter(declarations: Iterable[Input]) -> Iterator[tuple[Group, Iterator[Input]]]:
    """Yield each chapter, and its inputs."""
    return itertools.groupby(declarations, key=lambda declaration: declaration.chapter)


def action_outputs() -> str:
    """Return the `outputs:` block of action.yml."""
    entries = [f"  {name}:\n    description: {quote(about)}" for name, about in OUTPUTS.items()]
    return "\n".join(["outputs:", *entries])


def component_inputs() -> str:
    """Return the generated inputs of GitLab's component."""
    blocks = []
    for chapter, members in by_chapter(component_declarations()):
        blocks += [f"    # {chapter.name}", *map(component_input, members)]
    return "\n".join(blocks)


def component_input(declaration: Input) -> str:
    """Return an input of GitLab's component. GitLab checks its type, its options or its pattern."""
    kind, name, default = declaration.field.name, declaration.name, declaration.default
    about = FOR_GITLAB.get(name, declaration.description) + restriction(declaration.modes)
    rows = [f"    {name}:", f"      description: {quote(about)}"]
    if kind == "true or false":
        rows += ["      type: boolean", f"      default: {default}"]
    elif kind == "thresholds":
        rows += ["      type: array", "      default: []"]
    elif kind.startswith("`"):
        words = [word.strip("`") for word in kind.split(", ")]
        options = words if default else ["", *words]
        rows += [f"      default: {quote(default)}", f"      options: [{', '.join(map(quote, options))}]"]
    else:
        pattern = PLAIN_PATH if name in FILES else ONE_LINE
        rows += [f"      default: {quote(FILES.get(name, default))}", f"      regex: {quote(pattern)}"]
    return "\n".join(rows)


def component_variables() -> str:
    """Return the variables for the inputs, each in a literal block, in which any line of text stays as it is."""
    return "\n".join(
        f"    INPUT_{declaration.name.upper()}: |\n      $[[ inputs.{declaration.name} ]]"
        for declaration in component_declarations()
    )


def component_declarations() -> list[Input]:
    """Return the inputs that GitLab's component has."""
    return [declaration for declaration in declared() if declaration.name not in NOT_FOR_GITLAB]


def inputs_tables() -> str:
    """Return a table for each group of inputs."""
    tables = []
    for chapter, members in by_chapter(declared()):
        rows = [f"| `{member.name}` | {value(member)} | {cell(member.description)} |" for member in members]
        tables.append("\n".join([f"## {chapter.name}", "", "| input | value | |", "|---|---|---|", *rows]))
    return "\n\n".join(tables)


def outputs_table() -> str:
    """Return the table of outputs."""
    return "\n".join(
        ["| output | |", "|---|---|", *(f"| `{name}` | {cell(about)} |" for name, about in OUTPUTS.items())]
    )


def cell(text: str) -> str:
    """Return a text for a table in Markdown, where `|` ends a cell even in code."""
    return text.replace("|", r"\|")


def readme_example() -> str:
    """Return the example workflow from examples/, without its first comments, which README replaces."""
    text = (ROOT / "examples" / "pull-request.yml").read_text(encoding="utf-8")
    return f"```yaml\n{text[text.index('name: ') :]}```"


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of a configuration file.

    Editors and validators read numbers and booleans where the gate reads text.
    """

    inputs = {name: config_value(declaration) for name, declaration in inputs_of_step().items()}
    leg_inputs = {name: {"$ref": f"#/properties/{name}"} for name in inputs_of_leg()}
    legs = {
        "description": "The inputs of each leg, by its name.",
        "type": "object",
        "propertyNames": {"minLength": 1, "maxLength": LONGEST_LEG_NAME},
        "minProperties": 1,
        "maxProperties": MOST_LEGS,
        "additionalProperties": {"type": "object", "properties": leg_inputs, "additionalProperties": False},
    }
    texts = {
        "test_case": "The id of the test case.",
        "reason": "Why it decides nothing, such as a ticket.",
        "until": "The last day (UTC) on which it decides nothing, such as 2027-01-31; at most 90 days ahead.",
        "metric": "The metric, as a threshold names it; without one, the whole conversation decides nothing.",
        "leg": "The name of the leg; without one, every leg that has the test case.",
    }
    entry = {
        "type": "object",
        "properties": {name: {"description": texts[name], "type": "string", "minLength": 1} for name in ENTRY_KEYS},
        "required": list(REQUIRED),
        "additionalProperties": False,
    }
    known = {"description": "Test cases with a known failure: they decide nothing.", "type": "array"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:coval-gate:config",
        "title": "Configuration file of Coval Gate",
        "type": "object",
        "properties": {**inputs, LEGS_KEY: legs, KNOWN_KEY: {**known, "items": entry}},
        "additionalProperties": False,
    }


def config_value(declaration: Input) -> dict[str, Any]:
    """Return the schema of an input's value in the file."""
    kind = declaration.field.name
    scalar: dict[str, Any] = {"type": ["string", "number", "boolean"]}
    match kind:
        case "whole number" | "number or %" | "percentage":
            scalar = {"type": ["string", "number"]}
        case "true or false":
            scalar = {"type": ["string", "boolean"]}
        case "thresholds":
            scalar = {"type": "string"}
        case _ if kind == OBJECTS:
            scalar = {"type": ["string", "object"]}
        case _ if kind.startswith("`"):
            scalar = {"enum": [word.strip("`") for word in kind.split(", ")]}
    values = {"anyOf": [scalar, {"type": "array", "items": scalar}]} if kind in LISTS else scalar
    return {"description": declaration.description, **values}


def described(declaration: Input) -> str:
    """Return an input's description for action.yml, with the modes that it is limited to."""
    return declaration.description + restriction(declaration.modes)


def value(declaration: Input) -> str:
    """Return an input's type and default as the table shows them."""
    return declaration.field.name + (f", default `{declaration.default}`" if declaration.default else "")


def restriction(modes: tuple[str, ...]) -> str:
    """Return a sentence that lists the modes in which an input has an effect; empty for all modes."""
    return "" if modes == ALL_MODES else f" Modes: {', '.join(f'`{mode}`' for mode in modes)}."


def quote(text: str) -> str:
    """Return a YAML string. JSON strings are valid YAML."""
    return json.dumps(text, ensure_ascii=False)


def fill(text: str, name: str, content: str, comment: tuple[str, str]) -> str:
    """Put `content` between the lines that mark the block `name`. Raises ValueError unless there is exactly one."""
    begin, end = (f"{comment[0]} {word} {name}{comment[1]}" for word in ("begin", "end"))
    pattern = re.compile(f"(?<={re.escape(begin)}\n).*?(?={re.escape(end)}$)", re.DOTALL | re.MULTILINE)
    filled, count = pattern.subn(lambda _: content + "\n", text)
    if count != 1:
        raise ValueError(f"expected one block {name}, found {count}")
    return filled


def pages() -> dict[str, dict[str, str]]:
    """Return the generated blocks of each page by their names."""
    return {
        "README.md": {"example": readme_example()},
        "docs/inputs.md": {"inputs": inputs_tables()},
        "docs/outputs.md": {"outputs": outputs_table()},
        "docs/confidence.md": {"few": tables.few()},
        # The blocks `rates` and `twenty` are simulated, which takes long: tests with the mark `long` check them.
        "docs/planning.md": {"passing": tables.passing(), "averages": tables.averages(), "worst": tables.worst()},
        "docs/proof.md": {"proofs": proofs.page()},
    }


def filled(page: Path, blocks: dict[str, str]) -> str:
    """Return a page with its generated blocks."""
    text = page.read_text(encoding="utf-8")
    for name, content in blocks.items():
        text = fill(text, name, f"\n{content}\n", ("<!--", " -->"))
    return text


def document_schema(name: str, version: str, model: type[Model]) -> str:
    """Return the JSON Schema of a document, as a file."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:coval-gate:{name}:{version}",
        **model.model_json_schema(schema_generator=OpenSchema),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


class OpenSchema(GenerateJsonSchema):
    """Allows unknown fields, and gives titles to types only: code generators make a type of every title."""

    def model_schema(self, schema: Any) -> dict[str, Any]:
        """Return the schema of a model, without its `extra`, which concerns only what this version writes."""
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
    for field, text in itertools.pairwise(definition.body if isinstance(definition, ast.ClassDef) else ()):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield ast.unparse(field.target), inspect.cleandoc(str(text.value.value))


def rendered() -> dict[Path, str]:
    """Return the expected text of every generated file."""
    action, yaml = ROOT / "action.yml", ("#", "")
    action_text = fill(action.read_text(encoding="utf-8"), "inputs", action_inputs(), yaml)
    component = ROOT / "templates" / "run.yml"
    component_text = fill(component.read_text(encoding="utf-8"), "inputs", component_inputs(), yaml)
    written = {
        component: fill(component_text, "variables", component_variables(), yaml),
        action: fill(action_text, "outputs", action_outputs(), yaml),
        **{ROOT / page: filled(ROOT / page, blocks) for page, blocks in pages().items()},
        ROOT / "docs" / "report.schema.json": document_schema("report", SCHEMA_VERSION, Document),
        ROOT / "docs" / "history.schema.json": document_schema("history", HISTORY_VERSION, HistoryDocument),
        ROOT / "docs" / "config.schema.json": json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n",
    }
    now = identity()
    pinned_files = {path: pinned(written.get(path) or path.read_text(encoding="utf-8"), now) for path in places()}
    return written | pinned_files


def main(arguments: list[str]) -> int:
    """Write the files or, with --check, compare them. Return the exit code."""
    stale = [path for path, text in rendered().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path.name} is out of date; run `make render`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(rendered()[path], encoding="utf-8")
        print(f"{path.name} written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
