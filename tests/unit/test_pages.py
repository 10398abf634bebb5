"""Any host brings its pages: what the step does with them is the same for one that writes them to a file."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from coval_gate.base.errors import HostError
from coval_gate.base.schedule import Procedure, run
from coval_gate.base.times import Times
from coval_gate.ci.host import Context, Head, Page, PageText
from coval_gate.ci.plain import PlainHost
from coval_gate.gate.judgement import LAUNCH, UNFINISHED, interrupted
from coval_gate.inputs.checks import wanted_pages
from coval_gate.inputs.inputs import Inputs, parse_inputs
from coval_gate.report.model import Report
from coval_gate.step.pages import PagePublisher
from support import VirtualClock, host_of, runtime

ALL = {"commit_status": "Voice", "check_run": "Voice gate", "comment": "always"}
COMMENT = {"comment": "always"}
SHA = "a" * 40


@dataclass
class Notebook:
    """What outlives a process: the lines of the pages, and the state for the post step. `fails`: the error, if any."""

    lines: list[str] = field(default_factory=list)
    state: dict[str, str] = field(default_factory=dict)
    fails: HostError | None = None


class NotebookPage(Page):
    """A page that is a line in a notebook."""

    def __init__(self, input_: str, notebook: Notebook) -> None:
        super().__init__(input_)
        self._notebook = notebook

    def show(self, text: PageText, context: Context, *, until: float) -> Procedure[None]:  # noqa: ARG002
        yield from ()
        if self._notebook.fails:
            raise self._notebook.fails
        again = " again" if self.made else ""
        self.made, self.url = "1", "file:notebook" if self.input == "comment" else ""
        self._notebook.lines.append(f"{self.input}{again}: {text.state}, {text.sha[:7]}, {text.title}".rstrip(", "))


class NotebookHost(PlainHost):
    """A host that has only a log, a state and a notebook."""

    def __init__(self, notebook: Notebook) -> None:
        self.log_stream = io.StringIO()
        super().__init__(runtime(VirtualClock(), stdout=self.log_stream))
        self._notebook = notebook

    def pages(self, inputs: Inputs, context: Context) -> Sequence[Page]:  # noqa: ARG002
        return [NotebookPage(page, self._notebook) for page in wanted_pages(inputs)]

    def save_state(self, state: Mapping[str, str]) -> None:
        self._notebook.state.update(state)

    def read_state(self, name: str) -> str:
        return self._notebook.state.get(name, "")


class Process:
    """A process of a step: the main step, or its post step."""

    def __init__(self, notebook: Notebook, inputs: Mapping[str, str], context: Context | None = None) -> None:
        self.clock = VirtualClock()
        self.host = NotebookHost(notebook)
        self.pages = PagePublisher(self.host, runtime(self.clock))
        given, problems = parse_inputs({f"INPUT_{name.upper()}": value for name, value in inputs.items()})
        assert not problems
        self.report = Report(
            judgement=interrupted(), inputs=given, context=context or Context(sha=SHA, pull_request=42, run_attempt="1")
        )

    @property
    def log(self) -> list[str]:
        return self.host.log_stream.getvalue().splitlines()

    @property
    def is_open(self) -> bool:
        assert self.report.inputs
        return self.pages.is_open(self.report.inputs, self.report.context)

    def announce(self) -> None:
        run(self.pages.announce(self.report._replace(judgement=LAUNCH), until=10.0), self.clock)

    def conclude(self) -> str:
        self.pages.owe(self.report)
        return run(self.pages.conclude(self.report, Times.of_step(0.0, 3600.0)), self.clock)

    def close(self) -> None:
        run(self.pages.close(self.report._replace(judgement=UNFINISHED), Times.of_post_step(0.0)), self.clock)


RUNNING = "in_progress, aaaaaaa, ⏳ The evaluation is running."
CANCELLED = "cancelled, aaaaaaa, 🚫 Cancelled: The step was interrupted."
KILLED = "error, aaaaaaa, ⚠️ Error: The step ended before it could reach a verdict."


def test_pages_are_announced_and_concluded() -> None:
    notebook = Notebook()
    step = Process(notebook, ALL)
    step.announce()
    assert notebook.lines == [f"commit_status: {RUNNING}", f"check_run: {RUNNING}"]
    assert step.conclude() == "file:notebook"
    shown = [f"commit_status again: {CANCELLED}", f"check_run again: {CANCELLED}", "comment: cancelled, aaaaaaa"]
    assert notebook.lines[2:] == shown
    assert not Process(notebook, ALL).is_open
    assert step.log == []


def test_page_that_shows_it_already_is_left_alone() -> None:
    notebook = Notebook()
    step = Process(notebook, ALL)
    step.announce()
    step.announce()
    assert len(notebook.lines) == 2


def test_post_step_closes_pages_of_killed_step() -> None:
    notebook = Notebook()
    Process(notebook, ALL).announce()
    post = Process(notebook, ALL)
    assert post.is_open
    assert post.pages.are_saved
    post.close()
    assert notebook.lines[2:] == [f"commit_status again: {KILLED}", f"check_run again: {KILLED}"]


def test_post_step_shows_verdict_that_step_could_not() -> None:
    notebook = Notebook()
    step = Process(notebook, ALL)
    step.announce()
    notebook.fails = HostError("Notebook closed", "It is closed.")
    assert step.conclude() == ""
    assert step.log == ["Warning: Notebook closed", "It is closed."] * 3
    notebook.fails = None
    post = Process(notebook, ALL)
    assert post.is_open
    post.close()
    assert notebook.lines[2:] == [f"commit_status again: {CANCELLED}", f"check_run again: {CANCELLED}"]


def test_forbidden_page_is_not_left_to_post_step() -> None:
    notebook = Notebook(fails=HostError("Notebook locked", "There is no key.", forbidden=True))
    step = Process(notebook, ALL)
    step.conclude()
    assert step.log == ["Notice: Notebook locked", "There is no key."] * 3
    assert not Process(notebook, ALL).is_open


def test_launched_step_leaves_pages_to_a_later_step() -> None:
    notebook = Notebook()
    step = Process(notebook, ALL)
    step.report = step.report._replace(judgement=LAUNCH)
    step.announce()
    step.conclude()
    assert notebook.lines == [f"commit_status: {RUNNING}", f"check_run: {RUNNING}"]
    assert not Process(notebook, ALL).is_open


def test_page_of_unknown_commit_waits_for_post_step_of_mode_wait() -> None:
    """Only the run names the commit there."""
    notebook, unknown = Notebook(), Context(sha="b" * 40, sha_is_known=False, run_attempt="1")
    given = {"commit_status": "Voice", "mode": "wait", "run_id": "r" * 22}
    step = Process(notebook, given, unknown)
    step.conclude()
    assert notebook.lines == []
    assert step.log == ["Notice: Skipping commit status: the tested commit is unknown."]
    post = Process(notebook, given)
    assert post.is_open
    assert post.pages.are_saved is False
    post.close()
    assert notebook.lines == [f"commit_status: {CANCELLED}"]


@pytest.mark.parametrize("fails", [None, HostError("Notebook closed", "It is closed.")])
def test_comment_is_neither_announced_nor_closed(fails: HostError | None) -> None:
    notebook = Notebook(fails=fails)
    step = Process(notebook, COMMENT)
    step.announce()
    step.conclude()
    assert notebook.lines == ([] if fails else ["comment: cancelled, aaaaaaa"])
    assert notebook.state == {}
    assert not Process(notebook, COMMENT).is_open


@pytest.mark.parametrize(
    ("context", "log"),
    [
        (Context(sha=SHA), ["There is no pull request to comment on."]),
        (Context(sha=SHA, pull_request=42), []),
        (Context(sha=SHA, head=Head("jane", "feature")), []),
    ],
)
def test_comment_needs_pull_request(context: Context, log: list[str]) -> None:
    notebook = Notebook()
    step = Process(notebook, COMMENT, context)
    step.conclude()
    assert step.log == log
    assert len(notebook.lines) == (0 if log else 1)


def test_host_with_only_a_log_says_what_it_leaves_out() -> None:
    stream = io.StringIO()
    step = Process(Notebook(), ALL)
    step.pages = PagePublisher(host_of(PlainHost, stream), runtime(step.clock))
    step.announce()
    step.conclude()
    note = "Skipping comment, commit status and check run: the job has no GitHub repository."
    assert stream.getvalue().splitlines() == [f"Notice: {note}"]
