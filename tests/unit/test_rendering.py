"""A step obeys a signal while it renders, however long that takes."""

import io
import math
import threading
from collections.abc import Iterator

import pytest

from coval_gate.base.clock import Interrupted
from coval_gate.base.schedule import run
from coval_gate.base.times import Times
from coval_gate.ci.github import GitHubHost
from coval_gate.gate.judgement import interrupted
from coval_gate.report.model import Report
from coval_gate.step.publish import AFTER_SIGNAL, NotRendered, Publisher, Rendering
from support import VirtualClock, runtime


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
    with pytest.raises(NotRendered):
        run(rendering.of(endless.wait), clock)
    assert clock.now() == pytest.approx(AFTER_SIGNAL + 0.15)
    with pytest.raises(NotRendered):  # what comes after it has no time of its own
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
    publisher = Publisher(GitHubHost(given), given)
    times = Times.of_interrupted(0.0)._replace(rendering_ends=0.0)
    run(publisher.publish(Report(judgement=interrupted()), times), given.clock)
    last = log.getvalue().splitlines()[-1]
    assert last == "::error title=Coval Gate%3A Cancelled::The step was interrupted."
