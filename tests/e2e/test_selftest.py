"""selftest.yml runs under act as it is; the cases that only GitHub's runner can do are left out."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.engine import Sandbox, docker
from e2e.workflow import RUNNER, Environment, run_workflow

pytestmark = pytest.mark.e2e
WORKFLOW = Path(__file__).resolve().parents[2] / ".github" / "workflows" / "selftest.yml"
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


@pytest.mark.usefixtures("image")
def test_selftest(used: Path, runner: str, tmp_path: Path) -> None:
    """The last step has looked at every output of the others."""
    files = {
        str(file.relative_to(used)): file.read_text(encoding="utf-8") for file in used.rglob("*") if file.is_file()
    }
    environment = Environment(files=files, key="", runner=runner)
    result = run_workflow(WORKFLOW, tmp_path, None, Sandbox(""), environment)
    log = "\n".join(str(entry.get("msg", entry)) for entry in result.entries)
    assert result.job == "success", log
    assert result.outcome("Check every output") == "success"
