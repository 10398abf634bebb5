"""Pages of a host: a step obeys a signal while it renders them, however long that takes; their names and links.

When they are announced, concluded and left to the post step: road/test_pages_github.py.
"""

import io
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from browsing import legs_report, rich_report
from coval_gate.base.clock import Interrupted
from coval_gate.base.errors import GateError
from coval_gate.base.schedule import run
from coval_gate.base.times import Times
from coval_gate.ci.github import GitHubHost
from coval_gate.ci.host import Context
from coval_gate.coval.model import RunResult
from coval_gate.features.pages.github import conclusion_of
from coval_gate.gate.judgement import INTERRUPTED_STEP, UNFINISHED_RUN, errored
from coval_gate.gate.verdict import Verdict
from coval_gate.inputs.parsing import matrix_of
from coval_gate.report.document.model import Report
from coval_gate.step.publish import AFTER_SIGNAL, NotRendered, Publisher, Rendering
from hostile import HARMLESS, report_of
from readers import MarkdownPage
from rendering import composed, marker, page_of, summary
from reports import RUN_URL, example_reports, simulation, with_leg
from support import VirtualClock, inputs_of, runtime

SHA = "a" * 40


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


def test_signal_ends_a_long_rendering(endless: threading.Event) -> None:
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


def test_verdict_is_logged_where_there_is_no_time_for_reports() -> None:
    log = io.StringIO()
    given = runtime(VirtualClock(), stdout=log)
    times = Times.for_interrupted(0.0)._replace(rendering_ends=0.0)
    run(Publisher(GitHubHost(given), given).publish(Report(INTERRUPTED_STEP, inputs_of()), times), given.clock)
    last = log.getvalue().splitlines()[-1]
    assert last == "::error title=Coval Gate%3A Cancelled::The step was interrupted."


def test_short_check_runs_match_golden_file(golden: Callable[[str, str], None]) -> None:
    """The post step sets such a one, and so does the launch."""
    texts = []
    for name in ("passed", "failed, two criteria", "error, no such metric", "timed out", "launched", "step error"):
        page = page_of(example_reports()[name], "check_run", brief=True)
        conclusion = conclusion_of(page) or "in progress"
        texts.append(f"# {name}\n{conclusion}\n{page.title}\n    {page.summary}\n")
    golden("check_runs.txt", "\n".join(texts))


def test_doubt_that_passes_is_neutral() -> None:
    judgement = errored(GateError("why", "why"))._replace(verdict=Verdict.INCONCLUSIVE, inconclusive_passes=True)
    page = page_of(Report(judgement, inputs_of()), "check_run")
    assert conclusion_of(page) == "neutral"
    assert page.title.startswith("❔ Inconclusive (passes): ")


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
        inputs = inputs_of(agent_id=agent_id, mutation_id=mutation_id)
        return marker(Report(judgement=UNFINISHED_RUN, context=context, inputs=inputs))

    assert marker_of(run_attempt="2", sha="f" * 40, actor="other") == marker_of()
    steps: list[dict[str, str]] = [{}, {"workflow": "other"}, {"job": "other"}, {"step": "other"}, {"agent_id": "a2"}]
    assert len({marker_of(**step) for step in (*steps, {"mutation_id": "m1"})}) == 6


def test_comment_of_a_template_is_the_same_before_the_launch_and_after_it() -> None:
    one, other = (rich_report()._replace(inputs=inputs_of(run_template_id=name)) for name in ("one", "other"))
    assert one.legs[0].run is not None
    assert marker(one) == marker(one._replace(legs=())) != marker(other)


def test_id_is_percent_encoded_in_url() -> None:
    result = RunResult(run_id="r1", simulations=(simulation("a)/../?b#<c>|%", status="FAILED"),))
    page = MarkdownPage(summary(with_leg(report_of(HARMLESS), result=result)))
    assert f"{RUN_URL}/results/a%29%2F..%2F%3Fb%23%3Cc%3E%7C%25" in page.urls


def test_links_name_their_legs_and_lead_to_the_html_report() -> None:
    home = "https://github.com/acme/voice-agent/actions/runs/7"
    context = legs_report().context._replace(run_url=f"{home}/attempts/2", artifacts_url=f"{home}#artifacts")
    report = legs_report()._replace(inputs=inputs_of(html_path="report.html"), context=context)
    shown = {link.text: link.url for link in composed(report).links}
    assert shown["HTML report (if the workflow uploads it)"] == f"{home}#artifacts"
    assert "Open Booking line (run3)" in shown
    without = composed(report._replace(inputs=inputs_of())).links
    assert without
    assert not any(link.url.endswith("#artifacts") for link in without)
