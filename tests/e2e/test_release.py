"""A released tree: act pulls its action's image by digest, and each pipeline's commands run in the image."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from contract.test_docs import PIPELINES
from coval_gate import IS_RELEASE, REPOSITORY, __version__
from coval_gate.report.formats.outputs import OUTPUTS
from e2e.engine import KEY, SPEED_OF_STEPS, Sandbox, docker
from e2e.workflow import Environment, commit, run_workflow
from support import IDS
from unit.test_systems import JOBS, SHA

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(IS_RELEASE, reason="this is a release")]
SPEED = SPEED_OF_STEPS
# How each system starts a script in the image, and as which user.
SHELLS = {
    "Azure Pipelines": (["bash", "-c"], "1001:1001"),
    "Bitbucket": (["bash", "-e", "-c"], "0:0"),
    "Buildkite": (["/bin/sh", "-e", "-c"], "1001:1001"),
    "CircleCI": (["/bin/bash", "-eo", "pipefail", "-c"], "0:0"),
    "GitLab": (["sh", "-e", "-c"], "0:0"),
    "Jenkins": (["sh", "-xe", "-c"], "1001:1001"),
}
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


@pytest.mark.skipif(not shutil.which("docker-registry"), reason="there is no program docker-registry")
def test_released_action_starts_its_image_by_digest(
    image: str, checkout: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    from bench.image import push, registry

    with registry() as address:
        name = push(image, f"{address}/{REPOSITORY}:v{__version__}")
        action = tmp_path / "action"  # with no Dockerfile: nothing could be built
        action.mkdir()
        shutil.copy(release(checkout, address, name.partition("@")[2], tmp_path) / "action.yml", action)
        workflow = tmp_path / "released.yml"
        workflow.write_text(WORKFLOW, encoding="utf-8")
        result = run_workflow(workflow, tmp_path, action, sandbox, Environment())
        docker("image", "rm", name)
    assert (result.job, result.exit_code) == ("success", 0)
    outputs = result.outputs("gate")
    assert outputs.keys() == OUTPUTS.keys()
    assert (outputs["verdict"], outputs["run_id"]) == ("passed", sandbox.run["run_id"])
    assert result.leaks == []


def release(checkout: Path, address: str, digest: str, directory: Path) -> Path:
    """Return the released tree."""
    released = directory / "released"
    shutil.copytree(checkout, released, ignore=shutil.ignore_patterns(".git"))
    commit(released)
    values = (f"VERSION={__version__}", f"DIGEST={digest}", f"REGISTRY={address}")
    make = ["make", "--silent", "--directory", str(released), "release", *values]
    subprocess.run(make, check=True)
    return released


@pytest.fixture(scope="module")
def pipelines(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return examples/ci of a released tree."""
    return release(checkout, "registry.example", f"sha256:{'5e' * 32}", tmp_path_factory.mktemp("tree")) / "examples/ci"


@pytest.mark.parametrize("system", SHELLS)
def test_commands_of_released_pipeline_run_in_the_image(
    system: str, image: str, pipelines: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The job is red, has its reports in the workspace, and its run names its commit."""
    shell, user = SHELLS[system]
    ids = {f"COVAL_{name.upper()}": value for name, value in IDS.items()} | {"COVAL_TEST_SET_ID": "failing1"}
    inputs = {"COVAL_API_KEY": KEY, "INPUT_API_BASE_URL": sandbox.url, "INPUT_CHECK_INTERVAL": "1"}
    environ = JOBS[system][0] | ids | inputs
    tmp_path.chmod(0o777)

    def run(script: str) -> subprocess.CompletedProcess[str]:
        names = [part for name in environ for part in ("--env", name)]
        options = ["--rm", "--network", "host", "--user", user, "--volume", f"{tmp_path}:/workspace", *names]
        command = ["docker", "run", *options, "--workdir", "/workspace", image, *shell, script]
        return subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, timeout=120)

    text = (pipelines / PIPELINES[system]).read_text(encoding="utf-8")
    first, *rest = scripts(re.sub(r"\$\$|\$\((COVAL_\w+)\)", lambda name: f"${name[1] or ''}", text))
    done = run(first)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "❌ Failed" in done.stdout
    assert (sandbox.run["status"], SHA in str(sandbox.run)) == ("COMPLETED", True)
    assert {path.suffix for path in tmp_path.rglob("*.*") if path.is_file()} >= {".xml", ".html"}
    assert [run(script).returncode for script in rest] == [0] * (system != "Buildkite")


def scripts(text: str) -> list[str]:
    """Return the scripts of a pipeline in the order in which its job runs them."""
    if text.startswith("//"):
        return [block or line for block, line in re.findall(r"\bsh (?:'''(.*?)'''|'(.*?)')", text, re.DOTALL)]
    return list(dict.fromkeys(_scripts(YAML(typ="safe").load(text))))


def _scripts(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for entry in node:
            yield from _scripts(entry)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("script", "after_script", "after-script", "command"):
                yield value if isinstance(value, str) else "\n".join(value)
            else:
                yield from _scripts(value)
