"""Tags identify the runs of a step and of its concurrency group."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.ci.host import Context, Head
from coval_gate.coval.model import LaunchRequest, Run
from coval_gate.history.tags import (
    KEY,
    branch_tag,
    provenance_of,
    pull_request_of,
    seed_for,
    tags_as_metadata,
    tags_for,
    tags_of,
)
from coval_gate.inputs.parsing import RunMetadata

CONTEXT = Context(
    repository="acme/voice-agent",
    server_url="https://github.com", workflow_file="acme/voice-agent/.github/workflows/gate.yml",
    job="evaluate", step="gate",
    run_id="100", run_attempt="2", pull_request=42, ref="better-greeting",
)  # fmt: skip
REQUEST = LaunchRequest("a1", "p1", "t1", iteration_count=3)
OURS = tags_for(CONTEXT, REQUEST, "00c0ffee")


def other_tags(request: LaunchRequest = REQUEST, nonce: str = "0ddba11", **context: Any) -> tuple[str, ...]:
    """Return the tags of another run."""
    return tags_for(CONTEXT._replace(**context), request, nonce).to_send


def test_key_is_unique_and_concurrency_group_is_shared() -> None:
    assert OURS.key != other_tags()[0]
    assert OURS.group == other_tags()[1] == other_tags(run_id="7", run_attempt="1")[1]
    assert all(len(tag) <= 200 for tag in OURS.to_send)
    assert KEY.fullmatch(OURS.key)
    assert not KEY.fullmatch(OURS.group)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"run_attempt": "1"}, True),
        ({"sha": "0" * 40}, True),
        ({"run_id": "101"}, False),
        ({"step": "other"}, False),
        ({"job": "other"}, False),
    ],
)
def test_all_attempts_at_a_step_draw_the_same_test_cases(other: dict[str, Any], *, same: bool) -> None:
    seed = seed_for(CONTEXT, 1)
    assert 0 <= seed < 2**31
    assert (seed_for(CONTEXT._replace(**other), 2) == seed) is same


def test_seed_outside_github_is_drawn() -> None:
    assert [seed_for(Context(), nonce) for nonce in (7, 2**32 - 1)] == [7, 2**31 - 1]


LONGER = REQUEST._replace(iteration_count=4)
RENAMED = REQUEST._replace(metadata=RunMetadata(display_name="new"))


@pytest.mark.parametrize(
    ("tags", "continues", "supersedes"),
    [
        (other_tags(run_attempt="1"), True, True),
        (other_tags(run_attempt="2"), False, False),
        (other_tags(run_attempt="3"), False, False),
        (other_tags(run_attempt="1", run_id="99"), False, True),
        (other_tags(run_attempt="7", run_id="99"), False, True),
        (other_tags(run_attempt="1", job="other"), False, False),
        (other_tags(LONGER, run_attempt="1"), False, False),
        (other_tags(LONGER, run_id="99"), False, True),
        (other_tags(RENAMED, run_attempt="1"), True, True),
        (other_tags(run_id="101"), False, False),
        (other_tags(run_id="99", pull_request=43), False, False),
        (other_tags(run_id="99", repository="acme/other"), False, False),
        (other_tags(REQUEST._replace(mutation_ids=("m1",)), run_id="99"), False, False),
        (("coval-gate/1.1/aaaaaaaaaaaa/00",), False, False),
        (("nightly",), False, False),
        ((), False, False),
    ],
)
def test_later_attempt_continues_the_same_step_and_newer_run_supersedes_its_concurrency_group(
    tags: tuple[str, ...], continues: bool, supersedes: bool
) -> None:
    assert (bool(OURS.continues(tags)), OURS.supersedes(tags)) == (continues, supersedes)


def test_concurrency_group_depends_on_branch_without_pull_request() -> None:
    without_pull_request = CONTEXT._replace(pull_request=None)
    assert (
        tags_for(without_pull_request, REQUEST, "1").group
        != tags_for(without_pull_request._replace(ref="main"), REQUEST, "1").group
    )


@pytest.mark.parametrize("missing", ["repository", "run_id", "run_attempt"])
def test_tags_outside_github_have_key_and_no_concurrency_group(missing: str) -> None:
    fields: dict[str, Any] = {missing: ""}
    ours = tags_for(CONTEXT._replace(**fields), REQUEST, "00c0ffee")
    assert ours.to_send == ("coval-gate/00c0ffee",)
    assert not ours.supersedes(OURS.to_send)
    assert not ours.continues(OURS.to_send)


def test_forks_with_same_branch_have_different_concurrency_groups() -> None:
    without_pull_request = CONTEXT._replace(pull_request=None, ref="refs/heads/main")
    groups = {
        tags_for(without_pull_request._replace(head=Head(owner, "patch-1")), REQUEST, "1").group
        for owner in ("alice", "bob")
    }
    assert len(groups) == 2


def test_own_tags_distinguish_jobs_without_matrix_input() -> None:
    staging, production = (tags_for(CONTEXT, REQUEST, "1", own=[[name]]) for name in ("staging", "production"))
    earlier = tags_for(CONTEXT._replace(run_attempt="1"), REQUEST, "2", own=[["staging"]])
    assert staging.continues(earlier.to_send)
    assert not production.continues(earlier.to_send)


def test_commit_is_read_from_tags_of_same_repository() -> None:
    tested = CONTEXT._replace(sha="5d1c1b0a8f0e4c2f9a7b6c5d4e3f2a1b0c9d8e7f")
    tags = tags_for(tested, REQUEST, "00c0ffee").to_send
    run = Run(run_id="r1", status="COMPLETED", tags=tags)
    named = {"github_repository": "acme/voice-agent", "github_commit": tested.sha, "github_pull_request": 42}
    assert provenance_of(run, "acme/voice-agent") == named
    assert provenance_of(run, "acme/other") == {}
    assert provenance_of(run._replace(tags=(), metadata=tags_as_metadata(tags)), "acme/voice-agent") == named
    assert (
        provenance_of(run._replace(metadata={"github_commit": "other"}), "acme/voice-agent")["github_commit"] == "other"
    )
    assert OURS.continues(tags_for(tested._replace(run_attempt="1"), REQUEST, "1").to_send)
    assert all(len(tag) <= 200 for tag in tags)


@pytest.mark.parametrize("context", [{"sha": "main"}, {"sha": "5d1c1b0" * 6, "sha_is_known": False}])
def test_key_without_commit_is_readable(context: dict[str, Any]) -> None:
    assert OURS.continues(other_tags(run_attempt="1", **context))


MAIN = CONTEXT._replace(pull_request=None, ref="refs/heads/main", branch="main")


def test_run_of_branch_has_third_tag_that_names_it() -> None:
    tags = tags_for(MAIN, REQUEST, "00c0ffee")
    assert tags.to_send == (tags.key, tags.group, tags.branch)
    assert re.fullmatch(r"coval-gate/branch/main/[0-9a-f]{24}", tags.branch)
    assert tags.branch == branch_tag(MAIN, "main") == branch_tag(MAIN, "refs/heads/main")
    assert tags.branch == tags_for(MAIN._replace(run_id="7", job="other"), REQUEST._replace(agent_id="a2"), "1").branch


@pytest.mark.parametrize(
    "other",
    [{"repository": "acme/other"}, {"server_url": "https://github.example"}, {"branch": "Main"}, {"branch": "main2"}],
)
def test_branch_tag_depends_on_server_repository_and_branch(other: dict[str, Any]) -> None:
    assert tags_for(MAIN._replace(**other), REQUEST, "1").branch != tags_for(MAIN, REQUEST, "1").branch


@given(st.text(min_size=1))
def test_branch_tag_is_lower_case_and_short_whatever_the_branch(branch: str) -> None:
    tag = branch_tag(MAIN, branch)
    assert re.fullmatch(r"coval-gate/branch/[a-z0-9._-]{0,60}/[0-9a-f]{24}", tag)
    assert not KEY.fullmatch(tag)


def test_run_of_pull_request_has_no_branch_tag() -> None:
    assert tags_for(MAIN._replace(pull_request=42), REQUEST, "1").branch == ""


def test_branch_tag_outside_workflow_runs_needs_repository() -> None:
    assert tags_for(Context(repository="acme/voice-agent", branch="main"), REQUEST, "00").to_send == (
        "coval-gate/00",
        branch_tag(Context(repository="acme/voice-agent"), "main"),
    )
    assert tags_for(Context(branch="main"), REQUEST, "00").to_send == ("coval-gate/00",)


def test_all_tags_are_in_lower_case() -> None:
    upper = MAIN._replace(repository="ACME/Voice", branch="Feature/X", sha="5d1c1b0a8f0e4c2f9a7b6c5d4e3f2a1b0c9d8e7f")
    assert all(tag == tag.lower() for tag in tags_for(upper, REQUEST, "00c0ffee").to_send)


@pytest.mark.parametrize("shown", ["tags", "metadata"])
def test_run_of_pull_request_is_recognized_in_any_repository(shown: str) -> None:
    sha = "5d1c1b0a8f0e4c2f9a7b6c5d4e3f2a1b0c9d8e7f"
    for number, expected in ((42, "42"), (None, None)):
        tags = tags_for(CONTEXT._replace(sha=sha, repository="other/repo", pull_request=number), REQUEST, "1").to_send
        fields: dict[str, Any] = {"tags": tags} if shown == "tags" else {"metadata": tags_as_metadata(tags)}
        assert pull_request_of(Run(run_id="r1", status="COMPLETED", **fields)) == expected


@pytest.mark.parametrize(
    ("named", "expected"),
    [(42, "42"), ("42", "42"), ("the last one", ""), (0, None), ("0", None), ("", None), (None, None)],
)
def test_run_of_pull_request_is_recognized_by_its_metadata(named: object, expected: str | None) -> None:
    assert pull_request_of(Run(run_id="r1", status="COMPLETED", metadata={"github_pull_request": named})) == expected


def test_only_numbered_metadata_are_tags() -> None:
    metadata = {"coval_gate_0": "a", "coval_gate_fingerprint": "1.2.3", "coval_gate_1": 7, "coval_gate_x": "b"}
    assert tags_of(Run(run_id="r1", status="COMPLETED", metadata=metadata)) == ("a",)
