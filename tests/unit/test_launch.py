"""What a launch sends about itself: the request's body, tags that identify its runs, and the values of a matrix."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coval_gate.base.text import one_line
from coval_gate.ci.host import Context, Head
from coval_gate.coval.model import LaunchRequest, Run
from coval_gate.history.tags import (
    KEY_TAG,
    branch_tag,
    provenance_of,
    pull_request_of,
    seed_for,
    tags_as_metadata,
    tags_for,
    tags_of,
    with_provenance,
)
from coval_gate.inputs.inputs import CONTEXT_LIMIT, declared, parse_inputs
from coval_gate.inputs.parsing import MATRIX_LABEL_LIMIT, MOST_TAGS, NO_MATRIX, RunMetadata, matrix_from, matrix_of
from coval_gate.report.document.model import Report
from coval_gate.step.launch import launch_request, with_tags
from rendering import comment, commit_status, document, junit, marker, summary
from reports import example_reports
from support import IDS, environ_of, inputs_of, read_inputs

SHA = "5d1c1b0a8f0e4c2f9a7b6c5d4e3f2a1b0c9d8e7f"
EU, US = ({"region": "eu", "tries": 2}, {"region": "us", "tries": 2})

# The body

LAUNCHING = Context(
    repository="acme/voice-agent",
    sha=SHA,
    actor="mona",
    workflow="Voice gate",
    run_url="https://github.com/acme/voice-agent/actions/runs/7/attempts/1",
    run_attempt="1",
    pull_request=42,
)


def request_of(context: Context, **inputs: str) -> LaunchRequest:
    return launch_request(read_inputs(environ_of(**inputs), context), context)


def body(context: Context = LAUNCHING, **inputs: str) -> dict[str, Any]:
    return request_of(context, **inputs).body


def test_unset_inputs_are_not_sent() -> None:
    assert body(Context()) == IDS | {"metadata": {"created_by": "coval-gate"}}


def test_all_inputs_are_sent_as_api_fields() -> None:
    sent = body(
        metric_ids="m1,m2",
        persona_metrics="latency",
        mutation_ids="u1,u2",
        iteration_count="3",
        concurrency="5",
        sub_sample_size="10",
        sub_sample_seed="0",
        display_name="Nightly",
        tags="regression, nightly",
        created_by="release bot",
        metadata='{"team": "voice", "customer": {"github_actor": "me"}, '
        '"display_name": "theirs", "created_by": "theirs", "tags": ["theirs"]}',  # the inputs win
        config_overrides='{"simulation_timeout_seconds": 300}',
    )
    assert sent == IDS | {
        "metric_ids": ("m1", "m2"),
        "persona_metrics": ("latency",),
        "mutation_ids": ("u1", "u2"),
        "options": {"iteration_count": 3, "concurrency": 5, "sub_sample_size": 10, "sub_sample_seed": 0},
        "metadata": {
            "display_name": "Nightly",
            "tags": ("regression", "nightly"),
            "created_by": "release bot",
            "customer": {
                "github_repository": "acme/voice-agent",
                "github_commit": SHA,
                "github_pull_request": 42,
                "github_run_url": "https://github.com/acme/voice-agent/actions/runs/7/attempts/1",
                "github_run_attempt": "1",
                "github_actor": "me",
                "team": "voice",
            },
        },
        "config_overrides": {"simulation_timeout_seconds": 300},
    }


def test_display_name_and_author_default_to_workflow_context() -> None:
    assert body()["metadata"]["created_by"] == "mona"
    long_names = Context(repository="r" * 150, workflow="w" * 150)
    assert len(body(long_names)["metadata"]["display_name"]) == 200  # the limit of the API


def test_known_keys_of_metadata_keep_their_meaning() -> None:
    metadata = body(
        Context(),
        metadata='{"display_name": " Nightly ", "created_by": "bot", "template_name": "T", "tags": ["a", "a", " b "], '
        '"customer": {"plan": "pro"}, "team": "voice", "run": null}',
    )["metadata"]
    assert metadata == {
        "display_name": "Nightly",
        "created_by": "bot",
        "template_name": "T",
        "tags": ("a", "b"),
        "customer": {"plan": "pro", "team": "voice", "run": None},
    }


def test_null_under_known_key_of_metadata_is_unset() -> None:
    metadata = '{"display_name": null, "created_by": null, "template_name": null, "tags": null, "customer": null}'
    assert body(Context(), metadata=metadata) == IDS | {"metadata": {"created_by": "coval-gate"}}


@pytest.mark.parametrize("count", [MOST_TAGS, MOST_TAGS - 1])
def test_branch_tag_is_left_out_of_tags_but_not_of_metadata_without_room(count: int) -> None:
    tags = [f"t{number}" for number in range(count)]
    request = request_of(LAUNCHING, metadata=json.dumps({"tags": tags}))
    sent = with_tags(request, ["key", "group", "branch"]).body["metadata"]
    assert sent["tags"] == (*tags, "key", "group", *(["branch"] if count < MOST_TAGS else []))
    assert len(sent["tags"]) == 20
    assert [sent["customer"][f"coval_gate_{number}"] for number in range(3)] == ["key", "group", "branch"]


# The tags

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


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"run_attempt": "1"}, True),
        ({"sha": "0" * 40}, True),
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
        (other_tags(run_attempt="1", run_id="99"), False, True),
        (other_tags(run_attempt="1", job="other"), False, False),
        (other_tags(run_attempt="1", matrix=matrix_of(EU)), False, False),
        (other_tags(LONGER, run_attempt="1"), False, False),
        (other_tags(LONGER, run_id="99"), False, True),
        (other_tags(RENAMED, run_attempt="1"), True, True),
        (other_tags(run_id="101"), False, False),
        (other_tags(run_id="99", pull_request=43), False, False),
        (other_tags(run_id="99", repository="acme/other"), False, False),
        (other_tags(REQUEST._replace(mutation_ids=("m1",)), run_id="99"), False, True),
        (other_tags(run_attempt="1", sha=SHA, sha_is_known=False), True, True),
        (("coval-gate/1.1/aaaaaaaaaaaa/00",), False, False),
        ((), False, False),
    ],
)
def test_later_attempt_continues_the_same_step_and_newer_run_supersedes_its_concurrency_group(
    tags: tuple[str, ...], continues: bool, supersedes: bool
) -> None:
    assert (bool(OURS.continues(tags)), OURS.supersedes(tags)) == (continues, supersedes)


def test_concurrency_group_depends_on_branch_and_fork_without_pull_request() -> None:
    places: list[dict[str, Any]] = [{}, {"ref": "main"}]
    places += [{"head": Head(owner, "patch-1")} for owner in ("alice", "bob")]
    contexts = [CONTEXT._replace(pull_request=None, **place) for place in places]
    assert len({tags_for(context, REQUEST, "1").group for context in contexts}) == 4


@pytest.mark.parametrize("missing", ["repository", "run_id", "run_attempt"])
def test_tags_outside_github_have_key_and_no_concurrency_group(missing: str) -> None:
    fields: dict[str, Any] = {missing: ""}
    ours = tags_for(CONTEXT._replace(**fields), REQUEST, "00c0ffee")
    assert ours.to_send == ("coval-gate/00c0ffee",)
    assert not ours.supersedes(OURS.to_send)
    assert not ours.continues(OURS.to_send)


def test_own_tags_distinguish_jobs_without_matrix_input() -> None:
    staging, production = (tags_for(CONTEXT, REQUEST, "1", own=[[name]]) for name in ("staging", "production"))
    earlier = tags_for(CONTEXT._replace(run_attempt="1"), REQUEST, "2", own=[["staging"]])
    assert staging.continues(earlier.to_send)
    assert not production.continues(earlier.to_send)


def test_commit_is_read_from_tags_of_same_repository() -> None:
    tested = CONTEXT._replace(sha=SHA)
    tags = tags_for(tested, REQUEST, "00c0ffee").to_send
    run = Run(run_id="r1", status="COMPLETED", tags=tags)
    named = {"github_repository": "acme/voice-agent", "github_commit": tested.sha, "github_pull_request": 42}
    assert provenance_of(run, "acme/voice-agent") == named
    assert provenance_of(run, "acme/other") == {}
    assert provenance_of(run._replace(tags=(), metadata=tags_as_metadata(tags)), "acme/voice-agent") == named
    assert (
        provenance_of(run._replace(metadata={"github_commit": "other"}), "acme/voice-agent")["github_commit"] == "other"
    )
    assert all(len(tag) <= 200 for tag in tags)


MAIN = CONTEXT._replace(pull_request=None, ref="refs/heads/main", branch="main")


def test_run_of_branch_has_third_tag_that_names_it() -> None:
    tags = tags_for(MAIN, REQUEST, "00c0ffee")
    assert tags.to_send == (tags.key, tags.group, tags.branch)
    assert re.fullmatch(r"coval-gate/branch/main/[0-9a-f]{24}", tags.branch)
    assert tags.branch == branch_tag(MAIN, "main") == branch_tag(MAIN, "refs/heads/main")
    assert tags.branch == tags_for(MAIN._replace(run_id="7", job="other"), REQUEST._replace(agent_id="a2"), "1").branch
    assert tags_for(MAIN._replace(pull_request=42), REQUEST, "1").branch == ""
    others = [{"repository": "acme/other"}, {"server_url": "https://github.example"}, {"branch": "Main"}]
    places: list[dict[str, Any]] = [{}, *others]
    assert len({tags_for(MAIN._replace(**place), REQUEST, "1").branch for place in places}) == 4


@given(st.text(min_size=1))
def test_branch_tag_is_lower_case_and_short_whatever_the_branch(branch: str) -> None:
    tag = branch_tag(MAIN, branch)
    assert re.fullmatch(r"coval-gate/branch/[a-z0-9._-]{0,60}/[0-9a-f]{24}", tag)
    assert not KEY_TAG.fullmatch(tag)


def test_branch_tag_outside_workflow_runs_needs_repository() -> None:
    assert tags_for(Context(repository="acme/voice-agent", branch="main"), REQUEST, "00").to_send == (
        "coval-gate/00",
        branch_tag(Context(repository="acme/voice-agent"), "main"),
    )
    assert tags_for(Context(branch="main"), REQUEST, "00").to_send == ("coval-gate/00",)


@pytest.mark.parametrize("shown", ["tags", "metadata"])
def test_run_of_pull_request_is_recognized_in_any_repository(shown: str) -> None:
    for number, expected in ((42, "42"), (None, None)):
        tags = tags_for(CONTEXT._replace(sha=SHA, repository="other/repo", pull_request=number), REQUEST, "1").to_send
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


# The matrix

IN_MATRIX = Context(repository="acme/voice-agent", workflow="Voice gate", job="evaluate", run_id="1", run_attempt="2")


def report_in(values: dict[str, Any], **inputs: str) -> Report:
    """Return a report of a job whose matrix has these values."""
    report = example_reports()["failed"]
    return report._replace(context=report.context._replace(matrix=matrix_of(values)), inputs=inputs_of(**inputs))


DEFAULT = next(field.default for field in declared() if field.name == "matrix")


@pytest.mark.parametrize("text", ["", "null", " null\n", "{}", "{ }", DEFAULT, "${{ matrix }}"])
def test_job_without_matrix_has_none(text: str) -> None:
    assert inputs_of(matrix=text).matrix is NO_MATRIX
    assert (bool(NO_MATRIX), NO_MATRIX.after("evaluate")) == (False, "evaluate")


@pytest.mark.parametrize("text", ["eu", "[1]", "1", '"eu"', '{"region": ', '{"a": NaN}'])
def test_anything_but_a_json_object_is_an_error(text: str) -> None:
    inputs, (problem,) = parse_inputs({"INPUT_MATRIX": text})
    assert (problem.name, inputs.matrix) == ("matrix", NO_MATRIX)


@pytest.mark.parametrize(
    ("values", "label"),
    [
        (EU, "eu, 2"),
        ({"agent": {"id": "a1", "name": "Ann"}, "fast": True, "none": None}, "Ann, true, null"),
        ({"agent": {"id": "a1", "name": None, "tags": ["x"], "eu": True}}, "a1, null, true"),
        ({"agent": {"tags": ["x"]}, "region": {}}, '{"tags": ["x"]}, {}'),
        ({"a": "", "b": " x"}, '"", " x"'),
    ],
)
def test_label_names_values_as_github_does(values: dict[str, Any], label: str) -> None:
    assert matrix_of(values).label == inputs_of(matrix=json.dumps(values, indent=2)).matrix.label == label
    assert matrix_from(label).label == label


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a": "x" * 100 + "y"}, {"a": "x" * 100 + "z"}),
        ({"a": "x\u200b"}, {"a": "x"}),
        ({"a": "1, 2"}, {"a": "1", "b": "2"}),
    ],
)
def test_labels_that_would_look_the_same_differ(first: dict[str, Any], second: dict[str, Any]) -> None:
    one, other = matrix_of(first), matrix_of(second)
    assert one.label != other.label
    assert one.digest != other.digest == matrix_of(dict(reversed(second.items()))).digest
    assert all(one_line(label, MATRIX_LABEL_LIMIT) == label for label in (one.label, other.label))


def test_reports_of_jobs_differ() -> None:
    eu, us, alone = (report_in(values, commit_status="Voice gate") for values in (EU, US, {}))
    assert len({marker(report) for report in (eu, us, alone)}) == 3
    assert [commit_status(report).name for report in (eu, us, alone)] == [
        "Voice gate (eu, 2)",
        "Voice gate (us, 2)",
        "Voice gate",
    ]
    assert [json.loads(document(report))["step"]["matrix"] for report in (eu, us, alone)] == ["eu, 2", "us, 2", ""]
    for report, which in ((eu, " (eu, 2)"), (alone, "")):
        assert summary(report).startswith(f"### ❌ Failed: Coval evaluation{which} · persona `p1`\n")
        assert f"/ evaluate{which}" in comment(report)
        assert f'"matrix" value="{report.context.matrix}"' in junit(report) or not which


def test_name_of_status_fits_github_and_still_distinguishes_jobs() -> None:
    values = ({"a": "x" * 100 + end} for end in "yz")
    first, second = (commit_status(report_in(value, commit_status="n" * CONTEXT_LIMIT)).name for value in values)
    assert len(first) == len(second) == CONTEXT_LIMIT
    assert first != second
    assert {commit_status(report_in(matrix)).name for matrix in ({}, EU)} == {""}


def test_run_has_matrix_in_metadata_and_display_name() -> None:
    inputs, _ = parse_inputs({})
    metadata = launch_request(inputs, IN_MATRIX._replace(matrix=matrix_of(EU))).body["metadata"]
    assert metadata["customer"]["github_matrix"] == "eu, 2"
    assert metadata["display_name"] == "acme/voice-agent · Voice gate (eu, 2)"
    assert "github_matrix" not in launch_request(inputs, IN_MATRIX).body["metadata"]["customer"]


def adopted(context: Context, metadata: dict[str, Any]) -> Context:
    return with_provenance(context, Run("r1", "COMPLETED", metadata=metadata))


METADATA = {"github_repository": "acme/voice-agent", "github_commit": SHA, "github_matrix": "eu, 2"}


def test_step_that_waits_stands_for_the_job_that_launched_the_run() -> None:
    """Its commit status must have the name under which that job set it to pending."""
    waiting = adopted(IN_MATRIX, METADATA)
    assert waiting.matrix.label == "eu, 2"
    assert waiting.matrix.digest != adopted(IN_MATRIX, METADATA | {"github_matrix": "us, 2"}).matrix.digest
    own = IN_MATRIX._replace(matrix=matrix_of(US))
    assert adopted(own, METADATA).matrix == own.matrix
    assert adopted(IN_MATRIX, METADATA | {"github_repository": "mallory/x"}).matrix is NO_MATRIX


def test_matrix_in_metadata_is_a_short_line_or_none() -> None:
    for label in (None, 7, ["eu"], "", " \u200b"):
        assert adopted(IN_MATRIX, METADATA | {"github_matrix": label}).matrix is NO_MATRIX
    long = adopted(IN_MATRIX, METADATA | {"github_matrix": "a\n::error::" + "b" * 999}).matrix.label
    assert long == one_line(long, MATRIX_LABEL_LIMIT)
