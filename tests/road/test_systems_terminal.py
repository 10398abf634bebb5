"""A person's terminal: a live line while a run is waited for, colours, and neither where they are unwanted."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from coval_cli.command import main
from coval_gate.features.systems.plain import TerminalHost
from coval_gate.inputs.naming import flag_of
from coval_sandbox.server import Server
from coval_sandbox.world import World
from support import IDS, KEY, VirtualClock, host_of

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


def shown(
    clock: VirtualClock, *flags: str, stream: io.StringIO | None = None, test_set_id: str = "passing1", **environ: str
) -> tuple[int, str]:
    """Run the command, and return its exit code and all that its terminal got."""
    ids = [part for item in (IDS | {"test_set_id": test_set_id}).items() for part in (flag_of(item[0]), item[1])]
    out, errors = stream or Terminal(), io.StringIO()
    given = {"COVAL_API_KEY": KEY, "TERM": "xterm-256color", "PATH": ""} | environ
    with Server(World(clock.time)) as server:
        code = main(["run", *ids, *flags], given | {"INPUT_API_BASE_URL": server.url}, out, errors, clock)
    assert errors.getvalue() == ""
    return code, out.getvalue()


SLOW = ("--threshold", "Latency: p(95) < 0.5")


def test_terminal_shows_a_live_line_and_then_the_report_in_colour(clock: VirtualClock) -> None:
    """The last line is the verdict, below the worst simulations."""
    code, text = shown(clock, *SLOW)
    assert code == 1
    assert text.count(HIDE) == text.count(SHOW) == 1
    assert re.search(r"IN PROGRESS  [█░]{20}  \d+/10 done", text)
    assert COLOURS.search(text)
    after = CONTROL.sub("", text.rpartition(SHOW)[2])
    assert "COMPLETED" in after
    assert "IN PROGRESS" not in after
    *_, first, _, second, _, third, _, page, verdict = after.splitlines()
    assert verdict.startswith("❌ Failed: p(95) of Latency")
    assert page.startswith("Run: ")
    assert all(line.endswith(")") for line in (first, second, third))
    assert after.index("simulations to look at, the worst of") < after.index(first)


def test_terminal_shows_how_many_runs_of_a_history_were_read(clock: VirtualClock) -> None:
    world = World(clock.time)
    for _ in range(3):
        world.launch(IDS | {"metadata": {"tags": ["nightly"]}})
        clock.sleep(86_400)
    out = Terminal()
    ids = [part for item in IDS.items() for part in (flag_of(item[0]), item[1])]
    given = {"COVAL_API_KEY": KEY, "TERM": "xterm-256color", "PATH": ""}
    with Server(world) as server:
        environ = given | {"INPUT_API_BASE_URL": server.url}
        assert main(["history", "tag:nightly", *ids], environ, out, io.StringIO(), clock) == 0
    assert re.search(r"[█░]{20}  \d/3 runs read", out.getvalue())
    assert out.getvalue().count(HIDE) == out.getvalue().count(SHOW) == 1
    assert "runs read" not in out.getvalue().rpartition(SHOW)[2]


def test_signal_gives_the_cursor_back(clock: VirtualClock) -> None:
    clock.at(20, clock.interrupt)
    code, text = shown(clock)
    assert code == 130
    assert text.rindex(HIDE) < text.rindex(SHOW)
    assert "🚫 Cancelled" in text.rpartition(SHOW)[2]


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"FORCE_COLOR": "1"}, True),
        ({"CIRCLECI": "true"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"CI": "true"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_other_outputs_have_plain_lines_and_colours_where_they_are_wanted_or_known_to_show(
    clock: VirtualClock, environ: dict[str, str], wanted: bool
) -> None:
    _, text = shown(clock, *SLOW, stream=Terminal() if "TERM" in environ else io.StringIO(), **environ)
    assert bool(COLOURS.search(text)) == ("\x1b" in text) == wanted
    assert ("\x1b[1;31m❌ Failed: " in text.splitlines()[-1]) == wanted
    assert "\r" not in text
    assert text.count("IN PROGRESS") > 1


def test_foreign_text_controls_no_terminal() -> None:
    out = Terminal()
    host = host_of(TerminalHost, out, {"TERM": "xterm-256color"})
    host.quote("\x1b]0;title\x07\x1b[2J[bold]no markup[/bold] :boom:")
    host.annotate("warning", "\x1b[31m", "a\x9b2J")
    assert host.progress("", "", 3.0, "IN\x1b[2J PROGRESS", is_over=False)
    assert not host.progress("", "", 9.0, "COMPLETED", is_over=True)
    text = out.getvalue()
    assert "[bold]no markup[/bold] :boom:" in text
    assert not re.search(r"\x1b\]|\x1b\[2J|\x9b|\x07", text)
    assert "   0:03  IN" in text


PICTURE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="A terminal">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px;
line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
<rect x="1" y="1" width="{width}" height="{height}" rx="8" fill="#0d1117"/>
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""
COMMAND = ("--threshold", "Latency: p(95) < 1.5", "--threshold", "Compliance: count(NO) == 0")


def test_picture_in_readme_is_what_a_terminal_shows(clock: VirtualClock, golden: Callable[[str, str], None]) -> None:
    """The live line stands where it was when it was shown last."""
    _, text = shown(clock, *COMMAND, test_set_id="flaky001")
    live, _, rest = text.partition(SHOW)
    before, _, lines = live.partition(HIDE)
    last = [line for line in CONTROL.sub("\n", lines).split("\n") if "IN PROGRESS" in line][-1]
    flags = " ".join(f"'{word}'" if " " in word else word for word in COMMAND)
    prompt = f"\x1b[1;32m$\x1b[0m coval-gate run {flags}\n"
    screen = prompt + before + f"\x1b[1m{last}\x1b[0m\n" + re.sub(r"\x1b\[[0-9;]*[AK]|\r", "", rest)
    console = Console(width=100, record=True, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(Text.from_ansi(screen), soft_wrap=False, overflow="ellipsis", no_wrap=True, highlight=False)
    golden("../../docs/terminal.svg", console.export_svg(title="", code_format=PICTURE, unique_id="terminal"))
