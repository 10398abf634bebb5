"""A terminal as a host: a live line for each run that is waited for, and the rest in colour.

Only a terminal loads this, and rich with it. rich itself keeps NO_COLOR, and the width of the window.
"""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, TextIO

from rich.console import Console as RichConsole
from rich.live import Live
from rich.text import Text

from coval_gate.base.text import stopwatch
from coval_gate.ci.plain import PlainHost, painted

PER_SECOND: Final = 4  # updates of the live lines


class TerminalHost(PlainHost):
    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        super().__init__(stream, environ)
        self._console = RichConsole(
            file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True, _environ=environ
        )
        self._lines: dict[str, tuple[float, str]] = {}  # when it began, and the line, by the label of a run
        self._live: Live | None = None

    def progress(self, label: str, seconds: float, line: str, *, is_over: bool) -> bool:
        if is_over:
            self._lines.pop(label, None)
            if not self._lines:
                self._stop()
            return False
        self._lines[label] = (self._console.get_time() - seconds, self._clean(line))
        if self._live is None:
            self._live = Live(
                get_renderable=self._shown,
                console=self._console,
                refresh_per_second=PER_SECOND,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            atexit.register(self._stop)  # gives the cursor back
            self._live.start()
        self._live.refresh()
        return True

    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        super().set_outputs(outputs)
        self._lines.clear()
        self._stop()

    def _shown(self) -> Text:
        now = self._console.get_time()
        lines = [f"{label}{stopwatch(now - began):>7}  {line}" for label, (began, line) in [*self._lines.items()]]
        return Text("\n".join(lines), style="bold", no_wrap=True, overflow="ellipsis")

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            with suppress(OSError, ValueError):
                live.stop()

    def _emit(self, text: str) -> None:
        with suppress(OSError, ValueError):
            for line in text.split("\n"):
                self._console.print(Text.from_ansi(painted(line)))
