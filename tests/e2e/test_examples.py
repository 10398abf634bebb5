"""The workflows that the docs offer, run as they are, and a matrix.

act puts the checkout in the place of the published action. The checkout's defaults lead to the sandbox, since the
examples leave `api_base_url` to its default.
"""

import json
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from coval_gate import IS_RELEASE, PIN, SOURCE
from coval_gate import REPOSITORY as GATE
from coval_gate.ci.host import Context
from coval_gate.history.tags import branch_tag
from coval_gate.report.formats.outputs import OUTPUTS
from coval_sandbox import catalogue
from coval_sandbox.github import BOT
from coval_sandbox.http import SeenRequest
from coval_sandbox.runner import PULL_REQUEST
from e2e import engine
from e2e.engine import Sandbox, docker
from e2e.proxy import make_certificate, proxy
from e2e.workflow import REPOSITORY, RUNNER, SHOW_FILES, UPLOAD, Environment, WorkflowResult, run_workflow
from fake_github import TOKEN, FakeGitHub, WorkflowRun
from fake_host import FakeHost, Fault, Response
from recipes import EXAMPLES, RECIPES, workflow_text

Example = Callable[..., WorkflowResult]


pytestmark = pytest.mark.e2e
SPEED = engine.SPEED_OF_STEPS
ROOT = Path(__file__).resolve().parents[2]
MATRIX = Path(__file__).parent / "workflows" / "matrix.yml"
VARIABLES = {
    "COVAL_AGENT_ID": "demoAgent0000000000001",
    "COVAL_PERSONA_ID": "demoPersona00000000001",
    "COVAL_TEST_SET_ID": "passing1",
}
EVENT = {**PULL_REQUEST, "number": 42}
HEAD = PULL_REQUEST["pull_request"]["head"]["sha"]
FORK_HEAD = {"sha": HEAD, "repo": {"full_name": "mallory/voice-agent"}}
FORK_EVENT = {**EVENT, "pull_request": {**PULL_REQUEST["pull_request"], "head": FORK_HEAD}}
CHECKOUT = "uses: actions/checkout@"
# What stands for a checkout of another branch: the repository of the test has its files in place already.
SHOW_REF = """
name: Show what would be checked out
description: Shows the inputs
inputs:
  ref: {description: the branch, required: true}
  path: {description: the directory, required: true}
  sparse-checkout: {description: the file, required: true}
  sparse-checkout-cone-mode: {description: unused}
  persist-credentials: {description: unused}
runs:
  using: composite
  steps:
    - shell: bash
      env: {SHOWN: "${{ inputs.ref }} ${{ inputs.path }}/${{ inputs.sparse-checkout }}"}
      run: echo "$SHOWN"
"""
# What GitHub's runners have, and the steps of examples use. gh speaks plain HTTP at a Unix socket, so that it can be
# pointed at the fake server.
GH_RUNNER = "coval-gate-e2e-gh"
GH_SOCKETS = "/run/github"
GH_DOCKERFILE = f"""
FROM {RUNNER}
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends gh jq curl git ca-certificates \\
    && mkdir /etc/gh \\
    && echo 'http_unix_socket: {GH_SOCKETS}/socket' > /etc/gh/config.yml
ENV GH_CONFIG_DIR=/etc/gh
"""

# The runner of a job that installs the command from a release, whose files are here; Coval's SDK is installed.
ASSETS = f"https://github.com/{GATE}/releases/{f'download/{SOURCE}' if IS_RELEASE else 'latest/download'}/"
RELEASE = "/opt/release/"
OWN_BUILD_RUNNER = "coval-gate-e2e-own-build"
OWN_BUILD_DOCKERFILE = f"""
COPY . /opt/coval-gate
RUN cd /opt/coval-gate && python -m pip wheel -q --no-deps --wheel-dir {RELEASE} . \\
    && python scripts/locks.py {RELEASE} && sed -i 's|https://github.com/.*/|file://{RELEASE}|' {RELEASE}*.txt \\
    && python -m pip install -q --no-deps --require-hashes --requirement {RELEASE}coval-gate-attach.txt \\
    && python -m pip uninstall -qy coval-gate
"""
AGENT = """
import array, math

TONE = array.array("h", (round(8000 * math.sin(2 * math.pi * 440 * at / 16000)) for at in range(3200))).tobytes()


async def answer(connection):
    async for _ in connection.receive_audio():
        await connection.send_audio(TONE)
"""
BROKEN_AGENT = """
async def answer(connection):
    raise KeyError("greeting")
"""


@pytest.fixture
def example(action: Path, tmp_path: Path, sandbox: Sandbox) -> Example:
    """Return a function that runs an example by name, on a pull request unless `given` has another event."""

    def run(
        name: str, github: FakeGitHub | None = None, *, api_url: str = "", caller: str = "", **given: Any
    ) -> WorkflowResult:
        text = workflow_text(name)
        stubs = [f"{GATE}@{PIN}={action_with_defaults(api_url or sandbox.url)}"]
        if "ref: ${{" in text:  # act's own checkout has the pull request only
            reference = text.partition(CHECKOUT)[2].split()[0]
            stubs.append(f"actions/checkout@{reference}={directory_with('action.yml', SHOW_REF)}")
        if caller:
            given["files"] = {f".github/workflows/{name}.yml": text} | given.get("files", {})
            name, text = "caller", caller
        if UPLOAD in text:
            reference = text.partition(UPLOAD)[2].split()[0]
            stubs.append(f"actions/upload-artifact@{reference}={directory_with('action.yml', SHOW_FILES)}")
        given["flags"] = (*(part for stub in stubs for part in ("--local-repository", stub)), *given.get("flags", ()))
        given["variables"] = VARIABLES | given.get("variables", {})
        defaults = {"event": "pull_request", "payload": EVENT, "token": TOKEN}
        defaults |= {"api_url": github.url} if github else {}
        environment = Environment(**defaults | given)
        workflow = tmp_path / f"{name}.yml"
        workflow.write_text(text.replace(ASSETS, RELEASE), encoding="utf-8")
        result = run_workflow(workflow, tmp_path, None, sandbox, environment)
        assert result.leaks == []
        return result

    def action_with_defaults(api_url: str) -> Path:
        copy = Path(tempfile.mkdtemp(dir=tmp_path)) / "coval-gate"
        shutil.copytree(action, copy)
        text = (copy / "action.yml").read_text(encoding="utf-8")
        for before, after in (("https://api.coval.dev/v1", api_url), ("adaptive", "1")):  # the sandbox is fast
            assert f"default: {json.dumps(before)}" in text
            text = text.replace(f"default: {json.dumps(before)}", f"default: {json.dumps(after)}")
        (copy / "action.yml").write_text(text, encoding="utf-8")
        return copy

    def directory_with(name: str, text: str) -> Path:
        directory = Path(tempfile.mkdtemp(dir=tmp_path))
        (directory / name).write_text(text, encoding="utf-8")
        return directory

    return run


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as server:
        server.add_pull_request(42, HEAD)
        yield server


@pytest.fixture(scope="session")
def gh_runner() -> Iterator[str]:
    """Build the image of a runner that has the commands gh, jq, curl and git."""
    command = ["docker", "build", "--tag", GH_RUNNER, "-"]
    subprocess.run(command, input=GH_DOCKERFILE, text=True, check=True, capture_output=True)
    yield GH_RUNNER
    docker("image", "rm", GH_RUNNER)


@pytest.fixture
def gh(github: FakeGitHub, gh_runner: str) -> Iterator[dict[str, Any]]:
    """Return what a job's command gh needs to reach the fake GitHub: its runner, and flags of act."""
    with tempfile.TemporaryDirectory() as directory, github.at(Path(directory) / "socket"):
        yield {"runner": gh_runner, "flags": ("--container-options", f"--volume {directory}:{GH_SOCKETS}")}


@pytest.fixture(scope="session")
def own_build_runner(gh_runner: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the image of a runner that can install the command."""
    directory = tmp_path_factory.mktemp("runner")
    for name in ("src", "examples", "scripts", "requirements"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, directory)
    command = ["docker", "build", "--network", "host", "--tag", OWN_BUILD_RUNNER, "--file", "-", str(directory)]
    subprocess.run(command, input=f"FROM {gh_runner}{OWN_BUILD_DOCKERFILE}", text=True, check=True, capture_output=True)
    yield OWN_BUILD_RUNNER
    docker("image", "rm", OWN_BUILD_RUNNER)


class Channel(FakeHost):
    """A webhook of a chat, whose URL is as secret as a key."""

    def __init__(self) -> None:
        super().__init__(f"/{secrets.token_hex(16)}")

    def perform(self, request: SeenRequest, path: str) -> Response:
        assert (path, request.headers["content-type"]) == ("", "application/json")
        return Response(200, "")

    @property
    def messages(self) -> list[Any]:
        """Return the messages that were posted."""
        return [request.json for request in self.requests_seen]


def shown(element: Any) -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of each part of a message that has a text."""
    if isinstance(element, dict):
        if isinstance(text := element.get("text"), str):
            yield element.get("type", ""), text
        element = list(element.values())
    if isinstance(element, list):
        for part in element:
            yield from shown(part)


def states(github: FakeGitHub, context: str = "Voice gate") -> list[str]:
    """Return the states of a commit status on the head, oldest first."""
    return [status["state"] for status in github.statuses.get(HEAD, []) if status["context"] == context]


def launch_on_main(sandbox: Sandbox, test_set: str, *tags: str, **options: Any) -> str:
    """Launch a run as the gate does on main, and return its id. A step searches for one that is missing for 15 s."""
    ids = {name.removeprefix("COVAL_").lower(): value for name, value in VARIABLES.items()}
    branch = branch_tag(Context(repository=REPOSITORY, server_url="https://github.com"), "main")
    metadata = {"tags": [branch, *tags]}
    return sandbox.launch(**ids | {"test_set_id": test_set}, options=options, metadata=metadata)


def test_every_example_runs_here() -> None:
    """All but the one that differs from pull-request.yml only in inputs, which contract/test_promises.py walks."""
    ran = set(re.findall(r'\bexample\(\s*"([a-z-]+)"', Path(__file__).read_text(encoding="utf-8")))
    assert {path.stem for path in EXAMPLES.glob("*.yml")} | RECIPES.keys() == ran | {"preview", "bisect"}


@pytest.mark.parametrize(("test_set", "verdict"), [("passing1", "passed"), ("flaky001", "failed")])
def test_pull_request(example: Example, sandbox: Sandbox, test_set: str, verdict: str) -> None:
    """The workflow gets outputs, conclusion and summary, the run's metadata name the commit, and the key is masked."""
    result = example("pull-request", variables={"COVAL_TEST_SET_ID": test_set})
    outputs, passed = result.outputs("gate"), verdict == "passed"
    assert (result.job, result.exit_code) == (("success", 0) if passed else ("failure", 1))
    assert outputs.keys() == OUTPUTS.keys()
    assert (outputs["verdict"], outputs["passed"]) == (verdict, json.dumps(passed))
    (summary,) = result.commands("gate", "summary")
    assert summary["content"].startswith(f"### {'✅ Passed' if passed else '❌ Failed'}: Coval evaluation")
    assert len(result.commands("gate", "error")) == (0 if passed else 1)
    metadata = sandbox.run["metadata"]
    assert (metadata["github_repository"], metadata["github_commit"]) == (REPOSITORY, HEAD)
    assert engine.KEY in [command["arg"] for command in result.commands("gate", "add-mask")]


@pytest.mark.parametrize(("agent", "verdict"), [(AGENT, "passed"), (BROKEN_AGENT, "error")], ids=["good", "broken"])
def test_own_build(example: Example, own_build_runner: str, tmp_path: Path, agent: str, verdict: str) -> None:
    """The commit's own code answers the callers. If it crashes, the check is red, and the log shows the crash."""
    authority, authorities = tmp_path / "relay.pem", tmp_path / "authorities.pem"
    with engine.sandbox(relay_ca=authority) as own_sandbox:
        system = docker("run", "--rm", own_build_runner, "cat", "/etc/ssl/certs/ca-certificates.crt")
        authorities.write_text(system + authority.read_text(encoding="utf-8"), encoding="utf-8")
        result = example(
            "own-build",
            api_url=own_sandbox.url,
            runner=own_build_runner,
            files={"agent.py": agent, "requirements.txt": ""},
            variables={"COVAL_AGENT_ID": catalogue.OWN_BUILD_ID},
            flags=(
                *("--container-options", f"--volume {authorities}:/authorities.pem"),
                *("--env", "SSL_CERT_FILE=/authorities.pem", "--env", f"INPUT_API_BASE_URL={own_sandbox.url}"),
            ),
        )
        (run,) = own_sandbox.runs
    gate = result.outputs("gate")
    assert (gate["verdict"], result.job) == (verdict, "success" if verdict == "passed" else "failure"), result.log("3")
    assert run["status"] in ("COMPLETED", "CANCELLED")
    if verdict == "error":
        assert gate["reason"].startswith("Nothing shows that a job answered every simulation")
        assert "crashed: KeyError: 'greeting' (log: .coval-gate/logs/" in result.log("3")
        assert result.log("5", "0").count(".log\n") == 11  # of each simulation, and of the worker


def test_reports(example: Example, sandbox: Sandbox, github: FakeGitHub) -> None:
    """The run is compared with one of main, and every report is there."""
    main_run = launch_on_main(sandbox, "failing1")
    result = example("reports", github, variables={"COVAL_TEST_SET_ID": "failing1"})
    assert (result.outputs("gate")["verdict"], result.job) == ("failed", "failure")
    assert result.outputs("gate")["baseline_run_id"] == main_run
    (comment,) = github.comments[42]
    assert "### ❌ Failed: Coval evaluation" in comment.body
    assert states(github) == ["pending", "failure"]
    assert result.log("1", "0").split() == ["coval.json", "digest.md", "junit.xml"]
    assert result.log("2", "0").split() == ["voice-gate.html"]


def test_label(example: Example, sandbox: Sandbox, github: FakeGitHub) -> None:
    """The label starts the gate, and so does a commit of a pull request that has it; another label does not."""

    def run(action: str, *labels: str, label: str = "", **given: Any) -> WorkflowResult:
        pull_request = EVENT["pull_request"] | {"labels": [{"name": name} for name in labels]}
        labelled = {"label": {"name": label}} if label else {}
        payload = {**EVENT, "action": action, "pull_request": pull_request, **labelled}
        return example("label", github, payload=payload, **given)

    assert run("labeled", "voice-gate", "docs", label="docs").jobs == {}
    assert run("synchronize", "docs").jobs == {}
    assert sandbox.runs == []
    assert run("labeled", "voice-gate", label="voice-gate").job == "success"
    assert states(github) == ["pending", "success"]
    result = run("synchronize", "docs", "voice-gate", variables={"COVAL_TEST_SET_ID": ""})
    assert result.outputs("gate")["reason"].startswith("test_set_id is required")
    assert states(github)[-1] == "error"


def test_paths(example: Example, sandbox: Sandbox, github: FakeGitHub, gh: dict[str, Any]) -> None:
    """A pull request is evaluated if it changes a file of the agent, also if it only moves one away."""
    given = gh | {"payload": {**EVENT, "pull_request": EVENT["pull_request"] | {"changed_files": 150}}}
    ids = "".join(f"{name.removeprefix('COVAL_').lower()}: {value}\n" for name, value in VARIABLES.items())
    given["files"] = {"coval-gate.yml": ids}
    others = [{"filename": f"docs/agent/{number}.md"} for number in range(149)]  # more than a page
    moved = {"filename": "old/agent.md", "previous_filename": "prompts/agent.md"}
    for files, verdict in ((others, "skipped"), ([*others, moved], "passed")):
        github.repository.files[42] = files
        result = example("paths", github, **given)
        assert (result.outputs("gate")["verdict"], result.job) == (verdict, "success"), result.log("changes")
        assert len(sandbox.runs) == (1 if verdict == "passed" else 0)
    github.faults.append(Fault("GET *files -> 502"))
    assert example("paths", github, **given).job == "failure"
    assert len(sandbox.runs) == 1


def test_monorepo(example: Example, sandbox: Sandbox, github: FakeGitHub, gh: dict[str, Any]) -> None:
    """Only the legs of changed folders are evaluated; without any, nothing is launched, and the check is green."""
    given = gh | {"payload": {**EVENT, "pull_request": EVENT["pull_request"] | {"changed_files": 2}}}
    ids = "".join(f"{name.removeprefix('COVAL_').lower()}: {VARIABLES[name]}\n" for name in list(VARIABLES)[:2])
    legs = {"booking, calm": "passing1", "booking, angry": "failing1", "refunds": "passing2"}
    lines = "".join(f"  {name}: {{test_set_id: {test_set_id}}}\n" for name, test_set_id in legs.items())
    given["files"] = {"coval-gate.yml": f"{ids}legs:\n{lines}"}
    moved = {"filename": "old/agent.md", "previous_filename": "agents/refunds/agent.md"}
    for files, verdict, runs in (
        ([{"filename": "docs/agents.md"}], "skipped", 0),
        ([{"filename": "agents/booking/prompt.md"}], "passed", 2),
        ([moved], "passed", 3),
    ):
        github.repository.files[42] = files
        result = example("monorepo", github, **given)
        assert (result.outputs("gate").get("verdict"), result.job) == (verdict, "success"), result.log("changes")
        assert len(sandbox.runs) == runs


def test_by_hand(example: Example, sandbox: Sandbox) -> None:
    """The choices decide what runs. An accepted run becomes the baseline of later ones, which fill its tag."""
    variables = {"COVAL_TEST_SET_ID": "", "COVAL_TEST_SET_ID_SMOKE": "passing2", "COVAL_TEST_SET_ID_FULL": "passing1"}

    def run(*, accept: bool, number: int, branch: str = "main") -> WorkflowResult:
        inputs = {"test_set": "FULL", "accept": json.dumps(accept)}
        flags = ("--env", f"GITHUB_RUN_ID={number}")  # act's own is always the same
        payload = {"ref": f"refs/heads/{branch}", "inputs": inputs}
        return example("by-hand", event="workflow_dispatch", payload=payload, variables=variables, flags=flags)

    assert run(accept=True, number=1000, branch="patch-1").jobs == {}
    accepted = run(accept=True, number=1001)
    assert (accepted.outputs("gate")["verdict"], accepted.job) == ("passed", "success")
    holder = sandbox.run
    assert (holder["test_set_id"], accepted.outputs("gate")["total_simulations"]) == ("passing1", "10")
    look = run(accept=False, number=1002)
    assert look.outputs("gate")["baseline_run_id"] == holder["run_id"]
    tagged = {run["run_id"] for run in sandbox.runs if "stable" in run["tags"]}
    assert tagged == {holder["run_id"], look.outputs("gate")["run_id"]}


def test_notify(example: Example, gh_runner: str) -> None:
    """Each channel learns why the agent does not pass. No text from outside can link, mention a user, or run."""
    hostile = "'\"; echo pwned-$((6 * 7)) # $(id) `id` <!channel> [free](https://evil.example) \\(env.HOME)"
    given: dict[str, Any] = {"event": "push", "payload": {"ref": "refs/heads/main"}, "runner": gh_runner}
    with Channel() as slack, Channel() as teams:
        given["secrets"] = {"SLACK_WEBHOOK_URL": slack.url, "TEAMS_WEBHOOK_URL": teams.url}
        failed = example("notify", variables={"COVAL_TEST_SET_ID": "flaky001"}, **given)
        assert example("notify", **given).job == "success"
        ((failed_slack,), (failed_teams,)) = slack.messages, teams.messages
        given["secrets"] = {"SLACK_WEBHOOK_URL": slack.url}
        result = example("notify", variables={"COVAL_TEST_SET_ID": hostile}, **given)
        assert (result.outcome("Post in Slack"), result.outcome("Post in Teams")) == ("success", "success")
    for message, kind in ((failed_slack, "plain_text"), (failed_teams, "TextRun")):
        kinds, (verdict, reason, digest, *_) = zip(*[part for part in shown(message) if part[0]], strict=True)
        assert set(kinds) == {kind}
        assert verdict == "Voice gate: failed"
        assert reason == failed.outputs("gate")["reason"]
        assert digest.startswith("# Coval evaluation: ❌ Failed\n")
    assert failed_slack["text"] == "Voice gate: failed"
    assert len(slack.messages) == 2
    assert len(teams.messages) == 1
    message_text = json.dumps(slack.messages[1])
    assert "<!channel>" in message_text
    assert "pwned-$((6" in message_text
    assert "pwned-42" not in message_text + json.dumps(result.entries)


def test_check_run(example: Example, github: FakeGitHub) -> None:
    result = example("check-run", github, variables={"COVAL_TEST_SET_ID": "flaky001"})
    assert result.job == "failure"
    (check,) = github.check_runs
    assert (check.name, check.head_sha, check.conclusion) == ("Voice gate", HEAD, "failure")
    (summary,) = result.commands("gate", "summary")
    assert check.summary == summary["content"]


def test_legs(example: Example, sandbox: Sandbox) -> None:
    """Each leg is judged by the step's thresholds and its own. Without the file, nothing is launched."""
    ids = "".join(f"{name.removeprefix('COVAL_').lower()}: {VARIABLES[name]}\n" for name in list(VARIABLES)[:2])
    legs = "  good: {test_set_id: passing1}\n  bad:\n    test_set_id: passing2\n    thresholds: 'Latency: avg > 9'\n"
    result = example("legs", files={"coval-gate.yml": f"{ids}legs:\n{legs}"})
    assert result.job == "failure"
    assert len(sandbox.runs) == 2
    assert result.outputs("gate")["reason"].startswith("bad: avg of Latency is ")
    assert example("legs").outputs("gate")["reason"].startswith("config_path must be an existing file in the workspace")


def test_base_rules(example: Example, sandbox: Sandbox) -> None:
    """The file of the base branch judges. A mistake in the pull request's own file launches nothing."""
    ids = "".join(f"{name.removeprefix('COVAL_').lower()}: {VARIABLES[name]}\n" for name in VARIABLES)
    files = {"coval-gate.yml": ids, "base/coval-gate.yml": f"{ids}thresholds: 'Latency: avg > 9'\n"}
    payload = {**EVENT, "pull_request": EVENT["pull_request"] | {"base": {"ref": "main"}}}
    result = example("base-rules", files=files, payload=payload)
    assert result.log("1", "0") == "main base/coval-gate.yml\n"
    assert (result.outputs("2")["status"], result.outputs("gate")["verdict"], result.job) == (
        "PLANNED",
        "failed",
        "failure",
    )
    result = example("base-rules", files=files | {"coval-gate.yml": f"{ids}threshold: x\n"}, payload=payload)
    assert (result.outputs("2")["verdict"], result.job, len(sandbox.runs)) == ("error", "failure", 1)


def test_organization(example: Example, sandbox: Sandbox) -> None:
    """A repository adds its thresholds to the organization's."""
    limit = "Latency: p(95) < 1.5"
    rows = (("passing1", "Latency: p(95) < 9", True), ("passing1", "Latency: avg > 9", False), ("lostCase", "", False))
    for number, (test_set, thresholds, passes) in enumerate(rows, start=1):
        caller = f"name: Voice gate\n{RECIPES['organization'].blocks[1]}"
        for before, after in (("acme/ci/", "./"), ("organization.yml@main", "organization.yml"), (limit, thresholds)):
            assert before in caller
            caller = caller.replace(before, after)
        flags = ("--env", f"GITHUB_RUN_ID={1000 + number}")  # act's own is always the same
        result = example("organization", caller=caller, flags=flags, variables={"COVAL_TEST_SET_ID": test_set})
        assert result.exit_code == (0 if passes else 1)
        assert len(sandbox.runs) == number


def test_recheck(example: Example, github: FakeGitHub, gh: dict[str, Any]) -> None:
    """Only a comment on a pull request, by a user with write access, re-runs the red gate of its head."""
    runs = [WorkflowRun(7, "pull_request", "failure", HEAD, "feature")]
    github.repository.workflow_runs += runs
    github.repository.permissions["mona"] = "write"

    def comment(body: str, author: str = "mona", **issue: Any) -> WorkflowResult:
        said = {"id": 9, "body": body, "user": {"login": author}}
        payload = {"action": "created", "comment": said, "issue": {"number": 42, **issue}}
        return example("recheck", github, **gh | {"event": "issue_comment", "payload": payload})

    on_pull_request: dict[str, Any] = {
        "pull_request": {"url": "https://api.github.com/repos/acme/voice-agent/pulls/42"}
    }
    assert comment("/recheck").jobs == {}
    assert comment("please /recheck", **on_pull_request).jobs == {}
    assert comment("/recheck", "mallory", **on_pull_request).job == "success"
    assert (runs[0].reruns, github.repository.reactions) == (0, {})
    assert comment("/recheck", **on_pull_request).job == "success"
    assert (runs[0].reruns, github.repository.reactions) == (1, {"9": ["rocket"]})


def test_nightly_keeps_one_issue(example: Example, sandbox: Sandbox, github: FakeGitHub, gh: dict[str, Any]) -> None:
    """It opens the issue, updates it, closes it with a comment, and leaves an issue of that title by others alone.

    The second red night in a row mentions a person.

    The runs that lack nothing take the tag, too, as long as fewer than seven have it. With ten test cases, chance would
    decide whether a night shows that nothing got worse.
    """
    title = "Nightly regression of the voice agent"
    for number in range(120):  # more than a page
        github.add_issue(f"Something else {number}", "", "mona")
    other = github.add_issue(title, "by a person", "mallory")
    test_sets = ("failing1", "someFail", "steady01", "steady01")
    holders = {launch_on_main(sandbox, name, "stable", iteration_count=3) for name in test_sets[:3]}
    nights = []
    on_patch = {"event": "workflow_dispatch", "payload": {"ref": "refs/heads/patch-1", "inputs": {}}}
    assert example("nightly", github, **gh | on_patch).jobs == {}, "another branch moves no baseline"
    given = gh | {"event": "schedule", "payload": {"schedule": "17 3 * * *"}}
    for night, test_set in enumerate(test_sets):
        given["flags"] = (*gh["flags"], "--env", f"GITHUB_RUN_ID={1000 + night}")  # act's own is always the same
        given["variables"] = {"COVAL_TEST_SET_ID": test_set, "COVAL_ASSIGNEE": "mona"}
        result = example("nightly", github, **given)
        conclusion = "success" if result.job == "success" else "failure"
        github.repository.workflow_runs.insert(0, WorkflowRun(1000 + night, "schedule", conclusion))
        assert result.outcome("Open, update or close the issue") == "success", result.log("3")
        assert result.log("2", "0").split() == ["coval.json", "history.html"]
        ((number, issue),) = [entry for entry in github.issues.items() if entry[1].author == BOT]
        assert issue.title == title
        comments = [note.body for note in github.comments.get(number, [])]
        gate = result.outputs("gate")
        holders |= {gate["run_id"]} if test_set != "someFail" else set()
        assert {run["run_id"] for run in sandbox.runs if "stable" in run["tags"]} == holders
        nights.append((gate["verdict"], result.job, issue.state, issue.body, comments))
    failed, failed_again, passed, passed_again = nights
    assert failed[:3] == failed_again[:3] == ("failed", "failure", "open")
    assert "**failed**\n\n    count(NO) of Compliance is " in failed[3]
    assert "did not complete" in failed_again[3]
    ((mention,), assignees) = failed_again[4], [issue.assignees for issue in github.issues.values() if issue.assignees]
    assert (failed[4], assignees) == ([], [["mona"]])
    assert mention.startswith("@mona, this is the second red night in a row. Verdict of ")
    assert passed[:4] == ("passed", "success", "closed", failed_again[3])
    assert ["**passed**" in comment for comment in passed[4]] == [False, True]
    assert passed_again == passed
    assert github.issues[other].state == "open"
    assert other not in github.comments


def test_fix_with_an_agent_keeps_one_issue_per_branch(example: Example, github: FakeGitHub, gh: dict[str, Any]) -> None:
    """Only a run that fails because of the agent opens the issue or replaces its digest; one that passes closes it."""
    title = "The voice agent fails its gate on main"
    github.add_issue("The voice agent fails its gate on release", "of another branch", BOT)
    other = github.add_issue(title, "by a person", "mallory")
    pushes = []
    given = gh | {"event": "push", "payload": {"ref": "refs/heads/main"}}
    for push, test_set in enumerate(("flaky001", "x", "someFail", "passing1", "passing1")):
        given["flags"] = (*gh["flags"], "--env", f"GITHUB_RUN_ID={1000 + push}")  # act's own is always the same
        result = example("fix-with-an-agent", github, variables={"COVAL_TEST_SET_ID": test_set}, **given)
        assert result.outcome("Open, update or close the issue") == "success", result.log("4")
        assert result.log("1", "0").split() == ["digest.md"]
        ours = {number: issue for number, issue in github.issues.items() if issue.author == BOT}
        shown = [(our.state, our.body) for our in ours.values() if our.title == title]
        comments = [note.body for number in ours for note in github.comments.get(number, [])]
        pushes.append((result.outputs("gate")["verdict"], shown, comments))
    failed, error, failed_again, passed, passed_again = pushes
    ((state, digest),) = failed[1]
    assert (failed[0], state, failed[2]) == ("failed", "open", [])
    assert digest.startswith("# Coval evaluation: ❌ Failed\n")
    assert 'test_case_ids: "' in digest
    assert error == ("error", failed[1], [])
    ((state, later),) = failed_again[1]
    assert (failed_again[0], state, failed_again[2]) == ("failed", "open", [])
    assert later.startswith("# Coval evaluation: ❌ Failed\n")
    assert later != digest
    assert passed[:2] == ("passed", [("closed", later)])
    (comment,) = passed[2]
    assert comment.startswith("The agent passes at ")
    assert passed_again == passed
    assert github.issues[other].body == "by a person"
    assert github.issues[other].state == "open"


def test_personas(example: Example, sandbox: Sandbox, github: FakeGitHub) -> None:
    """Each persona has its own run and status, and the last job passes only if all do."""
    result = example("personas", github)
    assert result.jobs == {"evaluate": {"success"}, "all-personas": {"success"}}
    assert {run["persona_id"] for run in sandbox.runs} == {"replaceWithPersonaId01", "replaceWithPersonaId02"}
    for persona in ("calm caller", "angry caller"):
        assert states(github, f"Voice gate ({persona})") == ["pending", "success"]
    result = example("personas", github, variables={"COVAL_TEST_SET_ID": "failing1"})
    assert result.jobs == {"evaluate": {"failure"}, "all-personas": {"failure"}}


def test_launch_and_judge(example: Example, sandbox: Sandbox, github: FakeGitHub) -> None:
    """The second workflow, whose event knows no pull request, decides the status and writes the comment."""
    result = example("launch", github, variables={"COVAL_TEST_SET_ID": "flaky001"})
    assert result.job == "success"
    assert states(github) == ["pending"]
    run = {"run_id": sandbox.run["run_id"]}
    dispatched: dict[str, Any] = {"client_payload": run, "action": "coval-run-ended"}
    for event, payload in (("repository_dispatch", dispatched), ("workflow_dispatch", {"inputs": run})):
        github.statuses[HEAD] = github.statuses[HEAD][:1]
        github.comments.clear()
        result = example("judge", github, event=event, payload=payload)
        assert result.job == "failure"
        assert len(sandbox.runs) == 1
        assert states(github) == ["pending", "failure"]
        (comment,) = github.comments[42]
        assert "### ❌ Failed: Coval evaluation" in comment.body


def test_deploy(example: Example) -> None:
    """The deployment follows the verdict on the run that a schedule launched at night."""
    ids = {"COVAL_AGENT_ID": catalogue.AGENT_ID, "COVAL_PERSONA_ID": catalogue.PERSONA_ID}
    for schedule_id, gate, deploy in (
        (catalogue.SCHEDULES[0].id, {"success"}, {"success"}),
        ("no", {"failure"}, set()),
    ):
        with engine.sandbox(speed=SPEED, history=True) as nights:
            before = nights.runs
            variables = ids | {"COVAL_SCHEDULE_ID": schedule_id}
            result = example("deploy", event="workflow_dispatch", payload={}, api_url=nights.url, variables=variables)
            assert result.jobs == {"evaluate": gate} | ({"deploy": deploy} if deploy else {})
            assert nights.runs == before


def test_forks(example: Example, sandbox: Sandbox, github: FakeGitHub) -> None:
    """A pull request from a fork has no key and passes unevaluated; with the example for forks, it gets its verdict.

    That one skips others. act does not ask for approval.
    """
    result = example("pull-request", payload=FORK_EVENT, key="")
    assert (result.outputs("gate")["verdict"], result.job) == ("skipped", "success")
    assert example("forks", github, event="pull_request_target").jobs == {}
    assert sandbox.runs == []
    result = example("forks", github, event="pull_request_target", payload=FORK_EVENT)
    assert result.job == "success"
    assert states(github) == ["pending", "success"]
    (comment,) = github.comments[42]
    assert "### ✅ Passed: Coval evaluation" in comment.body


def test_proxy(example: Example, sandbox: Sandbox, tmp_path: Path) -> None:
    """All requests to Coval go through a proxy that inspects TLS; only the certificate in the repository is trusted."""
    certificate = make_certificate(tmp_path, "api.coval.example")
    plain = urlsplit(sandbox.url)
    assert plain.hostname
    assert plain.port
    with FakeGitHub(enterprise=True) as github, proxy(certificate, (plain.hostname, plain.port)) as company:
        github.add_pull_request(42, HEAD)
        for pem, verdict in ((certificate.read_text(), "passed"), (None, "error")):
            result = example(
                "proxy",
                github,
                api_url=f"https://api.coval.example{plain.path}",
                variables={"HTTPS_PROXY": company.url},
                files={"ci/company-ca.pem": pem} if pem else {},
            )
            assert result.outputs("gate")["verdict"] == verdict
            assert states(github)[-1] == ("success" if pem else "error")
        assert set(company.tunnels) == {"api.coval.example:443"}
    assert len(sandbox.runs) == 1


def test_jobs_of_matrix_that_are_alike_are_distinguished(action: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    """Each job has its own run, comment and status."""
    with FakeGitHub() as github:
        github.add_pull_request(42, HEAD)
        environment = Environment(event="pull_request", payload=EVENT, api_url=github.url, token=TOKEN)
        result = run_workflow(MATRIX, tmp_path, action, sandbox, environment)
        comments = [note.body for note in github.comments[42]]
        shown = {label: states(github, f"Coval ({label})") for label in ("eu, 1", "us, 1")}
    runs = {run["metadata"]["github_matrix"]: run["run_id"] for run in sandbox.runs}
    assert len(comments) == len(runs) == 2
    for label, its_states in shown.items():
        assert its_states == ["pending", "success"]
        assert result.in_job(region=label[:2]).outputs("gate")["run_id"] == runs[label]
        assert len([comment for comment in comments if f"evaluate ({label})" in comment]) == 1
    assert result.leaks == []
