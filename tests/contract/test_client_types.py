"""Only coval/ knows Coval's JSON: its client takes and returns our types, so no other package reads a key."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from contract.test_packages import nodes
from coval_gate.coval import client, model, resources, results
from coval_gate.coval.model import RunFilter

SOURCE = Path(__file__).resolve().parents[2] / "src" / "coval_gate"
UNTYPED = re.compile(r"\b(dict|Mapping|Any|object|Request|Response|Exchange)\b")
EXCEPTIONS = {
    "Kind.read",  # only the client calls it
    "Launch.open_call",  # callers wait for it, and do not read it
    "LaunchRequest.config_overrides",  # the users' own
    "Run.metadata",  # likewise
    "RunTemplate.customer",  # likewise
}
FACE = {  # what other packages may import from coval/: no reader of JSON
    "coval_gate.coval.client": {"FRESH_TIME", "SERVERS_SKEW", "Shown", "Client", "Launch", "Session", "connect"},
    "coval_gate.coval.errors": {"unavailable"},
    "coval_gate.coval.model": {"LaunchRequest", "RunFilter"},
    "coval_gate.coval.resources": {
        *("Kind", "Identified", "Agent", "Persona", "RunTemplate", "TestCase", "TestSet"),
        *("METRIC", "MetricDefinition", "MetricOutput"),
        *("AGENT", "PERSONA", "RUN_TEMPLATE", "TEST_CASE", "TEST_SET", "OF_RUNS", "cases_of", "mutations_of"),
    },
}
FIELDS = "|".join([*RunFilter._fields, "run_id", "create_time"])
QUERY = re.compile(rf'\b({FIELDS})(<=|>=|!=|=|<|>)"|\bAND\b|^(order_by|page_size|page_token|next_page_token)$')


def annotations_of_methods() -> Iterator[tuple[str, str]]:
    """Yield the parameter and return types of public methods and properties of the client and its launches."""
    for owner in (client.Client, client.Launch):
        for name, member in vars(owner).items():
            function = member.fget if isinstance(member, property) else member
            if name.startswith("_") or not callable(function):
                continue
            signature = inspect.signature(function)
            yield f"{owner.__name__}.{name}", str(signature.return_annotation)
            for parameter in list(signature.parameters.values())[1:]:
                yield f"{owner.__name__}.{name}({parameter.name})", str(parameter.annotation)


def annotations_of_records() -> Iterator[tuple[str, str]]:
    """Yield the fields of the records that the client takes or returns."""
    for module in (resources, results, model):
        for record in vars(module).values():
            is_ours = isinstance(record, type) and record.__module__ == module.__name__
            if is_ours and not record.__name__.startswith("_"):
                for name, annotation in inspect.get_annotations(record).items():
                    yield f"{record.__name__}.{name}", str(getattr(annotation, "__forward_arg__", annotation))


def test_methods_take_and_return_types_of_ours() -> None:
    annotations = dict(annotations_of_methods())
    assert annotations.keys() >= {"Client.get_run", "Client.launch_run(wanted)", "Launch.late_response"}
    assert {name for name, text in annotations.items() if UNTYPED.search(text)} <= EXCEPTIONS


def test_records_have_typed_fields() -> None:
    annotations = dict(annotations_of_records())
    assert annotations.keys() >= {
        "LaunchRequest.agent_id",
        "Run.metadata",
        "Simulation.id",
        "TestCase.label",
        "RunFilter.tag",
    }
    assert {name for name, text in annotations.items() if re.search(r"\b(Any|object)\b", text)} <= EXCEPTIONS


def test_other_packages_neither_read_json_of_coval_nor_build_its_queries() -> None:
    others = [path for path in SOURCE.rglob("*.py") if path.parent.name != "coval"]
    assert len(others) > 100
    assert [f"{path.name}: {trespass}" for path in others for trespass in _trespasses(path)] == []


def _trespasses(path: Path) -> Iterator[str]:
    """Yield a module's imports from coval/ that FACE does not list, and its texts that are parts of a query."""
    for node in nodes(path):
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        if isinstance(node, ast.ImportFrom) and module.startswith("coval_gate.coval") and module != model.__name__:
            yield from {name.name for name in node.names} - FACE.get(module, set())
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and QUERY.search(node.value):
            yield node.value
