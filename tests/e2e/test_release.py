"""A released action: `make release` names an image in a registry on loopback, and act pulls it by its digest."""

import shutil
import subprocess
from pathlib import Path

import pytest

from coval_gate import IS_RELEASE, REPOSITORY, __version__
from coval_gate.report.formats.outputs import OUTPUTS
from e2e.engine import Sandbox, docker
from e2e.workflow import Environment, commit, run_workflow

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not shutil.which("docker-registry"), reason="there is no program docker-registry"),
    pytest.mark.skipif(IS_RELEASE, reason="this is a release"),
]
WORKFLOW = """\
name: Released
on: push
jobs:
  evaluate:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
      - id: gate
        uses: ./coval-gate
        with:
          api_key: ${{ secrets.COVAL_API_KEY }}
          api_base_url: ${{ vars.COVAL_API_BASE_URL }}
          agent_id: agentFrontDesk00000001
          persona_id: personaPatient00000001
          test_set_id: passing1
          check_interval: 1
"""


def test_released_action_starts_its_image_by_digest(
    image: str, checkout: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    from bench.image import push, registry

    with registry() as address:
        name = push(image, f"{address}/{REPOSITORY}:v{__version__}")
        action = released_action(checkout, address, name.partition("@")[2], tmp_path)
        workflow = tmp_path / "released.yml"
        workflow.write_text(WORKFLOW, encoding="utf-8")
        result = run_workflow(workflow, tmp_path, action, sandbox, Environment())
        docker("image", "rm", name)
    assert (result.job, result.exit_code) == ("success", 0)
    outputs = result.outputs("gate")
    assert outputs.keys() == OUTPUTS.keys()
    assert (outputs["verdict"], outputs["run_id"]) == ("passed", sandbox.run["run_id"])
    assert result.leaks == []


def released_action(checkout: Path, address: str, digest: str, directory: Path) -> Path:
    """Return a directory with the released action.yml, and no Dockerfile: nothing could be built."""
    released = directory / "released"
    shutil.copytree(checkout, released, ignore=shutil.ignore_patterns(".git"))
    commit(released)
    values = (f"VERSION={__version__}", f"DIGEST={digest}", f"REGISTRY={address}")
    make = ["make", "--silent", "--directory", str(released), "release", *values]
    subprocess.run(make, check=True)
    action = directory / "action"
    action.mkdir()
    shutil.copy(released / "action.yml", action)
    return action
