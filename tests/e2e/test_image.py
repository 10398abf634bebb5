"""The contents of the image."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from e2e.engine import PYTHON, inspect

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.e2e
SITE_PACKAGES = "/opt/venv/lib/python3.13/site-packages"
NEEDED = ["actions_toolkit", "coval_gate", "pydantic", "requests"]
UNWANTED = [
    *("coval_sandbox", "h11", "uvicorn"),
    *("coval_sdk", "hypothesis", "pytest", "requests_mock"),
    *("hatchling", "mypy", "pip", "ruff", "setuptools", "uv", "wheel"),
    *("github", "cryptography", "nacl", "cffi", "pycparser", "jwt"),
]
MISSING_IMPORTS = {
    "coval_gate.ci.terminal": "rich",  # a container has no terminal to draw on
    "actions_toolkit.github": "github",
    "pydantic.mypy": "mypy",
    "urllib3.contrib.emscripten": "js",
    "urllib3.contrib.pyopenssl": "OpenSSL",
    "urllib3.contrib.socks": "socks",
    "urllib3.http2.connection": "h2",
    "yaml.cyaml": "yaml._yaml",
}
COMPILERS = ["as", "c++", "cc", "clang", "g++", "gcc", "ld", "make", "rustc"]


def test_entrypoint_is_absolute_and_isolated(image: str) -> None:
    config = inspect(image)["Config"]
    assert config["Entrypoint"] == [PYTHON, "-I", "-u", "-B", "/app/entrypoint.py"]
    assert not config["Cmd"]


def test_image_runs_as_root(image: str) -> None:
    """The files that GitHub's runner mounts belong to root."""
    assert inspect(image)["Config"]["User"] == ""
    assert run_python(image, "import os; print(os.getuid())") == 0


def test_image_has_no_development_tools(image: str) -> None:
    """Python finds the packages that the action needs, but no sandbox, test tools, pip or compilers."""
    output = run_python(
        image,
        f"""
import importlib.util, json, shutil
modules = [name for name in {[*NEEDED, *UNWANTED]} if importlib.util.find_spec(name)]
programs = [name for name in {COMPILERS} if shutil.which(name, path="/opt/venv/bin:/usr/local/bin:/usr/bin:/bin")]
print(json.dumps([modules, programs]))
""",
    )
    assert output == [NEEDED, []]


def test_all_modules_can_be_imported(image: str) -> None:
    """Exceptions are modules of other packages that integrate a package which the action does not use."""
    output = run_python(
        image,
        f"""
import importlib, json, pkgutil, warnings
warnings.simplefilter("ignore")
counts = dict(ours=0, others=0, missing=dict())
for module in pkgutil.walk_packages([{SITE_PACKAGES!r}], onerror=lambda name: None):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
        counts["ours" if module.name.startswith("coval_gate") else "others"] += 1
    except ModuleNotFoundError as error:
        counts["missing"][module.name] = error.name
print(json.dumps(counts))
""",
    )
    assert output["missing"] == MISSING_IMPORTS
    assert output["ours"] > 50
    assert output["others"] > 150


def test_image_has_no_tests_or_caches(image: str) -> None:
    """This includes the tests of installed packages, but not the directories of the base image."""
    output = run_python(
        image,
        """
import json, pathlib
every = [path for place in ("/opt", "/app", "/root", "/tmp", "/build") for path in pathlib.Path(place).rglob("*")]
tests = [path for path in every if path.name in ("tests", "test", "conftest.py")]
caches = [path for path in every if path.name in ("pip", ".cache") or path.suffix == ".whl"]
print(json.dumps([str(path) for path in tests + caches]))
""",
    )
    assert output == []


def test_app_directory_has_only_entrypoints(image: str) -> None:
    listed = run_python(image, "import json, os; print(json.dumps(sorted(os.listdir('/app'))))")
    assert listed == ["coval-gate", "entrypoint.py", "post_entrypoint.py"]


def test_all_modules_have_unchecked_bytecode(image: str) -> None:
    """The bytecode matches its source, and Python uses it without a check of the source (PEP 552)."""
    counts = run_python(
        image,
        f"""
import importlib.util, json, pathlib
counts = dict(modules=0, ours=0, missing=[], checked=[], stale=[])
for source in pathlib.Path({SITE_PACKAGES!r}).rglob("*.py"):
    counts["modules"] += 1
    counts["ours"] += source.is_relative_to({SITE_PACKAGES!r} + "/coval_gate")
    cached = pathlib.Path(importlib.util.cache_from_source(str(source)))
    if not cached.exists():
        counts["missing"].append(str(source))
        continue
    header = cached.read_bytes()[:16]
    if header[4:8] != b"\\1\\0\\0\\0":
        counts["checked"].append(str(source))
    if header[8:] != importlib.util.source_hash(source.read_bytes()):
        counts["stale"].append(str(source))
print(json.dumps(counts))
""",
    )
    assert (counts["missing"], counts["checked"], counts["stale"]) == ([], [], [])
    assert counts["ours"] > 50
    assert counts["modules"] > 200


def test_installed_versions_match_lock_file(image: str) -> None:
    """The environment has exactly the packages in requirements/runtime.txt."""
    from bench.image import ROOT

    lines = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8").splitlines()
    locked = dict(line.split()[0].split("==") for line in lines if "==" in line and not line.startswith((" ", "#")))
    installed = run_python(
        image,
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}))",
    )
    assert installed == locked


def test_image_adds_at_most_22_mb(image: str) -> None:
    """Compare the disk space beyond the base image, by the method that gives the highest number."""
    from bench.image import MOST, added

    weights = added(image)
    assert min(weights) > 1, weights  # the measurement worked
    assert max(weights) <= MOST == 22, weights


def run_python(image: str, program: str, **env: str) -> Any:
    """Run a program in the image's Python, isolated as the action is, and parse its output as JSON."""
    variables: Sequence[str] = [part for name, value in env.items() for part in ("--env", f"{name}={value}")]
    command = ["docker", "run", "--rm", "--network", "none", *variables, "--entrypoint", PYTHON, image]
    done = subprocess.run([*command, "-I", "-B", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
