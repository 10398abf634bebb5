"""Scripts of examples and recipes, run by bash without a runner, with a command `gh` in front of a fake GitHub.

tests/e2e runs whole workflows under act, with GitHub's own command.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from coval_sandbox.github import BOT
from fake_github import REPOSITORY, TOKEN, FakeGitHub, Issue, WorkflowRun
from fake_host import Fault
from recipes import RECIPES, workflow_of

ROOT = Path(__file__).resolve().parents[2]
GH = f'#!/bin/sh\nexec {sys.executable} {ROOT / "tests" / "fake_gh.py"} "$@"\n'
SHA = "a" * 40

pytestmark = pytest.mark.skipif(
    not (shutil.which("bash") and shutil.which("jq") and shutil.which("git")), reason="needs bash, jq and git"
)


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as server:
        server.add_pull_request(42, SHA)
        yield server


def run_script(
    directory: Path, github: FakeGitHub, name: str, step: str, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run the script of a step with these variables in place of expressions, as a runner does with `shell: bash`."""
    (found,) = (one for job in workflow_of(name)["jobs"].values() for one in job["steps"] if one.get("name") == step)
    assert found["shell"] == "bash"
    written = {key: text for key, text in found["env"].items() if "${{" not in text}
    lacking = found["env"].keys() - written.keys() - variables.keys() - {"GH_TOKEN"}
    assert not lacking
    (gh := directory / "gh").write_text(GH, encoding="utf-8")
    gh.chmod(0o755)
    environ = {"PATH": f"{directory}:{os.environ['PATH']}", "GH_URL": github.url, "GH_TOKEN": TOKEN}
    environ |= {"GITHUB_REPOSITORY": REPOSITORY, "GITHUB_RUN_ID": "1000"} | written | dict(variables)
    bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]]
    return subprocess.run(bash, env=environ, capture_output=True, text=True, check=False)


# A comment re-runs the failed jobs of the head's gate

FAILED = WorkflowRun(7, "pull_request", "failure", SHA, "feature")


@pytest.mark.parametrize(
    ("permission", "conclusion", "reaction"),
    [
        ("admin", "failure", "rocket"),
        ("write", "failure", "rocket"),
        ("write", "cancelled", "rocket"),
        ("write", "success", "confused"),
        ("write", None, "confused"),
        ("read", "failure", None),
        ("none", "failure", None),
    ],
)
def test_recheck_reruns_a_red_gate_for_those_who_may_write(
    github: FakeGitHub, tmp_path: Path, permission: str, conclusion: str | None, reaction: str | None
) -> None:
    github.repository.permissions["mona"] = permission
    own = WorkflowRun(7, "pull_request", conclusion, SHA, "feature")
    older, other = WorkflowRun(6, "pull_request", "failure", SHA), WorkflowRun(8, "pull_request", "failure", "b" * 40)
    github.repository.workflow_runs += [other, own, older]
    done = recheck(github, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [run.reruns for run in (other, own, older)] == [0, int(reaction == "rocket"), 0]
    assert github.repository.reactions == ({"9": [reaction]} if reaction else {})
    assert bool(done.stdout) is (reaction != "rocket"), "the log explains why nothing happened"


def test_recheck_reports_that_there_is_no_gate_and_is_red_without_an_answer(github: FakeGitHub, tmp_path: Path) -> None:
    github.repository.permissions["mona"] = "write"
    done = recheck(github, tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{SHA} has no red gate.\n")
    github.faults.append(Fault("GET *permission -> 502"))
    assert recheck(github, tmp_path).returncode != 0


def recheck(github: FakeGitHub, directory: Path) -> subprocess.CompletedProcess[str]:
    given = {"NUMBER": "42", "COMMENT": "9", "COMMENTER": "mona"}
    return run_script(directory, github, "recheck", "Re-run the failed jobs", given)


# The second red night in a row mentions a person

MENTION = "@mona, this is the second red night in a row. Verdict of "


@pytest.mark.parametrize(
    ("before", "mentions"),
    [
        ("", False),
        ("success", False),
        ("failure", True),
        ("failure success failure", True),
        ("failure failure success", False),
        ("success failure", False),
        ("cancelled failure", False),
    ],
)
@pytest.mark.parametrize("is_open", [True, False])
def test_second_red_night_mentions_the_assignee(
    github: FakeGitHub, tmp_path: Path, before: str, mentions: bool, is_open: bool
) -> None:
    """Runs of other events and branches are no nights. A person may have closed the issue."""
    others = [WorkflowRun(5, "push", "failure"), WorkflowRun(4, "schedule", "failure", head_branch="patch-1")]
    nights = [WorkflowRun(number, "schedule", conclusion) for number, conclusion in enumerate(before.split())]
    github.repository.workflow_runs += [WorkflowRun(1000, "schedule", None), *others, *nights]
    if is_open:
        github.add_issue(TITLE, "as it was", BOT)
    issue, comments = end_night(github, tmp_path)
    assert (issue.state, "**failed**\n\n    @evil is red" in issue.body) == ("open", True)
    assert issue.assignees == ["mona"] * mentions
    assert [comment.startswith(MENTION) for comment in comments] == [True] * mentions


@pytest.mark.parametrize("given", [{"ASSIGNEE": ""}, {"GITHUB_EVENT_NAME": "push"}])
def test_no_user_is_mentioned_without_a_name_or_by_day(
    github: FakeGitHub, tmp_path: Path, given: dict[str, str]
) -> None:
    github.repository.workflow_runs.append(WorkflowRun(1, "schedule", "failure"))
    issue, comments = end_night(github, tmp_path, **given)
    assert (issue.assignees, comments) == ([], [])


def test_night_in_doubt_leaves_the_issue_and_a_good_one_closes_it(github: FakeGitHub, tmp_path: Path) -> None:
    github.repository.workflow_runs.append(WorkflowRun(1, "schedule", "failure"))
    github.add_issue(TITLE, "as it was", BOT)
    issue, comments = end_night(github, tmp_path, VERDICT="inconclusive", OUTCOME="success")
    assert (issue.state, issue.body, comments) == ("open", "as it was", [])
    issue, comments = end_night(github, tmp_path, VERDICT="passed", OUTCOME="success")
    assert (issue.state, len(comments), issue.assignees) == ("closed", 1, [])


TITLE = "Nightly regression of the voice agent"


def end_night(github: FakeGitHub, directory: Path, **given: str) -> tuple[Issue, list[str]]:
    """Run the last step of a red night, and return the issue and its comments."""
    variables = {
        "ASSIGNEE": "mona",
        "OUTCOME": "failure",
        "VERDICT": "failed",
        "REASON": "@evil is red",
        "RUN_URL": "",
        "JOB_URL": "https://example.com/job",
        "GITHUB_EVENT_NAME": "schedule",
    }
    done = run_script(directory, github, "nightly", "Open, update or close the issue", variables | given)
    assert done.returncode == 0, done.stderr
    ((number, issue),) = github.issues.items()
    return issue, [comment.body for comment in github.comments.get(number, [])]


# git bisect


@pytest.mark.parametrize("doubtful", ["2", "3", "4", "deploy"])
def test_bisect_skips_commits_that_cannot_be_judged(tmp_path: Path, doubtful: str) -> None:
    """Of eight commits, the sixth breaks the agent; the fourth cannot be judged. A stub ends as the commit sets."""
    repository = tmp_path / "repository"
    repository.mkdir()
    codes = ["0", "0", "0", doubtful, "0", "1", "1", "1"]
    git(repository, "init", "--quiet", "--initial-branch", "main")
    for number, code in enumerate(codes):
        (repository / "code").write_text(code, encoding="utf-8")
        (repository / "number").write_text(str(number), encoding="utf-8")
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "--message", f"Commit {number}")
    for name, script in {
        "coval-gate": 'echo "$@" > ../arguments; exit "$(cat code)"',
        "repository/deploy-preview.sh": '[ "$(cat code)" != deploy ]',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    ids = {f"COVAL_{name}_ID": name.lower() for name in ("PREVIEW_AGENT", "PERSONA", "TEST_SET")}
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **ids}
    git(repository, "bisect", "start", "HEAD", "HEAD~7")
    (tmp_path / "bisect.sh").write_text(RECIPES["bisect"].script, encoding="utf-8")
    (tmp_path / "bisect.sh").chmod(0o755)
    found = git(repository, "bisect", "run", str(tmp_path / "bisect.sh"), environ=environ)
    assert "# skip: " in git(repository, "bisect", "log")
    commits = git(repository, "log", "--format=%H %s", "--all").splitlines()
    (broken,) = re.findall(r"^(\w+) is the first bad commit", found, re.MULTILINE)
    assert f"{broken} Commit 5" in commits
    assert (tmp_path / "arguments").read_text(encoding="utf-8").startswith("run --agent-id preview_agent --persona-id")


def git(repository: Path, *command: str, environ: Mapping[str, str] | None = None) -> str:
    person = ["-c", "user.name=Mona", "-c", "user.email=mona@example.com", "-c", "commit.gpgsign=false"]
    environ = environ or {"PATH": os.environ["PATH"]}
    whole = ["git", "-C", str(repository), *person, *command]
    return subprocess.run(whole, env=dict(environ), check=True, capture_output=True, text=True).stdout
