from typing import Any

import pytest

from coval_gate.ci.github import VARIABLES, WEB, read_context
from coval_gate.ci.host import Context
from coval_gate.coval.model import Run
from coval_gate.history.tags import with_provenance
from coval_gate.step.main import acceptance_problems

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
    assert read_context(ENVIRON, {"pull_request": PULL_REQUEST}) == Context(
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
        of_pull_request=True,
        web=WEB,
        variables=VARIABLES,
    )


@pytest.mark.parametrize("repository", [{"full_name": "mallory/voice-agent"}, None])
def test_head_in_other_or_deleted_repository_is_fork(repository: dict[str, str] | None) -> None:
    head = PULL_REQUEST["head"] | {"repo": repository}
    event = {"pull_request": PULL_REQUEST | {"head": head}}
    assert read_context(ENVIRON, event).secrets_withheld_from == "fork"
    # GitHub runs this event's workflow in the repository, with its secrets, for a pull request from anywhere.
    in_repository = ENVIRON | {"GITHUB_EVENT_NAME": "pull_request_target"}
    assert read_context(in_repository, event).secrets_withheld_from == ""


def test_secrets_are_withheld_from_dependabot_also_when_a_person_runs_its_workflow_again() -> None:
    environ = ENVIRON | {"GITHUB_ACTOR": "dependabot[bot]", "GITHUB_TRIGGERING_ACTOR": "mona"}
    assert read_context(environ, {"pull_request": PULL_REQUEST}).secrets_withheld_from == "dependabot"
    by_dependabot = ENVIRON | {"GITHUB_TRIGGERING_ACTOR": "dependabot[bot]"}
    assert read_context(by_dependabot, {"pull_request": PULL_REQUEST}).secrets_withheld_from == ""


@pytest.mark.parametrize(
    ("event", "sha", "number"),
    [
        ({"merge_group": {"head_sha": "queued"}}, "queued", None),
        ({"issue": {"number": 5, "pull_request": {"url": "…"}}}, "merge-commit", 5),
        ({"issue": {"number": 5}}, "merge-commit", None),
        ({"schedule": "0 3 * * *"}, "merge-commit", None),
        (
            {
                "workflow_run": {
                    "head_sha": "tested",
                    "pull_requests": [
                        {"number": 6, "head": {"sha": "other"}},
                        {"number": 7, "head": {"sha": "tested"}},
                    ],
                }
            },
            "tested",
            7,
        ),
        (
            {"workflow_run": {"head_sha": "tested", "pull_requests": [{"number": 6, "head": {"sha": "other"}}]}},
            "tested",
            None,
        ),
    ],
)
def test_commit_and_pull_request_of_other_events(event: dict[str, Any], sha: str, number: int | None) -> None:
    context = read_context(ENVIRON, event)
    assert (context.sha, context.pull_request, context.secrets_withheld_from) == (sha, number, "")


@pytest.mark.parametrize("malformed", [None, 5, "text", [], {"head": 5, "number": "42"}, {"head": {"repo": []}}])
def test_malformed_event_has_no_pull_request(malformed: object) -> None:
    assert (
        read_context(ENVIRON, {"pull_request": malformed, "issue": malformed, "merge_group": malformed}).pull_request
        is None
    )


def test_pull_request_and_commit_have_pages() -> None:
    context = read_context(ENVIRON, {"pull_request": PULL_REQUEST})
    assert context.shown_branch == "better-greeting"
    assert context.change_url == "https://github.example/acme/voice-agent/pull/42"
    assert context.commit_url == "https://github.example/acme/voice-agent/commit/head-commit"
    assert read_context({}, {"pull_request": PULL_REQUEST}).change_url == ""  # the server is unknown


def test_branch_is_shown_only_where_it_is_the_tested_one() -> None:
    push = PUSH | {"GITHUB_EVENT_NAME": "push"}
    assert read_context(push | {"GITHUB_REF": "refs/heads/main"}, {}).shown_branch == "main"
    assert read_context(push | {"GITHUB_REF": "refs/tags/v1"}, {}).shown_branch == ""
    comment = {"issue": {"number": 42, "pull_request": {"url": "x"}}}
    commented = read_context(push | {"GITHUB_EVENT_NAME": "issue_comment", "GITHUB_REF": "refs/heads/main"}, comment)
    assert (commented.shown_branch, commented.commit_url) == ("", "")
    merged = {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_REF": "refs/pull/42/merge"}
    assert read_context(push | merged, {"pull_request": PULL_REQUEST}).shown_branch == ""


def test_commit_of_another_run_has_another_branch() -> None:
    """A run that a step waits for may test the commit of any branch."""
    pushed = read_context(PUSH | MAIN | {"GITHUB_EVENT_NAME": "push", "GITHUB_SHA": "a" * 40}, {})
    same = {"github_repository": pushed.repository, "github_commit": "a" * 40}
    run = Run("r1", "COMPLETED", metadata=same)
    assert with_provenance(pushed, run).shown_branch == "main"
    run = run._replace(metadata=same | {"github_commit": "b" * 40, "github_pull_request": 7})
    other = with_provenance(pushed, run)
    assert (other.shown_branch, other.change_url[-2:]) == ("", "/7")


def test_context_is_empty_outside_github() -> None:
    assert read_context({}, {}) == Context(web=WEB, variables=VARIABLES)


PUSH = {name: value for name, value in ENVIRON.items() if name != "GITHUB_HEAD_REF"}
MAIN = {"GITHUB_REF": "refs/heads/main"}
OF_PUSH = {"event": "push", "head_branch": "topic/x", "head_sha": "s"}


@pytest.mark.parametrize(
    ("environ", "event", "branch"),
    [
        ({"GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/heads/topic/x"}, {}, "topic/x"),
        ({"GITHUB_EVENT_NAME": "schedule", **MAIN}, {}, "main"),
        ({"GITHUB_EVENT_NAME": "workflow_dispatch", **MAIN}, {"inputs": {}}, "main"),
        ({"GITHUB_EVENT_NAME": "issue_comment", **MAIN}, {"issue": {"number": 7}}, "main"),
        ({"GITHUB_EVENT_NAME": "workflow_run", **MAIN}, {"workflow_run": OF_PUSH}, "topic/x"),
        ({"GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/tags/v1"}, {}, ""),
        ({"GITHUB_EVENT_NAME": "push"}, {}, ""),
        ({"GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/heads/gh-readonly-queue/main/pr-1"}, {}, ""),
        ({"GITHUB_EVENT_NAME": "merge_group", "GITHUB_REF": "refs/heads/gh-readonly-queue/main/pr-1"}, {}, ""),
        ({"GITHUB_EVENT_NAME": "pull_request_target", **MAIN}, {"pull_request": PULL_REQUEST}, ""),
        ({"GITHUB_EVENT_NAME": "pull_request", **MAIN, "GITHUB_HEAD_REF": "x"}, {}, ""),
        ({"GITHUB_EVENT_NAME": "issue_comment", **MAIN}, {"issue": {"number": 7, "pull_request": {"url": "u"}}}, ""),
        ({"GITHUB_EVENT_NAME": "workflow_run", **MAIN}, {"workflow_run": OF_PUSH | {"event": "pull_request"}}, ""),
        ({"GITHUB_EVENT_NAME": "workflow_run", **MAIN}, {"workflow_run": OF_PUSH | {"event": "issue_comment"}}, ""),
        ({"GITHUB_EVENT_NAME": "workflow_run", **MAIN}, {"workflow_run": {"event": "push"}}, ""),
        ({"GITHUB_EVENT_NAME": "workflow_run", **MAIN}, {}, ""),
        ({"GITHUB_EVENT_NAME": "issue_comment", **MAIN}, {}, ""),
        ({"GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/heads/refs/heads/main"}, {}, ""),
        (
            {"GITHUB_EVENT_NAME": "workflow_run", **MAIN},
            {"workflow_run": OF_PUSH | {"head_branch": "refs/heads/main"}},
            "",
        ),
    ],
)
def test_branch_is_known_unless_the_event_is_of_a_pull_request(
    environ: dict[str, str], event: dict[str, Any], branch: str
) -> None:
    assert read_context(PUSH | environ, event).branch == branch


@pytest.mark.parametrize(
    ("event", "name", "expected"),
    [
        ({"pull_request": PULL_REQUEST}, "pull_request", True),
        ({"pull_request": PULL_REQUEST}, "pull_request_target", True),
        ({"pull_request": PULL_REQUEST}, "pull_request_review", True),
        ({"issue": {"number": 5, "pull_request": {"url": "…"}}}, "issue_comment", True),
        ({"merge_group": {"head_sha": "queued"}}, "merge_group", True),
        ({}, "merge_group", True),
        ({}, "pull_request", True),
        ({"workflow_run": {"event": "pull_request", "head_branch": "b", "head_repository": {"owner": {"login": "o"}}}},
         "workflow_run", True),
        ({"workflow_run": {"event": "pull_request", "head_repository": None}}, "workflow_run", True),
        ({"workflow_run": {"event": "merge_group"}}, "workflow_run", True),
        ({"workflow_run": {"event": "issue_comment"}}, "workflow_run", True),
        ({"workflow_run": {"event": "workflow_run"}}, "workflow_run", True),
        ({"workflow_run": {"event": "push", "head_branch": "main", "head_repository": {"owner": {"login": "o"}}}},
         "workflow_run", False),
        ({"issue": {"number": 5}}, "issue_comment", False),
        ({"ref": "refs/heads/main"}, "push", False),
        ({"schedule": "0 3 * * *"}, "schedule", False),
        ({}, "workflow_dispatch", False),
        ({}, "workflow_run", True),
        ({}, "issue_comment", True),
    ],
)  # fmt: skip
def test_event_of_pull_request_or_merge_queue_is_known(event: dict[str, Any], name: str, expected: bool) -> None:
    context = read_context(PUSH | {"GITHUB_EVENT_NAME": name}, event)
    assert context.of_pull_request is expected
    assert context.sha_is_known or name == "issue_comment" or not event


@pytest.mark.parametrize(
    ("name", "ref", "number"),
    [
        ("push", "refs/heads/gh-readonly-queue/main/pr-1", None),
        ("workflow_dispatch", "refs/heads/gh-readonly-queue/main/pr-1", None),
        ("deployment_status", "refs/pull/7/merge", 7),
        ("deployment_status", "refs/pull/x/merge", None),
    ],
)
def test_ref_alone_shows_a_pull_request_or_a_merge_queue(name: str, ref: str, number: int | None) -> None:
    context = read_context(PUSH | {"GITHUB_EVENT_NAME": name, "GITHUB_REF": ref}, {})
    assert (context.branch, context.pull_request) == ("", number)
    assert context.of_pull_request is ("x" not in ref)
    assert acceptance_problems(context)
