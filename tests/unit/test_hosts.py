"""Hosts write commands, outputs and summaries. GitHub's are parsed by the rules of its runner."""

import io
import json
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coval_gate.base.errors import RunnerError
from coval_gate.ci.github import VARIABLES, WEB, GitHubHost
from coval_gate.ci.host import SUMMARY_LIMIT, Context, inert
from coval_gate.ci.plain import PlainHost
from coval_sandbox.runner import LocalRunner, read_command, read_log
from support import host_of

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


def host_with(tmp_path: Path, **env: str) -> tuple[GitHubHost, LocalRunner, io.StringIO]:
    local, log = LocalRunner(tmp_path), io.StringIO()
    return host_of(GitHubHost, log, local.environ({}) | env), local, log


@given(FOREIGN)
def test_inert_text_has_no_commands(text: str) -> None:
    assert read_log(inert(text)) == []


@pytest.mark.parametrize("line", HOSTILE[:5])
def test_hostile_lines_are_commands(line: str) -> None:
    """Show that the test above does not pass only because its examples are harmless."""
    assert read_command(line) is not None


def test_inert_text_has_no_commands_of_other_ci_systems() -> None:
    assert "##vso[" not in inert("##vso[task.complete result=Succeeded;]done")
    assert "##teamcity[" not in inert("all well ##teamcity[buildProblem]")


def test_inert_text_differs_only_in_zero_width_spaces() -> None:
    assert inert("::error::x").replace("\u200b", "") == "::error::x"
    assert inert("plain: a::b 💬") == "plain: a::b 💬"


@given(st.lists(FOREIGN, max_size=3), FOREIGN)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_quoted_lines_are_shown_and_no_commands(tmp_path: Path, lines: list[str], title: str) -> None:
    host, _, log = host_with(tmp_path)
    host.quote(*lines)
    host.fold(title, lines)
    host.annotate("notice", "After", "it")
    names = [command.name for command in read_log(log.getvalue())]
    stops = any("::" in line or "##" in line for line in lines)
    assert names == [*["stop-commands"] * stops, "group", *["stop-commands"] * stops, "endgroup", "notice"]


@pytest.mark.parametrize("line", [line for line in HOSTILE if read_log(line)])
def test_line_that_is_command_is_written_while_commands_are_stopped(tmp_path: Path, line: str) -> None:
    host, _, log = host_with(tmp_path)
    host.quote("harmless", line)
    first, *inside, last = log.getvalue().splitlines()
    assert first == f"::stop-commands::{last.strip(':')}"
    assert "harmless" in inside
    assert read_log("\n".join(inside)) == []


@given(title=FOREIGN, message=FOREIGN)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_annotation_with_any_text_is_one_command(tmp_path: Path, title: str, message: str) -> None:
    host, _, log = host_with(tmp_path)
    host.annotate("error", title, message)
    (command,) = read_log(log.getvalue())
    assert command.name == "error"
    assert set(command.properties) <= {"title"}


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
    st.dictionaries(
        st.sampled_from(["run_id", "reason"]), st.text(st.characters(codec="utf-8", exclude_characters="\r"))
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_runner_reads_outputs_as_set(tmp_path: Path, values: dict[str, str]) -> None:
    host, local, _ = host_with(tmp_path)
    host.set_outputs(values)
    assert local.outputs == values


def test_output_cannot_forge_another(tmp_path: Path) -> None:
    host, local, _ = host_with(tmp_path)
    host.set_outputs({"reason": "x\npassed=true\nghadelimiter_x\npassed<<E\ntrue\nE", "passed": "false"})
    assert local.outputs["passed"] == "false"
    assert set(local.outputs) == {"reason", "passed"}


def test_secret_is_redacted_in_log_and_runner_files(tmp_path: Path) -> None:
    host, local, log = host_with(tmp_path)
    secret = "coval_sk_prod_1234567890"
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


def test_truncated_secret_is_redacted(tmp_path: Path) -> None:
    host, _, _ = host_with(tmp_path)
    host.mask("coval_sk_prod_1234567890")
    assert host.redact('agent_id is "coval_sk_prod_123…"; an id…') == 'agent_id is "***…"; an id…'
    assert host.redact("coval…") == "coval…"


def test_closed_log_is_ignored(tmp_path: Path) -> None:
    local, log = LocalRunner(tmp_path), io.StringIO()
    log.close()
    host_of(GitHubHost, log, local.environ({})).log("text")


def test_log_on_terminal_has_no_commands() -> None:
    log = io.StringIO()
    host = host_of(PlainHost, log)
    host.mask("coval_sk_prod_1234567890")
    with host.group("Waiting"):
        host.log("for the run")
    host.annotate("error", "Gate failed", "3 of 10 did not complete.\nLook there.")
    assert log.getvalue() == "Waiting\nfor the run\nError: Gate failed\n3 of 10 did not complete.\nLook there.\n"


def test_too_short_secret_is_not_masked(tmp_path: Path) -> None:
    host, _, log = host_with(tmp_path)
    host.mask("1")
    assert log.getvalue() == ""


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
    assert host.context() == Context(web=WEB, variables=VARIABLES)
    assert not log.getvalue()
    host.show_outputs({"a": "b"})
    assert "\na=b\n" in log.getvalue()


def test_unwritable_runner_file_is_error_with_its_name(tmp_path: Path) -> None:
    host, _, _ = host_with(tmp_path, GITHUB_OUTPUT=str(tmp_path / "nowhere" / "output"))
    with pytest.raises(RunnerError, match="GITHUB_OUTPUT"):
        host.set_outputs({"a": "b"})


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


@pytest.mark.parametrize("payload", ["", "[]", "{", '{"a":' * 100_000, "\udcff"])
def test_malformed_event_file_is_ignored(payload: str, tmp_path: Path) -> None:
    host, _, _ = host_with(tmp_path)
    (tmp_path / "event.json").write_bytes(payload.encode("utf-8", "surrogateescape"))
    assert host.context().pull_request is None


def test_event_file_is_parsed(tmp_path: Path) -> None:
    host, _, _ = host_with(tmp_path)
    event = {"pull_request": {"number": 42}}
    (tmp_path / "event.json").write_text(json.dumps(event), encoding="utf-8")
    assert host.context().pull_request == 42


def test_escaped_secret_is_redacted(tmp_path: Path) -> None:
    key = "coval\"sk&<test>'1"
    local = LocalRunner(tmp_path)
    host = host_of(GitHubHost, environ=local.environ({}))
    host.mask(key)
    assert json.loads(host.redact(json.dumps({"name": f"x {key}"}))) == {"name": "x ***"}
    assert host.redact("x coval&quot;sk&amp;&lt;test&gt;&#x27;1") == "x ***"
