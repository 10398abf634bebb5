"""The command `init` against the sandbox: it writes one new file, from what Coval says or without it."""

import io
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from check_jsonschema import main as check_jsonschema  # type: ignore[import-untyped]
from ruamel.yaml import YAML

from coval_cli.init import InitOptions, init
from coval_cli.workflow import STARTERS, SYSTEM_WORDS
from coval_gate import PIN, REPOSITORY
from coval_gate.base.secret import MASK
from coval_sandbox.catalogue import AGENTS, PERSONA_ID
from coval_sandbox.http import SeenRequest
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import KEY, VirtualClock, runtime

CHOSEN = InitOptions(agent="front desk", persona="Patient caller", test_set="unchang1")
FIRST = ".github/workflows/voice-gate.yml"
ZIZMOR = Path(__file__).resolve().parents[2] / ".github" / "zizmor.yml"
SCHEMAS = {
    "github": "github-workflows",
    "gitlab": "gitlab-ci",
    "bitbucket": "bitbucket-pipelines",
    "circleci": "circle-ci",
    "buildkite": "buildkite",
    "azure": "azure-pipelines",
}


class Result(NamedTuple):
    """What `init` returned and wrote: its exit code, its log, and all files by their paths."""

    code: int
    log: str
    files: dict[str, str]
    requests: list[SeenRequest]

    @property
    def workflow(self) -> str:
        (text,) = self.files.values()
        return text


@pytest.fixture
def run_init(tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `init` in an empty directory; `files` are there before, and are left out of the result."""

    def run(
        options: InitOptions = CHOSEN,
        *,
        ask: Callable[[str, Sequence[str]], str] | None = None,
        files: Mapping[str, str] | None = None,
        key: str = KEY,
        world: World | None = None,
        faults: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        directory: str = ".",
    ) -> Result:
        for name, text in (files or {}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        monkeypatch.chdir(tmp_path / directory)
        monkeypatch.setattr("coval_cli.init.PLACEHOLDER", REPOSITORY.partition("/")[0])  # as before `make adopt`
        with Server(world or World(clock.time, history=True), faults=faults) as server:
            log = io.StringIO()
            environ = {"COVAL_API_KEY": key, "INPUT_API_BASE_URL": server.url} | dict(env or {})
            code = init(runtime(clock, environ=environ, stdout=log), options, ask)
        kept = {
            str(path.relative_to(tmp_path)): path.read_text(encoding="utf-8").replace(server.url, "http://sandbox/v1")
            for path in sorted(tmp_path.rglob("*"))
            if path.is_file() and ".git/" not in f"{path}"
        }
        for name, text in (files or {}).items():
            assert kept.pop(name) == text, "init must not change a file"
        assert KEY not in log.getvalue() + "".join(kept.values())
        return Result(code, log.getvalue().replace(server.url, "http://sandbox/v1"), kept, server.requests_seen)

    return run


def inputs_of(workflow: str) -> dict[str, str]:
    """Return the inputs of a workflow for GitHub."""
    (step,) = YAML(typ="safe").load(workflow)["jobs"]["evaluate"]["steps"]
    assert step["uses"] == f"{REPOSITORY}@{PIN}"
    return dict(step["with"])


@pytest.mark.parametrize("word", SYSTEM_WORDS)
def test_workflow_of_each_system(
    word: str, run_init: Callable[..., Result], golden: Callable[[str, str], None], tmp_path: Path
) -> None:
    result = run_init(CHOSEN._replace(system=word))
    ((path, text),) = result.files.items()
    golden(f"init/{word}/{Path(path).name}", text)
    assert result.code == 0
    assert f"Wrote {path}." in result.log
    assert len(result.requests) <= 13
    if word in SCHEMAS:
        schema = ["--builtin-schema", f"vendor.{SCHEMAS[word]}", "--regex-variant", "nonunicode"]
        with pytest.raises(SystemExit, match=r"^0$"):
            check_jsonschema(["--quiet", *schema, str(tmp_path / path)])
    if word == "github":
        golden("init/github/log.txt", result.log)
        # It is as safe as the examples: the reader pins the action's commit, which neither can know.
        options = ["--offline", "--quiet", "--persona", "pedantic", "--config", str(ZIZMOR)]
        command = [str(Path(sys.executable).with_name("zizmor")), *options, str(tmp_path / path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_several_candidates_leave_the_variables(
    run_init: Callable[..., Result], golden: Callable[[str, str], None]
) -> None:
    result = run_init(InitOptions(persona="Patient caller", yes=True), ask=lambda *_: pytest.fail("--yes asks nothing"))
    golden("init/several/voice-gate.yml", result.workflow)
    golden("init/several/log.txt", result.log)
    inputs = inputs_of(result.workflow)
    assert (inputs["agent_id"], inputs["persona_id"]) == ("${{ vars.COVAL_AGENT_ID }}", PERSONA_ID)
    assert "pass_rate >= 90%  # a guess: " in inputs["thresholds"]


def test_person_chooses_on_a_terminal(run_init: Callable[..., Result]) -> None:
    asked = []

    def ask(question: str, answers: Sequence[str]) -> str:
        asked.append(question)
        return next(answer for answer in answers if answer.startswith(("Front desk, pre", "Hurried", "Passing")))

    inputs = inputs_of(run_init(InitOptions(), ask=ask).workflow)
    assert asked == ["Which agent?", "Which persona?", "Which test set?"]
    assert (AGENTS[inputs["agent_id"]].name, inputs["test_set_id"]) == ("Front desk, preview", "passing1")


def test_name_that_coval_lacks_writes_nothing(run_init: Callable[..., Result]) -> None:
    result = run_init(CHOSEN._replace(agent="Front dusk"))
    assert (result.code, result.files) == (2, {})
    assert result.log.splitlines()[1:] == [
        'Error: --agent names no agent of Coval: "Front dusk"; did you mean "Front desk"?'
    ]


@pytest.mark.parametrize(
    ("scopes", "name"), [(("runs:write",), "refused"), (("agents:read", "personas:read", "test-sets:read"), "no-runs")]
)
def test_key_that_may_not_read_leaves_the_reason(
    scopes: tuple[str, ...],
    name: str,
    run_init: Callable[..., Result],
    clock: VirtualClock,
    golden: Callable[..., None],
) -> None:
    result = run_init(world=World(clock.time, history=True, api_keys={KEY: scopes}))
    golden(f"init/{name}/log.txt", result.log)
    assert result.code == 0


def test_coval_that_does_not_respond_leaves_the_variables(run_init: Callable[..., Result]) -> None:
    result = run_init(env={"INPUT_API_BASE_URL": "http://127.0.0.1:1"})
    assert result.code == 0
    assert "Agent: unknown." in result.log
    assert "a guess: Coval did not show the last runs" in result.workflow


def test_without_key_there_is_a_workflow_to_fill_in(
    run_init: Callable[..., Result], golden: Callable[..., None]
) -> None:
    result = run_init(InitOptions(test_set="unchang1"), key="")
    golden("init/no-key/log.txt", result.log)
    assert (result.code, result.requests) == (0, [])
    assert inputs_of(result.workflow)["test_set_id"] == "unchang1"


@pytest.mark.parametrize(
    ("files", "path"),
    [
        ({".gitlab-ci.yml": "test: {}\n"}, ".gitlab/voice-gate.yml"),
        ({"bitbucket-pipelines.yml": "x"}, "bitbucket-pipelines.voice-gate.yml"),
        ({".buildkite/template.sh": "x"}, ".buildkite/pipeline.yml"),
        ({"Jenkinsfile": "x"}, "Jenkinsfile.voice-gate"),
        ({".github/workflows/ci.yml": "x", "Jenkinsfile": "x"}, FIRST),
    ],
)
def test_system_is_found_by_its_files(files: dict[str, str], path: str, run_init: Callable[..., Result]) -> None:
    result = run_init(files=files, key="")
    assert (result.code, list(result.files)) == (0, [path])
    assert f"Wrote {path}." in result.log
    assert [starter.join in result.log for starter in STARTERS if path == starter.beside] in ([], [True])


def test_system_is_found_by_origin_and_written_at_the_top(run_init: Callable[..., Result], tmp_path: Path) -> None:
    origin = "git@gitlab.example.com:acme/voice.git"
    for command in (["init", "--quiet"], ["remote", "add", "origin", origin]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)  # noqa: S607
    (tmp_path / "src").mkdir()
    assert list(run_init(directory="src", key="").files) == [".gitlab-ci.yml"]


def test_existing_file_is_not_overwritten(run_init: Callable[..., Result], tmp_path: Path) -> None:
    result = run_init(files={FIRST: "mine"})
    assert (result.code, result.files, result.requests) == (2, {}, [])
    assert result.log == f'Error: "{FIRST}" exists, and init overwrites no file. Name another one with --path.\n'
    result = run_init(CHOSEN._replace(path="ci/gate.yml"), files={FIRST: "mine"}, key="")
    assert list(result.files) == ["ci/gate.yml"]
    (tmp_path / "ci/gate.yml").unlink()
    result = run_init(CHOSEN._replace(path="../gate.yml"), files={FIRST: "mine"}, key="")
    assert (result.code, result.files) == (2, {}), "it leads out of the repository"


def test_workspace_is_part_of_the_workflow(run_init: Callable[..., Result]) -> None:
    result = run_init(CHOSEN._replace(system="bitbucket"), env={"INPUT_WORKSPACE_ID": "ws1"})
    assert "\n            --workspace-id ws1\n" in result.workflow
    assert "- coval-gate post --api-base-url http://sandbox/v1 --workspace-id ws1 #" in result.workflow
    assert all(request.headers["x-coval-workspace-id"] == "ws1" for request in result.requests)


def test_key_is_masked(run_init: Callable[..., Result], clock: VirtualClock) -> None:
    """Not even a person who gives the key as a name gets it into a file."""
    result = run_init(CHOSEN._replace(agent=f"{KEY} x"), world=World(clock.time))
    assert MASK in result.log
