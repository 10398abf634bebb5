"""The wheel as a stranger gets it: its contents, its metadata, and what installs it by hash."""

import email.message
import email.parser
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest
from ruamel.yaml import YAML

from coval_gate import IS_RELEASE, REPOSITORY, SOURCE, __version__

ROOT: Final = Path(__file__).resolve().parents[2]
ASSETS: Final = f"https://github.com/{REPOSITORY}/releases/download/v{__version__}/"
EXAMPLES: Final = (*(ROOT / "examples").rglob("*.yml"), ROOT / "docs" / "ci.md")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the wheel and with the requirements that install it."""
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    subprocess.run([sys.executable, str(ROOT / "scripts" / "locks.py"), str(directory)], check=True)
    return directory


@pytest.fixture(scope="module")
def wheel(dist: Path) -> zipfile.ZipFile:
    (path,) = dist.glob("*.whl")
    return zipfile.ZipFile(path)


def test_top_of_the_wheel_has_nothing_but_ours(wheel: zipfile.ZipFile) -> None:
    """Another top-level name could hide another project's module. pyproject.toml has the reason for each."""
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert top == {
        *("coval_gate", "coval_cli", "coval_attach", "coval_demo", "coval_sandbox"),
        f"coval_gate-{__version__}.dist-info",
    }


def test_metadata_lead_to_the_repository(wheel: zipfile.ZipFile) -> None:
    text = wheel.read(f"coval_gate-{__version__}.dist-info/METADATA").decode()
    metadata: email.message.Message = email.parser.Parser().parsestr(text)
    addresses = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL", []))
    home = f"https://github.com/{REPOSITORY}"
    assert addresses["Homepage"] == home
    assert addresses["Changelog"] == f"{home}/blob/{SOURCE}/CHANGELOG.md"
    assert metadata["Author"] == "The Coval Gate authors"
    assert f"Programming Language :: Python :: 3.{sys.version_info.minor}" in metadata.get_all("Classifier", [])
    description = str(metadata.get_payload())
    assert f"]({home}/blob/{SOURCE}/docs/thresholds.md)" in description
    assert f'src="{home}/raw/{SOURCE}/docs/summary-light.png"' in description
    assert "](docs/" not in description
    assert '="docs/' not in description


@pytest.mark.parametrize("name", ["coval-gate.txt", "coval-gate-attach.txt"])
def test_locked_requirements_install_the_wheel_and_all_that_it_needs(name: str, dist: Path) -> None:
    """pip rejects a wheel with another hash, and a package without one. It queries no index for what is installed."""
    text = (dist / name).read_text(encoding="utf-8")
    assert ASSETS in text
    here = dist / f"here-{name}"
    here.write_text(text.replace(ASSETS, f"{dist.as_uri()}/"), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-index", "--require-hashes"]
    command += ["--disable-pip-version-check", "--requirement", str(here)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert f"Would install coval-gate-{__version__}" in done.stdout, done.stderr
    (wheel,) = dist.glob("*.whl")
    other = here.read_text(encoding="utf-8").rpartition("sha256:")[0] + "sha256:" + "0" * 64
    here.write_text(other, encoding="utf-8")
    assert f"{wheel.name}" in (refused := subprocess.run(command, capture_output=True, text=True)).stderr
    assert "DO NOT MATCH THE HASHES" in refused.stderr


def test_examples_install_by_hash_what_a_release_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    locks = runpy.run_path(str(ROOT / "scripts" / "locks.py"))["LOCKS"]
    source = f"download/v{__version__}" if IS_RELEASE else "latest/download"
    commands = [
        (path.name, line)
        for path in EXAMPLES
        for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        if f"github.com/{REPOSITORY}/releases/" in line
    ]
    assert len(commands) == 5
    for name, line in commands:
        address = line.rpartition(f"https://github.com/{REPOSITORY}/releases/{source}/")[2].rstrip("`.")
        assert address.removesuffix(".txt") in {lock.removesuffix(".txt") for lock in locks}, name


def test_release_has_all_attestations_as_files() -> None:
    """A bundle of each attestation is among the files, so that a release can be checked without GitHub's API."""
    workflow = YAML(typ="safe").load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    attested = {step["id"] for step in steps if step.get("uses", "").startswith("actions/attest@")}
    kept = {value for step in steps if "cp " in step.get("run", "") for value in step.get("env", {}).values()}
    assert attested == {"provenance", "contents"}
    assert kept == {f"${{{{ steps.{name}.outputs.bundle-path }}}}" for name in attested}
