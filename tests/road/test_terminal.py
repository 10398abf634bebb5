"""A person's terminal: a live line while a run is waited for, colours, and neither where they are unwanted."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest

from coval_gate.ci.terminal import TerminalHost
from coval_gate.cli import flag_of, main
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import IDS, KEY, VirtualClock

if TYPE_CHECKING:
    from pathlib import Path

FLAGS = [part for name, value in IDS.items() for part in (flag_of(name), value)]
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
COLOURS = re.compile(r"\x1b\[(?:\d;)?3\dm")
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)


def shown(clock: VirtualClock, *flags: str, stream: io.StringIO | None = None, **environ: str) -> tuple[int, str]:
    """Run the command, and return its exit code and all that its terminal got."""
    out, errors = stream or Terminal(), io.StringIO()
    given = {"COVAL_API_KEY": KEY, "TERM": "xterm-256color", "PATH": ""} | environ
    with Server(World(clock.time)) as server:
        code = main(["run", *FLAGS, *flags], given | {"INPUT_API_BASE_URL": server.url}, out, errors, clock)
    assert errors.getvalue() == ""
    return code, out.getvalue()


def test_terminal_shows_a_live_line_and_then_the_report_in_colour(clock: VirtualClock) -> None:
    code, text = shown(clock, "--threshold", "Latency: p(95) < 0.5")
    assert code == 1
    assert text.count(HIDE) == text.count(SHOW) == 1
    assert re.search(r"IN PROGRESS  [█░]{20}  \d+/10 done", text)
    assert COLOURS.search(text)
    after = CONTROL.sub("", text.rpartition(SHOW)[2])
    assert "COMPLETED" in after
    assert "IN PROGRESS" not in after
    assert "❌ Failed: p(95) of Latency" in after


def test_signal_gives_the_cursor_back(clock: VirtualClock) -> None:
    clock.at(20, clock.interrupt)
    code, text = shown(clock)
    assert code == 130
    assert text.rindex(HIDE) < text.rindex(SHOW)
    assert "🚫 Cancelled" in text.rpartition(SHOW)[2]


def test_unwanted_colour_is_left_out(clock: VirtualClock) -> None:
    assert not COLOURS.search(shown(clock, "--threshold", "Latency: p(95) < 0.5", NO_COLOR="1")[1])


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"CI": "true"}, {}])
def test_other_outputs_have_plain_lines(clock: VirtualClock, environ: dict[str, str]) -> None:
    stream = Terminal() if "TERM" in environ else io.StringIO()
    _, text = shown(clock, stream=stream, **environ)
    assert "\x1b" not in text
    assert "\r" not in text
    assert text.count("IN PROGRESS") > 1


def test_foreign_text_controls_no_terminal() -> None:
    out = Terminal()
    host = TerminalHost(out, {"TERM": "xterm-256color"})
    host.quote("\x1b]0;title\x07\x1b[2J[bold]no markup[/bold] :boom:")
    host.annotate("warning", "\x1b[31m", "a\x9b2J")
    assert host.progress("", 3.0, "IN\x1b[2J PROGRESS", is_over=False)
    assert not host.progress("", 9.0, "COMPLETED", is_over=True)
    text = out.getvalue()
    assert "[bold]no markup[/bold] :boom:" in text
    assert not re.search(r"\x1b\]|\x1b\[2J|\x9b|\x07", text)
    assert "   0:03  IN" in text
