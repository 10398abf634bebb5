"""The road goes one way: a module imports only from its left, and errors, words and time from anywhere."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"

# From left to right, as data travels; what stands on one line knows nothing of each other.
ROAD = [
    {"coval_gate", "coval_gate.text", "coval_gate.errors", "coval_gate.clock"},
    {"coval_gate.kinds", "coval_gate.context", "coval_gate.pacing", "coval_gate.coval.statuses"},
    {"coval_gate.judge.thresholds", "coval_gate.judge.statistics", "coval_gate.result"},
    {"coval_gate.inputs", "coval_gate.coval.values", "coval_gate.coval.definitions", "coval_gate.judge.targets"},
    {"coval_gate.coval.models", "coval_gate.coval.problems", "coval_gate.github.runner"},
    {"coval_gate.github.api", "coval_gate.github.workspace"},
    {"coval_gate.coval.transport", "coval_gate.request", "coval_gate.identity"},
    {"coval_gate.coval.client"},
    {"coval_gate.lookup", "coval_gate.cancel"},
    {"coval_gate.connection", "coval_gate.hold"},
    {"coval_gate.launch"},
    {"coval_gate.watch", "coval_gate.collect"},
    {"coval_gate.judge.verdict", "coval_gate.judge.variants"},
    {"coval_gate.judge.evaluate"},
    {"coval_gate.judge.gate", "coval_gate.settle"},
    {"coval_gate.criteria"},
    {"coval_gate.report.model", "coval_gate.report.markdown", "coval_gate.report.headings"},
    {"coval_gate.report.figures", "coval_gate.report.links", "coval_gate.report.charts", "coval_gate.report.facts"},
    {"coval_gate.report.aggregates", "coval_gate.report.cases", "coval_gate.report.layout"},
    {"coval_gate.report.outputs", "coval_gate.report.summary", "coval_gate.report.log"},
    {"coval_gate.report.comment", "coval_gate.report.junit", "coval_gate.report.document"},
    {"coval_gate.feedback"},
    {"coval_gate.publish"},
    {"coval_gate.main", "coval_gate.post"},
]
PLACE = {module: place for place, modules in enumerate(ROAD) for module in modules}
PURE = [f"coval_gate.{part}" for part in ("judge", "report", "result", "pacing", "text", "kinds")]
WORLDLY = {"os", "time", "random", "socket", "requests", "pathlib", "subprocess", "datetime", "io", "sys"}


def modules(package: str) -> dict[str, Path]:
    """Every module below `src/<package>` that is more than a package's docstring."""
    found = {}
    for path in sorted((SOURCE / package).rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if path.name != "__init__.py" or name == package:
            found[name] = path
    return found


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it, also for type checking alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_every_module_has_a_place_on_the_road() -> None:
    assert set(modules("coval_gate")) == set(PLACE)


@pytest.mark.parametrize("module", modules("coval_gate"))
def test_no_import_goes_backwards(module: str) -> None:
    for imported in imports(modules("coval_gate")[module]) & set(PLACE):
        allowed = PLACE[imported] < PLACE[module] or {imported, module} <= ROAD[0]
        assert allowed, f"{module} imports {imported}"


@pytest.mark.parametrize("module", [name for name in PLACE if name.startswith(tuple(PURE))])
def test_judging_and_prose_know_no_world(module: str) -> None:
    assert imports(modules("coval_gate")[module]) & WORLDLY == set()


@pytest.mark.parametrize(("package", "other"), [("coval_gate", "coval_sandbox"), ("coval_sandbox", "coval_gate")])
def test_gate_and_sandbox_share_nothing(package: str, other: str) -> None:
    """Otherwise one misunderstanding of the API would hide the other."""
    for path in modules(package).values():
        assert not any(name.split(".")[0] == other for name in imports(path)), path


def test_only_one_place_knows_http_and_one_the_runner() -> None:
    users = {name for name, path in modules("coval_gate").items() if "requests" in imports(path)}
    assert users == {"coval_gate.coval.transport", "coval_gate.coval.problems"}
    users = {name for name, path in modules("coval_gate").items() if "actions_toolkit.command" in imports(path)}
    assert users == {"coval_gate.github.runner"}


def test_what_is_slow_to_import_is_not_imported_before_the_launch() -> None:
    slow = ["pydantic", "github", "junitparser", "statistics", "difflib"]
    code = f"import sys, coval_gate.main; print([each for each in {slow} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
