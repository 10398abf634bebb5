"""Runs the action against the local sandbox, as GitHub's runner would, and shows what a user sees."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from coval_gate.base.secret import redactor
from coval_gate.base.text import day_at, quoted, shortened
from coval_gate.inputs.inputs import declared, key_in
from coval_gate.inputs.parsing import KEY_PATTERN
from coval_sandbox.catalogue import AGENT_ID, IMPATIENT_PERSONA_ID, PERSONA_ID, PREVIEW_ID, SLOW_PREVIEW_ID
from coval_sandbox.github import API as GITHUB_API
from coval_sandbox.github import BASE as GITHUB_PAGE
from coval_sandbox.github import TOKEN
from coval_sandbox.history import TAG
from coval_sandbox.http import BASE as API_BASE
from coval_sandbox.runner import PULL_REQUEST, LocalRunner, read_log, shown_lines
from coval_sandbox.world import DEFAULT_KEY

PROGRAM = "coval-gate demo"
ACTION = Path(__file__).resolve().parents[2] / "entrypoint.py"  # in a checkout
SPEED = 15.0  # times real time; a real run takes about a minute
WIDTH = 90  # characters of an output's value
ENTRIES = "DEMO_INPUTS"  # `make demo` passes INPUTS in this variable
WAITING = "Waiting for the run"  # a step with several runs shows them side by side, without a group
PROGRESS = re.compile(r" *\d+:\d\d ")
LEGS = re.compile(r"\d+ (of \d+ )?legs:")
ENTRY = re.compile(r"(?:^|(?<=\s))(\w+)=(?!=)")  # the start of an entry; `==` is an operator of thresholds
REPORTS = {"html_path": "report.html", "digest_path": "digest.md"}  # the files to write, by input
OUTPUTS = ("run_id", "verdict", "passed", "reason", "html_path")  # those that most workflows use
ON_GITHUB = ("comment", "commit_status", "check_run")  # inputs that ask for something in the pull request
PULL_REQUEST_PAGE = "pull-request.html"
INPUTS = {
    "api_key": DEFAULT_KEY,
    "agent_id": AGENT_ID,
    "persona_id": PERSONA_ID,
    "test_set_id": "passing1",
    "check_interval": "1",  # the sandbox is too fast for adaptive pauses
    **REPORTS,
    "thresholds": """
        Latency: p(95) < 1.5          # seconds until the agent responds
        Resolved: rate(YES) >= 90%
        Compliance: count(NO) == 0
    """,
}
BESIDE = {  # as in examples/preview.yml
    "base_agent_id": AGENT_ID,
    "test_set_id": "steady01",
    "iteration_count": "3",
    "concurrency": "5",
    "confidence": "95%",
    "thresholds": """
        Resolved: rate(YES) >= base - 5pp
        Latency: med <= base * 1.1
        Compliance: count(NO) == 0
    """,
}
OWN_BUILDS = {  # by name: description, and the files of the agent's code
    "own-build": ("the code of this commit answers the callers", ("agent.py", "stub.py")),
    "broken-build": ("the same, with a mistake in the code", ("broken.py",)),
}
NONE: Mapping[str, str] = MappingProxyType({})
NIGHTS = {
    "nights": "a week of nights on main: a regression, its acceptance, and the nights after",
    "rerun": "a re-run of a job in which Coval refused one of three launches",
}
REFUSED = ("--fault", "POST /runs #3 -> 403")  # in the first attempt
KNOWN_FILE = "known-failures.yml"  # in the workspace
KNOWN = """\
known_failures:
  - test_case: caseflaky0010000000005
    metric: Resolved
    reason: vendor ticket 4711
    until: {}
"""
DAY = 24 * 3600.0  # s
TEST_SETS = {  # by what a user sees
    "all values are good": "passing1, steady01 (80 test cases)",
    "some values are bad": "flaky001, flaky002, lostCase, failing1, large001 (250 test cases)",
    "with earlier nights": f"regress1 (got worse), unchang1; compare with baseline=tag:{TAG}",
    "worse over time": "worsens1 (from its fourth run on)",
    "conversations fail": "someFail, allFail1, dirty001",
    "the run ends early": "runFails, cancels1, deletes1, errors01, empty001",
    "the run never ends": "slow0001 (takes an hour), stuck001, queued01",
    "unusual answers": "unknown1, noProgrs",
}
STEPS = {  # by name: description, and inputs
    "preview": ("a preview that is as good as the deployed agent", {"agent_id": PREVIEW_ID, **BESIDE}),
    "slow-preview": ("a preview that is slower", {"agent_id": SLOW_PREVIEW_ID, **BESIDE}),
    "until-clear": (
        "up to 200 simulations, launched in slices until the answer is clear",
        {
            "test_set_id": "large001",
            "spend": "until clear",
            "max_simulations": "200",
            "concurrency": "5",
            "confidence": "95%",
            "thresholds": "Resolved: rate(YES) >= 90%\nLatency: p(90) < 2.5  # seconds",
        },
    ),
    "history": (
        "the last nights side by side, and the test cases that failed most often",
        {
            "mode": "history",
            "run_id": "tag:nightly last 30",
            "test_set_id": "regress1",
            "baseline": f"tag:{TAG}",
            "check_interval": "adaptive",
            "digest_path": "",  # it has no effect in this mode
            "thresholds": "Resolved: rate(YES) >= 90%\nLatency: avg <= baseline * 1.1\nCompliance: count(NO) == 0",
        },
    ),
    "known": (
        "a known failure: for a month, its test case cannot fail the check",
        {"test_set_id": "flaky001", "config_path": KNOWN_FILE, "thresholds": "Resolved: rate(YES) == 100%"},
    ),
    "legs": (
        "two personas on two test sets; one test set fails",
        {"persona_id": f"{PERSONA_ID}, {IMPATIENT_PERSONA_ID}", "test_set_id": "passing1, flaky001"},
    ),
}
PAGES = "comment=always commit_status=Voice check_run=Voice gate"
EXAMPLE = "test_set_id=someFail max_failed_simulations=50% thresholds=Latency: p(95) < 0.5"
REGRESSION = f"test_set_id=regress1 baseline=tag:{TAG} thresholds=Latency: avg <= baseline * 1.1"
BOLD, RED, GREEN, YELLOW, BLUE, DIM, PLAIN = (
    f"\x1b[{code}m" if sys.stdout.isatty() else "" for code in (1, 31, 32, 33, 34, 2, 0)
)
STYLES = {"group": f"{BOLD}▾ ", "error": f"{RED}Error: ", "warning": f"{YELLOW}Warning: ", "notice": f"{BLUE}Notice: "}


def split_entries(text: str, names: Collection[str]) -> dict[str, str]:
    """Split a text of `INPUT=VALUE` entries. Values may contain spaces. Several thresholds become lines of one value.

    An entry begins with the name of an input and `=`, at the start of the text or after white space. Raises ValueError
    if the text does not begin with an entry, or if a word before `=` is almost the name of an input.
    """
    starts = []
    for match in ENTRY.finditer(text.strip()):
        if match[1] in names:
            starts.append(match)
        elif not match.start() or get_close_matches(match[1], names, cutoff=0.8):
            raise unknown(match[1], names)
    if not starts or starts[0].start():
        raise ValueError(f"there is no step {quoted(text, 40)}, and an input has the form INPUT=VALUE")
    ends = [*(match.start() for match in starts[1:]), len(text.strip())]
    return added_up(
        (match[1], text.strip()[match.end() : end].strip()) for match, end in zip(starts, ends, strict=True)
    )


def added_up(entries: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return values by input. Thresholds add up; for other inputs, the last value counts."""
    values: dict[str, str] = {}
    for name, value in entries:
        before = [values[name]] if name == "thresholds" and name in values else []
        values[name] = "\n".join([*before, value])
    return values


def read_arguments(arguments: Sequence[str], names: Collection[str]) -> dict[str, str]:
    """Read arguments of the form `INPUT=VALUE`, as a shell passes them. Raises ValueError."""
    entries = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals:
            raise ValueError(f"there is no step {quoted(argument, 40)}, and an input has the form INPUT=VALUE")
        if name not in names:
            raise unknown(name, names)
        entries.append((name, value))
    return added_up(entries)


def unknown(name: str, names: Collection[str]) -> ValueError:
    """Return the error for a word that is not an input."""
    close = get_close_matches(name, names, n=1)
    return ValueError(f"there is no input {name!r}" + (f"; did you mean {close[0]}?" if close else ""))


@contextmanager
def sandbox(options: Sequence[str], running: str = "") -> Iterator[str]:
    """Start a sandbox in a separate process, unless one is `running` at a URL; yield the URL of its API."""
    if running:
        yield running
        return
    command = [sys.executable, "-m", "coval_sandbox", "--quiet", "--history", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            address = re.search(r"http://\S+", line)
            if not address:
                sys.exit(2)  # the sandbox has reported the reason
            print(f"{DIM}{line.strip()}{PLAIN}\n")
            yield address[0]
        finally:
            process.terminate()


def run(overrides: dict[str, str], url: str, *, long: bool = False) -> int:
    """Run the action with the demo's inputs, some of them overridden, and return its exit code."""
    with tempfile.TemporaryDirectory() as directory:
        runner = LocalRunner(Path(directory), PULL_REQUEST)
        write_file(runner.workspace, time.time())
        return run_step(runner, INPUTS | {"api_base_url": url} | overrides, long=long)


def write_file(workspace: Path, now: float) -> None:
    """Write the configuration file with known failures, which last for a month. `now`: seconds since the epoch."""
    (workspace / KNOWN_FILE).write_text(KNOWN.format(day_at(now + 30 * DAY)), encoding="utf-8")


def run_step(
    runner: LocalRunner,
    given: dict[str, str],
    variables: Mapping[str, str] = NONE,
    *,
    long: bool = False,
    brief: bool = False,
) -> int:
    """Run the action with these inputs, show what a user sees, and return its exit code.

    Show the log up to the criteria, the files and the main outputs; if `long`, everything; if `brief`, only criteria,
    verdict, and the files of a red step. `variables` override those of a step in a pull request.
    """
    inputs = {declaration.name: declaration.default for declaration in declared()} | {"github_token": TOKEN} | given
    began = time.monotonic()
    # An installed package has no entrypoint.py; its command does the same.
    program = [str(ACTION)] if ACTION.exists() else ["-m", "coval_cli", inputs["mode"]]
    command = [sys.executable, "-I", "-u", "-B", *program]
    environ = runner.environ(inputs) | {"GITHUB_API_URL": f"{origin_in(inputs)}{GITHUB_API}", **variables}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        log = show_log(process.stdout or (), long=long, brief=brief)
    if long:
        show_results(runner, log)
    if process.returncode or not brief:
        keep_files(runner, inputs)
    outputs, colour = runner.outputs, RED if process.returncode else GREEN
    if brief:
        print(f"{colour}Verdict: {outputs['verdict']}. {outputs['reason']}{PLAIN}")
    else:
        if not long:
            show_outputs({name: outputs.get(name, "") for name in OUTPUTS})
        print(f"{colour}exit code {process.returncode}{PLAIN}{DIM}, {time.monotonic() - began:.1f} s{PLAIN}")
    return process.returncode


def keep_files(runner: LocalRunner, inputs: Mapping[str, str]) -> None:
    """Copy the step's files, and what a pull request shows, to a new temporary directory, and print their paths."""
    written = [name for name in REPORTS if runner.outputs.get(name)]
    shows_pages = any(inputs[name] not in ("", "never") for name in ON_GITHUB)
    if not written and not shows_pages:
        return
    print(f"\n{BOLD}Files{PLAIN}")
    directory = Path(tempfile.mkdtemp(prefix="coval-gate-demo-"))
    for name in written:
        path = runner.outputs[name]
        copy = shutil.copy(runner.workspace / path, directory)
        print(f"  {name:<24}{copy}")
    if shows_pages:
        with urllib.request.urlopen(f"{origin_in(inputs)}{GITHUB_PAGE}") as response:  # noqa: S310 - the sandbox
            page = directory / PULL_REQUEST_PAGE
            page.write_bytes(response.read())
        print(f"  {'the pull request':<24}{page}")


def origin_in(inputs: Mapping[str, str]) -> str:
    """Return the address of the sandbox."""
    return inputs["api_base_url"].removesuffix(API_BASE)


def show_log(output: Iterable[str], *, long: bool = False, brief: bool = False) -> str:
    """Show the step's log as on GitHub's page, line by line, and return its output.

    Unless `long`, leave out everything after the criteria (annotations, groups), except the table of legs. If `brief`,
    also leave out everything before the criteria.
    """
    if not brief:
        print(f"{BOLD}Log{PLAIN}")
    lines = []

    def read() -> Iterator[str]:
        for line in output:
            lines.append(line)
            yield line.rstrip("\n")

    waited = hidden = False
    for style, text in shown_lines(read()):
        follows = not long and waited and bool(style) and WAITING not in text
        hidden = (hidden or follows) and not LEGS.match(text)
        early = brief and (not waited or PROGRESS.match(text))
        waited |= style == "group" or WAITING in text
        if not hidden and not early:
            print(f"  {STYLES.get(style, '')}{text}{PLAIN}", flush=True)
    return "".join(lines)


def show_results(runner: LocalRunner, log: str) -> None:
    """Show the rest of GitHub's page: annotations, outputs, summary."""
    print(f"\n{BOLD}Annotations{PLAIN}")
    annotations = [command for command in read_log(log) if command.name in {"error", "warning", "notice"}]
    for command in annotations:
        print(f"  {command.name.capitalize()}: {command.properties.get('title', '')}")
        print("".join(f"    {line}\n" for line in command.data.splitlines()), end="")
    if not annotations:
        print("  none")
    show_outputs({name: shortened(value, WIDTH) for name, value in runner.outputs.items()})
    print(f"\n{BOLD}Step summary (Markdown){PLAIN}")
    print("".join(f"  {line}\n" for line in runner.summary.splitlines()))


def show_outputs(outputs: Mapping[str, str]) -> None:
    """Show the step's outputs, one per line."""
    print(f"\n{BOLD}Step outputs{PLAIN}")
    for name, value in outputs.items():
        print(f"  {name:<24}{value}".rstrip())


class Parser(argparse.ArgumentParser):
    """Masks the user's API key in its messages."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the program."""
        words = message or ""
        keys = filter(None, (key_in(os.environ), *KEY_PATTERN.findall(words)))
        super().exit(status, redactor(*keys).redact(words))


def parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [OPTION ...] [list | STEP] [INPUT=VALUE ...]\n"
        '       make demo [INPUTS="INPUT=VALUE ..."] [LONG=1]',
        description="Run the action against the local sandbox, as GitHub's runner would, and show what a user sees.\n"
        "Without inputs, show a run that passes and one that fails.",
        epilog=f"""\
examples:
  {PROGRAM} test_set_id=someFail max_failed_simulations=50% 'thresholds=Latency: p(95) < 0.5'
  make demo INPUTS="{EXAMPLE}"
  make demo INPUTS="{REGRESSION}"
  make demo INPUTS="{PAGES}"
  make demo INPUTS=list

In INPUTS, separate inputs by spaces; a value may contain spaces. Repeat thresholds= for each threshold:
thresholds=Latency: p(95) < 0.5 thresholds=Resolved: rate(YES) >= 90%
make demo OPTIONS="--quirk ..." passes options. docs/inputs.md lists the inputs.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("inputs", nargs="*", metavar="INPUT=VALUE", help="input of the action; `list` shows steps and scenarios")
    add("--long", action="store_true", help="show annotations, all outputs and the summary, too (make demo LONG=1)")
    add("--sandbox", default="", metavar="URL", help="URL of a running sandbox, such as http://127.0.0.1:8765/v1")
    add("--speed", default=f"{SPEED:g}", help="speed of the sandbox's clock (default: %(default)s)")
    add(
        "--quirk", action="append", default=[], metavar="NAME=VALUE", help="set a quirk of the sandbox; may be repeated"
    )
    add("--fault", action="append", default=[], metavar="LINE", help="add a fault to the sandbox; may be repeated")
    return parser


def read_command_line(arguments: Sequence[str], entries: str) -> tuple[argparse.Namespace, dict[str, str] | None]:
    """Return options and inputs; inputs are None for `list`. `entries`: the text of `make demo INPUTS`."""
    names = [declaration.name for declaration in declared()]
    first, _, others = entries.strip().partition(" ")
    if first in ("list", *NIGHTS, *OWN_BUILDS, *STEPS):
        arguments, entries = [*arguments, first], others
    command_line = parser()
    options = command_line.parse_intermixed_args(arguments)
    if options.inputs == ["list"]:
        return options, None
    step: dict[str, str] = {}
    options.scene = ""
    if options.inputs and options.inputs[0] in (*NIGHTS, *OWN_BUILDS):
        options.scene, *options.inputs = options.inputs
    elif options.inputs and options.inputs[0] in STEPS:
        step, options.inputs = STEPS[options.inputs[0]][1], options.inputs[1:]
    try:
        overrides = split_entries(entries, names) if entries.strip() else {}
        return options, step | overrides | read_arguments(options.inputs, names)
    except ValueError as error:
        command_line.exit(2, f"{PROGRAM}: {error}. `list` shows the steps, --help examples.\n")


def main(arguments: Sequence[str], entries: str = "") -> int:
    """Show a run with these inputs; without inputs, a passing and a failing run.

    Return the step's exit code; without inputs, 0 if the first run passed and the second failed, else 3.
    """
    options, overrides = read_command_line(arguments, entries)
    if overrides is None:
        named = NIGHTS | {name: what for name, (what, _) in (OWN_BUILDS | STEPS).items()}
        steps = "\n".join(f"  {name:<{max(map(len, named))}}  {what}" for name, what in named.items())
        test_sets = "\n".join(f"  {what:<{max(map(len, TEST_SETS))}}  {ids}" for what, ids in TEST_SETS.items())
        print(f"Steps, as in make demo INPUTS={next(iter(named))}:\n{steps}\n")
        print(f'Test sets, as in make demo INPUTS="test_set_id=flaky001":\n{test_sets}\n')
        print("make sandbox OPTIONS=--help explains each test set, --quirk and --fault.")
        return 0
    repeated = [
        word for name in ("quirk", "fault") for value in getattr(options, name) for word in (f"--{name}", value)
    ]
    if options.scene in OWN_BUILDS:
        from coval_demo import own_build  # only this needs the Agent SDK

        return own_build.show(OWN_BUILDS[options.scene][1], overrides, repeated, long=options.long)
    repeated += REFUSED if options.scene == "rerun" else ()
    with sandbox(["--speed", options.speed, *repeated], options.sandbox) as url:
        if options.scene in NIGHTS:
            from coval_demo import nights, rerun

            show = rerun.show if options.scene == "rerun" else nights.show
            return show(overrides, url, long=options.long)
        if overrides:
            return run(overrides, url, long=options.long)
        print(f"{BOLD}━━ 1. A run that passes the gate{PLAIN}\n")
        passed = run({}, url, long=options.long)
        print(f"\n{BOLD}━━ 2. A run that fails the same gate, as it should{PLAIN}\n")
        failed = run({"test_set_id": "failing1"}, url, long=options.long)
    print(f"\n{BOLD}Next{PLAIN}: open a report.html in a browser, or run:")
    command = "make demo INPUTS=" if ACTION.exists() else f"{PROGRAM} "
    shown = {"preview": "a preview beside the deployed agent", "list": "everything the demo can show"}
    others = {"nights": NIGHTS["nights"], **shown}
    print("\n".join(f"  {command}{name:<9}{what}" for name, what in others.items()))
    return 0 if (passed, failed) == (0, 1) else 3
