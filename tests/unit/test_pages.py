"""Pages of a host: what a step does with them, which is the same for one that writes them to a file, and their texts.

A step obeys a signal while it renders them, however long that takes.
"""

import io
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from browsing import legs_report, rich_report
from coval_gate.base.clock import Interrupted
from coval_gate.base.errors import GateError, HostError
from coval_gate.base.schedule import Procedure, run
from coval_gate.base.times import Times
from coval_gate.ci.github import GitHubHost
from coval_gate.ci.github_pages import conclusion_of
from coval_gate.ci.host import Context, Head, Page, PageText
from coval_gate.ci.plain import PlainHost
from coval_gate.coval.model import RunResult
from coval_gate.gate.judgement import LAUNCH, UNFINISHED, errored, interrupted
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.checks import wanted_pages
from coval_gate.inputs.inputs import Inputs, parse_inputs
from coval_gate.inputs.parsing import matrix_of
from coval_gate.report.model import LegReport, Report
from coval_gate.step.pages import PagePublisher
from coval_gate.step.publish import AFTER_SIGNAL, NotRendered, Publisher, Rendering
from hostile import HARMLESS, report_of
from readers import MarkdownPage
from rendering import composed, marker, page_of, summary
from reports import RUN_URL, example_reports, simulation, with_leg
from support import VirtualClock, runtime

ALL = {"commit_status": "Voice", "check_run": "Voice gate", "comment": "always"}
SHA = "a" * 40
CLOSED = HostError("Notebook closed", "It is closed.")


def inputs_of(given: Mapping[str, str]) -> Inputs:
    inputs, problems = parse_inputs({f"INPUT_{name.upper()}": value for name, value in given.items()})
    assert not problems
    return inputs


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

    def __init__(self, notebook: Notebook, inputs: Mapping[str, str] = ALL, context: Context | None = None) -> None:
        self.clock, self.host = VirtualClock(), NotebookHost(notebook)
        self.pages = PagePublisher(self.host, runtime(self.clock))
        known = Context(sha=SHA, pull_request=42, run_attempt="1")
        self.report = Report(judgement=interrupted(), inputs=inputs_of(inputs), context=context or known)

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
        assert self.is_open
        run(self.pages.close(self.report._replace(judgement=UNFINISHED), Times.of_post_step(0.0)), self.clock)


RUNNING = "in_progress, aaaaaaa, ⏳ The evaluation is running."
CANCELLED = "cancelled, aaaaaaa, 🚫 Cancelled: The step was interrupted."
KILLED = "error, aaaaaaa, ⚠️ Error: The step ended before it could reach a verdict."


def test_pages_are_announced_once_and_concluded() -> None:
    notebook = Notebook()
    step = Process(notebook)
    step.announce()
    step.announce()
    assert notebook.lines == [f"commit_status: {RUNNING}", f"check_run: {RUNNING}"]
    assert step.conclude() == "file:notebook"
    shown = [f"commit_status again: {CANCELLED}", f"check_run again: {CANCELLED}", "comment: cancelled, aaaaaaa"]
    assert notebook.lines[2:] == shown
    assert not Process(notebook).is_open
    assert step.log == []


@pytest.mark.parametrize("is_killed", [True, False])
def test_post_step_shows_verdict_that_step_could_not(is_killed: bool) -> None:
    notebook = Notebook()
    step = Process(notebook)
    step.announce()
    if not is_killed:
        notebook.fails = CLOSED
        assert step.conclude() == ""
        assert step.log == ["Warning: Notebook closed", "It is closed."] * 3
        notebook.fails = None
    post = Process(notebook)
    post.close()
    assert post.pages.are_saved
    verdict = KILLED if is_killed else CANCELLED
    assert notebook.lines[2:] == [f"commit_status again: {verdict}", f"check_run again: {verdict}"]


def test_forbidden_page_is_not_left_to_post_step() -> None:
    notebook = Notebook(fails=HostError("Notebook locked", "There is no key.", forbidden=True))
    step = Process(notebook)
    step.conclude()
    assert step.log == ["Notice: Notebook locked", "There is no key."] * 3
    assert not Process(notebook).is_open


def test_launched_step_leaves_pages_to_a_later_step() -> None:
    notebook = Notebook()
    step = Process(notebook)
    step.report = step.report._replace(judgement=LAUNCH)
    step.announce()
    step.conclude()
    assert notebook.lines == [f"commit_status: {RUNNING}", f"check_run: {RUNNING}"]
    assert not Process(notebook).is_open


def test_page_of_unknown_commit_waits_for_post_step_of_mode_wait() -> None:
    """Only the run names the commit there."""
    notebook, unknown = Notebook(), Context(sha="b" * 40, sha_is_known=False, run_attempt="1")
    given = {"commit_status": "Voice", "mode": "wait", "run_id": "r" * 22}
    step = Process(notebook, given, unknown)
    step.conclude()
    assert notebook.lines == []
    assert step.log == ["Notice: Skipping commit status: the tested commit is unknown."]
    post = Process(notebook, given)
    post.close()
    assert post.pages.are_saved is False
    assert notebook.lines == [f"commit_status: {CANCELLED}"]


@pytest.mark.parametrize("fails", [None, CLOSED])
@pytest.mark.parametrize(
    ("context", "log"),
    [
        (Context(sha=SHA), ["There is no pull request to comment on."]),
        (Context(sha=SHA, pull_request=42), []),
        (Context(sha=SHA, head=Head("jane", "feature")), []),
    ],
)
def test_comment_is_neither_announced_nor_closed_and_needs_pull_request(
    context: Context, log: list[str], fails: HostError | None
) -> None:
    notebook, inputs = Notebook(fails=fails), {"comment": "always"}
    step = Process(notebook, inputs, context)
    step.announce()
    step.conclude()
    assert step.log == log or fails
    assert len(notebook.lines) == (not log and not fails)
    assert notebook.state == {}
    assert not Process(notebook, inputs).is_open


class ImpatientClock(VirtualClock):
    """A clock whose time passes while a call is outstanding, and on which a signal arrives at the third look.

    After `last` looks, it waits for the call.
    """

    looks = 0
    last = math.inf

    def wait(self, event: threading.Event, until: float) -> None:
        self.looks += 1
        if self.looks == 3:
            self.interrupt()
        event.wait(0.01 if self.looks < self.last else None)
        self._now = min(until, self._now + 0.05)
        self.check()


@pytest.fixture
def endless() -> Iterator[threading.Event]:
    """An event that is set when the test ends."""
    event = threading.Event()
    yield event
    event.set()


def test_signal_ends_a_rendering_that_takes_long(endless: threading.Event) -> None:
    clock = ImpatientClock()
    rendering = Rendering(clock)
    for _ in range(2):  # what comes after the first has no time of its own
        with pytest.raises(NotRendered):
            run(rendering.of(endless.wait), clock)
        assert clock.now() == pytest.approx(AFTER_SIGNAL + 0.15)
    with pytest.raises(Interrupted):
        rendering.check()


def test_signal_leaves_a_moment_for_what_is_nearly_ready() -> None:
    clock, moment = ImpatientClock(), threading.Event()
    clock.last = 6
    rendering = Rendering(clock)

    def work() -> str:
        while clock.looks < clock.last:  # after the signal
            moment.wait(0.001)
        return "report"

    assert run(rendering.of(work), clock) == "report"
    with pytest.raises(Interrupted):
        rendering.check()


def test_rendering_returns_and_raises_what_the_format_does() -> None:
    clock = VirtualClock()
    rendering = Rendering(clock)
    assert run(rendering.of(lambda: "report"), clock) == "report"
    with pytest.raises(ZeroDivisionError):
        run(rendering.of(lambda: 1 / 0), clock)
    rendering.check()


def test_verdict_is_told_where_there_is_no_time_for_reports() -> None:
    log = io.StringIO()
    given = runtime(VirtualClock(), stdout=log)
    times = Times.of_interrupted(0.0)._replace(rendering_ends=0.0)
    run(Publisher(GitHubHost(given), given).publish(Report(judgement=interrupted()), times), given.clock)
    last = log.getvalue().splitlines()[-1]
    assert last == "::error title=Coval Gate%3A Cancelled::The step was interrupted."


def ended_with(verdict: Verdict, *, passes: bool = False) -> Report:
    judgement = errored(GateError("why", "why"))._replace(verdict=verdict, inconclusive_passes=passes)
    return Report(judgement=judgement, legs=(LegReport(judgement=judgement, run_url=RUN_URL),))


@pytest.mark.parametrize(
    ("report", "conclusion"),
    [
        (ended_with(Verdict.PASSED), "success"),
        (ended_with(Verdict.FAILED), "failure"),
        (ended_with(Verdict.INCONCLUSIVE), "failure"),
        (ended_with(Verdict.INCONCLUSIVE, passes=True), "neutral"),
        (ended_with(Verdict.ERROR), "failure"),
        (ended_with(Verdict.TIMED_OUT), "timed_out"),
        (ended_with(Verdict.CANCELLED), "cancelled"),
        (Report(judgement=LAUNCH), ""),
    ],
)
def test_conclusion_is_one_of_github(report: Report, conclusion: str) -> None:
    page = page_of(report, "check_run")
    assert conclusion_of(page) == conclusion
    assert page.title.startswith("❔ Inconclusive (passes): ") is (conclusion == "neutral")


def test_short_check_runs_match_golden_file(golden: Callable[[str, str], None]) -> None:
    """The post step sets such a one, and so does the launch."""
    texts = []
    for name, example in example_reports().items():
        if example.judgement.verdict is not Verdict.SKIPPED:  # which has no check run
            page = page_of(example, "check_run", brief=True)
            conclusion = conclusion_of(page) or "in progress"
            texts.append(f"# {name}\n{conclusion}\n{page.title}\n    {page.summary}\n")
    golden("check_runs.txt", "\n".join(texts))


def test_id_distinguishes_steps_and_not_attempts() -> None:
    def id_of(**fields: Any) -> str:
        context = Context(run_id="17", run_attempt="1")._replace(**fields)
        return page_of(example_reports()["passed"]._replace(context=context), "code_insights", brief=True).name

    same = [id_of(), id_of(run_attempt="2"), id_of(run_id="18", instance="{0}"), id_of(sha=SHA)]
    others = [id_of(step="1"), id_of(matrix=matrix_of({"region": "eu"}))]
    assert len(set(same)) == 1
    assert len({*same, *others}) == 3


def test_comment_marker_depends_on_step_and_not_on_attempt() -> None:
    def marker_of(*, agent_id: str = "a1", mutation_id: str = "", **fields: Any) -> str:
        context = report_of(HARMLESS).context._replace(**fields)
        inputs = inputs_of({"agent_id": agent_id, "mutation_id": mutation_id})
        return marker(Report(judgement=UNFINISHED, context=context, inputs=inputs))

    assert marker_of(run_attempt="2", sha="f" * 40, actor="other") == marker_of()
    steps: list[dict[str, str]] = [{}, {"workflow": "other"}, {"job": "other"}, {"step": "other"}, {"agent_id": "a2"}]
    assert len({marker_of(**step) for step in (*steps, {"mutation_id": "m1"})}) == 6


def test_comment_of_a_template_is_the_same_before_the_launch_and_after_it() -> None:
    one, other = (rich_report()._replace(inputs=inputs_of({"run_template_id": name})) for name in ("one", "other"))
    assert one.legs[0].run is not None
    assert marker(one) == marker(one._replace(legs=())) != marker(other)


def test_id_is_percent_encoded_in_url() -> None:
    result = RunResult(run_id="r1", simulations=(simulation("a)/../?b#<c>|%", status="FAILED"),))
    page = MarkdownPage(summary(with_leg(report_of(HARMLESS), result=result)))
    assert f"{RUN_URL}/results/a%29%2F..%2F%3Fb%23%3Cc%3E%7C%25" in page.urls


def test_links_name_their_legs_and_lead_to_the_html_report() -> None:
    home = "https://github.com/acme/voice-agent/actions/runs/7"
    context = legs_report().context._replace(run_url=f"{home}/attempts/2", artifacts_url=f"{home}#artifacts")
    report = legs_report()._replace(inputs=inputs_of({"html_path": "report.html"}), context=context)
    shown = {link.text: link.url for link in composed(report).links}
    assert shown["HTML report (if the workflow uploads it)"] == f"{home}#artifacts"
    assert "Open Booking line (run3)" in shown
    without = composed(report._replace(inputs=None)).links
    assert without
    assert not any(link.url.endswith("#artifacts") for link in without)
