"""A released action: `make release` names an image in a registry on loopback, and act pulls it by its digest."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
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


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Serve a registry on a free port, and return its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = tmp_path / "registry.yml"
    storage = f"storage: {{filesystem: {{rootdirectory: {tmp_path / 'registry'}}}}}"
    config.write_text(f"version: 0.1\n{storage}\nhttp: {{addr: '{address}'}}\n", encoding="utf-8")
    command = ["docker-registry", "serve", str(config)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield address
        process.terminate()


def test_released_action_starts_its_image_by_digest(
    image: str, checkout: Path, registry: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    name = f"{registry}/{REPOSITORY}:v{__version__}"
    docker("tag", image, name)
    push = ["docker", "push", "--quiet", name]
    while subprocess.run(push, capture_output=True).returncode:
        time.sleep(0.2)  # the registry is starting
    (digest,) = [
        found.partition("@")[2]
        for found in docker("image", "inspect", "--format", '{{join .RepoDigests " "}}', name).split()
        if found.startswith(registry)
    ]
    docker("image", "rm", name)  # so that only a pull can bring it
    released = tmp_path / "released"
    shutil.copytree(checkout, released, ignore=shutil.ignore_patterns(".git"))
    commit(released)
    values = (f"VERSION={__version__}", f"DIGEST={digest}", f"REGISTRY={registry}")
    make = ["make", "--silent", "--directory", str(released), "release", *values]
    subprocess.run(make, check=True)
    action = tmp_path / "action"
    action.mkdir()
    shutil.copy(released / "action.yml", action)  # no Dockerfile: nothing could be built
    workflow = tmp_path / "released.yml"
    workflow.write_text(WORKFLOW, encoding="utf-8")
    result = run_workflow(workflow, tmp_path, action, sandbox, Environment())
    remove = ["docker", "image", "rm", f"{registry}/{REPOSITORY}@{digest}"]
    subprocess.run(remove, capture_output=True)
    assert (result.job, result.exit_code) == ("success", 0)
    outputs = result.outputs("gate")
    assert outputs.keys() == OUTPUTS.keys()
    assert (outputs["verdict"], outputs["run_id"]) == ("passed", sandbox.run["run_id"])
    assert result.leaks == []
