"""GitHub as a host: its variables and event become a context; its log and files are read by the rules of its runner."""

import io
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coval_gate.base.errors import RunnerError
from coval_gate.ci.github import GITHUB_VARIABLES, WEB, GitHubHost, read_context
from coval_gate.ci.host import SUMMARY_LIMIT, Context, Head, inert
from coval_gate.coval.model import Run
from coval_gate.features.comparisons.step import acceptance_problems
from coval_gate.history.tags import with_provenance
from coval_sandbox.runner import LocalRunner, read_log
from hostile import HOSTILE
from support import host_of

# The context


ENVIRON = {
    "GITHUB_REPOSITORY": "acme/voice-agent",
    "GITHUB_SHA": "merge-commit",
    "GITHUB_HEAD_REF": "better-greeting",
    "GITHUB_REF_NAME": "42/merge",
    "GITHUB_EVENT_NAME": "pull_request",
    "GITHUB_ACTOR": "mona",
    "GITHUB_TRIGGERING_ACTOR": "hubot",
    "GITHUB_WORKFLOW": "Voice gate",
    "GITHUB_JOB": "evaluate",
    "GITHUB_SERVER_URL": "https://github.example",
    "GITHUB_RUN_ID": "7",
    "GITHUB_RUN_ATTEMPT": "2",
}
PULL_REQUEST: dict[str, Any] = {
    "number": 42,
    "head": {"sha": "head-commit", "repo": {"full_name": "acme/voice-agent"}},
    "base": {"sha": "base-commit", "repo": {"full_name": "acme/voice-agent"}},
}


def test_pull_request_context_has_head_commit_and_triggering_actor() -> None:
    context = read_context(ENVIRON, {"pull_request": PULL_REQUEST})
    assert context == Context(
        repository="acme/voice-agent",
        sha="head-commit",
        event="pull_request",
        actor="hubot",
        workflow="Voice gate",
        workflow_file="Voice gate",
        job="evaluate",
        server_url="https://github.example",
        ref="better-greeting",
        run_id="7",
        run_url="https://github.example/acme/voice-agent/actions/runs/7/attempts/2",
        artifacts_url="https://github.example/acme/voice-agent/actions/runs/7#artifacts",
        run_attempt="2",
        pull_request=42,
        for_pull_request=True,
        web=WEB,
        variables=GITHUB_VARIABLES,
    )
    assert context.shown_branch == "better-greeting"
    assert context.change_url == "https://github.example/acme/voice-agent/pull/42"
    assert context.commit_url == "https://github.example/acme/voice-agent/commit/head-commit"
    assert read_context({}, {"pull_request": PULL_REQUEST}).change_url == ""  # the server is unknown


# GitHub runs that event's workflow in the repository, with its secrets, for a pull request from anywhere.
TARGET = {"GITHUB_EVENT_NAME": "pull_request_target"}


@pytest.mark.parametrize(
    ("variables", "repository", "origin"),
    [
        ({}, {"full_name": "acme/voice-agent"}, ""),
        ({}, {"full_name": "mallory/voice-agent"}, "fork"),
        ({}, None, "fork"),  # it was deleted
        (TARGET, {"full_name": "mallory/voice-agent"}, ""),
        (TARGET, None, ""),
        # also when a person runs the workflow again
        ({"GITHUB_ACTOR": "dependabot[bot]"}, {"full_name": "acme/voice-agent"}, "dependabot"),
        ({"GITHUB_TRIGGERING_ACTOR": "dependabot[bot]"}, {"full_name": "acme/voice-agent"}, ""),
    ],
)
def test_origin_from_which_secrets_are_withheld(
    variables: dict[str, str], repository: dict[str, str] | None, origin: str
) -> None:
    pull_request = PULL_REQUEST | {"head": PULL_REQUEST["head"] | {"repo": repository}}
    assert read_context(ENVIRON | variables, {"pull_request": pull_request}).secrets_withheld_from == origin


PUSH = {name: value for name, value in ENVIRON.items() if name != "GITHUB_HEAD_REF"}
OTHERWISE = Context(sha="merge-commit")._asdict()
MAIN, TOPIC, QUEUE = "refs/heads/main", "refs/heads/topic/x", "refs/heads/gh-readonly-queue/main/pr-1"
IS_CHANGE = {"for_pull_request": True}
PUSHED = {"event": "push", "head_branch": "topic/x", "head_sha": "tested"}
OTHER_HEAD, TESTED_HEAD = ({"number": number, "head": {"sha": sha}} for number, sha in ((6, "other"), (7, "tested")))
COMMENTED = {"issue": {"number": 5, "pull_request": {"url": "…"}}}


@pytest.mark.parametrize(
    ("name", "ref", "event", "expected"),
    [
        ("push", TOPIC, {}, {"branch": "topic/x"}),
        ("push", "refs/tags/v1", {}, {}),
        ("push", "refs/heads/refs/heads/main", {}, {}),
        ("schedule", MAIN, {"schedule": "0 3 * * *"}, {"branch": "main"}),
        ("issue_comment", MAIN, {"issue": {"number": 7}}, {"branch": "main"}),
        ("workflow_run", MAIN, {"workflow_run": PUSHED}, {"branch": "topic/x", "sha": "tested"}),
        ("workflow_run", MAIN, {"workflow_run": PUSHED | {"head_branch": MAIN}}, {"sha": "tested"}),
        ("workflow_run", MAIN, {"workflow_run": {"event": "push"}}, {}),
        # pull requests
        ("pull_request", "", {}, IS_CHANGE),
        ("pull_request_target", MAIN, {"pull_request": PULL_REQUEST},
         IS_CHANGE | {"pull_request": 42, "sha": "head-commit"}),
        ("pull_request_review", "", {"pull_request": PULL_REQUEST},
         IS_CHANGE | {"pull_request": 42, "sha": "head-commit"}),
        ("issue_comment", MAIN, COMMENTED, IS_CHANGE | {"pull_request": 5, "sha_is_known": False}),
        ("deployment_status", "refs/pull/7/merge", {}, IS_CHANGE | {"pull_request": 7}),
        *(("workflow_run", MAIN, {"workflow_run": PUSHED | {"event": before}}, IS_CHANGE | {"sha": "tested"})
          for before in ("pull_request", "merge_group", "issue_comment", "workflow_run")),
        ("workflow_run", MAIN,
         {"workflow_run": PUSHED | {"event": "pull_request", "pull_requests": [OTHER_HEAD, TESTED_HEAD]}},
         IS_CHANGE | {"pull_request": 7, "sha": "tested"}),
        ("workflow_run", MAIN,
         {"workflow_run": PUSHED | {"event": "pull_request", "pull_requests": [OTHER_HEAD]}},
         IS_CHANGE | {"sha": "tested"}),
        ("workflow_run", MAIN,
         {"workflow_run": PUSHED | {"event": "pull_request", "head_repository": {"owner": {"login": "jane"}}}},
         IS_CHANGE | {"sha": "tested", "head": Head("jane", "topic/x")}),
        # merge queues
        ("merge_group", QUEUE, {"merge_group": {"head_sha": "queued"}}, IS_CHANGE | {"sha": "queued"}),
        ("push", QUEUE, {}, IS_CHANGE),
        # what they test cannot be read: it may be a pull request
        ("workflow_run", MAIN, {}, IS_CHANGE | {"sha_is_known": False}),
        ("issue_comment", MAIN, {}, IS_CHANGE | {"sha_is_known": False}),
    ],
)  # fmt: skip
def test_what_an_event_tests(name: str, ref: str, event: dict[str, Any], expected: dict[str, Any]) -> None:
    """The branch is known unless a pull request or a merge queue is tested. Only a run of a branch is accepted."""
    context = read_context(PUSH | {"GITHUB_EVENT_NAME": name, "GITHUB_REF": ref}, event)
    fields = ("branch", "for_pull_request", "pull_request", "sha", "sha_is_known", "head")
    assert {field: getattr(context, field) for field in fields} == {
        field: OTHERWISE[field] for field in fields
    } | expected
    assert (context.shown_branch, bool(context.commit_url)) == (
        context.head.branch if context.head else context.branch,
        context.sha_is_known,
    )
    assert bool(acceptance_problems(context)) is (name != "workflow_dispatch" or not context.branch)


@pytest.mark.parametrize("malformed", [None, 5, "text", [], {"head": 5, "number": "42"}, {"head": {"repo": []}}])
def test_malformed_event_has_no_pull_request(malformed: object) -> None:
    event = dict.fromkeys(("pull_request", "issue", "merge_group", "workflow_run"), malformed)
    assert read_context(ENVIRON, event).pull_request is None


def test_commit_of_another_run_has_another_branch() -> None:
    """A run that a step waits for may test the commit of any branch."""
    pushed = read_context(PUSH | {"GITHUB_REF": MAIN} | {"GITHUB_EVENT_NAME": "push", "GITHUB_SHA": "a" * 40}, {})
    same = {"github_repository": pushed.repository, "github_commit": "a" * 40}
    run = Run("r1", "COMPLETED", metadata=same)
    assert with_provenance(pushed, run).shown_branch == "main"
    run = run._replace(metadata=same | {"github_commit": "b" * 40, "github_pull_request": 7})
    other = with_provenance(pushed, run)
    assert (other.shown_branch, other.change_url[-2:]) == ("", "/7")


# The log and the files


FOREIGN = st.text() | st.sampled_from(HOSTILE) | st.builds("".join, st.lists(st.sampled_from(HOSTILE), max_size=3))


def host_with(tmp_path: Path, **env: str) -> tuple[GitHubHost, LocalRunner, io.StringIO]:
    local, log = LocalRunner(tmp_path), io.StringIO()
    return host_of(GitHubHost, log, local.environ({}) | env), local, log


@given(FOREIGN)
def test_inert_text_has_no_commands(text: str) -> None:
    assert read_log(inert(text)) == []


def test_hostile_lines_are_commands() -> None:
    """Show that the test above does not pass only because its examples are harmless."""
    assert {command.name for command in read_log("\n".join(HOSTILE))} >= {"error", "set-output"}


def test_warnings_that_the_runner_would_drop_are_lines_of_the_log(tmp_path: Path) -> None:
    host, _, log = host_with(tmp_path)
    for number in range(12):
        host.annotate("warning", "Title", f"Number {number}\nand more")
    host.annotate("error", "Title", "The verdict")
    commands = read_log(log.getvalue())
    assert [command.name for command in commands] == ["warning"] * 10 + ["error"]
    assert log.getvalue().count("Warning: Title\nNumber 1") == 2
    assert host.room_for_warnings == 0


@given(
    st.fixed_dictionaries(
        {name: st.text(st.characters(codec="utf-8", exclude_characters="\r")) for name in ("reason", "passed")}
    )
)
@example({"reason": "x\npassed=true\nghadelimiter_x\npassed<<E\ntrue\nE", "passed": "false"})
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_runner_reads_outputs_as_set_and_none_forges_another(tmp_path: Path, values: dict[str, str]) -> None:
    host, local, _ = host_with(tmp_path)
    host.set_outputs(values)
    assert local.outputs == values


def test_secret_is_redacted_in_log_and_runner_files(tmp_path: Path) -> None:
    host, local, log = host_with(tmp_path)
    secret = "coval_sk_prod_1234567890"
    host.mask("1")  # too short to be one
    host.mask(secret)
    host.log(f"a {secret} b")
    host.annotate("error", f"t {secret}", f"m {secret}")
    with host.group(f"g {secret}"):
        pass
    host.set_outputs({"reason": f"o {secret}"})
    host.save_state({"run_id": f"s {secret}"})
    host.add_summary(f"summary {secret}")
    mask, *rest = log.getvalue().splitlines()
    assert mask == f"::add-mask::{secret}"
    written = "\n".join([*rest, str(local.outputs), str(local.state), local.summary])
    assert secret not in written
    assert written.count("***") == 7


def test_group_ends_after_exception(tmp_path: Path) -> None:
    host, _, log = host_with(tmp_path)
    with pytest.raises(ValueError, match="inside"), host.group("Waiting"):
        raise ValueError("inside")
    assert [command.name for command in read_log(log.getvalue())] == ["group", "endgroup"]


def test_summary_is_cut_to_limit_in_complete_characters(tmp_path: Path) -> None:
    host, local, _ = host_with(tmp_path)
    host.add_summary("ü" * SUMMARY_LIMIT)
    assert local.summary == "ü" * (SUMMARY_LIMIT // 2)


def test_outputs_are_logged_without_runner_files() -> None:
    log = io.StringIO()
    host = host_of(GitHubHost, log)
    host.set_outputs({"a": "b"})
    host.save_state({"a": "b"})
    host.add_summary("a")
    assert host.context() == Context(web=WEB, variables=GITHUB_VARIABLES)
    assert not log.getvalue()
    host.show_outputs({"a": "b"})
    assert "\na=b\n" in log.getvalue()


def test_entry_without_room_leaves_file_as_it_was(tmp_path: Path) -> None:
    host, local, _ = host_with(tmp_path)
    host.save_state({"legs": "[1]"})
    room = (tmp_path / "state").stat().st_size + 8
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(RunnerError, match="GITHUB_STATE"):
            host.save_state({"legs": "[1, 2, 3]"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert local.state == {"legs": "[1]"}
    host.save_state({"legs": "[2]"})
    assert local.state == {"legs": "[2]"}


@pytest.mark.parametrize(
    ("payload", "number"),
    [
        ('{"pull_request": {"number": 42}}', 42),
        *((text, None) for text in ("", "[]", "{", '{"a":' * 100_000, "\udcff")),
    ],
    ids=lambda value: repr(value)[:9],
)
def test_event_is_read_from_its_file_if_it_can_be(payload: str, number: int | None, tmp_path: Path) -> None:
    host, _, _ = host_with(tmp_path)
    (tmp_path / "event.json").write_bytes(payload.encode("utf-8", "surrogateescape"))
    assert host.context().pull_request == number
