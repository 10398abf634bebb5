"""What a procedure that asks Coval gets: the client, a clock, a deadline, and a log."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from random import Random
from typing import Final, Self

from coval_gate.base.clock import Clock
from coval_gate.base.text import one_line, stopwatch
from coval_gate.base.times import Times
from coval_gate.ci.host import BUG, NAME, Host
from coval_gate.coval.client import Client
from coval_gate.inputs.inputs import Inputs

FRESH_TIME: Final = 60.0  # s for which Coval may not know a run that was just launched; Coval documents no figure
SERVERS_SKEW: Final = 10.0  # s by which the clocks of Coval's own servers may differ
LONGEST_NAME: Final = 60  # characters of a leg's name before its lines


class Session:
    """Calls and waiting end at the `deadline` of the step, or of a part of it: a time on the clock.

    `label` begins each line of a leg if there are several.
    """

    def __init__(
        self,
        client: Client,
        host: Host,
        clock: Clock,
        randomness: Random,
        inputs: Inputs,
        deadline: float,
        times: Times,
    ) -> None:
        self.client = client
        self.host = host
        self.clock = clock
        self.randomness = randomness
        self.inputs = inputs
        self.deadline = deadline
        self.times = times
        self.label = ""

    def until(self, deadline: float) -> Self:
        other = copy(self)
        other.deadline = deadline
        return other

    def within(self, seconds: float) -> Self:
        """Let it end after so many seconds, or at its deadline if that is sooner."""
        return self.until(min(self.deadline, self.clock.now() + seconds))

    def labelled(self, name: str) -> Self:
        other = copy(self)
        other.label = f"[{one_line(name, LONGEST_NAME)}] "
        other.client = self.client.logging_to(other.log)
        return other

    def log(self, *lines: str) -> None:
        """Lines may contain foreign text."""
        self.host.quote(*(f"{self.label}{line}" for line in lines))

    def show_progress(self, seconds: float, line: str, *, is_news: bool, is_over: bool) -> None:
        """In a log, show only news."""
        if not self.host.progress(self.label, seconds, line, is_over=is_over) and is_news:
            self.log(f"{stopwatch(seconds):>7}  {line}")

    def warn(self, message: str) -> None:
        self.host.annotate("warning", NAME, f"{self.label}{message}")

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """With several legs, the lines mix and cannot be folded."""
        if self.label:
            self.log(title)
            yield
            return
        with self.host.group(title):
            yield

    def report_bug(self) -> None:
        """Log the exception that is being handled."""
        self.host.fold(f"{self.label}{BUG}", traceback.format_exc().splitlines())
