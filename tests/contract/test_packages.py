"""The packages, from top to bottom: each imports only from those below it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"

PACKAGES = ["main", "post", "step", "publish", "runs", "report", "judge", "coval", "ci", "config", "model"]
GROUND = {
    "",
    "clock",
    "errors",
    "network",
    "runtime",
    "secret",
    "text",
    "transport",
    "waiting",
}  # below all packages; its modules may import each other
PURE = ["judge", "report", "model", "text", "config"]  # neither environment, clock, network nor randomness
WORLDLY = {"os", "time", "random", "secrets", "socket", "requests", "pathlib", "subprocess", "datetime", "io", "sys"}


def modules(package: str) -> dict[str, Path]:
    """Every module below `src/<package>`, by its dotted name."""
    found = {}
    for path in sorted((SOURCE / package).rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


GATE = modules("coval_gate")


def package_of(module: str) -> str:
    """The package of a module of coval_gate; for a module at the top, its own name."""
    return module.removeprefix("coval_gate").removeprefix(".").split(".")[0]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it, also for type checking alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_every_module_has_a_package() -> None:
    assert {package_of(module) for module in GATE} == {*PACKAGES, *GROUND}


@pytest.mark.parametrize("module", GATE)
def test_imports_point_down(module: str) -> None:
    package = package_of(module)
    below = set() if package in GROUND else set(PACKAGES[PACKAGES.index(package) :])
    for imported in imports(GATE[module]) & set(GATE):
        assert package_of(imported) in GROUND | below, f"{module} imports {imported}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_has_a_cycle(package: str) -> None:
    members = {name: imports(path) for name, path in GATE.items() if package_of(name) == package}
    while members:
        free = {name for name, imported in members.items() if not imported & (set(members) - {name})}
        assert free, f"these import each other: {sorted(members)}"
        members = {name: imported for name, imported in members.items() if name not in free}


@pytest.mark.parametrize("module", [name for name in GATE if package_of(name) in PURE])
def test_judging_and_prose_know_no_world(module: str) -> None:
    assert imports(GATE[module]) & WORLDLY == set()


@pytest.mark.parametrize("module", [*GATE, *modules("coval_sandbox")])
def test_a_module_says_what_it_is_for(module: str) -> None:
    path = (GATE | modules("coval_sandbox"))[module]
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert docstring.split("\n")[0].endswith(".")


@pytest.mark.parametrize(("package", "other"), [("coval_gate", "coval_sandbox"), ("coval_sandbox", "coval_gate")])
def test_gate_and_sandbox_share_nothing(package: str, other: str) -> None:
    """Otherwise one misunderstanding of the API would hide the other."""
    for path in modules(package).values():
        assert not any(name.split(".")[0] == other for name in imports(path)), path


def test_only_one_place_knows_http_and_one_the_runner() -> None:
    users = {name for name, path in GATE.items() if "requests" in imports(path)}
    assert users == {"coval_gate.transport", "coval_gate.network"}
    users = {name for name, path in GATE.items() if "actions_toolkit.command" in imports(path)}
    assert users == {"coval_gate.ci.github.host"}


def test_what_is_slow_to_import_is_not_imported_before_the_launch() -> None:
    slow = ["pydantic", "junitparser", "statistics", "difflib"]
    code = f"import sys, coval_gate.main; print([each for each in {slow} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
