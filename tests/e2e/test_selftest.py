"""selftest.yml and live.yml run under act as they are; the cases that only GitHub's runner can do are left out."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from coval_sandbox.catalogue import AGENT_ID, PERSONA_ID
from e2e.engine import Sandbox, docker, sandbox
from e2e.workflow import RUNNER, SHOW_FILES, UPLOAD, Environment, run_workflow

pytestmark = pytest.mark.e2e
WORKFLOWS = Path(__file__).resolve().parents[2] / ".github" / "workflows"
IDS = {"COVAL_AGENT_ID": AGENT_ID, "COVAL_PERSONA_ID": PERSONA_ID, "COVAL_TEST_SET_ID": "passing1"}
SELFTEST_RUNNER = "coval-gate-e2e-selftest"
# The runner has what the job installs, except the gate itself.
DOCKERFILE = f"""
FROM {RUNNER}
COPY pyproject.toml /
RUN python -c 'import itertools, tomllib; project = tomllib.load(open("/pyproject.toml", "rb"))["project"]; \\
print(*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values()), sep="\\n")' >/lines \\
    && python -m pip install -q --root-user-action ignore --requirement /lines
"""
USED = ("action.yml", "Dockerfile", "pyproject.toml", "README.md", "LICENSE", "src", "examples", "scripts")


@pytest.fixture
def used(checkout: Path, tmp_path: Path) -> Path:
    """Return a directory with what the job uses of the checkout, and no .dockerignore."""
    (tmp_path / "used").mkdir()
    for name in USED:
        copy = shutil.copytree if (checkout / name).is_dir() else shutil.copy
        copy(checkout / name, tmp_path / "used" / name)
    return tmp_path / "used"


@pytest.fixture
def runner(used: Path) -> Iterator[str]:
    command = ["docker", "build", "--network", "host", "--tag", SELFTEST_RUNNER, "--file", "-", str(used)]
    subprocess.run(command, input=DOCKERFILE, text=True, check=True, capture_output=True)
    yield SELFTEST_RUNNER
    docker("image", "rm", SELFTEST_RUNNER)


def texts(directory: Path) -> dict[str, str]:
    """Return the files in a directory by their paths."""
    files = [file for file in directory.rglob("*") if file.is_file()]
    return {str(file.relative_to(directory)): file.read_text(encoding="utf-8") for file in files}


@pytest.mark.usefixtures("image")
def test_live(used: Path, runner: str, tmp_path: Path) -> None:
    """The sandbox stands in for Coval, over https."""
    ca, stub = tmp_path / "sandbox.pem", tmp_path / "upload"
    stub.mkdir()
    (stub / "action.yml").write_text(SHOW_FILES, encoding="utf-8")
    reference = (WORKFLOWS / "live.yml").read_text(encoding="utf-8").partition(UPLOAD)[2].split()[0]
    flags = ("--local-repository", f"actions/upload-artifact@{reference}={stub}")
    with sandbox(ca=ca, strict=True) as coval:
        files = {**texts(used), "sandbox.pem": ca.read_text(encoding="utf-8")}
        environment = Environment(files=files, variables=IDS, runner=runner, event="workflow_dispatch", flags=flags)
        result = run_workflow(WORKFLOWS / "live.yml", tmp_path, None, coval, environment)
    log = "\n".join(str(entry.get("msg", entry)) for entry in result.entries)
    assert result.job == "success", log
    assert result.outcome("Check every output") == "success"
    assert "Response to a launch: a short run" in log
    assert result.leaks == []


@pytest.mark.usefixtures("image")
def test_selftest(used: Path, runner: str, tmp_path: Path) -> None:
    """The last step has looked at every output of the others."""
    environment = Environment(files=texts(used), key="", runner=runner)
    result = run_workflow(WORKFLOWS / "selftest.yml", tmp_path, None, Sandbox(""), environment)
    log = "\n".join(str(entry.get("msg", entry)) for entry in result.entries)
    assert result.job == "success", log
    assert result.outcome("Check every output") == "success"
