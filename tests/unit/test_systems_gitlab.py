"""Hosts without GitHub's runner: GitLab, whose log and reports accept any text."""

import io
import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coval_gate.ci import detect_host
from coval_gate.ci.host import IN_PROGRESS, PageText
from coval_gate.features.systems.gitlab import GitLabHost, dotenv, links_in, pipeline_state_of, without_commands
from coval_gate.features.systems.plain import PlainHost
from road.test_systems_gitlab import SECTION, read_dotenv, sections
from support import VirtualClock, host_of, runtime

START = "section_start:1560896352:forged\r\x1b[0KPassed"
END = "section_end:1560896353:coval_gate_1767225600_1\r\x1b[0K"
FOREIGN = st.text() | st.builds(
    "".join, st.lists(st.sampled_from([START, END, "\n", "\r", "\x1b[0K", "x"]), max_size=4)
)
NAMES = ["RUN_ID", "RUN_URL", "VERDICT", "STATUS", "PASSED", "RUN_IDS"]
IDS_OF_LEGS = [f"{number:022}" for number in range(100)]


def host() -> tuple[GitLabHost, io.StringIO]:
    log = io.StringIO()
    return host_of(GitLabHost, log), log


@given(FOREIGN)
@example(START)
@example(END)
@example("section_\x1bend:1:a\r\x1b[0K")
def test_foreign_text_has_no_sections(text: str) -> None:
    job, log = host()
    job.log(text)
    job.quote(text)
    job.annotate("warning", text, text)
    assert sections(log.getvalue()) == []
    assert not re.search("section_(start|end):|\r|\x1b", log.getvalue())
    with job.group(text):
        job.fold(text, [text])
    assert [kind for kind, _, _ in sections(log.getvalue())] == ["start", "start", "end", "end"]
    assert log.getvalue().count("\r") == 4


def test_hostile_texts_are_sections() -> None:
    """Show that the test above does not pass only because its examples are harmless."""
    assert SECTION.search(START)
    assert SECTION.search(END)


@given(st.fixed_dictionaries({name.lower(): st.text() for name in NAMES}))
@example({"run_id": "a\nPASSED=true", "run_url": "https://x/$CI_JOB_TOKEN", "passed": "false"})
@example({"run_url": "https://x/" + "y" * 6000, "verdict": "passed", "passed": "true"})
@example({"run_ids": json.dumps([f"{number:060}" for number in range(100)]), "verdict": "passed"})
def test_dotenv_report_is_one_that_gitlab_accepts(outputs: dict[str, str]) -> None:
    variables = read_dotenv(dotenv(outputs).encode())
    assert list(variables) == NAMES
    assert all(variables[name] in ("", outputs.get(name.lower())) for name in NAMES[:-1])


def test_dotenv_report_has_the_runs_of_a_hundred_legs() -> None:
    variables = read_dotenv(dotenv({"run_ids": json.dumps(IDS_OF_LEGS), "passed": "true"}).encode())
    assert variables["RUN_IDS"].split(",") == IDS_OF_LEGS
    assert variables["PASSED"] == "true"


def test_links_have_a_label_and_a_url() -> None:
    legs = [{"name": "a\n" * 500, "run_url": "https://x"}, {"name": "b", "run_url": "https://y"}]
    links = [link["external_link"] for link in links_in({"run_url": "https://x", "legs": json.dumps(legs)})]
    assert [(link["label"][:12], link["url"]) for link in links] == [
        ("Run of a a a", "https://x"),
        ("Run of b", "https://y"),
    ]
    assert len(links[0]["label"]) < 300
    assert links_in({"run_url": "", "legs": '[{"name": "a", "run_url": null}, {"name": "b"}]'}) == []


@pytest.mark.parametrize(
    "text", ["/merge", "  /merge", "a\n/close", "a\n\t/approve @all", "```\n/merge\n```", "\n\n/x"]
)
def test_no_line_begins_with_a_quick_action(text: str) -> None:
    assert not re.search(r"^\s*/", without_commands(text), re.MULTILINE)
    assert without_commands(text).replace("\u200b", "") == text
    assert without_commands("https://x/y\na/b") == "https://x/y\na/b"


@pytest.mark.parametrize(
    ("state", "passes", "shown"),
    [
        ("passed", True, "success"),
        ("error", False, "failed"),
        ("cancelled", False, "canceled"),
        ("skipped", True, "canceled"),
        (IN_PROGRESS, False, "running"),
    ],
)
def test_states(state: str, passes: bool, shown: str) -> None:
    assert pipeline_state_of(PageText(state, passes, "Coval")) == shown


@pytest.mark.parametrize(("value", "kind"), [("true", GitLabHost), ("false", PlainHost), ("", PlainHost)])
def test_gitlab_is_detected_by_its_variable(value: str, kind: type[PlainHost]) -> None:
    assert type(detect_host(runtime(VirtualClock(), environ={"GITLAB_CI": value}))) is kind
