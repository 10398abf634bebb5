"""The contents of the image."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from coval_gate import __version__
from e2e.engine import POST, PYTHON, docker, inspect

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
    "actions_toolkit.github": "github",
    "pydantic.mypy": "mypy",
    "urllib3.contrib.emscripten": "js",
    "urllib3.contrib.pyopenssl": "OpenSSL",
    "urllib3.contrib.socks": "socks",
    "urllib3.http2.connection": "h2",
    "yaml.cyaml": "yaml._yaml",
}
COMPILERS = ["as", "c++", "cc", "clang", "g++", "gcc", "ld", "make", "rustc"]
# Prints the facts about the image's contents that the tests check, as JSON.
PROGRAM = f"""
import importlib.util, json, os, pathlib, pkgutil, shutil, warnings
from importlib.metadata import distributions

def modules_and_programs():
    modules = [name for name in {[*NEEDED, *UNWANTED]} if importlib.util.find_spec(name)]
    path = "/opt/venv/bin:/usr/local/bin:/usr/bin:/bin"
    return [modules, [name for name in {COMPILERS} if shutil.which(name, path=path)]]

def tests_and_caches():
    every = [path for place in ("/opt", "/app", "/root", "/tmp", "/build") for path in pathlib.Path(place).rglob("*")]
    tests = [path for path in every if path.name in ("tests", "test", "conftest.py")]
    caches = [path for path in every if path.name in ("pip", ".cache") or path.suffix == ".whl"]
    return [str(path) for path in tests + caches]

def bytecode():
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
    return counts

def imports():
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
    return counts

facts = dict(
    user=os.getuid(),
    app=sorted(os.listdir("/app")),
    post=[os.access({POST!r}, os.X_OK), open({POST!r}).readline()],
    versions={{package.metadata["Name"].lower().replace("_", "-"): package.version for package in distributions()}},
    modules_and_programs=modules_and_programs(),
    tests_and_caches=tests_and_caches(),
    bytecode=bytecode(),
)
print(json.dumps(facts | dict(imports=imports())))
"""


@pytest.fixture(scope="module")
def contents(image: str) -> Any:
    """Run the program in the image's Python, isolated as the action is, and parse its output."""
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", PYTHON, image]
    done = subprocess.run([*command, "-I", "-B", "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_programs_are_isolated_and_run_as_root_without_an_entrypoint(image: str, contents: Any, checkout: Path) -> None:
    """The runner starts each program by its name alone, so its shebang must isolate Python; files are root's."""
    config = inspect(image)["Config"]
    assert config["Cmd"] == [PYTHON, "-I", "-u", "-B", "/app/entrypoint.py"]
    assert not config["Entrypoint"], "Buildkite and Jenkins would pass it a shell"
    assert contents["post"] == [True, f"#!{PYTHON} -IuB\n"]
    assert YAML(typ="safe").load(checkout / "action.yml")["runs"]["post-entrypoint"] == POST
    assert (config["User"], contents["user"]) == ("", 0)


def test_image_has_what_it_needs_and_nothing_else(contents: Any) -> None:
    """No sandbox, test tools, pip or compilers; no tests of installed packages, and no caches beyond the base image."""
    assert contents["modules_and_programs"] == [NEEDED, []]
    assert contents["tests_and_caches"] == []
    assert contents["app"] == ["coval-gate", "entrypoint.py", "post_entrypoint.py"]


def test_any_user_can_start_the_image_read_only(image: str) -> None:
    """Root is for GitHub's runner, whose files are root's."""
    user = ("--read-only", "--user", "65534:65534")
    shown = docker("run", "--rm", "--network", "none", *user, image, "coval-gate", "--version")
    assert shown == f"coval-gate {__version__}\n"


def test_all_modules_can_be_imported(contents: Any) -> None:
    """Exceptions are modules of other packages that integrate a package which the action does not use."""
    assert contents["imports"]["missing"] == MISSING_IMPORTS
    assert contents["imports"]["ours"] > 50
    assert contents["imports"]["others"] > 150


def test_all_modules_have_unchecked_bytecode(contents: Any) -> None:
    """The bytecode matches its source, and Python uses it without a check of the source (PEP 552)."""
    counts = contents["bytecode"]
    assert (counts["missing"], counts["checked"], counts["stale"]) == ([], [], [])
    assert counts["ours"] > 50
    assert counts["modules"] > 200


def test_installed_versions_match_lock_file(contents: Any) -> None:
    """The environment has exactly the packages in requirements/runtime.txt."""
    from bench.figures import ROOT

    lines = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8").splitlines()
    locked = dict(line.split()[0].split("==") for line in lines if "==" in line and not line.startswith((" ", "#")))
    assert contents["versions"] == locked


def test_image_adds_at_most_22_mb(image: str) -> None:
    """Compare the disk space beyond the base image, by the method that gives the highest number."""
    from bench.image import MOST, added

    weights = added(image)
    assert min(weights) > 1, weights  # the measurement worked
    assert max(weights) <= MOST == 22, weights
