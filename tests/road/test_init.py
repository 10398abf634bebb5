"""The command `init` against the sandbox: it writes new files, from what Coval shows or without it."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pytest
from check_jsonschema import main as check_jsonschema  # type: ignore[import-untyped]
from ruamel.yaml import YAML

from coval_cli.choices import InitOptions
from coval_cli.command import main
from coval_cli.init import OTHER_FILE, init
from coval_cli.installation import Installation, find_installation, installed_commit
from coval_cli.workflow import FIRST_WORKFLOW, STARTERS, SYSTEM_WORDS, WORKFLOWS
from coval_gate import IS_RELEASE, PIN, REPOSITORY
from coval_gate.base.secret import MASK
from coval_gate.ci.host import Context
from coval_gate.features.legs.file import read_file, with_file
from coval_gate.inputs.inputs import FILE_NAME
from coval_sandbox.catalogue import AGENTS, PERSONA_ID
from coval_sandbox.http import SeenRequest
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import DEFAULTS, KEY, VirtualClock, read_inputs, runtime

CHOSEN = InitOptions(agent=["front desk"], persona=["Patient caller"], test_set=["unchang1"])
FIRST = ".github/workflows/voice-gate.yml"
SHA = "0123456789abcdef0123456789abcdef01234567"
COPY = Installation(repository="acme/voice-gate", commit=SHA)
SECOND = [word for word in WORKFLOWS if word != FIRST_WORKFLOW]
SCHEMAS = {
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
        origin: Installation = Installation(),  # noqa: B008 - immutable
    ) -> Result:
        for name, text in (files or {}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        monkeypatch.chdir(tmp_path / directory)
        monkeypatch.setattr("coval_cli.init.PLACEHOLDER", REPOSITORY.partition("/")[0])  # as before `make adopt`
        monkeypatch.setattr("coval_cli.init.find_installation", lambda: origin)
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
    """Return the inputs of the first workflow for GitHub, before an installation names another copy."""
    (step,) = YAML(typ="safe").load(workflow)["jobs"]["evaluate"]["steps"]
    assert step["uses"] == f"{REPOSITORY}@{PIN}"
    return dict(step["with"])


def gate_steps(workflow: str) -> list[dict[str, str]]:
    """Return the inputs of each step of the gate, with the values of their expressions."""
    values = {
        "${{ secrets.COVAL_API_KEY }}": KEY,
        "${{ inputs.run_id && 'wait' || 'run' }}": "run",
        "${{ inputs.run_id }}": "",
        "${{ inputs.accept }}": "",
    }
    workflow = workflow.replace("http://sandbox", "https://sandbox")  # only a local one needs no encryption
    steps = YAML(typ="safe").load(workflow)["jobs"]["evaluate"]["steps"]
    return [
        {
            name: values.get(f"{value}", f"{name}1" if "${{" in f"{value}" else f"{value}")
            for name, value in step["with"].items()
        }
        for step in steps
        if step.get("uses", "").startswith((f"{COPY.repository}@", f"{REPOSITORY}@"))
    ]


def assert_valid_on_github(path: Path, *arguments: str) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        check_jsonschema(["--quiet", "--builtin-schema", "vendor.github-workflows", str(path)])
    command = [str(Path(sys.executable).with_name("zizmor")), "--offline", "--quiet", *arguments, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("word", SYSTEM_WORDS)
def test_workflow_of_each_system(
    word: str, run_init: Callable[..., Result], golden: Callable[[str, str], None], tmp_path: Path
) -> None:
    result = run_init(CHOSEN._replace(system=word), origin=COPY)
    ((path, text),) = result.files.items()
    assert result.code == 0
    assert f"Wrote {path}." in result.log
    if IS_RELEASE and word != "github":
        assert f"/{REPOSITORY.lower()}@sha256:" in text, "a release's pipelines start from its image"
    else:
        golden(f"init/{word}/{Path(path).name}", text)
        assert f"acme/voice-gate.git#{SHA}" in text if word == "jenkins" else f"acme/voice-gate@{SHA}" in text
        assert REPOSITORY not in text + result.log
    assert len(result.requests) <= 13
    if word == "github":
        golden("init/github/log.txt", result.log)
        assert_valid_on_github(tmp_path / path, "--persona", "pedantic")
    elif word in SCHEMAS:
        schema = ["--builtin-schema", f"vendor.{SCHEMAS[word]}", "--regex-variant", "nonunicode"]
        with pytest.raises(SystemExit, match=r"^0$"):
            check_jsonschema(["--quiet", *schema, str(tmp_path / path)])


@pytest.mark.parametrize("word", SECOND)
def test_other_workflow_of_github(
    word: str, run_init: Callable[..., Result], golden: Callable[[str, str], None], tmp_path: Path
) -> None:
    preview = "Front desk, preview" if word == "preview" else ""
    result = run_init(CHOSEN._replace(workflow=word, preview_agent=preview), origin=COPY)
    assert result.code == 0
    path = WORKFLOWS[word].path
    assert [*result.files] == [path, *([FILE_NAME] if word == "legs" else [])]
    text = result.files[path]
    if IS_RELEASE and word == "own-build":
        assert f"--require-hashes \\\n            --requirement https://github.com/{REPOSITORY}/releases/" in text
    else:
        for name, written in result.files.items():
            golden(f"init/{word}/{Path(name).name}", written)
        assert REPOSITORY not in text
    golden(f"init/{word}/log.txt", result.log)
    assert_valid_on_github(tmp_path / path)
    assert "pull-request.yml" not in text, "the reader has no such file"
    assert not re.search(r"vars\.COVAL_(?!ASSIGNEE)", text)
    steps = gate_steps(text)
    assert len(steps) == {"nightly": 2, "own-build": 2}.get(word, 1)
    for given in steps:
        file = read_file(result.files.get(FILE_NAME, "").encode() or b"{}", FILE_NAME)
        inputs = read_inputs(
            {f"INPUT_{name.upper()}": text for name, text in (DEFAULTS | file.values.texts | given).items()}, Context()
        )
        assert inputs.api_base_url == "https://sandbox/v1"
        _, from_file, mistakes = with_file(inputs, file, date(2026, 1, 1))
        assert (file.problems, mistakes) == ((), [])
        assert [part.name for part in from_file.legs] == (["Unchanged"] if word == "legs" else [])


@pytest.mark.parametrize("word", SECOND)
def test_other_workflow_without_a_key_reads_variables(word: str, run_init: Callable[..., Result]) -> None:
    result = run_init(InitOptions(word), key="")
    text = result.files[WORKFLOWS[word].path]
    names = [*(["PREVIEW_AGENT"] if word == "preview" else []), "AGENT", "PERSONA", "TEST_SET"]
    for name in names:
        assert f"{{{{ vars.COVAL_{name}_ID }}}}" in text
        assert f"COVAL_{name}_ID" in result.log
    for given in gate_steps(text):
        read_inputs({f"INPUT_{name.upper()}": text for name, text in (DEFAULTS | given).items()}, Context())


def test_workflow_of_the_default_branch(run_init: Callable[..., Result], tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True)

    git("init", "--quiet", "--initial-branch", "topic")
    git("commit", "--quiet", "--allow-empty", "--message", "a")
    git("update-ref", "refs/remotes/origin/master", "HEAD")
    git("checkout", "--quiet", "--detach")
    for branch in ("master", "trunk"):
        result = run_init(InitOptions("nightly"), key="")
        assert f"branches: [{branch}]" in result.workflow
        assert f"github.ref == 'refs/heads/{branch}'" in result.workflow
        assert f"push to {branch}: the first seven runs" in result.log
        assert not re.search(r"\bmain\b", result.workflow)
        (tmp_path / WORKFLOWS["nightly"].path).unlink()
        git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk")


def test_legs_are_all_that_flags_name_or_a_person_chooses(run_init: Callable[..., Result], tmp_path: Path) -> None:
    two = CHOSEN._replace(workflow="legs", persona=["Patient caller", "Hurried caller"])
    result = run_init(two)
    file = YAML(typ="safe").load(result.files[FILE_NAME])
    assert [*file["legs"]] == ["Patient caller", "Hurried caller"]
    assert file["legs"]["Patient caller"]["persona_id"] == PERSONA_ID
    for path in result.files:
        (tmp_path / path).unlink()

    def ask(_: str, answers: Sequence[str]) -> str:
        return answers[-1]

    result = run_init(CHOSEN._replace(workflow="legs", persona=()), ask=ask, files={FILE_NAME: "max_wait_time: 60\n"})
    assert len(YAML(typ="safe").load(result.files[OTHER_FILE])["legs"]) == 2
    assert f"config_path: {OTHER_FILE}\n" in result.files[WORKFLOWS["legs"].path]


def test_legs_write_both_files_or_none(run_init: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / ".github").write_text("a file\n")
    result = run_init(CHOSEN._replace(workflow="legs"), files={".github": "a file\n"}, key="")
    assert (result.code, result.files) == (2, {})
    many = InitOptions("legs", persona=[f"persona{number}" for number in range(21)])
    result = run_init(many, key="")
    assert result.log.endswith("make 21 legs; init writes at most 20.\n")


def test_other_system_has_only_its_first_workflow(run_init: Callable[..., Result]) -> None:
    result = run_init(InitOptions("nightly"), files={".gitlab-ci.yml": "x"})
    assert (result.code, result.files, result.requests) == (2, {}, [])
    assert result.log.splitlines() == [
        "Error: init nightly is a workflow for GitHub Actions, but the CI system is GitLab CI/CD, found by "
        ".gitlab-ci.yml.",
        "`coval-gate init` alone writes one for GitLab CI/CD. For GitHub Actions, add --system github.",
    ]


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["nightyl"], "init: there is no workflow 'nightyl'; did you mean nightly? There are "),
        (["nightly", "legs"], "init: takes no argument 'legs'."),
        (["--agent", "a", "--agent", "b"], "init: give --agent once; only `init legs` takes several."),
        (["--preview-agent", "a"], "init: --preview-agent has an effect only on `init preview`."),
    ],
)
def test_mistake_on_the_command_line(arguments: list[str], wrong: str, clock: VirtualClock) -> None:
    errors = io.StringIO()
    assert main(["init", *arguments], {}, io.StringIO(), errors, clock) == 2
    assert wrong in errors.getvalue()


@pytest.mark.parametrize(
    ("said", "origin"),
    [
        ({"url": "https://github.com/acme/voice-gate.git", "vcs_info": {"commit_id": SHA}}, COPY),
        ({"url": "ssh://git:secret@github.com/acme/voice-gate", "vcs_info": {"commit_id": SHA}}, COPY),
        (
            {"url": "https://git.acme.com/tools/ci/voice-gate", "vcs_info": {"commit_id": SHA}},
            Installation("https://git.acme.com", "tools/ci/voice-gate", SHA),
        ),
        ({"url": "https://github.com/acme/voice-gate", "vcs_info": {"commit_id": "main"}}, Installation()),
        ({"url": "https://github.com/acme/$(id)", "vcs_info": {"commit_id": SHA}}, Installation()),
        ({"url": "https://files.acme.com/coval_gate-0.1.0-py3-none-any.whl", "archive_info": {}}, Installation()),
        ({"url": "file:///nowhere", "dir_info": {}}, Installation()),
        ([], Installation()),
        (None, Installation()),
    ],
)
def test_installation_names_its_repository_and_commit(
    said: object, origin: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Installed:
        def read_text(self, _: str) -> str | None:
            return None if said is None else json.dumps(said)

    monkeypatch.setattr("coval_cli.installation.distribution", lambda _: Installed())
    monkeypatch.setattr("coval_cli.installation.commit_of", lambda _: "")  # it is no checkout
    assert find_installation() == origin


def test_checkout_counts_once_its_commit_is_at_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    place = tmp_path / "src" / "coval_cli" / "installation.py"
    monkeypatch.setattr("coval_cli.installation.__file__", str(place))
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "a")
    git("remote", "add", "origin", "git@github.com:acme/voice-gate.git")
    assert installed_commit() == git("rev-parse", "HEAD")
    assert find_installation() == Installation(), "others cannot get the commit"
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    assert find_installation() == COPY._replace(commit=git("rev-parse", "HEAD"))


def test_action_is_at_github_or_beside_the_repository(run_init: Callable[..., Result], tmp_path: Path) -> None:
    for command in (["init", "--quiet"], ["remote", "add", "origin", "https://github.acme.com/a/b"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)  # noqa: S607
    for server, is_used in (("https://github.acme.com", True), ("https://git.acme.com", False)):
        text = run_init(key="", origin=COPY._replace(server=server)).workflow
        assert (f"acme/voice-gate@{SHA} # v" in text) is is_used
        (tmp_path / FIRST).unlink()


def test_several_candidates_leave_the_variables(
    run_init: Callable[..., Result], golden: Callable[[str, str], None]
) -> None:
    result = run_init(
        InitOptions(persona=["Patient caller"], yes=True), ask=lambda *_: pytest.fail("--yes asks nothing")
    )
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
    result = run_init(CHOSEN._replace(agent=["Front dusk"]))
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
    result = run_init(InitOptions(test_set=["unchang1"]), key="")
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
    result = run_init(CHOSEN._replace(agent=[f"{KEY} x"]), world=World(clock.time))
    assert MASK in result.log
