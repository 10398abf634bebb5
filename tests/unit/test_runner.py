"""What the runner makes of what we write, read back by the runner's own rules."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coval_gate.ci.github.host import SUMMARY_LIMIT, Runner, inert
from coval_gate.errors import RunnerError
from coval_sandbox.runner import LocalRunner, read_command, read_log

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = [
    "::set-output name=passed::true",
    "  ::error::x",
    "\u2003::add-mask::a",
    "all fine ##[error]not fine",
    "##[group]hidden",
    "a\r::stop-commands::x",
    "a\n::set-env name=PATH::/evil",
    "a\u2028::error::x",
    "\x1b]0;title\x07::error::x",
    "%0A::error::x",
    "::ERROR::x",
    "##vso[task.complete result=Succeeded;]done",
    "##teamcity[buildProblem]",
]
FOREIGN = st.text() | st.sampled_from(HOSTILE) | st.builds("".join, st.lists(st.sampled_from(HOSTILE), max_size=3))


def runner_with(tmp_path: Path, **env: str) -> tuple[Runner, LocalRunner, io.StringIO]:
    local, log = LocalRunner(tmp_path), io.StringIO()
    return Runner(local.environ({}) | env, log), local, log


@given(FOREIGN)
def test_no_line_of_foreign_text_is_a_command(text: str) -> None:
    assert read_log(inert(text)) == []


@pytest.mark.parametrize("line", HOSTILE[:5])
def test_the_hostile_lines_are_commands_before_they_are_made_inert(line: str) -> None:
    """Without this, the test above could pass because its examples are harmless."""
    assert read_command(line) is not None


def test_commands_of_other_ci_systems_are_text_as_well() -> None:
    assert "##vso[" not in inert("##vso[task.complete result=Succeeded;]done")
    assert "##teamcity[" not in inert("all well ##teamcity[buildProblem]")


def test_inert_text_still_reads_the_same() -> None:
    assert inert("::error::x").replace("\u200b", "") == "::error::x"
    assert inert("plain: a::b 💬") == "plain: a::b 💬"


@given(title=FOREIGN, message=FOREIGN)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_annotation_is_one_command_whatever_it_says(tmp_path: Path, title: str, message: str) -> None:
    runner, _, log = runner_with(tmp_path)
    runner.error(title, message)
    (command,) = read_log(log.getvalue())
    assert command.name == "error"
    assert set(command.properties) <= {"title"}


@given(
    st.dictionaries(
        st.sampled_from(["run_id", "reason"]), st.text(st.characters(codec="utf-8", exclude_characters="\r"))
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_outputs_come_back_as_they_were_set(tmp_path: Path, values: dict[str, str]) -> None:
    runner, local, _ = runner_with(tmp_path)
    runner.set_outputs(values)
    assert local.outputs == values


def test_an_output_cannot_forge_another(tmp_path: Path) -> None:
    runner, local, _ = runner_with(tmp_path)
    runner.set_outputs({"reason": "x\npassed=true\nghadelimiter_x\npassed<<E\ntrue\nE", "passed": "false"})
    assert local.outputs["passed"] == "false"
    assert set(local.outputs) == {"reason", "passed"}


def test_a_secret_leaves_by_no_door(tmp_path: Path) -> None:
    runner, local, log = runner_with(tmp_path)
    secret = "coval_sk_prod_1234567890"
    runner.mask(secret)
    runner.line(f"a {secret} b")
    runner.error(f"t {secret}", f"m {secret}")
    with runner.group(f"g {secret}"):
        pass
    runner.set_outputs({"reason": f"o {secret}"})
    runner.save_state({"run_id": f"s {secret}"})
    runner.add_summary(f"summary {secret}")
    mask, *rest = log.getvalue().splitlines()
    assert mask == f"::add-mask::{secret}"
    written = "\n".join([*rest, str(local.outputs), str(local.state), local.summary])
    assert secret not in written
    assert written.count("***") == 7


def test_the_beginning_of_a_secret_that_was_cut_off_is_a_secret(tmp_path: Path) -> None:
    runner, _, _ = runner_with(tmp_path)
    runner.mask("coval_sk_prod_1234567890")
    assert runner.redact('agent_id is "coval_sk_prod_123…"; an id…') == 'agent_id is "***…"; an id…'
    assert runner.redact("coval…") == "coval…"


def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    local, log = LocalRunner(tmp_path), io.StringIO()
    log.close()
    Runner(local.environ({}), log).line("text")


def test_elsewhere_no_command_is_written_and_above_all_no_mask(tmp_path: Path) -> None:
    runner, _, log = runner_with(tmp_path, GITHUB_ACTIONS="")
    runner.mask("coval_sk_prod_1234567890")
    with runner.group("Waiting"):
        runner.line("for the run")
    runner.error("Gate failed", "3 of 10 did not complete.\nLook there.")
    assert log.getvalue() == "Waiting\nfor the run\nError: Gate failed\n3 of 10 did not complete.\nLook there.\n"


def test_a_short_secret_does_not_blot_out_the_job_log(tmp_path: Path) -> None:
    runner, _, log = runner_with(tmp_path)
    runner.mask("1")
    assert log.getvalue() == ""


def test_a_group_ends_even_when_what_is_inside_fails(tmp_path: Path) -> None:
    runner, _, log = runner_with(tmp_path)
    with pytest.raises(ValueError, match="inside"), runner.group("Waiting"):
        raise ValueError("inside")
    assert [command.name for command in read_log(log.getvalue())] == ["group", "endgroup"]


def test_a_summary_stays_within_the_limit_in_whole_characters(tmp_path: Path) -> None:
    runner, local, _ = runner_with(tmp_path)
    runner.add_summary("ü" * SUMMARY_LIMIT)
    assert local.summary == "ü" * (SUMMARY_LIMIT // 2)


def test_without_files_nothing_is_written_and_nothing_breaks() -> None:
    runner = Runner({}, io.StringIO())
    runner.set_outputs({"a": "b"})
    runner.save_state({"a": "b"})
    runner.add_summary("a")
    assert runner.event() == {}
    assert not runner.has_output_file


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    runner, _, _ = runner_with(tmp_path, GITHUB_OUTPUT=str(tmp_path / "nowhere" / "output"))
    with pytest.raises(RunnerError, match="GITHUB_OUTPUT"):
        runner.set_outputs({"a": "b"})


@pytest.mark.parametrize("payload", ["", "[]", "{", '{"a":' * 100_000, "\udcff"])
def test_an_event_that_cannot_be_read_is_none(payload: str, tmp_path: Path) -> None:
    runner, _, _ = runner_with(tmp_path)
    (tmp_path / "event.json").write_bytes(payload.encode("utf-8", "surrogateescape"))
    assert runner.event() == {}


def test_the_event_is_read(tmp_path: Path) -> None:
    runner, _, _ = runner_with(tmp_path)
    (tmp_path / "event.json").write_text(json.dumps({"number": 42}), encoding="utf-8")
    assert runner.event() == {"number": 42}


def test_a_key_of_odd_characters_stays_out_in_every_spelling(tmp_path: Path) -> None:
    key = "coval\"sk&<test>'1"
    local = LocalRunner(tmp_path)
    runner = Runner(local.environ({}), io.StringIO())
    runner.mask(key)
    assert json.loads(runner.redact(json.dumps({"name": f"x {key}"}))) == {"name": "x ***"}
    assert runner.redact("x coval&quot;sk&amp;&lt;test&gt;&#x27;1") == "x ***"
