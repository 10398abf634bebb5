"""How a run is known again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coval_gate.ci.context import Context, Head
from coval_gate.runs.tags import KEY, tags_for

CONTEXT = Context(
    repository="acme/voice-agent",
    server_url="https://github.com", workflow_file="acme/voice-agent/.github/workflows/gate.yml",
    job="evaluate", step="gate",
    run_id="100", run_attempt="2", pull_request=42, ref="better-greeting",
)  # fmt: skip
BODY: dict[str, Any] = {"agent_id": "a1", "persona_id": "p1", "test_set_id": "t1", "options": {"iteration_count": 3}}
OURS = tags_for(CONTEXT, BODY, "00c0ffee")


def other(body: dict[str, Any] = BODY, nonce: str = "0ddba11", **context: Any) -> tuple[str, ...]:
    """The tags of another run."""
    return tuple(tags_for(replace(CONTEXT, **context), body, nonce))


def test_the_key_is_of_this_launch_alone_and_the_line_of_many() -> None:
    assert OURS.key != other()[0]
    assert OURS.group == other()[1] == other(run_id="7", run_attempt="1")[1]
    assert all(len(tag) <= 200 for tag in OURS)
    assert KEY.fullmatch(OURS.key)
    assert not KEY.fullmatch(OURS.group)


@pytest.mark.parametrize(
    ("tags", "continues"),
    [
        (other(run_attempt="1"), True),
        (other(run_attempt="2"), False),
        (other(run_attempt="3"), False),
        (other(run_attempt="1", run_id="99"), False),
        (other(run_attempt="1", job="other"), False),
        (other(BODY | {"options": {"iteration_count": 4}}, run_attempt="1"), False),
        (other(BODY | {"metadata": {"display_name": "new"}}, run_attempt="1"), True),
        (("nightly",), False),
        ((), False),
    ],
)
def test_an_attempt_continues_the_earlier_one_at_the_same(tags: tuple[str, ...], continues: bool) -> None:
    assert bool(OURS.continues(tags)) is continues


@pytest.mark.parametrize(
    ("tags", "supersedes"),
    [
        (other(run_id="99"), True),
        (other(run_id="99", run_attempt="7"), True),
        (other(BODY | {"options": {"iteration_count": 4}}, run_id="99"), True),
        (other(run_id="101"), False),
        (other(run_attempt="1"), True),
        (other(run_attempt="3"), False),
        (other(BODY | {"options": {"iteration_count": 4}}, run_attempt="1"), False),
        (other(run_id="99", pull_request=43), False),
        (other(run_id="99", repository="acme/other"), False),
        (other(BODY | {"mutation_id": "m1"}, run_id="99"), False),
        (("coval-gate/1.1/aaaaaaaaaaaa/00",), False),
    ],
)
def test_a_newer_run_of_the_workflow_takes_the_place_of_older_ones(tags: tuple[str, ...], supersedes: bool) -> None:
    assert OURS.supersedes(tags) is supersedes


def test_a_branch_stands_for_its_pull_request_where_there_is_none() -> None:
    alone = replace(CONTEXT, pull_request=None)
    assert tags_for(alone, BODY, "1").group != tags_for(replace(alone, ref="main"), BODY, "1").group


@pytest.mark.parametrize("lacking", ["repository", "run_id", "run_attempt"])
def test_outside_of_github_there_is_a_key_and_no_line(lacking: str) -> None:
    fields: dict[str, Any] = {lacking: ""}
    ours = tags_for(replace(CONTEXT, **fields), BODY, "00c0ffee")
    assert tuple(ours) == ("coval-gate/00c0ffee",)
    assert not ours.supersedes(tuple(OURS))
    assert not ours.continues(tuple(OURS))


def test_forks_without_a_number_are_told_apart_by_their_branches() -> None:
    alone = replace(CONTEXT, pull_request=None, ref="refs/heads/main")
    lines = {tags_for(replace(alone, head=Head(who, "patch-1")), BODY, "1").group for who in ("alice", "bob")}
    assert len(lines) == 2


def test_what_a_user_says_of_a_run_tells_the_jobs_of_a_matrix_apart() -> None:
    staging, production = (tags_for(CONTEXT, BODY, "1", own=[[name]]) for name in ("staging", "production"))
    earlier = tags_for(replace(CONTEXT, run_attempt="1"), BODY, "2", own=[["staging"]])
    assert staging.continues(earlier)
    assert not production.continues(earlier)
